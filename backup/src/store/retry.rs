//! Patience with stores that answer late, with errors, or not for a while.
//!
//! Only [`StoreError::Unavailable`] is retried. A `create` whose answer was lost may have happened: when the
//! retry finds the key taken, the object is read back, and equal bytes mean success. Keys are unique to their
//! writer or named after their content, so an equal object is ours or as good as ours.
//!
//! Who gives the work up waits no longer: from then on each call is made once, as of a process that is about to end.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Lock, ObjectInfo, ObjectKey, ObjectStore, StoreError};

/// A wait that was given up ends within this: somebody waits for the thread, a process that stops or a person.
const NOTICED_WITHIN: Duration = Duration::from_millis(100);

/// Retries with waits that double from `first_wait`, until `patience` has passed.
pub struct RetryingStore<S> {
    inner: S,
    first_wait: Duration,
    patience: Duration,
    given_up: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl<S: ObjectStore> RetryingStore<S> {
    /// Longest single wait; an outage that ends is noticed within it.
    const MAX_WAIT: Duration = Duration::from_secs(10);

    pub fn new(inner: S, first_wait: Duration, patience: Duration) -> Self {
        Self { inner, first_wait, patience, given_up: Arc::new(|| false) }
    }

    /// Nothing is tried again once this says so, and a wait ends.
    #[must_use]
    pub fn unless(mut self, given_up: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        self.given_up = given_up;
        self
    }

    /// In short sleeps: what gives the work up is a flag, which wakes nobody. False: it was given up.
    fn wait(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        while !(self.given_up)() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(NOTICED_WITHIN));
        }
        false
    }

    fn retry<T>(&self, mut call: impl FnMut(u32) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let give_up = Instant::now() + self.patience;
        let mut wait = self.first_wait;
        let mut attempt = 0;
        loop {
            match call(attempt) {
                Err(error) if error.is_retryable() && Instant::now() + wait < give_up => {
                    tracing::warn!(%error, ?wait, "the store did not answer; trying again");
                    if !self.wait(wait) {
                        return Err(error);
                    }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::forward_store;
    use crate::store::MemoryStore;

    /// Never says how long an object is.
    struct Away {
        inner: MemoryStore,
        asked: AtomicU32,
    }

    impl ObjectStore for Away {
        forward_store!(self => self.inner; create read_range list_each delete describe);

        fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let source = std::io::ErrorKind::TimedOut.into();
            Err(StoreError::Unavailable { action: "look at", key: key.to_string(), source })
        }
    }

    #[test]
    fn who_gives_up_waits_no_longer() {
        let away = Away { inner: MemoryStore::new(), asked: AtomicU32::new(0) };
        let given_up = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&given_up);
        let long = Duration::from_secs(60);
        let store =
            RetryingStore::new(away, long, 2 * long).unless(Arc::new(move || seen.load(Ordering::SeqCst)));
        let key = ObjectKey::parse("config").unwrap();
        let asked = || store.inner.asked.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| store.size(&key));
            while asked() == 0 {
                std::thread::yield_now();
            }
            given_up.store(true, Ordering::SeqCst);
            assert!(waits.join().unwrap().is_err_and(|error| error.is_retryable()));
        });
        assert_eq!(asked(), 1, "it was not tried again");
        assert!(store.size(&key).is_err());
        assert_eq!(asked(), 2, "and what comes after is tried once");
    }
}
