//! Signing in and out.

use async_trait::async_trait;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::auth::AuthApi;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::auth::{Credentials, LoggedIn, NewPassword};
use xenith_orchestrator_types::user::User;
use xenith_orchestrator_types::{ApiError, Empty, Reason};

use super::App;
use crate::authn::{OLD_PASSWORD, password};
use crate::errors::store_error;

#[async_trait]
impl AuthApi for App {
    async fn login(&self, _: &Call, request: Credentials) -> Result<LoggedIn, ApiError> {
        let (session, expires, user) = self.authn.login(&request.name, &request.password).await?;
        Ok(LoggedIn { session, expires, user })
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
        self.own_user(call)
            .await
            .map(|record| User { bindings: call.caller.bindings.clone(), ..record.value.user })
    }

    async fn change_password(&self, call: &Call, request: NewPassword) -> Result<Empty, ApiError> {
        password::check(&request.new)?;
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
    async fn own_user(
        &self,
        call: &Call,
    ) -> Result<
        xenith_orchestrator_store::Record<xenith_common_ids::UserId, crate::model::UserRecord>,
        ApiError,
    > {
        let over = || ApiError::new(Reason::Unauthenticated, "sign in first");
        let user = call.caller.user.ok_or_else(over)?;
        self.db.users.get(&user).await.map_err(|error| store_error(&error))?.ok_or_else(over)
    }
}
