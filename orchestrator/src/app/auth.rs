//! Signing in and out.

use async_trait::async_trait;
use xenith_common_ids::UserId;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::auth::AuthApi;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::auth::{Credentials, LoggedIn, NewPassword};
use xenith_orchestrator_types::user::User;
use xenith_orchestrator_types::{ApiError, Empty, Reason};

use super::App;
use crate::authn::second_factor::Factor;
use crate::authn::{OLD_PASSWORD, SignedIn, password};
use crate::errors::store_error;
use crate::model::UserRecord;

#[async_trait]
impl AuthApi for App {
    async fn login(&self, _: &Call, request: Credentials) -> Result<LoggedIn, ApiError> {
        let SignedIn { secret, expires, user, factor } = self.authn.login(&request, &self.vault).await?;
        if let Factor::Recovery { left } = factor {
            self.note_recovery(&user, left).await;
        }
        Ok(LoggedIn { session: secret, expires, user })
    }

    async fn logout(&self, call: &Call, _: Empty) -> Result<Empty, ApiError> {
        let Some(session) = call.caller.session else {
            return Err(ApiError::new(Reason::Invalid, "this is a token, not a session; revoke it instead"));
        };
        let key = blake3::Hash::from_bytes(session).to_hex().to_string();
        let delete = self.db.sessions.delete_in(Transaction::new(), &key);
        self.db.store.commit(delete).await.map_err(|error| store_error(&error))?;
        Ok(Empty {})
    }

    async fn whoami(&self, call: &Call, _: Empty) -> Result<User, ApiError> {
        let (bindings, totp_due) = (call.caller.bindings.clone(), call.caller.second_factor_due);
        self.own_user(call).await.map(|record| User { bindings, totp_due, ..record.value.user })
    }

    async fn change_password(&self, call: &Call, request: NewPassword) -> Result<Empty, ApiError> {
        password::check("new", &request.new)?;
        if call.caller.token.is_some() {
            return Err(ApiError::new(
                Reason::Forbidden,
                "a token cannot change its user's password; sign in",
            ));
        }
        let record = self.own_user(call).await?;
        if !password::verify(request.old, record.value.password_hash.clone()).await? {
            return Err(ApiError::invalid(OLD_PASSWORD, "is not the present password"));
        }
        let mut changed = record.value.clone();
        changed.password_hash = password::hash(request.new).await?;
        self.db.users.update(&record, &changed).await.map_err(|error| store_error(&error))?;
        self.authn.end_sessions(record.key, call.caller.session).await?;
        Ok(Empty {})
    }
}

impl App {
    /// Who calls, as they are stored.
    pub(super) async fn own_user(&self, call: &Call) -> Result<Record<UserId, UserRecord>, ApiError> {
        let over = || ApiError::new(Reason::Unauthenticated, "sign in first");
        let user = call.caller.user.ok_or_else(over)?;
        self.db.users.get(&user).await.map_err(|error| store_error(&error))?.ok_or_else(over)
    }
}
