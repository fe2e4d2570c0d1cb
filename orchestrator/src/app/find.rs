//! From a name or id to the object, for callers who may see it.

use std::collections::BTreeSet;
use std::str::FromStr;

use xenith_common_ids::{HostId, NetworkId, PoolId, SecurityGroupId, UserId, VdiId, VmId};
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_inventory::vdi::Vdis;
use xenith_orchestrator_inventory::{PageRequest, Scope};
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::security_group::SecurityGroup;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::{App, DEFAULT_POOL, parse_filter};
use crate::errors::{query_error, store_error};
use crate::model::{HostRecord, UserRecord, VmRecord};

/// One of several, or the error that lists them.
pub(super) fn only<T>(noun: &str, reference: &str, mut found: Vec<(T, String)>) -> Result<T, ApiError> {
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(ApiError::not_found(noun, reference)),
        (Some((one, _)), true) => Ok(one),
        (Some((_, last)), false) => {
            let mut error = ApiError::new(
                Reason::Ambiguous,
                format_args!("there are several {noun}s named {reference:?}; name one by its id"),
            );
            error.data.candidates = found.into_iter().map(|(_, shown)| shown).chain([last]).collect();
            Err(error)
        }
    }
}

/// By id where the reference is one, else by name.
pub(super) fn matches<Id: FromStr + PartialEq>(reference: &str, id: &Id, name: &str) -> bool {
    reference.parse::<Id>().is_ok_and(|wanted| wanted == *id) || name == reference
}

impl App {
    /// A managed VM that the caller may see and has `permission` for.
    pub(super) async fn find_vm(
        &self,
        call: &Call,
        reference: &str,
        permission: Permission,
    ) -> Result<Record<VmId, VmRecord>, ApiError> {
        let mut candidates = Vec::new();
        if let Ok(id) = reference.parse::<VmId>() {
            candidates.push(id);
        } else {
            let name = reference.to_owned();
            let page = self.db.vm_names.page_under(&name, None, 1000).await.map_err(|e| store_error(&e))?;
            candidates.extend(page.records.into_iter().map(|record| record.value));
        }
        let (sees, may) = (call.caller.sight(Permission::View), call.caller.sight(permission));
        let mut found = Vec::new();
        for id in candidates {
            let record = self.db.vms.get(&id).await.map_err(|e| store_error(&e))?;
            if let Some(record) = record.filter(|record| covers(&sees, &record.value)) {
                let pool = self.views.pool(record.value.pool).map(|pool| pool.name).unwrap_or_default();
                found.push((record, format!("{id} (pool {pool})")));
            }
        }
        let record = only("VM", reference, found)?;
        if covers(&may, &record.value) { Ok(record) } else { Err(call.caller.forbidden(permission)) }
    }

    pub(super) async fn find_host(
        &self,
        call: &Call,
        reference: &str,
    ) -> Result<Record<HostId, HostRecord>, ApiError> {
        let id = match reference.parse::<HostId>() {
            Ok(id) => Some(id),
            Err(_) => {
                let named = self.db.host_names.get(&reference.to_owned()).await;
                named.map_err(|e| store_error(&e))?.map(|record| record.value)
            }
        };
        let missing = || ApiError::not_found("host", reference);
        let record = self.db.hosts.get(&id.ok_or_else(missing)?).await.map_err(|e| store_error(&e))?;
        let sees = call.caller.sight(Permission::View);
        record.filter(|record| sees.covers(Some(record.value.pool), [])).ok_or_else(missing)
    }

    /// As [`Self::find_host`], one that the caller administers.
    pub(super) async fn find_own_host(
        &self,
        call: &Call,
        reference: &str,
    ) -> Result<Record<HostId, HostRecord>, ApiError> {
        let found = self.find_host(call, reference).await?;
        administers(call, found.value.pool)?;
        Ok(found)
    }

    /// Whether a sight covers what is named as `vm/…` or `host/…`. `None`: it is not there (any more).
    pub(super) fn covers_subject(&self, sight: &Sight, subject: &str) -> Option<bool> {
        match subject.split_once('/')? {
            ("vm", id) => {
                let vm = self.views.vm(id.parse().ok()?)?;
                Some(sight.covers(Some(vm.pool), &*vm.tags))
            }
            ("host", id) => {
                let host = self.views.host(id.parse().ok()?)?;
                Some(sight.covers(Some(host.pool), []))
            }
            _ => None,
        }
    }

    /// Whether the pool, by its name, and the names of its networks are there for somebody. By a tag one sees the pools
    /// of the VMs that have it, and the one where a first VM can be made; never their hosts and storage.
    pub(super) fn sees_pool(&self, sight: &Sight, pool: &Pool) -> bool {
        let by_tag = |tags: &BTreeSet<String>| {
            !tags.is_empty() && (pool.name == DEFAULT_POOL || self.views.is_tagged(pool.id, tags))
        };
        sight.covers(Some(pool.id), []) || matches!(sight, Sight::Only { tags, .. } if by_tag(tags))
    }

    /// As [`Self::sees_pool`], for what is in it. (A pool can be deleted before its networks are.)
    pub(super) fn sees_pool_of(&self, sight: &Sight, pool: PoolId) -> bool {
        match self.views.pool(pool) {
            Some(pool) => self.sees_pool(sight, &pool),
            None => sight.covers(Some(pool), []),
        }
    }

    /// The named pool, or the default one.
    pub(super) fn find_pool(&self, call: &Call, reference: Option<&str>) -> Result<Pool, ApiError> {
        let reference = reference.unwrap_or(DEFAULT_POOL);
        let sees = call.caller.sight(Permission::View);
        let found = self.views.pools().into_iter().find(|pool| matches(reference, &pool.id, &pool.name));
        found.filter(|pool| self.sees_pool(&sees, pool)).ok_or_else(|| ApiError::not_found("pool", reference))
    }

    pub(super) async fn find_network(
        &self,
        call: &Call,
        reference: &str,
    ) -> Result<Record<NetworkId, Network>, ApiError> {
        let (networks, _) = self.db.networks.all().await.map_err(|e| store_error(&e))?;
        self.one_in_pools(call, ("network", reference), networks, |network| {
            (network.name.as_str(), network.pool)
        })
    }

    pub(super) async fn find_security_group(
        &self,
        call: &Call,
        reference: &str,
    ) -> Result<Record<SecurityGroupId, SecurityGroup>, ApiError> {
        let (groups, _) = self.db.security_groups.all().await.map_err(|e| store_error(&e))?;
        self.one_in_pools(call, ("security group", reference), groups, |group| {
            (group.name.as_str(), group.pool)
        })
    }

    /// The one that is meant, of those in pools that the caller sees. Names are unique in a pool only.
    fn one_in_pools<Id: FromStr + PartialEq + ToString, T>(
        &self,
        call: &Call,
        (noun, reference): (&str, &str),
        all: Vec<Record<Id, T>>,
        of: impl Fn(&T) -> (&str, PoolId),
    ) -> Result<Record<Id, T>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let meant = all.into_iter().filter(|record| {
            let (name, pool) = of(&record.value);
            matches(reference, &record.key, name) && self.sees_pool_of(&sees, pool)
        });
        let shown = meant.map(|record| {
            let shown = record.key.to_string();
            (record, shown)
        });
        only(noun, reference, shown.collect())
    }

    pub(super) async fn find_vdi(
        &self,
        call: &Call,
        reference: &str,
    ) -> Result<Record<VdiId, Vdi>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let visible = |vdi: &Vdi| {
            let pool = self.views.host(vdi.host).map(|host| host.pool);
            let vm = vdi.attached_to.and_then(|vm| self.views.vm(vm));
            sees.covers(pool, vm.iter().flat_map(|vm| &*vm.tags))
        };
        let found: Vec<_> = match reference.parse::<VdiId>() {
            Ok(id) => self.db.vdis.get(&id).await.map_err(|e| store_error(&e))?.into_iter().collect(),
            Err(_) => {
                let mut named = Vec::new();
                for id in self.vdis_named(reference)? {
                    named.extend(self.db.vdis.get(&id).await.map_err(|e| store_error(&e))?);
                }
                named.retain(|record| record.value.name == reference);
                named
            }
        };
        let found = found.into_iter().filter(|record| visible(&record.value)).map(|record| {
            let shown = record.key.to_string();
            (record, shown)
        });
        only("VDI", reference, found.collect())
    }

    /// VDIs of this name, give or take case, those that the caller may not see among them; and what the read model is behind
    /// with, whatever its name: one that was made a moment ago is found.
    fn vdis_named(&self, name: &str) -> Result<BTreeSet<VdiId>, ApiError> {
        let ahead = self.views.vdis_ahead(&self.db).map_err(|error| store_error(&error))?.ok_or_else(|| {
            let mut behind = ApiError::new(
                Reason::Throttled,
                "the orchestrator is behind with what is recorded; try again in a moment, or name the VDI by its id",
            );
            behind.data.retry_after_s = Some(1);
            behind
        })?;
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        let filter = parse_filter::<Vdis>(&format!("name:=\"{quoted}\""))
            .map_err(|_| ApiError::not_found("VDI", name))?;
        let named = PageRequest::first(filter, Scope::everything(), 1000);
        let page = self.views.vdis.page(&named).map_err(|error| query_error(&error))?;
        Ok(page.rows.into_iter().map(|row| row.id).chain(ahead).collect())
    }

    pub(super) async fn find_user(&self, reference: &str) -> Result<Record<UserId, UserRecord>, ApiError> {
        let missing = || ApiError::not_found("user", reference);
        let id = match reference.parse::<UserId>() {
            Ok(id) => id,
            Err(_) => {
                let named = self.db.user_names.get(&reference.to_owned()).await;
                named.map_err(|e| store_error(&e))?.ok_or_else(missing)?.value
            }
        };
        self.db.users.get(&id).await.map_err(|e| store_error(&e))?.ok_or_else(missing)
    }
}

/// Refuses who is no admin of the pool. That there is something is no secret here: who sees it was asked before.
pub(super) fn administers(call: &Call, pool: PoolId) -> Result<(), ApiError> {
    let may = call.caller.sight(Permission::Administer).covers(Some(pool), []);
    if may { Ok(()) } else { Err(call.caller.forbidden(Permission::Administer)) }
}

fn covers(sight: &Sight, vm: &VmRecord) -> bool {
    sight.covers(Some(vm.pool), &vm.tags)
}
