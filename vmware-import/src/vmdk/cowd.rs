//! `vmfsSparse` extents (`COWD`): snapshots on VMFS5 and older, one-sector grains.
//!
//! A table entry per sector makes the format unusable entry by entry; consecutive entries become one run
//! here and are never looked at singly again.

use xenith_common_block::ByteRange;

use super::Salvage;
use super::descriptor::MAX_DISK;
use super::header::SECTOR;
use super::runs::{Place, Runs};
use super::tables::{Tables, u32_at};
use crate::bytes::{ByteSource, check};
use crate::error::{ImportError, Result};

pub const MAGIC: &[u8; 4] = b"COWD";
const HEADER: u64 = 2048;
const GTES_PER_GT: u64 = 4096;

/// A checked COWD header; offsets and sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CowdHeader {
    pub capacity: u64,
    pub grain: u64,
    pub gd: u64,
    pub gd_entries: u64,
    /// Flag 1: the root of its chain, without a parent.
    pub is_root: bool,
}

impl CowdHeader {
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let at = |offset, field, detail: String| ImportError::damaged(file, offset, field, detail);
        if bytes.len() < 48 || &bytes[..4] != MAGIC {
            return Err(at(0, "magic", "is not COWD".to_owned()));
        }
        let [version, flags, sectors, grain, gd, gd_entries] =
            [4, 8, 12, 16, 20, 24].map(|offset| u32_at(bytes, offset));
        if version != 1 {
            return Err(at(4, "version", format!("is {version}; only 1 is known")));
        }
        if sectors == 0 {
            return Err(at(12, "capacity", "is zero".to_owned()));
        }
        if !grain.is_power_of_two() || grain > 2048 {
            return Err(at(16, "grain size", format!("of {grain} sectors is no power of two up to 2048")));
        }
        let capacity = u64::from(sectors) * SECTOR;
        let grain = u64::from(grain) * SECTOR;
        let needed = capacity.div_ceil(grain * GTES_PER_GT);
        if u64::from(gd_entries) < needed || capacity > MAX_DISK {
            let detail = format!("are {gd_entries}, the capacity needs {needed}");
            return Err(at(24, "grain directory entries", detail));
        }
        let gd = u64::from(gd) * SECTOR;
        if gd < HEADER {
            return Err(at(20, "grain directory offset", format!("{gd} points into the header")));
        }
        Ok(Self { capacity, grain, gd, gd_entries: needed, is_root: flags & 4 != 0 })
    }
}

pub struct CowdExtent {
    pub tables: Tables,
    pub header: CowdHeader,
    index: u32,
}

impl CowdExtent {
    pub fn open(tables: Tables, index: u32, salvage: Salvage) -> Result<Self> {
        let mut head = [0; HEADER as usize];
        tables.bytes.read_at("COWD header", 0, &mut head)?;
        let header = CowdHeader::parse(tables.bytes.name(), &head)?;
        let bytes = &*tables.bytes;
        check(bytes, "grain directory", header.gd, header.gd_entries * 4)?;
        if salvage == Salvage::Refuse {
            check_directory(bytes, &tables, &header)?;
        }
        Ok(Self { tables, header, index })
    }

    pub fn runs(&self, range: ByteRange, shift: u64, out: &mut Runs) -> Result<u64> {
        let per_table = self.header.grain * GTES_PER_GT;
        let mut at = range.start;
        let mut gtes = Vec::new();
        while at < range.end && !out.is_full() {
            let table = at / per_table;
            let end = range.end.min((table + 1) * per_table);
            let mut entry = [0; 4];
            self.tables.read("grain directory", self.header.gd + table * 4, &mut entry)?;
            let offset = u64::from(u32::from_le_bytes(entry)) * SECTOR;
            if offset == 0 {
                out.push(ByteRange::new(at + shift, end + shift), Place::Absent);
                at = end;
                continue;
            }
            let table_end = offset + GTES_PER_GT * 4;
            if offset < HEADER || table_end > self.tables.bytes.len() {
                let needed = if offset < HEADER { 0 } else { table_end };
                let lost = Place::Lost { extent: self.index, at: self.header.gd + table * 4, needed };
                out.push(ByteRange::new(at + shift, end + shift), lost);
                at = end;
                continue;
            }
            let first = at % per_table / self.header.grain;
            let last = (end - table * per_table).div_ceil(self.header.grain);
            gtes.resize(((last - first) * 4) as usize, 0);
            self.tables.read("grain table", offset + first * 4, &mut gtes)?;
            at = self.table_runs(&gtes, offset + first * 4, ByteRange::new(at, end), (shift, out));
        }
        Ok(at)
    }

    /// One table's entries; consecutive sectors are counted here and pushed once.
    fn table_runs(&self, gtes: &[u8], table_at: u64, range: ByteRange, to: (u64, &mut Runs)) -> u64 {
        let (shift, out) = to;
        let grain = self.header.grain;
        let step = u32::try_from(grain / SECTOR).unwrap_or(1);
        let mut at = range.start;
        let mut index = 0;
        let count = gtes.len() / 4;
        while index < count && !out.is_full() {
            let first = u32_at(gtes, index * 4);
            let mut next = index + 1;
            let follows = |n: usize| match first {
                0 | 1 => first,
                _ => first.saturating_add(step.saturating_mul((n - index) as u32)),
            };
            while next < count && u32_at(gtes, next * 4) == follows(next) {
                next += 1;
            }
            let grain_start = at - at % grain;
            let end = range.end.min(grain_start + (next - index) as u64 * grain);
            let place = self.place(first, table_at + index as u64 * 4, ByteRange::new(at, end));
            out.push(ByteRange::new(at + shift, end + shift), place);
            at = end;
            index = next;
        }
        at
    }

    fn place(&self, sector: u32, entry_at: u64, range: ByteRange) -> Place {
        match sector {
            0 => return Place::Absent,
            // Never a grain (it would lie in the header); products write it for "zeroed".
            1 => return Place::Zero,
            _ => {}
        }
        let at = u64::from(sector) * SECTOR + range.start % self.header.grain;
        let end = at + range.len();
        if at < HEADER || end > self.tables.bytes.len() {
            let needed = if at < HEADER { 0 } else { end };
            return Place::Lost { extent: self.index, at: entry_at, needed };
        }
        Place::Raw { extent: self.index, at }
    }
}

fn check_directory(bytes: &dyn ByteSource, tables: &Tables, header: &CowdHeader) -> Result<()> {
    let mut seen = Vec::new();
    let mut entry = [0; 4];
    for index in 0..header.gd_entries {
        let entry_at = header.gd + index * 4;
        tables.read("grain directory", entry_at, &mut entry)?;
        let sector = u32::from_le_bytes(entry);
        if sector == 0 {
            continue;
        }
        let end = u64::from(sector) * SECTOR + GTES_PER_GT * 4;
        if end > bytes.len() {
            return Err(ImportError::truncated(bytes.name(), "a grain table", end, bytes.len()));
        }
        if u64::from(sector) * SECTOR < HEADER {
            let detail = format!("{sector} points into the header");
            return Err(ImportError::damaged(bytes.name(), entry_at, "grain directory entry", detail));
        }
        seen.push(sector);
    }
    seen.sort_unstable();
    match seen.windows(2).find(|pair| u64::from(pair[1] - pair[0]) < GTES_PER_GT * 4 / SECTOR) {
        Some(pair) => {
            let detail = format!("has overlapping grain tables at sectors {} and {}", pair[0], pair[1]);
            Err(ImportError::damaged(bytes.name(), header.gd, "grain directory", detail))
        }
        None => Ok(()),
    }
}
