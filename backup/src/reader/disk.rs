//! A disk of a backup as a [`BlockSource`].

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent, ExtentKind};

use super::{ByteCache, CACHE_BYTES, ChunkReader};
use crate::chunk::{BLOCK, LEAF_BYTES, leaf_blocks, leaf_count};
use crate::error::{BackupError, Result};
use crate::format::FrameKind;
use crate::id::ChunkId;
use crate::index::Index;
use crate::manifest::DiskRecord;
use crate::map::{Entry, FANOUT, Leaf, Shape, TreeReader, block_bytes};
use crate::repo::Repository;

/// Bytes of chunks that one read asks for together. Bounds what a reader holds besides its caches.
const TOGETHER: u64 = 4 << 20;

/// Random access to a disk. Any number of threads read at once.
pub struct BackupDisk {
    reader: ChunkReader,
    index: Arc<Index>,
    size: u64,
    root: Option<ChunkId>,
    name: String,
    chunks: ByteCache,
    /// The leaf read last: sequential readers parse each leaf once.
    last: Mutex<Option<(u64, Arc<Leaf>)>>,
}

impl BackupDisk {
    #[must_use]
    pub fn new(repo: &Repository, index: Arc<Index>, disk: &DiskRecord) -> Self {
        Self::with_cache(repo, index, disk, CACHE_BYTES)
    }

    /// The same with a cache of `bytes` for chunks: for who reads ahead.
    #[must_use]
    pub fn with_cache(repo: &Repository, index: Arc<Index>, disk: &DiskRecord, bytes: usize) -> Self {
        Self {
            reader: ChunkReader::new(repo.clone()),
            index,
            size: disk.size,
            root: disk.root,
            name: format!("backup of {}", disk.name),
            chunks: ByteCache::new(bytes),
            last: Mutex::new(None),
        }
    }

    /// Number of leaves.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        leaf_count(self.size)
    }

    fn tree<T>(&self, call: impl FnOnce(&mut TreeReader<'_>) -> Result<T>) -> Result<T> {
        let fetch = |id: &ChunkId| self.reader.page(&self.index, id);
        call(&mut TreeReader::new(self.size, self.root, &fetch))
    }

    /// The page of leaf `number`; `None` for zeros. Equal ids mean equal bytes.
    pub fn leaf_id(&self, number: u64) -> Result<Option<ChunkId>> {
        self.tree(|tree| tree.leaf(number))
    }

    /// The pieces of leaf `number`.
    pub fn leaf(&self, number: u64) -> Result<Arc<Leaf>> {
        if let Some((known, leaf)) = &*self.last.lock().unwrap_or_else(PoisonError::into_inner)
            && *known == number
        {
            return Ok(Arc::clone(leaf));
        }
        let blocks = leaf_blocks(self.size, number);
        let leaf = Arc::new(match self.tree(|tree| tree.leaf(number))? {
            None => Leaf::zero(blocks),
            Some(id) => self.reader.leaf(&self.index, &id, blocks)?,
        });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, Arc::clone(&leaf)));
        Ok(leaf)
    }

    /// For each node of 256 leaves from `node` on: the leaves in it that hold data.
    pub fn data_leaves(&self, node: u64) -> Result<Vec<u64>> {
        self.tree(|tree| {
            Ok(tree.node(node)?.map_or_else(Vec::new, |(_, children)| {
                let numbers = (node * FANOUT..).zip(children);
                numbers.filter(|(_, child)| child.is_some()).map(|(number, _)| number).collect()
            }))
        })
    }

    /// Number of nodes of 256 leaves.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        Shape::of(self.size).nodes()
    }

    fn chunk(&self, id: &ChunkId) -> Result<Bytes> {
        if let Some(bytes) = self.chunks.get(id) {
            return Ok(bytes);
        }
        let bytes = Bytes::from(self.reader.fetch(&self.index, id, FrameKind::Chunk)?);
        self.chunks.put(*id, bytes.clone());
        Ok(bytes)
    }

    /// Reads the data of leaf `number` with few requests; `take` gets each piece's offset on the disk and its
    /// bytes, clipped to the disk's end.
    pub fn read_leaf(&self, number: u64, take: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let leaf = self.leaf(number)?;
        let pieces: Vec<(u32, u32, ChunkId)> = leaf
            .iter()
            .filter_map(|(start, blocks, entry)| match entry {
                Entry::Chunk(id) => Some((start, blocks, id)),
                Entry::Zero => None,
            })
            .collect();
        let ids: Vec<ChunkId> = pieces.iter().map(|(_, _, id)| *id).collect();
        self.reader.fetch_many(&self.index, &ids, &mut |at, bytes| {
            if bytes.len() != block_bytes(pieces[at].1) {
                let chunk = format!("chunk {}", pieces[at].2);
                return Err(BackupError::damaged(chunk, "it is not as long as its place"));
            }
            let offset = number * LEAF_BYTES + u64::from(pieces[at].0) * BLOCK as u64;
            let len = (self.size - offset).min(bytes.len() as u64) as usize;
            take(offset, &bytes[..len])
        })
    }

    fn read_in_leaf(&self, number: u64, range: ByteRange, buf: &mut [u8]) -> Result<()> {
        let base = number * LEAF_BYTES;
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut bytes = 0;
        for (start, blocks, entry) in self.leaf(number)?.iter() {
            let offset = base + u64::from(start) * BLOCK as u64;
            let piece = ByteRange::with_len(offset, u64::from(blocks) * BLOCK as u64);
            let Some(part) = piece.intersect(&range) else { continue };
            match entry {
                Entry::Zero => buf[span(&part, range.start)].fill(0),
                Entry::Chunk(id) => {
                    bytes += piece.len();
                    wanted.push(Wanted { id, piece, part });
                }
            }
            if bytes >= TOGETHER {
                self.read_chunks(&wanted, (range.start, &mut *buf))?;
                wanted.clear();
                bytes = 0;
            }
        }
        self.read_chunks(&wanted, (range.start, buf))
    }

    /// Reads chunks into their places in `buf`, which begins at byte `from` of the disk. What no cache has is read with
    /// as few requests as it takes: a distant store is asked once for what lies together.
    fn read_chunks(&self, wanted: &[Wanted], (from, buf): (u64, &mut [u8])) -> Result<()> {
        let mut missing: Vec<&Wanted> = Vec::new();
        for chunk in wanted {
            match self.chunks.get(&chunk.id) {
                Some(bytes) => chunk.copy(&bytes, (from, &mut *buf))?,
                None => missing.push(chunk),
            }
        }
        if let [chunk] = missing[..] {
            return chunk.copy(&self.chunk(&chunk.id)?, (from, buf));
        }
        let ids: Vec<ChunkId> = missing.iter().map(|chunk| chunk.id).collect();
        self.reader.fetch_many(&self.index, &ids, &mut |at, bytes| {
            self.chunks.put(ids[at], Bytes::copy_from_slice(bytes));
            missing[at].copy(bytes, (from, &mut *buf))
        })
    }

    fn extents_in(&self, range: ByteRange) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let number = at / LEAF_BYTES;
            let node = number / FANOUT;
            let zero_node = self.tree(|tree| Ok(tree.node(node)?.is_none()))?;
            if zero_node {
                let end = ((node + 1) * FANOUT * LEAF_BYTES).min(range.end);
                Extent::push_merged(&mut extents, ByteRange::new(at, end), ExtentKind::Zero);
                at = end;
                continue;
            }
            for (start, blocks, entry) in self.leaf(number)?.iter() {
                let offset = number * LEAF_BYTES + u64::from(start) * BLOCK as u64;
                let piece = ByteRange::with_len(offset, u64::from(blocks) * BLOCK as u64);
                if let Some(part) = piece.intersect(&range) {
                    let kind = if entry == Entry::Zero { ExtentKind::Zero } else { ExtentKind::Data };
                    Extent::push_merged(&mut extents, part, kind);
                }
            }
            at = ((number + 1) * LEAF_BYTES).min(range.end);
        }
        Ok(extents)
    }
}

/// A part of a chunk that somebody asked for.
struct Wanted {
    id: ChunkId,
    /// Where the chunk lies on the disk.
    piece: ByteRange,
    part: ByteRange,
}

impl Wanted {
    fn copy(&self, bytes: &[u8], (from, buf): (u64, &mut [u8])) -> Result<()> {
        let part = bytes.get(span(&self.part, self.piece.start)).ok_or_else(|| {
            BackupError::damaged(format!("chunk {}", self.id), "it is shorter than its place")
        })?;
        buf[span(&self.part, from)].copy_from_slice(part);
        Ok(())
    }
}

/// Where `part` lies in bytes that begin at `from`.
fn span(part: &ByteRange, from: u64) -> std::ops::Range<usize> {
    (part.start - from) as usize..(part.end - from) as usize
}

impl BlockSource for BackupDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size)?;
        let end = offset + buf.len() as u64;
        let mut at = offset;
        while at < end {
            let number = at / LEAF_BYTES;
            let stop = ((number + 1) * LEAF_BYTES).min(end);
            let slot = &mut buf[(at - offset) as usize..(stop - offset) as usize];
            self.read_in_leaf(number, ByteRange::new(at, stop), slot)
                .map_err(|error| error.into_block(&self.name))?;
            at = stop;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size)?;
        self.extents_in(range).map_err(|error| error.into_block(&self.name))
    }
}
