//! Users and roles.

use async_trait::async_trait;
use xenith_common_ids::UserId;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::role::RoleApi;
use xenith_orchestrator_api::user::UserApi;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::user::{
    AccessOf, ConfirmTotp, CreateUser, OwnPassword, RecoveryCodes, RoleInfo, TotpEnrolment, UpdateUser, User,
    UserAccess, UserRef,
};
use xenith_orchestrator_types::{
    ApiError, Binding, Empty, ListRequest, Page, Permission, Reason, Role, Scope,
};

use super::App;
use super::listings::access::{RoleRow, UserRow};
use super::listings::filtered;
use crate::authn::password;
use crate::errors::store_error;

fn is_full_admin(user: &User) -> bool {
    !user.disabled && user.bindings.contains(&Binding { role: Role::Admin, scope: Scope::All })
}

impl App {
    /// Refuses to leave the installation without anyone who may administer it.
    async fn keeps_an_admin(&self, changed: UserId, after: Option<&User>) -> Result<(), ApiError> {
        if after.is_some_and(is_full_admin) {
            return Ok(());
        }
        let (users, _) = self.db.users.all().await.map_err(|error| store_error(&error))?;
        if users.iter().any(|user| user.key != changed && is_full_admin(&user.value.user)) {
            return Ok(());
        }
        Err(ApiError::new(Reason::Conflict, "this is the last admin of everything; make another one first"))
    }
}

#[async_trait]
impl UserApi for App {
    async fn list(&self, _: &Call, request: ListRequest) -> Result<Page<User>, ApiError> {
        let (users, _) = self.db.users.all().await.map_err(|error| store_error(&error))?;
        let rows = users.into_iter().map(|record| UserRow(record.value.user)).collect();
        Ok(filtered(rows, &request)?.map(|UserRow(user)| user))
    }

    async fn get(&self, _: &Call, request: UserRef) -> Result<User, ApiError> {
        Ok(self.find_user(&request.user).await?.value.user)
    }

    async fn access(&self, call: &Call, request: AccessOf) -> Result<UserAccess, ApiError> {
        self.access_of(call, request).await
    }

    async fn create(&self, _: &Call, request: CreateUser) -> Result<User, ApiError> {
        self.authn.create_user(&request.name, &request.password, request.bindings).await
    }

    async fn update(&self, _: &Call, request: UpdateUser) -> Result<User, ApiError> {
        let _alone = self.user_changes.lock().await;
        let record = self.find_user(&request.user).await?;
        let mut changed = record.value.clone();
        if let Some(bindings) = request.bindings {
            changed.user.bindings = bindings;
        }
        if let Some(disabled) = request.disabled {
            changed.user.disabled = disabled;
        }
        self.keeps_an_admin(record.key, Some(&changed.user)).await?;
        let new_password = request.password.is_some();
        if let Some(password) = request.password {
            password::check("password", &password)?;
            changed.password_hash = password::hash(password).await?;
        }
        self.db.users.update(&record, &changed).await.map_err(|error| store_error(&error))?;
        if new_password || changed.user.disabled {
            self.authn.end_sessions(record.key, None).await?;
        }
        Ok(changed.user)
    }

    async fn delete(&self, _: &Call, request: UserRef) -> Result<Empty, ApiError> {
        let _alone = self.user_changes.lock().await;
        let record = self.find_user(&request.user).await?;
        self.keeps_an_admin(record.key, None).await?;
        let (tokens, _) = self.db.tokens.all().await.map_err(|error| store_error(&error))?;
        let mut delete = self.db.users.delete_in(Transaction::new(), &record.key);
        delete = self.db.user_names.delete_in(delete, &record.value.user.name);
        self.db.store.commit(delete).await.map_err(|error| store_error(&error))?;
        // Without their user they are worth nothing; this only tidies.
        for token in tokens.iter().filter(|token| token.value.token.user == record.key) {
            let delete = self.db.tokens.delete_in(Transaction::new(), &token.key);
            self.db.store.commit(delete).await.map_err(|error| store_error(&error))?;
        }
        self.authn.end_sessions(record.key, None).await?;
        Ok(Empty {})
    }

    async fn totp_enrol(&self, call: &Call, request: OwnPassword) -> Result<TotpEnrolment, ApiError> {
        self.enrol_second_factor(call, request).await
    }

    async fn totp_confirm(&self, call: &Call, request: ConfirmTotp) -> Result<RecoveryCodes, ApiError> {
        self.confirm_second_factor(call, &request.code).await
    }

    async fn totp_disable(&self, call: &Call, request: OwnPassword) -> Result<User, ApiError> {
        self.disable_second_factor(call, request).await
    }

    async fn totp_reset(&self, call: &Call, request: UserRef) -> Result<User, ApiError> {
        self.reset_second_factor(call, &request.user).await
    }
}

#[async_trait]
impl RoleApi for App {
    async fn list(&self, _: &Call, request: ListRequest) -> Result<Page<RoleInfo>, ApiError> {
        let info = |role: Role| RoleInfo {
            role,
            permissions: Permission::ALL.into_iter().filter(|permission| role.allows(*permission)).collect(),
        };
        let rows = Role::ALL.into_iter().map(|role| RoleRow(info(role))).collect();
        Ok(filtered(rows, &request)?.map(|RoleRow(info)| info))
    }
}
