//! Reads dynamic VHDs.
//!
//! A block has a sector bitmap in front; a sector whose bit is clear reads as zeros.
//!
//! Source: "Virtual Hard Disk Image Format Specification", 1.0.

use xenith_common_block::ByteRange;
use xenith_common_image::vhd::{MAX_SIZE, checksum};

use crate::bytes::check;
use crate::error::{ImportError, Result};
use crate::vmdk::runs::{Place, Runs};
use crate::vmdk::tables::Tables;

const SECTOR: u64 = 512;
const NO_BLOCK: u32 = u32::MAX;

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
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
            // qemu-img is no way out: it takes a difference for the whole.
            let way_out = "merge a difference with its parent where it comes from (in Hyper-V: Merge-VHD)";
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
