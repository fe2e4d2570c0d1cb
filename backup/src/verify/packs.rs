//! Checking packs against their names, their footers and, if asked, their chunks' ids.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::index::Sums;
use super::{Level, Report, Scope};
use crate::error::{BackupError, Result};
use crate::format::{FrameOpener, FrameRecord, HEADER_LEN, ObjectKind};
use crate::id::{ChunkId, ObjectHash};
use crate::index::{Index, PackInfo, pack_key, read_pack_footer};
use crate::reader::check_id;
use crate::repo::Repository;
use crate::store::StoreError;

/// Bytes per request.
const STEP: u64 = 4 << 20;

/// What must not be relied on.
#[derive(Debug, Default)]
pub struct Bad {
    /// Nothing in these can be read.
    pub packs: HashSet<ObjectHash>,
    /// Single frames, by pack and offset.
    pub frames: HashSet<(ObjectHash, u64)>,
    /// What these packs hold, of which the index says something else.
    pub misindexed: HashMap<ObjectHash, HashSet<(ChunkId, u64)>>,
}

impl Bad {
    /// All packs with something bad in them.
    pub fn into_packs(self) -> Vec<ObjectHash> {
        let mut packs: Vec<ObjectHash> =
            self.packs.into_iter().chain(self.frames.into_iter().map(|(pack, _)| pack)).collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }
}

/// More packs than this that the index is wrong about are not told apart from bad ones: a footer takes memory.
const MISINDEXED: usize = 256;

/// The object that stands for what the index says of `pack`.
pub fn entries_of(pack: &ObjectHash) -> String {
    format!("index of pack {pack}")
}

#[derive(Debug, Default)]
struct Shared {
    report: Report,
    bad: Bad,
    failure: Option<BackupError>,
}

pub fn check(
    repo: &Repository,
    index: &Index,
    (looked_at, threads): (&Scope, usize),
    report: &mut Report,
) -> Result<Bad> {
    let sums = Sums::of(index)?;
    let shared = Mutex::new(Shared { report: std::mem::take(report), ..Shared::default() });
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let row = next.fetch_add(1, Ordering::Relaxed);
                    let Some(pack) = index.packs().get(row) else { return };
                    let mut checker = PackCheck {
                        repo,
                        sums: (&sums, row),
                        misindexed: None,
                        level: looked_at.level_of(pack),
                        pack,
                        bytes: 0,
                        chunks: 0,
                        bad_frames: Vec::new(),
                    };
                    let result = checker.run();
                    let mut shared = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if shared.failure.is_some() {
                        return;
                    }
                    note(&mut shared, &checker, result);
                }
            });
        }
    });
    let shared = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    *report = shared.report;
    match shared.failure {
        Some(error) => Err(error),
        None => Ok(shared.bad),
    }
}

fn note(shared: &mut Shared, checker: &PackCheck<'_>, result: Result<()>) {
    let name = checker.pack.name;
    shared.report.bytes_read += checker.bytes;
    shared.report.chunks += checker.chunks;
    shared.report.packs_read += u64::from(checker.level != Level::Quick);
    if let Some(frames) = &checker.misindexed {
        let detail = "it says something else of it than the pack itself; delete what is under index/, which is a cache, and \
                      back up whole what this touches";
        shared.report.add(&BackupError::damaged(entries_of(&name), detail));
        if shared.bad.misindexed.len() < MISINDEXED {
            shared.bad.misindexed.insert(name, frames.clone());
        } else {
            shared.bad.packs.insert(name);
        }
    }
    match result {
        Ok(()) => {}
        // Collected since the listing.
        Err(BackupError::Store(StoreError::NotFound { .. })) => {}
        Err(error @ BackupError::Damaged { .. }) => {
            // Frames say which of them are bad; anything else spoils the pack.
            if checker.bad_frames.is_empty() {
                shared.bad.packs.insert(name);
            }
            shared.report.add(&error);
        }
        Err(error) => shared.failure = Some(error),
    }
    shared.bad.frames.extend(checker.bad_frames.iter().map(|offset| (name, *offset)));
}

struct PackCheck<'a> {
    repo: &'a Repository,
    /// With the pack's row.
    sums: (&'a Sums, usize),
    /// What it holds, where the index says something else.
    misindexed: Option<HashSet<(ChunkId, u64)>>,
    level: Level,
    pack: &'a PackInfo,
    bytes: u64,
    chunks: u64,
    bad_frames: Vec<u64>,
}

impl PackCheck<'_> {
    fn label(&self) -> String {
        format!("pack {}", self.pack.name)
    }

    fn run(&mut self) -> Result<()> {
        let footer = read_pack_footer(self.repo, &self.pack.name, self.pack.size)?;
        self.chunks = footer.frames().len() as u64;
        let (sums, row) = self.sums;
        if !sums.agrees(row, footer.frames()) {
            self.misindexed = Some(footer.frames().iter().map(|(at, record)| (record.id, *at)).collect());
        }
        if self.level == Level::Quick {
            return Ok(());
        }
        let head = self.read(0, HEADER_LEN as u64)?;
        let opener = FrameOpener::new(&head, ObjectKind::Pack, self.repo.keyring(), &self.label())?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        let mut rest = footer.frames();
        let mut at = HEADER_LEN as u64;
        let mut plain = Vec::new();
        while let Some((start, _)) = rest.first() {
            let run =
                rest.partition_point(|(offset, record)| offset + u64::from(record.stored) - start <= STEP);
            let (these, after) = rest.split_at(run.max(1));
            let (last, record) = these[these.len() - 1];
            at = last + u64::from(record.stored);
            let mut bytes = self.read(*start, at)?;
            hasher.update(&bytes);
            if self.level == Level::Deep {
                self.check_frames(&opener, these, &mut bytes, &mut plain);
            }
            rest = after;
        }
        let tail = self.read(at, self.pack.size)?;
        hasher.update(&tail);
        if !self.bad_frames.is_empty() {
            let detail = format!("{} of its {} frames are bad", self.bad_frames.len(), self.chunks);
            return Err(BackupError::damaged(self.label(), detail));
        }
        if ObjectHash(*hasher.finalize().as_bytes()) != self.pack.name {
            return Err(BackupError::damaged(self.label(), "its bytes are not those it was named after"));
        }
        Ok(())
    }

    fn read(&mut self, start: u64, end: u64) -> Result<Vec<u8>> {
        let bytes = self.repo.store().read_range(&pack_key(&self.pack.name), start..end)?;
        self.bytes += bytes.len() as u64;
        if bytes.len() as u64 != end - start {
            return Err(BackupError::damaged(self.label(), "it is cut off"));
        }
        Ok(bytes.into())
    }

    fn check_frames(
        &mut self,
        opener: &FrameOpener,
        frames: &[(u64, FrameRecord)],
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
    ) {
        let base = frames[0].0;
        for (offset, record) in frames {
            plain.clear();
            let start = (offset - base) as usize;
            let stored = &mut bytes[start..start + record.stored as usize];
            let good = opener.open(record, *offset, stored, plain).is_ok()
                && check_id(self.repo, record, plain).is_ok();
            if !good {
                self.bad_frames.push(*offset);
            }
        }
    }
}
