//! Image files that a disk is written to: raw, qcow2, VHD; and read back from, to verify.
//!
//! All are `BlockSink`s that take writes in any order from several threads, and never store what was not
//! written. Each writes into `NAME.xenith-part`; the rename to its name is the commit point. A crash leaves
//! that file, which the journal beside it can continue, and never a half-written image under its own name.

pub mod qcow2;
pub mod vhd;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xenith_common_block::{BlockError, BlockSink, ByteRange, FileSink};
use xenith_common_image::RawTarget;

use crate::error::{ImportError, Result};

pub use xenith_common_image::{Target, TargetFormat};

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
    if format == TargetFormat::Vhd && size > xenith_common_image::vhd::MAX_SIZE {
        let detail = "VHD ends at 2040 GiB; use raw or qcow2".to_owned();
        return Err(ImportError::Target { target: path.display().to_string(), detail });
    }
    xenith_common_image::create(path, format, size).map_err(lifted)
}

/// Opens an image that an earlier run left, at the state `checkpoint` of its journal.
pub fn reopen(path: &Path, format: TargetFormat, size: u64, checkpoint: u64) -> Result<Arc<dyn Target>> {
    xenith_common_image::reopen(path, format, size, checkpoint).map_err(lifted)
}

/// What the system said about the file is this crate's own error.
fn lifted(error: BlockError) -> ImportError {
    match error {
        BlockError::Io { action, target, source, .. } => ImportError::io(action, target, source),
        other => ImportError::Block(other),
    }
}

/// A block device: written in place, and only what is not zero, so it is zeroed first.
pub fn device(path: &Path, size: u64) -> Result<Arc<dyn Target>> {
    let sink = open_device(path, size)?;
    sink.zero(ByteRange::new(0, size))?;
    Ok(Arc::new(RawTarget(sink)))
}

/// The same as an earlier run left it.
pub fn reopen_device(path: &Path, size: u64) -> Result<Arc<dyn Target>> {
    Ok(Arc::new(RawTarget(open_device(path, size)?)))
}

fn open_device(path: &Path, size: u64) -> Result<FileSink> {
    let sink = FileSink::open(path)?;
    if sink.size() < size {
        let detail = format!("has {} bytes, the disk needs {size}", sink.size());
        return Err(ImportError::Target { target: path.display().to_string(), detail });
    }
    Ok(sink)
}
