//! The event log and the audit log, newest first.

use async_trait::async_trait;
use xenith_orchestrator_api::audit::AuditApi;
use xenith_orchestrator_api::event::EventApi;
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_inventory::event::Events;
use xenith_orchestrator_store::StoreKey;
use xenith_orchestrator_types::audit::{AuditRecord, AuditVerified, ListAudit};
use xenith_orchestrator_types::event::{Event, ListEvents};
use xenith_orchestrator_types::list::effective_limit;
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page};

use super::App;
use crate::errors::store_error;
use crate::model::EventRecord;

/// A cursor is the number of the last record that was given.
fn after(cursor: Option<&String>) -> Result<Option<bytes::Bytes>, ApiError> {
    let number = |cursor: &String| {
        let number =
            cursor.parse::<u64>().map_err(|_| ApiError::invalid("cursor", "is not one of this list's"));
        number.map(|number| bytes::Bytes::from(number.encode()))
    };
    cursor.map(number).transpose()
}

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
        let limit = effective_limit(request.limit);
        let page = self.db.audit.page_descending(after(request.cursor.as_ref())?, limit).await;
        let page = page.map_err(|error| store_error(&error))?;
        let items: Vec<AuditRecord> = page.records.into_iter().map(|record| record.value).collect();
        let next = items.last().filter(|last| last.sequence > 0).map(|last| last.sequence.to_string());
        let newest = self.db.audit.page_descending(None, 1).await.map_err(|error| store_error(&error))?;
        let total = newest.records.first().map_or(0, |record| record.key + 1);
        Ok(Page { items, total, next: next.filter(|_| page.next.is_some()) })
    }

    async fn verify(&self, _: &Call, _: Empty) -> Result<AuditVerified, ApiError> {
        self.audit.verify().await
    }
}
