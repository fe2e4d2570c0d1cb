//! Where a file's bytes lie on its device: `FS_IOC_FIEMAP` (linux/fiemap.h), the one unsafe call of this crate.
#![allow(unsafe_code, reason = "wraps an ioctl that no library of ours offers")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use xenith_common_block::ByteRange;

/// `_IOWR('f', 11, struct fiemap)` with the header's 32 bytes.
const FS_IOC_FIEMAP: libc::Ioctl = 0xC020_660B;
/// Written out before the map is read: a block without a place has none to compare.
const FIEMAP_FLAG_SYNC: u32 = 1;

const LAST: u32 = 0x1;
/// Reads as zeros although space is set aside.
const UNWRITTEN: u32 = 0x800;
/// Unknown, delayed, encoded, encrypted, not aligned, inline, tail: the place does not name the contents.
const VAGUE: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400;

/// Extents asked for at once: 14 KiB.
const BATCH: usize = 256;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Request {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [RawExtent; BATCH],
}

const _: () = assert!(size_of::<RawExtent>() == 56, "struct fiemap_extent of linux/fiemap.h");
const _: () = assert!(size_of::<Request>() == 32 + 56 * BATCH, "struct fiemap of linux/fiemap.h");

/// A written part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapped {
    pub range: ByteRange,
    /// Where it begins on the device; `None` where the file system does not say.
    pub place: Option<u64>,
}

/// The written parts of a file, in order, read a batch at a time. Holes and space that is only set aside are left
/// out: both read as zeros.
#[derive(Debug)]
pub struct ExtentMap<'a> {
    file: &'a File,
    size: u64,
    at: u64,
    batch: std::vec::IntoIter<Mapped>,
    done: bool,
}

impl<'a> ExtentMap<'a> {
    pub fn new(file: &'a File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size, at: 0, batch: Vec::new().into_iter(), done: size == 0 })
    }

    fn read_batch(&mut self) -> io::Result<()> {
        let mut request = Box::new(Request {
            start: self.at,
            length: self.size - self.at,
            flags: if self.at == 0 { FIEMAP_FLAG_SYNC } else { 0 },
            mapped_extents: 0,
            extent_count: u32::try_from(BATCH).expect("a small constant"),
            reserved: 0,
            extents: [RawExtent::default(); BATCH],
        });
        // SAFETY: the kernel reads the header and writes at most `extent_count` extents behind it, for which there
        // is room in the struct; its layout is checked above and it lives for the call.
        let rc = unsafe { libc::ioctl(self.file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut *request) };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
        let count = (request.mapped_extents as usize).min(BATCH);
        let extents = &request.extents[..count];
        let before = self.at;
        for extent in extents {
            self.at = self.at.max(extent.logical.saturating_add(extent.length));
        }
        self.done = count == 0
            || self.at >= self.size
            || self.at == before
            || extents.last().is_some_and(|extent| extent.flags & LAST != 0);
        let written = extents.iter().filter(|extent| extent.flags & UNWRITTEN == 0);
        let mapped: Vec<Mapped> = written
            .map(|extent| Mapped {
                range: ByteRange::new(
                    extent.logical,
                    extent.logical.saturating_add(extent.length).min(self.size),
                ),
                place: (extent.flags & VAGUE == 0 && extent.physical != 0).then_some(extent.physical),
            })
            .filter(|mapped| !mapped.range.is_empty())
            .collect();
        self.batch = mapped.into_iter();
        Ok(())
    }
}

impl Iterator for ExtentMap<'_> {
    type Item = io::Result<Mapped>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(mapped) = self.batch.next() {
                return Some(Ok(mapped));
            }
            if self.done {
                return None;
            }
            if let Err(error) = self.read_batch() {
                self.done = true;
                return Some(Err(error));
            }
        }
    }
}
