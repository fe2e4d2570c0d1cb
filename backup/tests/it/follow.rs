//! A disk that follows a VM's backups by what differs, and never holds anything but what is noted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use xenith_backup::Repository;
use xenith_backup::follow::{follow, ranges};
use xenith_backup::index::Index;
use xenith_backup::manifest::{self, Manifest};
use xenith_backup::reader::BackupDisk;
use xenith_backup::restore::RestoreProgress;
use xenith_common_block::{BlockError, BlockSink, ByteRange};

use crate::support::{Disk, backup, in_memory, noise};

const SIZE: usize = 3 << 20;

fn open(repo: &Repository, manifest: &Manifest) -> BackupDisk {
    let (manifests, _) = manifest::list(repo).unwrap();
    let (_, record) = manifest::find(&manifests, &format!("d@{}", manifest.id)).unwrap();
    BackupDisk::new(repo, Arc::new(Index::load(repo).unwrap()), record)
}

/// A disk that dies, like a host that loses power, after so many writes.
struct Follower {
    bytes: Mutex<Vec<u8>>,
    left: AtomicU64,
}

impl Follower {
    fn new() -> Self {
        Self { bytes: Mutex::new(vec![0; SIZE]), left: AtomicU64::new(u64::MAX) }
    }

    fn step(&self, range: ByteRange, write: impl FnOnce(&mut [u8])) -> Result<(), BlockError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| BlockError::Cancelled)?;
        write(&mut self.bytes.lock().unwrap()[range.start as usize..range.end as usize]);
        Ok(())
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        *self.bytes.lock().unwrap() == bytes
    }
}

impl BlockSink for Follower {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.step(ByteRange::with_len(offset, data.len() as u64), |at| at.copy_from_slice(data))
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        self.step(range, |at| at.fill(0))
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.step(ByteRange::new(0, 0), |_| ())
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, len: usize, seed: u64 },
    Zero { at: usize, len: usize },
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let write =
        (0..SIZE, 1..200_000usize, any::<u64>()).prop_map(|(at, len, seed)| Change::Write { at, len, seed });
    let zero = (0..SIZE, 1..600_000usize).prop_map(|(at, len)| Change::Zero { at, len });
    prop::collection::vec(prop_oneof![3 => write, 1 => zero], 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Each round the source changes and is backed up, and the follower is killed after some writes, or not.
    #[test]
    fn it_is_the_backup_whenever_it_says_so(
        rounds in prop::collection::vec((changes(), prop::option::of(0..8u64)), 2..6),
    ) {
        let (_, repo) = in_memory();
        let (mut source, follower) = (Disk::new(SIZE), Follower::new());
        let mut held = vec![backup(&repo, "d", &source.bytes)];
        for (changes, dies_after) in rounds {
            for change in changes {
                match change {
                    Change::Write { at, len, seed } => source.write(at, &noise(seed, len)),
                    Change::Zero { at, len } => source.write(at, &vec![0; len]),
                }
            }
            let newest = backup(&repo, "d", &source.bytes);
            let to = open(&repo, &newest);
            let from: Vec<BackupDisk> = held.iter().map(|held| open(&repo, held)).collect();
            let ranges = ranges(&from, &to).unwrap();
            held.push(newest);
            follower.left.store(dies_after.unwrap_or(u64::MAX), Ordering::Relaxed);
            if follow(&to, &follower, &ranges, 2, &RestoreProgress::default()).is_ok() {
                held.drain(..held.len() - 1);
                prop_assert!(follower.holds(&source.bytes), "byte for byte");
            }
        }
    }
}

#[test]
fn only_what_differs_is_written() {
    let (_, repo) = in_memory();
    let mut source = Disk::new(SIZE);
    source.write(0, &noise(1, SIZE));
    let first = backup(&repo, "d", &source.bytes);
    let follower = Follower::new();
    follower.write_at(0, &source.bytes).unwrap();
    source.write(1 << 20, b"changed");
    let second = backup(&repo, "d", &source.bytes);
    let to = open(&repo, &second);
    let ranges = ranges(&[open(&repo, &first)], &to).unwrap();
    let progress = RestoreProgress::default();
    follow(&to, &follower, &ranges, 2, &progress).unwrap();
    assert!(follower.holds(&source.bytes));
    let written = progress.written.load(Ordering::Relaxed);
    assert!(written > 0 && written <= 512 << 10, "{written} bytes were written for seven that changed");
}
