//! Image files that a disk is written to: raw, qcow2, VHD, and VMDK for VMware and appliances; and whole VMs in a
//! file, as XenServer and XCP-ng ([`xva`]) and VMware ([`ova`]) take them.
//!
//! Raw, qcow2 and VHD are `BlockSink`s that take writes in any order from several threads and never store what
//! was not written. A stream-optimised VMDK ([`vmdk`]) is written front to back from a `BlockSource` instead. A
//! crash leaves a file that its writer has not finished; who writes gives it another name until then.

mod member;
pub mod ova;
pub mod qcow2;
pub mod vhd;
pub mod vmdk;
pub mod xva;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_block::{BlockError, BlockSink, ByteRange, FileSink};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetFormat {
    Raw,
    Qcow2,
    Vhd,
}

impl TargetFormat {
    /// By the ending of a name; raw for any other.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("qcow2") => Self::Qcow2,
            Some("vhd" | "vpc") => Self::Vhd,
            _ => Self::Raw,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
        }
    }
}

/// A sink with what a journal has to know about it.
pub trait Target: BlockSink {
    /// Makes everything written so far findable after a kill; returns the number that [`reopen`] needs to go
    /// on from here.
    fn checkpoint(&self) -> Result<u64, BlockError>;

    /// Writes what comes last (tables, footers). After it the image is whole.
    fn finish(&self) -> Result<(), BlockError>;
}

/// A raw image or a device has no tables: what is written is there.
pub struct RawTarget(pub FileSink);

impl BlockSink for RawTarget {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.0.write_at(offset, data)
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        self.0.zero(range)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.0.flush()
    }
}

impl Target for RawTarget {
    fn checkpoint(&self) -> Result<u64, BlockError> {
        Ok(0)
    }

    fn finish(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// Creates a new image of `size` bytes at `path`, which must not exist.
pub fn create(path: &Path, format: TargetFormat, size: u64) -> Result<Arc<dyn Target>, BlockError> {
    Ok(match format {
        TargetFormat::Raw => Arc::new(RawTarget(FileSink::create_new(path, size)?)),
        TargetFormat::Qcow2 => Arc::new(qcow2::Qcow2Sink::create(path, size)?),
        TargetFormat::Vhd => Arc::new(vhd::VhdSink::create(path, size)?),
    })
}

/// Opens an image that an earlier run left, at the state its last [`Target::checkpoint`] gave.
pub fn reopen(
    path: &Path,
    format: TargetFormat,
    size: u64,
    checkpoint: u64,
) -> Result<Arc<dyn Target>, BlockError> {
    Ok(match format {
        TargetFormat::Raw => Arc::new(RawTarget(FileSink::open(path)?)),
        TargetFormat::Qcow2 => Arc::new(qcow2::Qcow2Sink::reopen(path, size, checkpoint)?),
        TargetFormat::Vhd => Arc::new(vhd::VhdSink::reopen(path, size, checkpoint)?),
    })
}

fn io_error(action: &'static str, target: &str, source: std::io::Error) -> BlockError {
    BlockError::Io { action, target: target.to_owned(), offset: 0, source }
}
