//! A moving view of one leaf: reads what the cutter asks for, once, and knows what is zero without reading.

use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent, ExtentKind};

use super::{BLOCK, LEAF_BYTES, leaf_blocks};

const ZERO: [u8; BLOCK] = [0; BLOCK];

/// How much is read when a block is asked for.
#[derive(Debug, Clone, Copy)]
pub enum ReadAhead<'a> {
    /// This many blocks: for reading the whole leaf.
    Blocks(u32),
    /// Up to the next of these block numbers: old cuts, for reading around changes.
    Until(&'a [u32]),
}

/// Blocks of leaf `number` of a source. Memory: the longest chunk plus the read-ahead, below 1.5 MiB.
pub struct LeafWindow<'a> {
    source: &'a dyn BlockSource,
    offset: u64,
    blocks: u32,
    /// Known zero without reading: `start..end`, in order, apart.
    zeros: Vec<(u32, u32)>,
    ahead: ReadAhead<'a>,
    /// Only grows, so that what a read fills is not filled with zeros before.
    buf: Vec<u8>,
    /// Bytes of the buffer that mean something.
    filled: usize,
    /// The buffer holds blocks from here on.
    start: u32,
    bytes_read: u64,
}

impl<'a> LeafWindow<'a> {
    /// `zeros` are block ranges known to be zero. `buf` is scratch space, taken over and given back by
    /// [`Self::into_buf`].
    #[must_use]
    pub fn new(
        source: &'a dyn BlockSource,
        number: u64,
        zeros: Vec<(u32, u32)>,
        ahead: ReadAhead<'a>,
        buf: Vec<u8>,
    ) -> Self {
        let (offset, blocks) = (number * LEAF_BYTES, leaf_blocks(source.size(), number));
        Self { source, offset, blocks, zeros, ahead, buf, filled: 0, start: 0, bytes_read: 0 }
    }

    #[must_use]
    pub fn into_buf(self) -> Vec<u8> {
        self.buf
    }

    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Bytes read from the source so far.
    #[must_use]
    pub const fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn buffered_end(&self) -> u32 {
        self.start + (self.filled / BLOCK) as u32
    }

    /// The end of the known zero range that holds `block`, if one does.
    fn known_zero(&self, block: u32) -> Option<u32> {
        let at = self.zeros.partition_point(|&(_, end)| end <= block);
        self.zeros.get(at).filter(|&&(start, _)| start <= block).map(|&(_, end)| end)
    }

    fn read_target(&self, block: u32) -> u32 {
        let target = match self.ahead {
            ReadAhead::Blocks(count) => block.saturating_add(count),
            ReadAhead::Until(cuts) => {
                let at = cuts.partition_point(|&cut| cut <= block);
                cuts.get(at).copied().unwrap_or(self.blocks).min(block + super::MAX_CHUNK_BLOCKS)
            }
        };
        target.min(self.blocks)
    }

    /// Makes blocks up to `end` present, from where the buffer ends.
    pub fn need(&mut self, end: u32) -> Result<(), BlockError> {
        while self.buffered_end() < end {
            let from = self.buffered_end();
            if let Some(zero_end) = self.known_zero(from) {
                let to = zero_end.min(end);
                self.grow(to - from).fill(0);
                continue;
            }
            let next_zero = self.zeros.get(self.zeros.partition_point(|&(_, end)| end <= from));
            let stop = next_zero.map_or(self.blocks, |&(start, _)| start);
            let to = self.read_target(from).max(end).min(stop);
            self.read(from, to)?;
        }
        Ok(())
    }

    /// Room for so many blocks more, with whatever was there.
    fn grow(&mut self, blocks: u32) -> &mut [u8] {
        let old = self.filled;
        self.filled += blocks as usize * BLOCK;
        if self.buf.len() < self.filled {
            self.buf.resize(self.filled, 0);
        }
        &mut self.buf[old..self.filled]
    }

    fn read(&mut self, from: u32, to: u32) -> Result<(), BlockError> {
        let (source, offset) = (self.source, self.offset + u64::from(from) * BLOCK as u64);
        // The disk may end within the last block; the rest of it counts as zeros.
        let len = ((to - from) as u64 * BLOCK as u64).min(source.size() - offset);
        let (data, rest) = self.grow(to - from).split_at_mut(len as usize);
        rest.fill(0);
        source.read_at(offset, data)?;
        self.bytes_read += len;
        Ok(())
    }

    /// Block `number`, which must not lie before what was discarded.
    pub fn block(&mut self, number: u32) -> Result<&[u8], BlockError> {
        self.need(number + 1)?;
        let at = (number - self.start) as usize * BLOCK;
        Ok(&self.buf[at..at + BLOCK])
    }

    /// The bytes of blocks `from..to`, which must be present.
    #[must_use]
    pub fn slice(&self, from: u32, to: u32) -> &[u8] {
        &self.buf[(from - self.start) as usize * BLOCK..(to - self.start) as usize * BLOCK]
    }

    fn is_zero(&mut self, number: u32) -> Result<bool, BlockError> {
        if self.known_zero(number).is_some() {
            return Ok(true);
        }
        Ok(self.block(number)? == ZERO)
    }

    /// Whether `count` blocks from `from` are zero and all lie in the leaf.
    pub fn is_zero_run(&mut self, from: u32, count: u32) -> Result<bool, BlockError> {
        if from + count > self.blocks {
            return Ok(false);
        }
        for number in from..from + count {
            if !self.is_zero(number)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The first block at or after `from` that is not zero. Lets go of everything before it.
    pub fn zero_until(&mut self, from: u32) -> Result<u32, BlockError> {
        let mut at = from;
        self.rewind(from);
        self.discard_before(from);
        while at < self.blocks {
            if let Some(end) = self.known_zero(at) {
                at = end.min(self.blocks);
                self.discard_before(at);
            } else if self.block(at)? == ZERO {
                at += 1;
                if self.buffered_end() == at {
                    self.discard_before(at);
                }
            } else {
                break;
            }
        }
        self.discard_before(at);
        Ok(at)
    }

    /// Makes `block`, which may have been let go of, the start again.
    pub fn rewind(&mut self, block: u32) {
        if block < self.start {
            self.filled = 0;
            self.start = block;
        }
    }

    /// Forgets what lies before `block`, so that the buffer may be refilled.
    pub fn discard_before(&mut self, block: u32) {
        if block >= self.buffered_end() {
            self.filled = 0;
        } else if block > self.start {
            // Moving the rest costs less than one more read: it is at most a chunk and its look-ahead, unless
            // much was read ahead; then wait until most of the buffer is spent.
            let spent = (block - self.start) as usize * BLOCK;
            if spent < self.filled / 2 {
                return;
            }
            self.buf.copy_within(spent..self.filled, 0);
            self.filled -= spent;
        }
        self.start = self.start.max(block);
    }
}

/// Block ranges of leaf `number` that `source` says read as zeros.
pub fn zeros_of(source: &dyn BlockSource, number: u64) -> Result<Vec<(u32, u32)>, BlockError> {
    let start = number * LEAF_BYTES;
    let end = (start + LEAF_BYTES).min(source.size());
    Ok(zeros_in(&source.extents(ByteRange::new(start, end))?, number, source.size()))
}

/// The same from extents that cover the leaf.
#[must_use]
pub fn zeros_in(extents: &[Extent], number: u64, size: u64) -> Vec<(u32, u32)> {
    let start = number * LEAF_BYTES;
    let leaf = ByteRange::new(start, (start + LEAF_BYTES).min(size));
    let mut zeros: Vec<(u32, u32)> = Vec::new();
    let mut at = 0;
    let mut push = |from: u32, to: u32| {
        if to > from {
            zeros.push((from, to));
        }
    };
    let first = extents.partition_point(|extent| extent.range.end <= leaf.start);
    for extent in extents[first..].iter().take_while(|extent| extent.range.start < leaf.end) {
        let Some(range) = extent.range.intersect(&leaf).filter(|_| extent.kind == ExtentKind::Data) else {
            continue;
        };
        push(at, ((range.start - start) / BLOCK as u64) as u32);
        at = (range.end - start).div_ceil(BLOCK as u64) as u32;
    }
    push(at, leaf_blocks(size, number));
    zeros
}
