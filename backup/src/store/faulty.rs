//! A store that misbehaves on order: the tool of the crash tests.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{Lock, ObjectInfo, ObjectKey, ObjectStore, StoreError};
use crate::forward_store;

/// What happens at the chosen mutation (create or delete).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies just before it: this and every later call fails.
    DieBefore,
    /// The process dies just after it.
    DieAfter,
    /// It fails once with a retryable error and does nothing.
    FailOnce,
    /// It happens, but the answer is lost: a retryable error once.
    LoseAnswer,
    /// The answer is a retryable error, once; it happens all the same, [`LATE_BY`] mutations later, when a retry has been.
    Late,
    /// The store is full from then on.
    Full,
}

/// A retry comes right after the error; what was put off comes after that.
const LATE_BY: u64 = 2;

/// A mutation that was put off.
#[derive(Debug)]
enum Late {
    Create(ObjectKey, Vec<Bytes>),
    Delete(ObjectKey),
}

/// Passes calls on to `inner`, with one fault at mutation number `at` and a delay before every answer.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    fault: Option<(Fault, u64)>,
    delay: Duration,
    mutations: AtomicU64,
    /// And before which mutation it takes place.
    late: Mutex<Option<(u64, Late)>>,
}

impl<S: ObjectStore> FaultyStore<S> {
    pub fn new(inner: S, fault: Option<(Fault, u64)>) -> Self {
        Self { inner, fault, delay: Duration::ZERO, mutations: AtomicU64::new(0), late: Mutex::default() }
    }

    /// Every call takes `delay` longer, as a distant store's does.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// What the "process" left behind.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Mutations asked for so far.
    pub fn mutations(&self) -> u64 {
        self.mutations.load(Ordering::SeqCst)
    }

    fn dead(key: &str) -> StoreError {
        let source = std::io::Error::other("killed by the test");
        StoreError::Refused { action: "use", key: key.to_owned(), source }
    }

    fn lost(key: &ObjectKey) -> StoreError {
        let source = std::io::ErrorKind::ConnectionReset.into();
        StoreError::Unavailable { action: "write", key: key.to_string(), source }
    }

    fn check_alive(&self, key: &str) -> Result<(), StoreError> {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        let done = self.mutations();
        match self.fault {
            Some((Fault::DieBefore | Fault::DieAfter, at)) if done > at => Err(Self::dead(key)),
            _ => Ok(()),
        }
    }

    fn late(&self) -> MutexGuard<'_, Option<(u64, Late)>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what was put off, when its time has come. Nobody waits for its answer any more.
    fn arrive(&self, number: u64) {
        let due = self.late().take_if(|(due, _)| *due <= number);
        let _unheard = match due {
            Some((_, Late::Create(key, parts))) => self.inner.create(&key, &parts),
            Some((_, Late::Delete(key))) => self.inner.delete(&key),
            None => Ok(()),
        };
    }

    /// `late` is the same call to be made later, for those that can be.
    fn mutate(
        &self,
        key: &ObjectKey,
        call: impl FnOnce() -> Result<(), StoreError>,
        late: impl FnOnce() -> Option<Late>,
    ) -> Result<(), StoreError> {
        if !self.delay.is_zero() {
            std::thread::sleep(self.delay);
        }
        let number = self.mutations.fetch_add(1, Ordering::SeqCst);
        self.arrive(number);
        match self.fault {
            Some((fault, at)) if number == at => match fault {
                Fault::DieBefore => Err(Self::dead(key.as_str())),
                Fault::DieAfter => call().and(Err(Self::dead(key.as_str()))),
                Fault::FailOnce => Err(Self::lost(key)),
                Fault::LoseAnswer => call().and(Err(Self::lost(key))),
                Fault::Late => {
                    *self.late() = late().map(|call| (number + LATE_BY, call));
                    Err(Self::lost(key))
                }
                Fault::Full => Err(StoreError::Full { key: key.to_string() }),
            },
            Some((Fault::DieBefore | Fault::DieAfter, at)) if number > at => Err(Self::dead(key.as_str())),
            Some((Fault::Full, at)) if number > at => Err(StoreError::Full { key: key.to_string() }),
            _ => call(),
        }
    }
}

impl<S: ObjectStore> ObjectStore for FaultyStore<S> {
    forward_store!(self => self.inner; describe sweep exposed);

    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        let late = || Some(Late::Create(key.clone(), parts.to_vec()));
        self.mutate(key, || self.inner.create(key, parts), late)
    }

    fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.check_alive(key.as_str())?;
        self.inner.read_range(key, range)
    }

    fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.check_alive(key.as_str())?;
        self.inner.size(key)
    }

    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check_alive(prefix)?;
        self.inner.list_each(prefix, take)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.mutate(key, || self.inner.delete(key), || Some(Late::Delete(key.clone())))
    }

    fn create_locked(&self, key: &ObjectKey, parts: &[Bytes], lock: Lock) -> Result<(), StoreError> {
        self.mutate(key, || self.inner.create_locked(key, parts, lock), || None)
    }

    fn extend_lock(&self, key: &ObjectKey, lock: Lock) -> Result<(), StoreError> {
        self.mutate(key, || self.inner.extend_lock(key, lock), || None)
    }

    fn lock_of(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        self.check_alive(key.as_str())?;
        self.inner.lock_of(key)
    }

    fn purge(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.mutate(key, || self.inner.purge(key), || None)
    }

    fn clock(&self) -> Result<u64, StoreError> {
        self.check_alive("its clock")?;
        self.inner.clock()
    }
}
