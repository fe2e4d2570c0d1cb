//! A store in memory: the test double.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Lock, ObjectInfo, ObjectKey, ObjectStore, StoreError};

/// Keeps all promises of a store but durability. Its clock is set by hand. It knows locks.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<ObjectKey, (Bytes, u64)>>,
    locks: Mutex<BTreeMap<ObjectKey, Lock>>,
    clock: std::sync::atomic::AtomicU64,
}

impl MemoryStore {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, (Bytes, u64)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Lock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock off an object, as somebody with all rights does.
    pub fn unlock(&self, key: &ObjectKey) {
        self.locks().remove(key);
    }

    /// Sets the modification time of objects to come, milliseconds since 1970.
    pub fn set_clock(&self, millis: u64) {
        self.clock.store(millis, std::sync::atomic::Ordering::Relaxed);
    }

    /// A copy that goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            objects: Mutex::new(self.lock().clone()),
            locks: Mutex::new(self.locks().clone()),
            clock: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Replaces an object, as damage does.
    pub fn overwrite(&self, key: &ObjectKey, body: Bytes) {
        self.lock().insert(key.clone(), (body, 0));
    }

    #[must_use]
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.lock().keys().cloned().collect()
    }
}

impl ObjectStore for MemoryStore {
    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        let mut objects = self.lock();
        if objects.contains_key(key) {
            return Err(StoreError::AlreadyExists { key: key.to_string() });
        }
        let now = self.clock.load(std::sync::atomic::Ordering::Relaxed);
        objects.insert(key.clone(), (Bytes::from(parts.concat()), now));
        Ok(())
    }

    fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        let objects = self.lock();
        let (body, _) = objects.get(key).ok_or_else(|| StoreError::NotFound { key: key.to_string() })?;
        let end = range.end.min(body.len() as u64) as usize;
        let start = (range.start as usize).min(end);
        Ok(body.slice(start..end))
    }

    fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        let objects = self.lock();
        let (body, _) = objects.get(key).ok_or_else(|| StoreError::NotFound { key: key.to_string() })?;
        Ok(body.len() as u64)
    }

    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let objects = self.lock();
        let found = objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        let infos: Vec<ObjectInfo> = found
            .map(|(key, (body, modified))| ObjectInfo {
                key: key.clone(),
                size: body.len() as u64,
                modified: *modified,
            })
            .collect();
        drop(objects);
        infos.into_iter().try_for_each(take)
    }

    // As in a bucket with versions, a plain delete asks no lock: nobody sees the object any more.
    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.lock().remove(key);
        Ok(())
    }

    fn purge(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let mut objects = self.lock();
        let now = self.clock()?;
        if let Some(lock) = self.locks().get(key).filter(|lock| lock.until > now && objects.contains_key(key))
        {
            return Err(StoreError::Locked { key: key.to_string(), until: lock.until });
        }
        objects.remove(key);
        self.locks().remove(key);
        Ok(())
    }

    fn create_locked(&self, key: &ObjectKey, parts: &[Bytes], lock: Lock) -> Result<(), StoreError> {
        self.create(key, parts)?;
        self.locks().insert(key.clone(), lock);
        Ok(())
    }

    fn extend_lock(&self, key: &ObjectKey, lock: Lock) -> Result<(), StoreError> {
        if !self.lock().contains_key(key) {
            return Err(StoreError::NotFound { key: key.to_string() });
        }
        let mut locks = self.locks();
        let known = locks.entry(key.clone()).or_insert(lock);
        known.until = known.until.max(lock.until);
        Ok(())
    }

    fn lock_of(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        Ok(self.locks().get(key).copied())
    }

    fn clock(&self) -> Result<u64, StoreError> {
        match self.clock.load(std::sync::atomic::Ordering::Relaxed) {
            0 => Ok(crate::repo::now_millis()),
            set => Ok(set),
        }
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
