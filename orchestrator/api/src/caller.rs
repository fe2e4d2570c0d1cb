//! Who calls, and what they may see. The one place that turns bindings into yes or no.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::OnceLock;

use serde_json::Value;
use xenith_common_ids::{PoolId, TokenId, UserId};
use xenith_orchestrator_types::{ApiError, Binding, Permission, Reach, Reason, Scope};

/// One call: who, from where, and what goes with every mutation.
#[derive(Debug)]
pub struct Call {
    pub caller: Caller,
    pub idempotency_key: Option<String>,
    pub dry_run: bool,
    plan: OnceLock<Value>,
    record: OnceLock<u64>,
}

impl Call {
    #[must_use]
    pub const fn new(caller: Caller, idempotency_key: Option<String>) -> Self {
        Self { caller, idempotency_key, dry_run: false, plan: OnceLock::new(), record: OnceLock::new() }
    }

    /// The same call, to be planned only.
    #[must_use]
    pub fn planning(self) -> Self {
        Self { dry_run: true, ..self }
    }

    /// Ends a dry run: all checks were made, this is what would be done. The caller gets `{"plan": …}`; the
    /// error only carries that through the method's result type.
    #[must_use]
    pub fn planned(&self, plan: Value) -> ApiError {
        let _only_one = self.plan.set(plan);
        ApiError::new(Reason::Internal, "a dry run ends with its plan")
    }

    /// The audit log has the call under this number.
    pub fn note_record(&self, sequence: u64) {
        let _only_one = self.record.set(sequence);
    }

    /// The call's number in the audit log. `None`: it is not in there (it only reads, or nobody called).
    #[must_use]
    pub fn record(&self) -> Option<u64> {
        self.record.get().copied()
    }

    /// What [`Self::planned`] was given.
    #[must_use]
    pub fn plan(&self) -> Option<&Value> {
        self.plan.get()
    }
}

/// Somebody who may or may not have signed in.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: Option<UserId>,
    pub name: String,
    pub from: Option<IpAddr>,
    /// Signed in with this token, not with a session.
    pub token: Option<TokenId>,
    /// BLAKE3 of the session's secret, to end it.
    pub session: Option<[u8; 32]>,
    pub bindings: Vec<Binding>,
    /// A role of theirs asks for a second factor that they do not have. Until they do, only their own account is open to
    /// them, and `bindings` is empty.
    pub second_factor_due: bool,
}

/// Which objects of the inventory a caller may see, or act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    All,
    Only { pools: BTreeSet<PoolId>, tags: BTreeSet<String> },
}

impl Sight {
    #[must_use]
    pub fn covers<'a>(&self, pool: Option<PoolId>, tags: impl IntoIterator<Item = &'a String>) -> bool {
        match self {
            Self::All => true,
            Self::Only { pools, tags: mine } => {
                pool.is_some_and(|pool| pools.contains(&pool))
                    || tags.into_iter().any(|tag| mine.contains(tag))
            }
        }
    }
}

impl Caller {
    /// Nobody yet.
    #[must_use]
    pub const fn anonymous(from: Option<IpAddr>) -> Self {
        Self {
            user: None,
            name: String::new(),
            from,
            token: None,
            session: None,
            bindings: Vec::new(),
            second_factor_due: false,
        }
    }

    /// Whether a call that needs `permission` may go on at all. What it may touch is [`Self::sight`]'s.
    pub fn check(&self, permission: Permission) -> Result<(), ApiError> {
        if permission == Permission::Anyone {
            return Ok(());
        }
        if self.user.is_none() {
            return Err(ApiError::new(Reason::Unauthenticated, "sign in first (xenith login)"));
        }
        if self.second_factor_due && permission.reach() != Reach::Oneself {
            return Err(self.without_second_factor());
        }
        let allowed = match permission.reach() {
            Reach::Oneself => true,
            Reach::Scope => self.bindings.iter().any(|binding| binding.role.allows(permission)),
            Reach::Everything => self.everywhere(permission),
        };
        if allowed { Ok(()) } else { Err(self.forbidden(permission)) }
    }

    /// The refusal of who has to set up a second factor first.
    #[must_use]
    pub fn without_second_factor(&self) -> ApiError {
        ApiError::new(
            Reason::Forbidden,
            format_args!(
                "a role of {} asks for two-factor sign-in; set it up first (xenith user totp-enrol, or \"My account\" \
                 in the browser)",
                self.name
            ),
        )
    }

    /// The refusal, in words.
    #[must_use]
    pub fn forbidden(&self, permission: Permission) -> ApiError {
        let needed = match permission {
            Permission::Operate | Permission::Provision => "operator",
            Permission::Administer => "admin there",
            Permission::System | Permission::Secure => "admin of everything",
            Permission::Anyone | Permission::Own | Permission::View => "viewer",
        };
        ApiError::new(
            Reason::Forbidden,
            format_args!("{} may not do this; it needs the role {needed}", self.name),
        )
    }

    /// Whether a role that allows this holds everywhere.
    #[must_use]
    pub fn everywhere(&self, permission: Permission) -> bool {
        let holds = |binding: &Binding| binding.scope == Scope::All && binding.role.allows(permission);
        self.bindings.iter().any(holds)
    }

    /// The objects for which the caller has `permission`.
    #[must_use]
    pub fn sight(&self, permission: Permission) -> Sight {
        if self.everywhere(permission) {
            return Sight::All;
        }
        let (mut pools, mut tags) = (BTreeSet::new(), BTreeSet::new());
        for binding in self.bindings.iter().filter(|binding| binding.role.allows(permission)) {
            match &binding.scope {
                Scope::All => {}
                Scope::Pool(pool) => {
                    pools.insert(*pool);
                }
                Scope::Tag(tag) => {
                    tags.insert(tag.clone());
                }
            }
        }
        Sight::Only { pools, tags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_orchestrator_types::Role;

    fn caller(bindings: Vec<Binding>) -> Caller {
        Caller { user: Some(UserId::new()), bindings, ..Caller::anonymous(None) }
    }

    #[test]
    fn scoped_roles_reach_no_further() {
        let (mine, other) = (PoolId::new(), PoolId::new());
        let admin_of_pool = caller(vec![Binding { role: Role::Admin, scope: Scope::Pool(mine) }]);
        assert!(admin_of_pool.check(Permission::Provision).is_ok());
        assert!(admin_of_pool.check(Permission::Administer).is_ok());
        assert!(admin_of_pool.check(Permission::System).is_err());
        assert!(admin_of_pool.check(Permission::Secure).is_err());
        for permission in [Permission::Operate, Permission::Administer] {
            let sight = admin_of_pool.sight(permission);
            assert!(sight.covers(Some(mine), []));
            assert!(!sight.covers(Some(other), [&"prod".to_owned()]));
        }
        let operator = caller(vec![Binding { role: Role::Operator, scope: Scope::All }]);
        assert!(operator.check(Permission::Administer).is_err());

        let viewer = caller(vec![
            Binding { role: Role::Viewer, scope: Scope::All },
            Binding { role: Role::Operator, scope: Scope::Tag("dev".into()) },
        ]);
        assert_eq!(viewer.sight(Permission::View), Sight::All);
        let operates = viewer.sight(Permission::Operate);
        assert!(operates.covers(Some(other), [&"dev".to_owned()]));
        assert!(!operates.covers(Some(other), [&"prod".to_owned()]));
    }

    #[test]
    fn nobody_may_sign_in_and_no_more() {
        for permission in Permission::ALL {
            let result = Caller::anonymous(None).check(permission);
            assert_eq!(result.is_ok(), permission == Permission::Anyone, "{permission:?}");
        }
    }
}
