//! Backing up: source -> cut -> name -> known? -> compress -> encrypt -> pack -> store; manifest last.
//!
//! ```text
//! tasks (a leaf each) -> workers: read, cut, hash, look up, compress, encrypt -> packer -> storing threads
//! ```
//!
//! One worker does everything for its leaf, so there is no queue between stages and nothing to tune: all cores
//! are busy while there are leaves. Memory: 192 MiB of packs, 16 MiB of map packs, about 4 MiB a worker, 16 MiB
//! of claims, whatever the disk's size. Back-pressure is the packer's bound on packs in memory.
//!
//! A crash before the manifest leaves packs and index segments that the next run finds and uses.

mod run;
mod tasks;
mod worker;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use xenith_common_block::{BlockSource, RangeSet};

use crate::id::BackupId;
use crate::manifest::{Attachment, DiskStats};

pub use run::backup;
pub(crate) use run::number_for;

/// One disk to back up.
pub struct DiskJob<'a> {
    pub name: String,
    pub source: &'a dyn BlockSource,
    pub changed: Changes,
}

/// What of a disk has to be read.
#[derive(Debug, Clone)]
pub enum Changes {
    /// All of it; the reason is kept with the backup.
    Unknown { because: String },
    /// Only these: everything outside reads as it did in the newest backup of this disk's name. Where `base` is
    /// given and is not that backup, all is read.
    Since { ranges: RangeSet, base: Option<BackupId> },
}

impl From<Option<RangeSet>> for Changes {
    fn from(ranges: Option<RangeSet>) -> Self {
        match ranges {
            Some(ranges) => Self::Since { ranges, base: None },
            None => Self::Unknown { because: "the changed ranges are not known".to_owned() },
        }
    }
}

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that read, hash and compress.
    pub workers: usize,
    /// zstd's level while the store keeps up.
    pub level: i32,
    /// The level it rises to, step by step, while the store is what everybody waits for.
    pub most: i32,
    pub tags: Vec<String>,
    pub attachments: Vec<Attachment>,
    /// For copies: whose, and when that was made.
    pub copy_of: Option<(BackupId, u64)>,
}

impl Default for Options {
    /// Two more workers than cores, so that some may wait for the source; no more than memory allows.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            workers: (cores + 2).min(16),
            level: 3,
            most: 9,
            tags: Vec::new(),
            attachments: Vec::new(),
            copy_of: None,
        }
    }
}

/// Counters a caller may look at while a run goes on, and the way to stop it.
#[derive(Debug, Default)]
pub struct Progress {
    pub cancelled: AtomicBool,
    /// Bytes of disk dealt with, read or not.
    pub done: AtomicU64,
    /// Bytes of all disks.
    pub total: AtomicU64,
    pub read: AtomicU64,
    pub chunks: AtomicU64,
    pub new_chunks: AtomicU64,
    pub new_bytes: AtomicU64,
    pub stored: AtomicU64,
}

impl Progress {
    fn snapshot(&self) -> DiskStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiskStats {
            read: get(&self.read),
            chunks: get(&self.chunks),
            new_chunks: get(&self.new_chunks),
            new_bytes: get(&self.new_bytes),
            stored: get(&self.stored),
            millis: 0,
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
}

/// What `bytes` would take in a pack at zstd's `level`; for comparing parameters. A thread keeps its context, as workers do:
/// making one for each piece costs a good part of what compressing it does.
#[must_use]
pub fn packed_len(bytes: &[u8], level: i32) -> usize {
    if looks_random(bytes) {
        return bytes.len();
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(known, _)| *known != level) {
            *slot = zstd::bulk::Compressor::new(level).ok().map(|context| (level, context));
        }
        let packed = slot.as_mut().and_then(|(_, context)| context.compress(bytes).ok());
        packed.map_or(bytes.len(), |packed| packed.len().min(bytes.len()))
    })
}

/// Whether compressing is hopeless: the byte counts of samples are as even as noise. Compressed, encrypted and
/// video data passes; text, code and tables do not. A wrong guess costs space, never data, and only for the
/// rare data that has no uneven bytes but long repeats.
fn looks_random(bytes: &[u8]) -> bool {
    /// Samples of 1 KiB from four places: enough for 256 counts to even out.
    const SAMPLE: usize = 1024;
    if bytes.len() < 4 * SAMPLE {
        return false;
    }
    let mut counts = [0u32; 256];
    for part in 0..4 {
        let start = (bytes.len() - SAMPLE) / 3 * part;
        for &byte in &bytes[start..start + SAMPLE] {
            counts[usize::from(byte)] += 1;
        }
    }
    // Chi-squared against even counts of 16: 255 degrees of freedom have mean 255 and deviation 23.
    let sum: u32 = counts.iter().map(|&n| n.abs_diff(16).pow(2)).sum();
    sum / 16 < 255 + 4 * 23
}
