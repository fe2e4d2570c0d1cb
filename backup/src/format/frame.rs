//! Frame records: what the footer says about each frame.

use crate::id::ChunkId;

/// Bytes of a record in a footer.
pub const RECORD_LEN: usize = 44;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A piece of a disk.
    Chunk = 1,
    /// A page of a disk's map.
    Page = 2,
    /// Part of an object that is no pack.
    Part = 3,
}

impl FrameKind {
    #[must_use]
    pub const fn parse(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Chunk),
            2 => Some(Self::Page),
            3 => Some(Self::Part),
            _ => None,
        }
    }
}

/// How a frame's plain bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    Raw = 0,
    Zstd = 1,
}

impl Codec {
    #[must_use]
    pub const fn parse(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A frame as its footer records it. Lengths are bytes; `stored` counts the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRecord {
    pub id: ChunkId,
    pub kind: FrameKind,
    pub codec: Codec,
    pub stored: u32,
    pub raw: u32,
}

impl FrameRecord {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&[self.kind as u8, self.codec as u8, 0, 0]);
        out.extend_from_slice(&self.stored.to_le_bytes());
        out.extend_from_slice(&self.raw.to_le_bytes());
    }

    pub(super) fn parse(bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<32>()?;
        let &[kind, codec, 0, 0, ref lengths @ ..] = rest else { return None };
        let (stored, raw) = lengths.split_first_chunk::<4>()?;
        let record = Self {
            id: ChunkId(*id),
            kind: FrameKind::parse(kind)?,
            codec: Codec::parse(codec)?,
            stored: u32::from_le_bytes(*stored),
            raw: u32::from_le_bytes(raw.try_into().ok()?),
        };
        let limit = super::MAX_FRAME as u32;
        // A frame is never stored larger than raw plus its tag: what does not shrink is stored raw.
        let tag = crate::crypto::TAG_LEN as u32;
        let good = record.raw <= limit
            && record.stored >= tag
            && record.stored - tag <= record.raw
            && (record.codec == Codec::Zstd || record.stored - tag == record.raw);
        good.then_some(record)
    }
}
