//! What lies on a disk: partitions, logical volumes, or a filesystem without any of these.
//!
//! The two partition tables are read here, not by a crate: those at hand take memory for as many entries as the
//! table claims. Sources: UEFI specification 2.10 chapter 5; the MBR of the IBM PC.

use std::sync::Arc;

use serde::Serialize;
use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent};

use super::{lvm, recognise};
use crate::error::Result;

const SECTOR: u64 = 512;
/// Windows and Linux make 128; a table of more is read up to here.
const MAX_PARTITIONS: u64 = 1024;

/// One volume of a disk.
#[derive(Clone, Serialize)]
pub struct Volume {
    /// `1`, `2` for partitions, `group/name` for logical volumes, `disk` for a disk without partitions.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What is on it, when that is known.
    pub filesystem: Option<&'static str>,
    /// Why it cannot be read, when it cannot.
    pub unreadable: Option<String>,
    #[serde(skip)]
    pub source: Option<Arc<dyn BlockSource>>,
}

struct Slice {
    disk: Arc<dyn BlockSource>,
    range: ByteRange,
}

impl BlockSource for Slice {
    fn size(&self) -> u64 {
        self.range.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.range.len())?;
        self.disk.read_at(self.range.start + offset, buf)
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.range.len())?;
        let by = self.range.start;
        let found = self.disk.extents(ByteRange::new(range.start + by, range.end + by))?;
        Ok(found
            .into_iter()
            .map(|e| Extent::new(ByteRange::new(e.range.start - by, e.range.end - by), e.kind))
            .collect())
    }
}

/// Finds the volumes of `disk`, logical ones among them.
pub fn volumes(disk: &Arc<dyn BlockSource>) -> Result<Vec<Volume>> {
    let mut parts = gpt(&**disk)?;
    if parts.is_empty() {
        parts = mbr(&**disk)?;
    }
    let mut found = Vec::new();
    if parts.is_empty() || recognise(&**disk).is_some_and(|kind| kind != "fat" && kind != "ntfs") {
        add(&mut found, "disk".to_owned(), Arc::clone(disk));
        return Ok(found);
    }
    for (number, range) in parts {
        let slice = Slice { disk: Arc::clone(disk), range };
        add(&mut found, number.to_string(), Arc::new(slice));
    }
    Ok(found)
}

fn add(found: &mut Vec<Volume>, name: String, source: Arc<dyn BlockSource>) {
    let filesystem = recognise(&*source);
    if filesystem != Some("lvm") {
        let size = source.size();
        found.push(Volume { name, size, filesystem, unreadable: None, source: Some(source) });
        return;
    }
    match lvm::logical_volumes(&source) {
        Ok(volumes) => found.extend(volumes.into_iter().map(|(name, opened)| match opened {
            Ok(source) => {
                let (size, filesystem) = (source.size(), recognise(&*source));
                Volume { name, size, filesystem, unreadable: None, source: Some(source) }
            }
            Err(why) => Volume { name, size: 0, filesystem: None, unreadable: Some(why), source: None },
        })),
        Err(error) => {
            let unreadable = Some(crate::error::chain(&error));
            found.push(Volume { name, size: source.size(), filesystem, unreadable, source: None });
        }
    }
}

fn le32(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    le32(bytes, at) | le32(bytes, at + 4) << 32
}

/// Bytes of a partition of `sectors` from `first` on, where they lie on the disk.
fn range(disk: &dyn BlockSource, first: u64, sectors: u64, unit: u64) -> Option<ByteRange> {
    let start = first.checked_mul(unit)?;
    let end = sectors.checked_mul(unit)?.checked_add(start)?.min(disk.size());
    (start < end).then(|| ByteRange::new(start, end))
}

/// The partitions of a GPT; none where there is no GPT.
fn gpt(disk: &dyn BlockSource) -> Result<Vec<(u64, ByteRange)>> {
    for unit in [SECTOR, 4096] {
        let mut head = vec![0; SECTOR as usize];
        if disk.size() < 34 * unit {
            continue;
        }
        disk.read_at(unit, &mut head)?;
        if &head[..8] != b"EFI PART" {
            continue;
        }
        let (table, count, size) = (le64(&head, 72), le32(&head, 80).min(MAX_PARTITIONS), le32(&head, 84));
        let Some(at) = table.checked_mul(unit).filter(|_| (128..=4096).contains(&size)) else { continue };
        let len = (count * size).min(disk.size().saturating_sub(at));
        let mut entries = vec![0; len as usize];
        disk.read_at(at.min(disk.size()), &mut entries)?;
        let used = entries.chunks_exact(size as usize).enumerate().filter(|(_, e)| e[..16] != [0; 16]);
        return Ok(used
            .filter_map(|(number, entry)| {
                let (first, last) = (le64(entry, 32), le64(entry, 40));
                let sectors = last.checked_sub(first)?.checked_add(1)?;
                Some((number as u64 + 1, range(disk, first, sectors, unit)?))
            })
            .collect());
    }
    Ok(Vec::new())
}

/// The partitions of an MBR, the logical ones of an extended partition among them.
fn mbr(disk: &dyn BlockSource) -> Result<Vec<(u64, ByteRange)>> {
    let mut head = vec![0; SECTOR as usize];
    if disk.size() < SECTOR {
        return Ok(Vec::new());
    }
    disk.read_at(0, &mut head)?;
    // The boot sectors of filesystems have the same end; their "tables" hold no sane status bytes.
    let sane = (0..4).all(|n| head[446 + n * 16] & 0x7f == 0);
    if head[510..] != [0x55, 0xaa] || !sane {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for number in 0..4u64 {
        let entry = &head[446 + number as usize * 16..][..16];
        let (kind, first, sectors) = (entry[4], le32(entry, 8), le32(entry, 12));
        match kind {
            0 => {}
            0x05 | 0x0f | 0x85 => logical(disk, first, &mut found)?,
            _ => found.extend(range(disk, first, sectors, SECTOR).map(|range| (number + 1, range))),
        }
    }
    Ok(found)
}

/// Follows the chain of tables in an extended partition; a chain in a circle ends with its bound.
fn logical(disk: &dyn BlockSource, base: u64, found: &mut Vec<(u64, ByteRange)>) -> Result<()> {
    let mut table = base;
    for number in 5..64 {
        let Some(at) = range(disk, table, 1, SECTOR) else { return Ok(()) };
        let mut head = vec![0; SECTOR as usize];
        if at.len() < SECTOR {
            return Ok(());
        }
        disk.read_at(at.start, &mut head)?;
        if head[510..] != [0x55, 0xaa] {
            return Ok(());
        }
        let (first, sectors) = (le32(&head, 446 + 8), le32(&head, 446 + 12));
        if head[446 + 4] != 0 {
            found.extend(range(disk, table + first, sectors, SECTOR).map(|range| (number, range)));
        }
        let next = le32(&head, 462 + 8);
        if head[462 + 4] == 0 || next == 0 {
            return Ok(());
        }
        table = base + next;
    }
    Ok(())
}
