//! VHD, dynamic: a writer for new images.
//!
//! A block is 2 MiB with a sector bitmap in front, all ones here: what was not written is a hole of the file
//! and reads as zeros. The footer at the start of the file is written when it is created, the one at the end
//! (which readers look at first) when it is whole.
//!
//! Source: "Virtual Hard Disk Image Format Specification", 1.0.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use xenith_common_block::{BlockError, BlockSink, ByteRange};

use crate::{Target, io_error};

const SECTOR: u64 = 512;
const BLOCK: u64 = 2 * 1024 * 1024;
const BITMAP: u64 = 512;
const NO_BLOCK: u32 = u32::MAX;
/// The specification's limit.
pub const MAX_SIZE: u64 = 2040 * (1 << 30);
const BAT_AT: u64 = 1536;

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The sum of a header's or footer's bytes but those of the sum itself, which is at `field`.
#[must_use]
pub fn checksum(bytes: &[u8], field: usize) -> u32 {
    let sum = |part: &[u8]| part.iter().map(|&b| u32::from(b)).fold(0, u32::wrapping_add);
    !sum(&bytes[..field]).wrapping_add(sum(&bytes[field + 4..]))
}

/// Cylinders, heads, sectors by the algorithm of the specification's appendix.
fn geometry(size: u64) -> [u8; 4] {
    let total = (size / SECTOR).min(65_535 * 16 * 255);
    let (heads, sectors);
    let mut cylinders_heads;
    if total >= 65_535 * 16 * 63 {
        (heads, sectors) = (16, 255);
        cylinders_heads = total / 255;
    } else {
        let mut guess = ((total / 17).div_ceil(1024).max(4), 17);
        cylinders_heads = total / 17;
        if cylinders_heads >= guess.0 * 1024 || guess.0 > 16 {
            guess = (16, 31);
            cylinders_heads = total / 31;
        }
        if cylinders_heads >= guess.0 * 1024 {
            guess = (16, 63);
            cylinders_heads = total / 63;
        }
        (heads, sectors) = guess;
    }
    let cylinders = (cylinders_heads / heads) as u16;
    let [high, low] = cylinders.to_be_bytes();
    [high, low, heads as u8, sectors as u8]
}

fn footer(size: u64) -> [u8; 512] {
    let mut bytes = [0; 512];
    bytes[..8].copy_from_slice(b"conectix");
    bytes[8..12].copy_from_slice(&2u32.to_be_bytes()); // reserved bit, always set
    bytes[12..16].copy_from_slice(&0x0001_0000u32.to_be_bytes());
    bytes[16..24].copy_from_slice(&512u64.to_be_bytes()); // the dynamic header follows
    // Readers take the size from the geometry for most creators; for Xen's own tap they take the field.
    bytes[28..32].copy_from_slice(b"tap\0");
    bytes[32..36].copy_from_slice(&0x0001_0003u32.to_be_bytes());
    bytes[40..48].copy_from_slice(&size.to_be_bytes());
    bytes[48..56].copy_from_slice(&size.to_be_bytes());
    bytes[56..60].copy_from_slice(&geometry(size));
    bytes[60..64].copy_from_slice(&3u32.to_be_bytes()); // dynamic
    // An id from the size alone would repeat; the time it was made is enough for one image among many.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let id = blake3::hash(format!("{}:{}:{size}", std::process::id(), now.as_nanos()).as_bytes());
    bytes[68..84].copy_from_slice(&id.as_bytes()[..16]);
    let sum = checksum(&bytes, 64);
    bytes[64..68].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn dynamic_header(blocks: u32) -> [u8; 1024] {
    let mut bytes = [0; 1024];
    bytes[..8].copy_from_slice(b"cxsparse");
    bytes[8..16].fill(0xff);
    bytes[16..24].copy_from_slice(&BAT_AT.to_be_bytes());
    bytes[24..28].copy_from_slice(&0x0001_0000u32.to_be_bytes());
    bytes[28..32].copy_from_slice(&blocks.to_be_bytes());
    bytes[32..36].copy_from_slice(&(BLOCK as u32).to_be_bytes());
    let sum = checksum(&bytes, 36);
    bytes[36..40].copy_from_slice(&sum.to_be_bytes());
    bytes
}

struct Blocks {
    /// First sector of each block, [`NO_BLOCK`] for none.
    bat: Vec<u32>,
    next: u64,
}

/// Writes a new dynamic VHD.
pub struct VhdSink {
    file: File,
    name: String,
    size: u64,
    footer: [u8; 512],
    blocks: Mutex<Blocks>,
}

impl VhdSink {
    pub fn create(path: &Path, size: u64) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        if size > MAX_SIZE {
            return Err(io_error(
                "create",
                &name,
                std::io::Error::other("VHD ends at 2040 GiB; use raw or qcow2"),
            ));
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|source| io_error("create", &name, source))?;
        let count = size.div_ceil(BLOCK) as usize;
        let next = BAT_AT + (count as u64 * 4).next_multiple_of(SECTOR);
        let blocks = Mutex::new(Blocks { bat: vec![NO_BLOCK; count], next });
        let sink = Self { file, name, size, footer: footer(size), blocks };
        sink.write(0, &sink.footer)?;
        sink.write(512, &dynamic_header(count as u32))?;
        sink.checkpoint()?;
        Ok(sink)
    }

    /// Continues an image of which the first `next` bytes are accounted for.
    pub fn reopen(path: &Path, size: u64, next: u64) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|source| io_error("open", &name, source))?;
        let mut head = [0; 512];
        let mut bat = vec![0; size.div_ceil(BLOCK) as usize * 4];
        file.read_exact_at(&mut head, 0)
            .and_then(|()| file.read_exact_at(&mut bat, BAT_AT))
            .and_then(|()| file.set_len(next))
            .map_err(|source| io_error("continue", &name, source))?;
        let late = |sector: u32| u64::from(sector) * SECTOR >= next;
        let bat =
            bat.chunks_exact(4).map(|e| be32(e, 0)).map(|s| if late(s) { NO_BLOCK } else { s }).collect();
        let blocks = Mutex::new(Blocks { bat, next });
        Ok(Self { file, name, size, footer: head, blocks })
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.file.write_all_at(data, offset).map_err(|source| BlockError::Io {
            action: "write",
            target: self.name.clone(),
            offset,
            source,
        })
    }

    fn place(&self, offset: u64) -> Result<u64, BlockError> {
        let mut blocks = self.lock();
        let number = (offset / BLOCK) as usize;
        if blocks.bat[number] == NO_BLOCK {
            let start = blocks.next;
            self.write(start, &[0xff; BITMAP as usize])?;
            blocks.next += BITMAP + BLOCK;
            blocks.bat[number] = (start / SECTOR) as u32;
        }
        Ok(u64::from(blocks.bat[number]) * SECTOR + BITMAP + offset % BLOCK)
    }
}

impl BlockSink for VhdSink {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, data.len() as u64, self.size)?;
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let len = (BLOCK - at % BLOCK).min(rest.len() as u64) as usize;
            self.write(self.place(at)?, &rest[..len])?;
            rest = &rest[len..];
            at += len as u64;
        }
        Ok(())
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size)?;
        let zeros = vec![0; 64 * 1024];
        let mut at = range.start;
        while at < range.end {
            let len = (BLOCK - at % BLOCK).min(range.end - at).min(zeros.len() as u64);
            if self.lock().bat[(at / BLOCK) as usize] != NO_BLOCK {
                self.write_at(at, &zeros[..len as usize])?;
            }
            at += len;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.file.sync_data().map_err(|source| BlockError::Io {
            action: "flush",
            target: self.name.clone(),
            offset: 0,
            source,
        })
    }
}

impl Target for VhdSink {
    fn checkpoint(&self) -> Result<u64, BlockError> {
        let blocks = self.lock();
        let mut bytes: Vec<u8> = blocks.bat.iter().flat_map(|sector| sector.to_be_bytes()).collect();
        bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0xff);
        self.write(BAT_AT, &bytes)?;
        Ok(blocks.next)
    }

    fn finish(&self) -> Result<(), BlockError> {
        let end = self.checkpoint()?;
        self.write(end, &self.footer)
    }
}
