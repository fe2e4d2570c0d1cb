//! One stream, as it is written.
//!
//! What always holds: a receiver that takes frames as they are only gets a stream as all versions wrote it. What was written is
//! handed over within [`SAY_EVERY`] while more comes: compressed frames may be so small that a receiver, which takes a sender
//! for gone that is silent for a minute, would wait for longer until a piece of the pipe is full.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::pack::{Packing, packed_length};
use super::{END, MAGIC, PACKED, VERSION, VERSION_PACKED};

const SAY_EVERY: Duration = Duration::from_secs(10);

pub struct FrameWriter<W> {
    out: W,
    packing: Option<Packing>,
    /// When what was written was handed over, whatever it was.
    said: Instant,
}

impl<W: Write> FrameWriter<W> {
    /// Of a disk of `size` bytes, of which those from `from` on will come; `packing` where the receiver takes compressed
    /// frames.
    pub fn begin((size, from): (u64, u64), packing: Option<Packing>, mut out: W) -> io::Result<Self> {
        let version = if packing.is_some() { VERSION_PACKED } else { VERSION };
        out.write_all(
            &[MAGIC, &version.to_le_bytes()[..], &size.to_le_bytes(), &from.to_le_bytes()].concat(),
        )?;
        Ok(Self { out, packing, said: Instant::now() })
    }

    pub fn frame(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(offset, bytes)?;
        if self.said.elapsed() > SAY_EVERY {
            self.out.flush()?;
            self.said = Instant::now();
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Self { out, packing, .. } = self;
        let Some(packing) = packing else { return write_frame(out, offset, bytes) };
        packing.frame(bytes, |packed| {
            let Some(packed) = packed else { return write_frame(out, offset, bytes) };
            let told = PACKED | bytes.len() as u32;
            let length = packed_length(packed)?;
            out.write_all(&[&offset.to_le_bytes()[..], &told.to_le_bytes(), &length].concat())?;
            out.write_all(packed)
        })
    }

    pub fn end(mut self, digest: &str) -> io::Result<()> {
        write_frame(&mut self.out, END, digest.as_bytes())?;
        self.out.flush()
    }
}

fn write_frame(out: &mut impl Write, offset: u64, bytes: &[u8]) -> io::Result<()> {
    out.write_all(&[&offset.to_le_bytes()[..], &(bytes.len() as u32).to_le_bytes()].concat())?;
    out.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands over what it has when it is told to.
    #[derive(Default)]
    struct Held {
        held: Vec<u8>,
        handed: Vec<u8>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.held.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.handed.append(&mut self.held);
            Ok(())
        }
    }

    #[test]
    fn small_frames_are_handed_over_before_the_receiver_takes_the_sender_for_gone() {
        let (mut held, piece) = (Held::default(), vec![7; 1 << 16]);
        let packing = Some(Packing::always().unwrap());
        let mut writer = FrameWriter::begin((1 << 20, 0), packing, &mut held).unwrap();
        writer.frame(0, &piece).unwrap();
        assert!(writer.out.handed.is_empty());
        writer.said = Instant::now().checked_sub(2 * SAY_EVERY).unwrap();
        writer.frame(1 << 16, &piece).unwrap();
        assert!(writer.out.held.is_empty() && writer.out.handed.len() < 1024);
        writer.frame(2 << 16, &piece).unwrap();
        assert!(!writer.out.held.is_empty());
    }
}
