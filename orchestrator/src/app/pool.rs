//! Hosts that share networks and storage.
//!
//! Names are unique, and what is in a pool never outlives it: what puts a host, a network or a join token into one demands
//! in its commit that the pool is there, and a host's moves the pool's revision on, which a deletion demands as it read it.

use async_trait::async_trait;
use xenith_common_ids::PoolId;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::pool::PoolApi;
use xenith_orchestrator_store::{Expect, StoreError, Transaction};
use xenith_orchestrator_types::balance::{BalancePool, BalanceStatus, SetBalance};
use xenith_orchestrator_types::cpu_level::{CpuLevelStatus, SetCpuLevel};
use xenith_orchestrator_types::pool::{CreatePool, Pool, PoolRef, PoolUpdateStatus, UpdatePool};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::listings::filtered;
use super::listings::places::PoolRow;
use super::pool_update::Pause;
use crate::errors::store_error;

#[async_trait]
impl PoolApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Pool>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let mut pools = self.views.pools();
        pools.retain(|pool| self.sees_pool(&sees, pool));
        Ok(filtered(pools.into_iter().map(PoolRow).collect(), &request)?.map(|PoolRow(pool)| pool))
    }

    async fn create(&self, _: &Call, request: CreatePool) -> Result<Pool, ApiError> {
        let fine = (1..=63).contains(&request.name.len())
            && request.name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !fine {
            return Err(ApiError::invalid(
                "name",
                "use 1 to 63 letters, digits, dots, hyphens or underscores",
            ));
        }
        let _alone = self.name_changes.lock().await;
        let (pools, _) = self.db.pools.all().await.map_err(|error| store_error(&error))?;
        if pools.iter().any(|pool| pool.value.name == request.name) {
            return Err(ApiError::new(
                Reason::Conflict,
                format_args!("there is a pool {:?} already", request.name),
            ));
        }
        let pool = Pool { id: PoolId::new(), name: request.name, description: request.description };
        self.db.pools.insert(&pool.id, &pool).await.map_err(|error| store_error(&error))?;
        Ok(pool)
    }

    async fn delete(&self, call: &Call, request: PoolRef) -> Result<Empty, ApiError> {
        let id = self.find_pool(call, Some(&request.pool))?.id;
        let _alone = self.name_changes.lock().await;
        let found = self.db.pools.get(&id).await.map_err(|error| store_error(&error))?;
        let found = found.ok_or_else(|| ApiError::not_found("pool", &request.pool))?;
        let (hosts, _) = self.db.hosts.all().await.map_err(|error| store_error(&error))?;
        if hosts.iter().any(|host| host.value.pool == id) {
            return Err(ApiError::new(Reason::WrongState, "the pool has hosts; remove them first"));
        }
        let delete = self.db.pools.require_in(Transaction::new(), &id, Expect::At(found.revision));
        let delete = self.db.pools.delete_in(self.contents_in(delete, id).await?, &id);
        match self.db.store.commit(delete).await {
            Err(error) if error.is_conflict() => {
                Err(ApiError::new(Reason::Conflict, "a host is joining the pool; try again"))
            }
            ended => ended.map(|_| Empty {}).map_err(|error| store_error(&error)),
        }
    }

    async fn balance_status(&self, call: &Call, request: PoolRef) -> Result<BalanceStatus, ApiError> {
        self.balance_status_of(call, request).await
    }

    async fn set_balance(&self, call: &Call, request: SetBalance) -> Result<BalanceStatus, ApiError> {
        self.set_balance_of(call, request).await
    }

    async fn balance(&self, call: &Call, request: BalancePool) -> Result<TaskStarted, ApiError> {
        self.balance_pool(call, request).await
    }

    async fn cpu_level(&self, call: &Call, request: PoolRef) -> Result<CpuLevelStatus, ApiError> {
        self.cpu_level_of(call, request).await
    }

    async fn set_cpu_level(&self, call: &Call, request: SetCpuLevel) -> Result<CpuLevelStatus, ApiError> {
        self.set_cpu_level_of(call, request).await
    }

    async fn update(&self, call: &Call, request: UpdatePool) -> Result<TaskStarted, ApiError> {
        self.update_pool(call, request).await
    }

    async fn update_status(&self, call: &Call, request: PoolRef) -> Result<PoolUpdateStatus, ApiError> {
        let pool = self.find_whole_pool(call, &request.pool)?;
        self.update_status_of(pool.id).await
    }

    async fn pause_update(&self, call: &Call, request: PoolRef) -> Result<PoolUpdateStatus, ApiError> {
        self.pause_pool_update(call, &request, Pause::On).await
    }

    async fn resume_update(&self, call: &Call, request: PoolRef) -> Result<PoolUpdateStatus, ApiError> {
        self.pause_pool_update(call, &request, Pause::Off).await
    }
}

impl App {
    /// Adds to the deletion of a pool without hosts: what else is in it. Nothing uses its networks, and who still has a
    /// join token for it is told that the token is no longer valid.
    async fn contents_in(&self, mut delete: Transaction, pool: PoolId) -> Result<Transaction, ApiError> {
        delete = self.db.ha_pools.delete_in(delete, &pool);
        let (networks, _) = self.db.networks.all().await.map_err(|error| store_error(&error))?;
        for network in networks.iter().filter(|network| network.value.pool == pool) {
            delete = self.db.networks.delete_in(delete, &network.key);
        }
        let (groups, _) = self.db.security_groups.all().await.map_err(|error| store_error(&error))?;
        for group in groups.iter().filter(|group| group.value.pool == pool) {
            delete = self.db.security_groups.delete_in(delete, &group.key);
        }
        let (fragments, _) = self.db.fragments.all().await.map_err(|error| store_error(&error))?;
        for fragment in fragments.iter().filter(|fragment| fragment.value.fragment.pool == pool) {
            delete = self.db.fragments.delete_in(delete, &fragment.key);
        }
        delete = self.db.balances.delete_in(delete, &pool);
        delete = self.db.cpu_levels.delete_in(delete, &pool);
        let (joins, _) = self.db.joins.all().await.map_err(|error| store_error(&error))?;
        for join in joins.iter().filter(|join| join.value.pool == pool) {
            delete = self.db.joins.delete_in(delete, &join.key);
        }
        Ok(delete)
    }

    /// Adds to what puts something into a pool: the pool is there.
    pub(super) fn require_pool_in(&self, commit: Transaction, pool: PoolId) -> Transaction {
        self.db.pools.require_in(commit, &pool, Expect::Present)
    }

    /// The pool of what could not be put into it is gone; anything else is told as it is.
    pub(super) fn pool_gone(error: &StoreError, pool: &str) -> ApiError {
        if error.is_conflict() { ApiError::not_found("pool", pool) } else { store_error(error) }
    }
}
