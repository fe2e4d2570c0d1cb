//! What changes in the rows of a filter, for one subscriber.
//!
//! A subscriber is two sets of slots: `known`, the rows it has been told of, and `dirty`, the rows that changed since.
//! Nothing is queued: a row that changes a thousand times before the subscriber asks is told once, as it is then. So
//! a slow subscriber costs two bits a row and delays nobody.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Inventory, Revision, Shared, State};
use crate::bits::Bits;
use crate::filter::Filter;
use crate::schema::Noun;
use crate::scope::Scope;
use crate::table::compiled::Compiled;

/// Most changes told at once; the rest comes with the next call.
const MAX_CHANGES: usize = 1000;
/// Changes are gathered for so long before they are told: a row that changes often is told at most 10 times a second,
/// and 200 subscribers do not look at each batch.
const GATHER: Duration = Duration::from_millis(100);
/// Even the first change waits so long, for those that come with it.
const SOON: Duration = Duration::from_millis(5);
/// Rows looked at under one lock: a writer waits at most for so many, a fraction of a millisecond.
const LOCKED: usize = 128;

/// Relative to the filter: a row that begins to match is added, whether it is new or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<Row, Id> {
    Added(Row),
    Changed(Row),
    Removed(Id),
}

/// What a [`Subscription`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent<Row, Id> {
    /// At least one. After the last event of a revision the subscriber has what a page of that revision shows.
    Changes { revision: Revision, changes: Vec<Change<Row, Id>> },
    /// What changed cannot be told: read the list again. The subscription goes on behind `revision`, and takes the
    /// rows of that revision as known.
    Resync { revision: Revision },
}

/// See the module's documentation. Dropping it ends it.
pub struct Subscription<N: Noun> {
    shared: Arc<Shared>,
    latest: tokio::sync::watch::Receiver<Revision>,
    filter: Filter,
    scope: Scope,
    /// Everything up to here is in `known` or `dirty`.
    cursor: Revision,
    known: Bits,
    dirty: Bits,
    /// `dirty` holds nothing older. Slots of removed rows are used again when the history has passed them.
    dirty_since: Revision,
    /// Where in `dirty` to go on: each row gets its turn, however fast those before it change again.
    turn: u32,
    last_told: Option<Instant>,
    resync: bool,
    noun: PhantomData<fn() -> N>,
}

impl<N: Noun> std::fmt::Debug for Subscription<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscription({} from {})", N::SCHEMA.noun, self.cursor.0)
    }
}

impl<N: Noun> Inventory<N> {
    /// Changes of the rows of `filter` that `scope` shows, after `since`: the revision of the page that the
    /// subscriber has read. If that is long ago, or from another process, the first event is a resync.
    ///
    /// Since it is not known which rows a returning subscriber has, each row that changed meanwhile and does not
    /// match is told as removed. To a limited scope that would tell the ids of hidden rows, so it is told to resync
    /// instead.
    #[must_use]
    pub fn watch(&self, since: Revision, filter: Filter, scope: Scope) -> Subscription<N> {
        let latest = self.shared.latest.subscribe();
        let state = self.shared.read();
        let mut dirty = Bits::none(state.table.slots());
        let mut known = state.find(&filter, &scope);
        let mut resync = !state.history.changes_since(since, &mut dirty);
        if !resync && !dirty.is_empty() {
            let visible = state.find(&Filter::All, &scope);
            resync = !scope.is_everything() && dirty.iter().any(|slot| !visible.contains(slot));
            // Not known whether it was told of these: those that match are told as changed, others as removed.
            known.or(&dirty);
        }
        let cursor = state.history.latest();
        drop(state);
        let shared = Arc::clone(&self.shared);
        Subscription {
            shared,
            latest,
            filter,
            scope,
            cursor,
            known,
            dirty,
            dirty_since: since,
            turn: 0,
            last_told: None,
            resync,
            noun: PhantomData,
        }
    }
}

impl<N: Noun> Subscription<N> {
    /// The next changes; waits for them. Safe to cancel.
    pub async fn next(&mut self) -> WatchEvent<N::Row, N::Id> {
        loop {
            let seen = *self.latest.borrow_and_update();
            if let Some(event) = self.take() {
                self.last_told = Some(Instant::now());
                return event;
            }
            if seen == *self.latest.borrow() {
                // Errs only when the inventory is gone, and we hold it.
                let _ = self.latest.changed().await;
                // A first change after a calm is told soon, the next ones are gathered.
                let soon = Instant::now() + SOON;
                let turn = self.last_told.map_or(soon, |told| soon.max(told + GATHER));
                tokio::time::sleep_until(turn).await;
            }
        }
    }

    /// What is there now, without waiting.
    pub fn take(&mut self) -> Option<WatchEvent<N::Row, N::Id>> {
        let shared = Arc::clone(&self.shared);
        {
            let state = shared.read();
            if std::mem::take(&mut self.resync) || !self.gather(&state) {
                return Some(self.start_again(&state));
            }
        }
        let mut changes = Vec::new();
        let mut wrapped = self.turn == 0;
        while changes.len() < MAX_CHANGES {
            let slots: Vec<u32> = self.dirty.iter_from(self.turn).take(LOCKED).collect();
            let Some(last) = slots.last() else {
                if std::mem::replace(&mut wrapped, true) {
                    break;
                }
                self.turn = 0;
                continue;
            };
            self.turn = last + 1;
            let state = shared.read();
            let filter = state.compile(&self.filter, &self.scope);
            changes.extend(slots.into_iter().filter_map(|slot| self.look_at(&state, &filter, slot)));
        }
        (!changes.is_empty()).then_some(WatchEvent::Changes { revision: self.cursor, changes })
    }

    /// What to tell of one row.
    fn look_at(&mut self, state: &State, filter: &Compiled, slot: u32) -> Option<Change<N::Row, N::Id>> {
        self.dirty.remove(slot);
        let known = self.known.contains(slot);
        let matches = state.table.live().contains(slot) && filter.holds(&state.table, slot);
        let row = || N::read(&state.table.row(slot));
        match (known, matches) {
            (false, false) => None,
            (true, false) => {
                self.known.remove(slot);
                Some(Change::Removed(N::id_from(state.table.id(slot))))
            }
            (true, true) => Some(Change::Changed(row())),
            (false, true) => {
                self.known.insert(slot);
                Some(Change::Added(row()))
            }
        }
    }

    /// Adds what changed since to `dirty`. `false`: too much was missed.
    fn gather(&mut self, state: &State) -> bool {
        self.dirty.grow(state.table.slots());
        self.known.grow(state.table.slots());
        let latest = state.history.latest();
        if self.dirty.is_empty() {
            self.dirty_since = self.cursor;
        } else if self.dirty_since < state.history.oldest() {
            return false;
        }
        let told = latest == self.cursor || state.history.changes_since(self.cursor, &mut self.dirty);
        self.cursor = latest;
        told
    }

    fn start_again(&mut self, state: &State) -> WatchEvent<N::Row, N::Id> {
        self.cursor = state.history.latest();
        self.known = state.find(&self.filter, &self.scope);
        self.dirty = Bits::none(state.table.slots());
        WatchEvent::Resync { revision: self.cursor }
    }
}
