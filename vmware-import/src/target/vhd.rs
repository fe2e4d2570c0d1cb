//! VHD, dynamic: a writer for new images and a reader for dynamic ones.
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

use super::Target;
use crate::bytes::check;
use crate::error::{ImportError, Result};
use crate::vmdk::runs::{Place, Runs};
use crate::vmdk::tables::Tables;

const SECTOR: u64 = 512;
const BLOCK: u64 = 2 * 1024 * 1024;
const BITMAP: u64 = 512;
const NO_BLOCK: u32 = u32::MAX;
/// The specification's limit.
const MAX_SIZE: u64 = 2040 * (1 << 30);
const BAT_AT: u64 = 1536;

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

fn checksum(bytes: &[u8], field: usize) -> u32 {
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

/// Reads a dynamic VHD. A differencing one is refused: its parent's place is a path of another machine.
pub struct VhdExtent {
    pub tables: Tables,
    size: u64,
    block: u64,
    bitmap: u64,
    bat: u64,
    index: u32,
}

impl VhdExtent {
    pub fn open(tables: Tables, index: u32) -> Result<Self> {
        let bytes = &*tables.bytes;
        let mut head = [0; 1536];
        bytes.read_at("VHD header", 0, &mut head)?;
        let name = bytes.name();
        let damaged = |at, field, detail: &str| Err(ImportError::damaged(name, at, field, detail));
        if be32(&head, 64) != checksum(&head[..512], 64) {
            return damaged(64, "footer checksum", "does not fit the footer");
        }
        if be32(&head, 60) != 3 {
            let way_out = "flatten it with qemu-img convert first";
            return Err(ImportError::unsupported(name, "a VHD that is not dynamic", way_out));
        }
        let dynamic = &head[512..1536];
        if &dynamic[..8] != b"cxsparse" || be32(dynamic, 36) != checksum(dynamic, 36) {
            return damaged(512, "dynamic header", "has no magic or a wrong checksum");
        }
        let (size, bat) = (be64(&head, 48), be64(dynamic, 16));
        let (entries, block) = (u64::from(be32(dynamic, 28)), u64::from(be32(dynamic, 32)));
        if size == 0 || size > MAX_SIZE || size % SECTOR != 0 {
            return damaged(48, "size", "is no disk");
        }
        if !block.is_power_of_two() || !(64 * 1024..=256 << 20).contains(&block) {
            return damaged(512 + 32, "block size", "is no power of two from 64 KiB to 256 MiB");
        }
        if entries < size.div_ceil(block) {
            return damaged(512 + 28, "block table entries", "are fewer than the size needs");
        }
        check(bytes, "block table", bat, size.div_ceil(block) * 4)?;
        let bitmap = (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
        Ok(Self { tables, size, block, bitmap, bat, index })
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn runs(&self, range: ByteRange, shift: u64, out: &mut Runs) -> Result<u64> {
        let mut at = range.start;
        while at < range.end && !out.is_full() {
            let number = at / self.block;
            let end = range.end.min((number + 1) * self.block);
            let mut entry = [0; 4];
            self.tables.read("block table", self.bat + number * 4, &mut entry)?;
            let sector = u32::from_be_bytes(entry);
            if sector == NO_BLOCK {
                out.push(ByteRange::new(at + shift, end + shift), Place::Hole);
                at = end;
                continue;
            }
            let start = u64::from(sector) * SECTOR;
            let data = start + self.bitmap + at % self.block;
            if start < SECTOR || data + (end - at) > self.tables.bytes.len() {
                let needed = if start < SECTOR { 0 } else { data + (end - at) };
                let lost = Place::Lost { extent: self.index, at: self.bat + number * 4, needed };
                out.push(ByteRange::new(at + shift, end + shift), lost);
                at = end;
                continue;
            }
            at = self.block_runs(start, ByteRange::new(at, end), (shift, out))?;
        }
        Ok(at)
    }

    /// Sectors whose bit is clear are zeros whatever the file has there.
    fn block_runs(&self, start: u64, range: ByteRange, to: (u64, &mut Runs)) -> Result<u64> {
        let (shift, out) = to;
        let mut bitmap = vec![0; self.bitmap as usize];
        self.tables.read("sector bitmap", start, &mut bitmap)?;
        let base = range.start - range.start % self.block;
        let set = |at: u64| {
            let sector = (at - base) / SECTOR;
            bitmap[(sector / 8) as usize] & (0x80 >> (sector % 8)) != 0
        };
        let mut at = range.start;
        while at < range.end {
            let here = set(at);
            let mut end = (at - at % SECTOR + SECTOR).min(range.end);
            while end < range.end && set(end) == here {
                end = (end + SECTOR).min(range.end);
            }
            let raw = Place::Raw { extent: self.index, at: start + self.bitmap + (at - base) };
            out.push(ByteRange::new(at + shift, end + shift), if here { raw } else { Place::Hole });
            at = end;
        }
        Ok(at)
    }
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
    pub fn create(path: &Path, size: u64) -> Result<Self> {
        let name = path.display().to_string();
        if size > MAX_SIZE {
            let detail = "VHD ends at 2040 GiB; use raw or qcow2".to_owned();
            return Err(ImportError::Target { target: name, detail });
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|source| ImportError::io("create", &name, source))?;
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
    pub fn reopen(path: &Path, size: u64, next: u64) -> Result<Self> {
        let name = path.display().to_string();
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|source| ImportError::io("open", &name, source))?;
        let mut head = [0; 512];
        let mut bat = vec![0; size.div_ceil(BLOCK) as usize * 4];
        file.read_exact_at(&mut head, 0)
            .and_then(|()| file.read_exact_at(&mut bat, BAT_AT))
            .and_then(|()| file.set_len(next))
            .map_err(|source| ImportError::io("continue", &name, source))?;
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
