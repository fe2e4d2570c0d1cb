//! Reads qcow2, versions 2 and 3, of what our writer or qemu makes.
//!
//! Source of the format: docs/interop/qcow2.txt of QEMU.

use xenith_common_block::ByteRange;

use crate::bytes::check;
use crate::error::{ImportError, Result};
use crate::vmdk::descriptor::MAX_DISK;
use crate::vmdk::runs::{Place, Runs};
use crate::vmdk::tables::Tables;

const COMPRESSED: u64 = 1 << 62;
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

/// Reads an image without backing file, encryption or compressed clusters.
pub struct Qcow2Extent {
    pub tables: Tables,
    size: u64,
    cluster: u64,
    l1: u64,
    index: u32,
}

impl Qcow2Extent {
    pub fn open(tables: Tables, index: u32) -> Result<Self> {
        let bytes = &*tables.bytes;
        let mut head = [0; 104];
        bytes.read_at("qcow2 header", 0, &mut head[..72])?;
        let name = bytes.name();
        let version = be32(&head, 4);
        let damaged = |at, field, detail: String| Err(ImportError::damaged(name, at, field, detail));
        if !(2..=3).contains(&version) {
            return damaged(4, "version", format!("is {version}; 2 and 3 are known"));
        }
        if version == 3 {
            bytes.read_at("qcow2 header", 0, &mut head)?;
        }
        for (feature, present) in [
            ("a backing file", be64(&head, 8) != 0),
            ("encryption", be32(&head, 32) != 0),
            // Bit 0 (dirty counts) and 1 (corrupt) say nothing about or against reading; every other does.
            ("a feature this reader does not know", be64(&head, 72) & !1 != 0),
        ] {
            if present {
                let way_out = "flatten it with qemu-img convert first";
                return Err(ImportError::unsupported(name, feature, way_out));
            }
        }
        let bits = be32(&head, 20);
        if !(9..=21).contains(&bits) {
            return damaged(20, "cluster bits", format!("are {bits}; 9 to 21 are allowed"));
        }
        let (size, cluster, l1) = (be64(&head, 24), 1u64 << bits, be64(&head, 40));
        if size == 0 || size > MAX_DISK || size % 512 != 0 {
            return damaged(24, "size", format!("of {size} bytes is no disk"));
        }
        let needed = size.div_ceil(cluster * (cluster / 8));
        if u64::from(be32(&head, 36)) < needed {
            return damaged(36, "L1 size", format!("is {}, the disk needs {needed}", be32(&head, 36)));
        }
        check(bytes, "L1 table", l1, needed * 8)?;
        Ok(Self { tables, size, cluster, l1, index })
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    pub fn runs(&self, range: ByteRange, shift: u64, out: &mut Runs) -> Result<u64> {
        let per_table = self.cluster * (self.cluster / 8);
        let mut at = range.start;
        let mut entries = Vec::new();
        while at < range.end && !out.is_full() {
            let table = at / per_table;
            let end = range.end.min((table + 1) * per_table);
            let mut entry = [0; 8];
            self.tables.read("L1 table", self.l1 + table * 8, &mut entry)?;
            let offset = u64::from_be_bytes(entry) & OFFSET_MASK;
            let whole = ByteRange::new(at + shift, end + shift);
            if offset == 0 || offset + self.cluster > self.tables.bytes.len() {
                let (entry_at, needed) = (self.l1 + table * 8, offset + self.cluster);
                let lost = Place::Lost { extent: self.index, at: entry_at, needed };
                out.push(whole, if offset == 0 { Place::Hole } else { lost });
                at = end;
                continue;
            }
            let first = at % per_table / self.cluster;
            let last = (end - table * per_table).div_ceil(self.cluster);
            entries.resize(((last - first) * 8) as usize, 0);
            self.tables.read("L2 table", offset + first * 8, &mut entries)?;
            for (entry, entry_at) in entries.chunks_exact(8).zip((offset + first * 8..).step_by(8)) {
                let stop = end.min(at - at % self.cluster + self.cluster);
                let place = self.place(be64(entry, 0), entry_at, ByteRange::new(at, stop))?;
                out.push(ByteRange::new(at + shift, stop + shift), place);
                at = stop;
                if out.is_full() {
                    break;
                }
            }
        }
        Ok(at)
    }

    fn place(&self, entry: u64, entry_at: u64, range: ByteRange) -> Result<Place> {
        let name = self.tables.bytes.name();
        if entry & COMPRESSED != 0 {
            let way_out = "decompress it with qemu-img convert first";
            return Err(ImportError::unsupported(name, "a compressed qcow2 cluster", way_out));
        }
        if entry & 1 != 0 {
            return Ok(Place::Zero);
        }
        let offset = entry & OFFSET_MASK;
        if offset == 0 {
            return Ok(Place::Hole);
        }
        let at = offset + range.start % self.cluster;
        if at + range.len() <= self.tables.bytes.len() {
            return Ok(Place::Raw { extent: self.index, at });
        }
        Ok(Place::Lost { extent: self.index, at: entry_at, needed: at + range.len() })
    }
}
