//! The inner step of every copy: a piece of disk in memory goes to the sink, less its zeros, and into the
//! digest, while it is still in the processor's cache.

use xenith_common_block::{BlockError, BlockSink, is_zero};

use crate::digest::{DIGEST_BLOCK, DigestKind, DiskDigest};

/// What is tested for zeros, and the least that a target stores.
const UNIT: usize = 4096;

/// Whether and how what flows through is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    On(DigestKind),
    Off,
}

impl Default for Hashing {
    fn default() -> Self {
        Self::On(DigestKind::default())
    }
}

impl Hashing {
    /// A digest to begin with; `None` when nothing is hashed.
    #[must_use]
    pub fn start(self) -> Option<DiskDigest> {
        match self {
            Self::On(kind) => Some(DiskDigest::new(kind)),
            Self::Off => None,
        }
    }
}

/// Writes what is not zero of `data`, which is the disk's contents from `offset` (a multiple of
/// [`DIGEST_BLOCK`], and whole blocks unless the disk ends). Returns the bytes written.
pub fn store(
    sink: &dyn BlockSink,
    offset: u64,
    data: &[u8],
    digest: Option<&mut DiskDigest>,
) -> Result<u64, BlockError> {
    let mut written = 0;
    let mut pending: Option<(usize, usize)> = None;
    for (index, unit) in data.chunks(UNIT).enumerate() {
        let at = index * UNIT;
        if is_zero(unit) {
            if let Some((start, end)) = pending.take() {
                sink.write_at(offset + start as u64, &data[start..end])?;
                written += (end - start) as u64;
            }
            continue;
        }
        pending = Some((pending.map_or(at, |(start, _)| start), at + unit.len()));
    }
    if let Some((start, end)) = pending {
        sink.write_at(offset + start as u64, &data[start..end])?;
        written += (end - start) as u64;
    }
    if let Some(digest) = digest {
        add(digest, offset, data, written);
    }
    Ok(written)
}

fn add(digest: &mut DiskDigest, offset: u64, data: &[u8], written: u64) {
    for (block, at) in data.chunks(DIGEST_BLOCK as usize).zip((offset..).step_by(DIGEST_BLOCK as usize)) {
        let all_data = written == data.len() as u64;
        if all_data || !is_zero(block) {
            digest.add(at, block);
        }
    }
}
