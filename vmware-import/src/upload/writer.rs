//! One stream, as it is written.
//!
//! What always holds: a receiver that takes frames as they are only gets a stream as all versions wrote it.

use std::io::{self, Write};

use super::pack::{Packing, packed_length};
use super::{END, MAGIC, PACKED, VERSION, VERSION_PACKED};

pub struct FrameWriter<W> {
    out: W,
    packing: Option<Packing>,
}

impl<W: Write> FrameWriter<W> {
    /// Of a disk of `size` bytes, of which those from `from` on will come; `packing` where the receiver takes compressed
    /// frames.
    pub fn begin((size, from): (u64, u64), packing: Option<Packing>, mut out: W) -> io::Result<Self> {
        let version = if packing.is_some() { VERSION_PACKED } else { VERSION };
        out.write_all(
            &[MAGIC, &version.to_le_bytes()[..], &size.to_le_bytes(), &from.to_le_bytes()].concat(),
        )?;
        Ok(Self { out, packing })
    }

    pub fn frame(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Self { out, packing } = self;
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
