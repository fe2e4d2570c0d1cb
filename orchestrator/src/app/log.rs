//! The event log and the audit log, newest first.

use async_trait::async_trait;
use xenith_orchestrator_api::audit::AuditApi;
use xenith_orchestrator_api::event::EventApi;
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_inventory::event::Events;
use xenith_orchestrator_types::audit::{AuditRecord, AuditVerified, ListAudit};
use xenith_orchestrator_types::event::{Event, ListEvents};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page};

use super::App;
use crate::model::EventRecord;

pub(crate) fn sees_event(sight: &Sight, record: &EventRecord) -> bool {
    match sight {
        Sight::All => true,
        Sight::Only { .. } => record.pool.is_some() && sight.covers(record.pool, []),
    }
}

#[async_trait]
impl EventApi for App {
    async fn list(&self, call: &Call, request: ListEvents) -> Result<Page<Event>, ApiError> {
        let ListEvents { filter, sort, limit, cursor } = request;
        self.list::<Events>(call, &ListRequest { filter, sort, limit, cursor }).await
    }
}

#[async_trait]
impl AuditApi for App {
    async fn list(&self, _: &Call, request: ListAudit) -> Result<Page<AuditRecord>, ApiError> {
        self.audit_page(&request).await
    }

    async fn verify(&self, _: &Call, _: Empty) -> Result<AuditVerified, ApiError> {
        self.audit.verify().await
    }
}
