//! The embedded backend: RocksDB in one folder, for one process.
//!
//! Layout: a column family per keyspace; each value has its revision (8 bytes, big endian) in front. The default
//! column family holds three keys of our own: the newest revision, the schema version, a migration's progress.
//! Beside RocksDB's files lie `xenith-store` (says that this folder is ours, so that a half deleted store is
//! never mistaken for an empty one) and `xenith-store.lock` (an advisory lock with the holder's process id).
//!
//! **Writes** go to one thread, which takes whatever waits (up to [`writer::MAX_GROUP`]), checks the preconditions
//! against the database and the group so far, and writes the group as one batch with one `fdatasync`. While the
//! disk syncs, the next group gathers: throughput follows the load without a timer, a lone commit waits for
//! nobody. One thread also makes the check-and-write atomic without any lock. The alternative, RocksDB's
//! optimistic transactions, syncs each commit on its own unless tuned, and gives no total order to publish.
//!
//! **Point reads** run inline on the async thread: hot records are in the memtable or the block cache
//! (microseconds), a cold one costs one `pread` of a few KiB; a hop to a blocking thread costs more than the
//! usual read. Lists of the inventory never come here. **Scans** go to a blocking thread, a page at a time.
//!
//! **Full disk:** RocksDB itself should not meet one: as Debian builds it, with assertions, it ends the program
//! when it uses a file again that could not be written. So a GiB is kept free ([`RocksOptions::keep_free_bytes`]): more than flushes and
//! compactions, as they are bounded here, take at once. Before each group, and every second, the writer asks the
//! system what is free. Less than that, or a write that failed for lack of space all the same, makes the store
//! read-only: the database is opened anew for reading, and so does nothing in the background any more. Every
//! second the writer looks again; when there is room, and a few MiB beside the store can be written and synced,
//! it opens the database for writing (which drops RocksDB's error state and tells from the disk which of the
//! unacknowledged commits happened), tells watchers to read again, and goes on. Other failed writes (EIO) stay read-only until a restart: after a failed `fsync` the kernel may have
//! dropped the pages, and trying again would report a success that is none.
//!
//! **Crash:** acknowledged commits are in the synced write-ahead log. A torn last record was never acknowledged
//! and is dropped; damage before the end of the log, in a table or in the manifest is refused at open with
//! [`StoreError::Corrupt`] (`TolerateCorruptedTailRecords`; RocksDB's default, point-in-time, would silently drop
//! everything behind the damage).

mod disk;
mod migrate;
mod reader;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rocksdb::DB;
use tokio::sync::{oneshot, watch};

use crate::feed::{Feed, HISTORY_BYTES, HISTORY_COMMITS};
use crate::{
    Entry, Health, Keyspace, Revision, ScanPage, ScanRequest, Schema, StateStore, StoreError, Transaction,
    Watch,
};

/// How to run it. The defaults are for production.
#[derive(Debug, Clone)]
pub struct RocksOptions {
    /// For blocks of tables read lately; memory in bytes.
    pub block_cache_bytes: usize,
    /// For what was written lately, of one keyspace: there may be two of them, one on its way to the disk.
    pub write_buffer_bytes: usize,
    /// For what was written lately, of all keyspaces together: beyond it the oldest buffer is written out.
    pub write_buffers_bytes: usize,
    /// How often it is looked whether there is space, still or again.
    pub space_probe_interval: Duration,
    /// Of what was committed lately, for watches: one that is further behind reads again. Memory in bytes.
    pub history_bytes: usize,
    /// With less free on its disk the store is read-only, and is not opened.
    pub keep_free_bytes: u64,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 32 << 20,
            write_buffer_bytes: 32 << 20,
            write_buffers_bytes: 32 << 20,
            space_probe_interval: Duration::from_secs(1),
            history_bytes: HISTORY_BYTES,
            keep_free_bytes: 1 << 30,
        }
    }
}

/// What the writer and the readers share.
struct Shared {
    path: PathBuf,
    schema: Schema,
    options: RocksOptions,
    /// `None` only while it is reopened, or when that failed.
    db: RwLock<Option<DB>>,
    feed: Arc<Feed>,
    health: watch::Sender<Health>,
    /// Held open for the advisory lock; dropped last.
    _lock: disk::FolderLock,
}

impl Shared {
    fn db(&self) -> RwLockReadGuard<'_, Option<DB>> {
        // A panic of a reader leaves nothing half done; one of the writer ends the writer, and reads may go on.
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self) -> StoreError {
        StoreError::StorageFull { path: self.path.clone() }
    }
}

/// The store in a folder. See the module's documentation.
pub struct RocksStore {
    shared: Arc<Shared>,
    commits: Option<writer::Inbox>,
    writer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksStore({})", self.shared.path.display())
    }
}

impl RocksStore {
    /// Opens the store in `path`, or makes a new one if the folder is empty or missing. Runs migrations. Blocks:
    /// call it before the runtime serves, or from `spawn_blocking`.
    pub fn open(path: impl AsRef<Path>, schema: Schema) -> Result<Self, StoreError> {
        Self::open_with(path, schema, RocksOptions::default())
    }

    /// [`Self::open`] with options.
    pub fn open_with(
        path: impl AsRef<Path>,
        schema: Schema,
        options: RocksOptions,
    ) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let lock = disk::FolderLock::take(&path)?;
        disk::check_room(&path, options.keep_free_bytes)?;
        let db = disk::open(&path, &schema, &options)?;
        migrate::ensure_schema(&db, &path, &schema)?;
        let revision = disk::read_revision(&db, &path)?;
        let feed = Feed::with_limits(revision, (options.history_bytes, HISTORY_COMMITS));
        let shared = Arc::new(Shared {
            path,
            schema,
            options,
            db: RwLock::new(Some(db)),
            feed,
            health: watch::Sender::new(Health::Writable),
            _lock: lock,
        });
        let (commits, writer) = writer::start(Arc::clone(&shared))?;
        Ok(Self { shared, commits: Some(commits), writer: Some(writer) })
    }

    /// Makes a consistent copy in `target`, which must not exist; same file system: hard links, no copying.
    /// It can be opened as a store. Blocks.
    pub fn checkpoint(&self, target: &Path) -> Result<(), StoreError> {
        disk::check_room(&self.shared.path, self.shared.options.keep_free_bytes)?;
        match &*self.shared.db() {
            Some(db) => disk::checkpoint(db, target),
            None => Err(self.shared.full()),
        }
    }
}

impl Drop for RocksStore {
    /// Waits for the writer: commits under way are finished, and the folder can be opened again afterwards.
    fn drop(&mut self) {
        self.commits = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(path = %self.shared.path.display(), "the store's writer had panicked");
        }
    }
}

#[async_trait]
impl StateStore for RocksStore {
    async fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        reader::get(&self.shared, keyspace, key)
    }

    async fn scan(&self, request: ScanRequest) -> Result<ScanPage, StoreError> {
        let shared = Arc::clone(&self.shared);
        // Errs only when the runtime shuts down (scans do not panic).
        tokio::task::spawn_blocking(move || reader::scan(&shared, &request))
            .await
            .unwrap_or(Err(StoreError::Closed))
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        transaction.check_limits()?;
        let (answer, answered) = oneshot::channel();
        match &self.commits {
            Some(commits) => commits.send(transaction, answer).await?,
            None => return Err(StoreError::Closed),
        }
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    fn watch(&self, keyspace: Keyspace, prefix: &[u8], since: Revision) -> Watch {
        self.shared.feed.watch(keyspace, prefix, since)
    }

    fn revision(&self) -> Revision {
        self.shared.feed.latest()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    const NOTES: Keyspace = Keyspace::new("note");

    /// How many batches were written behind this sequence number. Each was synced by itself.
    fn batches_since(store: &RocksStore, sequence: u64) -> usize {
        let db = store.shared.db();
        db.as_ref().unwrap().get_updates_since(sequence).unwrap().filter(Result::is_ok).count()
    }

    #[tokio::test]
    async fn what_waits_while_the_disk_is_busy_is_written_with_one_sync() {
        let folder = tempfile::tempdir().unwrap();
        let store = RocksStore::open(folder.path().join("store"), Schema::new(1).with(&[NOTES])).unwrap();
        let put = |number: u32| store.commit(Transaction::new().put(NOTES, format!("{number:03}"), "x"));
        put(0).await.unwrap();
        let before = store.shared.db().as_ref().unwrap().latest_sequence_number();
        for number in 1..=3 {
            put(number).await.unwrap();
        }
        assert_eq!(batches_since(&store, before), 3, "a lone commit waits for nobody");

        let before = store.shared.db().as_ref().unwrap().latest_sequence_number();
        let mut commits: Vec<_> = (4..=40).map(put).collect();
        {
            // The writer stands while this is held, as while the disk syncs.
            let _busy = store.shared.db.write().unwrap();
            for commit in &mut commits {
                assert!(commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
        }
        for commit in commits {
            commit.await.unwrap();
        }
        assert_eq!(batches_since(&store, before), 1);
    }
}
