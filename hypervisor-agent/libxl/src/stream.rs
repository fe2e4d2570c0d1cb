//! The stream of a suspended domain, on its way out and in.
//!
//! libxl (4.17) does not survive trouble with its stream. When it cannot write its first bytes, or reads
//! something else than a stream, it calls a null pointer; when a record claims a length that malloc refuses,
//! it exits. A full disk or a damaged file must not end an agent, so libxl gets a pipe of ours on both ways:
//!
//! * out: what libxl writes is always taken. When the target breaks the rest is thrown away, and the guest
//!   runs on with our error;
//! * in: what libxl reads has been checked. The headers are read before libxl is started; the records of the
//!   memory image are walked through as they pass (a process of its own reads them, which may fail); the
//!   records after the image, which libxl reads itself, are read and checked to the end before their first
//!   byte is passed on. Whatever is wrong ends the pipe inside the memory image, where libxl can bear it.
//!
//! The formats: `docs/specs/libxl-migration-stream.pandoc` and `libxc-migration-stream.pandoc` in Xen's
//! sources. All numbers little endian; bodies are padded to 8 bytes.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use crate::raw::{set_blocking, wait_readable};

/// Read and written at a time.
const CHUNK: usize = 1 << 20;
/// The records after the image: device models' state, a few MiB at most.
const TAIL_MAX: usize = 64 << 20;

const LIBXL_IDENT: &[u8; 8] = b"LibxlFmt";
const LIBXL_VERSION: [u8; 4] = 2_u32.to_be_bytes();
const LIBXL_OPTIONS_LITTLE_ENDIAN: [u8; 4] = [0; 4];
const LIBXC_IDENT: &[u8; 4] = b"XENF";

/// Records of libxl's own level.
mod libxl_record {
    pub const END: u32 = 0;
    pub const LIBXC_CONTEXT: u32 = 1;
    pub const EMULATOR_XENSTORE_DATA: u32 = 2;
    pub const EMULATOR_CONTEXT: u32 = 3;
}

/// The last record of a memory image.
const LIBXC_END: u32 = 0;

/// What is wrong with a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Not what a suspend wrote, or damaged since.
    #[error("this is not an undamaged stream of a suspended domain: {0}")]
    Malformed(&'static str),
    #[error("the stream cannot be read: {0}")]
    Io(io::Error),
}

impl StreamError {
    /// libxl closed its end: its own error tells more.
    pub fn is_consequence(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("it ends too early"),
            _ => Self::Io(error),
        }
    }
}

/// Copies what libxl writes to `target` until libxl is done. After an error the rest is read all the same.
pub fn drain(mut from: PipeReader, target: OwnedFd) -> io::Result<u64> {
    let mut target = File::from(target);
    let mut result = set_blocking(target.as_fd());
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return result.map(|()| total),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if result.is_ok() {
            result = target.write_all(&buffer[..length]);
            total += length as u64;
        }
    }
}

/// libxl's header (16 bytes), the header of its first record (8), and those of the memory image (24) and of
/// the domain (16): all that libxl and the reader of the image see before the first record of the image.
type Beginning = [u8; 64];

/// A stream whose beginning was checked.
#[derive(Debug)]
pub struct Incoming {
    source: File,
    beginning: Beginning,
}

impl Incoming {
    /// Reads the headers.
    pub fn open(source: OwnedFd) -> Result<Self, StreamError> {
        set_blocking(source.as_fd())?;
        let mut source = File::from(source);
        let mut beginning = [0; size_of::<Beginning>()];
        source.read_exact(&mut beginning)?;
        check_beginning(&beginning)?;
        Ok(Self { source, beginning })
    }

    /// Passes the stream on until its end, an error, or libxl's end.
    pub fn feed(self, sink: PipeWriter) -> Result<(), StreamError> {
        let guarded = Guarded { source: &self.source, sink: &sink };
        pass(&self.beginning, guarded, &sink)
    }
}

fn check_beginning(beginning: &Beginning) -> Result<(), StreamError> {
    let (header, rest) = beginning.split_at(16);
    let (record, image) = rest.split_at(8);
    if &header[..8] != LIBXL_IDENT {
        return Err(StreamError::Malformed("it does not begin like one"));
    }
    if header[8..12] != LIBXL_VERSION || header[12..] != LIBXL_OPTIONS_LITTLE_ENDIAN {
        return Err(StreamError::Malformed("its version or byte order is not known"));
    }
    if number(record, 0) != libxl_record::LIBXC_CONTEXT || number(record, 4) != 0 {
        return Err(StreamError::Malformed("it does not begin with a memory image"));
    }
    let big_endian = image[16] != 0 || image[17] & 1 == 1;
    if image[..8] != [0xff; 8] || &image[8..12] != LIBXC_IDENT || big_endian {
        return Err(StreamError::Malformed("its memory image does not begin like one"));
    }
    Ok(())
}

fn pass(beginning: &Beginning, mut source: impl Read, mut sink: impl Write) -> Result<(), StreamError> {
    sink.write_all(beginning)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut header = [0; 8];
        source.read_exact(&mut header)?;
        let length = padded(number(&header, 4));
        if number(&header, 0) == LIBXC_END {
            if length != 0 {
                return Err(StreamError::Malformed("the end of its memory image has a body"));
            }
            let tail = read_tail(&mut source)?;
            sink.write_all(&header)?;
            sink.write_all(&tail)?;
            return Ok(());
        }
        sink.write_all(&header)?;
        let mut left = length;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            source.read_exact(&mut buffer[..part])?;
            sink.write_all(&buffer[..part])?;
            left -= part as u64;
        }
    }
}

/// All records after the memory image, up to and with the end of the stream.
fn read_tail(mut source: impl Read) -> Result<Vec<u8>, StreamError> {
    let mut tail = Vec::new();
    loop {
        let mut header = [0; 8];
        source.read_exact(&mut header)?;
        tail.extend_from_slice(&header);
        let (kind, length) = (number(&header, 0), padded(number(&header, 4)));
        match kind {
            libxl_record::END if length == 0 => return Ok(tail),
            libxl_record::EMULATOR_XENSTORE_DATA | libxl_record::EMULATOR_CONTEXT => {}
            _ => return Err(StreamError::Malformed("it has an unknown record after its memory image")),
        }
        let start = tail.len();
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let Some(end) = end.filter(|end| *end <= TAIL_MAX) else {
            return Err(StreamError::Malformed("a record after its memory image is too long"));
        };
        tail.resize(end, 0);
        source.read_exact(&mut tail[start..])?;
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// Bodies are padded to 8 bytes.
fn padded(length: u32) -> u64 {
    u64::from(length).next_multiple_of(8)
}

/// A source whose reads end when nobody takes what was read: a peer that says nothing must not hold us up.
struct Guarded<'a> {
    source: &'a File,
    sink: &'a PipeWriter,
}

impl Read for Guarded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait_readable(self.source.as_fd(), self.sink.as_fd())?;
        self.source.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// As Xen 4.17 writes it for an HVM guest, with a small image.
    fn stream() -> Vec<u8> {
        let mut bytes = b"LibxlFmt\0\0\0\x02\0\0\0\0".to_vec();
        bytes.extend(record(libxl_record::LIBXC_CONTEXT, &[]));
        bytes.extend([0xff; 8]);
        bytes.extend(b"XENF\0\0\0\x03\0\0\0\0\0\0\0\0");
        bytes.extend([2, 0, 0, 0, 12, 0, 0, 0, 4, 0, 0, 0, 17, 0, 0, 0]);
        bytes.extend(record(1, &[7; 4099]));
        bytes.extend(record(9, &[]));
        bytes.extend(record(LIBXC_END, &[]));
        bytes.extend(record(libxl_record::EMULATOR_XENSTORE_DATA, b"some"));
        bytes.extend(record(libxl_record::EMULATOR_CONTEXT, &[1; 100]));
        bytes.extend(record(libxl_record::END, &[]));
        bytes
    }

    /// Where the memory image's last record begins: nothing after it may be passed on unless all is well.
    fn image_end(stream: &[u8]) -> usize {
        stream.len() - 8 - 16 - 112 - 8
    }

    fn pass_all(bytes: &[u8]) -> (Vec<u8>, Result<(), StreamError>) {
        let mut out = Vec::new();
        let Some((beginning, rest)) = bytes.split_first_chunk::<64>() else {
            return (out, Err(StreamError::Malformed("it ends too early")));
        };
        let result = check_beginning(beginning).and_then(|()| pass(beginning, rest, &mut out));
        (out, result)
    }

    #[test]
    fn a_good_stream_passes_unchanged_and_what_follows_it_is_left_alone() {
        let bytes = stream();
        let mut with_more = bytes.clone();
        with_more.extend(b"the next stream");
        for input in [&bytes, &with_more] {
            let (out, result) = pass_all(input);
            result.unwrap();
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn a_stream_cut_anywhere_never_reaches_the_records_after_the_image() {
        let bytes = stream();
        for length in 0..bytes.len() {
            let (out, result) = pass_all(&bytes[..length]);
            assert!(matches!(result, Err(StreamError::Malformed(_))), "{length}: {result:?}");
            assert!(out.len() <= image_end(&bytes), "{length}: {} bytes passed", out.len());
            assert!(out.is_empty() || out.len() >= 64, "{length}: half a beginning passed");
        }
    }

    #[test]
    fn a_huge_record_after_the_image_is_refused_before_it_is_read() {
        let mut bytes = stream();
        let at = image_end(&bytes) + 8 + 4;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let (out, result) = pass_all(&bytes);
        assert!(matches!(result, Err(StreamError::Malformed(_))), "{result:?}");
        assert!(out.len() <= image_end(&bytes));
    }

    proptest! {
        #[test]
        fn damage_never_panics_and_never_passes_half_a_beginning(at in 0_usize..5000, byte: u8) {
            let mut bytes = stream();
            let at = at % bytes.len();
            bytes[at] = byte;
            let (out, result) = pass_all(&bytes);
            if result.is_err() {
                prop_assert!(out.is_empty() || out.len() >= 64);
            }
        }
    }

    #[test]
    fn a_broken_target_is_drained_and_told() {
        let (reader, mut writer) = io::pipe().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let pump = std::thread::spawn(move || drain(reader, full.into()));
        for _ in 0..100 {
            writer.write_all(&[0; 65536]).unwrap();
        }
        drop(writer);
        assert_eq!(pump.join().unwrap().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_silent_peer_does_not_hold_up_a_feeder_that_nobody_reads() {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.write_all(&stream()[..64]).unwrap();
        let incoming = Incoming::open(ours.into()).unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let feeder = std::thread::spawn(move || incoming.feed(writer));
        drop(reader);
        assert!(feeder.join().unwrap().unwrap_err().is_consequence());
        drop(theirs);
    }
}
