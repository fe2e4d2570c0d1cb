//! Hosted sparse extents by their tables: monolithicSparse, twoGbMaxExtentSparse, streamOptimized files.
//!
//! `SparseExtent::open` believes the header and the place of the grain directory; [`SparseExtent::runs`]
//! turns entries into runs, and gives an entry that cannot be true as [`Place::Lost`]. Whether any is lost is
//! found before the first byte is copied (`Image::audit`).

use std::sync::Arc;

use xenith_common_block::ByteRange;

use super::Salvage;
use super::grain::MARKER;
use super::header::{GTES_PER_GT, SECTOR, SparseHeader};
use super::runs::{Place, Runs};
use super::tables::{Tables, u32_at};
use crate::bytes::{ByteSource, check, read_vec};
use crate::error::{ImportError, Result};

/// 32 MiB of entries: 256 TiB of disk in common grains.
const MAX_TABLES: usize = 8 << 20;

/// What a grain directory entry means.
enum Entry {
    None,
    Table(u64),
    /// With the length the file would need, 0 when none would help.
    Bad(u64),
}

pub struct SparseExtent {
    pub tables: Tables,
    pub header: SparseHeader,
    gd: u64,
    index: u32,
}

impl SparseExtent {
    /// Reads the header; for a stream also the footer.
    pub fn read_header(bytes: &dyn ByteSource) -> Result<SparseHeader> {
        let mut head = [0; 512];
        bytes.read_at("header", 0, &mut head)?;
        let header = SparseHeader::parse(bytes.name(), 0, &head)?;
        if let Some((at, len)) = header.descriptor {
            check(bytes, "embedded descriptor", at, len)?;
        }
        Ok(header)
    }

    pub fn open(tables: Tables, header: SparseHeader, index: u32, salvage: Salvage) -> Result<Self> {
        let bytes = Arc::clone(&tables.bytes);
        let mut header = header;
        if header.gd.is_none() {
            header = read_footer(&*bytes, &header)?;
        }
        let len = header.gd_entries() * 4;
        let gd = choose_directory(&*bytes, &header, len, salvage)?;
        Ok(Self { tables, header, gd, index })
    }

    /// Appends the runs of `range` (bytes of this extent) to `out`, moved by `shift` on the disk. Stops
    /// early when the budget is used up; returns where.
    pub fn runs(&self, range: ByteRange, shift: u64, out: &mut Runs) -> Result<u64> {
        let grain = self.header.grain;
        let per_table = grain * GTES_PER_GT;
        let mut at = range.start;
        let mut gtes = Vec::new();
        while at < range.end && !out.is_full() {
            let table = at / per_table;
            let end = range.end.min((table + 1) * per_table);
            match self.directory_entry(table)? {
                Entry::None => out.push(ByteRange::new(at + shift, end + shift), Place::Absent),
                Entry::Bad(needed) => {
                    let lost = Place::Lost { extent: self.index, at: self.gd + table * 4, needed };
                    out.push(ByteRange::new(at + shift, end + shift), lost);
                }
                Entry::Table(offset) => {
                    let first = at % per_table / grain;
                    let last = (end - table * per_table).div_ceil(grain);
                    gtes.resize(((last - first) * 4) as usize, 0);
                    self.tables.read("grain table", offset + first * 4, &mut gtes)?;
                    for (gte, entry_at) in gtes.chunks_exact(4).zip((offset + first * 4..).step_by(4)) {
                        let grain_start = at - at % grain;
                        let stop = end.min(grain_start + grain);
                        let place = self.place(u32_at(gte, 0), entry_at, at);
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

    fn directory_entry(&self, table: u64) -> Result<Entry> {
        let mut entry = [0; 4];
        self.tables.read("grain directory", self.gd + table * 4, &mut entry)?;
        let sector = u32::from_le_bytes(entry);
        if sector == 0 {
            return Ok(Entry::None);
        }
        let offset = u64::from(sector) * SECTOR;
        let end = offset + GTES_PER_GT * 4;
        // Tables under header and descriptor would be made of something else.
        Ok(if offset < self.metadata_end() {
            Entry::Bad(0)
        } else if end > self.tables.bytes.len() {
            Entry::Bad(end)
        } else {
            Entry::Table(offset)
        })
    }

    fn metadata_end(&self) -> u64 {
        self.header.descriptor.map_or(SECTOR, |(at, len)| at + len)
    }

    fn place(&self, sector: u32, entry_at: u64, disk: u64) -> Place {
        let lost = |needed| Place::Lost { extent: self.index, at: entry_at, needed };
        match sector {
            0 => return Place::Absent,
            1 if self.header.zero_grains => return Place::Zero,
            _ => {}
        }
        let at = u64::from(sector) * SECTOR;
        let len = self.tables.bytes.len();
        let grain = self.header.grain;
        let gd = ByteRange::with_len(self.gd, self.header.gd_entries() * 4);
        if at < self.metadata_end() || gd.contains(at) {
            return lost(0);
        }
        if self.header.compressed {
            let skip = (disk % grain) as u32;
            let packed = Place::Packed { extent: self.index, at, grain: disk - disk % grain, skip };
            return if at + MARKER as u64 <= len { packed } else { lost(at + MARKER as u64) };
        }
        let inside = disk % grain;
        let needed = grain.min(self.header.capacity - (disk - inside));
        if at + needed > len { lost(at + needed) } else { Place::Raw { extent: self.index, at: at + inside } }
    }
}

trait Contains {
    fn contains(&self, offset: u64) -> bool;
}

impl Contains for ByteRange {
    fn contains(&self, offset: u64) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

/// The footer is the last-but-one sector; what it says about the disk has to be what the header says.
fn read_footer(bytes: &dyn ByteSource, header: &SparseHeader) -> Result<SparseHeader> {
    let Some(at) = bytes.len().checked_sub(2 * SECTOR).filter(|&at| at >= SECTOR) else {
        return Err(ImportError::truncated(bytes.name(), "footer", 3 * SECTOR, bytes.len()));
    };
    let mut sector = [0; 512];
    bytes.read_at("footer", at, &mut sector)?;
    if sector[..4] != *super::header::MAGIC {
        // The likeliest reason by far for a footer that is not there.
        return Err(ImportError::truncated(
            bytes.name(),
            "footer (not found at the end)",
            u64::MAX,
            bytes.len(),
        ));
    }
    let footer = SparseHeader::parse(bytes.name(), at, &sector)?;
    for (field, same) in [
        ("capacity in the footer", footer.capacity == header.capacity),
        ("grain size in the footer", footer.grain == header.grain),
        ("compression in the footer", footer.compressed == header.compressed),
    ] {
        if !same {
            return Err(ImportError::damaged(bytes.name(), at, field, "is not that of the header"));
        }
    }
    if footer.gd.is_none() {
        return Err(ImportError::damaged(
            bytes.name(),
            at + 56,
            "grain directory offset",
            "points to itself",
        ));
    }
    Ok(SparseHeader { descriptor: header.descriptor, ..footer })
}

/// The directory, or the redundant one when the first lies outside the file or is all over the place.
fn choose_directory(
    bytes: &dyn ByteSource,
    header: &SparseHeader,
    len: u64,
    salvage: Salvage,
) -> Result<u64> {
    let gd = header.gd.unwrap_or_default();
    let error = match check_directory(bytes, header, gd, len) {
        Ok(()) => return Ok(gd),
        Err(error) => error,
    };
    match header.redundant_gd {
        Some(redundant) if check_directory(bytes, header, redundant, len).is_ok() => Ok(redundant),
        // Entries are looked at one by one later; what they cannot give is listed as lost.
        _ if salvage == Salvage::NoteLosses && check(bytes, "grain directory", gd, len).is_ok() => Ok(gd),
        _ => Err(error),
    }
}

/// Streams the directory once: every entry has to name a whole table in the file, each another one. Two
/// entries with one table would make data of nothing.
fn check_directory(bytes: &dyn ByteSource, header: &SparseHeader, gd: u64, len: u64) -> Result<()> {
    if gd < SECTOR {
        return Err(ImportError::damaged(bytes.name(), 56, "grain directory offset", "is zero"));
    }
    check(bytes, "grain directory", gd, len)?;
    let mut tables = Vec::new();
    let mut at = 0;
    while at < len {
        let step = (len - at).min(256 * 1024);
        let part = read_vec(bytes, "grain directory", gd + at, step)?;
        for (index, entry) in part.chunks_exact(4).enumerate() {
            let sector = u32_at(entry, 0);
            if sector == 0 {
                continue;
            }
            let entry_at = gd + at + index as u64 * 4;
            let end = u64::from(sector) * SECTOR + GTES_PER_GT * 4;
            if end > bytes.len() {
                return Err(ImportError::truncated(bytes.name(), "a grain table", end, bytes.len()));
            }
            if u64::from(sector) * SECTOR < header.descriptor.map_or(SECTOR, |(at, len)| at + len) {
                let detail = format!("{sector} points into the header");
                return Err(ImportError::damaged(bytes.name(), entry_at, "grain directory entry", detail));
            }
            tables.push(sector);
            if tables.len() as u64 * 4 * GTES_PER_GT > bytes.len() || tables.len() > MAX_TABLES {
                let detail = "makes more tables than the file has room for";
                return Err(ImportError::damaged(bytes.name(), entry_at, "grain directory entry", detail));
            }
        }
        at += step;
    }
    tables.sort_unstable();
    match tables.windows(2).find(|pair| pair[1] - pair[0] < 4) {
        Some(pair) => {
            let detail = format!("{} and {} share a grain table", pair[0], pair[1]);
            Err(ImportError::damaged(bytes.name(), gd, "grain directory", detail))
        }
        None => Ok(()),
    }
}
