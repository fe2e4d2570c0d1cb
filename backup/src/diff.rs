//! What differs between two backups of a disk, without reading a chunk.

use xenith_common_block::{ByteRange, RangeSet};

use crate::chunk::{BLOCK, LEAF_BYTES};
use crate::error::Result;
use crate::map::{Entry, Leaf};
use crate::reader::BackupDisk;

/// Ranges whose pieces differ: everything outside reads the same on both. A shorter disk differs from where it
/// ends.
pub fn diff(a: &BackupDisk, b: &BackupDisk) -> Result<RangeSet> {
    use xenith_common_block::BlockSource;
    let (short, long) = (a.size().min(b.size()), a.size().max(b.size()));
    let mut ranges = RangeSet::new();
    for number in 0..short.div_ceil(LEAF_BYTES) {
        if a.leaf_id(number)? != b.leaf_id(number)? {
            let base = number * LEAF_BYTES;
            ranges.extend(diff_leaf(&*a.leaf(number)?, &*b.leaf(number)?).into_iter().map(|(start, end)| {
                let at = |block: u32| (base + u64::from(block) * BLOCK as u64).min(short);
                ByteRange::new(at(start), at(end))
            }));
        }
    }
    ranges.insert(ByteRange::new(short, long));
    Ok(ranges)
}

/// Block ranges where two leaves have different pieces.
fn diff_leaf(a: &Leaf, b: &Leaf) -> Vec<(u32, u32)> {
    let pieces = |leaf: &Leaf| -> Vec<(u32, u32, Entry)> { leaf.iter().collect() };
    let (a, b) = (pieces(a), pieces(b));
    let (mut i, mut j) = (0, 0);
    let mut different = Vec::new();
    while let (Some(&(a_start, a_len, a_entry)), Some(&(b_start, b_len, b_entry))) = (a.get(i), b.get(j)) {
        let (a_end, b_end) = (a_start + a_len, b_start + b_len);
        let same_chunk = a_entry == b_entry && (a_start, a_len) == (b_start, b_len);
        let both_zero = a_entry == Entry::Zero && b_entry == Entry::Zero;
        if !same_chunk && !both_zero {
            different.push((a_start.max(b_start), a_end.min(b_end)));
        }
        i += usize::from(a_end <= b_end);
        j += usize::from(b_end <= a_end);
    }
    different
}
