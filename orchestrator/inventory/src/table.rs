//! The rows of one noun: slots, columns, and the ids that lead to them.
//!
//! A removed row's slot is not used again until nobody can ask any more what happened to it (see
//! [`Table::reuse_before`]): a subscriber must be able to learn the id of what was removed.

pub(crate) mod compiled;
pub(crate) mod page;

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::bits::Bits;
use crate::column::{Column, Sorted};
use crate::inventory::Revision;
use crate::schema::{Cell, RowView, Schema};

pub(crate) struct Table {
    pub schema: &'static Schema,
    columns: Vec<Column>,
    /// By slot; stays when the row is removed.
    ids: Vec<[u8; 16]>,
    live: Bits,
    count: u32,
    /// Slots, found by the hash of their id.
    by_id: HashTable<u32>,
    /// Slots of removed rows, with the revision of the removal.
    free: VecDeque<(Revision, u32)>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({}, {} rows)", self.schema.noun, self.count)
    }
}

/// Ids are random enough in their last half (UUIDv7), and nobody outside chooses them.
fn hash(id: &[u8; 16]) -> u64 {
    let (high, low) = id.split_at(8);
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of 16 bytes"));
    (number(low) ^ number(high).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Table {
    pub fn new(schema: &'static Schema) -> Self {
        Self {
            schema,
            columns: schema.columns.iter().map(Column::new).collect(),
            ids: Vec::new(),
            live: Bits::default(),
            count: 0,
            by_id: HashTable::new(),
            free: VecDeque::new(),
        }
    }

    /// Slots are below this.
    pub fn slots(&self) -> u32 {
        self.ids.len() as u32
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn live(&self) -> &Bits {
        &self.live
    }

    pub fn column(&self, index: usize) -> &Column {
        &self.columns[index]
    }

    pub fn id(&self, slot: u32) -> [u8; 16] {
        self.ids[slot as usize]
    }

    pub fn find(&self, id: &[u8; 16]) -> Option<u32> {
        self.by_id.find(hash(id), |slot| self.ids[*slot as usize] == *id).copied()
    }

    pub fn row(&self, slot: u32) -> RowView<'_> {
        RowView { table: self, slot }
    }

    /// The slot of the row, and whether it is new.
    pub fn ensure(&mut self, id: [u8; 16], sorted: Sorted, reuse_before: Revision) -> (u32, bool) {
        if let Some(slot) = self.find(&id) {
            return (slot, false);
        }
        let slot = match self.free.front() {
            Some((removed, slot)) if *removed < reuse_before => {
                let slot = *slot;
                self.free.pop_front();
                self.ids[slot as usize] = id;
                slot
            }
            _ => {
                self.ids.push(id);
                self.live.grow(self.slots());
                self.slots() - 1
            }
        };
        let ids = &self.ids;
        self.by_id.insert_unique(hash(&id), slot, |slot| hash(&ids[*slot as usize]));
        self.live.insert(slot);
        self.count += 1;
        for column in &mut self.columns {
            column.add(slot, sorted);
        }
        (slot, true)
    }

    /// Returns whether the value changed.
    pub fn set(&mut self, slot: u32, column: usize, cell: Cell<'_>, sorted: Sorted) -> bool {
        self.columns[column].set(slot, cell, sorted)
    }

    /// The slot that the row had.
    pub fn remove(&mut self, id: &[u8; 16], at: Revision) -> Option<u32> {
        let ids = &self.ids;
        let entry = self.by_id.find_entry(hash(id), |slot| ids[*slot as usize] == *id).ok()?;
        let (slot, _) = entry.remove();
        self.live.remove(slot);
        self.count -= 1;
        for column in &mut self.columns {
            column.remove(slot);
        }
        self.free.push_back((at, slot));
        Some(slot)
    }

    /// Ends a load.
    pub fn sort(&mut self) {
        for column in &mut self.columns {
            column.sort(&self.live);
        }
    }

    /// Bytes, estimated from capacities.
    pub fn memory(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::memory).sum();
        columns + self.ids.capacity() * 16 + self.by_id.capacity() * 5 + self.slots() as usize / 8
    }
}
