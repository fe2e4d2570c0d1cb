//! A VHD with its ancestors as one disk.

use std::sync::Arc;

use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent, ExtentKind, RangeSet};

use super::Vhd;

const SECTOR: u64 = 512;

/// Reads through the youngest VHD down to the oldest.
pub struct Chain {
    /// Youngest first, at least one.
    layers: Vec<Arc<Vhd>>,
}

impl Chain {
    /// `layers` from the youngest to the one without a parent, of one size and block size.
    pub fn new(layers: Vec<Arc<Vhd>>) -> Result<Self, BlockError> {
        let corrupt = |target: &str, detail: &str| BlockError::Corrupt {
            target: target.to_owned(),
            detail: detail.to_owned(),
        };
        let Some(first) = layers.first() else {
            return Err(corrupt("a chain of VHDs", "it has no member"));
        };
        for pair in layers.windows(2) {
            if pair[0].parent() != Some(pair[1].uuid()) {
                return Err(corrupt(pair[0].name(), "its parent is another VHD"));
            }
            if pair[1].block_size() != first.block_size() || pair[1].size() > first.size() {
                return Err(corrupt(pair[1].name(), "it has other blocks or is larger than its child"));
            }
        }
        if layers.last().is_some_and(|last| last.parent().is_some()) {
            return Err(corrupt(first.name(), "its chain has no beginning"));
        }
        Ok(Self { layers })
    }

    /// What the youngest VHD holds: everything that differs from its parent, and perhaps more.
    #[must_use]
    pub fn changed(&self) -> RangeSet {
        let top = &self.layers[0];
        let mut changed = RangeSet::new();
        for number in (0..top.blocks()).filter(|&number| top.has(number)) {
            let start = number * top.block_size();
            changed.insert(ByteRange::new(start, (start + top.block_size()).min(top.size())));
        }
        changed
    }

    /// The parent's id, of the youngest.
    #[must_use]
    pub fn parent(&self) -> Option<[u8; 16]> {
        self.layers[0].parent()
    }

    /// Reads `buf` at `offset` inside block `number`, from the layers on.
    fn read_block(&self, number: u64, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        buf.fill(0);
        // Byte ranges of `buf` that no layer has had yet.
        let mut open = vec![(0u64, buf.len() as u64)];
        for layer in self.layers.iter().filter(|layer| number < layer.blocks() && layer.has(number)) {
            let bits = layer.bitmap(number)?;
            let set = |sector: u64| bits[(sector / 8) as usize] & (0x80 >> (sector % 8)) != 0;
            let mut left = Vec::new();
            for (from, to) in open {
                let mut at = from;
                while at < to {
                    let here = set((offset + at) / SECTOR);
                    let mut end = at;
                    while end < to && set((offset + end) / SECTOR) == here {
                        end = ((offset + end) / SECTOR * SECTOR + SECTOR - offset).min(to);
                    }
                    if here {
                        layer.read(number, offset + at, &mut buf[at as usize..end as usize])?;
                    } else {
                        left.push((at, end));
                    }
                    at = end;
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            open = left;
        }
        Ok(())
    }
}

impl BlockSource for Chain {
    fn size(&self) -> u64 {
        self.layers[0].size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size())?;
        let block = self.layers[0].block_size();
        let (mut at, end) = (offset, offset + buf.len() as u64);
        while at < end {
            let stop = ((at / block + 1) * block).min(end);
            let slot = &mut buf[(at - offset) as usize..(stop - offset) as usize];
            self.read_block(at / block, at % block, slot)?;
            at = stop;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size())?;
        let block = self.layers[0].block_size();
        let mut extents = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let number = at / block;
            let stop = ((number + 1) * block).min(range.end);
            let here = self.layers.iter().any(|layer| number < layer.blocks() && layer.has(number));
            let kind = if here { ExtentKind::Data } else { ExtentKind::Unallocated };
            Extent::push_merged(&mut extents, ByteRange::new(at, stop), kind);
            at = stop;
        }
        Ok(extents)
    }
}
