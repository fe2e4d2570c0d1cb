//! A disk on its way from who has the file to the host that keeps it: what is sent, and how it is received.
//!
//! The sender has opened the image, whatever its format, so that no format of a stranger is parsed on the host: what
//! travels is offsets and bytes. Zeros do not travel, but for a few that say that the sender is there (`upload/writer.rs`).
//!
//! ```text
//! "XNUP" version:u32  size:u64  from:u64            then frames, ascending:
//! offset:u64 length:u32 bytes                       at most 1 MiB each
//! offset:u64 80000000|length:u32 packed:u32 zstd    in version 2 too: `packed` bytes, fewer than the `length` they were
//! ffffffffffffffff length:u32 digest                the end: the digest of the whole disk, as text
//! ```
//!
//! What always holds: numbers are checked before anything is allocated or written; a stream without its end record is
//! not whole; a disk is whole only when both sides have the same digest, which is of the bytes as they are in the disk.
//! Compressed frames (`upload/pack.rs`) go to a receiver that said that it takes them ([`Takes`]): version 2 is for nobody else.
//! The receiver keeps a [`Mark`] (what lies before it is written, and the digest so far), so that a sender which comes
//! again goes on from there. A crash loses what came after the last mark, and that is sent again.

mod frames;
mod host;
mod pack;
mod pipe;
#[cfg(test)]
mod tests;
mod writer;

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use xenith_common_block::{
    Behind, BlockError, BlockSink, BlockSource, ByteRange, ExtentKind, flushing, is_zero,
};

use crate::convert::block::store;
use crate::convert::journal::{hex, unhex};
use crate::digest::{DIGEST_BLOCK, DigestKind, DiskDigest};
use crate::error::{ImportError, Result};

pub use self::frames::Frames;
pub use self::host::{ReceivingHost, Reply};
pub use self::pack::{Packer, Packing, SKIPPED, Takes, UnpackError, Unpacker, packed_length};
pub use self::pipe::{PipeReader, PipeWriter, pipe, pipe_of};
use self::writer::FrameWriter;

const MAGIC: &[u8; 4] = b"XNUP";
/// Of streams without compressed frames.
const VERSION: u32 = 1;
const VERSION_PACKED: u32 = 2;
/// The bit of a frame's length that says that it is compressed.
const PACKED: u32 = 1 << 31;
const END: u64 = u64::MAX;
/// A frame holds whole digest blocks, except at the end of the disk.
const FRAME: u64 = 1 << 20;
/// What is looked at for zeros at a time, and travels or does not.
const PIECE: u64 = FRAME / 4;
const MAX_DIGEST: u32 = 256;
const NAME: &str = "upload";

/// How far a receiver is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Bytes of the disk before this are written.
    pub done: u64,
    /// The state of the digest, hexadecimal.
    pub digest: String,
    /// Every byte came, and the digests were the same.
    pub whole: bool,
}

impl Default for Mark {
    fn default() -> Self {
        Self::at(0, &DiskDigest::new(DigestKind::Fast))
    }
}

impl Mark {
    fn at(done: u64, digest: &DiskDigest) -> Self {
        Self { done, digest: hex(&digest.to_bytes()), whole: false }
    }

    /// Whether what lies before it is what `disk` begins with; reads that much of it. Whoever goes on with another file of
    /// the same size would make a disk of two halves, and the digest in the end would be right.
    pub fn is_of(&self, disk: &dyn BlockSource) -> Result<bool> {
        let mut digest = DiskDigest::new(DigestKind::Fast);
        let end = self.done.min(disk.size());
        let mut buf = vec![0; FRAME as usize];
        let mut at = 0;
        while at < end {
            let window = ByteRange::new(at, end.min((at / FRAME + 1) * FRAME));
            if disk.extents(window)?.iter().any(|extent| extent.kind == ExtentKind::Data) {
                let bytes = &mut buf[..window.len() as usize];
                disk.read_at(at, bytes)?;
                digest_of(&mut digest, at, bytes);
            }
            at = window.end;
        }
        Ok(Self::at(self.done, &digest).digest == self.digest)
    }

    fn state(&self) -> Option<DiskDigest> {
        DiskDigest::from_bytes(&unhex(&self.digest)?)
    }
}

fn damaged(detail: &str) -> ImportError {
    ImportError::damaged(NAME, 0, "frame", detail)
}

/// Sends `disk` to `out`, from where the receiver's `mark` is, in frames that it `takes`. `progress` gets the offset
/// reached; its error ends the sending. Returns the digest of the whole disk.
pub fn send(
    disk: &dyn BlockSource,
    (mark, takes): (&Mark, Takes),
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<String> {
    let packing = takes.packing().map_err(unprepared)?;
    send_packed(disk, (mark, packing), out, progress)
}

fn send_packed(
    disk: &dyn BlockSource,
    (mark, packing): (&Mark, Option<Packing>),
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<String> {
    let size = disk.size();
    let from = mark.done.min(size);
    let mut digest = mark.state().ok_or_else(|| damaged("the receiver's mark makes no sense"))?;
    let broke = |error| ImportError::io("send", NAME, error);
    let mut writer = FrameWriter::begin((size, from), packing, out).map_err(broke)?;
    let mut buf = vec![0; FRAME as usize];
    let mut at = from;
    while at < size {
        let window = ByteRange::new(at, size.min((at / FRAME + 1) * FRAME));
        let data = disk.extents(window)?.iter().any(|extent| extent.kind == ExtentKind::Data);
        if data {
            let bytes = &mut buf[..window.len() as usize];
            disk.read_at(window.start, bytes)?;
            for part in pieces(window) {
                let piece = &bytes[(part.start - window.start) as usize..(part.end - window.start) as usize];
                if is_zero(piece) {
                    writer.zeros(part.start, part.len()).map_err(broke)?;
                    continue;
                }
                digest_of(&mut digest, part.start, piece);
                writer.frame(part.start, piece).map_err(broke)?;
            }
        } else {
            writer.zeros(window.start, window.len()).map_err(broke)?;
        }
        at = window.end;
        progress(at)?;
    }
    let digest = digest.finish(size);
    writer.end(&digest).map_err(broke)?;
    Ok(digest)
}

fn unprepared(error: io::Error) -> ImportError {
    ImportError::io("prepare", "compressed frames", error)
}

/// A window as parts: a frame that is mostly zeros travels in part.
fn pieces(window: ByteRange) -> impl Iterator<Item = ByteRange> {
    (window.start..window.end)
        .step_by(PIECE as usize)
        .map(move |start| ByteRange::new(start, window.end.min(start + PIECE)))
}

fn digest_of(digest: &mut DiskDigest, offset: u64, bytes: &[u8]) {
    for (block, at) in bytes.chunks(DIGEST_BLOCK as usize).zip((offset..).step_by(DIGEST_BLOCK as usize)) {
        if !is_zero(block) {
            digest.add(at, block);
        }
    }
}

/// Told of each mark.
type Keep<'a> = dyn FnMut(&Mark) -> Result<()> + 'a;

/// Receives a disk of `capacity` bytes into `sink`, which may be larger and holds zeros where nothing was written.
/// `keep` is told each new mark after everything before it was flushed; its error ends the receiving.
pub fn receive(
    input: &mut dyn Read,
    sink: &dyn BlockSink,
    (capacity, mark): (u64, &Mark),
    keep: &mut Keep<'_>,
) -> Result<Mark> {
    let unpacker = begin(input, capacity, mark)?;
    let digest = mark.state().ok_or_else(|| damaged("the mark makes no sense"))?;
    // What came after the mark comes again, perhaps as zeros, which do not travel.
    sink.zero(ByteRange::new(mark.done.min(capacity), capacity))?;
    flushing(
        || sink.flush(),
        |behind| {
            let from = (capacity, mark.done, digest);
            let received = frames_into(sink, (input, unpacker), from, (&mut *behind, &mut *keep));
            // Also where the stream broke off: what is durable need not come again.
            let settled = behind.settle().map_err(ImportError::from).and_then(|mark| told(mark, keep));
            received.and_then(|received| settled.map(|()| received))
        },
    )
}

/// Of a mark before which everything is durable.
fn told(mark: Option<Mark>, keep: &mut Keep<'_>) -> Result<()> {
    mark.map_or(Ok(()), |mark| keep(&mark))
}

/// That the stream is of this disk, and goes on where we are. Returns who takes its compressed frames, where it may have
/// some.
fn begin(input: &mut dyn Read, capacity: u64, mark: &Mark) -> Result<Option<Unpacker>> {
    let mut head = [0; 24];
    read(input, &mut head)?;
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap_or_default());
    let version = |version: u32| head[4..8] == version.to_le_bytes();
    if &head[..4] != MAGIC || !(version(VERSION) || version(VERSION_PACKED)) {
        return Err(damaged("it does not begin as an upload does; the sender is of another version"));
    }
    if number(8) != capacity {
        let detail = format!("the sender's disk has {} bytes, announced were {capacity}", number(8));
        return Err(damaged(&detail));
    }
    if number(16) != mark.done {
        return Err(damaged("it does not go on where the receiver is; ask for the mark and send from there"));
    }
    version(VERSION_PACKED).then(Unpacker::new).transpose().map_err(unprepared)
}

/// Everything from byte `next` on; `digest` is of what was before it.
fn frames_into(
    sink: &dyn BlockSink,
    (input, mut unpacker): (&mut dyn Read, Option<Unpacker>),
    (capacity, mut next, mut digest): (u64, u64, DiskDigest),
    (behind, keep): (&mut Behind<'_, '_, Mark, BlockError>, &mut Keep<'_>),
) -> Result<Mark> {
    let mut buf = vec![0; FRAME as usize];
    loop {
        let mut head = [0; 12];
        read(input, &mut head)?;
        let offset = u64::from_le_bytes(head[..8].try_into().unwrap_or_default());
        let says = u32::from_le_bytes(head[8..].try_into().unwrap_or_default());
        if offset == END {
            let ours = digest.finish(capacity);
            finish(input, says, &ours)?;
            let whole = Mark { whole: true, ..Mark::at(capacity, &digest) };
            told(behind.settle()?, keep)?;
            sink.flush()?;
            keep(&whole)?;
            return Ok(whole);
        }
        let unpacks = unpacker.as_mut().filter(|_| says & PACKED != 0);
        let len = if unpacks.is_some() { says & !PACKED } else { says };
        let end = offset.checked_add(u64::from(len)).filter(|&end| end <= capacity);
        let aligned = offset.is_multiple_of(DIGEST_BLOCK)
            && end.is_some_and(|end| end == capacity || end.is_multiple_of(DIGEST_BLOCK));
        let Some(end) = end.filter(|_| aligned && offset >= next && len > 0 && u64::from(len) <= FRAME)
        else {
            return Err(damaged(&format!("{len} bytes at {offset} have no place here")));
        };
        let bytes = &mut buf[..len as usize];
        match unpacks {
            Some(unpacker) => {
                unpacker.read(input, bytes).map_err(|error| unpack_failed(error, (offset, len)))?;
            }
            None => read(input, bytes)?,
        }
        store(sink, offset, bytes, Some(&mut digest))?;
        next = end;
        told(behind.wrote(u64::from(len), || Mark::at(next, &digest))?, keep)?;
    }
}

fn finish(input: &mut dyn Read, len: u32, ours: &str) -> Result<()> {
    if len > MAX_DIGEST {
        return Err(damaged("its end makes no sense"));
    }
    let mut theirs = vec![0; len as usize];
    read(input, &mut theirs)?;
    if theirs == ours.as_bytes() {
        return Ok(());
    }
    let detail = format!("what came has the digest {ours}, what was sent another; send it anew");
    Err(ImportError::Differs { origin: NAME.to_owned(), target: "the disk".to_owned(), detail })
}

fn read(input: &mut dyn Read, buf: &mut [u8]) -> Result<()> {
    input.read_exact(buf).map_err(|error| unread(error, buf.len()))
}

fn unread(error: io::Error, wanted: usize) -> ImportError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ImportError::truncated(NAME, "frame", wanted as u64, 0),
        _ => ImportError::io("receive", NAME, error),
    }
}

fn unpack_failed(error: UnpackError, (offset, len): (u64, u32)) -> ImportError {
    match error {
        UnpackError::Read(error) => unread(error, len as usize),
        UnpackError::Damaged(problem) => ImportError::damaged(NAME, offset, "frame", problem),
    }
}
