//! Whether a store keeps the promises that commits rest on, tried out before a repository is made in it.

use bytes::Bytes;

use super::{ObjectKey, ObjectStore, StoreError};
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
