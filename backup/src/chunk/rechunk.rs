//! Cutting again only around changes.

use xenith_common_block::{BlockError, BlockSource};

use super::{BLOCK, Cutter, LeafWindow, Piece, ReadAhead};
use crate::map::{Entry, Leaf};

/// What becomes of the pieces.
pub trait PieceSink {
    /// Names and keeps a data piece.
    fn data(&mut self, bytes: &[u8]) -> crate::error::Result<crate::id::ChunkId>;
}

/// The base's leaf and the blocks (`start..end`, in order, apart) that may differ from it.
#[derive(Debug, Clone, Copy)]
pub struct Changes<'a> {
    pub base: &'a Leaf,
    pub blocks: &'a [(u32, u32)],
}

/// Cuts a whole leaf.
pub fn chunk(
    cutter: &Cutter,
    window: &mut LeafWindow<'_>,
    sink: &mut dyn PieceSink,
) -> crate::error::Result<Leaf> {
    let mut leaf = Leaf::default();
    let mut at = 0;
    while at < window.blocks() {
        at = emit(cutter, window, sink, (at, &mut leaf))?;
    }
    Ok(leaf)
}

fn emit(
    cutter: &Cutter,
    window: &mut LeafWindow<'_>,
    sink: &mut dyn PieceSink,
    (at, leaf): (u32, &mut Leaf),
) -> crate::error::Result<u32> {
    let (piece, end) = cutter.next(window, at)?;
    match piece {
        Piece::Zero => leaf.push(end - at, Entry::Zero),
        Piece::Data => {
            let id = sink.data(window.slice(at, end))?;
            leaf.push(end - at, Entry::Chunk(id));
        }
    }
    window.discard_before(end);
    Ok(end)
}

/// Cuts leaf `number` of `source` where it may differ from its base and takes the rest over unread. Returns
/// the leaf, the bytes read, and the scratch buffer.
pub fn rechunk(
    cutter: &Cutter,
    source: &dyn BlockSource,
    number: u64,
    changes: Changes<'_>,
    (sink, buf): (&mut dyn PieceSink, Vec<u8>),
) -> crate::error::Result<(Leaf, u64, Vec<u8>)> {
    let cuts: Vec<u32> = changes.base.ends().collect();
    let zeros = known_zeros(changes);
    let mut window = LeafWindow::new(source, number, zeros, ReadAhead::Until(&cuts), buf);
    let mut leaf = Leaf::default();
    let mut probes = 0;
    let mut at = 0;
    let mut old = changes.base.iter().peekable();
    for &(changed_start, changed_end) in changes.blocks {
        if changed_end <= at {
            continue;
        }
        let first = {
            let mut probe = |block: u32| {
                probes += 1;
                is_zero_block(source, number, block)
            };
            first_affected(changes.base, cutter.look_ahead(), (at, changed_start), &mut probe)?
        };
        while let Some((start, blocks, entry)) = old.next_if(|&(start, _, _)| start < first) {
            if start >= at {
                leaf.push(blocks, entry);
                at = start + blocks;
            }
        }
        // Cut until beyond the change and in step with the old cuts again.
        while at < window.blocks() && (at < changed_end || cuts.binary_search(&at).is_err()) {
            at = emit(cutter, &mut window, sink, (at, &mut leaf))?;
        }
        while old.next_if(|&(start, _, _)| start < at).is_some() {}
    }
    for (start, blocks, entry) in old.filter(|&(start, _, _)| start >= at) {
        debug_assert!(start >= at);
        leaf.push(blocks, entry);
    }
    let read = window.bytes_read() + probes * BLOCK as u64;
    Ok((leaf, read, window.into_buf()))
}

/// The base's zero pieces, less what may have changed.
fn known_zeros(changes: Changes<'_>) -> Vec<(u32, u32)> {
    let mut zeros = Vec::new();
    for (start, blocks, entry) in changes.base.iter() {
        if entry != Entry::Zero {
            continue;
        }
        let end = start + blocks;
        let mut at = start;
        let from = changes.blocks.partition_point(|&(_, changed_end)| changed_end <= start);
        for &(changed_start, changed_end) in changes.blocks[from..].iter().take_while(|c| c.0 < end) {
            if changed_start > at {
                zeros.push((at, changed_start));
            }
            at = at.max(changed_end);
        }
        if at < end {
            zeros.push((at, end));
        }
    }
    zeros
}

fn is_zero_block(source: &dyn BlockSource, number: u64, block: u32) -> Result<bool, BlockError> {
    let offset = number * super::LEAF_BYTES + u64::from(block) * BLOCK as u64;
    let mut bytes = [0; BLOCK];
    let len = (source.size() - offset).min(BLOCK as u64) as usize;
    source.read_at(offset, &mut bytes[..len])?;
    Ok(bytes == [0; BLOCK])
}

/// Where cutting must start for a change at `changed`: the start of the piece it lies in, or of an earlier
/// one whose end was, or would now be, decided by looking ahead into the change. Never before `floor`.
fn first_affected(
    base: &Leaf,
    look_ahead: u32,
    (floor, changed): (u32, u32),
    is_zero: &mut dyn FnMut(u32) -> Result<bool, BlockError>,
) -> Result<u32, BlockError> {
    let pieces: Vec<(u32, u32, Entry)> = base.iter().take_while(|&(start, _, _)| start <= changed).collect();
    let mut at = pieces.len();
    let mut first = changed;
    while let Some(&(start, _, entry)) = at.checked_sub(1).and_then(|i| pieces.get(i)) {
        at -= 1;
        first = start;
        if start <= floor {
            return Ok(floor);
        }
        if changed >= start + look_ahead {
            break;
        }
        let before = pieces.get(at.wrapping_sub(1)).map(|piece| piece.2);
        let may_move = match (before, entry) {
            (None, _) => false,
            (Some(Entry::Zero), _) | (_, Entry::Zero) => true,
            _ => is_zero(start - 1)?,
        };
        if !may_move {
            break;
        }
    }
    Ok(first)
}
