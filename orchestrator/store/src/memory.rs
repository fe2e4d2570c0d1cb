//! The store that forgets: for tests, simulators and the crash harness of the sagas.
//!
//! Clones share the contents, so "reopening" after a simulated crash is a clone.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::error::show_key;
use crate::feed::Feed;
use crate::{
    Direction, Entry, Health, Keyspace, Revision, ScanPage, ScanRequest, Schema, StateStore, StoreError,
    Transaction, Watch,
};

type Contents = BTreeMap<Keyspace, BTreeMap<Bytes, (Revision, Bytes)>>;

/// See the module's documentation.
#[derive(Clone)]
pub struct MemoryStore {
    contents: Arc<Mutex<Contents>>,
    feed: Arc<Feed>,
    health: watch::Sender<Health>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStore(at {})", self.feed.latest())
    }
}

impl MemoryStore {
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        let contents = schema.keyspaces.iter().map(|keyspace| (*keyspace, BTreeMap::new())).collect();
        Self {
            contents: Arc::new(Mutex::new(contents)),
            feed: Feed::new(Revision::ZERO),
            health: watch::Sender::new(Health::Writable),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        let contents = self.lock();
        let keys = contents.get(&keyspace).ok_or(StoreError::UnknownKeyspace(keyspace))?;
        Ok(keys.get_key_value(key).map(|(key, (revision, value))| Entry {
            key: key.clone(),
            value: value.clone(),
            revision: *revision,
        }))
    }

    async fn scan(&self, request: ScanRequest) -> Result<ScanPage, StoreError> {
        let contents = self.lock();
        let keys = contents.get(&request.keyspace).ok_or(StoreError::UnknownKeyspace(request.keyspace))?;
        let limit = request.limit.max(1);
        let wanted = |key: &Bytes| key.starts_with(&request.prefix);
        let after = |fallback| request.after.clone().map_or(fallback, Bound::Excluded);
        let entry = |(key, (revision, value)): (&Bytes, &(Revision, Bytes))| Entry {
            key: key.clone(),
            value: value.clone(),
            revision: *revision,
        };
        let mut entries: Vec<Entry> = match request.direction {
            Direction::Ascending => {
                let from = after(Bound::Included(Bytes::copy_from_slice(&request.prefix)));
                keys.range((from, Bound::Unbounded))
                    .skip_while(|(key, _)| key.as_ref() < request.prefix.as_slice())
                    .take_while(|(key, _)| wanted(key))
                    .take(limit + 1)
                    .map(entry)
                    .collect()
            }
            Direction::Descending => keys
                .range((Bound::Unbounded, after(Bound::Unbounded)))
                .rev()
                .skip_while(|(key, _)| !wanted(key) && key.as_ref() > request.prefix.as_slice())
                .take_while(|(key, _)| wanted(key))
                .take(limit + 1)
                .map(entry)
                .collect(),
        };
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = if more { entries.last().map(|entry| entry.key.clone()) } else { None };
        Ok(ScanPage { entries, next, revision: self.feed.latest() })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        transaction.check_limits()?;
        let mut contents = self.lock();
        for precondition in &transaction.preconditions {
            let keys = contents
                .get(&precondition.keyspace)
                .ok_or(StoreError::UnknownKeyspace(precondition.keyspace))?;
            let found = keys.get(&precondition.key).map(|(revision, _)| *revision);
            if !precondition.expect.holds(found) {
                return Err(StoreError::Conflict {
                    keyspace: precondition.keyspace,
                    key: show_key(&precondition.key),
                    expected: precondition.expect,
                    found,
                });
            }
        }
        if let Some(write) = transaction.writes.iter().find(|write| !contents.contains_key(&write.keyspace)) {
            return Err(StoreError::UnknownKeyspace(write.keyspace));
        }
        if transaction.writes.is_empty() {
            return Ok(self.feed.latest());
        }
        let revision = Revision(self.feed.latest().0 + 1);
        for write in &transaction.writes {
            let keys = contents.entry(write.keyspace).or_default();
            match &write.value {
                Some(value) => keys.insert(write.key.clone(), (revision, value.clone())),
                None => keys.remove(&write.key),
            };
        }
        // Under the lock, so that the feed's order is the order of the commits.
        self.feed.publish([(revision, transaction.writes)]);
        Ok(revision)
    }

    fn watch(&self, keyspace: Keyspace, prefix: &[u8], since: Revision) -> Watch {
        self.feed.watch(keyspace, prefix, since)
    }

    fn revision(&self) -> Revision {
        self.feed.latest()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}
