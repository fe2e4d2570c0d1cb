//! Maps: which chunk lies where on a disk, as a tree of content-addressed pages.
//!
//! A leaf page lists the pieces of 16 MiB; an inner page lists 256 children; a subtree of zeros has no page.
//! Pages are stored in packs as chunks are, under their own id key. What always holds: a page's id is the
//! keyed hash of its bytes, so two disks share every subtree that is alike, and an increment writes only pages
//! on the way to what changed. Parsing checks that a page covers just the blocks its place asks for.

mod tree;

use crate::chunk::{BLOCK, MAX_CHUNK_BLOCKS};
use crate::id::ChunkId;

pub use tree::{FANOUT, Shape, TreeBuilder, TreeReader};

const LEAF_VERSION: u8 = 1;
const INNER_VERSION: u8 = 2;
const ZERO_TAG: u8 = 0;
const CHUNK_TAG: u8 = 1;

/// What a piece holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Zero,
    Chunk(ChunkId),
}

/// The pieces of a leaf, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaf {
    pieces: Vec<(u16, Entry)>,
}

impl Leaf {
    /// Appends a piece of `blocks` blocks; zeros grow the zeros before them.
    pub fn push(&mut self, blocks: u32, entry: Entry) {
        debug_assert!(blocks > 0 && blocks <= crate::chunk::LEAF_BLOCKS);
        match self.pieces.last_mut() {
            Some((last, Entry::Zero)) if entry == Entry::Zero => *last += blocks as u16,
            _ => self.pieces.push((blocks as u16, entry)),
        }
    }

    /// `(first block, number of blocks, what)` in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, Entry)> + '_ {
        self.pieces.iter().scan(0, |at, &(blocks, entry)| {
            let start = *at;
            *at += u32::from(blocks);
            Some((start, u32::from(blocks), entry))
        })
    }

    /// The block after each piece.
    pub fn ends(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter().map(|(start, blocks, _)| start + blocks)
    }

    /// The ids of all chunks.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkId> + '_ {
        self.pieces.iter().filter_map(|(_, entry)| match entry {
            Entry::Chunk(id) => Some(*id),
            Entry::Zero => None,
        })
    }

    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.pieces.iter().all(|(_, entry)| *entry == Entry::Zero)
    }

    /// A leaf of zeros.
    #[must_use]
    pub fn zero(blocks: u32) -> Self {
        let mut leaf = Self::default();
        if blocks > 0 {
            leaf.push(blocks, Entry::Zero);
        }
        leaf
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.pieces.len() * 35);
        out.extend_from_slice(&[LEAF_VERSION, 0]);
        out.extend_from_slice(&(self.pieces.len() as u16).to_le_bytes());
        for (blocks, entry) in &self.pieces {
            out.extend_from_slice(&blocks.to_le_bytes());
            match entry {
                Entry::Zero => out.push(ZERO_TAG),
                Entry::Chunk(id) => {
                    out.push(CHUNK_TAG);
                    out.extend_from_slice(&id.0);
                }
            }
        }
        out
    }

    /// Reads a leaf that must cover just `blocks` blocks.
    pub fn parse(bytes: &[u8], blocks: u32) -> Result<Self, &'static str> {
        let (count, mut rest) = page_head(bytes, LEAF_VERSION)?;
        let mut leaf = Self::default();
        let mut covered = 0;
        for _ in 0..count {
            let [low, high, tag, tail @ ..] = rest else { return Err("the leaf is cut off") };
            let len = u16::from_le_bytes([*low, *high]);
            let (entry, tail) = match *tag {
                ZERO_TAG => (Entry::Zero, tail),
                CHUNK_TAG => {
                    let (id, tail) = tail.split_first_chunk().ok_or("the leaf is cut off")?;
                    (Entry::Chunk(ChunkId(*id)), tail)
                }
                _ => return Err("a piece has an unknown kind"),
            };
            covered += u32::from(len);
            let too_long = entry != Entry::Zero && u32::from(len) > MAX_CHUNK_BLOCKS;
            if len == 0 || too_long || covered > blocks {
                return Err("a piece has an impossible length");
            }
            leaf.pieces.push((len, entry));
            rest = tail;
        }
        if covered != blocks || !rest.is_empty() {
            return Err("the leaf does not cover its part of the disk");
        }
        Ok(leaf)
    }
}

/// Bytes that `blocks` blocks take.
#[must_use]
pub const fn block_bytes(blocks: u32) -> usize {
    blocks as usize * BLOCK
}

fn page_head(bytes: &[u8], version: u8) -> Result<(u16, &[u8]), &'static str> {
    match bytes {
        [found, 0, low, high, rest @ ..] if *found == version => {
            Ok((u16::from_le_bytes([*low, *high]), rest))
        }
        _ => Err("the page is of another kind"),
    }
}

/// Children of an inner page; `None` is a subtree of zeros.
pub type Children = Vec<Option<ChunkId>>;

/// The bytes of an inner page.
#[must_use]
pub fn encode_inner(children: &[Option<ChunkId>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + children.len() * 33);
    out.extend_from_slice(&[INNER_VERSION, 0]);
    out.extend_from_slice(&(children.len() as u16).to_le_bytes());
    for child in children {
        match child {
            None => out.push(ZERO_TAG),
            Some(id) => {
                out.push(CHUNK_TAG);
                out.extend_from_slice(&id.0);
            }
        }
    }
    out
}

/// Reads an inner page that must have just `count` children.
pub fn parse_inner(bytes: &[u8], count: usize) -> Result<Children, &'static str> {
    let (found, mut rest) = page_head(bytes, INNER_VERSION)?;
    if usize::from(found) != count {
        return Err("the page has another number of children");
    }
    let mut children = Vec::with_capacity(count);
    for _ in 0..count {
        match rest {
            [ZERO_TAG, tail @ ..] => {
                children.push(None);
                rest = tail;
            }
            [CHUNK_TAG, tail @ ..] => {
                let (id, tail) = tail.split_first_chunk().ok_or("the page is cut off")?;
                children.push(Some(ChunkId(*id)));
                rest = tail;
            }
            _ => return Err("the page is cut off"),
        }
    }
    if rest.is_empty() { Ok(children) } else { Err("the page is too long") }
}
