//! A disk of a backup as a [`BlockSource`].

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent, ExtentKind};

use super::{ByteCache, CACHE_BYTES, ChunkReader};
use crate::chunk::{BLOCK, LEAF_BYTES, leaf_blocks, leaf_count};
use crate::error::Result;
use crate::format::FrameKind;
use crate::id::ChunkId;
use crate::index::Index;
use crate::manifest::DiskRecord;
use crate::map::{Entry, FANOUT, Leaf, Shape, TreeReader};
use crate::repo::Repository;

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
        Self {
            reader: ChunkReader::new(repo.clone()),
            index,
            size: disk.size,
            root: disk.root,
            name: format!("backup of {}", disk.name),
            chunks: ByteCache::new(CACHE_BYTES),
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
        let pieces: Vec<(u32, ChunkId)> = leaf
            .iter()
            .filter_map(|(start, _, entry)| match entry {
                Entry::Chunk(id) => Some((start, id)),
                Entry::Zero => None,
            })
            .collect();
        let ids: Vec<ChunkId> = pieces.iter().map(|(_, id)| *id).collect();
        self.reader.fetch_many(&self.index, &ids, &mut |at, bytes| {
            let offset = number * LEAF_BYTES + u64::from(pieces[at].0) * BLOCK as u64;
            let len = (self.size - offset).min(bytes.len() as u64) as usize;
            take(offset, &bytes[..len])
        })
    }

    fn read_in_leaf(&self, number: u64, range: ByteRange, buf: &mut [u8]) -> Result<()> {
        let base = number * LEAF_BYTES;
        for (start, blocks, entry) in self.leaf(number)?.iter() {
            let offset = base + u64::from(start) * BLOCK as u64;
            let piece = ByteRange::with_len(offset, u64::from(blocks) * BLOCK as u64);
            let Some(part) = piece.intersect(&range) else { continue };
            let slot = &mut buf[(part.start - range.start) as usize..(part.end - range.start) as usize];
            match entry {
                Entry::Zero => slot.fill(0),
                Entry::Chunk(id) => {
                    let bytes = self.chunk(&id)?;
                    let from = (part.start - piece.start) as usize;
                    let part = bytes.get(from..from + slot.len()).ok_or_else(|| {
                        crate::error::BackupError::damaged(
                            format!("chunk {id}"),
                            "it is shorter than its place",
                        )
                    })?;
                    slot.copy_from_slice(part);
                }
            }
        }
        Ok(())
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
