//! Does the index say of each pack what the pack says itself?
//!
//! The index is sorted by chunk and a footer by offset, so both are summed up: for each pack the hashes of what is said of
//! its frames are added. The key of the hash is made for each check, so that nobody can have made false entries whose sum
//! is right. Memory: 16 bytes a pack. A false entry is worse than a missing one: whoever backs up next believes that a
//! chunk is there, and does not store it.

use crate::crypto::Secret32;
use crate::error::Result;
use crate::format::FrameRecord;
use crate::index::{Index, IndexEntry};

/// What the index says of each pack.
pub struct Sums {
    key: Secret32,
    of: Vec<u128>,
}

fn hash(key: &Secret32, entry: IndexEntry) -> u128 {
    let hash = blake3::keyed_hash(key.expose(), &entry.in_pack(0).encode());
    u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

impl Sums {
    pub fn of(index: &Index) -> Result<Self> {
        let key = Secret32::random();
        let mut of = vec![0_u128; index.packs().len()];
        index.table().groups(|_, entries| {
            for entry in entries {
                let sum = &mut of[entry.pack as usize];
                *sum = sum.wrapping_add(hash(&key, *entry));
            }
        })?;
        Ok(Self { key, of })
    }

    /// Whether it says of pack `row` just that it has `frames`.
    pub fn agrees(&self, row: usize, frames: &[(u64, FrameRecord)]) -> bool {
        let said = frames.iter().map(|(offset, record)| hash(&self.key, IndexEntry::of(0, *offset, record)));
        self.of[row] == said.fold(0, u128::wrapping_add)
    }
}
