//! A thin volume that is written by us: what a copy, an import or a restore brings.
//!
//! Writes into a full pool wait for ever, which a guest survives; a task should rather fail and say why. So the pool is
//! looked at before each stride, and what is held in reserve for guests that are about to be paused is not touched.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use xenith_common_block::{BlockError, BlockSink, BlockSource, ByteRange, FileSink, FileSource, is_zero};

use super::{Found, LvmThinDriver};
use crate::StorageDriver;

/// Read at once to see whether it is zeros.
const STEP: u64 = 1 << 20;
/// Written between two looks at the pool.
const STRIDE: u64 = 32 << 20;
/// Of a range that is larger, it is asked where there are blocks, which takes as long as reading so much.
const LARGE: u64 = 64 << 20;
const LEAST_RESERVE: u64 = 4 << 20;
/// As the agent pauses guests: at half a percent, or this.
const MOST_RESERVE: u64 = 1 << 30;

#[derive(Debug)]
pub struct ThinSink {
    driver: LvmThinDriver,
    thin_id: Option<u32>,
    name: String,
    writes: FileSink,
    reads: FileSource,
    /// Bytes that may be written before the next look.
    granted: Mutex<u64>,
}

impl ThinSink {
    pub fn open(driver: LvmThinDriver, found: &Found) -> Result<Self, BlockError> {
        let device = driver.device(&found.volume.name);
        let device: &Path = &device;
        Ok(Self {
            driver,
            thin_id: found.volume.thin_id,
            name: device.display().to_string(),
            writes: FileSink::open(device)?,
            reads: FileSource::open(device)?,
            granted: Mutex::new(0),
        })
    }

    fn grant(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if *granted < len {
            let error =
                |source| BlockError::Io { action: "write", target: self.name.clone(), offset, source };
            let (free, total) = self.driver.room().map_err(|failed| error(io::Error::other(failed)))?;
            let reserve = (total / 200).clamp(LEAST_RESERVE, MOST_RESERVE);
            let stride = STRIDE.max(len);
            // Others write strides, too.
            if free < reserve + 2 * stride {
                let detail = format!("{} MiB are left in its pool", free >> 20);
                return Err(error(io::Error::new(io::ErrorKind::StorageFull, detail)));
            }
            *granted = stride;
        }
        *granted -= len;
        Ok(())
    }

    /// The parts of `range` that may be other than zeros.
    fn occupied(&self, range: ByteRange) -> Result<Vec<ByteRange>, BlockError> {
        if range.len() <= LARGE {
            return Ok(vec![range]);
        }
        // What dom0 holds back has no blocks yet.
        self.writes.flush()?;
        Ok(match self.driver.mapped_of(self.thin_id, self.size()) {
            Ok(mapped) => mapped.within(range).collect(),
            Err(error) => {
                tracing::warn!(device = %self.name, %error, "a volume that is zeroed is read as a whole");
                vec![range]
            }
        })
    }

    /// Reads first: a hole stays one. The kernel may leave out a part of what it is told to discard (dm-thin.c, where a
    /// block is busy), so zeros are written where there is something else.
    fn zero_part(&self, range: ByteRange) -> Result<(), BlockError> {
        let mut bytes = vec![0; usize::try_from(STEP.min(range.len())).expect("a small step")];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(STEP);
            let step = &mut bytes[..usize::try_from(len).expect("a small step")];
            self.reads.read_at(at, step)?;
            if !is_zero(step) {
                self.grant(at, len)?;
                self.writes.zero(ByteRange::with_len(at, len))?;
            }
            at += len;
        }
        Ok(())
    }
}

impl BlockSink for ThinSink {
    fn size(&self) -> u64 {
        self.writes.size()
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.grant(offset, data.len() as u64)?;
        self.writes.write_at(offset, data)
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size())?;
        self.occupied(range)?.into_iter().try_for_each(|part| self.zero_part(part))
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.writes.flush()
    }
}
