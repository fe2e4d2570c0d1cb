//! What a disk shows of Windows before anything is copied: volumes that BitLocker encrypts, and a Windows that hibernates.
//!
//! Neither can be prepared to boot on Xen, and both are mended at the source only. Read are partition tables, boot sectors
//! and, of NTFS, the way to the first bytes of `hiberfil.sys`: at most [`BUDGET`] bytes of a disk, so that tables that lead in a
//! circle end. Nothing is written. What of an NTFS cannot be understood shows nothing: whether it is sound is found out by
//! who reads it.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ntfs::indexes::NtfsFileNameIndex;
use ntfs::{Ntfs, NtfsError, NtfsReadSeek};
use xenith_common_block::{BlockError, BlockSource, ByteRange, partitions};

use crate::guest::windows::is_hibernated;

/// Much more than the way to a file of the root takes, of which most is the table of upper case letters.
const BUDGET: u64 = 8 << 20;
/// Read at once of an NTFS: the size of its records and nodes.
const PIECE: usize = 4096;
/// Of a boot sector.
const HEAD: usize = 512;
/// BitLocker To Go has the boot sector of a FAT, with this GUID in it.
const TO_GO: [u8; 16] =
    [0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01];

/// What was seen on a disk, or on all of a VM's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    pub bitlocker: bool,
    pub hibernated: bool,
}

impl Seen {
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { bitlocker: self.bitlocker || other.bitlocker, hibernated: self.hibernated || other.hibernated }
    }

    /// For people, with the way out.
    #[must_use]
    pub fn warnings(self) -> Vec<String> {
        let told = [
            (
                self.bitlocker,
                "a volume is encrypted by BitLocker: the guest cannot be prepared to boot; decrypt it first \
                 (manage-bde -off)",
            ),
            (
                self.hibernated,
                "Windows is hibernated or was shut down with fast startup: the guest cannot be prepared to boot; \
                 start it, and shut it down with `shutdown /s /t 0`",
            ),
        ];
        told.into_iter().filter(|(seen, _)| *seen).map(|(_, text)| text.to_owned()).collect()
    }
}

/// Looks at `disk`. An error is one of reading it.
pub fn look(disk: &dyn BlockSource) -> Result<Seen, BlockError> {
    let mut seen = Seen::default();
    let mut left = BUDGET;
    for volume in volumes(disk)? {
        let head = head(disk, volume)?;
        seen.bitlocker |= is_bitlocker(&head);
        if is_ntfs(&head) {
            seen.hibernated |= hibernates(disk, volume, &mut left);
        }
    }
    Ok(seen)
}

/// Whether a volume of `disk` is encrypted by BitLocker: for who must not read a stranger's filesystem, as an agent.
pub fn has_bitlocker(disk: &dyn BlockSource) -> Result<bool, BlockError> {
    for volume in volumes(disk)? {
        if is_bitlocker(&head(disk, volume)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The partitions, or all of the disk where it has none.
fn volumes(disk: &dyn BlockSource) -> Result<Vec<ByteRange>, BlockError> {
    let found: Vec<ByteRange> = partitions(disk)?.into_iter().map(|part| part.range).collect();
    Ok(if found.is_empty() { vec![ByteRange::new(0, disk.size())] } else { found })
}

fn head(disk: &dyn BlockSource, volume: ByteRange) -> Result<[u8; HEAD], BlockError> {
    let mut head = [0; HEAD];
    let len = volume.len().min(HEAD as u64) as usize;
    disk.read_at(volume.start, &mut head[..len])?;
    Ok(head)
}

fn is_bitlocker(head: &[u8; HEAD]) -> bool {
    head[3..11] == *b"-FVE-FS-" || (head[3..11] == *b"MSWIN4.1" && head[424..440] == TO_GO)
}

fn is_ntfs(head: &[u8; HEAD]) -> bool {
    head[3..11] == *b"NTFS    "
}

fn hibernates(disk: &dyn BlockSource, range: ByteRange, left: &mut u64) -> bool {
    let volume = Volume { disk, range, position: 0, left };
    let mut volume = BufReader::with_capacity(PIECE, volume);
    // The library is careful, and not ours: a panic over a stranger's bytes must end no more than this look.
    let looked = catch_unwind(AssertUnwindSafe(|| head_of_hiberfil(&mut volume)));
    matches!(looked, Ok(Ok(Some(head))) if is_hibernated(&head))
}

fn head_of_hiberfil(volume: &mut (impl Read + Seek)) -> Result<Option<[u8; 4]>, NtfsError> {
    let mut ntfs = Ntfs::new(volume)?;
    ntfs.read_upcase_table(volume)?;
    let root = ntfs.root_directory(volume)?;
    let index = root.directory_index(volume)?;
    let mut finder = index.finder();
    let Some(found) = NtfsFileNameIndex::find(&mut finder, &ntfs, volume, "hiberfil.sys") else {
        return Ok(None);
    };
    let file = found?.to_file(&ntfs, volume)?;
    let Some(data) = file.data(volume, "") else { return Ok(None) };
    let data = data?;
    let attribute = data.to_attribute()?;
    let mut value = attribute.value(volume)?;
    let mut head = [0; 4];
    let len = value.read(volume, &mut head)?;
    Ok((len == head.len()).then_some(head))
}

/// A volume in the shape that the library reads, with what is left of the budget.
struct Volume<'a> {
    disk: &'a dyn BlockSource,
    range: ByteRange,
    position: u64,
    left: &'a mut u64,
}

impl Read for Volume<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.range.len().saturating_sub(self.position).min(buf.len() as u64);
        let spent = self.left.checked_sub(len);
        *self.left = spent.ok_or_else(|| io::Error::other("the filesystem goes round in circles"))?;
        if len > 0 {
            let buf = &mut buf[..len as usize];
            self.disk.read_at(self.range.start + self.position, buf).map_err(io::Error::other)?;
            self.position += len;
        }
        Ok(len as usize)
    }
}

impl Seek for Volume<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.range.len(), by),
            SeekFrom::Current(by) => (self.position, by),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a seek to nowhere");
        self.position = from.checked_add_signed(by).ok_or_else(outside)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_block::MemorySource;

    use super::*;

    const MIB: usize = 1 << 20;

    /// A disk with one partition from 1 MiB on.
    fn partitioned(volume: &[u8]) -> Vec<u8> {
        let mut disk = vec![0; MIB];
        disk[446 + 4] = 0x07;
        disk[446 + 8..][..4].copy_from_slice(&2048u32.to_le_bytes());
        disk[446 + 12..][..4].copy_from_slice(&((volume.len() / 512) as u32).to_le_bytes());
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk.extend_from_slice(volume);
        disk
    }

    fn volume(name: &[u8; 8]) -> Vec<u8> {
        let mut volume = vec![0; MIB];
        volume[3..11].copy_from_slice(name);
        volume
    }

    #[test]
    fn bitlocker_shows_in_the_boot_sector() {
        let mut to_go = volume(b"MSWIN4.1");
        to_go[424..440].copy_from_slice(&TO_GO);
        for (name, disk, expected) in [
            ("in a partition", partitioned(&volume(b"-FVE-FS-")), true),
            ("without a table", volume(b"-FVE-FS-"), true),
            ("to go", partitioned(&to_go), true),
            ("FAT", partitioned(&volume(b"MSWIN4.1")), false),
            ("an NTFS of which nothing else is there", partitioned(&volume(b"NTFS    ")), false),
            ("nothing", vec![0; MIB], false),
            ("a sector", vec![7; 512], false),
        ] {
            let disk = MemorySource::new(disk);
            let seen = look(&disk).unwrap();
            assert_eq!(seen, Seen { bitlocker: expected, hibernated: false }, "{name}");
            assert_eq!(has_bitlocker(&disk).unwrap(), expected, "{name}");
            assert_eq!(seen.warnings().len(), usize::from(expected), "{name}");
        }
    }

    #[test]
    fn a_volume_is_read_within_its_bounds_and_its_budget() {
        let disk = MemorySource::new((0..4096u32).map(|at| at as u8).collect());
        let mut left = 100;
        let mut volume =
            Volume { disk: &disk, range: ByteRange::new(1024, 1040), position: 0, left: &mut left };
        let mut buf = [0; 64];
        assert_eq!(volume.read(&mut buf).unwrap(), 16);
        assert_eq!(buf[..16], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(volume.read(&mut buf).unwrap(), 0, "the end");
        assert_eq!(volume.seek(SeekFrom::End(-1)).unwrap(), 15);
        assert_eq!(volume.read(&mut buf).unwrap(), 1);
        assert!(volume.seek(SeekFrom::Current(-100)).is_err());
        for _ in 0..5 {
            volume.seek(SeekFrom::Start(0)).unwrap();
            assert_eq!(volume.read(&mut buf).unwrap(), 16);
        }
        volume.seek(SeekFrom::Start(0)).unwrap();
        assert!(volume.read(&mut buf).is_err(), "the budget is spent");
    }
}
