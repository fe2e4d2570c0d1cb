//! Image files that a disk is written to: raw, qcow2, VHD; and read back from, to verify.
//!
//! All are `BlockSink`s that take writes in any order from several threads, and never store what was not
//! written. Each writes into `NAME.xenith-part`; the rename to its name is the commit point. A crash leaves
//! that file, which the journal beside it can continue, and never a half-written image under its own name.

pub mod qcow2;
pub mod vhd;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_block::{BlockError, BlockSink, ByteRange, FileSink};

use crate::error::{ImportError, Result};

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

/// A raw image has no tables: what is written is there.
pub struct RawTarget(FileSink);

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

/// Where an image goes on its way to its name.
#[must_use]
pub fn part_path(path: &Path) -> PathBuf {
    with_suffix(path, ".xenith-part")
}

/// Where the journal of an unfinished conversion lies.
#[must_use]
pub fn journal_path(path: &Path) -> PathBuf {
    with_suffix(path, ".xenith-journal")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Creates a new image of `size` bytes at `path`, which must not exist.
pub fn create(path: &Path, format: TargetFormat, size: u64) -> Result<Arc<dyn Target>> {
    Ok(match format {
        TargetFormat::Raw => Arc::new(RawTarget(FileSink::create_new(path, size)?)),
        TargetFormat::Qcow2 => Arc::new(qcow2::Qcow2Sink::create(path, size)?),
        TargetFormat::Vhd => Arc::new(vhd::VhdSink::create(path, size)?),
    })
}

/// Opens an image that an earlier run left, at the state `checkpoint` of its journal.
pub fn reopen(path: &Path, format: TargetFormat, size: u64, checkpoint: u64) -> Result<Arc<dyn Target>> {
    Ok(match format {
        TargetFormat::Raw => Arc::new(RawTarget(FileSink::open(path)?)),
        TargetFormat::Qcow2 => Arc::new(qcow2::Qcow2Sink::reopen(path, size, checkpoint)?),
        TargetFormat::Vhd => Arc::new(vhd::VhdSink::reopen(path, size, checkpoint)?),
    })
}

/// A block device: written in place, and only what is not zero, so it is zeroed first.
pub fn device(path: &Path, size: u64) -> Result<Arc<dyn Target>> {
    let sink = FileSink::open(path)?;
    if sink.size() < size {
        let detail = format!("has {} bytes, the disk needs {size}", sink.size());
        return Err(ImportError::Target { target: path.display().to_string(), detail });
    }
    sink.zero(ByteRange::new(0, size))?;
    Ok(Arc::new(RawTarget(sink)))
}
