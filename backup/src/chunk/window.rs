//! A moving view of one leaf: reads what the cutter asks for, once, and knows what is zero without reading.
//!
//! What was let go of stays in the buffer until its place is needed: then what is left, as a rule a part of one chunk, is
//! moved to the front. Moving it as soon as half of the buffer is spent would copy every byte of the disk once more.

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
///
/// ```text
/// buf:  [ spent: blocks before `start`, still right | what means something | room ]
///        0                                    head ^               filled ^
/// ```
pub struct LeafWindow<'a> {
    source: &'a dyn BlockSource,
    offset: u64,
    blocks: u32,
    /// Known zero without reading: `start..end`, in order, apart.
    zeros: Vec<(u32, u32)>,
    ahead: ReadAhead<'a>,
    /// Only grows, so that what a read fills is not filled with zeros before.
    buf: Vec<u8>,
    /// Where in the buffer block `start` lies.
    head: usize,
    /// Where in the buffer what means something ends.
    filled: usize,
    /// Everything before this block is let go of.
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
        Self { source, offset, blocks, zeros, ahead, buf, head: 0, filled: 0, start: 0, bytes_read: 0 }
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
        self.start + ((self.filled - self.head) / BLOCK) as u32
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
        let more = blocks as usize * BLOCK;
        if self.head > 0 && self.filled + more > self.buf.len() {
            self.buf.copy_within(self.head..self.filled, 0);
            self.filled -= self.head;
            self.head = 0;
        }
        let old = self.filled;
        self.filled += more;
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
        Ok(self.slice(number, number + 1))
    }

    /// The bytes of blocks `from..to`, which must be present.
    #[must_use]
    pub fn slice(&self, from: u32, to: u32) -> &[u8] {
        let at = self.head + (from - self.start) as usize * BLOCK;
        &self.buf[at..at + (to - from) as usize * BLOCK]
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

    /// Makes `block`, which may have been let go of, the start again: without reading where it still lies in the buffer.
    pub fn rewind(&mut self, block: u32) {
        if block >= self.start {
            return;
        }
        match self.head.checked_sub((self.start - block) as usize * BLOCK) {
            Some(head) => self.head = head,
            None => self.clear(),
        }
        self.start = block;
    }

    /// Forgets what lies before `block`.
    pub fn discard_before(&mut self, block: u32) {
        if block >= self.buffered_end() {
            self.clear();
        } else if block > self.start {
            self.head += (block - self.start) as usize * BLOCK;
        }
        self.start = self.start.max(block);
    }

    /// Nothing in the buffer means anything any more.
    fn clear(&mut self) {
        (self.head, self.filled) = (0, 0);
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

#[cfg(test)]
mod tests {
    use xenith_common_block::MemorySource;

    use super::*;

    const BLOCKS: u32 = 64;

    /// Each block says which one it is.
    fn disk() -> MemorySource {
        MemorySource::new((0..BLOCKS).flat_map(|block| vec![block as u8 + 1; BLOCK]).collect())
    }

    fn shows(window: &LeafWindow<'_>, from: u32, to: u32) -> bool {
        let bytes = window.slice(from, to);
        bytes.len() == (to - from) as usize * BLOCK
            && bytes.chunks(BLOCK).zip(from..).all(|(block, number)| block == [number as u8 + 1; BLOCK])
    }

    #[test]
    fn it_shows_what_is_there_however_it_moves() {
        let disk = disk();
        let mut window = LeafWindow::new(&disk, 0, Vec::new(), ReadAhead::Blocks(16), Vec::new());
        let mut at = 0;
        for step in [1, 3, 12, 1, 15, 2, 16, 9] {
            window.need((at + step).min(BLOCKS)).unwrap();
            assert!(shows(&window, at, (at + step).min(BLOCKS)), "{at} and {step}");
            at = (at + step).min(BLOCKS);
            window.discard_before(at);
        }
        assert_eq!(window.bytes_read(), u64::from(at.next_multiple_of(16)) * BLOCK as u64, "each block once");
        assert!(window.into_buf().len() < 40 * BLOCK, "the buffer grows with what is needed at once");
    }

    #[test]
    fn what_was_let_go_of_is_read_again_only_where_its_place_was_taken() {
        let disk = disk();
        let mut window = LeafWindow::new(&disk, 0, Vec::new(), ReadAhead::Blocks(16), Vec::new());
        window.need(16).unwrap();
        window.discard_before(12);
        window.rewind(5);
        window.need(16).unwrap();
        assert!(shows(&window, 5, 16));
        assert_eq!(window.bytes_read(), 16 * BLOCK as u64, "it was still there");
        window.discard_before(12);
        window.need(20).unwrap();
        assert!(shows(&window, 12, 20));
        window.rewind(5);
        window.need(20).unwrap();
        assert!(shows(&window, 5, 20));
        assert!(window.bytes_read() > 32 * BLOCK as u64, "its place was taken");
    }

    #[test]
    fn known_zeros_are_not_read() {
        let mut bytes = vec![9; BLOCKS as usize * BLOCK];
        bytes[8 * BLOCK..40 * BLOCK].fill(0);
        let disk = MemorySource::new(bytes);
        let mut window = LeafWindow::new(&disk, 0, vec![(8, 40)], ReadAhead::Blocks(16), Vec::new());
        window.need(4).unwrap();
        assert_eq!(window.zero_until(8).unwrap(), 40);
        assert!(window.block(40).unwrap() == [9; BLOCK]);
        assert_eq!(window.bytes_read(), (8 + 16) * BLOCK as u64);
    }
}
