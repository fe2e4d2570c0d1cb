//! Two-factor sign-in: what a user has besides what they know.
//!
//! ```text
//! off --enrol--> waiting --confirm, with a code--> on --disable, with the password; or reset, by an admin--> off
//!                   ^--enrol, anew--'
//! ```
//!
//! What always holds: the secret is stored sealed, recovery codes as digests under the Vault's key. A code is accepted in
//! the commit that notes it and opens the session, against the record as it was read: of two sign-ins with one code at the
//! same time, one conflicts, looks again, and finds it used. A crash before that commit leaves the code good; after it, the
//! sign-in is asked for again with the next one. An API token is never asked for a code, and cannot change any of this.

use aws_lc_rs::rand;
use time::OffsetDateTime;
use xenith_common_ids::UserId;
use xenith_orchestrator_store::{Expect, Record, Transaction};
use xenith_orchestrator_types::user::User;
use xenith_orchestrator_types::{ApiError, Reason};

use super::Authn;
use super::totp::{self, Worth};
use crate::errors::store_error;
use crate::model::{SessionRecord, TotpRecord, UserRecord};
use crate::secret::Vault;

/// The field of a sign-in, or of a confirmation, that has the code.
pub const CODE: &str = "code";
/// What [`TotpRecord::sealed_secret`] is sealed for.
const SEALED_SECRET: &str = "second factor";
/// What recovery codes are digested for.
const RECOVERY: &str = "recovery code";
const RECOVERY_CODES: usize = 10;
/// 80 bits, in four groups of four letters and digits: nobody guesses one, and somebody can copy it from paper.
const RECOVERY_LEN: usize = 10;
/// How often a sign-in looks again when the user changed meanwhile. Sign-ins of one user in one instant are few.
const ATTEMPTS: usize = 32;
/// That somebody signed in is noted so often: programs that do it all the time do not get into each other's way.
const NOTED_FOR: time::Duration = time::Duration::MINUTE;

/// What a user proved themselves with, besides the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    /// Nothing: they have no second factor.
    None,
    Code,
    /// A recovery code; so many are left.
    Recovery {
        left: usize,
    },
}

/// A secret that waits for its first code.
pub fn enrol(vault: &Vault, secret: &[u8]) -> Result<TotpRecord, ApiError> {
    let sealed_secret = vault.seal(SEALED_SECRET, secret).map_err(ApiError::internal)?;
    Ok(TotpRecord { sealed_secret, last_step: 0, recovery: Vec::new() })
}

/// Makes what waits count, given its first code. Returns the recovery codes.
pub fn confirm(
    vault: &Vault,
    user: &mut UserRecord,
    code: &str,
    now: OffsetDateTime,
) -> Result<Vec<String>, ApiError> {
    let Some(waiting) = user.totp.as_mut().filter(|_| !user.user.totp) else {
        return Err(ApiError::new(
            Reason::WrongState,
            "there is no secret that waits for its code; make one first (xenith user totp-enrol)",
        ));
    };
    let secret = secret(vault, waiting)?;
    let Worth::Fresh(step) = totp::worth(&secret, &normal(code), now, waiting.last_step) else {
        return Err(ApiError::invalid(
            CODE,
            "is not what the app should show now; type the newest one, and check that the phone's clock is right",
        ));
    };
    let codes = (0..RECOVERY_CODES).map(|_| recovery_code()).collect::<Result<Vec<_>, _>>()?;
    waiting.last_step = step;
    waiting.recovery = codes.iter().map(|code| digest(vault, &normal(code))).collect();
    user.user.totp = true;
    Ok(codes)
}

/// Forgets the secret and the recovery codes.
pub fn forget(user: &mut UserRecord) {
    user.totp = None;
    user.user.totp = false;
}

/// Takes a code of a user who has a second factor: it is in `user` then that it was.
fn spend(
    vault: &Vault,
    user: &mut UserRecord,
    given: Option<&str>,
    now: OffsetDateTime,
) -> Result<Factor, ApiError> {
    let Some(known) = user.totp.as_mut().filter(|_| user.user.totp) else { return Ok(Factor::None) };
    let given = given.map(normal).unwrap_or_default();
    if given.is_empty() {
        // Not a failed attempt: this is how one learns that a code is wanted.
        let wanted = "give the code that your authenticator app shows, or a recovery code";
        return Err(ApiError::invalid(CODE, wanted));
    }
    if !totp::looks_like_code(&given) {
        let digest = digest(vault, &given);
        let Some(found) = known.recovery.iter().position(|known| *known == digest) else {
            return Err(wrong("the recovery code is wrong, or was used before"));
        };
        known.recovery.swap_remove(found);
        return Ok(Factor::Recovery { left: known.recovery.len() });
    }
    match totp::worth(&secret(vault, known)?, &given, now, known.last_step) {
        Worth::Fresh(step) => {
            known.last_step = step;
            Ok(Factor::Code)
        }
        Worth::Used => Err(wrong("this code was used before; wait for the next one")),
        Worth::Wrong => Err(wrong("the code is wrong; type the newest one")),
    }
}

fn wrong(text: &str) -> ApiError {
    let mut error = ApiError::new(Reason::Unauthenticated, text);
    error.data.field = Some(CODE.to_owned());
    error
}

fn secret(vault: &Vault, record: &TotpRecord) -> Result<Vec<u8>, ApiError> {
    vault.unseal(SEALED_SECRET, &record.sealed_secret).map_err(ApiError::internal)
}

/// As it is compared: without the gaps that make it readable.
fn normal(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).take(64).collect::<String>().to_ascii_uppercase()
}

fn digest(vault: &Vault, normal: &str) -> String {
    vault.digest(RECOVERY, normal.as_bytes())
}

/// `ABCD-EFGH-IJKL-MNOP`.
fn recovery_code() -> Result<String, ApiError> {
    let mut bytes = [0; RECOVERY_LEN];
    rand::fill(&mut bytes).map_err(|_| ApiError::internal("the system has no randomness"))?;
    let letters: Vec<char> = totp::base32(&bytes).chars().collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    Ok(groups.join("-"))
}

impl Authn {
    /// The end of a sign-in whose password was `verified`: takes a code where the user has a second factor, in the commit
    /// that opens the session. A user who changed since is looked at again: who was given another password meanwhile, or was
    /// disabled, has had their sessions ended, and no sign-in that was under way opens one after that.
    pub(super) async fn open_session(
        &self,
        vault: &Vault,
        (verified, given): (&UserRecord, Option<&str>),
        (key, session): (&String, &SessionRecord),
    ) -> Result<(User, Factor), ApiError> {
        for _ in 0..ATTEMPTS {
            let record = self.db.users.get(&verified.user.id).await.map_err(|error| store_error(&error))?;
            let as_verified = |record: &Record<UserId, UserRecord>| {
                !record.value.user.disabled && record.value.password_hash == verified.password_hash
            };
            let Some(record) = record.filter(as_verified) else {
                let text = "the user changed in this moment; sign in again";
                return Err(ApiError::new(Reason::Unauthenticated, text));
            };
            let (mut changed, now) = (record.value.clone(), OffsetDateTime::now_utc());
            let factor = spend(vault, &mut changed, given, now)?;
            let is_noted = |last: OffsetDateTime| (now - last).abs() < NOTED_FOR;
            let commit = if factor == Factor::None && changed.user.last_login.is_some_and(is_noted) {
                self.db.users.require_in(Transaction::new(), &record.key, Expect::At(record.revision))
            } else {
                changed.user.last_login = Some(now);
                self.db.users.update_in(Transaction::new(), &record, &changed)
            };
            match self.db.store.commit(self.db.sessions.insert_in(commit, key, session)).await {
                Ok(_) => return Ok((User { last_login: Some(now), ..changed.user }, factor)),
                // Another sign-in, perhaps with this very code.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(store_error(&error)),
            }
        }
        Err(ApiError::new(Reason::Conflict, "this user signs in too often at once; sign in again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn vault() -> Vault {
        Vault::open(&tempfile::tempdir().unwrap().path().join("master.key")).unwrap()
    }

    fn user() -> UserRecord {
        let user = User {
            id: UserId::new(),
            name: "ann".into(),
            bindings: vec![],
            disabled: false,
            created: OffsetDateTime::UNIX_EPOCH,
            last_login: None,
            totp: false,
            totp_due: false,
        };
        UserRecord { user, password_hash: String::new(), totp: None }
    }

    fn step(number: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(number * 30).unwrap()
    }

    fn code(number: u64) -> String {
        totp::code(SECRET, number)
    }

    #[test]
    fn it_counts_only_when_it_was_confirmed() {
        let (vault, mut ann) = (vault(), user());
        assert_eq!(confirm(&vault, &mut ann, "000000", step(9)).unwrap_err().reason(), Reason::WrongState);
        ann.totp = Some(enrol(&vault, SECRET).unwrap());
        assert_eq!(spend(&vault, &mut ann, None, step(9)), Ok(Factor::None), "not yet");
        let wrong = confirm(&vault, &mut ann, &code(20), step(9)).unwrap_err();
        assert_eq!((wrong.reason(), wrong.data.field.as_deref()), (Reason::Invalid, Some(CODE)));
        assert!(!ann.user.totp);

        let codes = confirm(&vault, &mut ann, &code(9), step(9)).unwrap();
        assert!(ann.user.totp && codes.len() == RECOVERY_CODES);
        let again = confirm(&vault, &mut ann, &code(10), step(10)).unwrap_err();
        assert_eq!(again.reason(), Reason::WrongState, "it is on already");
        let used = spend(&vault, &mut ann, Some(&code(9)), step(9)).unwrap_err();
        assert_eq!(used.reason(), Reason::Unauthenticated, "the code that confirmed it was used: {used}");
        forget(&mut ann);
        assert_eq!(spend(&vault, &mut ann, None, step(10)), Ok(Factor::None));
    }

    #[test]
    fn a_code_and_a_recovery_code_work_once() {
        let (vault, mut ann) = (vault(), user());
        ann.totp = Some(enrol(&vault, SECRET).unwrap());
        let codes = confirm(&vault, &mut ann, &code(9), step(9)).unwrap();
        for empty in [None, Some(""), Some(" - ")] {
            let asked = spend(&vault, &mut ann, empty, step(11)).unwrap_err();
            assert_eq!(
                (asked.reason(), asked.data.field.as_deref()),
                (Reason::Invalid, Some(CODE)),
                "{empty:?}"
            );
        }
        let spaced = format!("{} {}", &code(11)[..3], &code(11)[3..]);
        assert_eq!(spend(&vault, &mut ann, Some(&spaced), step(11)), Ok(Factor::Code));
        for (case, given) in [("used", code(11)), ("wrong", code(99)), ("made up", "ABCD-EFGH".to_owned())] {
            let refused = spend(&vault, &mut ann, Some(&given), step(11)).unwrap_err();
            assert_eq!(
                (refused.reason(), refused.data.field.as_deref()),
                (Reason::Unauthenticated, Some(CODE)),
                "{case}"
            );
        }
        let typed = codes[3].to_lowercase().replace('-', " ");
        let left = RECOVERY_CODES - 1;
        assert_eq!(spend(&vault, &mut ann, Some(&typed), step(11)), Ok(Factor::Recovery { left }));
        assert!(spend(&vault, &mut ann, Some(&codes[3]), step(11)).is_err(), "once");
        assert_eq!(
            spend(&vault, &mut ann, Some(&codes[4]), step(11)),
            Ok(Factor::Recovery { left: left - 1 })
        );
        let stored = serde_json::to_string(&ann).unwrap();
        assert!(
            !codes.iter().any(|code| stored.contains(code) || stored.contains(&normal(code))),
            "{stored}"
        );
    }
}
