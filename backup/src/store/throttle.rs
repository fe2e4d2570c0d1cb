//! A store that is written no faster than it may be.
//!
//! Each write first waits until the ones before it would be over at the given rate, so that the average holds whatever
//! the sizes. Reads are not held back: an increment reads little, and a restore is in a hurry.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Lock, ObjectKey, ObjectStore, StoreError};
use crate::forward_store;

/// See the module.
pub struct ThrottledStore<S> {
    inner: S,
    /// Bytes per second, at least 1.
    rate: u64,
    /// When what was let through so far would be over.
    free_at: Mutex<Instant>,
}

impl<S> ThrottledStore<S> {
    #[must_use]
    pub fn new(inner: S, bytes_per_second: u64) -> Self {
        Self { inner, rate: bytes_per_second.max(1), free_at: Mutex::new(Instant::now()) }
    }

    /// How long a write of `bytes` waits, and takes its place in the queue.
    fn wait(&self, bytes: u64, now: Instant) -> Duration {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*free_at).max(now);
        *free_at = start + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        start - now
    }
}

impl<S: ObjectStore> ObjectStore for ThrottledStore<S> {
    forward_store!(self => self.inner;
        read_range size list_each delete describe sweep extend_lock lock_of purge exposed clock);

    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        std::thread::sleep(self.wait(bytes, Instant::now()));
        self.inner.create(key, parts)
    }

    fn create_locked(&self, key: &ObjectKey, parts: &[Bytes], lock: Lock) -> Result<(), StoreError> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        std::thread::sleep(self.wait(bytes, Instant::now()));
        self.inner.create_locked(key, parts, lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn the_rate_holds_on_average() {
        let store = ThrottledStore::new(MemoryStore::new(), 1000);
        let now = *store.free_at.lock().unwrap();
        let waits: Vec<u64> =
            [500, 1500, 0, 100].iter().map(|&bytes| store.wait(bytes, now).as_millis() as u64).collect();
        assert_eq!(waits, [0, 500, 2000, 2000]);
        let later = now + Duration::from_secs(60);
        assert_eq!(
            store.wait(100, later),
            Duration::ZERO,
            "a pause is not saved up, nor held against anybody"
        );
    }
}
