//! A disk that comes as a stream of bytes, made into what a receiver takes, as it comes.
//!
//! What always holds: no end is written of a disk that has not come whole, so that the receiver takes no part for all of
//! it; the digest is of what was written, and goes on from the receiver's mark. Nothing is compressed: what comes here is on
//! its way through the orchestrator, whose processors are for everybody.

use std::io::Write;

use xenith_common_block::is_zero;

use super::writer::FrameWriter;
use super::{DiskDigest, Mark, NAME, PIECE, damaged, digest_of};
use crate::error::{ImportError, Result};

pub struct Frames<W> {
    out: FrameWriter<W>,
    digest: DiskDigest,
    size: u64,
    /// Where `part` begins: all before it was written, or is zero.
    at: u64,
    /// The piece that is coming.
    part: Vec<u8>,
}

impl<W> std::fmt::Debug for Frames<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frames({} of {})", self.at, self.size)
    }
}

impl<W: Write> Frames<W> {
    /// Of a disk of `size` bytes, of which those from the receiver's `mark` on will come.
    pub fn begin(size: u64, mark: &Mark, out: W) -> Result<Self> {
        let digest = mark.state().ok_or_else(|| damaged("the receiver's mark makes no sense"))?;
        let at = mark.done.min(size);
        let out = FrameWriter::begin((size, at), None, out).map_err(broke)?;
        Ok(Self { out, digest, size, at, part: Vec::with_capacity(PIECE as usize) })
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = self.size.min((self.at / PIECE + 1) * PIECE);
            let wanted = (end - self.at) as usize - self.part.len();
            if wanted == 0 {
                return Err(damaged(&format!("more comes than the {} bytes that were announced", self.size)));
            }
            let (now, later) = rest.split_at(wanted.min(rest.len()));
            self.part.extend_from_slice(now);
            if now.len() == wanted {
                self.write_part()?;
            }
            rest = later;
        }
        Ok(())
    }

    fn write_part(&mut self) -> Result<()> {
        if is_zero(&self.part) {
            self.out.zeros(self.at, self.part.len() as u64).map_err(broke)?;
        } else {
            digest_of(&mut self.digest, self.at, &self.part);
            self.out.frame(self.at, &self.part).map_err(broke)?;
        }
        self.at += self.part.len() as u64;
        self.part.clear();
        Ok(())
    }

    /// Says that this was all of it; an error where it was not.
    pub fn end(self) -> Result<()> {
        let came = self.at + self.part.len() as u64;
        if came != self.size {
            return Err(ImportError::truncated(NAME, "disk", self.size, came));
        }
        let digest = self.digest.finish(self.size);
        self.out.end(&digest).map_err(broke)
    }
}

fn broke(error: std::io::Error) -> ImportError {
    ImportError::io("send", NAME, error)
}

#[cfg(test)]
mod tests {
    use xenith_common_block::{BlockSink, MemorySink};

    use super::super::receive;
    use super::*;
    use crate::digest::DigestKind;

    const SIZE: usize = (3 << 20) + 512;

    fn disk() -> Vec<u8> {
        (0..SIZE).map(|at| if (at >> 20) == 1 { 0 } else { (at / 97) as u8 }).collect()
    }

    /// What is sent of `bytes` from the mark on, in chunks of `chunk`.
    fn framed(bytes: &[u8], mark: &Mark, chunk: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut frames = Frames::begin(SIZE as u64, mark, &mut out)?;
        for part in bytes[mark.done as usize..].chunks(chunk) {
            frames.push(part)?;
        }
        frames.end()?;
        Ok(out)
    }

    #[test]
    fn a_stream_arrives_whatever_its_chunks_and_zeros_do_not_travel() {
        let bytes = disk();
        for chunk in [511, PIECE as usize, 1 << 20, SIZE] {
            let stream = framed(&bytes, &Mark::default(), chunk).unwrap();
            assert!(stream.len() < SIZE * 3 / 4, "{} bytes in chunks of {chunk}", stream.len());
            let sink = MemorySink::new(SIZE);
            let mark =
                receive(&mut &stream[..], &sink, (SIZE as u64, &Mark::default()), &mut |_| Ok(())).unwrap();
            assert!(mark.whole, "chunks of {chunk}");
            assert!(sink.into_bytes() == bytes, "chunks of {chunk}");
        }
    }

    #[test]
    fn it_goes_on_where_the_receiver_is() {
        let bytes = disk();
        // In the middle of a piece.
        let done = (2 << 20) + 3 * 64 * 1024;
        let mut digest = DiskDigest::new(DigestKind::Fast);
        digest_of(&mut digest, 0, &bytes[..done]);
        let mark = Mark::at(done as u64, &digest);
        let sink = MemorySink::new(SIZE);
        sink.write_at(0, &bytes[..done]).unwrap();
        let stream = framed(&bytes, &mark, 4096).unwrap();
        assert!(receive(&mut &stream[..], &sink, (SIZE as u64, &mark), &mut |_| Ok(())).unwrap().whole);
        assert!(sink.into_bytes() == bytes);
    }

    #[test]
    fn what_is_too_short_or_too_long_has_no_end() {
        let bytes = disk();
        let short = framed(&bytes[..SIZE - 1], &Mark::default(), 4096).unwrap_err();
        assert!(matches!(short, ImportError::Truncated { .. }), "{short}");
        let long = framed(&[bytes, vec![1]].concat(), &Mark::default(), 4096).unwrap_err();
        assert!(long.to_string().contains("more comes"), "{long}");
    }
}
