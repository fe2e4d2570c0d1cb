//! Cutting a disk into chunks.
//!
//! A disk is a row of *leaves* of 16 MiB, each of 4096 blocks of 4 KiB; no chunk crosses a leaf, so leaves are
//! cut by different threads. Within a leaf the pieces are a pure function of its bytes, the cut secret and the
//! [`Chunking`]:
//! * where a piece starts on a zero block, it is the whole run of zero blocks;
//! * otherwise it is data, up to the first block where one of these holds: a run of [`ZERO_RUN`] zero blocks
//!   begins; it is as long as allowed; it is long enough and the last block's keyed hash is a cut.
//!
//! Because the function is pure, cutting only around changed ranges ([`rechunk`](rechunk::rechunk)) gives the
//! very pieces that cutting the whole leaf would: an increment's map equals a full's, page for page. A cut
//! depends on one block's own bytes and not on a rolling window: files start on block boundaries, so a rolling
//! hash finds nothing more on a disk image, and costs ten times as much.

pub mod rechunk;
mod window;

use serde::{Deserialize, Serialize};
use xenith_common_block::BlockError;
use xxhash_rust::xxh3::xxh3_64_with_secret;

use crate::crypto::Secret32;

pub use window::{LeafWindow, ReadAhead, zeros_in, zeros_of};

/// The unit of cutting. Filesystems place files on it; changing it changes the format.
pub const BLOCK: usize = 4096;
/// Blocks in a leaf (16 MiB). Part of the format: map pages cover one leaf each.
pub const LEAF_BLOCKS: u32 = 4096;
pub const LEAF_BYTES: u64 = LEAF_BLOCKS as u64 * BLOCK as u64;
/// Zero blocks in a row that end a data chunk. Shorter runs are left to the compressor: cutting at each would
/// make chunks small. Part of the format.
pub const ZERO_RUN: u32 = 4;
/// Most blocks in a chunk, whatever the parameters say (256 KiB). Part of the format.
pub const MAX_CHUNK_BLOCKS: u32 = 64;

/// How a deduplication domain cuts. The numbers are fixed per repository when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "mode")]
pub enum Chunking {
    /// Cuts where the data says so; finds the same files in another place.
    Content { min_blocks: u32, max_blocks: u32, one_in: u32 },
    /// A grid from offset 0; for disks whose data never moves, such as databases on raw devices.
    Fixed { blocks: u32 },
}

impl Default for Chunking {
    /// 16 to 256 KiB, 64 KiB nominal (`docs/adr/0010-chunk-sizes.md`).
    fn default() -> Self {
        Self::Content { min_blocks: 4, max_blocks: 64, one_in: 13 }
    }
}

impl Chunking {
    /// 128 KiB from offset 0.
    pub const FIXED: Self = Self::Fixed { blocks: 32 };

    /// Whether the numbers make sense; rings are authentic, but may come from a newer program.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        match *self {
            Self::Content { min_blocks, max_blocks, one_in } => {
                min_blocks > 0 && min_blocks <= max_blocks && max_blocks <= MAX_CHUNK_BLOCKS && one_in > 0
            }
            Self::Fixed { blocks } => {
                blocks > 0 && blocks <= MAX_CHUNK_BLOCKS && LEAF_BLOCKS.is_multiple_of(blocks)
            }
        }
    }
}

/// Number of leaves of a disk of `size` bytes.
#[must_use]
pub const fn leaf_count(size: u64) -> u64 {
    size.div_ceil(LEAF_BYTES)
}

/// Blocks in leaf `number` of a disk of `size` bytes; the last block may be partly past the end.
#[must_use]
pub const fn leaf_blocks(size: u64, number: u64) -> u32 {
    let left = size.saturating_sub(number * LEAF_BYTES);
    if left >= LEAF_BYTES { LEAF_BLOCKS } else { left.div_ceil(BLOCK as u64) as u32 }
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Zero,
    Data,
}

/// Places cuts. One per thread is not needed: it has no state.
#[derive(Debug, Clone)]
pub struct Cutter {
    chunking: Chunking,
    threshold: u64,
    secret: [u8; 192],
}

impl Cutter {
    #[must_use]
    pub fn new(chunking: Chunking, secret: &Secret32) -> Self {
        let mut long = [0; 192];
        blake3::Hasher::new_keyed(secret.expose()).update(b"cut").finalize_xof().fill(&mut long);
        let threshold = match chunking {
            Chunking::Content { one_in, .. } => u64::MAX / u64::from(one_in),
            Chunking::Fixed { .. } => 0,
        };
        Self { chunking, threshold, secret: long }
    }

    fn is_cut(&self, block: &[u8]) -> bool {
        xxh3_64_with_secret(block, &self.secret) <= self.threshold
    }

    /// How far past its end a cut may look: changes nearer than this may move it.
    #[must_use]
    pub const fn look_ahead(&self) -> u32 {
        match self.chunking {
            Chunking::Content { .. } => ZERO_RUN,
            Chunking::Fixed { .. } => 1,
        }
    }

    /// The piece that starts at block `at` and the block after its last.
    pub fn next(&self, window: &mut LeafWindow<'_>, at: u32) -> Result<(Piece, u32), BlockError> {
        match self.chunking {
            Chunking::Content { min_blocks, max_blocks, .. } => {
                self.next_content(window, at, (min_blocks, max_blocks))
            }
            Chunking::Fixed { blocks } => Self::next_fixed(window, at, blocks),
        }
    }

    fn next_content(
        &self,
        window: &mut LeafWindow<'_>,
        at: u32,
        (min, max): (u32, u32),
    ) -> Result<(Piece, u32), BlockError> {
        let zero_end = window.zero_until(at)?;
        if zero_end > at {
            return Ok((Piece::Zero, zero_end));
        }
        let last = window.blocks().min(at + max);
        let mut end = at + 1;
        while end < last {
            if window.is_zero_run(end, ZERO_RUN)? {
                break;
            }
            if end - at >= min && self.is_cut(window.block(end - 1)?) {
                break;
            }
            end += 1;
        }
        window.need(end)?;
        Ok((Piece::Data, end))
    }

    fn next_fixed(window: &mut LeafWindow<'_>, at: u32, cell: u32) -> Result<(Piece, u32), BlockError> {
        let mut zero_end = window.zero_until(at)?;
        if zero_end < window.blocks() {
            zero_end -= zero_end % cell;
        }
        if zero_end > at {
            return Ok((Piece::Zero, zero_end));
        }
        let end = window.blocks().min(at + cell);
        // The cell may begin with zeros that were let go of.
        window.rewind(at);
        window.need(end)?;
        Ok((Piece::Data, end))
    }
}
