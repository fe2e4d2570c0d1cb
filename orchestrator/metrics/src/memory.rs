//! What is in memory of each entity: the recent hour by slots, of which minutes are made when they are wanted, and
//! minutes of this hour that a run before this one left in the journal.
//!
//! Entities are spread over [`SHARDS`] locks, so a flush that goes through all of them never holds up a reader for
//! longer than one of them takes. No lock is held while anything waits.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use parking_lot::{Mutex, MutexGuard};
use xenith_orchestrator_types::metrics::Metric;

use crate::code::{Sum, Triple, decode, encode};
use crate::recent::Recent;
use crate::{Entity, MINUTE, SLOT};

pub const SHARDS: usize = 16;
const SLOTS_A_MINUTE: u32 = MINUTE / SLOT;

/// Minutes that wait for a store that takes nothing: as many as `recent` holds.
const WAITING: usize = 65;

/// One minute (since 1970) of all columns.
pub type Row = Box<[Triple]>;

#[derive(Debug, Default)]
pub struct Entry {
    pub columns: Vec<Metric>,
    pub recent: Recent,
    /// Minutes of `recent` that are not in the journal, oldest first.
    dirty: Vec<u32>,
    /// Those of them that are on their way there.
    writing: Vec<u32>,
    /// What was in the journal when this run began.
    pub rows: BTreeMap<u32, Row>,
}

#[derive(Debug, Default)]
pub struct Memory([Mutex<HashMap<Entity, Entry>>; SHARDS]);

impl Entry {
    fn column(&self, metric: Metric) -> Option<usize> {
        self.columns.iter().position(|column| *column == metric)
    }

    pub fn ensure_column(&mut self, metric: Metric) -> usize {
        self.column(metric).unwrap_or_else(|| {
            self.columns.push(metric);
            self.columns.len() - 1
        })
    }

    fn record(&mut self, slot: u32, values: &[(Metric, f64)]) {
        if !self.recent.open(slot) {
            return;
        }
        for (metric, value) in values {
            let column = self.ensure_column(*metric);
            self.recent.set(slot, column, encode(*value));
        }
        let minute = slot / SLOTS_A_MINUTE;
        if !self.dirty.contains(&minute) {
            self.dirty.push(minute);
        }
    }

    /// The minutes of `range` that have to be journalled, of which those before `begin` are too late. What becomes of
    /// them is told with [`Self::written`] or [`Self::not_written`].
    pub fn begin_write(&mut self, (begin, end): (u32, u32)) -> Vec<(u32, Row)> {
        let (over, later): (Vec<u32>, Vec<u32>) = self.dirty.iter().partition(|minute| **minute < end);
        self.dirty = later;
        self.writing = over.into_iter().filter(|minute| *minute >= begin).collect();
        self.writing.iter().map(|minute| (*minute, self.row(*minute))).collect()
    }

    pub fn written(&mut self) {
        self.writing = Vec::new();
    }

    pub fn not_written(&mut self) {
        let later = std::mem::take(&mut self.dirty);
        self.dirty = std::mem::take(&mut self.writing);
        let known = self.dirty.clone();
        self.dirty.extend(later.into_iter().filter(|minute| !known.contains(minute)));
        let forgotten = self.dirty.len().saturating_sub(WAITING);
        self.dirty.drain(..forgotten);
    }

    fn row(&self, minute: u32) -> Row {
        let slots = minute * SLOTS_A_MINUTE..(minute + 1) * SLOTS_A_MINUTE;
        let triple = |column: usize| {
            let mut sum = Sum::default();
            self.recent.each(column, slots.clone(), |_, code| sum.add_code(code));
            sum.triple()
        };
        (0..self.columns.len()).map(triple).collect()
    }

    /// Tells `take` every minute of `range` of a column in which something was measured.
    pub fn each_minute(&self, column: usize, range: Range<u32>, mut take: impl FnMut(u32, Triple)) {
        for (minute, row) in self.rows.range(range.clone()) {
            if let Some(triple) = row.get(column).filter(|triple| **triple != Triple::default()) {
                take(*minute, *triple);
            }
        }
        let slots = range.start * SLOTS_A_MINUTE..range.end.saturating_mul(SLOTS_A_MINUTE);
        let (mut minute, mut sum) = (0, Sum::default());
        let mut over = |minute: u32, sum: &mut Sum| {
            let triple = std::mem::take(sum).triple();
            if triple != Triple::default() && !self.rows.contains_key(&minute) {
                take(minute, triple);
            }
        };
        // Slots come in order.
        self.recent.each(column, slots, |slot, code| {
            if slot / SLOTS_A_MINUTE != minute {
                over(minute, &mut sum);
                minute = slot / SLOTS_A_MINUTE;
            }
            sum.add_code(code);
        });
        over(minute, &mut sum);
    }

    fn bytes(&self) -> usize {
        let rows: usize = self.rows.values().map(|row| size_of_val(&**row) + size_of::<(u32, Row)>()).sum();
        size_of::<Self>() + self.columns.capacity() + self.recent.bytes() + rows
    }
}

impl Memory {
    fn place(entity: Entity) -> usize {
        usize::from(entity.to_bytes()[Entity::BYTES - 1]) % SHARDS
    }

    pub fn shard(&self, number: usize) -> MutexGuard<'_, HashMap<Entity, Entry>> {
        self.0[number].lock()
    }

    /// Looks at one entity.
    pub fn with<T>(&self, entity: Entity, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.shard(Self::place(entity)).get(&entity).map(look)
    }

    pub fn change<T>(&self, entity: Entity, change: impl FnOnce(&mut Entry) -> T) -> T {
        change(self.shard(Self::place(entity)).entry(entity).or_default())
    }

    pub fn record(&self, entity: Entity, slot: u32, values: &[(Metric, f64)]) {
        if !values.is_empty() {
            self.change(entity, |entry| entry.record(slot, values));
        }
    }

    pub fn latest(&self, entity: Entity) -> Option<(u64, Vec<(Metric, f64)>)> {
        self.with(entity, |entry| {
            let slot = entry.recent.last()?;
            let columns = entry.columns.iter().enumerate();
            let values = columns.filter_map(|(n, metric)| Some((*metric, decode(entry.recent.at_last(n))?)));
            Some((u64::from(slot) * u64::from(SLOT), values.collect()))
        })?
    }

    pub fn len(&self) -> usize {
        (0..SHARDS).map(|number| self.shard(number).len()).sum()
    }

    pub fn bytes(&self) -> usize {
        (0..SHARDS).map(|number| self.shard(number).values().map(Entry::bytes).sum::<usize>()).sum()
    }
}
