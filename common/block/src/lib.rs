//! The seam for disk contents: every producer is a [`BlockSource`], every consumer a [`BlockSink`].
//!
//! What always holds:
//! * Offsets and lengths are bytes. A disk's size is a multiple of 512.
//! * A source never changes while it is read (a snapshot, a closed file, a committed backup); who reads a
//!   live disk takes a snapshot first.
//! * [`BlockSource::extents`] covers the asked range without gap or overlap, in order. `Zero` and
//!   `Unallocated` both read as zeros; `Unallocated` says besides that nothing was ever written there (or
//!   that a layer below decides), so that a copy may leave a hole.
//! * Calls block. They are made from worker threads, never from an async task: hashing, compressing and
//!   `pread` want threads anyway, and a remote source hides its socket behind the same calls
//!   (`docs/adr/0002-blocking-block-seam.md`).
//! * Sources and sinks are `Sync`: several workers read and write disjoint ranges at once.

mod behind;
mod copy;
mod error;
mod extent;
mod file;
mod memory;
mod partitions;
mod range;
mod zeros;

pub use behind::{Behind, flushing};
pub use copy::{CopyProgress, copy, copy_unflushed};
pub use error::BlockError;
pub use extent::{Extent, ExtentKind};
pub use file::{FileSink, FileSource};
pub use memory::{MemorySink, MemorySource, NullSink};
pub use partitions::{Partition, partitions};
pub use range::{ByteRange, RangeSet};
pub use zeros::is_zero;

/// Names the state of a disk that changed ranges are counted from: a snapshot's id, a CBT change id, …
/// Opaque to everyone but the source that made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseId(pub String);

/// How a source knows what changed since a base; shown to the user, because the cost depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedRanges {
    /// These ranges, never too few: everything outside reads as it did at the base.
    Known(RangeSet),
    /// The source cannot tell; the reason is shown beside "the whole disk was read".
    Unknown { reason: String },
}

/// Something that can be read like a disk that stands still.
pub trait BlockSource: Send + Sync {
    /// The disk's size in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`. Holes and zeros read as zeros; a read past the end is an error.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError>;

    /// The extents of `range`, merged where neighbours are of one kind. Cost follows the number of extents
    /// there, not the length. The default says that everything is data.
    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        Ok(vec![Extent::new(range, ExtentKind::Data)])
    }

    /// What changed since `base`.
    fn changed_since(&self, base: &BaseId) -> Result<ChangedRanges, BlockError> {
        let _ = base;
        Ok(ChangedRanges::Unknown { reason: "this source keeps no record of changes".to_owned() })
    }
}

/// Something that can be written like a disk.
pub trait BlockSink: Send + Sync {
    /// The disk's size in bytes.
    fn size(&self) -> u64;

    /// Writes all of `data` at `offset`; a write past the end is an error.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError>;

    /// Makes `range` read as zeros, as a hole where the target can have one.
    fn zero(&self, range: ByteRange) -> Result<(), BlockError>;

    /// Returns when everything written is durable.
    fn flush(&self) -> Result<(), BlockError>;
}

impl<T: BlockSource + ?Sized> BlockSource for std::sync::Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        (**self).read_at(offset, buf)
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        (**self).extents(range)
    }

    fn changed_since(&self, base: &BaseId) -> Result<ChangedRanges, BlockError> {
        (**self).changed_since(base)
    }
}

impl<T: BlockSink + ?Sized> BlockSink for std::sync::Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        (**self).write_at(offset, data)
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        (**self).zero(range)
    }

    fn flush(&self) -> Result<(), BlockError> {
        (**self).flush()
    }
}
