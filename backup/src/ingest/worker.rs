//! A worker: cuts leaves, and stores what is new of them.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use xenith_common_block::BlockSource;

use super::tasks::{How, LeafTask, Tasks};
use super::{Progress, add};
use crate::chunk::rechunk::{self, Changes, PieceSink};
use crate::chunk::{LeafWindow, ReadAhead, leaf_blocks};
use crate::error::{BackupError, Result};
use crate::format::{Codec, FrameKind};
use crate::id::{ChunkId, ObjectHash};
use crate::index::{Index, IndexWriter, Location};
use crate::map::{Children, Leaf, TreeBuilder, encode_inner};
use crate::packer::{Batch, Packer};
use crate::reader::ChunkReader;
use crate::repo::Repository;
use crate::session::Session;

/// Blocks read at a time when a whole leaf is read: 1 MiB.
const READ_AHEAD: u32 = 256;

/// What all workers of a run share.
pub struct Shared<'a> {
    pub repo: &'a Repository,
    pub session: &'a Session,
    pub index: &'a Index,
    /// Packs in published plans, sorted: as good as gone.
    pub doomed: &'a [ObjectHash],
    pub writer: IndexWriter,
    pub data: Packer,
    pub maps: Packer,
    pub progress: &'a Progress,
    /// A worker failed: the others need not go on.
    pub stop: std::sync::atomic::AtomicBool,
    /// Reads the pages that the index has, where it is not to be believed.
    pub doubt: Option<ChunkReader>,
}

impl Shared<'_> {
    /// Whether this session has to store `id`.
    fn is_new(&self, id: &ChunkId) -> Result<bool> {
        let usable = |place: &Location| {
            self.doomed.binary_search(&place.pack).is_err() && !self.index.is_spoilt(&place.pack)
        };
        Ok(!self.index.places(id)?.iter().any(usable) && self.writer.claim(id)?)
    }

    /// The same for a page of a map.
    fn is_new_page(&self, id: &ChunkId) -> Result<bool> {
        if self.is_new(id)? {
            return Ok(true);
        }
        match self.doubt.as_ref().map(|reader| reader.page(self.index, id)) {
            // Also one that this run has stored: then it is claimed.
            Some(Err(error)) if error.is_loss() => self.writer.claim(id),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Ok(false),
        }
    }

    /// That what is taken over from a leaf of the base is still there. The leaves that nothing changed in are not looked at:
    /// that would be all of the map, each time.
    fn check_there(&self, leaf: &Leaf) -> Result<()> {
        for id in leaf.chunks() {
            if self.index.places(&id)?.iter().all(|place| self.index.is_spoilt(&place.pack)) {
                let needed_by = "the newest backup".to_owned();
                return Err(BackupError::Missing { missing: format!("chunk {id}"), needed_by });
            }
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<()> {
        let over = self.progress.cancelled.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed);
        if over { Err(BackupError::Cancelled) } else { Ok(()) }
    }
}

/// One disk's work, shared by its workers.
pub struct DiskWork<'a> {
    pub source: &'a dyn BlockSource,
    pub tasks: Mutex<Tasks<'a>>,
    pub tree: Mutex<TreeBuilder>,
    pub reader: &'a ChunkReader,
}

/// Compresses and batches. One per thread.
pub struct Worker<'a> {
    shared: &'a Shared<'a>,
    zstd: zstd::bulk::Compressor<'static>,
    /// What `zstd` is set to.
    level: i32,
    packed: Vec<u8>,
    window: Vec<u8>,
    chunks: Batch,
    pages: Batch,
}

impl<'a> Worker<'a> {
    pub fn new(shared: &'a Shared<'a>) -> Result<Self> {
        let level = shared.data.pressure().level();
        let zstd = zstd::bulk::Compressor::new(level)
            .map_err(|error| BackupError::Invalid(format!("zstd does not take this level: {error}")))?;
        Ok(Self {
            shared,
            zstd,
            level,
            packed: vec![0; zstd::zstd_safe::compress_bound(crate::format::MAX_FRAME)],
            window: Vec::new(),
            chunks: Batch::default(),
            pages: Batch::default(),
        })
    }

    /// Works until there are no more leaves, then stores what is left in its batches.
    pub fn run(&mut self, work: &DiskWork<'_>) -> Result<()> {
        loop {
            self.shared.check_cancelled()?;
            self.shared.session.renew_if_due()?;
            let progress = self.shared.progress;
            let task = {
                let mut tree = work.tree.lock().unwrap_or_else(PoisonError::into_inner);
                let mut tasks = work.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                tasks.next(&mut tree, &mut |bytes| add(&progress.done, bytes))?
            };
            let Some(task) = task else { break };
            let blocks = leaf_blocks(work.source.size(), task.number);
            let number = task.number;
            let leaf = self.cut(work, task)?;
            let id = if leaf.is_zero() { None } else { Some(self.page(&leaf.encode())?) };
            let done = work.tree.lock().unwrap_or_else(PoisonError::into_inner).set_leaf(number, id);
            if let Some((node, children)) = done {
                let id = self.node(&children)?;
                work.tree.lock().unwrap_or_else(PoisonError::into_inner).set_node(node, id);
            }
            add(&progress.done, crate::map::block_bytes(blocks) as u64);
        }
        self.flush()
    }

    pub fn flush(&mut self) -> Result<()> {
        self.shared.data.add(&mut self.chunks)?;
        self.shared.maps.add(&mut self.pages)
    }

    fn node(&mut self, children: &Children) -> Result<Option<ChunkId>> {
        if children.iter().all(Option::is_none) {
            return Ok(None);
        }
        self.page(&encode_inner(children)).map(Some)
    }

    fn cut(&mut self, work: &DiskWork<'_>, task: LeafTask) -> Result<Leaf> {
        let cutter = self.shared.repo.cutter();
        let buf = std::mem::take(&mut self.window);
        let (leaf, read, buf) = match task.how {
            How::Whole { zeros } => {
                let ahead = ReadAhead::Blocks(READ_AHEAD);
                let mut window = LeafWindow::new(work.source, task.number, zeros, ahead, buf);
                let leaf = rechunk::chunk(cutter, &mut window, self)?;
                (leaf, window.bytes_read(), window.into_buf())
            }
            How::Around { base, blocks } => {
                let count = leaf_blocks(work.source.size(), task.number);
                let base = match base {
                    None => Leaf::zero(count),
                    Some(id) => work.reader.leaf(self.shared.index, &id, count)?,
                };
                self.shared.check_there(&base)?;
                let changes = Changes { base: &base, blocks: &blocks };
                rechunk::rechunk(cutter, work.source, task.number, changes, (self, buf))?
            }
        };
        self.window = buf;
        add(&self.shared.progress.read, read);
        Ok(leaf)
    }

    /// Stores a map page if it is new; gives its id.
    pub fn page(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = self.shared.repo.keyring().ids().page(bytes);
        if self.shared.is_new_page(&id)? {
            let (codec, len) = self.compress(bytes);
            let packed = if codec == Codec::Raw { bytes } else { &self.packed[..len] };
            self.pages.push((id, FrameKind::Page), codec, bytes.len(), packed);
            add(&self.shared.progress.stored, packed.len() as u64);
            if self.pages.is_full() {
                self.shared.maps.add(&mut self.pages)?;
            }
        }
        Ok(id)
    }

    /// Sets zstd to the level of the moment.
    fn follow_pressure(&mut self) -> Result<()> {
        let level = self.shared.data.pressure().level();
        if level != self.level {
            let unfit = |error| BackupError::Invalid(format!("zstd does not take this level: {error}"));
            self.zstd.set_compression_level(level).map_err(unfit)?;
            self.level = level;
        }
        Ok(())
    }

    /// Compresses into `self.packed`; `Raw` where that does not pay.
    fn compress(&mut self, bytes: &[u8]) -> (Codec, usize) {
        if super::looks_random(bytes) {
            return (Codec::Raw, 0);
        }
        match self.zstd.compress_to_buffer(bytes, &mut self.packed[..]) {
            // A gain below 2% is not worth unpacking for.
            Ok(len) if len < bytes.len() - bytes.len() / 50 => (Codec::Zstd, len),
            _ => (Codec::Raw, 0),
        }
    }
}

impl PieceSink for Worker<'_> {
    fn data(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let progress = self.shared.progress;
        let id = self.shared.repo.keyring().ids().chunk(bytes);
        add(&progress.chunks, 1);
        if !self.shared.is_new(&id)? {
            return Ok(id);
        }
        let (codec, len) = self.compress(bytes);
        let packed = if codec == Codec::Raw { bytes } else { &self.packed[..len] };
        self.chunks.push((id, FrameKind::Chunk), codec, bytes.len(), packed);
        add(&progress.new_chunks, 1);
        add(&progress.new_bytes, bytes.len() as u64);
        add(&progress.stored, packed.len() as u64);
        if self.chunks.is_full() {
            self.shared.check_cancelled()?;
            // A leaf may wait for a slow store as often as it has batches.
            self.shared.session.renew_if_due()?;
            self.shared.data.add(&mut self.chunks)?;
            self.follow_pressure()?;
        }
        Ok(id)
    }
}
