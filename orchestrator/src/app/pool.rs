//! Hosts that share networks and storage.

use async_trait::async_trait;
use xenith_common_ids::PoolId;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::pool::PoolApi;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::pool::{CreatePool, Pool, PoolRef};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::listings::filtered;
use super::listings::places::PoolRow;
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
        if self.views.pools().iter().any(|pool| pool.name == request.name) {
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
        let pool = self.find_pool(call, Some(&request.pool))?;
        if self.views.hosts().iter().any(|(_, host)| host.pool == pool.id) {
            return Err(ApiError::new(Reason::WrongState, "the pool has hosts; remove them first"));
        }
        let delete = self.db.pools.delete_in(Transaction::new(), &pool.id);
        self.db.store.commit(delete).await.map_err(|error| store_error(&error))?;
        Ok(Empty {})
    }
}
