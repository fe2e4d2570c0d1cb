//! A digest of a disk's contents that does not depend on the order in which they come.
//!
//! What is hashed: each 64 KiB block that is not all zero, with its number. The block hashes are summed, so that
//! * grains may come in any order and from several threads,
//! * zeros cost nothing, and a sparse and a full copy of a disk have one digest,
//! * the state is small whatever the size of the disk: a journal can hold it.
//!
//! Two kinds (`docs/adr/0020-disk-digest.md`): *fast* (XXH3, 128 bits) notices every accident of storage,
//! memory and network and costs a tenth of a copy; *strong* (BLAKE3 expanded to 2 KiB per block and summed,
//! LtHash) also withstands somebody who looks for another disk with the same digest, and costs a third.
//!
//! Rejected: BLAKE3 or SHA-256 over the whole disk, which needs the order and all the zeros; a list of block
//! hashes, 512 MiB for a disk of 1 TiB.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

/// Blocks start at multiples of this; the last one of a disk may be short.
pub const DIGEST_BLOCK: u64 = 64 * 1024;
const LANES: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DigestKind {
    #[default]
    Fast,
    Strong,
}

#[derive(Clone, PartialEq, Eq)]
enum Sum {
    Fast([u64; 2]),
    Strong(Box<[u16; LANES]>),
}

#[derive(Clone, PartialEq, Eq)]
pub struct DiskDigest {
    sum: Sum,
    /// Blocks that were not all zero.
    pub blocks: u64,
}

impl Default for DiskDigest {
    fn default() -> Self {
        Self::new(DigestKind::default())
    }
}

impl DiskDigest {
    #[must_use]
    pub fn new(kind: DigestKind) -> Self {
        let sum = match kind {
            DigestKind::Fast => Sum::Fast([0; 2]),
            DigestKind::Strong => Sum::Strong(Box::new([0; LANES])),
        };
        Self { sum, blocks: 0 }
    }

    #[must_use]
    pub fn kind(&self) -> DigestKind {
        match self.sum {
            Sum::Fast(_) => DigestKind::Fast,
            Sum::Strong(_) => DigestKind::Strong,
        }
    }

    /// Adds the block at byte `offset`, which is a multiple of [`DIGEST_BLOCK`].
    pub fn add(&mut self, offset: u64, block: &[u8]) {
        let number = offset / DIGEST_BLOCK;
        self.blocks += 1;
        match &mut self.sum {
            Sum::Fast(sum) => {
                let hash = XxHash3_128::oneshot_with_seed(number, block);
                sum[0] = sum[0].wrapping_add(hash as u64);
                sum[1] = sum[1].wrapping_add((hash >> 64) as u64);
            }
            Sum::Strong(lanes) => {
                let content = blake3::hash(block);
                let mut hasher = blake3::Hasher::new();
                hasher.update(&number.to_le_bytes());
                hasher.update(content.as_bytes());
                let mut wide = [0; LANES * 2];
                hasher.finalize_xof().fill(&mut wide);
                for (lane, bytes) in lanes.iter_mut().zip(wide.chunks_exact(2)) {
                    *lane = lane.wrapping_add(u16::from_le_bytes([bytes[0], bytes[1]]));
                }
            }
        }
    }

    /// Adds what another thread saw of the same disk. Sums of different kinds cannot be added: an empty one
    /// of the wrong kind is replaced, which is what a fresh accumulator wants.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.sum, &other.sum) {
            (Sum::Fast(sum), Sum::Fast(more)) => {
                sum.iter_mut().zip(more).for_each(|(lane, more)| *lane = lane.wrapping_add(*more));
            }
            (Sum::Strong(sum), Sum::Strong(more)) => {
                sum.iter_mut().zip(more.iter()).for_each(|(lane, more)| *lane = lane.wrapping_add(*more));
            }
            _ if self.blocks == 0 => self.sum = other.sum.clone(),
            _ => debug_assert!(other.blocks == 0, "digests of two kinds were added"),
        }
        self.blocks += other.blocks;
    }

    /// The state, for a journal.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = self.blocks.to_le_bytes();
        match &self.sum {
            Sum::Fast(sum) => sum.iter().flat_map(|lane| lane.to_le_bytes()).chain(count).collect(),
            Sum::Strong(sum) => sum.iter().flat_map(|lane| lane.to_le_bytes()).chain(count).collect(),
        }
    }

    /// What [`Self::to_bytes`] gave; `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (state, blocks) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
        let blocks = u64::from_le_bytes(blocks.try_into().ok()?);
        let sum = match state.len() {
            16 => Sum::Fast(
                [0, 8].map(|at| u64::from_le_bytes(state[at..at + 8].try_into().unwrap_or_default())),
            ),
            len if len == LANES * 2 => {
                let mut lanes = Box::new([0; LANES]);
                for (lane, bytes) in lanes.iter_mut().zip(state.chunks_exact(2)) {
                    *lane = u16::from_le_bytes([bytes[0], bytes[1]]);
                }
                Sum::Strong(lanes)
            }
            _ => return None,
        };
        Some(Self { sum, blocks })
    }

    /// The digest of a disk of `size` bytes: its kind and hexadecimal digits. A disk without data has the same
    /// state in both kinds, and still two digests.
    #[must_use]
    pub fn finish(&self, size: u64) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("xenith disk contents 1");
        hasher.update(&size.to_le_bytes());
        hasher.update(&self.to_bytes());
        let hex = hasher.finalize().to_hex();
        match self.kind() {
            DigestKind::Fast => format!("xxh3:{}", &hex[..32]),
            DigestKind::Strong => format!("blake3:{hex}"),
        }
    }
}

impl FromStr for DigestKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "fast" => Ok(Self::Fast),
            "strong" => Ok(Self::Strong),
            _ => Err(format!("{text:?} is neither fast nor strong")),
        }
    }
}

impl fmt::Debug for DiskDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskDigest({:?}, {} blocks)", self.kind(), self.blocks)
    }
}
