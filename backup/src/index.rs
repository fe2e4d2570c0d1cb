//! Where each chunk lies: a cache of what the packs' footers say, kept in sorted segments.
//!
//! What always holds: an entry is a fact about an immutable pack ("pack P has chunk C at O"), so an index is
//! never wrong, only incomplete or about packs that are gone. Entries count only while the store lists their
//! pack. Packs that no segment covers (a run was interrupted, a segment was lost) are read by their footers. A pack that
//! is not as long as what is said of it takes, and does not end as packs do, is *spoilt*: what can still be read of it is,
//! and nobody counts on it when storing or deleting.
//! Losing every segment costs time, never data.

mod segment;
mod table;

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::crypto::TAG_LEN;
use crate::error::{BackupError, Result};
use crate::format::{
    Codec, Footer, FrameKind, FrameOpener, FrameRecord, HEADER_LEN, ObjectKind, RECORD_LEN, TRAILER_LEN,
    Trailer,
};
use crate::id::{ChunkId, ObjectHash};
use crate::packer::StoredPack;
use crate::repo::Repository;
use crate::store::{ObjectKey, StoreError};

pub use segment::{ENTRY_LEN, IndexEntry, Segment};
use table::Stack;
pub use table::Table;

/// Largest segment object.
const MAX_SEGMENT: u64 = crate::format::MAX_OBJECT;

/// Packs of a repository: 240 TiB of full ones, 192 MiB of memory.
const MAX_PACKS: usize = 1 << 22;

/// A chunk's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    pub pack: ObjectHash,
    pub offset: u64,
    pub record: FrameRecord,
}

#[must_use]
pub fn pack_key(name: &ObjectHash) -> ObjectKey {
    let hex = name.to_string();
    ObjectKey::new(format!("packs/{}/{hex}", &hex[..2]))
}

#[must_use]
pub fn pack_name(key: &ObjectKey) -> Option<ObjectHash> {
    let (folder, hex) = key.as_str().strip_prefix("packs/")?.split_once('/')?;
    ObjectHash::parse(hex).filter(|_| hex.starts_with(folder) && folder.len() == 2)
}

pub(crate) fn segment_key(name: &ObjectHash) -> ObjectKey {
    ObjectKey::new(format!("index/{name}"))
}

/// A pack the store lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackInfo {
    pub name: ObjectHash,
    pub size: u64,
    pub modified: u64,
}

/// All packs in the store, sorted by name.
pub fn list_packs(repo: &Repository) -> Result<Vec<PackInfo>> {
    let mut packs = Vec::new();
    // One by one: as objects with their keys, the packs of 100 TiB would take three times their 80 MiB.
    repo.store().list_each("packs/", &mut |info| {
        if let Some(name) = pack_name(&info.key) {
            packs.push(PackInfo { name, size: info.size, modified: info.modified });
        }
        StoreError::check_count(packs.len(), MAX_PACKS, "packs/")
    })?;
    packs.sort_unstable_by_key(|pack: &PackInfo| pack.name);
    packs.dedup_by_key(|pack| pack.name);
    Ok(packs)
}

/// Everything a reader or a new session knows about the repository's chunks.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<PackInfo>,
    table: Table,
    /// Packs that were found by their footers: the next segment written should cover them.
    orphans: Vec<StoredPack>,
    unreadable: HashSet<ObjectHash>,
    /// Packs that were cut off or overwritten since a segment was written about them.
    spoilt: HashSet<ObjectHash>,
    /// Packs and segments that could not be used, and why.
    problems: Vec<BackupError>,
}

/// What segments say of a pack.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    covered: bool,
    /// One of them says something that takes another size than the pack has.
    odd: bool,
}

impl Index {
    /// Reads all segments, and the footers of packs that none covers.
    pub fn load(repo: &Repository) -> Result<Self> {
        let packs = list_packs(repo)?;
        let mut index = Self { packs, ..Self::default() };
        let mut seen = vec![Seen::default(); index.packs.len()];
        let mut stack = Stack::default();
        for info in repo.store().list("index/")? {
            match read_segment(repo, &info.key) {
                Ok(segment) => index.take_segment(&segment, &mut seen, &mut stack)?,
                // Merged and deleted since the listing: what replaced it is found as orphans at worst.
                Err(BackupError::Store(StoreError::NotFound { .. })) => {}
                Err(error @ BackupError::Damaged { .. }) => index.problems.push(error),
                Err(error) => return Err(error),
            }
        }
        for (number, pack) in seen.iter().enumerate() {
            if !pack.covered {
                index.take_orphan(repo, number, &mut stack)?;
            } else if pack.odd {
                index.look_at_end(repo, number)?;
            }
        }
        index.table = stack.finish()?;
        Ok(index)
    }

    fn pack_number(&self, name: &ObjectHash) -> Option<u32> {
        self.packs.binary_search_by_key(name, |pack| pack.name).ok().map(|at| at as u32)
    }

    fn take_segment(&self, segment: &Segment, seen: &mut [Seen], stack: &mut Stack) -> Result<()> {
        let numbers: Vec<Option<u32>> = segment.packs.iter().map(|name| self.pack_number(name)).collect();
        let mut sizes = vec![(HEADER_LEN + TAG_LEN + TRAILER_LEN) as u64; numbers.len()];
        for entry in &segment.entries {
            let Some(pack) = numbers.get(entry.pack as usize).copied().flatten() else { continue };
            sizes[entry.pack as usize] += u64::from(entry.record().stored) + RECORD_LEN as u64;
            stack.push(entry.in_pack(pack))?;
        }
        for (number, size) in numbers.iter().zip(sizes) {
            let Some(number) = number.map(|number| number as usize) else { continue };
            seen[number].covered = true;
            seen[number].odd |= self.packs[number].size != size;
        }
        Ok(())
    }

    /// Whether a pack of an unexpected size is to blame, or who said what is in it: the end of a pack tells.
    fn look_at_end(&mut self, repo: &Repository, number: usize) -> Result<()> {
        let PackInfo { name, size, .. } = self.packs[number];
        let from = size.saturating_sub(TRAILER_LEN as u64);
        let tail = match repo.store().read_range(&pack_key(&name), from..size) {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        if let Err(detail) = Trailer::parse(&tail, size) {
            self.spoilt.insert(name);
            self.problems.push(BackupError::damaged(format!("pack {name}"), detail));
        }
        Ok(())
    }

    fn take_orphan(&mut self, repo: &Repository, number: usize, stack: &mut Stack) -> Result<()> {
        let PackInfo { name, size, .. } = self.packs[number];
        match read_pack_footer(repo, &name, size) {
            Ok(footer) => {
                let frames = footer.frames().to_vec();
                for (offset, record) in &frames {
                    stack.push(IndexEntry::of(number as u32, *offset, record))?;
                }
                self.orphans.push(StoredPack { name, size, frames });
            }
            Err(BackupError::Store(StoreError::NotFound { .. })) => {}
            // Of another writer, or of a run of this one that was cut short: who may only add does without it.
            Err(BackupError::WriteOnly { .. }) => {
                self.unreadable.insert(name);
            }
            Err(error @ BackupError::Damaged { .. }) => {
                self.unreadable.insert(name);
                self.problems.push(error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// All known places of a chunk or page.
    pub fn places(&self, id: &ChunkId) -> Result<Vec<Location>> {
        Ok(self.table.find(id)?.1.iter().map(|entry| self.location(entry)).collect())
    }

    /// Where an entry of [`Self::table`] points.
    #[must_use]
    pub fn location(&self, entry: &IndexEntry) -> Location {
        Location {
            pack: self.packs[entry.pack as usize].name,
            offset: u64::from(entry.offset),
            record: entry.record(),
        }
    }

    /// Everything that is known, by chunk.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Whether nothing is known about a pack because its footer cannot be read.
    #[must_use]
    pub fn is_unreadable(&self, name: &ObjectHash) -> bool {
        self.unreadable.contains(name)
    }

    /// Whether a pack is known to have lost some of what it held: nothing in it counts as stored.
    #[must_use]
    pub fn is_spoilt(&self, name: &ObjectHash) -> bool {
        self.spoilt.contains(name)
    }

    #[must_use]
    pub fn packs(&self) -> &[PackInfo] {
        &self.packs
    }

    #[must_use]
    pub fn orphans(&self) -> &[StoredPack] {
        &self.orphans
    }

    #[must_use]
    pub fn problems(&self) -> &[BackupError] {
        &self.problems
    }
}

/// Reads a segment and checks that it is what its name says.
pub fn read_segment(repo: &Repository, key: &ObjectKey) -> Result<Segment> {
    let body = repo.store().read(key, MAX_SEGMENT)?;
    let name = format!("index segment {key}");
    if key.as_str() != segment_key(&ObjectHash::of(&body)).as_str() {
        return Err(BackupError::damaged(name, "its bytes are not those it was named after"));
    }
    Segment::open(&body, repo.keyring(), &name)
}

/// Reads a pack's footer without the pack.
pub fn read_pack_footer(repo: &Repository, name: &ObjectHash, size: u64) -> Result<Footer> {
    let (key, label) = (pack_key(name), format!("pack {name}"));
    let head = repo.store().read_range(&key, 0..HEADER_LEN as u64)?;
    let opener = FrameOpener::new(&head, ObjectKind::Pack, repo.keyring(), &label)?;
    let first = 64 * 1024;
    let tail = repo.store().read_range(&key, size.saturating_sub(first)..size)?;
    let trailer = Trailer::parse(&tail, size).map_err(|detail| BackupError::damaged(&label, detail))?;
    let needed = u64::from(trailer.footer) + TRAILER_LEN as u64;
    let tail =
        if needed > tail.len() as u64 { repo.store().read_range(&key, size - needed..size)? } else { tail };
    Footer::open(&opener, &tail, size)
}

/// Who stored a pack that a segment is to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The session: what is in it need not be stored again.
    Us,
    /// Somebody before, whose run was cut short. It may be in a plan, or damaged: it is for the index to say whether what is
    /// in it counts as stored.
    Others,
}

/// What a session adds: chunks claimed by its threads, and packs stored but not yet in a segment.
///
/// Claims of chunks whose segment is written move to disk with the segment's entries: memory stays the same
/// however much a run stores.
#[derive(Debug)]
pub struct IndexWriter {
    claims: Vec<Mutex<HashSet<ChunkId>>>,
    pending: Mutex<Vec<(By, StoredPack)>>,
    /// Of packs of the session's own.
    written: RwLock<Stack>,
}

impl Default for IndexWriter {
    fn default() -> Self {
        Self {
            claims: (0..64).map(|_| Mutex::default()).collect(),
            pending: Mutex::default(),
            written: RwLock::default(),
        }
    }
}

impl IndexWriter {
    /// A segment is written at this many entries: 12 MiB, and as many ids of claims in memory.
    const FLUSH_AT: usize = table::IN_MEMORY;

    fn shard(&self, id: &ChunkId) -> MutexGuard<'_, HashSet<ChunkId>> {
        let shard = &self.claims[usize::from(id.0[31]) % self.claims.len()];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is the first in this session to store `id`, and has to.
    pub fn claim(&self, id: &ChunkId) -> Result<bool> {
        // The claim first: ids leave the claims only after they are in `written`.
        if !self.shard(id).insert(*id) {
            return Ok(false);
        }
        if self.written.read().unwrap_or_else(PoisonError::into_inner).spilled(id)? {
            self.shard(id).remove(id);
            return Ok(false);
        }
        Ok(true)
    }

    /// Notes a pack that this session stored; writes a segment when enough have come together.
    pub fn add(&self, repo: &Repository, pack: StoredPack) -> Result<()> {
        self.note(repo, (By::Us, pack))
    }

    /// Notes a pack that was found without a segment: one of the next covers it, and nothing in it counts as stored by this
    /// session.
    pub fn cover(&self, repo: &Repository, orphan: StoredPack) -> Result<()> {
        self.note(repo, (By::Others, orphan))
    }

    fn note(&self, repo: &Repository, pack: (By, StoredPack)) -> Result<()> {
        let full = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.push(pack);
            let entries: usize = pending.iter().map(|(_, pack)| pack.frames.len()).sum();
            if entries < Self::FLUSH_AT {
                return Ok(());
            }
            std::mem::take(&mut *pending)
        };
        let (by, packs): (Vec<By>, Vec<StoredPack>) = full.into_iter().unzip();
        write_segment(repo, &packs)?;
        let ours =
            || by.iter().zip(&packs).filter(|(by, _)| **by == By::Us).flat_map(|(_, pack)| &pack.frames);
        let entries: Vec<IndexEntry> =
            ours().map(|(offset, record)| IndexEntry::of(0, *offset, record)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.written.write().unwrap_or_else(PoisonError::into_inner).add_run(entries)?;
        for (_, record) in ours() {
            self.shard(&record.id).remove(&record.id);
        }
        Ok(())
    }

    /// Writes what is left.
    pub fn flush(&self, repo: &Repository) -> Result<()> {
        let left = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let packs: Vec<StoredPack> = left.into_iter().map(|(_, pack)| pack).collect();
        if packs.is_empty() { Ok(()) } else { write_segment(repo, &packs) }
    }
}

/// Writes a segment that covers `packs`.
pub fn write_segment(repo: &Repository, packs: &[StoredPack]) -> Result<()> {
    let (bytes, hash) = Segment::of(packs).seal(repo.keyring());
    match repo.store().create(&segment_key(&hash), &[bytes]) {
        Err(StoreError::AlreadyExists { .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Segments that say what `segments` say about packs that `exists`, as few as fit the size of an object.
#[must_use]
pub fn merge(
    segments: &[(ObjectKey, Segment)],
    exists: &dyn Fn(&ObjectHash) -> bool,
    keyring: &crate::keys::Keyring,
) -> Vec<(bytes::Bytes, ObjectHash)> {
    const MOST: usize = table::IN_MEMORY;
    let mut by_pack: std::collections::BTreeMap<ObjectHash, Vec<IndexEntry>> =
        std::collections::BTreeMap::new();
    for (_, segment) in segments {
        // A pack that two segments cover is taken from one.
        let fresh: Vec<bool> =
            segment.packs.iter().map(|name| exists(name) && !by_pack.contains_key(name)).collect();
        for (name, _) in segment.packs.iter().zip(&fresh).filter(|(_, fresh)| **fresh) {
            by_pack.insert(*name, Vec::new());
        }
        for entry in segment.entries.iter().filter(|entry| fresh[entry.pack as usize]) {
            by_pack.entry(segment.packs[entry.pack as usize]).or_default().push(*entry);
        }
    }
    let mut merged = Vec::new();
    let mut current = Segment::default();
    for (name, entries) in by_pack {
        if current.entries.len() + entries.len() > MOST {
            merged.push(std::mem::take(&mut current));
        }
        let number = current.packs.len() as u32;
        current.packs.push(name);
        current.entries.extend(entries.into_iter().map(|entry| entry.in_pack(number)));
    }
    merged.push(current);
    merged.retain(|segment| !segment.packs.is_empty());
    merged
        .into_iter()
        .map(|mut segment| {
            segment.entries.sort_unstable_by_key(|entry| (entry.id, entry.pack));
            segment.seal(keyring)
        })
        .collect()
}

/// Keeps the kinds apart in one byte with the codec.
pub(crate) const fn kind_codec(kind: FrameKind, codec: Codec) -> u8 {
    (kind as u8) << 4 | codec as u8
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keys::{Credential, KdfCost, Keyring};
    use crate::store::MemoryStore;

    fn pack(name: u8, ids: impl Iterator<Item = u64>) -> StoredPack {
        let record = |number: u64| FrameRecord {
            id: ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes()),
            kind: FrameKind::Chunk,
            codec: Codec::Raw,
            stored: 16,
            raw: 0,
        };
        let frames = ids.map(|number| (HEADER_LEN as u64, record(number))).collect();
        StoredPack { name: ObjectHash([name; 32]), size: 0, frames }
    }

    #[test]
    fn what_a_pack_without_a_segment_holds_is_not_stored_by_the_session_that_covers_it() {
        let key = Credential::Passphrase("horse".to_owned());
        let store = Arc::new(MemoryStore::new());
        let repo = Repository::init(store, &Keyring::for_tests(), &key, KdfCost::CHEAP).unwrap();
        let (orphan, many) = (pack(1, 0..1), pack(2, 1..1 + IndexWriter::FLUSH_AT as u64));
        let (found, own) = (orphan.frames[0].1.id, many.frames[0].1.id);
        let writer = IndexWriter::default();
        writer.cover(&repo, orphan).unwrap();
        assert!(writer.claim(&own).unwrap());
        writer.add(&repo, many).unwrap();
        assert!(!writer.claim(&own).unwrap(), "its segment is written");
        assert!(writer.claim(&found).unwrap(), "the pack may be about to be deleted");
        assert!(!writer.claim(&found).unwrap(), "once");
        let segments = repo.store().list("index/").unwrap();
        let [segment] = &segments[..] else { panic!("{segments:?}") };
        assert_eq!(read_segment(&repo, &segment.key).unwrap().packs.len(), 2, "it covers both");
    }
}
