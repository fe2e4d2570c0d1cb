//! Extents whose bytes lie as they are: FLAT, VMFS, raw images. Holes of the file stay holes.

use std::sync::Arc;

use xenith_common_block::ByteRange;

use super::runs::{Place, Runs};
use crate::bytes::{ByteSource, check};
use crate::error::Result;

pub struct FlatExtent {
    pub bytes: Arc<dyn ByteSource>,
    offset: u64,
    index: u32,
}

impl FlatExtent {
    /// `len` bytes from `offset` of `bytes`, which must be there.
    pub fn open(bytes: Arc<dyn ByteSource>, offset: u64, len: u64, index: u32) -> Result<Self> {
        check(&*bytes, "flat extent", offset, len)?;
        Ok(Self { bytes, offset, index })
    }

    pub fn runs(&self, range: ByteRange, shift: u64, out: &mut Runs) -> Result<u64> {
        let mut at = range.start;
        while at < range.end && !out.is_full() {
            let found = self.bytes.data_after(self.offset + at)?;
            let data = found.map_or(ByteRange::new(range.end, range.end), |f| {
                ByteRange::new(f.start.saturating_sub(self.offset), f.end - self.offset)
            });
            let start = data.start.clamp(at, range.end);
            out.push(ByteRange::new(at + shift, start + shift), Place::Hole);
            let end = data.end.min(range.end).min(start.saturating_add(out.data_left())).max(start);
            let place = Place::Raw { extent: self.index, at: self.offset + start };
            out.push(ByteRange::new(start + shift, end + shift), place);
            at = end;
        }
        Ok(at)
    }
}
