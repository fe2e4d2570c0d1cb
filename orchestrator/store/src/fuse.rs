//! A store in memory that takes so many commits and no more: what is left is what a crash, or a full disk, leaves.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    Entry, Health, Keyspace, MemoryStore, Revision, ScanPage, ScanRequest, Schema, StateStore, StoreError,
    Transaction, Watch,
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Fuse {
    store: MemoryStore,
    left: AtomicUsize,
}

impl Fuse {
    /// One that takes every commit until [`Self::take`] is called.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self { store: MemoryStore::new(schema), left: AtomicUsize::new(usize::MAX) }
    }

    /// From now on it takes so many commits.
    pub fn take(&self, commits: usize) {
        self.left.store(commits, Ordering::Relaxed);
    }

    /// From now on it takes all.
    pub fn mend(&self) {
        self.take(usize::MAX);
    }
}

#[async_trait]
impl StateStore for Fuse {
    async fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.store.get(keyspace, key).await
    }

    async fn scan(&self, request: ScanRequest) -> Result<ScanPage, StoreError> {
        self.store.scan(request).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        let take = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => self.store.commit(transaction).await,
            Err(_) => Err(StoreError::StorageFull { path: "/made/up".into() }),
        }
    }

    fn watch(&self, keyspace: Keyspace, prefix: &[u8], since: Revision) -> Watch {
        self.store.watch(keyspace, prefix, since)
    }

    fn revision(&self) -> Revision {
        self.store.revision()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.store.health()
    }
}
