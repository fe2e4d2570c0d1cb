//! Locks on objects: until when a store lets nobody delete one, whoever asks.
//!
//! A lock only ever grows. S3 calls it object lock; a store without it says so when the repository is made. What is
//! worth a lock is what nobody could bring back: `config`, keys, packs and manifests. The index is a cache, and sessions,
//! plans and verdicts only keep programs out of each other's way.

use std::fmt;
use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ObjectKey, ObjectStore, StoreError};
use crate::forward_store;

/// Prefixes of what is locked.
pub const LOCKED: [&str; 5] = ["config", "keys/", "keyring/", "packs/", "manifests/"];

/// A day in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Who may lift a lock before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockMode {
    /// Who has the right to (S3: `s3:BypassGovernanceRetention`).
    Governance,
    /// Nobody, not even the bucket's owner.
    Compliance,
}

impl LockMode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Governance, Self::Compliance].into_iter().find(|mode| mode.name() == text)
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        })
    }
}

/// The lock on one object. `until` is milliseconds since 1970 by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    pub mode: LockMode,
    pub until: u64,
}

/// How long everything in a repository is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub days: u32,
    pub mode: LockMode,
}

impl Retention {
    /// Ten years: a mistyped number of days is paid for until it is over, and cannot be taken back.
    pub const MAX_DAYS: u32 = 3653;

    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.days >= 1 && self.days <= Self::MAX_DAYS
    }

    /// Its length in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.days as u64 * DAY
    }

    /// The lock of what is stored, or still needed, at `now`.
    #[must_use]
    pub const fn lock_at(self, now: u64) -> Lock {
        Lock { mode: self.mode, until: now.saturating_add(self.millis()) }
    }
}

/// A store that locks what it creates, and dates the locks by the store's clock: a machine whose clock is ahead must not
/// lock for years, nor one whose clock is behind not at all.
pub struct LockingStore {
    inner: std::sync::Arc<dyn ObjectStore>,
    retention: Retention,
    /// What the store's clock said, and when by a clock that nobody sets.
    asked: OnceLock<(u64, Instant)>,
}

impl LockingStore {
    #[must_use]
    pub fn new(inner: std::sync::Arc<dyn ObjectStore>, retention: Retention) -> Self {
        Self { inner, retention, asked: OnceLock::new() }
    }
}

fn is_key(key: &ObjectKey) -> bool {
    ["keys/", "keyring/"].iter().any(|prefix| key.as_str().starts_with(prefix))
}

impl ObjectStore for LockingStore {
    forward_store!(self => self.inner;
        read_range size list_each describe sweep create_locked extend_lock lock_of purge exposed);

    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        if LOCKED.iter().any(|prefix| key.as_str().starts_with(prefix)) {
            let lock = self.retention.lock_at(self.clock()?);
            self.inner.create_locked(key, parts, lock)
        } else {
            self.inner.create(key, parts)
        }
    }

    // Where locks are, a plain delete only hides an object, locked or not, and frees nothing.
    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        match self.inner.purge(key) {
            // An old key must open nothing from now on. Who can list versions finds it again, and what it opened before.
            Err(StoreError::Locked { .. }) if is_key(key) => self.inner.delete(key),
            other => other,
        }
    }

    fn clock(&self) -> Result<u64, StoreError> {
        if self.asked.get().is_none() {
            let told = self.inner.clock()?;
            let _another_was_first = self.asked.set((told, Instant::now()));
        }
        let (told, at) = self.asked.get().expect("it was just set");
        Ok(told.saturating_add(at.elapsed().as_millis() as u64))
    }
}
