//! One compressed grain: a marker and a zlib stream that has to inflate to exactly one grain.

use libdeflater::Decompressor;

use super::tables::{u32_at, u64_at};
use crate::error::{ImportError, Result};

/// Size of `{u64 lba, u32 size}` in front of the data.
pub const MARKER: usize = 12;

/// A grain marker, checked against the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrainMarker {
    /// Where the grain belongs on the disk, in bytes.
    pub disk_offset: u64,
    /// Compressed bytes that follow.
    pub size: usize,
}

/// The most that deflate can make of a grain that does not shrink, with room for odd encoders. A reader
/// allocates no more than this for a size found in a file.
#[must_use]
pub fn max_packed(grain: u64) -> usize {
    grain as usize + grain as usize / 8 + 4096
}

impl GrainMarker {
    /// Parses the marker at `at` of `file` for a disk of `capacity` bytes in grains of `grain` bytes.
    pub fn parse(file: &str, at: u64, bytes: &[u8], disk: (u64, u64)) -> Result<Self> {
        let (capacity, grain) = disk;
        let lba = u64_at(bytes, 0);
        let size = u32_at(bytes, 8) as usize;
        if size == 0 || size > max_packed(grain) {
            let detail = format!("is {size} bytes for a grain of {grain}");
            return Err(ImportError::damaged(file, at + 8, "compressed size", detail));
        }
        let disk_offset = lba.checked_mul(512).filter(|&o| o < capacity).ok_or_else(|| {
            ImportError::damaged(file, at, "grain LBA", format!("{lba} lies past the end of the disk"))
        })?;
        if disk_offset % grain != 0 {
            return Err(ImportError::damaged(
                file,
                at,
                "grain LBA",
                format!("{lba} is not on a grain boundary"),
            ));
        }
        Ok(Self { disk_offset, size })
    }
}

/// Inflates grains; holds the decoder's tables, one per thread.
pub struct Inflater {
    inner: Decompressor,
    scratch: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { inner: Decompressor::new(), scratch: Vec::new() }
    }
}

impl Inflater {
    /// Inflates `packed`, which lies at `at` of `file`, into `out`. The last grain of a disk may be stored
    /// short or in full length: `grain` is the length of all others, and never more is produced.
    pub fn inflate(&mut self, place: (&str, u64), packed: &[u8], out: &mut [u8], grain: u64) -> Result<()> {
        let (file, at) = place;
        let damaged = |detail: String| Err(ImportError::damaged(file, at, "compressed grain", detail));
        let result = if out.len() as u64 == grain {
            self.inner.zlib_decompress(packed, out)
        } else {
            self.scratch.resize(grain as usize, 0);
            let result = self.inner.zlib_decompress(packed, &mut self.scratch);
            out.copy_from_slice(&self.scratch[..out.len()]);
            result.map(|len| if len == grain as usize { out.len() } else { len })
        };
        match result {
            Ok(len) if len == out.len() => Ok(()),
            Ok(len) => damaged(format!("inflates to {len} bytes instead of {}", out.len())),
            Err(libdeflater::DecompressionError::InsufficientSpace) => {
                damaged(format!("inflates to more than {grain} bytes"))
            }
            Err(libdeflater::DecompressionError::BadData) => damaged("is not a sound zlib stream".to_owned()),
        }
    }
}
