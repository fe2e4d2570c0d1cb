//! What was committed lately, for those who watch.
//!
//! One bounded history for all, and a cursor for each watch; no queue per watcher. So a watcher costs a writer
//! nothing, a slow one holds no memory, and one that falls behind the history is told to read again. The
//! alternative, a bounded channel per watcher, would need the same marker and copies each change for each.
//!
//! After a restart the history is empty: a watch from an older revision begins with
//! [`WatchEvent::Compacted`].

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::transaction::Write;
use crate::{Keyspace, Revision};

/// How much is remembered. 32 MiB or 100,000 commits bridge about 5 s at full load: a watcher that is slower
/// than that reads again, which is cheaper than catching up.
pub(crate) const HISTORY_BYTES: usize = 32 << 20;
pub(crate) const HISTORY_COMMITS: usize = 100_000;
/// Most changes in one event, so that a watcher far behind does not build a giant list.
const MAX_EVENT_CHANGES: usize = 1024;

/// One committed change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: Bytes,
    pub revision: Revision,
    /// `None`: the key was deleted.
    pub value: Option<Bytes>,
}

/// What a [`Watch`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// In the order of the commits, never empty.
    Changes(Vec<Change>),
    /// Changes were missed. Read everything again; the watch goes on behind this revision.
    Compacted { through: Revision },
}

#[derive(Debug)]
struct Commit {
    revision: Revision,
    writes: Vec<Write>,
    bytes: usize,
}

#[derive(Debug)]
struct History {
    commits: VecDeque<Commit>,
    bytes: usize,
    /// Everything up to here is not in `commits` any more.
    compacted: Revision,
    limit_bytes: usize,
    limit_commits: usize,
}

/// Shared by the writer and the watches of one store.
#[derive(Debug)]
pub(crate) struct Feed {
    history: Mutex<History>,
    latest: watch::Sender<Revision>,
}

impl Feed {
    /// A feed of a store whose newest commit is `revision`.
    pub fn new(revision: Revision) -> Arc<Self> {
        Self::with_limits(revision, (HISTORY_BYTES, HISTORY_COMMITS))
    }

    pub fn with_limits(revision: Revision, (limit_bytes, limit_commits): (usize, usize)) -> Arc<Self> {
        let commits = VecDeque::new();
        let history = History { commits, bytes: 0, compacted: revision, limit_bytes, limit_commits };
        Arc::new(Self { history: Mutex::new(history), latest: watch::Sender::new(revision) })
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        // A panic cannot leave the history half changed in a way that matters: pushes and pops are single calls.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn latest(&self) -> Revision {
        *self.latest.borrow()
    }

    /// Records commits that are durable and readable, in order.
    pub fn publish(&self, commits: impl IntoIterator<Item = (Revision, Vec<Write>)>) {
        let mut latest = None;
        {
            let mut history = self.lock();
            for (revision, writes) in commits {
                let bytes =
                    writes.iter().map(|w| 64 + w.key.len() + w.value.as_ref().map_or(0, Bytes::len)).sum();
                history.bytes += bytes;
                history.commits.push_back(Commit { revision, writes, bytes });
                latest = Some(revision);
            }
            while history.bytes > history.limit_bytes || history.commits.len() > history.limit_commits {
                let Some(oldest) = history.commits.pop_front() else { break };
                history.bytes -= oldest.bytes;
                history.compacted = oldest.revision;
            }
        }
        if let Some(latest) = latest {
            self.latest.send_replace(latest);
        }
    }

    /// Forgets everything: what is in the store up to `revision` may differ from what was published.
    pub fn compact(&self, revision: Revision) {
        {
            let mut history = self.lock();
            history.commits.clear();
            history.bytes = 0;
            history.compacted = revision;
        }
        self.latest.send_replace(revision);
    }

    pub fn watch(self: &Arc<Self>, keyspace: Keyspace, prefix: &[u8], since: Revision) -> Watch {
        Watch {
            feed: Arc::clone(self),
            latest: self.latest.subscribe(),
            keyspace,
            prefix: prefix.into(),
            cursor: since,
        }
    }
}

/// The changes of one prefix. Cheap: a cursor into the store's history.
pub struct Watch {
    feed: Arc<Feed>,
    latest: watch::Receiver<Revision>,
    keyspace: Keyspace,
    prefix: Box<[u8]>,
    cursor: Revision,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({} from {})", self.keyspace, self.cursor)
    }
}

impl Watch {
    /// Every change up to here was yielded.
    #[must_use]
    pub const fn through(&self) -> Revision {
        self.cursor
    }

    /// The next changes; waits for them. Safe to cancel. Never ends: a closed store has no more changes.
    pub async fn next(&mut self) -> WatchEvent {
        loop {
            self.latest.borrow_and_update();
            if let Some(event) = self.take() {
                return event;
            }
            // Errs only when the sender is gone, and we hold it through `feed`.
            let _ = self.latest.changed().await;
        }
    }

    /// What is there now, without waiting.
    pub fn take(&mut self) -> Option<WatchEvent> {
        let history = self.feed.lock();
        // A cursor of the future comes from another life of the store (a restored checkpoint).
        let newest = history.commits.back().map_or(history.compacted, |commit| commit.revision);
        if self.cursor < history.compacted || self.cursor > newest {
            self.cursor = newest;
            return Some(WatchEvent::Compacted { through: newest });
        }
        let mut changes = Vec::new();
        let first = history.commits.partition_point(|commit| commit.revision <= self.cursor);
        for commit in history.commits.range(first..) {
            let ours = commit
                .writes
                .iter()
                .filter(|write| write.keyspace == self.keyspace && write.key.starts_with(&self.prefix));
            changes.extend(ours.map(|write| Change {
                key: write.key.clone(),
                revision: commit.revision,
                value: write.value.clone(),
            }));
            self.cursor = commit.revision;
            if changes.len() >= MAX_EVENT_CHANGES {
                break;
            }
        }
        (!changes.is_empty()).then_some(WatchEvent::Changes(changes))
    }
}
