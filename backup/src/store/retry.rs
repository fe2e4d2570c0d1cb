//! Patience with stores that answer late, with errors, or not for a while.
//!
//! Only [`StoreError::Unavailable`] is retried. A `create` whose answer was lost may have happened: when the
//! retry finds the key taken, the object is read back, and equal bytes mean success. Keys are unique to their
//! writer or named after their content, so an equal object is ours or as good as ours.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Lock, ObjectInfo, ObjectKey, ObjectStore, StoreError};

/// Retries with waits that double from `first_wait`, until `patience` has passed.
#[derive(Debug)]
pub struct RetryingStore<S> {
    inner: S,
    first_wait: Duration,
    patience: Duration,
}

impl<S: ObjectStore> RetryingStore<S> {
    /// Longest single wait; an outage that ends is noticed within it.
    const MAX_WAIT: Duration = Duration::from_secs(10);

    pub fn new(inner: S, first_wait: Duration, patience: Duration) -> Self {
        Self { inner, first_wait, patience }
    }

    fn retry<T>(&self, mut call: impl FnMut(u32) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let give_up = Instant::now() + self.patience;
        let mut wait = self.first_wait;
        let mut attempt = 0;
        loop {
            match call(attempt) {
                Err(error) if error.is_retryable() && Instant::now() + wait < give_up => {
                    tracing::warn!(%error, ?wait, "the store did not answer; trying again");
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(Self::MAX_WAIT);
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn is_ours(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<bool, StoreError> {
        let expected: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if self.inner.size(key)? != expected {
            return Ok(false);
        }
        let mut at = 0;
        for part in parts {
            let end = at + part.len() as u64;
            if self.inner.read_range(key, at..end)? != part {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }
}

impl<S: ObjectStore> ObjectStore for RetryingStore<S> {
    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        self.retry(|attempt| match self.inner.create(key, parts) {
            Err(StoreError::AlreadyExists { .. }) if attempt > 0 && self.is_ours(key, parts)? => Ok(()),
            other => other,
        })
    }

    fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.retry(|_| self.inner.read_range(key, range.clone()))
    }

    fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.retry(|_| self.inner.size(key))
    }

    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.retry(|_| self.inner.list_each(prefix, take))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.retry(|_| self.inner.delete(key))
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn sweep(&self, age: Duration) -> Result<usize, StoreError> {
        self.inner.sweep(age)
    }

    fn create_locked(&self, key: &ObjectKey, parts: &[Bytes], lock: Lock) -> Result<(), StoreError> {
        self.retry(|attempt| match self.inner.create_locked(key, parts, lock) {
            Err(StoreError::AlreadyExists { .. }) if attempt > 0 && self.is_ours(key, parts)? => Ok(()),
            other => other,
        })
    }

    fn extend_lock(&self, key: &ObjectKey, lock: Lock) -> Result<(), StoreError> {
        self.retry(|_| self.inner.extend_lock(key, lock))
    }

    fn lock_of(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        self.retry(|_| self.inner.lock_of(key))
    }

    fn purge(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.retry(|_| self.inner.purge(key))
    }

    fn exposed(&self, key: &ObjectKey) -> Result<Option<String>, StoreError> {
        self.retry(|_| self.inner.exposed(key))
    }

    fn clock(&self) -> Result<u64, StoreError> {
        self.retry(|_| self.inner.clock())
    }
}
