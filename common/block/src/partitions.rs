//! The partitions of a disk, by its GPT or its MBR.
//!
//! The tables are read here, not by a crate: those at hand take memory for as many entries as a table claims, and a table is
//! a stranger's. Nothing past the end of the disk is believed, and a chain in a circle ends with its bound. Sources: UEFI
//! specification 2.10 chapter 5; the MBR of the IBM PC.

use crate::{BlockError, BlockSource, ByteRange};

const SECTOR: u64 = 512;
/// Windows and Linux make 128; a table of more is read up to here.
const MAX_PARTITIONS: u64 = 1024;
/// Logical partitions are counted from 5.
const LOGICAL: std::ops::Range<u64> = 5..64;

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// As Linux counts them.
    pub number: u64,
    /// Where it lies on the disk; never empty.
    pub range: ByteRange,
}

/// The partitions of `disk`; none where it has no table.
pub fn partitions(disk: &dyn BlockSource) -> Result<Vec<Partition>, BlockError> {
    let found = gpt(disk)?;
    if found.is_empty() { mbr(disk) } else { Ok(found) }
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
fn gpt(disk: &dyn BlockSource) -> Result<Vec<Partition>, BlockError> {
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
            .filter_map(|(index, entry)| {
                let (first, last) = (le64(entry, 32), le64(entry, 40));
                let sectors = last.checked_sub(first)?.checked_add(1)?;
                Some(Partition { number: index as u64 + 1, range: range(disk, first, sectors, unit)? })
            })
            .collect());
    }
    Ok(Vec::new())
}

/// The partitions of an MBR, the logical ones of an extended partition among them.
fn mbr(disk: &dyn BlockSource) -> Result<Vec<Partition>, BlockError> {
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
    for index in 0..4u64 {
        let entry = &head[446 + index as usize * 16..][..16];
        let (kind, first, sectors) = (entry[4], le32(entry, 8), le32(entry, 12));
        match kind {
            0 => {}
            0x05 | 0x0f | 0x85 => logical(disk, first, &mut found)?,
            _ => {
                let range = range(disk, first, sectors, SECTOR);
                found.extend(range.map(|range| Partition { number: index + 1, range }));
            }
        }
    }
    Ok(found)
}

/// Follows the chain of tables in an extended partition.
fn logical(disk: &dyn BlockSource, base: u64, found: &mut Vec<Partition>) -> Result<(), BlockError> {
    let mut table = base;
    for number in LOGICAL {
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
            let range = range(disk, table + first, sectors, SECTOR);
            found.extend(range.map(|range| Partition { number, range }));
        }
        let next = le32(&head, 462 + 8);
        if head[462 + 4] == 0 || next == 0 {
            return Ok(());
        }
        table = base + next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemorySource;

    const MIB: usize = 1 << 20;

    fn entry(table: &mut [u8], index: usize, kind: u8, (first, sectors): (u32, u32)) {
        let at = 446 + index * 16;
        table[at + 4] = kind;
        table[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        table[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        table[510..512].copy_from_slice(&[0x55, 0xaa]);
    }

    fn found(disk: Vec<u8>) -> Vec<(u64, u64, u64)> {
        let found = partitions(&MemorySource::new(disk)).unwrap();
        found.into_iter().map(|part| (part.number, part.range.start / 512, part.range.end / 512)).collect()
    }

    #[test]
    fn an_mbr_with_logical_partitions() {
        let mut disk = vec![0; MIB];
        entry(&mut disk, 0, 0x07, (2, 10));
        entry(&mut disk, 1, 0x05, (100, 200));
        entry(&mut disk, 2, 0x83, (2000, 4000));
        entry(&mut disk, 3, 0x83, (5000, 1));
        entry(&mut disk[100 * 512..], 0, 0x83, (1, 20));
        entry(&mut disk[100 * 512..], 1, 0x05, (50, 30));
        entry(&mut disk[150 * 512..], 0, 0x83, (1, 9));
        // A chain in a circle.
        entry(&mut disk[150 * 512..], 1, 0x05, (50, 30));
        let found = found(disk);
        assert_eq!(found[..3], [(1, 2, 12), (5, 101, 121), (6, 151, 160)]);
        assert_eq!(found.last(), Some(&(3, 2000, 2048)), "cut off at the end of the disk");
        assert!(found.len() < 64, "{}", found.len());
    }

    #[test]
    fn a_gpt_with_an_entry_past_the_end() {
        let mut disk = vec![0; MIB];
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72..][..8].copy_from_slice(&2u64.to_le_bytes());
        disk[512 + 80..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        disk[512 + 84..][..4].copy_from_slice(&128u32.to_le_bytes());
        for (index, first, last) in [(0, 34u64, 99u64), (2, 1 << 40, 1 << 41), (3, 200, 100), (4, 100, 100)] {
            let entry = &mut disk[1024 + index * 128..][..128];
            entry[..16].fill(7);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        assert_eq!(found(disk), [(1, 34, 100), (5, 100, 101)]);
    }

    #[test]
    fn what_is_no_table() {
        for (name, disk) in [
            ("nothing", vec![0; MIB]),
            ("noise", vec![0xff; MIB]),
            ("smaller than a sector", Vec::new()),
            ("a boot sector", {
                let mut disk = vec![0x90; MIB];
                disk[510..512].copy_from_slice(&[0x55, 0xaa]);
                disk
            }),
        ] {
            assert!(found(disk).is_empty(), "{name}");
        }
    }
}
