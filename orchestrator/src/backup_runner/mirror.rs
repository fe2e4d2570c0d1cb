//! A small collection in memory, as the store's feed tells it.
//!
//! What always holds: after [`Mirror::catch_up`] it is as the store was when that was called, or newer. A change of
//! our own is seen in the next one; until then a record's old revision makes a second change of it a conflict.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xenith_orchestrator_store::{
    Collection, CollectionWatch, Record, RecordChange, RecordEvent, StoreError, StoreKey,
};

pub struct Mirror<K, V> {
    collection: Collection<K, V>,
    records: BTreeMap<K, Record<K, V>>,
    /// `None`: all has to be read, at first or because changes were missed.
    watch: Option<CollectionWatch<K, V>>,
    /// Told by the feed, and not in `records` yet.
    told: Vec<RecordChange<K, V>>,
}

impl<K, V> Mirror<K, V>
where
    K: StoreKey + Ord + Clone,
    V: Serialize + DeserializeOwned,
{
    /// Reads nothing yet.
    pub fn new(collection: &Collection<K, V>) -> Self {
        Self { collection: collection.clone(), records: BTreeMap::new(), watch: None, told: Vec::new() }
    }

    /// Waits until there is something to catch up with. Safe to cancel.
    pub async fn changed(&mut self) {
        let Some(watch) = &mut self.watch else { return std::future::pending().await };
        match watch.next().await {
            Ok(RecordEvent::Changes(changes)) => self.told.extend(changes),
            Ok(RecordEvent::Compacted { .. }) => self.watch = None,
            Err(error) => tracing::error!(%error, "a record cannot be read; what was known of it stands"),
        }
    }

    /// Takes in what has changed, and says of which records.
    pub async fn catch_up(&mut self) -> Result<BTreeSet<K>, StoreError> {
        while self.watch.is_some() && self.changed().now_or_never().is_some() {}
        if self.watch.is_none() {
            let (records, revision) = self.collection.all().await?;
            let new: BTreeMap<K, Record<K, V>> =
                records.into_iter().map(|record| (record.key.clone(), record)).collect();
            let changed = self.records.keys().chain(new.keys()).cloned().collect();
            self.records = new;
            self.told.clear();
            self.watch = Some(self.collection.watch(revision));
            return Ok(changed);
        }
        let mut changed = BTreeSet::new();
        for RecordChange { key, revision, value } in self.told.drain(..) {
            changed.insert(key.clone());
            match value {
                Some(value) => {
                    self.records.insert(key.clone(), Record { key, value, revision });
                }
                None => {
                    self.records.remove(&key);
                }
            }
        }
        Ok(changed)
    }

    pub fn get(&self, key: &K) -> Option<&Record<K, V>> {
        self.records.get(key)
    }

    pub fn all(&self) -> impl Iterator<Item = &Record<K, V>> {
        self.records.values()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xenith_orchestrator_store::{Keyspace, MemoryStore, Schema, Transaction};

    use super::*;

    const NUMBERS: Keyspace = Keyspace::new("numbers");

    #[tokio::test]
    async fn it_follows_and_tells_what_changed() {
        let store = Arc::new(MemoryStore::new(&Schema::new(1).with(&[NUMBERS])));
        let numbers: Collection<u64, String> = Collection::new(store, NUMBERS);
        numbers.put(&1, &"one".to_owned()).await.unwrap();
        let mut mirror = Mirror::new(&numbers);
        assert_eq!(mirror.catch_up().await.unwrap(), [1].into());
        assert_eq!(mirror.catch_up().await.unwrap(), [].into(), "nothing changed");
        numbers.put(&2, &"two".to_owned()).await.unwrap();
        numbers.put(&2, &"zwei".to_owned()).await.unwrap();
        mirror.changed().await;
        let gone = numbers.delete_in(Transaction::new(), &1);
        numbers.store().commit(gone).await.unwrap();
        assert_eq!(mirror.catch_up().await.unwrap(), [1, 2].into());
        let all: Vec<_> = mirror.all().map(|record| (record.key, record.value.as_str())).collect();
        assert_eq!(all, [(2, "zwei")]);
        // The revision is the one that a change is made from.
        numbers.update(mirror.get(&2).unwrap(), &"deux".to_owned()).await.unwrap();
    }
}
