//! What there is to do for a disk: which leaves to cut, whole or around changes, and which to take over.

use std::collections::VecDeque;

use xenith_common_block::{BlockSource, ByteRange, ExtentKind, RangeSet};

use crate::chunk::{BLOCK, LEAF_BYTES, leaf_blocks};
use crate::error::Result;
use crate::id::ChunkId;
use crate::map::{FANOUT, Shape, TreeBuilder, TreeReader};

/// A leaf to cut.
#[derive(Debug)]
pub struct LeafTask {
    pub number: u64,
    pub how: How,
}

#[derive(Debug)]
pub enum How {
    /// Read all of it but these blocks, which are zero.
    Whole { zeros: Vec<(u32, u32)> },
    /// Read around these blocks; the rest is as in the base's leaf (`None`: zeros).
    Around { base: Option<ChunkId>, blocks: Vec<(u32, u32)> },
}

/// A disk's newest backup and what changed since.
pub struct Base<'a> {
    pub size: u64,
    pub tree: TreeReader<'a>,
    pub changed: RangeSet,
}

impl Base<'_> {
    /// Adds to the changes what a change of the disk's size makes unknown.
    fn grow(&mut self, size: u64) {
        if self.size != size {
            let from = self.size.min(size);
            self.changed.insert(ByteRange::new(from - from % LEAF_BYTES, size));
        }
    }
}

/// Hands out leaves in order, node by node. Holds the tasks of one node at a time.
pub struct Tasks<'a> {
    source: &'a dyn BlockSource,
    shape: Shape,
    base: Option<Base<'a>>,
    node: u64,
    queue: VecDeque<LeafTask>,
}

impl<'a> Tasks<'a> {
    #[must_use]
    pub fn new(source: &'a dyn BlockSource, mut base: Option<Base<'a>>) -> Self {
        if let Some(base) = &mut base {
            base.grow(source.size());
        }
        Self { source, shape: Shape::of(source.size()), base, node: 0, queue: VecDeque::new() }
    }

    /// The next leaf to cut. Nodes without work are settled in `tree` on the way; `settled` is told the bytes
    /// of disk that need no work.
    pub fn next(&mut self, tree: &mut TreeBuilder, settled: &mut dyn FnMut(u64)) -> Result<Option<LeafTask>> {
        loop {
            if let Some(task) = self.queue.pop_front() {
                return Ok(Some(task));
            }
            if self.node == self.shape.nodes() {
                return Ok(None);
            }
            let node = self.node;
            self.node += 1;
            self.fill(node, tree)?;
            let span = self.span(node);
            let work: u64 = self.queue.iter().map(|task| self.leaf_range(task.number).len()).sum();
            settled(span.len() - work);
        }
    }

    fn span(&self, node: u64) -> ByteRange {
        let start = node * FANOUT * LEAF_BYTES;
        ByteRange::new(start, (start + FANOUT * LEAF_BYTES).min(self.source.size()))
    }

    fn leaf_range(&self, number: u64) -> ByteRange {
        let start = number * LEAF_BYTES;
        ByteRange::new(start, (start + LEAF_BYTES).min(self.source.size()))
    }

    fn fill(&mut self, node: u64, tree: &mut TreeBuilder) -> Result<()> {
        if self.base.is_some() { self.fill_from_base(node, tree) } else { self.fill_whole(node, tree) }
    }

    fn fill_whole(&mut self, node: u64, tree: &mut TreeBuilder) -> Result<()> {
        let span = self.span(node);
        let extents = self.source.extents(span)?;
        let count = self.shape.children(1, node);
        let mut numbers: Vec<u64> = Vec::new();
        for extent in extents.iter().filter(|extent| extent.kind == ExtentKind::Data) {
            let (first, after) = (extent.range.start / LEAF_BYTES, extent.range.end.div_ceil(LEAF_BYTES));
            let from = numbers.last().map_or(first, |last| first.max(last + 1));
            numbers.extend(from..after);
        }
        let size = self.source.size();
        self.queue.extend(numbers.into_iter().map(|number| LeafTask {
            number,
            how: How::Whole { zeros: crate::chunk::zeros_in(&extents, number, size) },
        }));
        if !self.queue.is_empty() {
            tree.begin(node, vec![None; count], self.queue.len());
        }
        Ok(())
    }

    fn fill_from_base(&mut self, node: u64, tree: &mut TreeBuilder) -> Result<()> {
        let span = self.span(node);
        let size = self.source.size();
        let count = self.shape.children(1, node);
        let base = self.base.as_mut().expect("called with a base");
        let in_base = node < base.tree.shape().nodes();
        let same_shape = in_base && base.tree.shape().children(1, node) == count;
        let known = if in_base { base.tree.node(node)? } else { None };
        let (old_id, mut children) =
            known.map_or_else(|| (None, Vec::new()), |(id, children)| (Some(id), children.clone()));
        children.resize(count, None);
        if same_shape && base.changed.within(span).next().is_none() {
            tree.set_node(node, old_id);
            return Ok(());
        }
        for index in 0..count as u64 {
            let number = node * FANOUT + index;
            let leaf = ByteRange::new(number * LEAF_BYTES, ((number + 1) * LEAF_BYTES).min(size));
            let blocks: Vec<(u32, u32)> = changed_blocks(&base.changed, leaf);
            if blocks.is_empty() {
                continue;
            }
            let how = if leaf_blocks(base.size, number) == leaf_blocks(size, number) && base.size >= leaf.end
            {
                How::Around { base: children[index as usize], blocks }
            } else {
                How::Whole { zeros: crate::chunk::zeros_of(self.source, number)? }
            };
            self.queue.push_back(LeafTask { number, how });
        }
        if self.queue.is_empty() {
            // Only the shape differs: write the node with the children that are left.
            self.queue.push_back(LeafTask {
                number: node * FANOUT,
                how: How::Around { base: children[0], blocks: Vec::new() },
            });
        }
        tree.begin(node, children, self.queue.len());
        Ok(())
    }
}

/// The changed parts of a leaf in whole blocks.
fn changed_blocks(changed: &RangeSet, leaf: ByteRange) -> Vec<(u32, u32)> {
    let mut blocks: Vec<(u32, u32)> = Vec::new();
    for range in changed.within(leaf) {
        let start = ((range.start - leaf.start) / BLOCK as u64) as u32;
        let end = (range.end - leaf.start).div_ceil(BLOCK as u64) as u32;
        match blocks.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => blocks.push((start, end)),
        }
    }
    blocks
}
