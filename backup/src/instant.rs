//! A disk that is used while it comes in from its backup.
//!
//! [`Live`] is the backup's disk for a reader that goes on for hours: what the collector moved is found again, and a
//! store that is away is waited for. [`stream`] copies it into an [`Overlay`] behind the one who reads and writes
//! there. What always holds: a block that was written meanwhile is never replaced by the backup's.
//!
//! A crash loses what was not flushed; opened again, the overlay knows which blocks it has, and only the others are
//! copied.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent};

use crate::chunk::LEAF_BYTES;
use crate::error::{BackupError, Result};
use crate::index::Index;
use crate::manifest::DiskRecord;
use crate::nbd::Overlay;
use crate::reader::BackupDisk;
use crate::repo::Repository;

/// Between two tries of a store that is away.
const PAUSE: Duration = Duration::from_secs(2);
/// After so many bytes what came in is made durable: a crash costs at most this much again.
const FLUSH_EVERY: u64 = 256 << 20;

/// See the module. All clones are one disk.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    repo: Repository,
    record: DiskRecord,
    disk: RwLock<Arc<BackupDisk>>,
    stop: AtomicBool,
    /// What keeps it waiting.
    problem: Mutex<Option<String>>,
}

impl Live {
    pub fn open(repo: &Repository, record: &DiskRecord) -> Result<Self> {
        let disk = RwLock::new(Arc::new(BackupDisk::new(repo, Arc::new(Index::load(repo)?), record)));
        let (repo, record) = (repo.clone(), record.clone());
        Ok(Self(Arc::new(Inner {
            repo,
            record,
            disk,
            stop: AtomicBool::new(false),
            problem: Mutex::default(),
        })))
    }

    /// Nobody waits for the store any longer, and [`stream`] ends.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }

    /// What keeps it waiting, if it is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, problem: Option<String>) {
        *self.0.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    fn disk(&self) -> Arc<BackupDisk> {
        Arc::clone(&self.0.disk.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn reload(&self) -> Result<()> {
        let index = Arc::new(Index::load(&self.0.repo)?);
        let disk = Arc::new(BackupDisk::new(&self.0.repo, index, &self.0.record));
        *self.0.disk.write().unwrap_or_else(PoisonError::into_inner) = disk;
        Ok(())
    }

    /// Calls until it is done, damage is found, or [`Self::stop`].
    fn persist<T>(&self, call: impl Fn(&BackupDisk) -> Result<T>) -> Result<T> {
        let mut reloaded = false;
        loop {
            let error = match call(&self.disk()) {
                Ok(done) => {
                    if self.problem().is_some() {
                        self.tell(None);
                    }
                    return Ok(done);
                }
                Err(error) => error,
            };
            let retryable = error.is_retryable();
            if self.stopped() || (reloaded && !retryable) {
                self.tell(Some(crate::error::chain(&error)));
                return Err(error);
            }
            // A pack that the collector has rewritten is under another name in the index of now.
            reloaded = self.reload().is_ok();
            if retryable || !reloaded {
                self.tell(Some(crate::error::chain(&error)));
                std::thread::sleep(PAUSE);
            }
        }
    }
}

impl BlockSource for Live {
    fn size(&self) -> u64 {
        self.0.record.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        // The borrow of the buffer goes into each try.
        let cell = Mutex::new(buf);
        let read = self.persist(|disk| {
            let mut buf = cell.lock().unwrap_or_else(PoisonError::into_inner);
            disk.read_at(offset, &mut buf).map_err(BackupError::from)
        });
        read.map_err(|error| error.into_block(&self.0.record.name))
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        let extents = self.persist(|disk| disk.extents(range).map_err(BackupError::from));
        extents.map_err(|error| error.into_block(&self.0.record.name))
    }
}

/// How fast [`stream`] goes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub workers: usize,
    /// Bytes per second; 0 for as fast as it goes.
    pub bandwidth: u64,
}

/// Brings all of `from` into `to`. Returns when it is there and durable, or with
/// [`BackupError::Cancelled`] after [`Live::stop`].
pub fn stream(from: &Live, to: &Overlay, pace: Pace) -> Result<()> {
    let workers = pace.workers.max(1);
    let next = AtomicU64::new(0);
    let unflushed = AtomicU64::new(0);
    let leaves = from.disk().leaves();
    let work = || -> Result<()> {
        loop {
            let leaf = next.fetch_add(1, Ordering::Relaxed);
            if leaf >= leaves {
                return Ok(());
            }
            if from.stopped() {
                return Err(BackupError::Cancelled);
            }
            let copied = copy_leaf(from, to, leaf, pace.bandwidth / workers as u64)?;
            if unflushed.fetch_add(copied, Ordering::Relaxed) + copied >= FLUSH_EVERY {
                unflushed.store(0, Ordering::Relaxed);
                to.flush()?;
            }
        }
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    Ok(to.flush()?)
}

/// Until `copied` bytes may have taken this long.
fn rest(from: &Live, began: Instant, (copied, bandwidth): (usize, u64)) {
    if bandwidth == 0 {
        return;
    }
    let until = began + Duration::from_secs_f64(copied as f64 / bandwidth as f64);
    while Instant::now() < until && !from.stopped() {
        std::thread::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
    }
}

/// What is not zero first, then the rest: a bit says "here", so it must not be set for what is still to come.
fn copy_leaf(from: &Live, to: &Overlay, leaf: u64, bandwidth: u64) -> Result<u64> {
    let range = ByteRange::new(leaf * LEAF_BYTES, ((leaf + 1) * LEAF_BYTES).min(from.size()));
    if to.is_filled(range) {
        return Ok(0);
    }
    let copied = from.persist(|disk| {
        if disk.leaf_id(leaf)?.is_none() {
            return Ok(0);
        }
        let mut copied = 0;
        disk.read_leaf(leaf, &mut |offset, bytes| {
            let began = Instant::now();
            to.fill(offset, bytes)?;
            copied += bytes.len() as u64;
            rest(from, began, (bytes.len(), bandwidth));
            Ok(())
        })?;
        Ok(copied)
    })?;
    to.fill_zeros(range);
    Ok(copied)
}
