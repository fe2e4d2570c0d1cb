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
/// Tokens of one user that are good at a time. Far more than anybody looks after; without a bound one who may do next to
/// nothing fills the store, and makes every list of tokens long.
const MOST_PER_USER: usize = 100;

/// Refuses one more for who has as many as there may be. Those that have expired are nobody's any more.
fn has_room<'a>(
    tokens: impl IntoIterator<Item = &'a Token>,
    user: UserId,
    now: OffsetDateTime,
) -> Result<(), ApiError> {
    let good = tokens.into_iter().filter(|token| token.user == user && token.expires > now).count();
    if good < MOST_PER_USER {
        return Ok(());
    }
    Err(ApiError::new(
        Reason::WrongState,
        format_args!(
            "you have {good} API tokens, and nobody may have more than {MOST_PER_USER}; revoke those that are not used \
             (`xenith token list`, `xenith token revoke`), or wait until one has expired"
        ),
    ))
}

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
        let _alone = self.user_changes.lock().await;
        let (tokens, _) = self.db.tokens.all().await.map_err(|error| store_error(&error))?;
        has_room(tokens.iter().map(|record| &record.value.token), user, now)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_that_are_good_and_no_more() {
        let (now, day) = (OffsetDateTime::UNIX_EPOCH, Duration::from_secs(86_400));
        let (mine, other) = (UserId::new(), UserId::new());
        let token = |user, expires| Token {
            id: TokenId::new(),
            user,
            name: "ci".into(),
            bindings: vec![],
            created: now - day,
            expires,
        };
        for (case, good, expired, others, room) in [
            ("none", 0, 0, 0, true),
            ("one less", MOST_PER_USER - 1, 0, 0, true),
            ("as many as there may be", MOST_PER_USER, 0, 0, false),
            ("expired ones", MOST_PER_USER - 1, 50, 0, true),
            ("others'", 0, 0, 2 * MOST_PER_USER, true),
        ] {
            let mut tokens: Vec<Token> = (0..good).map(|_| token(mine, now + day)).collect();
            tokens.extend((0..expired).map(|_| token(mine, now)));
            tokens.extend((0..others).map(|_| token(other, now + day)));
            let told = has_room(&tokens, mine, now);
            assert_eq!(told.is_ok(), room, "{case}");
            assert!(told.err().is_none_or(|error| error.message.contains("revoke")), "{case}");
        }
    }
}
