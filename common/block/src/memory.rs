//! Disks in memory: the test double of every other source and sink.

use std::sync::Mutex;

use crate::{BlockError, BlockSink, BlockSource, ByteRange, Extent, ExtentKind, is_zero};

const BLOCK: u64 = 4096;

/// A disk whose bytes lie in memory. All-zero 4 KiB blocks are reported as `Zero`.
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    bytes: Vec<u8>,
}

impl MemorySource {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

impl BlockSource for MemorySource {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size())?;
        let start = offset as usize;
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size())?;
        let mut extents = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = (at - at % BLOCK + BLOCK).min(range.end);
            let zero = is_zero(&self.bytes[at as usize..end as usize]);
            let kind = if zero { ExtentKind::Zero } else { ExtentKind::Data };
            Extent::push_merged(&mut extents, ByteRange::new(at, end), kind);
            at = end;
        }
        Ok(extents)
    }
}

/// A disk in memory that can be written. [`Self::into_bytes`] gives what it holds.
#[derive(Debug)]
pub struct MemorySink {
    bytes: Mutex<Vec<u8>>,
    size: u64,
}

impl MemorySink {
    /// A disk of zeros.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { bytes: Mutex::new(vec![0; size]), size: size as u64 }
    }

    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn fill(&self, offset: u64, len: u64, write: impl FnOnce(&mut [u8])) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, len, self.size)?;
        let mut bytes = self.bytes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        write(&mut bytes[offset as usize..(offset + len) as usize]);
        Ok(())
    }
}

impl BlockSink for MemorySink {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.fill(offset, data.len() as u64, |slot| slot.copy_from_slice(data))
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        self.fill(range.start, range.len(), |slot| slot.fill(0))
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// Takes a disk of a size and keeps nothing of it: what comes by is only read, hashed or measured.
#[derive(Debug, Clone, Copy)]
pub struct NullSink(pub u64);

impl BlockSink for NullSink {
    fn size(&self) -> u64 {
        self.0
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, data.len() as u64, self.0)
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.0)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}
