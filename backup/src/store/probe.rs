//! Whether a store keeps the promises that commits rest on, tried out before a repository is made in it.

use bytes::Bytes;

use super::{Lock, LockMode, ObjectKey, ObjectStore, StoreError};
use crate::crypto::random_hex;

/// Creates, lists, re-creates and deletes a small object. `Unsuitable` names the broken promise.
pub fn probe(store: &dyn ObjectStore) -> Result<(), StoreError> {
    let key = ObjectKey::new(format!("probe/{}", random_hex()));
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    store.create(&key, std::slice::from_ref(&first))?;
    let result = check(store, &key, &first, second);
    store.delete(&key)?;
    result?;
    match store.size(&key) {
        Err(StoreError::NotFound { .. }) => Ok(()),
        _ => Err(StoreError::Unsuitable("a deleted object is still there".to_owned())),
    }
}

/// Creates an object that is locked for a minute, and sees whether that is so. It stays until a collector finds it.
pub fn probe_locks(store: &dyn ObjectStore, mode: LockMode) -> Result<(), StoreError> {
    tried(store, mode).map_err(|error| match error {
        // In the words of S3: the bucket has no object lock, which only whoever made it could give it.
        StoreError::Refused { source, .. } => StoreError::Unsuitable(format!(
            "{} does not lock objects; make a bucket with object lock for that ({source})",
            store.describe()
        )),
        other => other,
    })
}

fn tried(store: &dyn ObjectStore, mode: LockMode) -> Result<(), StoreError> {
    const MINUTE: u64 = 60 * 1000;
    let unfit = |what: &str| Err(StoreError::Unsuitable(format!("{}: {what}", store.describe())));
    let key = ObjectKey::new(format!("probe/{}", random_hex()));
    let lock = Lock { mode, until: store.clock()? + MINUTE };
    store.create_locked(&key, &[Bytes::from_static(b"locked")], lock)?;
    if store.lock_of(&key)?.is_none_or(|found| found.mode != mode || found.until < lock.until) {
        return unfit("it took an object with a lock, and does not know of the lock");
    }
    let longer = Lock { until: lock.until + MINUTE / 6, ..lock };
    store.extend_lock(&key, longer)?;
    if store.lock_of(&key)?.is_none_or(|found| found.until < longer.until) {
        return unfit("it does not extend locks");
    }
    match store.purge(&key) {
        Err(StoreError::Locked { .. }) => Ok(()),
        Ok(()) => unfit("it deleted an object that was locked"),
        Err(other) => Err(other),
    }
}

fn check(store: &dyn ObjectStore, key: &ObjectKey, first: &Bytes, second: Bytes) -> Result<(), StoreError> {
    let broken = |what: &str| Err(StoreError::Unsuitable(what.to_owned()));
    match store.create(key, &[second]) {
        Err(StoreError::AlreadyExists { .. }) => {}
        Ok(()) => return broken("it overwrites objects instead of refusing to create them twice"),
        Err(other) => return Err(other),
    }
    if store.read(key, 100)? != first {
        return broken("an object read back differs from what was written");
    }
    if store.read_range(key, 1..3)? != first.slice(1..3) {
        return broken("it does not read parts of objects");
    }
    if !store.list("probe/")?.iter().any(|info| info.key == *key && info.size == first.len() as u64) {
        return broken("a new object is missing from its listing");
    }
    Ok(())
}
