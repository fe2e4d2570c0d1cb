//! How a VM's memory travels: pieces, each as it is or compressed, with a mark at the end.
//!
//! ```text
//! kind     u8: 0 as it is, 1 zstd, 2 the end, 3 the preamble; 4, 5 and 6 are 0, 1 and 2 with a number
//! length   u32, little endian: of what follows, at most 1 MiB and a little
//! body     `length` bytes, the first eight of which are the number (u64, little endian) where there is one
//! ```
//!
//! Numbers are for memory that comes over several connections ([`super::streams`]).
//!
//! The first frame is the preamble, as JSON. Without the mark at the end a stream is no whole one, whatever ends the
//! connection. Reading takes two pieces of memory, whatever the frames say.
//!
//! Compression pays on every network of up to 4 Gbit/s, on memory that shrinks at all. So each piece is tried, but for some
//! after one that did not shrink ([`Packer`]).

use std::io::{self, Read};

use xenith_vmware_import::upload::{Packer, SKIPPED};

/// Of memory in one frame.
pub(super) const PIECE: usize = 1 << 20;
const MAX_BODY: usize = PIECE + (PIECE >> 4);
const MAX_PREAMBLE: usize = 256 << 10;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
pub(super) const END: u8 = 2;
const PREAMBLE: u8 = 3;
/// The bit that says that the body begins with a number.
pub(super) const NUMBERED: u8 = 4;
const HEAD: usize = 5;

pub(super) fn head(kind: u8, length: usize) -> [u8; HEAD] {
    let mut head = [kind; HEAD];
    // A body is about a MiB at most.
    head[1..].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    head
}

/// The frame that a stream begins with.
pub(super) fn preamble_frame(preamble: &[u8]) -> io::Result<Vec<u8>> {
    if preamble.len() > MAX_PREAMBLE {
        return Err(io::Error::other("the VM's definition is too large to be sent"));
    }
    let mut frame = head(PREAMBLE, preamble.len()).to_vec();
    frame.extend_from_slice(preamble);
    Ok(frame)
}

/// The frame of a piece.
pub(super) fn packed(packer: &mut Packer, piece: &[u8], number: Option<u64>) -> io::Result<Vec<u8>> {
    Ok(match packer.pack(piece)? {
        Some(packed) => framed(ZSTD, number, &packed),
        None => framed(PLAIN, number, piece),
    })
}

pub(super) fn framed(kind: u8, number: Option<u64>, body: &[u8]) -> Vec<u8> {
    let number = number.map(u64::to_le_bytes);
    let (kind, length) = match number {
        Some(number) => (kind | NUMBERED, number.len() + body.len()),
        None => (kind, body.len()),
    };
    let mut frame = Vec::with_capacity(HEAD + length);
    frame.extend(head(kind, length));
    frame.extend(number.into_iter().flatten());
    frame.extend_from_slice(body);
    frame
}

/// Frames that were made and not read yet.
#[derive(Default)]
pub(super) struct Made {
    bytes: Vec<u8>,
    at: usize,
}

impl Made {
    pub(super) const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn is_read(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let length = buffer.len().min(self.bytes.len() - self.at);
        buffer[..length].copy_from_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        length
    }
}

/// A stream of memory as frames. Tells `step` how many bytes of memory were read, and ends with its error.
pub struct Framed<R, S> {
    source: R,
    step: S,
    packer: Packer,
    made: Made,
    done: u64,
    ended: bool,
}

impl<R: Read, S: FnMut(u64) -> io::Result<()>> Framed<R, S> {
    pub fn new(preamble: &[u8], source: R, step: S) -> io::Result<Self> {
        let made = Made::new(preamble_frame(preamble)?);
        Ok(Self { source, step, packer: Packer::new(SKIPPED)?, made, done: 0, ended: false })
    }

    fn next_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; PIECE];
        let length = read_full(&mut self.source, &mut piece)?;
        let piece = &piece[..length];
        self.done += length as u64;
        (self.step)(self.done)?;
        if piece.is_empty() {
            self.ended = true;
            return Ok(framed(END, None, &[]));
        }
        packed(&mut self.packer, piece, None)
    }
}

impl<R: Read, S: FnMut(u64) -> io::Result<()>> Read for Framed<R, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.made.is_read() {
            if self.ended {
                return Ok(0);
            }
            self.made = Made::new(self.next_frame()?);
        }
        Ok(self.made.read(buffer))
    }
}

/// As much as there is; less only at the end.
pub(super) fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// The preamble, which a stream begins with.
pub fn preamble(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let (kind, body) = frame(source)?;
    if kind != PREAMBLE || body.len() > MAX_PREAMBLE {
        return Err(damaged("it does not begin like one"));
    }
    Ok(body)
}

/// Makes memory of the bodies of frames.
pub(super) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    pub(super) fn new() -> io::Result<Self> {
        zstd::bulk::Decompressor::new().map(Self)
    }

    /// `None`: the mark of the end.
    pub(super) fn unpack(&mut self, kind: u8, body: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
        match kind {
            PLAIN => Ok(Some(body)),
            ZSTD => self.0.decompress(&body, PIECE).map(Some),
            END if body.is_empty() => Ok(None),
            _ => Err(damaged("it has an unknown part")),
        }
    }
}

/// Memory from frames that come after the preamble.
pub struct Unframed<R> {
    source: R,
    unpacker: Unpacker,
}

impl<R: Read> Unframed<R> {
    pub fn new(source: R) -> io::Result<Self> {
        Ok(Self { source, unpacker: Unpacker::new()? })
    }

    /// The next piece; `None` at the mark of the end. A stream that ends without it is an error.
    pub fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (kind, body) = frame(&mut self.source)?;
        self.unpacker.unpack(kind, body)
    }
}

pub(super) fn frame(source: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; HEAD];
    source.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_BODY);
    let mut body = vec![0; length.ok_or_else(|| damaged("a part is too long"))?];
    source.read_exact(&mut body)?;
    Ok((head[0], body))
}

pub(super) fn damaged(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("this is no VM's memory: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(memory: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut steps = Vec::new();
        let step = |done| {
            steps.push(done);
            Ok(())
        };
        Framed::new(b"{}", memory, step).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(steps.last(), Some(&(memory.len() as u64)));
        out
    }

    fn unframed(mut frames: &[u8]) -> io::Result<Vec<u8>> {
        assert_eq!(preamble(&mut frames)?, b"{}");
        let mut pieces = Unframed::new(frames)?;
        let mut memory = Vec::new();
        while let Some(piece) = pieces.next_piece()? {
            memory.extend(piece);
        }
        Ok(memory)
    }

    /// Bytes that do not shrink.
    fn noise(length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise
    }

    #[test]
    fn memory_arrives_as_it_was() {
        let mut mixed = noise(3 * PIECE / 2);
        mixed.extend(vec![7; 20 * PIECE]);
        for (case, memory) in
            [("nothing", vec![]), ("a byte", vec![1]), ("zeros", vec![0; 3 * PIECE + 1]), ("mixed", mixed)]
        {
            let frames = sent(&memory);
            assert!(unframed(&frames).unwrap() == memory, "{case}");
            assert!(frames.len() <= memory.len() + 200, "{case}");
        }
    }

    #[test]
    fn what_shrinks_is_compressed_and_what_does_not_is_left() {
        assert!(sent(&vec![0; 8 * PIECE]).len() < PIECE / 8);
        let all = noise(4 * PIECE);
        assert_eq!(sent(&all).len(), all.len() + 4 * HEAD + 2 * HEAD + 2);
    }

    #[test]
    fn a_cut_stream_is_no_whole_one() {
        let frames = sent(&noise(1000));
        for length in 0..frames.len() {
            assert!(unframed(&frames[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_memory_is_taken_for_it() {
        let mut claims = head(PREAMBLE, 2).to_vec();
        claims.extend(b"{}");
        claims.extend([PLAIN, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(unframed(&claims).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut bomb = head(PREAMBLE, 2).to_vec();
        bomb.extend(b"{}");
        let packed = zstd::bulk::compress(&vec![0; 8 * PIECE], 1).unwrap();
        bomb.extend(head(ZSTD, packed.len()));
        bomb.extend(packed);
        assert!(unframed(&bomb).is_err());
    }

    #[test]
    fn who_cancels_ends_it() {
        let stopped = |_| Err(io::Error::other("stopped"));
        let mut out = Vec::new();
        assert!(Framed::new(b"{}", &[1_u8; 9][..], stopped).unwrap().read_to_end(&mut out).is_err());
    }
}
