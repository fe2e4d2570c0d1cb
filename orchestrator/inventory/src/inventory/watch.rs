//! What changes in the rows of a filter, for one subscriber.
//!
//! A subscriber is two sets of slots: `known`, the rows it has been told of, and `dirty`, the rows that changed since.
//! Nothing is queued: a row that changes a thousand times before the subscriber asks is told once, as it is then. So
//! a slow subscriber costs two bits a row and delays nobody.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Inventory, Revision, Shared, Shown, State};
use crate::bits::Bits;
use crate::filter::Filter;
use crate::schema::Noun;
use crate::scope::Scope;

/// Most changes told at once; the rest comes with the next call.
const MAX_CHANGES: usize = 1000;
/// Changes are gathered before they are told, so that a row that changes often is told a few times a second and 200
/// subscribers do not look at each batch: for ten times as long as telling takes, between these two. An idle machine
/// tells soon, a busy one in larger pieces.
const GATHER: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));
const TELLING: u32 = 10;
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
    /// At least one. When `rest` is [`Rest::None`] the subscriber has what a page of `revision` shows, and may go on
    /// from there another time.
    Changes { revision: Revision, changes: Vec<Change<Row, Id>>, rest: Rest },
    /// What changed cannot be told: read the list again. The subscription goes on behind `revision`, and takes the
    /// rows of that revision as known.
    Resync { revision: Revision },
}

/// Whether more changes up to the same revision follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    None,
    More,
}

/// The last telling: when it was, and how long it took to make what was told.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Instant,
    took: Duration,
}

impl Told {
    /// When to tell again, at the earliest: `asked` is when the subscriber was through with what it got.
    fn turn(self, asked: Instant) -> Instant {
        let cost = self.took + asked.saturating_duration_since(self.at);
        self.at + (cost * TELLING).clamp(GATHER.0, GATHER.1)
    }
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
    last_told: Option<Told>,
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
        self.next_with(&read::<N>).await
    }

    /// As [`Self::next`], with rows as `write` puts them, once for all subscribers. A row for which it gives nothing
    /// is not there for them.
    pub async fn next_shown(
        &mut self,
        write: &(dyn Fn(N::Row) -> Option<Shown> + Sync),
    ) -> WatchEvent<Shown, N::Id> {
        let show = |state: &State, slot| state.texts.get(slot, || write(N::read(&state.table.row(slot))));
        self.next_with(&show).await
    }

    async fn next_with<T>(
        &mut self,
        show: &(dyn Fn(&State, u32) -> Option<T> + Sync),
    ) -> WatchEvent<T, N::Id> {
        let asked = Instant::now();
        loop {
            let seen = *self.latest.borrow_and_update();
            let begun = Instant::now();
            if let Some(event) = self.take_with(show) {
                let at = Instant::now();
                self.last_told = Some(Told { at, took: at - begun });
                return event;
            }
            if seen == *self.latest.borrow() {
                // Errs only when the inventory is gone, and we hold it.
                let _ = self.latest.changed().await;
                // A first change after a calm is told soon, the next ones are gathered.
                let soon = Instant::now() + SOON;
                let turn = self.last_told.map_or(soon, |told| soon.max(told.turn(asked)));
                tokio::time::sleep_until(turn).await;
            }
        }
    }

    /// What is there now, without waiting.
    pub fn take(&mut self) -> Option<WatchEvent<N::Row, N::Id>> {
        self.take_with(&read::<N>)
    }

    fn take_with<T>(&mut self, show: &dyn Fn(&State, u32) -> Option<T>) -> Option<WatchEvent<T, N::Id>> {
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
            changes.extend(slots.into_iter().filter_map(|slot| {
                let matches = state.table.live().contains(slot) && filter.holds(&state.table, slot);
                let shown = if matches { show(&state, slot) } else { None };
                self.look_at(slot, N::id_from(state.table.id(slot)), shown)
            }));
        }
        let rest = if self.dirty.is_empty() { Rest::None } else { Rest::More };
        (!changes.is_empty()).then_some(WatchEvent::Changes { revision: self.cursor, changes, rest })
    }

    /// What to tell of one row, which matches if it is `shown`.
    fn look_at<T>(&mut self, slot: u32, id: N::Id, shown: Option<T>) -> Option<Change<T, N::Id>> {
        self.dirty.remove(slot);
        match (self.known.contains(slot), shown) {
            (false, None) => None,
            (true, None) => {
                self.known.remove(slot);
                Some(Change::Removed(id))
            }
            (true, Some(row)) => Some(Change::Changed(row)),
            (false, Some(row)) => {
                self.known.insert(slot);
                Some(Change::Added(row))
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

    fn start_again<T>(&mut self, state: &State) -> WatchEvent<T, N::Id> {
        self.cursor = state.history.latest();
        self.known = state.find(&self.filter, &self.scope);
        self.dirty = Bits::none(state.table.slots());
        WatchEvent::Resync { revision: self.cursor }
    }
}

fn read<N: Noun>(state: &State, slot: u32) -> Option<N::Row> {
    Some(N::read(&state.table.row(slot)))
}
