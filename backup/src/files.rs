//! Files of a disk, read without the kernel touching the guest's filesystem.
//!
//! ```text
//! disk -> volumes (GPT, MBR, the whole disk) -> LVM's logical volumes -> a filesystem -> listing, zip, tar
//! ```
//!
//! Read here: ext2, ext3 and ext4 (with their journal), XFS (with its log), NTFS; LVM's linear and RAID 1
//! volumes on one disk. Not read: striped and thin LVM volumes, ZFS, Btrfs, FAT, ReFS, LUKS and BitLocker,
//! compressed or encrypted NTFS files, sparse or encrypted by the guest. For those, `serve-nbd` gives the disk
//! to a helper VM that has them.
//!
//! What always holds: the filesystem is hostile. The readers below are other people's, without unsafe code; each
//! call has a budget of reads, so that a loop on the disk ends; a panic in one becomes an error; names are
//! checked before they go into an archive; memory depends on the longest directory listed, which is bounded.

mod archive;
mod ext4;
mod lvm;
mod ntfs;
mod volumes;
mod window;
mod xfs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Serialize;
use xenith_common_block::BlockSource;

use crate::error::{BackupError, Result};

pub use archive::{Archive, Packed, pack};
pub use volumes::{Volume, volumes};
pub use window::Window;

/// Entries of one directory.
pub const MAX_ENTRIES: usize = 1_000_000;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    File,
    Folder,
    Link,
    /// Devices, sockets, pipes.
    Other,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As on the disk; never empty, `.`, `..` or with a `/` in it.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Permission bits, where the filesystem has them.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: i64,
}

/// A filesystem's reader. Paths are absolute and separated by `/`.
trait Reader {
    fn list(&mut self, path: &[u8], take: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()>;
    fn entry(&mut self, path: &[u8]) -> Result<Entry>;
    fn read(&mut self, path: &[u8], take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
    fn link(&mut self, path: &[u8]) -> Result<Vec<u8>>;
}

/// An opened filesystem.
pub struct FileSystem {
    reader: Box<dyn Reader>,
    window: Window,
    kind: &'static str,
}

impl std::fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

/// The filesystem's name by its magic numbers, whether it can be read here or not.
#[must_use]
pub fn recognise(source: &dyn BlockSource) -> Option<&'static str> {
    let mut head = vec![0; 70 * 1024];
    let len = (source.size().min(head.len() as u64)) as usize;
    source.read_at(0, &mut head[..len]).ok()?;
    let at = |offset: usize, magic: &[u8]| head[offset..].starts_with(magic);
    let known: [(&str, bool); 9] = [
        ("ext4", at(1024 + 56, &[0x53, 0xef])),
        ("xfs", at(0, b"XFSB")),
        ("ntfs", at(3, b"NTFS    ")),
        ("lvm", (0..4).any(|sector| at(sector * 512, b"LABELONE"))),
        ("luks", at(0, b"LUKS\xba\xbe")),
        ("bitlocker", at(3, b"-FVE-FS-")),
        ("btrfs", at(64 * 1024 + 64, b"_BHRfS_M")),
        ("fat", at(54, b"FAT1") || at(82, b"FAT32")),
        ("swap", at(4086, b"SWAPSPACE2")),
    ];
    known.into_iter().find(|(_, found)| *found).map(|(name, _)| name)
}

/// Opens the filesystem on `source`.
pub fn open(source: Arc<dyn BlockSource>) -> Result<FileSystem> {
    let kind = recognise(&*source);
    let window = Window::new(source);
    let (reader, kind): (Box<dyn Reader>, &'static str) = match kind {
        Some("ext4") => (guard(|| ext4::open(window.clone()))?, "ext4"),
        Some("xfs") => (guard(|| xfs::open(window.clone()))?, "xfs"),
        Some("ntfs") => (guard(|| ntfs::open(window.clone()))?, "ntfs"),
        other => {
            return Err(BackupError::Invalid(format!(
                "{} cannot be read without its own system; serve the disk with serve-nbd to one that has it",
                other.unwrap_or("what is on this volume")
            )));
        }
    };
    Ok(FileSystem { reader, window, kind })
}

/// A panic in somebody else's reader means that the disk confused it.
fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(damaged("the filesystem is damaged so that its reader gave up")))
}

fn damaged(detail: impl Into<String>) -> BackupError {
    BackupError::damaged("the filesystem in the backup", detail)
}

/// Whether a name may be one component of a path.
fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 1024
        && name != b"."
        && name != b".."
        && !name.iter().any(|&b| b == b'/' || b == 0)
}

impl FileSystem {
    /// `ext4`, `xfs` or `ntfs`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut dyn Reader) -> Result<T>) -> Result<T> {
        self.window.refuel();
        let reader = &mut *self.reader;
        guard(|| call(reader))
    }

    /// The entries of a folder, in the disk's order.
    pub fn list(&mut self, path: &[u8]) -> Result<Vec<Entry>> {
        self.call(|reader| {
            let mut entries = Vec::new();
            reader.list(path, &mut |entry| {
                if entries.len() >= MAX_ENTRIES {
                    return Err(damaged(format!("a folder has more than {MAX_ENTRIES} entries")));
                }
                if is_plain(&entry.name) {
                    entries.push(entry);
                }
                Ok(())
            })?;
            Ok(entries)
        })
    }

    /// What is at `path`; a link is not followed.
    pub fn entry(&mut self, path: &[u8]) -> Result<Entry> {
        self.call(|reader| reader.entry(path))
    }

    /// Reads a file front to back in pieces.
    pub fn read(&mut self, path: &[u8], take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.call(|reader| reader.read(path, take))
    }

    /// Where a symbolic link points, at most 4 KiB.
    pub fn link(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        self.call(|reader| reader.link(path))
    }
}
