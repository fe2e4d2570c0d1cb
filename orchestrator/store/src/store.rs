//! The seam itself and its vocabulary.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{StoreError, Transaction, Watch};

/// A named, ordered map of byte keys: a column family in RocksDB, a key prefix elsewhere.
///
/// Declared as constants by the crate that owns the records, and gathered in the [`crate::Schema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Keyspace(&'static str);

impl Keyspace {
    /// `name` is 1 to 32 of `a-z`, `0-9`, `.`, `_`; checked when the constant is made.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 32, "a keyspace's name has 1 to 32 characters");
        let mut i = 0;
        while i < bytes.len() {
            assert!(
                matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_'),
                "a keyspace's name is made of a-z, 0-9, . and _"
            );
            i += 1;
        }
        Self(name)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Counts commits; the first is 1. Gaps are allowed, going back is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Before every commit.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One key as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Bytes,
    pub value: Bytes,
    /// Of the commit that wrote it; the precondition of the next write.
    pub revision: Revision,
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    Ascending,
    Descending,
}

/// One page of a scan.
#[derive(Debug, Clone)]
pub struct ScanRequest {
    pub keyspace: Keyspace,
    /// Only keys that begin so; empty: all.
    pub prefix: Vec<u8>,
    /// Go on behind this key (in the scan's direction), which need not exist any more.
    pub after: Option<Bytes>,
    /// At most so many entries; 0 means 1.
    pub limit: usize,
    pub direction: Direction,
}

impl ScanRequest {
    /// Everything under `prefix`, ascending, from the beginning.
    #[must_use]
    pub fn prefix(keyspace: Keyspace, prefix: impl Into<Vec<u8>>, limit: usize) -> Self {
        Self { keyspace, prefix: prefix.into(), after: None, limit, direction: Direction::Ascending }
    }
}

/// The answer to a [`ScanRequest`].
#[derive(Debug, Clone)]
pub struct ScanPage {
    pub entries: Vec<Entry>,
    /// Give it as `after` for the next page; `None`: that was all.
    pub next: Option<Bytes>,
    /// The page holds at least everything up to this revision. Watch from the revision of the *first* page to
    /// miss nothing (what changed between the pages is then seen twice, which is harmless).
    pub revision: Revision,
}

/// Whether commits are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Writable,
    /// Reads go on; commits get [`StoreError::StorageFull`] or [`StoreError::Failed`].
    ReadOnly {
        /// For the alarm: what is wrong and what to do.
        reason: String,
        since: SystemTime,
        /// Whether the store tries by itself to become writable again.
        heals_itself: bool,
    },
}

/// Ordered byte keys in keyspaces, transactions, a watch. See the crate's documentation for what holds.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// The value of `key` now, if it has one.
    async fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Entry>, StoreError>;

    /// A page of keys in order. Never more than `limit` entries, and never more than about 4 MiB.
    async fn scan(&self, request: ScanRequest) -> Result<ScanPage, StoreError>;

    /// Applies `transaction` if its preconditions hold. Durable when it returns.
    ///
    /// Dropping the future does not undo it: the commit may still happen.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError>;

    /// Changes of `prefix` committed after `since`.
    fn watch(&self, keyspace: Keyspace, prefix: &[u8], since: Revision) -> Watch;

    /// The newest committed revision.
    fn revision(&self) -> Revision;

    /// Whether commits are taken, and each change of that.
    fn health(&self) -> tokio::sync::watch::Receiver<Health>;
}
