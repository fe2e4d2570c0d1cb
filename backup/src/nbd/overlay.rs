//! Copy on write over a disk that must not change.
//!
//! Two files: `<path>` is sparse and as large as the disk; `<path>.map` has one bit per 4 KiB block, set when
//! the block lives in the first file. What always holds: a bit becomes durable only after its block is, so
//! that a crash shows every block either as it was in the backup or as it was written. Unflushed writes may be
//! lost in a crash, as with any disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent, ExtentKind};

const BLOCK: u64 = 4096;

#[derive(Debug)]
struct Bits {
    bits: Vec<u8>,
    dirty: bool,
}

impl Bits {
    fn get(&self, block: u64) -> bool {
        self.bits[(block / 8) as usize] >> (block % 8) & 1 == 1
    }

    fn set(&mut self, block: u64) {
        self.bits[(block / 8) as usize] |= 1 << (block % 8);
        self.dirty = true;
    }
}

/// See the module. 32 MiB of memory per TiB of disk.
pub struct Overlay {
    base: Arc<dyn BlockSource>,
    data: File,
    map: File,
    name: String,
    bits: Mutex<Bits>,
}

impl Overlay {
    /// Opens the overlay at `path`, or makes it.
    pub fn open(base: Arc<dyn BlockSource>, path: &Path) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        let error = |source| BlockError::Io { action: "open", target: name.clone(), offset: 0, source };
        let open =
            |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let data = open(path).map_err(error)?;
        let map = open(&map_path(path)).map_err(error)?;
        let size = base.size();
        let found = data.metadata().map_err(error)?.len();
        if found != 0 && found != size {
            let detail = format!("it is an overlay of a disk of {found} bytes, not {size}");
            return Err(BlockError::Corrupt { target: name, detail });
        }
        data.set_len(size).map_err(error)?;
        let mut bits = vec![0; size.div_ceil(BLOCK * 8) as usize];
        let stored = map.metadata().map_err(error)?.len().min(bits.len() as u64);
        map.read_exact_at(&mut bits[..stored as usize], 0).map_err(error)?;
        Ok(Self { base, data, map, name, bits: Mutex::new(Bits { bits, dirty: false }) })
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.base.size()
    }

    fn lock(&self) -> MutexGuard<'_, Bits> {
        self.bits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, action: &'static str, offset: u64, source: io::Error) -> BlockError {
        BlockError::Io { action, target: self.name.clone(), offset, source }
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

    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size())?;
        for (run, ours) in self.runs(ByteRange::with_len(offset, buf.len() as u64)) {
            let slot = &mut buf[(run.start - offset) as usize..(run.end - offset) as usize];
            if ours {
                let read = self.data.read_exact_at(slot, run.start);
                read.map_err(|source| self.error("read", run.start, source))?;
            } else {
                self.base.read_at(run.start, slot)?;
            }
        }
        Ok(())
    }

    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, data.len() as u64, self.size())?;
        if data.is_empty() {
            return Ok(());
        }
        let range = ByteRange::with_len(offset, data.len() as u64);
        // Held across the write: two writes to parts of one block must not lose each other's half.
        let mut bits = self.lock();
        for edge in [offset / BLOCK, (range.end - 1) / BLOCK] {
            let block = ByteRange::new(edge * BLOCK, ((edge + 1) * BLOCK).min(self.size()));
            if !bits.get(edge) && range.intersect(&block) != Some(block) {
                let mut whole = vec![0; block.len() as usize];
                self.base.read_at(block.start, &mut whole)?;
                let written = self.data.write_all_at(&whole, block.start);
                written.map_err(|source| self.error("write", block.start, source))?;
                bits.set(edge);
            }
        }
        self.data.write_all_at(data, offset).map_err(|source| self.error("write", offset, source))?;
        (offset / BLOCK..range.end.div_ceil(BLOCK)).for_each(|block| bits.set(block));
        Ok(())
    }

    /// Makes `range` read as zeros.
    pub fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size())?;
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
        let copy = {
            let mut bits = self.lock();
            if !bits.dirty {
                return Ok(());
            }
            bits.dirty = false;
            bits.bits.clone()
        };
        let sync = || {
            self.data.sync_data()?;
            self.map.write_all_at(&copy, 0)?;
            self.map.sync_data()
        };
        sync().map_err(|source| {
            self.lock().dirty = true;
            self.error("flush", 0, source)
        })
    }

    pub fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size())?;
        let mut extents = Vec::new();
        for (run, ours) in self.runs(range) {
            if ours {
                Extent::push_merged(&mut extents, run, ExtentKind::Data);
            } else {
                for extent in self.base.extents(run)? {
                    Extent::push_merged(&mut extents, extent.range, extent.kind);
                }
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
