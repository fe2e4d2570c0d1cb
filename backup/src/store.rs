//! Where a repository's objects lie: a flat namespace of objects that are created once and never changed.
//!
//! What always holds:
//! * [`ObjectStore::create`] is atomic and refuses a key that exists. It is the only write. When it returns
//!   `Ok`, the object is durable and every later `list` and `read`, from any machine, shows all of it.
//! * Keys are our own: lower-case letters, digits, `-`, `.` and `/`. What a store lists besides is skipped, so
//!   a hostile store cannot make us touch anything outside its folder.
//! * Only collectors delete. Writers get by with create, read and list, and so may their credentials.
//!
//! Calls block and may come from many threads at once. Crashes: an object is there whole or not at all
//! (`probe` proves that a store honours this before a repository is made in it).

mod faulty;
mod forward;
mod local;
mod lock;
mod memory;
mod probe;
mod retry;
mod s3;
mod throttle;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

pub use bytes::Bytes;

use crate::forward_store;

pub use faulty::{Fault, FaultyStore};
pub use local::{Handed, Keeper, LocalStore, keep};
pub use lock::{LOCKED, Lock, LockMode, LockingStore, Retention};
pub use memory::MemoryStore;
pub use probe::{probe, probe_locks};
pub use retry::RetryingStore;
pub use s3::{S3Credentials, S3Store};
pub use throttle::{Pace, ThrottledStore};

/// Objects in one listing but that of packs: backups of three hundred VMs every hour for half a year. 160 MiB of memory.
const MAX_LISTED: usize = 1 << 20;

/// The name of an object. Valid by construction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Longest key; S3 allows 1024, and a prefix comes before it.
    const MAX: usize = 200;

    /// `None` for anything that is not relative, plain and short.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.' | b'/');
        let segments_good = text.split('/').all(|s| !s.is_empty() && !s.starts_with('.'));
        (text.len() <= Self::MAX && text.bytes().all(plain) && segments_good).then(|| Self(text.to_owned()))
    }

    /// For keys put together from literals and hex digits.
    pub(crate) fn new(text: String) -> Self {
        debug_assert!(Self::parse(&text).is_some(), "{text}");
        Self(text)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object as a listing shows it. `modified` is the store's clock in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: ObjectKey,
    pub size: u64,
    pub modified: u64,
}

/// What a store can answer with besides success.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{key} does not exist in the store")]
    NotFound { key: String },
    #[error("{key} already exists in the store")]
    AlreadyExists { key: String },
    /// The store could not be reached or was busy: the same call may succeed later.
    #[error("the store cannot {action} {key} now")]
    Unavailable {
        action: &'static str,
        key: String,
        #[source]
        source: std::io::Error,
    },
    /// The store is full. Nothing was damaged; make room and run again.
    #[error("the store has no room left for {key}")]
    Full { key: String },
    /// An object is larger than any of its kind: nobody of ours wrote it.
    #[error("{key} has {size} bytes, at most {limit} are possible")]
    TooLarge { key: String, size: u64, limit: u64 },
    #[error("the store refuses to {action} {key}")]
    Refused {
        action: &'static str,
        key: String,
        #[source]
        source: std::io::Error,
    },
    /// A lock keeps the object from being deleted; it ends by itself. `until` is milliseconds since 1970.
    #[error("{key} is locked in the store until {}", time_text(*.until))]
    Locked { key: String, until: u64 },
    /// The store breaks a promise the repository's safety rests on.
    #[error("this store cannot hold a repository: {0}")]
    Unsuitable(String),
}

impl StoreError {
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// An error if a listing has become longer than `most`.
    pub(crate) fn check_count(found: usize, most: usize, prefix: &str) -> Result<(), Self> {
        if found <= most {
            return Ok(());
        }
        let source =
            std::io::Error::other(format!("there are more than {most} objects, which no repository has"));
        Err(Self::Refused { action: "list", key: prefix.to_owned(), source })
    }

    pub(crate) fn io(action: &'static str, key: &str, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let key = key.to_owned();
        match source.kind() {
            ErrorKind::NotFound => Self::NotFound { key },
            ErrorKind::AlreadyExists => Self::AlreadyExists { key },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { key },
            ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::BrokenPipe
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::StaleNetworkFileHandle
            | ErrorKind::ResourceBusy => Self::Unavailable { action, key, source },
            _ => Self::Refused { action, key, source },
        }
    }
}

/// See the module's promises.
pub trait ObjectStore: Send + Sync {
    /// Creates `key` from `parts` in order, if absent; durable on return.
    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError>;

    /// The bytes of `range`, or fewer where the object ends before.
    fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// The size in bytes.
    fn size(&self, key: &ObjectKey) -> Result<u64, StoreError>;

    /// Gives all objects whose key starts with `prefix` (`"packs/"`) to `take`, in no order, until it fails. After a
    /// store that was away meanwhile some may come twice.
    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// The same as a list, each once: for what is not as many as packs. A store that lists without end is refused.
    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let mut listed = Vec::new();
        self.list_each(prefix, &mut |info| {
            listed.push(info);
            StoreError::check_count(listed.len(), MAX_LISTED, prefix)
        })?;
        listed.sort_unstable_by(|a: &ObjectInfo, b| a.key.cmp(&b.key));
        listed.dedup_by(|a, b| a.key == b.key);
        Ok(listed)
    }

    /// Deletes `key`; deleting what is not there succeeds.
    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// What people call this store.
    fn describe(&self) -> String;

    /// Removes what writers that died left half written, older than `age`, where a store keeps such; says how many.
    fn sweep(&self, age: Duration) -> Result<usize, StoreError> {
        let _nothing_is_kept = age;
        Ok(0)
    }

    /// [`Self::create`], and nobody can delete it before the lock ends.
    fn create_locked(&self, key: &ObjectKey, parts: &[Bytes], lock: Lock) -> Result<(), StoreError> {
        let _unused = (key, parts, lock);
        Err(StoreError::Unsuitable(format!("{} cannot lock objects", self.describe())))
    }

    /// Makes the lock of `key` end later, or locks it. A lock that ends later already stays as it is, or is an error.
    fn extend_lock(&self, key: &ObjectKey, lock: Lock) -> Result<(), StoreError> {
        let _unused = (key, lock);
        Err(StoreError::Unsuitable(format!("{} cannot lock objects", self.describe())))
    }

    /// The lock on `key`, which may be over.
    fn lock_of(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        let _unlocked = key;
        Ok(None)
    }

    /// [`Self::delete`] where a store keeps what is deleted: here it is gone and its room is free, or
    /// [`StoreError::Locked`].
    fn purge(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.delete(key)
    }

    /// Why whoever wrote `key` can still change it, in a store where that should not be so.
    fn exposed(&self, key: &ObjectKey) -> Result<Option<String>, StoreError> {
        let _unknown = key;
        Ok(None)
    }

    /// What the store's clock says, milliseconds since 1970.
    fn clock(&self) -> Result<u64, StoreError> {
        Ok(crate::repo::now_millis())
    }

    /// The whole object, refused when larger than `limit` bytes.
    fn read(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StoreError> {
        let size = self.size(key)?;
        if size > limit {
            return Err(StoreError::TooLarge { key: key.to_string(), size, limit });
        }
        self.read_range(key, 0..size)
    }
}

impl<T: ObjectStore + ?Sized> ObjectStore for std::sync::Arc<T> {
    forward_store!(self => (**self);
        create read_range size list_each delete describe sweep create_locked extend_lock lock_of purge exposed clock);
}

/// A time (milliseconds since 1970) for people: `2026-09-01 12:00 UTC`.
pub(crate) fn time_text(millis: u64) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let at = time::OffsetDateTime::from_unix_timestamp((millis / 1000).try_into().unwrap_or(i64::MAX));
    at.ok().and_then(|at| at.format(format).ok()).unwrap_or_else(|| format!("{millis} ms after 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_leave_the_folder_are_refused() {
        for bad in ["", "/etc", "a//b", "../x", "a/../b", "a/.b", "A", "a b", "a\0", "a/", &"a".repeat(201)] {
            assert_eq!(ObjectKey::parse(bad), None, "{bad:?}");
        }
        for good in ["config", "packs/0a/0abc", "plans/1.done"] {
            assert!(ObjectKey::parse(good).is_some(), "{good}");
        }
    }
}
