//! `seSparse` extents: snapshots on VMFS6 and of disks above 2 TiB.
//!
//! Everything is 64-bit; a table entry's top nibble is its kind and the rest a scrambled grain index. A file
//! whose journal was not replayed is refused: reading it would give the state before the last writes.

use xenith_common_block::ByteRange;

use super::Salvage;
use super::descriptor::MAX_DISK;
use super::header::SECTOR;
use super::runs::{Place, Runs};
use super::tables::{Tables, u64_at};
use crate::bytes::{ByteSource, check};
use crate::error::{ImportError, Result};

pub const MAGIC: u64 = 0xcafe_babe;
const VOLATILE_MAGIC: u64 = 0xcafe_cafe;
const VERSION: u64 = 0x2_0000_0001;
const GRAIN: u64 = 8 * SECTOR;
const GTES_PER_GT: u64 = 4096;
const TABLE: u64 = GTES_PER_GT * 8;

/// A checked constant header; offsets and sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeSparseHeader {
    pub capacity: u64,
    pub volatile: u64,
    pub gd: ByteRange,
    pub tables: ByteRange,
    pub grains: ByteRange,
}

impl SeSparseHeader {
    pub fn parse(file: &str, bytes: &[u8; 512]) -> Result<Self> {
        let word = |index: usize| u64_at(bytes, index * 8);
        let bad = |index: usize, field, detail: String| {
            Err(ImportError::damaged(file, index as u64 * 8, field, detail))
        };
        if word(0) != MAGIC {
            return bad(0, "magic", "is not that of seSparse".to_owned());
        }
        if word(1) != VERSION {
            return bad(1, "version", format!("is {:#x}; only {VERSION:#x} is known", word(1)));
        }
        let capacity = word(2).checked_mul(SECTOR).filter(|&c| c > 0 && c <= MAX_DISK);
        let Some(capacity) = capacity else {
            return bad(2, "capacity", format!("of {} sectors is no disk", word(2)));
        };
        if word(3) != GRAIN / SECTOR {
            return bad(3, "grain size", format!("is {} sectors instead of 8", word(3)));
        }
        if word(4) != TABLE / SECTOR {
            return bad(4, "grain table size", format!("is {} sectors instead of 64", word(4)));
        }
        if word(5) != 0 {
            return bad(5, "flags", format!("{:#x} are not known", word(5)));
        }
        let area = |index: usize, field| -> Result<ByteRange> {
            let start = word(index).checked_mul(SECTOR);
            let end = word(index).checked_add(word(index + 1)).and_then(|e| e.checked_mul(SECTOR));
            match (start, end) {
                (Some(start), Some(end)) if start >= SECTOR && end <= i64::MAX as u64 => {
                    Ok(ByteRange::new(start, end))
                }
                _ => Err(ImportError::damaged(file, index as u64 * 8, field, "lies outside any file")),
            }
        };
        Ok(Self {
            capacity,
            volatile: area(10, "volatile header")?.start,
            gd: area(16, "grain directory")?,
            tables: area(18, "grain tables")?,
            grains: area(24, "grains")?,
        })
    }
}

pub struct SeSparseExtent {
    pub tables: Tables,
    pub header: SeSparseHeader,
    index: u32,
}

impl SeSparseExtent {
    pub fn open(tables: Tables, index: u32, salvage: Salvage) -> Result<Self> {
        let bytes = &*tables.bytes;
        let mut sector = [0; 512];
        bytes.read_at("seSparse header", 0, &mut sector)?;
        let header = SeSparseHeader::parse(bytes.name(), &sector)?;
        bytes.read_at("volatile header", header.volatile, &mut sector)?;
        if u64_at(&sector, 0) != VOLATILE_MAGIC {
            return Err(ImportError::damaged(
                bytes.name(),
                header.volatile,
                "volatile header",
                "has no magic",
            ));
        }
        if u64_at(&sector, 24) != 0 {
            return Err(ImportError::unsupported(
                bytes.name(),
                "a snapshot whose journal was not replayed (the host went down with it)",
                "start the VM once or consolidate its disks on the host, then copy the file again",
            ));
        }
        let needed = header.capacity.div_ceil(GRAIN * GTES_PER_GT) * 8;
        if header.gd.len() < needed {
            let detail = format!("has {} bytes, the capacity needs {needed}", header.gd.len());
            return Err(ImportError::damaged(bytes.name(), 17 * 8, "grain directory", detail));
        }
        check(bytes, "grain directory", header.gd.start, needed)?;
        if salvage == Salvage::Refuse {
            check_directory(bytes, &tables, &header, needed / 8)?;
        }
        Ok(Self { tables, header, index })
    }

    pub fn runs(&self, range: ByteRange, shift: u64, out: &mut Runs) -> Result<u64> {
        let per_table = GRAIN * GTES_PER_GT;
        let mut at = range.start;
        let mut gtes = Vec::new();
        while at < range.end && !out.is_full() {
            let table = at / per_table;
            let end = range.end.min((table + 1) * per_table);
            let entry_at = self.header.gd.start + table * 8;
            let mut entry = [0; 8];
            self.tables.read("grain directory", entry_at, &mut entry)?;
            let whole = ByteRange::new(at + shift, end + shift);
            match table_offset(&self.header, u64::from_le_bytes(entry), self.tables.bytes.len()) {
                None => out.push(whole, Place::Absent),
                Some(Err(_)) => out.push(whole, Place::Lost { extent: self.index, at: entry_at, needed: 0 }),
                Some(Ok(offset)) => {
                    let first = at % per_table / GRAIN;
                    let last = (end - table * per_table).div_ceil(GRAIN);
                    gtes.resize(((last - first) * 8) as usize, 0);
                    self.tables.read("grain table", offset + first * 8, &mut gtes)?;
                    for (gte, entry_at) in gtes.chunks_exact(8).zip((offset + first * 8..).step_by(8)) {
                        let stop = end.min(at - at % GRAIN + GRAIN);
                        let range = ByteRange::new(at, stop);
                        let place = self.place(u64_at(gte, 0), entry_at, range);
                        out.push(ByteRange::new(at + shift, stop + shift), place);
                        at = stop;
                        if out.is_full() {
                            break;
                        }
                    }
                    continue;
                }
            }
            at = end;
        }
        Ok(at)
    }

    fn place(&self, gte: u64, entry_at: u64, range: ByteRange) -> Place {
        match gte >> 60 {
            0 if gte == 0 => Place::Absent,
            1 | 2 => Place::Zero,
            3 => {
                let grain = (gte >> 48 & 0xfff) | (gte & 0xffff_ffff_ffff) << 12;
                let at = grain.checked_mul(GRAIN).and_then(|o| o.checked_add(self.header.grains.start));
                let inside = range.start % GRAIN;
                match at.and_then(|at| at.checked_add(inside)) {
                    Some(at) if at.saturating_add(range.len()) <= self.tables.bytes.len() => {
                        Place::Raw { extent: self.index, at }
                    }
                    Some(at) => {
                        let needed = at.saturating_add(range.len());
                        Place::Lost { extent: self.index, at: entry_at, needed }
                    }
                    None => Place::Lost { extent: self.index, at: entry_at, needed: 0 },
                }
            }
            _ => Place::Lost { extent: self.index, at: entry_at, needed: 0 },
        }
    }
}

/// `None`: no table. `Some(Err)`: an entry that cannot be true.
fn table_offset(header: &SeSparseHeader, entry: u64, len: u64) -> Option<Result<u64, &'static str>> {
    if entry == 0 {
        return None;
    }
    if entry >> 32 != 0x1000_0000 {
        return Some(Err("has a kind that is not known"));
    }
    let offset = header.tables.start + (entry & 0xffff_ffff) * TABLE;
    let end = offset + TABLE;
    Some(if end > header.tables.end {
        Err("names a table past the area of tables")
    } else if end > len {
        Err("names a table past the end of the file")
    } else {
        Ok(offset)
    })
}

fn check_directory(
    bytes: &dyn ByteSource,
    tables: &Tables,
    header: &SeSparseHeader,
    entries: u64,
) -> Result<()> {
    let mut seen = Vec::new();
    let mut word = [0; 8];
    for index in 0..entries {
        let entry_at = header.gd.start + index * 8;
        tables.read("grain directory", entry_at, &mut word)?;
        match table_offset(header, u64::from_le_bytes(word), bytes.len()) {
            None => {}
            Some(Ok(offset)) => seen.push(offset),
            Some(Err("names a table past the end of the file")) => {
                return Err(ImportError::truncated(bytes.name(), "a grain table", u64::MAX, bytes.len()));
            }
            Some(Err(detail)) => {
                return Err(ImportError::damaged(bytes.name(), entry_at, "grain directory entry", detail));
            }
        }
    }
    seen.sort_unstable();
    match seen.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            let detail = format!("names the table at {} twice", pair[0]);
            Err(ImportError::damaged(bytes.name(), header.gd.start, "grain directory", detail))
        }
        None => Ok(()),
    }
}
