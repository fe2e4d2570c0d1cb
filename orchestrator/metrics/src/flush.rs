//! From memory into the store: minutes into the journal, hours into records, the journal cut; and back after a start.
//!
//! The commit points: a minute is safe when its journal entry is; an hour is closed when its number is written
//! ([`STATE`]), which comes after all of its records. A crash between replays the hour from the journal and writes
//! the same records again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use xenith_orchestrator_store::{ScanRequest, StoreError, Transaction};
use xenith_orchestrator_types::metrics::Metric;

use crate::code::Triple;
use crate::journal::{Writer, take};
use crate::memory::{Entry, SHARDS};
use crate::{Entity, HOUR, HOURS, JOURNAL, MINUTE, Metrics, SLOT, STATE, record, whole};

/// Seconds after the end of an hour in which minutes that come late are still taken into its records.
const GRACE: u32 = 90;
/// Records of one transaction: far below what the store takes.
const TOGETHER: usize = 100;
const CLOSED: &[u8] = b"closed";

impl Metrics {
    /// Writes the minutes that are over, and the hours. To be called every minute. After an error the same minutes
    /// are written the next time, as long as they are in memory: an hour.
    pub async fn flush(&self, now: u64) -> Result<(), StoreError> {
        let now = whole(now);
        let written = self.write(now).await;
        // Not before: minutes and hours are made of it.
        for number in 0..SHARDS {
            self.memory.shard(number).retain(|_, entry| {
                entry.recent.forget(now / SLOT);
                !entry.rows.is_empty() || !entry.recent.is_empty()
            });
        }
        written
    }

    async fn write(&self, now: u32) -> Result<(), StoreError> {
        let mut writer = Writer::default();
        let minutes = ((self.closed.load(Ordering::Relaxed) + 1) * 60, now / MINUTE);
        for number in 0..SHARDS {
            for (entity, entry) in self.memory.shard(number).iter_mut() {
                for (minute, row) in entry.begin_write(minutes) {
                    writer.add(*entity, minute, &entry.columns, &row);
                }
            }
            give_way().await;
        }
        let journalled = self.write_journal(now, writer.values()).await;
        let settle: fn(&mut Entry) = if journalled.is_ok() { Entry::written } else { Entry::not_written };
        for number in 0..SHARDS {
            self.memory.shard(number).values_mut().for_each(settle);
        }
        journalled?;
        // The last hour that ended long enough ago.
        let target = (now.saturating_sub(GRACE) / HOUR).saturating_sub(1);
        if target > self.closed.load(Ordering::Relaxed) {
            self.close(target).await?;
        }
        Ok(())
    }

    /// By the second of the flush, so that none writes over another.
    async fn write_journal(&self, now: u32, values: Vec<Vec<u8>>) -> Result<(), StoreError> {
        for (number, value) in (0u16..).zip(values) {
            let key = [&now.to_be_bytes()[..], &number.to_be_bytes()].concat();
            self.store.commit(Transaction::new().put(JOURNAL, key, value)).await?;
        }
        Ok(())
    }

    /// Makes records of all hours up to `target`.
    async fn close(&self, target: u32) -> Result<(), StoreError> {
        let (begin, end) = ((self.closed.load(Ordering::Relaxed) + 1) * 60, (target + 1) * 60);
        for number in 0..SHARDS {
            let records: Vec<_> = {
                let shard = self.memory.shard(number);
                shard.iter().flat_map(|(entity, entry)| hours(*entity, entry, begin..end)).collect()
            };
            for together in records.chunks(TOGETHER) {
                let mut transaction = Transaction::new();
                for (key, value) in together {
                    transaction = transaction.put(HOURS, key.clone(), value.clone());
                }
                self.store.commit(transaction).await?;
            }
        }
        self.write_closed(target).await?;
        self.closed.store(target, Ordering::Relaxed);
        for number in 0..SHARDS {
            self.memory.shard(number).values_mut().for_each(|entry| entry.rows = entry.rows.split_off(&end));
        }
        self.cut_journal(end).await
    }

    async fn write_closed(&self, hour: u32) -> Result<(), StoreError> {
        let hour = hour.to_be_bytes().to_vec();
        self.store.commit(Transaction::new().put(STATE, CLOSED, hour)).await?;
        Ok(())
    }

    /// Flushes before that minute had nothing that is not in records.
    async fn cut_journal(&self, end: u32) -> Result<(), StoreError> {
        loop {
            let page = self.store.scan(ScanRequest::prefix(JOURNAL, [], 1)).await?;
            let Some(entry) = page.entries.into_iter().find(|entry| flushed(&entry.key) < end) else {
                return Ok(());
            };
            self.store.commit(Transaction::new().delete(JOURNAL, entry.key)).await?;
        }
    }

    /// Takes what a run before this one left in the journal back into memory.
    pub(crate) async fn replay(&self) -> Result<(), StoreError> {
        let known = self.store.get(STATE, CLOSED).await?;
        match known.and_then(|entry| Some(u32::from_be_bytes(entry.value.as_ref().try_into().ok()?))) {
            Some(closed) => self.closed.store(closed, Ordering::Relaxed),
            None => self.write_closed(self.closed.load(Ordering::Relaxed)).await?,
        }
        let closed = self.closed.load(Ordering::Relaxed);
        let mut after: Option<Bytes> = None;
        loop {
            let mut request = ScanRequest::prefix(JOURNAL, [], 8);
            request.after = after;
            let page = self.store.scan(request).await?;
            for entry in &page.entries {
                let mut rest = &entry.value[..];
                while let Some((entity, minute, row)) = take(&mut rest) {
                    if minute / 60 > closed {
                        self.memory.change(entity, |entry| restore(entry, minute, &row));
                    }
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

/// Lets others run between two shards.
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

/// The minute of the flush that wrote a value of the journal.
fn flushed(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |second| u32::from_be_bytes(*second) / MINUTE)
}

fn restore(entry: &mut Entry, minute: u32, row: &[(Metric, Triple)]) {
    for (metric, _) in row {
        entry.ensure_column(*metric);
    }
    let of = |metric: &Metric| row.iter().find(|(of, _)| of == metric).map(|(_, triple)| *triple);
    let row = entry.columns.iter().map(|metric| of(metric).unwrap_or_default()).collect();
    entry.rows.insert(minute, row);
}

/// The records of one entity, of the hours of these minutes.
fn hours(entity: Entity, entry: &Entry, minutes: Range<u32>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut hours: BTreeMap<u32, Vec<(Metric, Vec<Triple>)>> = BTreeMap::new();
    for (column, metric) in entry.columns.iter().enumerate() {
        entry.each_minute(column, minutes.clone(), |minute, triple| {
            let columns = hours.entry(minute / 60).or_default();
            if columns.last().is_none_or(|(last, _)| last != metric) {
                columns.push((*metric, vec![Triple::default(); 60]));
            }
            if let Some((_, triples)) = columns.last_mut() {
                triples[(minute % 60) as usize] = triple;
            }
        });
    }
    hours.into_iter().map(|(hour, columns)| (entity.key(hour), record::write(&columns))).collect()
}
