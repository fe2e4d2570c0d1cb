//! Writing a backup's disk to a sink, leaf by leaf on all cores.
//!
//! Memory: a few reads of at most 4 MiB per worker. A crash leaves a partly written target; restoring again
//! onto a new one is the way out, nothing in the repository changes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use xenith_common_block::{BlockError, BlockSink, BlockSource, ByteRange};

use crate::chunk::LEAF_BYTES;
use crate::error::{BackupError, Result};
use crate::map::FANOUT;
use crate::reader::BackupDisk;

/// What the target holds before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Zeros: a new image. Zeros are not written.
    Blank,
    /// Anything: a device. Zeros are zeroed.
    Used,
}

/// Counters of a restore in progress, bytes.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    pub cancelled: AtomicBool,
    pub written: AtomicU64,
    pub done: AtomicU64,
}

/// Restores all of `disk`. `workers` threads read, decrypt and write.
pub fn restore(
    disk: &BackupDisk,
    sink: &dyn BlockSink,
    target: Target,
    workers: usize,
    progress: &RestoreProgress,
) -> Result<()> {
    BlockError::check_bounds(0, disk.size(), sink.size())?;
    let queue = Mutex::new(Leaves { node: 0, next: 0, ready: Vec::new() });
    let failure: Mutex<Option<BackupError>> = Mutex::new(None);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                let job = Job { disk, sink, target, progress, stop: &stop };
                if let Err(error) = job.run(&queue) {
                    stop.store(true, Ordering::Relaxed);
                    let mut first = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if first.as_ref().is_none_or(|first| matches!(first, BackupError::Cancelled)) {
                        *first = Some(error);
                    }
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    sink.flush()?;
    Ok(())
}

/// Leaves that hold data, one node at a time; leaves before `next` are given out.
struct Leaves {
    node: u64,
    next: u64,
    ready: Vec<u64>,
}

struct Job<'a> {
    disk: &'a BackupDisk,
    sink: &'a dyn BlockSink,
    target: Target,
    progress: &'a RestoreProgress,
    stop: &'a AtomicBool,
}

impl Job<'_> {
    fn run(&self, queue: &Mutex<Leaves>) -> Result<()> {
        while let Some(number) = self.next(queue)? {
            if self.stop.load(Ordering::Relaxed) || self.progress.cancelled.load(Ordering::Relaxed) {
                return Err(BackupError::Cancelled);
            }
            self.leaf(number)?;
        }
        Ok(())
    }

    /// The next leaf with data. Zeroes what lies between on a used target.
    fn next(&self, queue: &Mutex<Leaves>) -> Result<Option<u64>> {
        let mut queue = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if let Some(number) = queue.ready.pop() {
                return Ok(Some(number));
            }
            if queue.node == self.disk.nodes() {
                return Ok(None);
            }
            let node = queue.node;
            queue.node += 1;
            queue.ready = self.disk.data_leaves(node)?;
            let after = ((node + 1) * FANOUT).min(self.disk.leaves());
            for number in queue.next..after {
                if !queue.ready.contains(&number) {
                    self.zero_leaf(number)?;
                }
            }
            queue.next = after;
            queue.ready.reverse();
        }
    }

    fn leaf_range(&self, number: u64) -> ByteRange {
        ByteRange::new(number * LEAF_BYTES, ((number + 1) * LEAF_BYTES).min(self.disk.size()))
    }

    fn zero_leaf(&self, number: u64) -> Result<()> {
        let range = self.leaf_range(number);
        if self.target == Target::Used {
            self.sink.zero(range)?;
        }
        self.progress.done.fetch_add(range.len(), Ordering::Relaxed);
        Ok(())
    }

    fn leaf(&self, number: u64) -> Result<()> {
        if self.target == Target::Used {
            self.sink.zero(self.leaf_range(number))?;
        }
        self.disk.read_leaf(number, &mut |offset, bytes| {
            self.sink.write_at(offset, bytes)?;
            self.progress.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Ok(())
        })?;
        self.progress.done.fetch_add(self.leaf_range(number).len(), Ordering::Relaxed);
        Ok(())
    }
}
