//! Taking objects apart. Everything here reads foreign bytes: lengths are checked before they are used.

use super::{
    Codec, FrameKind, FrameRecord, HEADER_LEN, Header, MAX_FRAME, MAX_FRAMES, MAX_OBJECT, ObjectKind,
    RECORD_LEN,
};
use crate::crypto::{DataKey, TAG_LEN};
use crate::error::{BackupError, Result};
use crate::keys::Keyring;

pub const TRAILER_LEN: usize = 32;
const TRAILER_MAGIC: &[u8; 8] = b"XENITHBF";

/// The last 32 bytes of an object: length of the sealed footer, number of frames, where the footer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    pub footer: u32,
    pub frames: u32,
    pub end: u64,
}

impl Trailer {
    pub(super) fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut out = [0; TRAILER_LEN];
        out[..4].copy_from_slice(&self.footer.to_le_bytes());
        out[4..8].copy_from_slice(&self.frames.to_le_bytes());
        out[8..16].copy_from_slice(&self.end.to_le_bytes());
        out[24..].copy_from_slice(TRAILER_MAGIC);
        out
    }

    /// Reads the trailer at the end of `tail`, the last bytes of an object of `size` bytes.
    pub fn parse(tail: &[u8], size: u64) -> Result<Self, &'static str> {
        let bytes: &[u8; TRAILER_LEN] = tail.last_chunk().ok_or("it is shorter than a trailer")?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let end = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        let trailer = Self { footer: word(0), frames: word(4), end };
        if trailer.encode() != *bytes {
            return Err("it does not end with a trailer; it was cut off or overwritten");
        }
        if trailer.frames as usize > MAX_FRAMES || size > MAX_OBJECT {
            return Err("it is larger than the format allows");
        }
        let footer = trailer.frames as usize * RECORD_LEN + TAG_LEN;
        let rest = u64::from(trailer.footer) + TRAILER_LEN as u64;
        let expected = trailer.end.checked_add(rest);
        if trailer.footer as usize != footer || expected != Some(size) || end < HEADER_LEN as u64 {
            return Err("its trailer does not fit its size");
        }
        Ok(trailer)
    }
}

/// Decrypts and unpacks frames of one object.
#[derive(Debug)]
pub struct FrameOpener {
    key: DataKey,
    object: String,
}

impl FrameOpener {
    /// From an object's first bytes.
    pub fn new(head: &[u8], kind: ObjectKind, keyring: &Keyring, object: &str) -> Result<Self> {
        let header = Header::parse(head).map_err(|detail| BackupError::damaged(object, detail))?;
        let key = header.unwrap_key(kind, keyring, object)?;
        Ok(Self { key: DataKey::new(header.cipher, &key), object: object.to_owned() })
    }

    fn damaged(&self, offset: u64, detail: &str) -> BackupError {
        BackupError::damaged(&self.object, format!("the frame at byte {offset} {detail}"))
    }

    /// Decrypts the frame at `offset` without unpacking it.
    pub fn decrypt(&self, record: &FrameRecord, offset: u64, mut stored: Vec<u8>) -> Result<Vec<u8>> {
        if stored.len() != record.stored as usize {
            return Err(self.damaged(offset, "is cut off"));
        }
        let plain =
            self.key.open(offset, &[], &mut stored).map_err(|_| self.damaged(offset, "is not authentic"))?;
        let len = plain.len();
        stored.truncate(len);
        Ok(stored)
    }

    /// Decrypts the frame at `offset`, given its stored bytes, and appends its plain bytes to `out`.
    pub fn open(
        &self,
        record: &FrameRecord,
        offset: u64,
        stored: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if stored.len() != record.stored as usize || record.raw as usize > MAX_FRAME {
            return Err(self.damaged(offset, "is cut off"));
        }
        let packed =
            self.key.open(offset, &[], stored).map_err(|_| self.damaged(offset, "is not authentic"))?;
        let start = out.len();
        match record.codec {
            Codec::Raw => out.extend_from_slice(packed),
            Codec::Zstd => unpack(packed, record.raw as usize, out)
                .map_err(|_| self.damaged(offset, "does not decompress"))?,
        }
        if out.len() - start != record.raw as usize {
            return Err(self.damaged(offset, "has another length than its record"));
        }
        Ok(())
    }
}

thread_local! {
    static UNPACK: std::cell::RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { std::cell::RefCell::new(None) };
}

/// Appends what `packed` holds, at most `raw` bytes. The context is kept per thread: making one costs more
/// than unpacking a chunk.
fn unpack(packed: &[u8], raw: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
    UNPACK.with_borrow_mut(|slot| {
        let context = match slot {
            Some(context) => context,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        let start = out.len();
        out.resize(start + raw, 0);
        let got = context.decompress_to_buffer(packed, &mut out[start..])?;
        out.truncate(start + got);
        Ok(())
    })
}

/// The footer of an object: its frames in order, with their offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    frames: Vec<(u64, FrameRecord)>,
}

impl Footer {
    /// From the last bytes of an object of `size` bytes; `tail` must reach back to the footer's start.
    pub fn open(opener: &FrameOpener, tail: &[u8], size: u64) -> Result<Self> {
        let damaged = |detail: &str| BackupError::damaged(&opener.object, detail);
        let trailer = Trailer::parse(tail, size).map_err(damaged)?;
        let len = trailer.footer as usize + TRAILER_LEN;
        let sealed = tail.len().checked_sub(len).map(|at| &tail[at..tail.len() - TRAILER_LEN]);
        let mut sealed = sealed.ok_or_else(|| damaged("its footer is cut off"))?.to_vec();
        let plain = opener
            .key
            .open(trailer.end, &trailer.encode(), &mut sealed)
            .map_err(|_| damaged("its footer is not authentic"))?;
        Self::parse(plain, trailer.end).ok_or_else(|| damaged("its footer does not describe its frames"))
    }

    /// The records of a decrypted footer, for frames that fill the object up to `end`.
    #[must_use]
    pub fn parse(plain: &[u8], end: u64) -> Option<Self> {
        let (records, []) = plain.as_chunks::<RECORD_LEN>() else { return None };
        let mut frames = Vec::with_capacity(records.len());
        let mut offset = HEADER_LEN as u64;
        for record in records {
            let record = FrameRecord::parse(record)?;
            frames.push((offset, record));
            offset += u64::from(record.stored);
        }
        (offset == end).then_some(Self { frames })
    }

    /// `(offset, record)` in order.
    #[must_use]
    pub fn frames(&self) -> &[(u64, FrameRecord)] {
        &self.frames
    }
}

/// A whole object in memory, opened.
#[derive(Debug)]
pub struct Sealed<'a> {
    bytes: &'a [u8],
    opener: FrameOpener,
    footer: Footer,
}

impl<'a> Sealed<'a> {
    pub fn open(bytes: &'a [u8], kind: ObjectKind, keyring: &Keyring, object: &str) -> Result<Self> {
        let opener = FrameOpener::new(bytes, kind, keyring, object)?;
        let footer = Footer::open(&opener, bytes, bytes.len() as u64)?;
        Ok(Self { bytes, opener, footer })
    }

    #[must_use]
    pub const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Appends the plain bytes of frame `number`.
    pub fn frame(&self, number: usize, out: &mut Vec<u8>) -> Result<()> {
        let damaged = |detail: &str| BackupError::damaged(&self.opener.object, detail);
        let &(offset, record) =
            self.footer.frames.get(number).ok_or_else(|| damaged("it has too few frames"))?;
        let start = offset as usize;
        let stored = self.bytes.get(start..start + record.stored as usize);
        let mut stored = stored.ok_or_else(|| damaged("it is cut off"))?.to_vec();
        self.opener.open(&record, offset, &mut stored, out)
    }

    /// The plain bytes of all frames, for objects of parts of at most `limit` bytes in total.
    pub fn concat(&self, limit: usize) -> Result<Vec<u8>> {
        let total: usize = self.footer.frames.iter().map(|(_, record)| record.raw as usize).sum();
        let parts = self.footer.frames.iter().all(|(_, record)| record.kind == FrameKind::Part);
        if total > limit || !parts {
            return Err(BackupError::damaged(&self.opener.object, "it holds more than it may"));
        }
        let mut out = Vec::with_capacity(total);
        for number in 0..self.footer.frames.len() {
            self.frame(number, &mut out)?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ObjectBuilder;

    #[test]
    fn objects_round_trip_and_no_damage_passes() {
        let ring = Keyring::for_tests();
        let mut builder = ObjectBuilder::new(ObjectKind::Manifest, &ring);
        builder.push_all(&vec![7; 3 << 20]);
        builder.push(b"raw", Codec::Raw, 3);
        let (bytes, _) = builder.finish();
        let sealed = Sealed::open(&bytes, ObjectKind::Manifest, &ring, "m").unwrap();
        let plain = sealed.concat(4 << 20).unwrap();
        assert_eq!((plain.len(), &plain[3 << 20..]), ((3 << 20) + 3, b"raw".as_slice()));
        assert!(sealed.concat(3 << 20).is_err(), "the limit holds");
        assert!(Sealed::open(&bytes, ObjectKind::Plan, &ring, "m").is_err(), "no kind passes for another");

        let read = |bytes: &[u8]| {
            Sealed::open(bytes, ObjectKind::Manifest, &ring, "m").and_then(|sealed| sealed.concat(4 << 20))
        };
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x40;
            assert!(read(&bad).is_err(), "byte {at} flipped");
        }
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
}
