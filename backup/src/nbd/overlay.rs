//! Copy on write over a disk that must not change; and a disk that is filled from another while it is used.
//!
//! Two files: the data, sparse and as large as the disk (or larger), and a map with one bit per 4 KiB block, set when
//! the block lives in the data. What always holds: a bit is set after its block is written and never cleared; it
//! becomes durable only after its block is, so that a crash shows every block either as it was in the backup or as it
//! was written. Unflushed writes may be lost in a crash, as with any disk.
//!
//! Who else touches it: any number of threads. `filling` is held by whoever writes a block that is not there yet, so
//! that two writes to parts of one block do not lose each other's half and a block of the backup never replaces what
//! was written meanwhile. `bits` is held for moments only, so readers wait for nobody's disk.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FallocateFlags, fallocate};
use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent, ExtentKind};

const BLOCK: u64 = 4096;
/// Largest disk: half a GiB of memory for its map.
const MAX_SIZE: u64 = 16 << 40;
/// Bytes of the map that are written together.
const MAP_PAGE: usize = 4096;

#[derive(Debug)]
struct Bits {
    bits: Vec<u8>,
    set: u64,
    /// Pages of the map that are not on disk yet.
    dirty: BTreeSet<usize>,
}

impl Bits {
    fn get(&self, block: u64) -> bool {
        self.bits[(block / 8) as usize] >> (block % 8) & 1 == 1
    }

    fn set(&mut self, block: u64) {
        if !self.get(block) {
            self.bits[(block / 8) as usize] |= 1 << (block % 8);
            self.set += 1;
            self.dirty.insert((block / 8) as usize / MAP_PAGE);
        }
    }

    /// The blocks that `range` lies in wholly or in part.
    fn set_all(&mut self, range: ByteRange) {
        (range.start / BLOCK..range.end.div_ceil(BLOCK)).for_each(|block| self.set(block));
    }
}

/// See the module. 32 MiB of memory per TiB of disk.
pub struct Overlay {
    base: Arc<dyn BlockSource>,
    data: File,
    map: File,
    name: String,
    size: u64,
    bits: Mutex<Bits>,
    filling: Mutex<()>,
    flushing: Mutex<()>,
    unsynced: AtomicBool,
}

fn check_size(name: &str, size: u64) -> Result<(), BlockError> {
    if size <= MAX_SIZE {
        return Ok(());
    }
    let detail = format!("an overlay is for a disk of at most 16 TiB, not one of {size} bytes");
    Err(BlockError::Corrupt { target: name.to_owned(), detail })
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Of a file, or of a block device, whose metadata do not tell.
fn size_of(mut disk: &File) -> io::Result<u64> {
    disk.seek(SeekFrom::End(0))
}

impl Overlay {
    /// Opens the overlay at `path`, or makes it. Its map is beside it, `<path>.map`.
    pub fn open(base: Arc<dyn BlockSource>, path: &Path) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        let error = |source| BlockError::Io { action: "open", target: name.clone(), offset: 0, source };
        check_size(&name, base.size())?;
        let data = open(path).map_err(error)?;
        let found = data.metadata().map_err(error)?.len();
        if found != 0 && found != base.size() {
            let detail = format!("it is an overlay of a disk of {found} bytes, not {}", base.size());
            return Err(BlockError::Corrupt { target: name, detail });
        }
        data.set_len(base.size()).map_err(error)?;
        Self::over(base, data, (&name, &map_path(path)))
    }

    /// Over a disk that is there, as large as `base` or larger, and all zeros where `map` says nothing.
    pub fn open_on(base: Arc<dyn BlockSource>, disk: &Path, map: &Path) -> Result<Self, BlockError> {
        let name = disk.display().to_string();
        let error = |source| BlockError::Io { action: "open", target: name.clone(), offset: 0, source };
        let data = OpenOptions::new().read(true).write(true).open(disk).map_err(error)?;
        let found = size_of(&data).map_err(error)?;
        if found < base.size() {
            let detail = format!("it has {found} bytes, the disk in the backup {}", base.size());
            return Err(BlockError::Corrupt { target: name, detail });
        }
        Self::over(base, data, (&name, map))
    }

    fn over(base: Arc<dyn BlockSource>, data: File, (name, map): (&str, &Path)) -> Result<Self, BlockError> {
        let error =
            |source| BlockError::Io { action: "open", target: map.display().to_string(), offset: 0, source };
        let map = open(map).map_err(error)?;
        let size = size_of(&data).map_err(error)?;
        check_size(name, size)?;
        let mut bits = vec![0; size.div_ceil(BLOCK * 8) as usize];
        let stored = map.metadata().map_err(error)?.len().min(bits.len() as u64);
        map.read_exact_at(&mut bits[..stored as usize], 0).map_err(error)?;
        // A map that was damaged must not count blocks past the end of the disk: it would be taken for complete too early.
        let (blocks, last) = (size.div_ceil(BLOCK), bits.last_mut());
        if let Some(last) = last.filter(|_| blocks % 8 != 0) {
            *last &= (1_u8 << (blocks % 8)) - 1;
        }
        let set = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let mut bits = Bits { bits, set, dirty: BTreeSet::new() };
        // Past the end of the backup's disk there is nothing to wait for. A block on the edge is filled first.
        if size > base.size() {
            bits.set_all(ByteRange::new(base.size().next_multiple_of(BLOCK).min(size), size));
        }
        Ok(Self {
            base,
            data,
            map,
            name: name.to_owned(),
            size,
            bits: Mutex::new(bits),
            filling: Mutex::default(),
            flushing: Mutex::default(),
            unsynced: AtomicBool::new(false),
        })
    }

    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are in the data, and all.
    #[must_use]
    pub fn filled(&self) -> (u64, u64) {
        let blocks = self.size.div_ceil(BLOCK);
        let set = self.lock().set;
        (if set == blocks { self.size } else { set * BLOCK }, self.size)
    }

    fn lock(&self) -> MutexGuard<'_, Bits> {
        self.bits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filling(&self) -> MutexGuard<'_, ()> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, action: &'static str, offset: u64, source: io::Error) -> BlockError {
        BlockError::Io { action, target: self.name.clone(), offset, source }
    }

    fn put(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.data.write_all_at(data, offset).map_err(|source| self.error("write", offset, source))?;
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }

    /// Of the backup, with zeros after its end.
    fn read_base(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        let there = self.base.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        self.base.read_at(offset, &mut buf[..there])?;
        buf[there..].fill(0);
        Ok(())
    }

    /// Runs of blocks in `range` that are, or are not, in the overlay.
    fn runs(&self, range: ByteRange) -> Vec<(ByteRange, bool)> {
        let bits = self.lock();
        let mut runs: Vec<(ByteRange, bool)> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = (at - at % BLOCK + BLOCK).min(range.end);
            let ours = bits.get(at / BLOCK);
            match runs.last_mut() {
                Some((last, kind)) if *kind == ours => last.end = end,
                _ => runs.push((ByteRange::new(at, end), ours)),
            }
            at = end;
        }
        runs
    }

    /// Whether all of `range` is in the data.
    #[must_use]
    pub fn is_filled(&self, range: ByteRange) -> bool {
        self.runs(range).iter().all(|(_, ours)| *ours)
    }

    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size)?;
        for (run, ours) in self.runs(ByteRange::with_len(offset, buf.len() as u64)) {
            let slot = &mut buf[(run.start - offset) as usize..(run.end - offset) as usize];
            if ours {
                let read = self.data.read_exact_at(slot, run.start);
                read.map_err(|source| self.error("read", run.start, source))?;
            } else {
                self.read_base(run.start, slot)?;
            }
        }
        Ok(())
    }

    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, data.len() as u64, self.size)?;
        if data.is_empty() {
            return Ok(());
        }
        let range = ByteRange::with_len(offset, data.len() as u64);
        // Bits are never cleared: where all are set, nobody fills.
        if self.is_filled(range) {
            return self.put(offset, data);
        }
        let _filling = self.filling();
        self.fill_edges(range)?;
        self.put(offset, data)?;
        self.lock().set_all(range);
        Ok(())
    }

    /// Brings in the first and the last block of `range` where it covers only a part of them.
    fn fill_edges(&self, range: ByteRange) -> Result<(), BlockError> {
        for edge in [range.start / BLOCK, (range.end - 1) / BLOCK] {
            let block = ByteRange::new(edge * BLOCK, ((edge + 1) * BLOCK).min(self.size));
            let missing = !self.lock().get(edge);
            if missing && range.intersect(&block) != Some(block) {
                let mut whole = vec![0; block.len() as usize];
                self.read_base(block.start, &mut whole)?;
                self.put(block.start, &whole)?;
                self.lock().set(edge);
            }
        }
        Ok(())
    }

    /// Brings in what the backup has at `offset`; what was written meanwhile stays. Starts at a block, and ends at one
    /// or at the end of the backup.
    pub fn fill(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        let range = ByteRange::with_len(offset, data.len() as u64);
        let _filling = self.filling();
        for (run, ours) in self.runs(range) {
            if !ours {
                self.put(run.start, &data[(run.start - offset) as usize..(run.end - offset) as usize])?;
                self.lock().set_all(run);
            }
        }
        Ok(())
    }

    /// As [`Self::fill`] with zeros, which a disk that is all zeros where its map says nothing has already.
    pub fn fill_zeros(&self, range: ByteRange) {
        let _filling = self.filling();
        self.lock().set_all(range);
    }

    /// Makes `range` read as zeros.
    pub fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size)?;
        if range.is_empty() {
            return Ok(());
        }
        let whole = ByteRange::new(range.start.next_multiple_of(BLOCK), range.end - range.end % BLOCK);
        if whole.start < whole.end && self.punch(whole)? {
            self.write_zeros(ByteRange::new(range.start, whole.start))?;
            return self.write_zeros(ByteRange::new(whole.end, range.end));
        }
        self.write_zeros(range)
    }

    /// Gives whole blocks back to the file system; `false` where it cannot do that.
    fn punch(&self, range: ByteRange) -> Result<bool, BlockError> {
        let _filling = self.filling();
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&self.data, flags, range.start as i64, range.len() as i64) {
            Ok(()) => {}
            Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => return Ok(false),
            Err(errno) => return Err(self.error("zero", range.start, errno.into())),
        }
        self.unsynced.store(true, Ordering::Release);
        self.lock().set_all(range);
        Ok(true)
    }

    fn write_zeros(&self, range: ByteRange) -> Result<(), BlockError> {
        let zeros = vec![0; range.len().min(1 << 20) as usize];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(zeros.len() as u64) as usize;
            self.write_at(at, &zeros[..len])?;
            at += len as u64;
        }
        Ok(())
    }

    /// Returns when everything written is durable: blocks first, then their bits.
    pub fn flush(&self) -> Result<(), BlockError> {
        // Who comes second waits: what he wrote may be in the first one's hands.
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let pages: Vec<(usize, Vec<u8>)> = {
            let mut bits = self.lock();
            let dirty = std::mem::take(&mut bits.dirty);
            let page = |number: usize| {
                let end = ((number + 1) * MAP_PAGE).min(bits.bits.len());
                (number, bits.bits[number * MAP_PAGE..end].to_vec())
            };
            dirty.into_iter().map(page).collect()
        };
        let unsynced = self.unsynced.swap(false, Ordering::AcqRel);
        let sync = || {
            if unsynced || !pages.is_empty() {
                self.data.sync_data()?;
            }
            for (number, bytes) in &pages {
                self.map.write_all_at(bytes, (number * MAP_PAGE) as u64)?;
            }
            if pages.is_empty() { Ok(()) } else { self.map.sync_data() }
        };
        sync().map_err(|source| {
            self.lock().dirty.extend(pages.iter().map(|(number, _)| number));
            self.unsynced.store(true, Ordering::Release);
            self.error("flush", 0, source)
        })
    }

    pub fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size)?;
        let mut extents = Vec::new();
        for (run, ours) in self.runs(range) {
            if ours {
                Extent::push_merged(&mut extents, run, ExtentKind::Data);
                continue;
            }
            let there = ByteRange::new(run.start, run.end.min(self.base.size()));
            for extent in self.base.extents(there)? {
                Extent::push_merged(&mut extents, extent.range, extent.kind);
            }
            if there.end < run.end {
                Extent::push_merged(&mut extents, ByteRange::new(there.end, run.end), ExtentKind::Zero);
            }
        }
        Ok(extents)
    }
}

fn map_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".map");
    PathBuf::from(name)
}
