//! What hosts and records do not agree on.

use async_trait::async_trait;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::orphan::OrphanApi;
use xenith_orchestrator_inventory::orphan::Orphans;
use xenith_orchestrator_types::orphan::Orphan;
use xenith_orchestrator_types::{ApiError, ListRequest, Page};

use super::App;

#[async_trait]
impl OrphanApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Orphan>, ApiError> {
        self.list::<Orphans>(call, &request).await
    }
}
