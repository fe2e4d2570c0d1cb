//! Who is calling: passwords, sessions, API tokens.
//!
//! What always holds: secrets are 256 random bits and stored as BLAKE3 hashes; passwords as Argon2id, and nowhere as a
//! faster hash. The answer that issues a token is kept for a day under its idempotency key, sealed ([`crate::rpc`]). A wrong
//! password costs as much time as a right one and an unknown name as much as a known one. After a few failures
//! from one address, or for one name, attempts are refused for a while ([`throttle`]). Who has a second factor gives a
//! code of it as well, which counts once ([`second_factor`]).

pub mod password;
pub mod second_factor;
pub mod throttle;
pub mod totp;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use time::OffsetDateTime;
use xenith_common_ids::{TokenId, UserId};
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::user::User;
use xenith_orchestrator_types::{ApiError, Binding, Reason, Role, Scope};

use crate::db::Db;
use crate::errors::store_error;
use crate::model::{SessionRecord, UserRecord};
use crate::secret::Vault;
use second_factor::Factor;
use throttle::{Throttle, Try, Verdict};

/// A working day: who walks away in the evening signs in again in the morning.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Marks what kind of secret it is, for people and for secret scanners.
const SESSION_PREFIX: &str = "xs1-";
const TOKEN_PREFIX: &str = "xt1-";

/// The field of a change of the password that is verified.
pub const OLD_PASSWORD: &str = "old";
/// The field of a change of the second factor that is verified.
pub const OWN_PASSWORD: &str = "password";

/// 256 random bits in hexadecimal.
pub fn new_secret() -> Result<String, ApiError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| ApiError::internal("the system has no randomness"))?;
    Ok(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    }))
}

/// What of a secret is stored.
#[must_use]
pub fn secret_hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// A session that began.
pub struct SignedIn {
    pub secret: String,
    pub expires: OffsetDateTime,
    pub user: User,
    pub factor: Factor,
}

impl std::fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedIn").field("user", &self.user.name).finish_non_exhaustive()
    }
}

pub struct Authn {
    db: Db,
    throttle: Throttle,
    /// Checked against when a name is unknown, so that the answer takes as long.
    decoy: String,
    /// Roles whose users need a second factor.
    required: Vec<Role>,
}

impl Authn {
    pub async fn new(db: Db) -> Result<Arc<Self>, ApiError> {
        Self::requiring(db, Vec::new()).await
    }

    /// Who has one of these roles, wherever it holds, gets nowhere without a second factor.
    pub async fn requiring(db: Db, required: Vec<Role>) -> Result<Arc<Self>, ApiError> {
        let decoy = password::hash(new_secret()?).await?;
        Ok(Arc::new(Self { db, throttle: Throttle::default(), decoy, required }))
    }

    /// Makes the first admin when there is no user at all. Returns the password, to be shown once.
    pub async fn first_admin(&self) -> Result<Option<String>, ApiError> {
        let users = self.db.users.page(None, 1).await.map_err(|error| store_error(&error))?;
        if !users.records.is_empty() {
            return Ok(None);
        }
        let secret = new_secret()?[..20].to_owned();
        let binding = Binding { role: Role::Admin, scope: Scope::All };
        self.create_user("admin", &secret, vec![binding]).await?;
        Ok(Some(secret))
    }

    pub async fn create_user(
        &self,
        name: &str,
        password: &str,
        bindings: Vec<Binding>,
    ) -> Result<User, ApiError> {
        let fine = (1..=64).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
            && name.parse::<UserId>().is_err();
        if !fine {
            return Err(ApiError::invalid(
                "name",
                "use 1 to 64 letters, digits, dots, hyphens, @ or underscores",
            ));
        }
        password::check("password", password)?;
        let user = User {
            id: UserId::new(),
            name: name.to_owned(),
            bindings,
            disabled: false,
            created: OffsetDateTime::now_utc(),
            last_login: None,
            totp: false,
            totp_due: false,
        };
        let password_hash = password::hash(password.to_owned()).await?;
        let record = UserRecord { user: user.clone(), password_hash, totp: None };
        let commit = self.db.users.insert_in(Transaction::new(), &user.id, &record);
        let commit = self.db.user_names.insert_in(commit, &name.to_owned(), &user.id);
        match self.db.store.commit(commit).await {
            Ok(_) => Ok(user),
            Err(error) if error.is_conflict() => {
                Err(ApiError::new(Reason::Conflict, format_args!("there is a user {name:?} already")))
            }
            Err(error) => Err(store_error(&error)),
        }
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<UserRecord>, StoreError> {
        match self.db.user_names.get(&name.to_owned()).await? {
            Some(id) => Ok(self.db.users.get(&id.value).await?.map(|record| record.value)),
            None => Ok(None),
        }
    }

    /// Before a password is verified, and before anything is written down of it: counts the try, or refuses it.
    pub fn try_password(&self, name: &str, from: Option<IpAddr>) -> Result<Try<'_>, ApiError> {
        self.throttle.begin(name, from)
    }

    /// Checks a name and password, then a code where the user has a second factor, and opens a session. Whoever asks
    /// has counted the try.
    pub async fn login(&self, given: &Credentials, vault: &Vault) -> Result<SignedIn, ApiError> {
        let known = self.user_by_name(&given.name).await.map_err(|error| store_error(&error))?;
        let hash = known.as_ref().map_or(&self.decoy, |record| &record.password_hash);
        let right = password::verify(given.password.clone(), hash.clone()).await?;
        let Some(verified) = known.filter(|record| right && !record.user.disabled) else {
            return Err(ApiError::new(Reason::Unauthenticated, "the name or the password is wrong"));
        };
        let secret = format!("{SESSION_PREFIX}{}", new_secret()?);
        let expires = OffsetDateTime::now_utc() + SESSION_LIFE;
        let session = SessionRecord { user: verified.user.id, expires };
        let code = given.code.as_deref();
        let (user, factor) =
            self.open_session(vault, (&verified, code), (&secret_hash(&secret), &session)).await?;
        Ok(SignedIn { secret, expires, user, factor })
    }

    /// Who has this session or token.
    pub async fn caller(&self, secret: &str, from: Option<IpAddr>) -> Result<Caller, ApiError> {
        let over = || {
            ApiError::new(
                Reason::Unauthenticated,
                "the session or token is not valid any more; sign in again",
            )
        };
        let now = OffsetDateTime::now_utc();
        if let Some(token) = secret.strip_prefix(TOKEN_PREFIX) {
            let (id, _) = token.split_once('.').ok_or_else(over)?;
            let id: TokenId = id.parse().map_err(|_| over())?;
            let record =
                self.db.tokens.get(&id).await.map_err(|error| store_error(&error))?.ok_or_else(over)?.value;
            let expected = blake3::Hash::from_hex(&record.secret_hash).map_err(|_| over())?;
            // blake3's comparison takes the same time wherever the difference is.
            if blake3::hash(secret.as_bytes()) != expected || record.token.expires < now {
                return Err(over());
            }
            let user = self.enabled_user(record.token.user).await?.ok_or_else(over)?;
            let bindings = narrowed(&user.bindings, &record.token.bindings);
            return Ok(Caller { token: Some(id), bindings, ..caller_of(&user, from) });
        }
        let hash = secret_hash(secret);
        let session =
            self.db.sessions.get(&hash).await.map_err(|error| store_error(&error))?.ok_or_else(over)?.value;
        if session.expires < now {
            return Err(over());
        }
        let user = self.enabled_user(session.user).await?.ok_or_else(over)?;
        let session = Some(*blake3::hash(secret.as_bytes()).as_bytes());
        let caller = Caller { session, bindings: user.bindings.clone(), ..caller_of(&user, from) };
        Ok(self.confined(caller, &user))
    }

    /// A session of who lacks the second factor that a role asks for reaches no further than the account. Tokens are not
    /// asked: they were made by who had it, or before it was asked for.
    fn confined(&self, caller: Caller, user: &User) -> Caller {
        if !self.lacks_second_factor(user) {
            return caller;
        }
        Caller { bindings: Vec::new(), second_factor_due: true, ..caller }
    }

    /// Whether a role of theirs asks for a second factor that they do not have.
    #[must_use]
    pub fn lacks_second_factor(&self, user: &User) -> bool {
        let asks = |binding: &Binding| self.required.contains(&binding.role);
        !user.totp && user.bindings.iter().any(asks)
    }

    /// The same caller as things are now: the session or token may have ended, roles may have changed.
    pub async fn current(&self, caller: &Caller) -> Result<Caller, ApiError> {
        let over = || ApiError::new(Reason::Unauthenticated, "the session or token is not valid any more");
        let now = OffsetDateTime::now_utc();
        let user = caller.user.ok_or_else(over)?;
        let user = self.enabled_user(user).await?.ok_or_else(over)?;
        let bindings = match (caller.session, caller.token) {
            (Some(hash), _) => {
                let key = blake3::Hash::from_bytes(hash).to_hex().to_string();
                let session = self.db.sessions.get(&key).await.map_err(|error| store_error(&error))?;
                session.filter(|session| session.value.expires >= now).ok_or_else(over)?;
                user.bindings.clone()
            }
            (None, Some(token)) => {
                let record = self.db.tokens.get(&token).await.map_err(|error| store_error(&error))?;
                let record = record.filter(|record| record.value.token.expires >= now).ok_or_else(over)?;
                narrowed(&user.bindings, &record.value.token.bindings)
            }
            (None, None) => return Err(over()),
        };
        let now = Caller { bindings, second_factor_due: false, ..caller.clone() };
        Ok(if caller.session.is_some() { self.confined(now, &user) } else { now })
    }

    /// A user with the rights of this moment, for work that goes on after the call that began it.
    pub async fn caller_now(&self, user: UserId) -> Result<Caller, ApiError> {
        let found = self.enabled_user(user).await?;
        let gone = || ApiError::new(Reason::WrongState, "who began this is no user any more; begin it again");
        let user = found.ok_or_else(gone)?;
        Ok(Caller { bindings: user.bindings.clone(), ..caller_of(&user, None) })
    }

    async fn enabled_user(&self, id: UserId) -> Result<Option<User>, ApiError> {
        let record = self.db.users.get(&id).await.map_err(|error| store_error(&error))?;
        Ok(record.map(|record| record.value.user).filter(|user| !user.disabled))
    }

    /// Ends the sessions of a user, but for the one that asks.
    pub async fn end_sessions(&self, user: UserId, but: Option<[u8; 32]>) -> Result<(), ApiError> {
        let keep = but.map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string());
        // Sessions are few and this is rare; an index by user would cost more than it saves.
        let (sessions, _) = self.db.sessions.all().await.map_err(|error| store_error(&error))?;
        for session in sessions {
            if session.value.user == user && Some(&session.key) != keep.as_ref() {
                let delete = self.db.sessions.delete_in(Transaction::new(), &session.key);
                self.db.store.commit(delete).await.map_err(|error| store_error(&error))?;
            }
        }
        Ok(())
    }

    /// Drops what has expired; run now and then.
    pub async fn prune(&self) -> Result<usize, StoreError> {
        let now = OffsetDateTime::now_utc();
        let mut pruned = 0;
        for session in self.db.sessions.all().await?.0 {
            if session.value.expires < now {
                self.db.store.commit(self.db.sessions.delete_in(Transaction::new(), &session.key)).await?;
                pruned += 1;
            }
        }
        for join in self.db.joins.all().await?.0 {
            if join.value.expires < now {
                self.db.store.commit(self.db.joins.delete_in(Transaction::new(), &join.key)).await?;
                pruned += 1;
            }
        }
        Ok(pruned)
    }

    /// A new token's secret.
    pub fn token_secret(id: TokenId) -> Result<String, ApiError> {
        Ok(format!("{TOKEN_PREFIX}{id}.{}", new_secret()?))
    }
}

/// What a call that verifies a password found of it. That a code is missing beside a right password is no verdict: to
/// clear the count then would let who knows the password guess codes without end.
pub fn verdict(error: Option<&ApiError>) -> Verdict {
    match error {
        None => Verdict::Right,
        Some(error) if error.reason() == Reason::Unauthenticated => Verdict::Wrong,
        Some(error) => match error.data.field.as_deref() {
            Some(OLD_PASSWORD | OWN_PASSWORD) => Verdict::Wrong,
            _ => Verdict::None,
        },
    }
}

fn caller_of(user: &User, from: Option<IpAddr>) -> Caller {
    Caller { user: Some(user.id), name: user.name.clone(), ..Caller::anonymous(from) }
}

/// A token's rights: what it was given, as far as its user has that still.
fn narrowed(user: &[Binding], token: &[Binding]) -> Vec<Binding> {
    if token.is_empty() {
        return user.to_vec();
    }
    let has = |wanted: &Binding| {
        user.iter().any(|binding| {
            binding.role >= wanted.role && (binding.scope == Scope::All || binding.scope == wanted.scope)
        })
    };
    token.iter().filter(|wanted| has(wanted)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_common_ids::PoolId;
    use xenith_orchestrator_store::MemoryStore;
    use xenith_orchestrator_types::Permission;
    use xenith_orchestrator_types::token::Token;

    use crate::model::TokenRecord;

    fn db() -> Db {
        Db::over(Arc::new(MemoryStore::new(&crate::db::schema())))
    }

    #[tokio::test]
    async fn a_session_lasts_until_it_is_ended() {
        let authn = Authn::new(db()).await.unwrap();
        let password = authn.first_admin().await.unwrap().unwrap();
        assert_eq!(authn.first_admin().await.unwrap(), None, "shown once");
        let vault = Vault::open(&tempfile::tempdir().unwrap().path().join("master.key")).unwrap();
        let given = |name: &str, password: &str| Credentials {
            name: name.to_owned(),
            password: password.to_owned(),
            code: None,
        };
        let wrong = authn.login(&given("admin", "not the password"), &vault).await.unwrap_err();
        let unknown = authn.login(&given("nobody", "not the password"), &vault).await.unwrap_err();
        assert_eq!(wrong.message, unknown.message);
        let SignedIn { secret, user, .. } = authn.login(&given("admin", &password), &vault).await.unwrap();
        let caller = authn.caller(&secret, None).await.unwrap();
        assert_eq!(caller.user, Some(user.id));
        authn.end_sessions(user.id, caller.session).await.unwrap();
        assert!(authn.caller(&secret, None).await.is_ok());
        authn.end_sessions(user.id, None).await.unwrap();
        assert_eq!(authn.caller(&secret, None).await.unwrap_err().reason(), Reason::Unauthenticated);
        assert!(authn.caller("xt1-nonsense", None).await.is_err());
    }

    #[tokio::test]
    async fn a_user_who_changed_while_the_password_was_verified_has_no_session_from_it() {
        type Change = fn(&mut UserRecord);
        let table: [(&str, Change, bool); 4] = [
            ("nothing", |_| {}, true),
            ("signed in elsewhere", |record| record.user.last_login = Some(OffsetDateTime::now_utc()), true),
            ("another password", |record| record.password_hash = "another".into(), false),
            ("disabled", |record| record.user.disabled = true, false),
        ];
        let vault = Vault::open(&tempfile::tempdir().unwrap().path().join("master.key")).unwrap();
        for (case, change, opened) in table {
            let authn = Authn::new(db()).await.unwrap();
            authn.first_admin().await.unwrap().unwrap();
            let verified = authn.user_by_name("admin").await.unwrap().unwrap();
            let user = verified.user.id;
            authn.db.users.modify(&user, change).await.unwrap().unwrap();
            let session = SessionRecord { user, expires: OffsetDateTime::now_utc() + SESSION_LIFE };
            let key = secret_hash("xs1-a");
            let outcome = authn.open_session(&vault, (&verified, None), (&key, &session)).await;
            match (outcome, opened) {
                (Ok((user, Factor::None)), true) => assert!(user.last_login.is_some(), "{case}"),
                (Err(error), false) => assert_eq!(error.reason(), Reason::Unauthenticated, "{case}"),
                (outcome, _) => panic!("{case}: {outcome:?}"),
            }
            assert_eq!(authn.db.sessions.get(&key).await.unwrap().is_some(), opened, "{case}");
        }
    }

    #[tokio::test]
    async fn what_has_expired_lets_nobody_in() {
        let authn = Authn::new(db()).await.unwrap();
        let password = authn.first_admin().await.unwrap().unwrap();
        let vault = Vault::open(&tempfile::tempdir().unwrap().path().join("master.key")).unwrap();
        let given = Credentials { name: "admin".into(), password, code: None };
        let session = authn.login(&given, &vault).await.unwrap();
        let left = session.expires - OffsetDateTime::now_utc();
        assert!(left > time::Duration::hours(11) && left <= time::Duration::hours(12), "{left}");
        let id = TokenId::new();
        let token_secret = Authn::token_secret(id).unwrap();
        let (user, created) = (session.user.id, OffsetDateTime::now_utc());
        let expires = created + Duration::from_secs(60);
        let token = Token { id, user, name: "ci".into(), bindings: vec![], created, expires };
        let record = TokenRecord { token, secret_hash: secret_hash(&token_secret) };
        authn.db.tokens.insert(&id, &record).await.unwrap();

        // Who is let in stays so until it has expired, also over a connection that is open.
        let mut open = Vec::new();
        for secret in [&session.secret, &token_secret] {
            let caller = authn.caller(secret, None).await.unwrap();
            assert!(authn.current(&caller).await.is_ok());
            open.push(caller);
        }
        let other = format!("{TOKEN_PREFIX}{id}.{}", "ab".repeat(32));
        assert!(authn.caller(&other, None).await.is_err(), "the id alone is no token");
        let past = created - Duration::from_secs(1);
        let key = secret_hash(&session.secret);
        authn.db.sessions.modify(&key, |record| record.expires = past).await.unwrap().unwrap();
        authn.db.tokens.modify(&id, |record| record.token.expires = past).await.unwrap().unwrap();
        for (secret, caller) in [&session.secret, &token_secret].into_iter().zip(&open) {
            let over = authn.caller(secret, None).await.unwrap_err();
            assert_eq!(over.reason(), Reason::Unauthenticated, "{over}");
            assert_eq!(authn.current(caller).await.unwrap_err().reason(), Reason::Unauthenticated);
        }
    }

    #[tokio::test]
    async fn a_role_may_ask_for_a_second_factor() {
        let vault = Vault::open(&tempfile::tempdir().unwrap().path().join("master.key")).unwrap();
        for (required, due) in [(vec![], false), (vec![Role::Viewer], false), (vec![Role::Admin], true)] {
            let authn = Authn::requiring(db(), required.clone()).await.unwrap();
            let password = authn.first_admin().await.unwrap().unwrap();
            let given = Credentials { name: "admin".into(), password, code: None };
            let SignedIn { secret, user, .. } = authn.login(&given, &vault).await.unwrap();
            let caller = authn.caller(&secret, None).await.unwrap();
            assert_eq!(caller.second_factor_due, due, "{required:?}");
            assert_eq!(caller.check(Permission::View).is_err(), due, "{required:?}");
            assert!(!due || !caller.everywhere(Permission::Secure), "{required:?}");
            assert!(caller.check(Permission::Own).is_ok(), "{required:?}");
            authn.db.users.modify(&user.id, |record| record.user.totp = true).await.unwrap();
            let now = authn.current(&caller).await.unwrap();
            assert!(!now.second_factor_due && now.check(Permission::Secure).is_ok(), "{required:?}");
        }
    }

    #[test]
    fn a_token_never_has_more_than_its_user() {
        let pool = Scope::Pool(PoolId::new());
        let binding = |role, scope: &Scope| Binding { role, scope: scope.clone() };
        let user = [binding(Role::Operator, &pool), binding(Role::Viewer, &Scope::All)];
        assert_eq!(narrowed(&user, &[]), user);
        assert_eq!(narrowed(&user, &[binding(Role::Admin, &Scope::All)]), []);
        assert_eq!(narrowed(&user, &[binding(Role::Operator, &Scope::All)]), []);
        let viewer = [binding(Role::Viewer, &pool)];
        assert_eq!(narrowed(&user, &viewer), viewer);
    }
}
