//! What becomes of old records: hours become days, days that are too old go, and so does what is left of somebody
//! who was deleted.
//!
//! The keyspaces are walked a little at a time, so the work is the same at any hour: each [`Metrics::expire`] looks
//! at the next [`AT_ONCE`] entities, one key each, and does what is due there in one transaction per day. A crash
//! between two loses nothing: what was due is found again.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use xenith_orchestrator_store::{Direction, Keyspace, ScanRequest, StoreError, Transaction};
use xenith_orchestrator_types::metrics::Metric;

use crate::code::Triple;
use crate::plan::RESOLUTIONS;
use crate::query::whole_of;
use crate::{DAY, DAYS, Entity, GONE_KEPT, HOUR, HOURS, Metrics, record, whole};

/// With a call for each part of a flush, a million entities are gone through in less than a day.
const AT_ONCE: usize = 2;
/// Days of one entity that are deleted together.
const TOGETHER: usize = 100;

/// Where each walk is.
#[derive(Debug, Default)]
pub struct Cursors {
    hours: Mutex<Option<Entity>>,
    days: Mutex<Option<Entity>>,
}

impl Metrics {
    /// To be called with every part of a flush. `exists`: whether an entity is still known.
    pub async fn expire(&self, now: u64, exists: impl Fn(Entity) -> bool) -> Result<(), StoreError> {
        let now = whole(now);
        for _ in 0..AT_ONCE {
            let Some((entity, hour)) = self.next_of(HOURS, &self.cursors.hours).await? else { break };
            self.make_days(entity, hour, now).await?;
        }
        for _ in 0..AT_ONCE {
            let Some((entity, day)) = self.next_of(DAYS, &self.cursors.days).await? else { break };
            self.drop_days(entity, day, now, &exists).await?;
        }
        Ok(())
    }

    /// The first period of the entity behind the cursor. `None`, once: the walk is at its end and begins anew.
    async fn next_of(
        &self,
        keyspace: Keyspace,
        cursor: &Mutex<Option<Entity>>,
    ) -> Result<Option<(Entity, u32)>, StoreError> {
        let mut request = ScanRequest::prefix(keyspace, [], 1);
        request.after = cursor.lock().map(|entity| Bytes::from(entity.key(u32::MAX)));
        let page = self.store.scan(request).await?;
        let found = page.entries.first().and_then(|entry| Entity::parse_key(&entry.key));
        *cursor.lock() = found.map(|(entity, _)| entity);
        Ok(found)
    }

    /// Makes a day of hours once all of them are older than a day, and none of them can have sheets still: a day is
    /// written once, and after some days off the last hours before that become records when others are days already.
    async fn make_days(&self, entity: Entity, first: u32, now: u32) -> Result<(), StoreError> {
        let mut day = first / 24;
        while (day + 1) * DAY + RESOLUTIONS[1].1 <= now && (day + 1) * 24 <= self.closing.closed() {
            let hours = self.records(HOURS, entity, (day * 24, (day + 1) * 24)).await?;
            if !hours.is_empty() {
                let mut columns: BTreeMap<Metric, Vec<Triple>> = BTreeMap::new();
                let mut transaction = Transaction::new();
                for (hour, value) in hours {
                    for (metric, triples) in record::read(&value, 60, |_| true).unwrap_or_default() {
                        let column = columns.entry(metric).or_insert_with(|| vec![Triple::default(); 24]);
                        column[(hour % 24) as usize] = whole_of(&triples);
                    }
                    transaction = transaction.delete(HOURS, entity.key(hour));
                }
                let columns: Vec<_> = columns.into_iter().collect();
                transaction = transaction.put(DAYS, entity.key(day), record::write(&columns));
                self.store.commit(transaction).await?;
            }
            match self.first_period(HOURS, entity, Direction::Ascending).await? {
                Some(next) => day = next / 24,
                None => break,
            }
        }
        Ok(())
    }

    async fn drop_days(
        &self,
        entity: Entity,
        first: u32,
        now: u32,
        exists: &impl Fn(Entity) -> bool,
    ) -> Result<(), StoreError> {
        let mut end = now.saturating_sub(RESOLUTIONS[2].1) / DAY;
        if !exists(entity)
            && let Some(last) = self.first_period(DAYS, entity, Direction::Descending).await?
            && (last + 1) * DAY + GONE_KEPT <= now
            && self.first_period(HOURS, entity, Direction::Ascending).await?.is_none()
        {
            end = last + 1;
        }
        if first >= end {
            return Ok(());
        }
        let old = self.records(DAYS, entity, (first, end)).await?;
        for together in old.chunks(TOGETHER) {
            let delete = |transaction: Transaction, (day, _): &(u32, Bytes)| {
                transaction.delete(DAYS, entity.key(*day))
            };
            self.store.commit(together.iter().fold(Transaction::new(), delete)).await?;
        }
        Ok(())
    }

    /// The first period that an entity has a record of, from either end.
    async fn first_period(
        &self,
        keyspace: Keyspace,
        entity: Entity,
        direction: Direction,
    ) -> Result<Option<u32>, StoreError> {
        let mut request = ScanRequest::prefix(keyspace, entity.to_bytes(), 1);
        request.direction = direction;
        let page = self.store.scan(request).await?;
        Ok(page.entries.first().and_then(|entry| Entity::parse_key(&entry.key)).map(|(_, period)| period))
    }
}

/// An hour is in no day.
const _: () = assert!(DAY.is_multiple_of(HOUR));
