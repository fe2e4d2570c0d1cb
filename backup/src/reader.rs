//! Reading backups: any chunk, any map page, and a whole disk as a [`BlockSource`].
//!
//! What always holds: bytes leave this module only after their tag, their length and their keyed id were
//! checked. A chunk that is stored twice is read from the other place when one is damaged. Memory: caches of
//! [`CACHE_BYTES`] for pages and for chunks.

mod cache;
mod disk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::{BackupError, Result};
use crate::format::{FrameKind, FrameOpener, FrameRecord, HEADER_LEN, ObjectKind};
use crate::id::{ChunkId, ObjectHash};
use crate::index::{Index, Location, pack_key};
use crate::map::Leaf;
use crate::repo::Repository;

pub use cache::ByteCache;
pub use disk::BackupDisk;

/// Plain bytes each cache may hold.
pub const CACHE_BYTES: usize = 24 << 20;
/// Opened pack keys kept.
const OPENERS: usize = 1024;
/// Stored bytes between two chunks that are read along to save a request.
const GAP: u64 = 128 * 1024;
/// Longest single read.
const MAX_READ: u64 = 4 << 20;

/// Reads chunks and pages by id.
#[derive(Debug)]
pub struct ChunkReader {
    repo: Repository,
    openers: Mutex<HashMap<ObjectHash, Arc<FrameOpener>>>,
    pages: ByteCache,
}

impl ChunkReader {
    #[must_use]
    pub fn new(repo: Repository) -> Self {
        Self { repo, openers: Mutex::default(), pages: ByteCache::new(CACHE_BYTES) }
    }

    /// The opener of a pack's frames.
    fn opener(&self, pack: &ObjectHash) -> Result<Arc<FrameOpener>> {
        if let Some(opener) = self.openers.lock().unwrap_or_else(PoisonError::into_inner).get(pack) {
            return Ok(Arc::clone(opener));
        }
        let head = self.repo.store().read_range(&pack_key(pack), 0..HEADER_LEN as u64)?;
        let label = format!("pack {pack}");
        let opener = Arc::new(FrameOpener::new(&head, ObjectKind::Pack, self.repo.keyring(), &label)?);
        let mut openers = self.openers.lock().unwrap_or_else(PoisonError::into_inner);
        if openers.len() >= OPENERS {
            openers.clear();
        }
        openers.insert(*pack, Arc::clone(&opener));
        Ok(opener)
    }

    /// Opens stored bytes and checks that they are what `record` says.
    fn open(&self, place: &Location, mut stored: Vec<u8>) -> Result<Vec<u8>> {
        let opener = self.opener(&place.pack)?;
        let mut plain = Vec::with_capacity(place.record.raw as usize);
        opener.open(&place.record, place.offset, &mut stored, &mut plain)?;
        check_id(&self.repo, &place.record, &plain)
            .map_err(|detail| BackupError::damaged(format!("pack {}", place.pack), detail))?;
        Ok(plain)
    }

    fn read_place(&self, place: &Location) -> Result<Vec<u8>> {
        let end = place.offset + u64::from(place.record.stored);
        let stored = self.repo.store().read_range(&pack_key(&place.pack), place.offset..end)?;
        self.open(place, stored.into())
    }

    /// A chunk or page from the first of its places that is good.
    pub fn fetch(&self, index: &Index, id: &ChunkId, kind: FrameKind) -> Result<Vec<u8>> {
        let mut last = None;
        for place in index.places(id)?.into_iter().filter(|place| place.record.kind == kind) {
            match self.read_place(&place) {
                Ok(plain) => return Ok(plain),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| missing(id, kind)))
    }

    /// A chunk's bytes as they are stored, decrypted but still compressed. Its id was checked.
    pub fn packed(&self, place: &Location) -> Result<Vec<u8>> {
        let end = place.offset + u64::from(place.record.stored);
        let stored = self.repo.store().read_range(&pack_key(&place.pack), place.offset..end)?;
        self.open(place, stored.to_vec())?;
        self.opener(&place.pack)?.decrypt(&place.record, place.offset, stored.into())
    }

    /// A map page's bytes.
    pub fn page(&self, index: &Index, id: &ChunkId) -> Result<Vec<u8>> {
        if let Some(page) = self.pages.get(id) {
            return Ok(page.to_vec());
        }
        let page = self.fetch(index, id, FrameKind::Page)?;
        self.pages.put(*id, page.clone().into());
        Ok(page)
    }

    /// A leaf of `blocks` blocks.
    pub fn leaf(&self, index: &Index, id: &ChunkId, blocks: u32) -> Result<Leaf> {
        let page = self.page(index, id)?;
        Leaf::parse(&page, blocks).map_err(|detail| BackupError::damaged(format!("map page {id}"), detail))
    }

    /// Reads many chunks with few requests and gives each to `take` with its position in `ids`, in the order
    /// they lie in the packs.
    pub fn fetch_many(
        &self,
        index: &Index,
        ids: &[ChunkId],
        take: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut places = Vec::with_capacity(ids.len());
        for (at, id) in ids.iter().enumerate() {
            let place = index.places(id)?.into_iter().find(|place| place.record.kind == FrameKind::Chunk);
            places.push((at, place.ok_or_else(|| missing(id, FrameKind::Chunk))?));
        }
        places.sort_unstable_by_key(|(_, place)| (place.pack, place.offset));
        let mut rest = places.as_slice();
        while let Some((_, first)) = rest.first() {
            let run = run_length(rest, first);
            let (these, after) = rest.split_at(run);
            self.fetch_run(index, these, take)?;
            rest = after;
        }
        Ok(())
    }

    fn fetch_run(
        &self,
        index: &Index,
        run: &[(usize, Location)],
        take: &mut dyn FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (first, last) = (run[0].1, run[run.len() - 1].1);
        let end = last.offset + u64::from(last.record.stored);
        let bytes = self.repo.store().read_range(&pack_key(&first.pack), first.offset..end);
        for (at, place) in run {
            let plain = match &bytes {
                Ok(bytes) => self.open_from(place, bytes, first.offset),
                Err(_) => self.read_place(place),
            };
            // Damaged here: another pack may have it.
            let plain = match plain {
                Ok(plain) => plain,
                Err(error) => self.fetch(index, &place.record.id, FrameKind::Chunk).map_err(|_| error)?,
            };
            take(*at, &plain)?;
        }
        Ok(())
    }

    fn open_from(&self, place: &Location, bytes: &Bytes, base: u64) -> Result<Vec<u8>> {
        let start = (place.offset - base) as usize;
        let stored = bytes.get(start..start + place.record.stored as usize);
        let stored =
            stored.ok_or_else(|| BackupError::damaged(format!("pack {}", place.pack), "it is cut off"))?;
        self.open(place, stored.to_vec())
    }

    #[must_use]
    pub const fn repo(&self) -> &Repository {
        &self.repo
    }
}

fn run_length(rest: &[(usize, Location)], first: &Location) -> usize {
    let mut end = first.offset;
    let joined = rest.iter().take_while(|(_, place)| {
        let stop = place.offset + u64::from(place.record.stored);
        let near = place.pack == first.pack
            && place.offset <= end + GAP
            && stop - first.offset <= MAX_READ.max(u64::from(first.record.stored));
        end = end.max(stop);
        near
    });
    joined.count().max(1)
}

fn missing(id: &ChunkId, kind: FrameKind) -> BackupError {
    let what = if kind == FrameKind::Page { "map page" } else { "chunk" };
    BackupError::Missing { missing: format!("{what} {id}"), needed_by: "the backup being read".to_owned() }
}

/// Whether `plain` has the id its record says.
pub fn check_id(repo: &Repository, record: &FrameRecord, plain: &[u8]) -> Result<(), &'static str> {
    let ids = repo.keyring().ids();
    let found = match record.kind {
        FrameKind::Chunk => ids.chunk(plain),
        FrameKind::Page => ids.page(plain),
        FrameKind::Part => return Err("a pack holds a frame that is neither chunk nor page"),
    };
    if found == record.id { Ok(()) } else { Err("a frame does not hold the chunk it is named after") }
}
