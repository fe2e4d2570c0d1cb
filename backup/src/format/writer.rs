//! Building objects.

use bytes::Bytes;

use super::{
    Codec, FrameKind, FrameRecord, HEADER_LEN, Header, MAX_FRAME, ObjectKind, Secrecy, TRAILER_LEN, Trailer,
};
use crate::crypto::{Cipher, DataKey, TAG_LEN};
use crate::id::{ChunkId, ObjectHash};
use crate::keys::Keyring;

/// Encrypts the frames of one object. Shared by the threads that fill a pack.
#[derive(Debug)]
pub struct Sealer {
    key: DataKey,
}

impl Sealer {
    /// The header of a new object and the sealer of its frames.
    #[must_use]
    pub fn create(kind: ObjectKind, secrecy: Secrecy, keyring: &Keyring) -> (Bytes, Self) {
        let (header, key) = Header::create(kind, secrecy, keyring);
        let cipher: Cipher = header.cipher;
        (Bytes::copy_from_slice(&header.encode()), Self { key: DataKey::new(cipher, &key) })
    }

    /// Encrypts `buf[start..]` in place for `offset` and appends the tag.
    pub fn seal(&self, offset: u64, buf: &mut Vec<u8>, start: usize) {
        self.key.seal(offset, &[], buf, start);
    }

    /// Encrypts a frame in place in a slot that ends with room for the tag.
    pub fn seal_slice(&self, offset: u64, slot: &mut [u8]) {
        self.key.seal_slot(offset, slot);
    }

    /// Footer and trailer for frames that end at `end`.
    #[must_use]
    pub fn finish(&self, end: u64, records: &[FrameRecord]) -> Bytes {
        let mut out = Vec::with_capacity(records.len() * super::RECORD_LEN + TAG_LEN + TRAILER_LEN);
        for record in records {
            record.encode(&mut out);
        }
        let trailer = Trailer { footer: (out.len() + TAG_LEN) as u32, frames: records.len() as u32, end };
        let trailer = trailer.encode();
        self.key.seal(end, &trailer, &mut out, 0);
        out.extend_from_slice(&trailer);
        Bytes::from(out)
    }
}

/// Builds a small object in memory: everything but packs.
#[derive(Debug)]
pub struct ObjectBuilder {
    sealer: Sealer,
    bytes: Vec<u8>,
    records: Vec<FrameRecord>,
}

impl ObjectBuilder {
    #[must_use]
    pub fn new(kind: ObjectKind, keyring: &Keyring) -> Self {
        let (header, sealer) = Sealer::create(kind, Secrecy::Shared, keyring);
        debug_assert_eq!(header.len(), HEADER_LEN);
        Self { sealer, bytes: header.to_vec(), records: Vec::new() }
    }

    /// Adds `plain` as frames of at most [`MAX_FRAME`] bytes, compressed where that helps.
    pub fn push_all(&mut self, plain: &[u8]) {
        for part in plain.chunks(MAX_FRAME) {
            match zstd::bulk::compress(part, 3) {
                Ok(packed) if packed.len() < part.len() => self.push(&packed, Codec::Zstd, part.len()),
                _ => self.push(part, Codec::Raw, part.len()),
            }
        }
    }

    /// Adds one frame that is packed already.
    pub fn push(&mut self, packed: &[u8], codec: Codec, raw: usize) {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(packed);
        self.sealer.seal(offset as u64, &mut self.bytes, offset);
        self.records.push(FrameRecord {
            id: ChunkId([0; 32]),
            kind: FrameKind::Part,
            codec,
            stored: (packed.len() + TAG_LEN) as u32,
            raw: raw as u32,
        });
    }

    /// The object's bytes and the hash that names it.
    #[must_use]
    pub fn finish(mut self) -> (Bytes, ObjectHash) {
        let tail = self.sealer.finish(self.bytes.len() as u64, &self.records);
        self.bytes.extend_from_slice(&tail);
        let hash = ObjectHash::of(&self.bytes);
        (Bytes::from(self.bytes), hash)
    }
}
