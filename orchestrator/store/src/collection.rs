//! Records instead of bytes.
//!
//! Values are JSON. Chosen over postcard, which cannot read a record that lacks a field added later, and over
//! CBOR, which can but is no faster here and not readable: with JSON an older record reads as long as new fields
//! have a `#[serde(default)]`, a migration can work on `serde_json::Value` without the old types, and a person
//! with a broken store can read what is left. The price is about a third more bytes, most of which RocksDB's
//! compression takes back.
//!
//! Do not put `deny_unknown_fields` on a stored record: after a downgrade within one schema version, older code
//! reads records of newer code.

use std::any::type_name;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::show_key;
use crate::key::pair_prefix;
use crate::{
    Change, Direction, Entry, Expect, Keyspace, Revision, ScanRequest, StateStore, StoreError, StoreKey,
    Transaction, Watch, WatchEvent,
};

/// Records decoded before others get the thread: half a millisecond's worth.
const AT_ONCE: usize = 32;
/// Records that are read at a time where all are wanted: what a page takes of memory while others read, too.
const ALL_PAGE: usize = 1000;
/// How often [`Collection::modify`] tries before it gives the conflict to the caller. With a group commit of a
/// few milliseconds, 32 rounds are more than any honest contention on one record needs.
const MODIFY_ATTEMPTS: usize = 32;

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<K, V> {
    pub key: K,
    pub value: V,
    pub revision: Revision,
}

/// A page of records.
#[derive(Debug, Clone)]
pub struct RecordPage<K, V> {
    pub records: Vec<Record<K, V>>,
    /// For the next page.
    pub next: Option<Bytes>,
    /// See [`crate::ScanPage::revision`].
    pub revision: Revision,
}

/// A change of a record. `value` is `None` for a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChange<K, V> {
    pub key: K,
    pub revision: Revision,
    pub value: Option<V>,
}

/// What a [`CollectionWatch`] yields; see [`WatchEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordEvent<K, V> {
    Changes(Vec<RecordChange<K, V>>),
    Compacted { through: Revision },
}

/// How an entry is read.
type Decode<K, V, T> = fn(&Collection<K, V>, &Entry) -> Result<Record<K, T>, StoreError>;

/// The records of one keyspace, typed. Cheap to clone.
pub struct Collection<K, V> {
    store: Arc<dyn StateStore>,
    keyspace: Keyspace,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Collection<K, V> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), keyspace: self.keyspace, types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Collection<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collection({})", self.keyspace)
    }
}

impl<K: StoreKey, V: Serialize + DeserializeOwned> Collection<K, V> {
    #[must_use]
    pub fn new(store: Arc<dyn StateStore>, keyspace: Keyspace) -> Self {
        Self { store, keyspace, types: PhantomData }
    }

    #[must_use]
    pub fn store(&self) -> &Arc<dyn StateStore> {
        &self.store
    }

    fn decode(&self, entry: &Entry) -> Result<Record<K, V>, StoreError> {
        Ok(Record {
            key: self.decode_key(&entry.key)?,
            value: self.decode_value(&entry.key, &entry.value)?,
            revision: entry.revision,
        })
    }

    /// Of a value that cannot be read, why.
    fn decode_or_why(&self, entry: &Entry) -> Result<Record<K, Result<V, StoreError>>, StoreError> {
        Ok(Record {
            key: self.decode_key(&entry.key)?,
            value: self.decode_value(&entry.key, &entry.value),
            revision: entry.revision,
        })
    }

    fn decode_key(&self, key: &[u8]) -> Result<K, StoreError> {
        K::decode(key)
            .ok_or_else(|| self.undecodable(key, type_name::<K>(), "the key has another form".into()))
    }

    fn decode_value(&self, key: &[u8], value: &[u8]) -> Result<V, StoreError> {
        serde_json::from_slice(value).map_err(|e| self.undecodable(key, type_name::<V>(), e.into()))
    }

    fn undecodable(
        &self,
        key: &[u8],
        full_name: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> StoreError {
        let noun = full_name.rsplit("::").next().unwrap_or(full_name);
        StoreError::Decode { keyspace: self.keyspace, key: show_key(key), noun, source }
    }

    /// In a block of its own length: the last commits stay in memory, and what JSON was written into has room for more.
    fn encode(value: &V) -> Bytes {
        // Fails only for maps with keys that are no strings and for Serialize impls that refuse: both are errors
        // of the program that the first test of the record shows.
        let json = serde_json::to_vec(value).expect("records are plain data that JSON can hold");
        Bytes::copy_from_slice(&json)
    }

    pub async fn get(&self, key: &K) -> Result<Option<Record<K, V>>, StoreError> {
        let entry = self.store.get(self.keyspace, &key.encode()).await?;
        entry.map(|entry| self.decode(&entry)).transpose()
    }

    /// At most `limit` records in the order of their keys, behind `after`.
    pub async fn page(&self, after: Option<Bytes>, limit: usize) -> Result<RecordPage<K, V>, StoreError> {
        self.page_with(after, limit, Self::decode).await
    }

    /// The newest first, for keys that sort by time.
    pub async fn page_descending(
        &self,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<RecordPage<K, V>, StoreError> {
        let request = ScanRequest::prefix(self.keyspace, [], limit);
        self.page_of(ScanRequest { after, direction: Direction::Descending, ..request }, Self::decode).await
    }

    async fn page_with<T>(
        &self,
        after: Option<Bytes>,
        limit: usize,
        decode: Decode<K, V, T>,
    ) -> Result<RecordPage<K, T>, StoreError> {
        let request = ScanRequest::prefix(self.keyspace, [], limit);
        self.page_of(ScanRequest { after, ..request }, decode).await
    }

    async fn page_of<T>(
        &self,
        request: ScanRequest,
        decode: Decode<K, V, T>,
    ) -> Result<RecordPage<K, T>, StoreError> {
        let page = self.store.scan(request).await?;
        let mut records = Vec::with_capacity(page.entries.len());
        for entries in page.entries.chunks(AT_ONCE) {
            if !records.is_empty() {
                tokio::task::yield_now().await;
            }
            for entry in entries {
                records.push(decode(self, entry)?);
            }
        }
        Ok(RecordPage { records, next: page.next, revision: page.revision })
    }

    /// Every record, and the revision to watch from. For small collections and for rebuilding read models.
    pub async fn all(&self) -> Result<(Vec<Record<K, V>>, Revision), StoreError> {
        self.all_with(Self::decode).await
    }

    /// The same, with why a record cannot be read in its place: for who can do without it.
    pub async fn all_or_why(&self) -> Result<(Vec<Record<K, Result<V, StoreError>>>, Revision), StoreError> {
        self.all_with(Self::decode_or_why).await
    }

    async fn all_with<T>(
        &self,
        decode: Decode<K, V, T>,
    ) -> Result<(Vec<Record<K, T>>, Revision), StoreError> {
        let mut page = self.page_with(None, ALL_PAGE, decode).await?;
        let revision = page.revision;
        let mut records = std::mem::take(&mut page.records);
        while let Some(after) = page.next {
            page = self.page_with(Some(after), ALL_PAGE, decode).await?;
            records.append(&mut page.records);
        }
        Ok((records, revision))
    }

    /// Adds to `transaction`: write the record, whatever is there.
    pub fn put_in(&self, transaction: Transaction, key: &K, value: &V) -> Transaction {
        transaction.put(self.keyspace, key.encode(), Self::encode(value))
    }

    /// Adds to `transaction`: the record is new.
    pub fn insert_in(&self, transaction: Transaction, key: &K, value: &V) -> Transaction {
        self.put_in(self.require_in(transaction, key, Expect::Absent), key, value)
    }

    /// Adds to `transaction`: replace the record as it was read.
    pub fn update_in(&self, transaction: Transaction, read: &Record<K, V>, value: &V) -> Transaction {
        let transaction = self.require_in(transaction, &read.key, Expect::At(read.revision));
        self.put_in(transaction, &read.key, value)
    }

    pub fn delete_in(&self, transaction: Transaction, key: &K) -> Transaction {
        transaction.delete(self.keyspace, key.encode())
    }

    pub fn require_in(&self, transaction: Transaction, key: &K, expect: Expect) -> Transaction {
        transaction.require(self.keyspace, key.encode(), expect)
    }

    /// A new record; [`StoreError::Conflict`] if there is one.
    pub async fn insert(&self, key: &K, value: &V) -> Result<Revision, StoreError> {
        self.store.commit(self.insert_in(Transaction::new(), key, value)).await
    }

    /// Writes the record, whatever is there.
    pub async fn put(&self, key: &K, value: &V) -> Result<Revision, StoreError> {
        self.store.commit(self.put_in(Transaction::new(), key, value)).await
    }

    /// Replaces the record as it was read; [`StoreError::Conflict`] if it changed.
    pub async fn update(&self, read: &Record<K, V>, value: &V) -> Result<Revision, StoreError> {
        self.store.commit(self.update_in(Transaction::new(), read, value)).await
    }

    /// Deletes the record as it was read; [`StoreError::Conflict`] if it changed.
    pub async fn delete(&self, read: &Record<K, V>) -> Result<Revision, StoreError> {
        let transaction = self.require_in(Transaction::new(), &read.key, Expect::At(read.revision));
        self.store.commit(self.delete_in(transaction, &read.key)).await
    }

    /// Reads, changes and writes until nobody was in between. `change` may be called several times. `Ok(None)`:
    /// there is no such record.
    pub async fn modify(
        &self,
        key: &K,
        change: impl Fn(&mut V) + Send + Sync,
    ) -> Result<Option<Revision>, StoreError> {
        let mut attempt = 1;
        loop {
            let Some(mut record) = self.get(key).await? else { return Ok(None) };
            change(&mut record.value);
            let require = self.require_in(Transaction::new(), key, Expect::At(record.revision));
            match self.store.commit(self.put_in(require, key, &record.value)).await {
                Err(error) if error.is_conflict() && attempt < MODIFY_ATTEMPTS => attempt += 1,
                outcome => return outcome.map(Some),
            }
        }
    }

    /// What was changed after `since`, without waiting: for who looks into a read model that is as old as that. A key may be
    /// there more than once. `None`: that is too long ago for the store to know.
    pub fn changed_since(&self, since: Revision) -> Result<Option<Vec<K>>, StoreError> {
        let mut watch = self.store.watch(self.keyspace, &[], since);
        let mut keys = Vec::new();
        while let Some(event) = watch.take() {
            let WatchEvent::Changes(changes) = event else { return Ok(None) };
            for change in changes {
                keys.push(self.decode_key(&change.key)?);
            }
        }
        Ok(Some(keys))
    }

    /// Changes after `since`; the revision comes from [`Self::all`] or a page.
    #[must_use]
    pub fn watch(&self, since: Revision) -> CollectionWatch<K, V> {
        CollectionWatch {
            watch: self.store.watch(self.keyspace, &[], since),
            collection: self.clone(),
            unreadable: VecDeque::new(),
        }
    }
}

impl<A: StoreKey, B: StoreKey, V: Serialize + DeserializeOwned> Collection<(A, B), V> {
    /// A page of the records whose key begins with `first`.
    pub async fn page_under(
        &self,
        first: &A,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<RecordPage<(A, B), V>, StoreError> {
        let request = ScanRequest::prefix(self.keyspace, pair_prefix(first), limit);
        self.page_of(ScanRequest { after, ..request }, Self::decode).await
    }

    /// All of them, for what has few.
    pub async fn all_under(&self, first: &A) -> Result<Vec<Record<(A, B), V>>, StoreError> {
        let (mut records, mut after) = (Vec::new(), None);
        loop {
            let mut page = self.page_under(first, after, ALL_PAGE).await?;
            records.append(&mut page.records);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(records),
            }
        }
    }
}

/// See [`Collection::watch`].
pub struct CollectionWatch<K, V> {
    watch: Watch,
    collection: Collection<K, V>,
    /// Why records of the last changes cannot be read, where that was not told yet.
    unreadable: VecDeque<StoreError>,
}

impl<K: StoreKey, V: Serialize + DeserializeOwned> CollectionWatch<K, V> {
    /// Every change up to here was told, but for records that cannot be read.
    #[must_use]
    pub const fn through(&self) -> Revision {
        self.watch.through()
    }

    /// The next changes; waits for them. Safe to cancel. A record that cannot be read is an error of its own, which names it
    /// and which the watch has passed; what was written beside it comes all the same.
    pub async fn next(&mut self) -> Result<RecordEvent<K, V>, StoreError> {
        loop {
            if let Some(error) = self.unreadable.pop_front() {
                return Err(error);
            }
            let changes = match self.watch.next().await {
                WatchEvent::Compacted { through } => return Ok(RecordEvent::Compacted { through }),
                WatchEvent::Changes(changes) => changes,
            };
            let mut read = Vec::with_capacity(changes.len());
            for change in changes {
                match self.decode(&change) {
                    Ok(change) => read.push(change),
                    Err(error) => self.unreadable.push_back(error),
                }
            }
            if !read.is_empty() {
                return Ok(RecordEvent::Changes(read));
            }
        }
    }

    fn decode(&self, change: &Change) -> Result<RecordChange<K, V>, StoreError> {
        let value = change.value.as_ref();
        Ok(RecordChange {
            key: self.collection.decode_key(&change.key)?,
            revision: change.revision,
            value: value.map(|value| self.collection.decode_value(&change.key, value)).transpose()?,
        })
    }
}
