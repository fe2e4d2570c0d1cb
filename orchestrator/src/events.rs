//! The event log: what happened without being asked for.
//!
//! Append-only, numbered, bounded: the oldest are dropped above [`KEPT`]. Losing an event to a full disk is
//! logged and nothing worse; what must not be lost is in records, not here.
//!
//! What is committed is told: an event is written and told by a task of ours, whoever waits for it. A caller that hung up
//! between the two, or a saga's step that its deadline ended, would leave an event that no list and no subscriber has, and
//! whose number the next one takes.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::{Mutex, broadcast, oneshot};
use xenith_common_ids::{EventId, PoolId};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_inventory::event::{EventRow, EventSeverity};
use xenith_orchestrator_inventory::{Delta, Inventory};
use xenith_orchestrator_store::{Revision, StoreError, Transaction};
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
    tasks: TaskSet,
    /// All of it, for lists.
    pub rows: Inventory<xenith_orchestrator_inventory::event::Events>,
}

impl Events {
    pub async fn open(db: Db, tasks: &TaskSet) -> Result<Self, StoreError> {
        let newest = db.events.page_descending(None, 1).await?;
        let next = newest.records.first().map_or(0, |record| record.key + 1);
        let rows = Inventory::load(read(&db).await?);
        let (next, live) = (Arc::new(Mutex::new(next)), broadcast::Sender::new(1024));
        Ok(Self { db, next, live, tasks: tasks.child(), rows })
    }

    /// Notes what happened; a store that cannot write loses it, which its log tells.
    pub async fn note(&self, happened: Happened) {
        let (kind, message) = (happened.kind, happened.message.clone());
        if let Err(error) = self.note_in(Transaction::new(), happened).await {
            tracing::warn!(%error, kind, message, "an event was lost");
        }
    }

    /// Commits `commit`, and with it what happened: nobody sees one without the other, whatever stops the program. Once
    /// begun it goes on to its end, also when this is dropped.
    pub async fn note_in(&self, commit: Transaction, happened: Happened) -> Result<Revision, StoreError> {
        let (answer, answered) = oneshot::channel();
        let events = self.clone();
        self.tasks.spawn("event", async move {
            // Who waited may be gone.
            drop(answer.send(events.write(commit, happened).await));
        });
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn write(&self, commit: Transaction, happened: Happened) -> Result<Revision, StoreError> {
        let record = EventRecord {
            at: OffsetDateTime::now_utc(),
            severity: happened.severity,
            kind: happened.kind.to_owned(),
            subject: happened.subject,
            message: happened.message,
            pool: happened.pool,
        };
        // A pool that cannot be read is none: only who sees everything sees the event.
        let pool = match record.pool {
            Some(pool) => self.db.pools.get(&pool).await.ok().flatten().map(|pool| pool.value.name),
            None => None,
        };
        let mut next = self.next.lock().await;
        let sequence = *next;
        let mut commit = self.db.events.put_in(commit, &sequence, &record);
        let oldest = sequence.checked_sub(KEPT);
        if let Some(oldest) = oldest {
            commit = self.db.events.delete_in(commit, &oldest);
        }
        let revision = self.db.store.commit(commit).await?;
        *next += 1;
        let dropped = oldest.map(|oldest| Delta::Remove(id(oldest)));
        self.rows.apply([Delta::Put(row(sequence, &record, pool))].into_iter().chain(dropped));
        let _nobody_listens = self.live.send((sequence, Arc::new(record)));
        Ok(revision)
    }

    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<(u64, Arc<EventRecord>)> {
        self.live.subscribe()
    }
}

/// Every event that is kept.
async fn read(db: &Db) -> Result<Vec<EventRow>, StoreError> {
    let (pools, _) = db.pools.all().await?;
    let pools: HashMap<PoolId, String> = pools.into_iter().map(|pool| (pool.key, pool.value.name)).collect();
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = db.events.page(after, 1000).await?;
        rows.extend(page.records.into_iter().map(|record| {
            let pool = record.value.pool.and_then(|pool| pools.get(&pool).cloned());
            row(record.key, &record.value, pool)
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(rows),
        }
    }
}

/// The id holds the number, so that ids sort as events happened.
fn id(sequence: u64) -> EventId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&sequence.to_be_bytes());
    EventId::from_bytes(bytes)
}

/// The reverse of [`id`].
#[must_use]
pub fn sequence(event: EventId) -> u64 {
    let (_, low) = event.as_bytes().split_at(8);
    u64::from_be_bytes(low.try_into().expect("half of 16 bytes"))
}

fn row(sequence: u64, record: &EventRecord, pool: Option<String>) -> EventRow {
    EventRow {
        id: id(sequence),
        number: sequence,
        at: record.at,
        severity: match record.severity {
            Severity::Info => EventSeverity::Info,
            Severity::Warning => EventSeverity::Warning,
            Severity::Error => EventSeverity::Error,
        },
        kind: record.kind.clone(),
        subject: record.subject.clone(),
        message: record.message.clone(),
        pool,
    }
}

/// As the API shows it.
#[must_use]
pub fn to_api(sequence: u64, record: &EventRecord) -> Event {
    Event {
        id: id(sequence),
        at: record.at,
        severity: record.severity,
        kind: record.kind.clone(),
        subject: record.subject.clone(),
        message: record.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use tokio::sync::{Notify, Semaphore, watch};
    use xenith_orchestrator_store::{
        Entry, Health, Keyspace, MemoryStore, ScanPage, ScanRequest, StateStore, Watch,
    };

    use super::*;

    /// Commits at once, and answers when it is let.
    struct Slow {
        store: MemoryStore,
        committed: Notify,
        answers: Semaphore,
    }

    #[async_trait]
    impl StateStore for Slow {
        async fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Entry>, StoreError> {
            self.store.get(keyspace, key).await
        }

        async fn scan(&self, request: ScanRequest) -> Result<ScanPage, StoreError> {
            self.store.scan(request).await
        }

        async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
            let done = self.store.commit(transaction).await;
            self.committed.notify_one();
            self.answers.acquire().await.unwrap().forget();
            done
        }

        fn watch(&self, keyspace: Keyspace, prefix: &[u8], since: Revision) -> Watch {
            self.store.watch(keyspace, prefix, since)
        }

        fn revision(&self) -> Revision {
            self.store.revision()
        }

        fn health(&self) -> watch::Receiver<Health> {
            self.store.health()
        }
    }

    fn happened(message: &str) -> Happened {
        let (severity, kind, subject) = (Severity::Info, "host.removed", "host/1".to_owned());
        Happened { severity, kind, subject, message: message.to_owned(), pool: None }
    }

    #[tokio::test]
    async fn an_event_whose_caller_hangs_up_behind_the_commit_is_told_and_kept() {
        let store = MemoryStore::new(&crate::db::schema());
        let slow = Arc::new(Slow { store, committed: Notify::new(), answers: Semaphore::new(0) });
        let db = Db::over(Arc::clone(&slow) as Arc<dyn StateStore>);
        let tasks = TaskSet::new();
        let events = Events::open(db.clone(), &tasks).await.unwrap();
        let mut live = events.subscribe();
        tokio::select! {
            _ = events.note_in(Transaction::new(), happened("first")) => panic!("it has not been answered"),
            () = slow.committed.notified() => {}
        }
        // The caller is gone. The store answers whoever is left, and another event follows.
        slow.answers.add_permits(2);
        events.note(happened("second")).await;

        let kept = db.events.all().await.unwrap().0;
        let kept: Vec<_> = kept.iter().map(|record| record.value.message.as_str()).collect();
        assert_eq!(kept, ["first", "second"], "neither takes the other's number");
        let mut heard = Vec::new();
        while let Ok((number, record)) = live.try_recv() {
            heard.push((number, record.message.clone()));
        }
        assert_eq!(heard, [(0, "first".to_owned()), (1, "second".to_owned())]);
        let rows = xenith_orchestrator_inventory::PageRequest::first(
            xenith_orchestrator_inventory::filter::Filter::All,
            xenith_orchestrator_inventory::Scope::everything(),
            10,
        );
        assert_eq!(events.rows.page(&rows).unwrap().rows.len(), 2, "both are listed");
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }
}
