//! What is in memory: of each entity the minute under way, the last one, and those that are not written yet; those
//! that are over are packed.
//!
//! Entities are spread over [`GROUPS`] locks by their ids. A group is also what is written together (see
//! [`crate::sheet`]), so a flush holds up whoever records for as long as one group of a thousandth of the fleet takes.
//! No lock is held while anything waits.

use std::collections::{BTreeMap, HashMap};

use parking_lot::{Mutex, MutexGuard};
use xenith_common_ids::VmId;
use xenith_orchestrator_types::metrics::Metric;

use crate::Entity;
use crate::code::{decode, encode};
use crate::minute::{Minute, Minutes, NOTHING, Outcome, SLOTS};
use crate::sheet::{Row, Sheet};
use crate::{MINUTE, SLOT};

/// Never changed without a migration: the store has it in its keys.
pub const GROUPS: u16 = 4096;
/// Minutes that the last values of somebody silent are known.
const SILENT: u32 = 65;

#[derive(Debug, Default)]
pub struct Entry {
    columns: Box<[Metric]>,
    minutes: Minutes,
}

#[derive(Debug)]
pub struct Group {
    /// Half of the places of a table may be empty: entries lie outside of it, so that an empty one is small.
    entries: HashMap<Entity, Box<Entry>>,
    /// There may be sheets of minutes up to this one: what comes for them is added to what is there.
    written: u32,
}

#[derive(Debug)]
pub struct Memory(Box<[Mutex<Group>]>);

/// Sheets that have to be written, by minute, and up to which there may be one already.
#[derive(Debug)]
pub struct Due {
    pub sheets: BTreeMap<u32, Sheet>,
    pub written: u32,
}

impl Entry {
    fn record(&mut self, slot: u32, values: &[(Metric, f64)]) {
        let Some(minute) = self.minutes.open(slot) else { return };
        if values.iter().any(|(metric, _)| !self.columns.contains(metric)) {
            // Seldom, and all at once: they have no room for more.
            let new =
                values.iter().map(|(metric, _)| *metric).filter(|metric| !self.columns.contains(metric));
            self.columns = self.columns.iter().copied().chain(new).collect();
        }
        minute.widen(self.columns.len());
        for (metric, value) in values {
            if let Some(column) = self.columns.iter().position(|column| column == metric) {
                minute.set(slot, column, encode(*value));
            }
        }
    }

    fn row(columns: &[Metric], minute: &Minute) -> Row {
        // Gaps, where the column came later.
        columns.iter().copied().zip(minute.columns().chain(std::iter::repeat(NOTHING))).collect()
    }

    /// What is in memory of it, by minute.
    pub fn rows(&self) -> BTreeMap<u32, Row> {
        self.minutes.iter().map(|minute| (minute.number, Self::row(&self.columns, minute))).collect()
    }

    fn latest(&self) -> Option<(u64, Vec<(Metric, f64)>)> {
        let slot = self.minutes.last()?;
        let columns = self.columns.iter().enumerate();
        let values = columns.filter_map(|(n, metric)| Some((*metric, decode(self.minutes.at_last(n))?)));
        Some((u64::from(slot) * u64::from(SLOT), values.collect()))
    }

    fn bytes(&self) -> usize {
        size_of::<(Entity, Box<Self>)>()
            + size_of::<Self>()
            + size_of_val(&*self.columns)
            + self.minutes.bytes()
    }
}

impl Group {
    /// What is due of the minutes before `end`. What becomes of it is told with [`Self::settle`].
    pub fn begin_write(&mut self, end: u32) -> Due {
        let mut sheets: BTreeMap<u32, Sheet> = BTreeMap::new();
        for (entity, entry) in &mut self.entries {
            let Entry { columns, minutes } = &mut **entry;
            for minute in minutes.begin_write(end) {
                sheets.entry(minute.number).or_default().insert(*entity, Entry::row(columns, minute));
            }
        }
        Due { sheets, written: self.written }
    }

    /// `written`: up to which minute; `None` if it could not be done.
    pub fn settle(&mut self, written: Option<u32>, now: u32) {
        self.written = self.written.max(written.unwrap_or(0));
        let silent = (now / MINUTE).saturating_sub(SILENT);
        let outcome = if written.is_some() { Outcome::Written } else { Outcome::Failed };
        self.entries.retain(|_, entry| {
            entry.minutes.settle(outcome);
            let newest = entry.minutes.newest();
            !entry.minutes.is_written() || newest.is_some_and(|newest| newest > silent)
        });
    }
}

impl Memory {
    /// Of minutes up to that of `now` there may be sheets, by a run before this one.
    pub fn new(now: u32) -> Self {
        let group = || Mutex::new(Group { entries: HashMap::new(), written: now / MINUTE });
        Self((0..GROUPS).map(|_| group()).collect())
    }

    /// The group of an entity: by the end of its id, which is random.
    pub fn place(entity: Entity) -> u16 {
        let bytes = entity.to_bytes();
        u16::from_be_bytes([bytes[Entity::BYTES - 2], bytes[Entity::BYTES - 1]]) % GROUPS
    }

    pub fn group(&self, number: u16) -> MutexGuard<'_, Group> {
        self.0[usize::from(number)].lock()
    }

    /// Looks at one entity.
    pub fn with<T>(&self, entity: Entity, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.group(Self::place(entity)).entries.get(&entity).map(|entry| look(entry))
    }

    pub fn record(&self, entity: Entity, slot: u32, values: &[(Metric, f64)]) {
        if !values.is_empty() {
            self.group(Self::place(entity)).entries.entry(entity).or_default().record(slot, values);
        }
    }

    pub fn latest(&self, entity: Entity) -> Option<(u64, Vec<(Metric, f64)>)> {
        self.with(entity, Entry::latest)?
    }

    /// They are in one group with their VM.
    pub fn devices(&self, vm: VmId) -> Vec<Entity> {
        let group = self.group(Self::place(vm.into()));
        Entity::devices_of(vm).filter(|device| group.entries.contains_key(device)).collect()
    }

    fn sum(&self, of: impl Fn(&Group) -> usize) -> usize {
        self.0.iter().map(|group| of(&group.lock())).sum()
    }

    pub fn len(&self) -> usize {
        self.sum(|group| group.entries.len())
    }

    pub fn bytes(&self) -> usize {
        self.sum(|group| group.entries.values().map(|entry| entry.bytes()).sum())
    }
}

/// Groups are as many as two bytes of an id can spread evenly.
const _: () = assert!(GROUPS.is_power_of_two() && SLOTS > 0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::{Code, GAP};
    use crate::sheet;

    const METRICS: [Metric; 3] = [Metric::Cpu, Metric::Memory, Metric::Load];

    /// Of one metric from the beginning, one that comes in the second minute, and one that comes late.
    fn value(metric: Metric, slot: u32) -> Option<f64> {
        match metric {
            Metric::Cpu => Some(f64::from(slot % 7) + 20.0),
            Metric::Memory if slot >= 1218 => Some(9e9),
            Metric::Load if slot == 1203 => Some(2.0),
            _ => None,
        }
    }

    fn code(metric: Metric, slot: u32) -> Code {
        value(metric, slot).map_or(GAP, encode)
    }

    #[test]
    fn packed_minutes_are_written_as_they_were_measured() {
        let (memory, vm) = (Memory::new(0), Entity::from(VmId::new()));
        let record = |slot, metrics: &[Metric]| {
            let values = metrics.iter().filter_map(|metric| Some((*metric, value(*metric, slot)?)));
            memory.record(vm, slot, &values.collect::<Vec<_>>());
        };
        (1200..1236).for_each(|slot| record(slot, &METRICS[..2]));
        record(1203, &METRICS[2..]);
        record(1236, &METRICS[..2]);

        let due = memory.group(Memory::place(vm)).begin_write(103);
        assert!(due.sheets.keys().copied().eq(100..103));
        for (number, written) in due.sheets {
            let slots = |metric| std::array::from_fn(|n| code(metric, number * SLOTS + n as u32));
            let row: Row = METRICS.iter().map(|metric| (*metric, slots(*metric))).collect();
            let expected = Sheet::from([(vm, row)]);
            assert_eq!(sheet::write(&written), sheet::write(&expected));
            assert_eq!(written, expected);
        }
    }
}
