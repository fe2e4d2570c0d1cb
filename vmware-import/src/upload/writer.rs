//! One stream, as it is written.
//!
//! What always holds: a receiver that takes frames as they are only gets a stream as all versions wrote it. A receiver takes a
//! sender for gone that is silent for a minute, so something comes within [`SAY_EVERY`] while there is progress: compressed
//! frames, which may be so small that a piece of the pipe is not full for longer, are handed over; and of zeros, which do not
//! travel and may be terabytes, some do.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::pack::{Packing, packed_length};
use super::{DIGEST_BLOCK, END, MAGIC, PACKED, VERSION, VERSION_PACKED};

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

    /// Of these zeros none travel, as the receiver has them; but where it has heard nothing for long, a block of them does. It
    /// changes neither the disk nor the digest, and receivers of all versions take it.
    pub fn zeros(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if self.said.elapsed() <= SAY_EVERY {
            return Ok(());
        }
        self.frame(offset, &vec![0; length.min(DIGEST_BLOCK) as usize])
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
    fn zeros_travel_where_nothing_else_does_for_long() {
        let (block, long_ago) =
            (DIGEST_BLOCK as usize, || Instant::now().checked_sub(2 * SAY_EVERY).unwrap());
        for (case, packing) in [("as they are", None), ("compressed", Some(Packing::always().unwrap()))] {
            let (mut held, head, frame) =
                (Held::default(), 24, if packing.is_none() { 12 + block } else { 256 });
            let mut writer = FrameWriter::begin((1 << 40, 0), packing, &mut held).unwrap();
            writer.zeros(0, 1 << 20).unwrap();
            assert_eq!(writer.out.held.len(), head, "{case}: none at first");
            writer.said = long_ago();
            writer.zeros(1 << 20, 1 << 20).unwrap();
            let handed = writer.out.handed.len();
            assert!(
                writer.out.held.is_empty() && handed > head && handed <= head + frame,
                "{case}: {handed}"
            );
            writer.zeros(2 << 20, 1 << 20).unwrap();
            assert!(writer.out.held.is_empty(), "{case}: none until it is time again");
            // The disk ends before the block does.
            writer.said = long_ago();
            writer.zeros((1 << 40) - 512, 512).unwrap();
            assert!(writer.out.handed.len() <= handed + 12 + 512, "{case}");
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
