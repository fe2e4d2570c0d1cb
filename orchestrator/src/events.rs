//! The event log: what happened without being asked for.
//!
//! Append-only, numbered, bounded: the oldest are dropped above [`KEPT`]. Losing an event to a full disk is
//! logged and nothing worse; what must not be lost is in records, not here.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::{Mutex, broadcast};
use xenith_common_ids::{EventId, PoolId};
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::event::{Event, Severity};

use crate::db::Db;
use crate::model::EventRecord;

const KEPT: u64 = 100_000;

/// What to note.
#[derive(Debug, Clone)]
pub struct Happened {
    pub severity: Severity,
    /// Stable: `host.lost`.
    pub kind: &'static str,
    /// `host/…`, `vm/…`.
    pub subject: String,
    pub message: String,
    pub pool: Option<PoolId>,
}

#[derive(Clone)]
pub struct Events {
    db: Db,
    /// The next number. Held while one is written, so that numbers have no gaps and come in order.
    next: Arc<Mutex<u64>>,
    live: broadcast::Sender<(u64, Arc<EventRecord>)>,
}

impl Events {
    pub async fn open(db: Db) -> Result<Self, StoreError> {
        let newest = db.events.page_descending(None, 1).await?;
        let next = newest.records.first().map_or(0, |record| record.key + 1);
        Ok(Self { db, next: Arc::new(Mutex::new(next)), live: broadcast::Sender::new(1024) })
    }

    pub async fn note(&self, happened: Happened) {
        let record = EventRecord {
            at: OffsetDateTime::now_utc(),
            severity: happened.severity,
            kind: happened.kind.to_owned(),
            subject: happened.subject,
            message: happened.message,
            pool: happened.pool,
        };
        let mut next = self.next.lock().await;
        let sequence = *next;
        let mut commit = self.db.events.put_in(Transaction::new(), &sequence, &record);
        if let Some(oldest) = sequence.checked_sub(KEPT) {
            commit = self.db.events.delete_in(commit, &oldest);
        }
        match self.db.store.commit(commit).await {
            Ok(_) => {
                *next += 1;
                let _nobody_listens = self.live.send((sequence, Arc::new(record)));
            }
            Err(error) => {
                tracing::warn!(%error, kind = record.kind, message = record.message, "an event was lost")
            }
        }
    }

    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<(u64, Arc<EventRecord>)> {
        self.live.subscribe()
    }
}

/// As the API shows it. The id holds the number, so that ids sort as events happened.
#[must_use]
pub fn to_api(sequence: u64, record: &EventRecord) -> Event {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&sequence.to_be_bytes());
    Event {
        id: EventId::from_bytes(bytes),
        at: record.at,
        severity: record.severity,
        kind: record.kind.clone(),
        subject: record.subject.clone(),
        message: record.message.clone(),
    }
}
