//! The tree over the leaves: building it out of order, and walking it.

use std::collections::{BTreeMap, HashMap};

use super::{Children, encode_inner, parse_inner};
use crate::chunk::leaf_count;
use crate::error::{BackupError, Result};
use crate::id::ChunkId;

/// Children of an inner page: 4 GiB of disk for the lowest ones. Part of the format.
pub const FANOUT: u64 = 256;

/// How many pages a disk of some size has on each level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Number of leaves, then of inner pages per level up to the one root.
    counts: Vec<u64>,
}

impl Shape {
    #[must_use]
    pub fn of(size: u64) -> Self {
        let mut counts = vec![leaf_count(size)];
        loop {
            let below = counts[counts.len() - 1];
            let here = below.div_ceil(FANOUT);
            counts.push(here);
            if here <= 1 {
                return Self { counts };
            }
        }
    }

    #[must_use]
    pub fn leaves(&self) -> u64 {
        self.counts[0]
    }

    /// Pages right above the leaves.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        self.counts[1]
    }

    /// The level of the root; leaves are level 0.
    #[must_use]
    pub fn height(&self) -> usize {
        self.counts.len() - 1
    }

    /// How many children page `number` of `level` has.
    #[must_use]
    pub fn children(&self, level: usize, number: u64) -> usize {
        self.counts[level - 1].saturating_sub(number * FANOUT).min(FANOUT) as usize
    }
}

#[derive(Debug)]
struct OpenNode {
    children: Children,
    waiting: usize,
}

/// Collects leaves in any order. Holds only nodes that wait for leaves, and one id per finished node.
#[derive(Debug)]
pub struct TreeBuilder {
    shape: Shape,
    open: HashMap<u64, OpenNode>,
    nodes: BTreeMap<u64, ChunkId>,
}

impl TreeBuilder {
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { shape, open: HashMap::new(), nodes: BTreeMap::new() }
    }

    /// Starts a node that gets `waiting` leaves; its other children are as given.
    pub fn begin(&mut self, node: u64, children: Children, waiting: usize) {
        debug_assert_eq!(children.len(), self.shape.children(1, node));
        self.open.insert(node, OpenNode { children, waiting });
    }

    /// Sets a leaf; gives the node's children when it was the last one waited for.
    pub fn set_leaf(&mut self, leaf: u64, id: Option<ChunkId>) -> Option<(u64, Children)> {
        let node = leaf / FANOUT;
        let open = self.open.get_mut(&node).expect("leaves are set in nodes that were begun");
        open.children[(leaf % FANOUT) as usize] = id;
        open.waiting -= 1;
        if open.waiting > 0 {
            return None;
        }
        self.open.remove(&node).map(|done| (node, done.children))
    }

    pub fn set_node(&mut self, node: u64, id: Option<ChunkId>) {
        if let Some(id) = id {
            self.nodes.insert(node, id);
        }
    }

    /// Writes the levels above the nodes; gives the root, `None` for a disk of zeros.
    pub fn finish(self, mut write: impl FnMut(&[u8]) -> Result<ChunkId>) -> Result<Option<ChunkId>> {
        debug_assert!(self.open.is_empty());
        let mut below = self.nodes;
        for level in 2..=self.shape.height() {
            let mut here = BTreeMap::new();
            let numbers: std::collections::BTreeSet<u64> = below.keys().map(|n| n / FANOUT).collect();
            for number in numbers {
                let count = self.shape.children(level, number) as u64;
                let children: Children =
                    (0..count).map(|i| below.get(&(number * FANOUT + i)).copied()).collect();
                here.insert(number, write(&encode_inner(&children))?);
            }
            below = here;
        }
        Ok(below.get(&0).copied())
    }
}

/// Gets a page's bytes by id.
pub type Fetch<'a> = &'a (dyn Fn(&ChunkId) -> Result<Vec<u8>> + Sync);

/// Walks a tree. Keeps the path it used last: neighbours cost nothing.
pub struct TreeReader<'a> {
    shape: Shape,
    root: Option<ChunkId>,
    fetch: Fetch<'a>,
    path: Vec<Option<(ChunkId, Children)>>,
}

impl<'a> TreeReader<'a> {
    #[must_use]
    pub fn new(size: u64, root: Option<ChunkId>, fetch: Fetch<'a>) -> Self {
        let shape = Shape::of(size);
        let path = vec![None; shape.height() + 1];
        Self { shape, root, fetch, path }
    }

    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The id and children of the node above leaves `node * 256 ..`; `None` where all is zero.
    pub fn node(&mut self, node: u64) -> Result<Option<(ChunkId, &Children)>> {
        let Some(mut id) = self.root else { return Ok(None) };
        for level in (1..=self.shape.height()).rev() {
            let span = FANOUT.pow(level as u32 - 1);
            let number = node / span;
            self.load(level, number, id)?;
            if level == 1 {
                break;
            }
            let next = node / (span / FANOUT) % FANOUT;
            let children = &self.path[level].as_ref().expect("loaded above").1;
            match children.get(next as usize).copied().flatten() {
                Some(child) => id = child,
                None => return Ok(None),
            }
        }
        Ok(self.path[1].as_ref().map(|(id, children)| (*id, children)))
    }

    fn load(&mut self, level: usize, number: u64, id: ChunkId) -> Result<()> {
        if self.path[level].as_ref().is_some_and(|(known, _)| *known == id) {
            return Ok(());
        }
        let bytes = (self.fetch)(&id)?;
        let count = self.shape.children(level, number);
        let children = parse_inner(&bytes, count)
            .map_err(|detail| BackupError::damaged(format!("map page {id}"), detail))?;
        self.path[level] = Some((id, children));
        Ok(())
    }

    /// The id of leaf `number`.
    pub fn leaf(&mut self, number: u64) -> Result<Option<ChunkId>> {
        let node = self.node(number / FANOUT)?;
        Ok(node.and_then(|(_, children)| children.get((number % FANOUT) as usize).copied().flatten()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::LEAF_BYTES;
    use std::sync::Mutex;

    #[test]
    fn shapes() {
        for (size, leaves, nodes, height) in [
            (0, 0, 0, 1),
            (1, 1, 1, 1),
            (4 << 30, 256, 1, 1),
            ((4 << 30) + 512, 257, 2, 2),
            (1 << 44, 1 << 20, 4096, 3),
        ] {
            let shape = Shape::of(size);
            assert_eq!((shape.leaves(), shape.nodes(), shape.height()), (leaves, nodes, height), "{size}");
        }
    }

    #[test]
    fn what_is_built_is_read() {
        let pages: Mutex<HashMap<ChunkId, Vec<u8>>> = Mutex::default();
        let keys = crate::id::IdKeys::new(&crate::crypto::Secret32::random());
        let write = |page: &[u8]| {
            let id = keys.page(page);
            pages.lock().unwrap().insert(id, page.to_vec());
            Ok(id)
        };
        let leaves = FANOUT * FANOUT + 700;
        let size = leaves * LEAF_BYTES;
        let mut tree = TreeBuilder::new(Shape::of(size));
        let some = |leaf: u64| ChunkId([leaf as u8 + 1; 32]);
        for leaf in [3, 700, leaves - 1] {
            let node = leaf / FANOUT;
            tree.begin(node, vec![None; Shape::of(size).children(1, node)], 1);
            let (number, children) = tree.set_leaf(leaf, Some(some(leaf))).unwrap();
            tree.set_node(number, Some(write(&encode_inner(&children)).unwrap()));
        }
        let root = tree.finish(write).unwrap();
        let fetch = |id: &ChunkId| Ok(pages.lock().unwrap()[id].clone());
        let mut reader = TreeReader::new(size, root, &fetch);
        for leaf in [0, 3, 4, 700, 701, 70_000 % leaves, leaves - 1] {
            let expected = [3, 700, leaves - 1].contains(&leaf).then(|| some(leaf));
            assert_eq!(reader.leaf(leaf).unwrap(), expected, "{leaf}");
        }
    }
}
