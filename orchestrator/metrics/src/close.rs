//! Hours that are over: from the sheets of a group to one record for each entity.
//!
//! The commit point of a group and hour is the transaction that deletes its sheets, the last of those that write its
//! records. A crash before that writes the same records again. Hours are closed in order, groups in order within
//! each; whatever still has sheets is not closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use xenith_orchestrator_store::{ScanRequest, StateStore, StoreError, Transaction};
use xenith_orchestrator_types::metrics::Metric;

use crate::code::Triple;
use crate::minute::whole_of_slots;
use crate::{Entity, HOUR, HOURS, Metrics, SHEETS, record, rows, sheet};

/// Seconds that an hour is left by slots after its end: a whole one, and what somebody silent is in memory for more.
const LEFT: u32 = HOUR + 600;
/// Records of one transaction, and as many sheets as an hour has: below what the store takes.
const TOGETHER: usize = 60;

/// How far it is.
#[derive(Debug)]
pub struct Closing {
    /// Hours up to this one take nothing more; those before it have no sheets.
    closed: AtomicU32,
    /// Behind the last sheet that was closed: what lies before was deleted, and costs to step over.
    after: Mutex<Option<Bytes>>,
}

/// The last hour that can be closed.
fn target(now: u32) -> u32 {
    (now.saturating_sub(LEFT) / HOUR).saturating_sub(1)
}

impl Closing {
    /// What a run before this one left.
    pub async fn find(store: &dyn StateStore, now: u32) -> Result<Self, StoreError> {
        let first = first_sheet(store, None).await?.map(|(hour, _)| hour.saturating_sub(1));
        let closed = first.map_or(target(now), |first| first.min(target(now)));
        Ok(Self { closed: AtomicU32::new(closed), after: Mutex::new(None) })
    }

    /// Hours up to this one take nothing more. It may have sheets still; those before it have none.
    pub fn closed(&self) -> u32 {
        self.closed.load(Ordering::Relaxed)
    }
}

/// The hour and group of the first sheet behind a key.
async fn first_sheet(store: &dyn StateStore, after: Option<Bytes>) -> Result<Option<(u32, u16)>, StoreError> {
    let mut request = ScanRequest::prefix(SHEETS, [], 1);
    request.after = after;
    let page = store.scan(request).await?;
    let found = page.entries.first().and_then(|entry| rows::parse_key(&entry.key));
    Ok(found.map(|(hour, group, _)| (hour, group)))
}

/// Lets others run: an hour of a large group takes some milliseconds.
async fn give_way() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl Metrics {
    /// Closes at most so many groups of hours that ended long enough ago.
    pub(crate) async fn close(&self, now: u32, at_most: usize) -> Result<(), StoreError> {
        let target = target(now);
        for _ in 0..at_most {
            let after = self.closing.after.lock().clone();
            let first = first_sheet(&*self.store, after).await?.filter(|(hour, _)| *hour <= target);
            let Some((hour, group)) = first else {
                self.closing.closed.fetch_max(target, Ordering::Relaxed);
                break;
            };
            self.closing.closed.fetch_max(hour, Ordering::Relaxed);
            self.close_group(hour, group).await?;
            *self.closing.after.lock() = Some(Bytes::from(rows::key(group, hour * 60 + 59)));
        }
        Ok(())
    }

    async fn close_group(&self, hour: u32, group: u16) -> Result<(), StoreError> {
        let sheets = self.sheets(hour, group).await?;
        let mut entities: BTreeMap<Entity, BTreeMap<Metric, Vec<Triple>>> = BTreeMap::new();
        for (minute, bytes) in &sheets {
            give_way().await;
            for (entity, row) in sheet::read(bytes) {
                let columns = entities.entry(entity).or_default();
                for (metric, slots) in row {
                    let triples = columns.entry(metric).or_insert_with(|| vec![Triple::default(); 60]);
                    triples[(minute % 60) as usize] = whole_of_slots(&slots);
                }
            }
        }
        let records: Vec<(Entity, Vec<u8>)> = entities
            .into_iter()
            .map(|(entity, columns)| (entity, record::write(&columns.into_iter().collect::<Vec<_>>())))
            .collect();
        let (mut left, mut transaction) = (&records[..], Transaction::new());
        loop {
            let (now, later) = left.split_at(left.len().min(TOGETHER));
            for (entity, value) in now {
                transaction = transaction.put(HOURS, entity.key(hour), value.clone());
            }
            left = later;
            if left.is_empty() {
                break;
            }
            self.store.commit(std::mem::take(&mut transaction)).await?;
        }
        for (minute, _) in &sheets {
            transaction = transaction.delete(SHEETS, rows::key(group, *minute));
        }
        self.store.commit(transaction).await?;
        Ok(())
    }
}
