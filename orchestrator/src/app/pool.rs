//! Hosts that share networks and storage.
//!
//! Names are unique, and what is in a pool never outlives it: what puts a host, a network or a join token into one demands
//! in its commit that the pool is there, and a host's moves the pool's revision on, which a deletion demands as it read it.

use async_trait::async_trait;
use xenith_common_ids::PoolId;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::pool::PoolApi;
use xenith_orchestrator_store::{Expect, Record, StoreError, Transaction};
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
use crate::pieces::Pieces;

/// Operations of the last commit of a deletion besides those of what is in the pool.
const SPARE: usize = 2;

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
        let removed = async {
            let last = self.contents_in(&found).await?;
            let last = self.db.pools.require_in(last, &id, Expect::At(found.revision));
            self.db.store.commit(self.db.pools.delete_in(last, &id)).await
        };
        match removed.await {
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
    /// What else is in a pool without hosts: deletes all but the last piece of it, which it returns. Nothing uses its
    /// networks, and who still has a join token for it is told that the token is no longer valid. Each piece demands the pool
    /// as it was read: of one that a host joins, no more goes.
    async fn contents_in(&self, pool: &Record<PoolId, Pool>) -> Result<Transaction, StoreError> {
        let (id, mut pieces) = (pool.key, Pieces::new(&self.db).sparing(SPARE));
        let still = || self.db.pools.require_in(Transaction::new(), &id, Expect::At(pool.revision));
        let (networks, _) = self.db.networks.all().await?;
        for network in networks.iter().filter(|network| network.value.pool == id) {
            pieces.add(self.db.networks.delete_in(still(), &network.key)).await?;
        }
        let (groups, _) = self.db.security_groups.all().await?;
        for group in groups.iter().filter(|group| group.value.pool == id) {
            pieces.add(self.db.security_groups.delete_in(still(), &group.key)).await?;
        }
        let (fragments, _) = self.db.fragments.all().await?;
        for fragment in fragments.iter().filter(|fragment| fragment.value.fragment.pool == id) {
            pieces.add(self.db.fragments.delete_in(still(), &fragment.key)).await?;
        }
        let (joins, _) = self.db.joins.all().await?;
        for join in joins.iter().filter(|join| join.value.pool == id) {
            pieces.add(self.db.joins.delete_in(still(), &join.key)).await?;
        }
        let rest = self.db.ha_pools.delete_in(still(), &id);
        let rest = self.db.balances.delete_in(rest, &id);
        pieces.add(self.db.cpu_levels.delete_in(rest, &id)).await?;
        Ok(pieces.into_last())
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
