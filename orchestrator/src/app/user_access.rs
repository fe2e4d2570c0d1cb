//! What a user may do in the end, on what, and by which of their roles.
//!
//! [`Caller::check`] and [`Caller::sight`] decide what a call may do; this asks them, with the roles of the user in place
//! of the caller's, and adds no rule. Everybody is told of themselves; of others only who has [`Permission::Secure`], and
//! who has not hears the same of a user that there is and one that there is not.

use xenith_common_ids::PoolId;
use xenith_orchestrator_api::{Call, Caller, SUBSCRIPTIONS, Sight, methods};
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_types::user::{
    AccessGround, AccessOf, Barred, Covered, PermissionAccess, User, UserAccess,
};
use xenith_orchestrator_types::{ApiError, Binding, Permission, Reach, Scope};

use super::{App, parse_filter};
use crate::errors::store_error;

/// The pools that the counted things are in, read once for all roles.
struct Places {
    pools: Vec<PoolId>,
    hosts: Vec<PoolId>,
    srs: Vec<PoolId>,
    networks: Vec<PoolId>,
}

impl App {
    pub(super) async fn access_of(&self, call: &Call, request: AccessOf) -> Result<UserAccess, ApiError> {
        let own = self.own_user(call).await?;
        let named_self = |name: &String| *name == own.value.user.name || *name == own.key.to_string();
        let other = request.user.filter(|name| !named_self(name));
        let (user, bindings, due) = match other {
            // What counts is what the session or token may do, as for every call.
            None => (own.value.user, call.caller.bindings.clone(), call.caller.second_factor_due),
            Some(_) if !call.caller.everywhere(Permission::Secure) => {
                return Err(call.caller.forbidden(Permission::Secure));
            }
            Some(name) => {
                let user = self.find_user(&name).await?.value.user;
                let due = self.authn.lacks_second_factor(&user);
                (user.clone(), user.bindings, due)
            }
        };
        let permissions = self.permissions_of(&bindings).await?;
        let User { id, name, disabled, .. } = user;
        let barred = match (disabled, due) {
            (true, _) => Some(Barred::Disabled),
            (false, true) => Some(Barred::SecondFactorDue),
            (false, false) => None,
        };
        Ok(UserAccess { user: id, name, barred, permissions })
    }

    async fn permissions_of(&self, bindings: &[Binding]) -> Result<Vec<PermissionAccess>, ApiError> {
        let places = self.where_things_are().await?;
        let mut alone = Vec::new();
        for binding in bindings {
            let on = self.covered(&places, sight_of(std::slice::from_ref(binding), Permission::View)).await?;
            alone.push(AccessGround { binding: binding.clone(), on });
        }
        let mut told = Vec::new();
        for permission in Permission::ALL.into_iter().filter(|one| *one != Permission::Anyone) {
            let given = |ground: &&AccessGround| gives(&ground.binding, permission);
            let grounds: Vec<AccessGround> = alone.iter().filter(given).cloned().collect();
            let on = match (permission.reach(), grounds.as_slice()) {
                (Reach::Oneself, _) => Covered::default(),
                (_, []) => continue,
                (_, [one]) => one.on,
                _ => self.covered(&places, sight_of(bindings, permission)).await?,
            };
            told.push(PermissionAccess { permission, methods: methods_of(permission), on, grounds });
        }
        Ok(told)
    }

    async fn where_things_are(&self) -> Result<Places, ApiError> {
        let (networks, _) = self.db.networks.all().await.map_err(|error| store_error(&error))?;
        Ok(Places {
            pools: self.views.pools().into_iter().map(|pool| pool.id).collect(),
            hosts: self.views.hosts().into_iter().map(|(_, host)| host.pool).collect(),
            srs: self.all_srs().await?.into_iter().map(|sr| sr.record.pool).collect(),
            networks: networks.into_iter().map(|network| network.value.pool).collect(),
        })
    }

    async fn covered(&self, places: &Places, sight: Sight) -> Result<Covered, ApiError> {
        let placed = places.covered(&sight);
        let (all, scope, vms) = (parse_filter::<Vms>("")?, self.scope_of(sight), self.views.vms.clone());
        let vms = self.readers.run(move || vms.count(&all, &scope)).await?;
        Ok(Covered { vms, ..placed })
    }
}

impl Places {
    /// All but the VMs. A tag covers none of it.
    fn covered(&self, sight: &Sight) -> Covered {
        let of = |pools: &[PoolId]| {
            let covered = pools.iter().filter(|pool| sight.covers(Some(**pool), [])).count();
            u64::try_from(covered).unwrap_or(u64::MAX)
        };
        Covered {
            everything: *sight == Sight::All,
            pools: of(&self.pools),
            hosts: of(&self.hosts),
            srs: of(&self.srs),
            networks: of(&self.networks),
            vms: 0,
        }
    }
}

/// Whether the role gives the permission where it holds.
fn gives(binding: &Binding, permission: Permission) -> bool {
    let far_enough = match permission.reach() {
        Reach::Oneself => false,
        Reach::Scope => true,
        Reach::Everything => binding.scope == Scope::All,
    };
    far_enough && binding.role.allows(permission)
}

fn sight_of(bindings: &[Binding], permission: Permission) -> Sight {
    Caller { bindings: bindings.to_vec(), ..Caller::anonymous(None) }.sight(permission)
}

fn methods_of(permission: Permission) -> Vec<String> {
    let all = methods().into_iter().map(|info| (info.name, info.permission));
    let all = all.chain(SUBSCRIPTIONS.iter().map(|info| (info.name, info.permission)));
    all.filter(|(_, needed)| *needed == permission).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_common_ids::UserId;
    use xenith_orchestrator_types::Role;

    /// Grounds agree with what decides about calls: none is told that would be refused, none is missing.
    #[test]
    fn grounds_are_told_where_the_check_lets_through() {
        let scopes = [Scope::All, Scope::Pool(PoolId::new()), Scope::Tag("dev".into())];
        for binding in scopes
            .into_iter()
            .flat_map(|scope| Role::ALL.into_iter().map(move |role| Binding { role, scope: scope.clone() }))
        {
            let caller = Caller {
                user: Some(UserId::new()),
                bindings: vec![binding.clone()],
                ..Caller::anonymous(None)
            };
            for permission in Permission::ALL.into_iter().filter(|one| one.reach() != Reach::Oneself) {
                let told = gives(&binding, permission);
                assert_eq!(told, caller.check(permission).is_ok(), "{binding:?} {permission:?}");
            }
        }
    }

    #[test]
    fn every_method_is_told_once() {
        let told: Vec<String> = Permission::ALL.into_iter().flat_map(methods_of).collect();
        assert_eq!(told.len(), methods().len() + SUBSCRIPTIONS.len());
    }
}
