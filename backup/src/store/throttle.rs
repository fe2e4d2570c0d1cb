//! A store that is written no faster than it may be.
//!
//! Each write first waits until the ones before it would be over at the pace that is set, so that the average holds
//! whatever the sizes. The pace may change at any moment, also while writes wait: who shares a repository with others is
//! given another part of it when one of them comes or goes. Reads are not held back: an increment reads little, and a
//! restore is in a hurry.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Lock, ObjectKey, ObjectStore, StoreError};
use crate::forward_store;

/// How fast everybody who shares it may write, all together. Without a limit at first.
#[derive(Debug, Default)]
pub struct Pace {
    debt: Mutex<Debt>,
    changed: Condvar,
}

/// What was let through and would not be over yet.
#[derive(Debug)]
struct Debt {
    /// Bytes per second; 0 for no limit.
    rate: u64,
    bytes: f64,
    /// As of when.
    at: Instant,
}

impl Default for Debt {
    fn default() -> Self {
        Self { rate: 0, bytes: 0.0, at: Instant::now() }
    }
}

impl Debt {
    /// A pause is not saved up: nobody is ever owed anything.
    fn settle(&mut self, now: Instant) {
        let paid = now.saturating_duration_since(self.at).as_secs_f64() * self.rate as f64;
        self.bytes = (self.bytes - paid).max(0.0);
        self.at = self.at.max(now);
    }

    fn set(&mut self, rate: u64, now: Instant) {
        self.settle(now);
        self.rate = rate;
    }

    /// Takes a write of `bytes` in, or says how long it has to wait for that at this pace.
    fn take(&mut self, bytes: u64, now: Instant) -> Result<(), Duration> {
        self.settle(now);
        if self.rate == 0 {
            self.bytes = 0.0;
            return Ok(());
        }
        // Less than a byte is what is left of rounding.
        if self.bytes < 1.0 {
            self.bytes += bytes as f64;
            return Ok(());
        }
        Err(Duration::from_secs_f64(self.bytes / self.rate as f64))
    }
}

impl Pace {
    /// Bytes per second; 0 for no limit.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        let pace = Self::default();
        pace.set(bytes_per_second);
        pace
    }

    fn debt(&self) -> MutexGuard<'_, Debt> {
        self.debt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes per second from now on; 0 for no limit. Also for writes that wait.
    pub fn set(&self, bytes_per_second: u64) {
        self.debt().set(bytes_per_second, Instant::now());
        self.changed.notify_all();
    }

    /// Bytes per second; 0 for no limit.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.debt().rate
    }

    fn wait(&self, bytes: u64) {
        let mut debt = self.debt();
        while let Err(left) = debt.take(bytes, Instant::now()) {
            let waited = self.changed.wait_timeout(debt, left);
            debt = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// See the module.
pub struct ThrottledStore<S> {
    inner: S,
    pace: Arc<Pace>,
}

impl<S> ThrottledStore<S> {
    #[must_use]
    pub fn new(inner: S, pace: Arc<Pace>) -> Self {
        Self { inner, pace }
    }
}

impl<S: ObjectStore> ObjectStore for ThrottledStore<S> {
    forward_store!(self => self.inner;
        read_range size list_each delete describe sweep extend_lock lock_of purge exposed clock);

    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        self.pace.wait(parts.iter().map(|part| part.len() as u64).sum());
        self.inner.create(key, parts)
    }

    fn create_locked(&self, key: &ObjectKey, parts: &[Bytes], lock: Lock) -> Result<(), StoreError> {
        self.pace.wait(parts.iter().map(|part| part.len() as u64).sum());
        self.inner.create_locked(key, parts, lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    /// How long a write of `bytes` waits from `now` on; it is taken in then.
    fn wait(debt: &mut Debt, bytes: u64, now: Instant) -> Duration {
        let Err(left) = debt.take(bytes, now) else { return Duration::ZERO };
        assert_eq!(debt.take(bytes, now + left), Ok(()), "it is let through when it was told to come again");
        left
    }

    #[test]
    fn the_rate_holds_on_average() {
        let now = Instant::now();
        let mut debt = Debt { rate: 1000, bytes: 0.0, at: now };
        let mut at = now;
        for (bytes, expected) in [(500, 0), (1500, 500), (0, 1500), (100, 0)] {
            let waited = wait(&mut debt, bytes, at);
            at += waited;
            assert_eq!(waited.as_millis(), expected, "a write of {bytes} bytes");
        }
        let later = at + Duration::from_secs(60);
        assert_eq!(wait(&mut debt, 100, later), Duration::ZERO, "a pause is not held against anybody");
        assert_eq!(wait(&mut debt, 100, later).as_millis(), 100, "nor saved up");
    }

    #[test]
    fn another_rate_holds_at_once() {
        let now = Instant::now();
        let mut debt = Debt { rate: 1000, bytes: 0.0, at: now };
        debt.take(10_000, now).unwrap();
        assert_eq!(debt.take(1, now), Err(Duration::from_secs(10)));
        // Half of it is paid when the rate falls to a tenth.
        let then = now + Duration::from_secs(5);
        debt.set(100, then);
        assert_eq!(debt.take(1, then), Err(Duration::from_secs(50)));
        debt.set(0, then);
        assert_eq!(
            debt.take(1 << 40, then),
            Ok(()),
            "without a limit nobody waits, and nothing is owed for it"
        );
        debt.set(1000, then);
        assert_eq!(debt.take(1, then), Ok(()));
    }

    #[test]
    fn who_waits_hears_that_the_limit_is_gone() {
        let pace = Arc::new(Pace::new(1));
        let store = ThrottledStore::new(MemoryStore::new(), Arc::clone(&pace));
        let key = |name: &str| ObjectKey::parse(name).unwrap();
        store.create(&key("first"), &[Bytes::from_static(&[0; 4096])]).unwrap();
        std::thread::scope(|scope| {
            // More than an hour at this pace.
            let second = scope.spawn(|| store.create(&key("second"), &[Bytes::from_static(b"x")]));
            pace.set(0);
            second.join().unwrap().unwrap();
        });
        assert_eq!(pace.get(), 0);
    }
}
