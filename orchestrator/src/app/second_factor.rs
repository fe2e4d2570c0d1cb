//! Two-factor sign-in, as its user and an admin turn it on and off.
//!
//! What always holds: one's own is changed only in a session of one's own, never with a token, and to make a secret or to
//! turn it off takes the password, which counts as a try of it ([`crate::authn::throttle`]). An admin turns off that of
//! others, not their own: that takes their password, as everybody's.

use time::OffsetDateTime;
use xenith_common_ids::UserId;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::user::{OwnPassword, RecoveryCodes, TotpEnrolment, User};
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use crate::authn::{OWN_PASSWORD, password, second_factor, totp};
use crate::errors::store_error;
use crate::events::Happened;
use crate::model::UserRecord;

type Known = Record<UserId, UserRecord>;

impl App {
    pub(super) async fn enrol_second_factor(
        &self,
        call: &Call,
        request: OwnPassword,
    ) -> Result<TotpEnrolment, ApiError> {
        let record = self.proven_user(call, request).await?;
        if record.value.user.totp {
            return Err(ApiError::new(
                Reason::WrongState,
                "two-factor sign-in is on already; turn it off before you set up another app",
            ));
        }
        let secret = totp::new_secret()?;
        let mut changed = record.value.clone();
        changed.totp = Some(second_factor::enrol(&self.vault, &secret)?);
        self.change_user(&record, &changed).await?;
        let uri = totp::uri(&secret, &changed.user.name, self.own_name());
        Ok(TotpEnrolment { uri, secret: totp::base32(&secret) })
    }

    pub(super) async fn confirm_second_factor(
        &self,
        call: &Call,
        code: &str,
    ) -> Result<RecoveryCodes, ApiError> {
        let record = self.signed_in_user(call).await?;
        let mut changed = record.value.clone();
        let codes = second_factor::confirm(&self.vault, &mut changed, code, OffsetDateTime::now_utc())?;
        self.change_user(&record, &changed).await?;
        // They were opened without a code.
        self.authn.end_sessions(record.key, call.caller.session).await?;
        Ok(RecoveryCodes { codes })
    }

    pub(super) async fn disable_second_factor(
        &self,
        call: &Call,
        request: OwnPassword,
    ) -> Result<User, ApiError> {
        let record = self.proven_user(call, request).await?;
        self.forget_second_factor(&record).await
    }

    pub(super) async fn reset_second_factor(&self, call: &Call, user: &str) -> Result<User, ApiError> {
        let record = self.find_user(user).await?;
        if call.caller.user == Some(record.key) {
            return Err(ApiError::new(
                Reason::WrongState,
                "this is your own; turn it off with your password (xenith user totp-disable)",
            ));
        }
        self.forget_second_factor(&record).await
    }

    async fn forget_second_factor(&self, record: &Known) -> Result<User, ApiError> {
        if record.value.totp.is_none() {
            let name = &record.value.user.name;
            return Err(ApiError::new(
                Reason::WrongState,
                format_args!("two-factor sign-in of {name} is off already"),
            ));
        }
        let mut changed = record.value.clone();
        second_factor::forget(&mut changed);
        self.change_user(record, &changed).await?;
        Ok(changed.user)
    }

    /// A recovery code was used: whoever looks after users should know, and the user, too, whether it was them.
    pub(super) async fn note_recovery(&self, user: &User, left: usize) {
        let name = &user.name;
        self.events
            .note(Happened {
                severity: Severity::Warning,
                kind: "user.recovery_code",
                subject: format!("user/{}", user.id),
                message: format!("{name} signed in with a recovery code; {left} are left"),
                pool: None,
            })
            .await;
    }

    async fn change_user(&self, record: &Known, changed: &UserRecord) -> Result<(), ApiError> {
        self.db.users.update(record, changed).await.map(drop).map_err(|error| store_error(&error))
    }

    /// The caller, in a session.
    async fn signed_in_user(&self, call: &Call) -> Result<Known, ApiError> {
        if call.caller.token.is_some() {
            return Err(ApiError::new(
                Reason::Forbidden,
                "a token cannot change how its user signs in; sign in",
            ));
        }
        self.own_user(call).await
    }

    /// The caller, in a session and with their password.
    async fn proven_user(&self, call: &Call, given: OwnPassword) -> Result<Known, ApiError> {
        let record = self.signed_in_user(call).await?;
        if !password::verify(given.password, record.value.password_hash.clone()).await? {
            return Err(ApiError::invalid(OWN_PASSWORD, "is not your password"));
        }
        Ok(record)
    }

    /// Where hosts reach us, without the port: what people know this orchestrator by.
    fn own_name(&self) -> &str {
        self.join_address.rsplit_once(':').map_or(&*self.join_address, |(name, _)| name)
    }
}
