//! One noun's inventory, as the orchestrator uses it: apply, get, page, count, watch.

mod history;
mod mark;
mod query;
mod shown;
mod watch;

use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use serde::{Deserialize, Serialize};

use crate::column::Sorted;
use crate::schema::Noun;
use crate::scope::Scope;
use crate::table::Table;
use crate::table::compiled::Compiled;
use history::History;

pub use query::{CountRequest, Facet, Page, PageRequest, QueryError};
pub(crate) use query::{Slots, slots};
pub use shown::Shown;
pub use watch::{Change, Rest, Subscription, WatchEvent};

/// Most rows changed under one lock: readers wait at most for so many, which is a fraction of a millisecond.
const BATCH: usize = 256;

/// Counts applied batches. Only for the life of the process: a client that reconnects to another process reads
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// One change on its way in.
pub enum Delta<N: Noun> {
    /// The whole row.
    Put(N::Row),
    /// Some of its cells. Of an unknown row: ignored, as it comes late.
    Patch(N::Id, N::Patch),
    Remove(N::Id),
}

pub(crate) struct State {
    pub table: Table,
    pub history: History,
    pub texts: shown::Texts,
}

pub(crate) struct Shared {
    pub state: RwLock<State>,
    /// The newest revision; wakes subscribers.
    pub latest: tokio::sync::watch::Sender<Revision>,
    /// Marks cursors of this process.
    pub process: u32,
}

impl Shared {
    /// For what may take milliseconds: waits behind a writer that waits, so that updates are never starved.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// For what takes microseconds: let in even while a writer waits for somebody's long read, which it would
    /// otherwise wait for too.
    pub fn glance(&self) -> RwLockReadGuard<'_, State> {
        self.state.read_recursive()
    }
}

/// The rows of one noun. Cheap to clone.
pub struct Inventory<N: Noun> {
    shared: Arc<Shared>,
    noun: PhantomData<fn() -> N>,
}

impl<N: Noun> Clone for Inventory<N> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), noun: PhantomData }
    }
}

impl<N: Noun> std::fmt::Debug for Inventory<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inventory({}, {} rows)", N::SCHEMA.noun, self.len())
    }
}

impl<N: Noun> Default for Inventory<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Noun> Inventory<N> {
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            table: Table::new(N::SCHEMA),
            history: History::default(),
            texts: shown::Texts::default(),
        };
        let process = (uuid::Uuid::new_v4().as_u128() >> 96) as u32;
        let latest = tokio::sync::watch::Sender::new(Revision::default());
        Self { shared: Arc::new(Shared { state: RwLock::new(state), latest, process }), noun: PhantomData }
    }

    /// Builds the inventory from its rows, faster than by [`Self::apply`]: orders are made once at the end. For the
    /// start, before anybody reads; rows that were there are replaced by those of the same id.
    #[must_use]
    pub fn load(rows: impl IntoIterator<Item = N::Row>) -> Self {
        let inventory = Self::new();
        {
            let mut state = inventory.shared.state.write();
            let table = &mut state.table;
            for row in rows {
                let id = N::id_bytes(N::id_of(&row));
                let (slot, _) = table.ensure(id, Sorted::Later, Revision::default());
                N::row_cells(&row, &mut |column, cell| {
                    table.set(slot, column, cell, Sorted::Later);
                });
            }
            table.sort();
        }
        inventory
    }

    /// Applies changes in order; readers see them in batches. Blocks for microseconds a change: call it from the
    /// task that receives them.
    pub fn apply(&self, deltas: impl IntoIterator<Item = Delta<N>>) -> Revision {
        let mut deltas = deltas.into_iter();
        loop {
            let batch: Vec<_> = deltas.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return self.revision();
            }
            self.apply_batch(batch);
        }
    }

    fn apply_batch(&self, batch: Vec<Delta<N>>) {
        let revision = {
            let mut state = self.shared.state.write();
            let State { table, history, texts } = &mut *state;
            let revision = history.begin();
            for delta in batch {
                if let Some(slot) = apply_one(table, delta, (revision, history.oldest())) {
                    history.changed(slot);
                    texts.forget(slot);
                }
            }
            revision
        };
        self.shared.latest.send_replace(revision);
    }

    #[must_use]
    pub fn revision(&self) -> Revision {
        *self.shared.latest.borrow()
    }

    /// The newest revision as it rises, for who counts when something may have changed.
    #[must_use]
    pub fn revisions(&self) -> tokio::sync::watch::Receiver<Revision> {
        self.shared.latest.subscribe()
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.glance().table.count() as usize
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row, if it is there and `scope` shows it.
    #[must_use]
    pub fn get(&self, id: N::Id, scope: &Scope) -> Option<N::Row> {
        let state = self.shared.glance();
        let slot = state.table.find(&N::id_bytes(id))?;
        let visible = Compiled::scope(&state.table, scope).holds(&state.table, slot);
        visible.then(|| N::read(&state.table.row(slot)))
    }

    /// Whether the row is there and passes.
    #[must_use]
    pub fn passes(&self, id: N::Id, filter: &crate::filter::Filter, scope: &Scope) -> bool {
        let state = self.shared.glance();
        let slot = state.table.find(&N::id_bytes(id));
        slot.is_some_and(|slot| state.compile(filter, scope).holds(&state.table, slot))
    }

    /// Bytes held by rows and indexes, estimated.
    #[must_use]
    pub fn memory(&self) -> usize {
        let state = self.shared.read();
        state.table.memory() + state.history.memory()
    }
}

/// The slot that changed, if anything did.
fn apply_one<N: Noun>(
    table: &mut Table,
    delta: Delta<N>,
    (revision, oldest): (Revision, Revision),
) -> Option<u32> {
    match delta {
        Delta::Put(row) => {
            let id = N::id_bytes(N::id_of(&row));
            let (slot, new) = table.ensure(id, Sorted::Now, oldest);
            let mut changed = new;
            N::row_cells(&row, &mut |column, cell| changed |= table.set(slot, column, cell, Sorted::Now));
            changed.then_some(slot)
        }
        Delta::Patch(id, patch) => {
            let slot = table.find(&N::id_bytes(id))?;
            let mut changed = false;
            N::patch_cells(&patch, &mut |column, cell| changed |= table.set(slot, column, cell, Sorted::Now));
            changed.then_some(slot)
        }
        Delta::Remove(id) => table.remove(&N::id_bytes(id), revision),
    }
}
