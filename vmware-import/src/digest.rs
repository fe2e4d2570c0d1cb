//! A digest of a disk's contents that does not depend on the order in which they come.
//!
//! What is hashed: each 64 KiB block that is not all zero, with its number. The block digests are summed
//! (LtHash: 1024 lanes of 16 bits, each block expanded to 2 KiB by BLAKE3), so that
//! * grains may come in any order and from several threads,
//! * zeros cost nothing, and a sparse and a full copy of a disk have one digest,
//! * the state is 2 KiB whatever the size of the disk: a journal can hold it.
//!
//! Rejected: BLAKE3 or SHA-256 over the whole disk, which needs the order and the zeros (still there as
//! `--hash`, for comparing with other tools); a list of block hashes, 512 MiB for a disk of 1 TiB; a plain sum or
//! XOR of short hashes, where colliding sets can be found.

use std::fmt;

/// Blocks start at multiples of this; the last one of a disk may be short.
pub const DIGEST_BLOCK: u64 = 64 * 1024;
const LANES: usize = 1024;

#[derive(Clone, PartialEq, Eq)]
pub struct DiskDigest {
    lanes: Box<[u16; LANES]>,
    /// Blocks that were not all zero.
    pub blocks: u64,
}

impl Default for DiskDigest {
    fn default() -> Self {
        Self { lanes: Box::new([0; LANES]), blocks: 0 }
    }
}

impl DiskDigest {
    /// Adds the block at byte `offset`, which is a multiple of [`DIGEST_BLOCK`].
    pub fn add(&mut self, offset: u64, block: &[u8]) {
        let content = blake3::hash(block);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(offset / DIGEST_BLOCK).to_le_bytes());
        hasher.update(content.as_bytes());
        let mut wide = [0; LANES * 2];
        hasher.finalize_xof().fill(&mut wide);
        for (lane, bytes) in self.lanes.iter_mut().zip(wide.chunks_exact(2)) {
            *lane = lane.wrapping_add(u16::from_le_bytes([bytes[0], bytes[1]]));
        }
        self.blocks += 1;
    }

    /// Adds what another thread saw of the same disk.
    pub fn merge(&mut self, other: &Self) {
        for (lane, more) in self.lanes.iter_mut().zip(other.lanes.iter()) {
            *lane = lane.wrapping_add(*more);
        }
        self.blocks += other.blocks;
    }

    /// For the journal.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let lanes = self.lanes.iter().flat_map(|lane| lane.to_le_bytes());
        lanes.chain(self.blocks.to_le_bytes()).collect()
    }

    /// What [`Self::to_bytes`] gave; `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (lanes, blocks) = bytes.split_at_checked(LANES * 2)?;
        let mut digest = Self { blocks: u64::from_le_bytes(blocks.try_into().ok()?), ..Self::default() };
        for (lane, bytes) in digest.lanes.iter_mut().zip(lanes.chunks_exact(2)) {
            *lane = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
        Some(digest)
    }

    /// The digest of a disk of `size` bytes: 64 hex digits.
    #[must_use]
    pub fn finish(&self, size: u64) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("xenith disk contents 1");
        hasher.update(&size.to_le_bytes());
        hasher.update(&self.to_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

impl fmt::Debug for DiskDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskDigest({} blocks)", self.blocks)
    }
}
