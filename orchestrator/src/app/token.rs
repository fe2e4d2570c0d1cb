//! API tokens.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::{TokenId, UserId};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::token::TokenApi;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::token::{CreateToken, CreatedToken, Token, TokenRef};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::listings::access::TokenRow;
use super::listings::filtered;
use crate::authn::{Authn, secret_hash};
use crate::errors::store_error;
use crate::model::TokenRecord;

const LONGEST_DAYS: u16 = 366;

#[async_trait]
impl TokenApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Token>, ApiError> {
        let all = call.caller.everywhere(Permission::Secure);
        let (tokens, _) = self.db.tokens.all().await.map_err(|error| store_error(&error))?;
        let users = match all {
            true => self.db.users.all().await.map_err(|error| store_error(&error))?.0,
            false => Vec::new(),
        };
        let names: HashMap<UserId, String> =
            users.into_iter().map(|record| (record.key, record.value.user.name)).collect();
        let tokens = tokens.into_iter().map(|record| record.value.token);
        let seen = tokens.filter(|token| all || Some(token.user) == call.caller.user);
        // One's own: the caller's name is known.
        let name = |token: &Token| names.get(&token.user).unwrap_or(&call.caller.name).clone();
        let rows = seen.map(|token| TokenRow { user: name(&token), token }).collect();
        Ok(filtered(rows, &request)?.map(|row: TokenRow| row.token))
    }

    async fn create(&self, call: &Call, request: CreateToken) -> Result<CreatedToken, ApiError> {
        let Some(user) = call.caller.user else {
            return Err(ApiError::new(Reason::Unauthenticated, "sign in first"));
        };
        if call.caller.token.is_some() {
            return Err(ApiError::new(Reason::Forbidden, "a token cannot make tokens; sign in"));
        }
        // A token is never asked for a code: it must not be the way round.
        if call.caller.second_factor_due {
            return Err(call.caller.without_second_factor());
        }
        if !(1..=LONGEST_DAYS).contains(&request.days) {
            return Err(ApiError::invalid("days", format_args!("give 1 to {LONGEST_DAYS}")));
        }
        if request.name.is_empty() || request.name.len() > 64 {
            return Err(ApiError::invalid("name", "give 1 to 64 characters that say what the token is for"));
        }
        let id = TokenId::new();
        let now = OffsetDateTime::now_utc();
        let token = Token {
            id,
            user,
            name: request.name,
            bindings: request.bindings,
            created: now,
            expires: now + Duration::from_secs(u64::from(request.days) * 86_400),
        };
        let secret = Authn::token_secret(id)?;
        let record = TokenRecord { token: token.clone(), secret_hash: secret_hash(&secret) };
        self.db.tokens.insert(&id, &record).await.map_err(|error| store_error(&error))?;
        Ok(CreatedToken { token, secret })
    }

    async fn revoke(&self, call: &Call, request: TokenRef) -> Result<Empty, ApiError> {
        let all = call.caller.everywhere(Permission::Secure);
        let (tokens, _) = self.db.tokens.all().await.map_err(|error| store_error(&error))?;
        let mine = |token: &Token| all || Some(token.user) == call.caller.user;
        let named = |token: &Token| token.id.to_string() == request.token || token.name == request.token;
        let mut found =
            tokens.iter().filter(|record| mine(&record.value.token) && named(&record.value.token));
        let record = found.next().ok_or_else(|| ApiError::not_found("token", &request.token))?;
        if let Some(other) = found.next() {
            let mut error =
                ApiError::new(Reason::Ambiguous, "there are several tokens of this name; name one by its id");
            error.data.candidates = vec![record.key.to_string(), other.key.to_string()];
            return Err(error);
        }
        let delete = self.db.tokens.delete_in(Transaction::new(), &record.key);
        self.db.store.commit(delete).await.map_err(|error| store_error(&error))?;
        Ok(Empty {})
    }
}
