//! A store in memory: the test double.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{ObjectInfo, ObjectKey, ObjectStore, StoreError};

/// Keeps all promises of a store but durability. Its clock is set by hand.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<ObjectKey, (Bytes, u64)>>,
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

    /// Sets the modification time of objects to come, milliseconds since 1970.
    pub fn set_clock(&self, millis: u64) {
        self.clock.store(millis, std::sync::atomic::Ordering::Relaxed);
    }

    /// A copy that goes its own way.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { objects: Mutex::new(self.lock().clone()), clock: std::sync::atomic::AtomicU64::new(0) }
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

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.lock().remove(key);
        Ok(())
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
