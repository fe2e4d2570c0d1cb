//! Index segments: pack names and fixed-size entries sorted by chunk id.

use bytes::Bytes;

use super::kind_codec;
use crate::error::{BackupError, Result};
use crate::format::{Codec, FrameKind, FrameRecord, MAX_FRAME, ObjectBuilder, ObjectKind, Sealed};
use crate::id::{ChunkId, ObjectHash};
use crate::keys::Keyring;
use crate::packer::StoredPack;

/// Bytes of an entry: id 32, pack 4, offset 4, stored length 4, raw length 3, kind and codec 1.
pub const ENTRY_LEN: usize = 48;
/// Entries in a frame: 384 KiB.
const FRAME_ENTRIES: usize = 8192;

/// A chunk's place; `pack` is a row of some table of packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    pub id: ChunkId,
    pub pack: u32,
    pub offset: u32,
    stored: u32,
    raw: u32,
    kind: FrameKind,
    codec: Codec,
}

impl IndexEntry {
    #[must_use]
    pub fn of(pack: u32, offset: u64, record: &FrameRecord) -> Self {
        Self {
            id: record.id,
            pack,
            // Objects are below 64 MiB, frames below 1 MiB.
            offset: offset as u32,
            stored: record.stored,
            raw: record.raw,
            kind: record.kind,
            codec: record.codec,
        }
    }

    /// The same place with its pack in another table's row.
    #[must_use]
    pub const fn in_pack(self, pack: u32) -> Self {
        Self { pack, ..self }
    }

    #[must_use]
    pub const fn record(&self) -> FrameRecord {
        FrameRecord { id: self.id, kind: self.kind, codec: self.codec, stored: self.stored, raw: self.raw }
    }

    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        out[..32].copy_from_slice(&self.id.0);
        out[32..36].copy_from_slice(&self.pack.to_le_bytes());
        out[36..40].copy_from_slice(&self.offset.to_le_bytes());
        out[40..44].copy_from_slice(&self.stored.to_le_bytes());
        out[44..47].copy_from_slice(&self.raw.to_le_bytes()[..3]);
        out[47] = kind_codec(self.kind, self.codec);
        out
    }

    #[must_use]
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let raw = u32::from_le_bytes([bytes[44], bytes[45], bytes[46], 0]);
        let entry = Self {
            id: ChunkId(*bytes.first_chunk()?),
            pack: word(32),
            offset: word(36),
            stored: word(40),
            raw,
            kind: FrameKind::parse(bytes[47] >> 4)?,
            codec: Codec::parse(bytes[47] & 15)?,
        };
        let bounded =
            raw as usize <= MAX_FRAME && entry.stored as usize <= MAX_FRAME + crate::crypto::TAG_LEN;
        bounded.then_some(entry)
    }
}

/// A segment in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment {
    pub packs: Vec<ObjectHash>,
    pub entries: Vec<IndexEntry>,
}

impl Segment {
    /// What `packs` hold.
    #[must_use]
    pub fn of(packs: &[StoredPack]) -> Self {
        let mut entries: Vec<IndexEntry> = packs
            .iter()
            .enumerate()
            .flat_map(|(number, pack)| {
                pack.frames.iter().map(move |(offset, record)| IndexEntry::of(number as u32, *offset, record))
            })
            .collect();
        entries.sort_unstable_by_key(|entry| (entry.id, entry.pack));
        Self { packs: packs.iter().map(|pack| pack.name).collect(), entries }
    }

    /// The object's bytes and the hash that names it.
    #[must_use]
    pub fn seal(&self, keyring: &Keyring) -> (Bytes, ObjectHash) {
        let mut object = ObjectBuilder::new(ObjectKind::Index, keyring);
        let mut head = (self.packs.len() as u64).to_le_bytes().to_vec();
        head.extend(self.packs.iter().flat_map(|name| name.0));
        for part in head.chunks(MAX_FRAME) {
            object.push(part, Codec::Raw, part.len());
        }
        for part in self.entries.chunks(FRAME_ENTRIES) {
            let plain: Vec<u8> = part.iter().flat_map(IndexEntry::encode).collect();
            // Ids do not compress, and they are most of it.
            object.push(&plain, Codec::Raw, plain.len());
        }
        object.finish()
    }

    /// Reads a sealed segment.
    pub fn open(bytes: &[u8], keyring: &Keyring, name: &str) -> Result<Self> {
        let sealed = Sealed::open(bytes, ObjectKind::Index, keyring, name)?;
        // Raw frames: the plain bytes are fewer than the object's, which are in memory already.
        let plain = sealed.concat(bytes.len())?;
        Self::parse(&plain).ok_or_else(|| BackupError::damaged(name, "its entries make no sense"))
    }

    /// Reads a decrypted segment.
    #[must_use]
    pub fn parse(plain: &[u8]) -> Option<Self> {
        let (count, rest) = plain.split_first_chunk::<8>()?;
        let names_len = usize::try_from(u64::from_le_bytes(*count)).ok()?.checked_mul(32)?;
        let (names, rest) = rest.split_at_checked(names_len)?;
        let packs: Vec<ObjectHash> = names.as_chunks::<32>().0.iter().map(|name| ObjectHash(*name)).collect();
        let (rows, []) = rest.as_chunks::<ENTRY_LEN>() else { return None };
        let entries: Option<Vec<IndexEntry>> = rows.iter().map(IndexEntry::parse).collect();
        let entries = entries?;
        let sorted = entries.is_sorted_by_key(|entry| entry.id);
        let rows_known = entries.iter().all(|entry| (entry.pack as usize) < packs.len());
        (sorted && rows_known).then_some(Self { packs, entries })
    }
}
