//! Raw images and block devices.
//!
//! Holes are found with `SEEK_DATA`/`SEEK_HOLE`; a filesystem or device without them reports everything as
//! data. Writes go where they are told with `pwrite`; zeroing punches a hole, and where the filesystem
//! cannot, writes zeros.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek64};

use crate::{BlockError, BlockSink, BlockSource, ByteRange, Extent, ExtentKind};

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

#[derive(Debug)]
struct Disk {
    file: File,
    name: String,
    size: u64,
}

impl Disk {
    fn new(file: File, path: &Path) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        // Seeking to the end is the one way that gives the size of files and of block devices.
        let size = lseek64(&file, 0, Whence::SeekEnd)
            .map_err(|errno| io_error("find the size of", &name, 0, errno.into()))?;
        Ok(Self { file, name, size: size as u64 })
    }

    fn error(&self, action: &'static str, offset: u64, source: io::Error) -> BlockError {
        io_error(action, &self.name, offset, source)
    }
}

fn io_error(action: &'static str, target: &str, offset: u64, source: io::Error) -> BlockError {
    BlockError::Io { action, target: target.to_owned(), offset, source }
}

/// A raw image or block device, opened read-only.
#[derive(Debug)]
pub struct FileSource {
    disk: Disk,
}

impl FileSource {
    pub fn open(path: &Path) -> Result<Self, BlockError> {
        let file =
            File::open(path).map_err(|source| io_error("open", &path.display().to_string(), 0, source))?;
        Ok(Self { disk: Disk::new(file, path)? })
    }

    /// What it reads.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.disk.file
    }

    /// The first offset at or after `from` where `whence` finds data or a hole; `None` past the last.
    fn seek(&self, from: u64, whence: Whence) -> Result<Option<u64>, nix::Error> {
        match lseek64(&self.disk.file, from as i64, whence) {
            Ok(offset) => Ok(Some(offset as u64)),
            Err(nix::Error::ENXIO) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl BlockSource for FileSource {
    fn size(&self) -> u64 {
        self.disk.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.disk.size)?;
        self.disk.file.read_exact_at(buf, offset).map_err(|source| self.disk.error("read", offset, source))
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.disk.size)?;
        let mut extents = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let data = match self.seek(at, Whence::SeekData) {
                Ok(Some(data)) => data.min(range.end),
                Ok(None) => range.end,
                // Block devices and odd filesystems: everything is data.
                Err(_) => {
                    Extent::push_merged(&mut extents, ByteRange::new(at, range.end), ExtentKind::Data);
                    return Ok(extents);
                }
            };
            Extent::push_merged(&mut extents, ByteRange::new(at, data), ExtentKind::Unallocated);
            if data == range.end {
                break;
            }
            let hole = self
                .seek(data, Whence::SeekHole)
                .map_err(|errno| self.disk.error("find holes in", data, errno.into()))?
                .map_or(range.end, |hole| hole.min(range.end));
            Extent::push_merged(&mut extents, ByteRange::new(data, hole), ExtentKind::Data);
            at = hole;
        }
        Ok(extents)
    }
}

/// A raw image or block device, opened for writing.
#[derive(Debug)]
pub struct FileSink {
    disk: Disk,
}

impl FileSink {
    /// A new sparse image; refuses to touch a file that exists.
    pub fn create_new(path: &Path, size: u64) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| io_error("create", &name, 0, source))?;
        file.set_len(size).map_err(|source| io_error("set the size of", &name, size, source))?;
        Ok(Self { disk: Disk { file, name, size } })
    }

    /// An image or device that is there.
    pub fn open(path: &Path) -> Result<Self, BlockError> {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(|source| io_error("open", &path.display().to_string(), 0, source))?;
        Ok(Self { disk: Disk::new(file, path)? })
    }

    fn write_zeros(&self, range: ByteRange) -> Result<(), BlockError> {
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(ZEROS.len() as u64);
            self.write_at(at, &ZEROS[..len as usize])?;
            at += len;
        }
        Ok(())
    }
}

impl BlockSink for FileSink {
    fn size(&self) -> u64 {
        self.disk.size
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, data.len() as u64, self.disk.size)?;
        self.disk.file.write_all_at(data, offset).map_err(|source| self.disk.error("write", offset, source))
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.disk.size)?;
        if range.is_empty() {
            return Ok(());
        }
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&self.disk.file, flags, range.start as i64, range.len() as i64) {
            Ok(()) => Ok(()),
            Err(nix::Error::EOPNOTSUPP | nix::Error::ENODEV | nix::Error::ENOSYS) => self.write_zeros(range),
            Err(errno) => Err(self.disk.error("zero", range.start, errno.into())),
        }
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.disk.file.sync_data().map_err(|source| self.disk.error("flush", 0, source))
    }
}

impl AsRawFd for FileSource {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.disk.file.as_raw_fd()
    }
}
