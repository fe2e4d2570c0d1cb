//! The 512-byte header of hosted sparse extents (`KDMV`), and of its streamOptimized footer.
//!
//! Source: "Virtual Disk Format 5.0" technical note, and what the dialects in the wild do: version 3 is read
//! as 1 (stream and CBT images), the newline check is optional below flag 1.

use super::descriptor::{MAX_DESCRIPTOR, MAX_DISK};
use super::tables::{u16_at, u32_at, u64_at};
use crate::error::{ImportError, Result};

pub const SECTOR: u64 = 512;
pub const MAGIC: &[u8; 4] = b"KDMV";
/// `gdOffset` of a stream whose directory comes last: the footer has the true one.
pub const GD_AT_END: u64 = u64::MAX;
/// Grains above 1 MiB exist in no product; the limit is what a reader may allocate per grain.
const MAX_GRAIN_SECTORS: u64 = 1 << 11;
pub const GTES_PER_GT: u64 = 512;

const FLAG_NEWLINES: u32 = 1;
const FLAG_REDUNDANT: u32 = 2;
const FLAG_ZERO_GRAIN: u32 = 4;
const FLAG_COMPRESSED: u32 = 1 << 16;
const FLAG_MARKERS: u32 = 1 << 17;

/// A checked header; offsets and sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseHeader {
    pub version: u32,
    pub capacity: u64,
    pub grain: u64,
    /// Offset and length of the embedded descriptor; `None` when the file has none.
    pub descriptor: Option<(u64, u64)>,
    /// `None`: at the end of the file, see the footer.
    pub gd: Option<u64>,
    pub redundant_gd: Option<u64>,
    pub overhead: u64,
    pub unclean: bool,
    pub zero_grains: bool,
    pub compressed: bool,
    pub markers: bool,
}

impl SparseHeader {
    /// Entries of the grain directory.
    #[must_use]
    pub fn gd_entries(&self) -> u64 {
        self.capacity.div_ceil(self.grain * GTES_PER_GT)
    }

    /// Parses a header that lies at `base` in `file`. Only what the 512 bytes say is checked here; whether
    /// the tables fit the file is the reader's to find out.
    pub fn parse(file: &str, base: u64, bytes: &[u8; 512]) -> Result<Self> {
        let at = |offset, field, detail: String| ImportError::damaged(file, base + offset, field, detail);
        if &bytes[..4] != MAGIC {
            return Err(at(0, "magic", "is not KDMV".to_owned()));
        }
        let (version, flags) = (u32_at(bytes, 4), u32_at(bytes, 8));
        if !(1..=3).contains(&version) {
            return Err(at(4, "version", format!("is {version}; 1 to 3 are known")));
        }
        if flags & FLAG_NEWLINES != 0 && bytes[73..77] != *b"\n \r\n" {
            let detail = "was changed by a text-mode transfer: copy the file again in binary mode";
            return Err(at(73, "newline check", detail.to_owned()));
        }
        let sectors = u64_at(bytes, 12);
        let capacity = sectors.checked_mul(SECTOR).filter(|&c| c > 0 && c <= MAX_DISK);
        let capacity =
            capacity.ok_or_else(|| at(12, "capacity", format!("of {sectors} sectors is no disk")))?;
        let grain = u64_at(bytes, 20);
        if !grain.is_power_of_two() || grain > MAX_GRAIN_SECTORS {
            return Err(at(20, "grain size", format!("of {grain} sectors is no power of two up to 2048")));
        }
        let gtes = u32_at(bytes, 44);
        if u64::from(gtes) != GTES_PER_GT {
            return Err(at(44, "entries per grain table", format!("are {gtes} instead of 512")));
        }
        let compressed = flags & FLAG_COMPRESSED != 0;
        let algorithm = u16_at(bytes, 77);
        if compressed && algorithm != 1 {
            return Err(at(77, "compression", format!("{algorithm} is not known, only 1 (deflate)")));
        }
        let offset = |field_at: u64, field, sectors: u64| {
            let bytes = sectors.checked_mul(SECTOR).filter(|&o| o <= i64::MAX as u64);
            bytes.ok_or_else(|| at(field_at, field, format!("{sectors} is past the end of any file")))
        };
        let descriptor_len = offset(36, "descriptor size", u64_at(bytes, 36))?;
        if descriptor_len > MAX_DESCRIPTOR {
            return Err(at(36, "descriptor size", format!("is {descriptor_len} bytes, more than 1 MiB")));
        }
        let descriptor_at = offset(28, "descriptor offset", u64_at(bytes, 28))?;
        let gd = match u64_at(bytes, 56) {
            GD_AT_END => None,
            sectors => Some(offset(56, "grain directory offset", sectors)?),
        };
        let redundant_gd = match u64_at(bytes, 48) {
            0 | GD_AT_END => None,
            _ if flags & FLAG_REDUNDANT == 0 => None,
            sectors => Some(offset(48, "redundant grain directory offset", sectors)?),
        };
        Ok(Self {
            version,
            capacity,
            grain: grain * SECTOR,
            descriptor: (descriptor_at > 0 && descriptor_len > 0).then_some((descriptor_at, descriptor_len)),
            gd,
            redundant_gd,
            overhead: offset(64, "overhead", u64_at(bytes, 64))?,
            unclean: bytes[72] != 0,
            zero_grains: flags & FLAG_ZERO_GRAIN != 0,
            compressed,
            markers: flags & FLAG_MARKERS != 0,
        })
    }
}
