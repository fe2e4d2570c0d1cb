//! Optimistic batches: preconditions, then writes.

use bytes::Bytes;

use crate::{Keyspace, Revision, StoreError};

/// Longest key in bytes. Names and ids are far below; etcd and RocksDB are far above.
pub const MAX_KEY_BYTES: usize = 1024;
/// Largest value in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Largest transaction in bytes, keys and values together. etcd refuses requests above 1.5 MiB.
pub const MAX_TRANSACTION_BYTES: usize = 1_400_000;
/// Most preconditions and writes of one transaction together. etcd's default for `--max-txn-ops`.
pub const MAX_TRANSACTION_OPS: usize = 128;

/// What must be true of a key for the transaction to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Absent,
    /// Last written by this commit.
    At(Revision),
    Present,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Precondition {
    pub keyspace: Keyspace,
    pub key: Bytes,
    pub expect: Expect,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub keyspace: Keyspace,
    pub key: Bytes,
    /// `None` deletes.
    pub value: Option<Bytes>,
}

/// All or nothing. Later writes of the same key win over earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Transaction {
    pub(crate) preconditions: Vec<Precondition>,
    pub(crate) writes: Vec<Write>,
}

impl Transaction {
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if `key` is as expected when the transaction is applied.
    pub fn require(mut self, keyspace: Keyspace, key: impl Into<Bytes>, expect: Expect) -> Self {
        self.preconditions.push(Precondition { keyspace, key: key.into(), expect });
        self
    }

    pub fn put(mut self, keyspace: Keyspace, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write { keyspace, key: key.into(), value: Some(value.into()) });
        self
    }

    /// Deleting what is not there is no error; add [`Expect::Present`] if it should be.
    pub fn delete(mut self, keyspace: Keyspace, key: impl Into<Bytes>) -> Self {
        self.writes.push(Write { keyspace, key: key.into(), value: None });
        self
    }

    /// Both, or neither.
    pub fn and(mut self, other: Self) -> Self {
        self.preconditions.extend(other.preconditions);
        self.writes.extend(other.writes);
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.preconditions.is_empty() && self.writes.is_empty()
    }

    /// Preconditions and writes, of which there may be [`MAX_TRANSACTION_OPS`].
    #[must_use]
    pub fn ops(&self) -> usize {
        self.preconditions.len() + self.writes.len()
    }

    /// Keys and values together, of which there may be [`MAX_TRANSACTION_BYTES`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        let keys: usize = self.preconditions.iter().map(|p| p.key.len()).sum();
        let writes: usize =
            self.writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, Bytes::len)).sum();
        keys + writes
    }

    /// Refuses what a backend could not take.
    pub(crate) fn check_limits(&self) -> Result<(), StoreError> {
        let too_large = |what, size, limit| Err(StoreError::TooLarge { what, size, limit });
        let ops = self.ops();
        if ops > MAX_TRANSACTION_OPS {
            return too_large("number of operations in a transaction", ops, MAX_TRANSACTION_OPS);
        }
        let keys = self.preconditions.iter().map(|p| &p.key).chain(self.writes.iter().map(|w| &w.key));
        if let Some(longest) = keys.map(Bytes::len).max().filter(|len| *len > MAX_KEY_BYTES) {
            return too_large("key", longest, MAX_KEY_BYTES);
        }
        let values = self.writes.iter().filter_map(|w| w.value.as_ref()).map(Bytes::len);
        if let Some(largest) = values.max().filter(|len| *len > MAX_VALUE_BYTES) {
            return too_large("value", largest, MAX_VALUE_BYTES);
        }
        let bytes = self.bytes();
        if bytes > MAX_TRANSACTION_BYTES {
            return too_large("transaction", bytes, MAX_TRANSACTION_BYTES);
        }
        Ok(())
    }
}

impl Expect {
    /// `found` is the revision of the key, if it is there.
    pub(crate) fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::At(revision) => found == Some(revision),
            Self::Present => found.is_some(),
        }
    }
}
