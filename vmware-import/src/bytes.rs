//! Bytes that can be read at any offset: a file, a member of a tar, a range of an HTTP resource, memory.
//!
//! What always holds: the length is fixed when the source is opened, and a read past it is
//! [`ImportError::Truncated`], never a short read and never zeros. Nobody allocates by a length found in a
//! file before it was compared with [`ByteSource::len`].

pub mod gathered;

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Whence, lseek64};
use xenith_common_block::ByteRange;

use crate::error::{ImportError, Result};

/// See the module's text.
pub trait ByteSource: Send + Sync {
    /// What messages call it.
    fn name(&self) -> &str;

    /// In bytes.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset`; `field` names what is read, for the error of a file that is too short.
    fn read_at(&self, field: &'static str, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// The first offset at or after `from` that is not in a hole, and where that data ends.
    /// `None` when only a hole follows. The default knows no holes.
    fn data_after(&self, from: u64) -> Result<Option<ByteRange>> {
        Ok((from < self.len()).then(|| ByteRange::new(from, self.len())))
    }

    /// Tells one version of the contents from another (length, time of change, ETag); used by the journal.
    fn identity(&self) -> String {
        format!("{}:{}", self.name(), self.len())
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Refuses a read that ends past the source's length.
pub(crate) fn check(source: &dyn ByteSource, field: &'static str, offset: u64, len: u64) -> Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= source.len() => Ok(()),
        end => Err(ImportError::truncated(source.name(), field, end.unwrap_or(u64::MAX), source.len())),
    }
}

/// `len` bytes from `offset`, allocated only after the length was checked against the source.
pub(crate) fn read_vec(
    source: &dyn ByteSource,
    field: &'static str,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>> {
    check(source, field, offset, len)?;
    let mut bytes = vec![0; len as usize];
    source.read_at(field, offset, &mut bytes)?;
    Ok(bytes)
}

/// A file or block device.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    name: String,
    len: u64,
    identity: String,
}

impl FileBytes {
    /// Opens what the user named: symbolic links are followed, block devices are welcome.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| ImportError::io("open", &name, source))?;
        Self::new(file, name)
    }

    /// Opens a name found in a file: a regular file only, and not through a symbolic link. Opened without
    /// blocking, so that a FIFO of that name cannot hang us.
    pub fn open_strict(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
            .open(path)
            .map_err(|source| ImportError::io("open", &name, source))?;
        let kind = file.metadata().map_err(|source| ImportError::io("look at", &name, source))?.file_type();
        if !kind.is_file() {
            return Err(ImportError::unsupported(
                &name,
                "something that is not a regular file",
                "extents and parents have to be plain files",
            ));
        }
        Self::new(file, name)
    }

    fn new(file: File, name: String) -> Result<Self> {
        let about = file.metadata().map_err(|source| ImportError::io("look at", &name, source))?;
        if !about.is_file() && !about.file_type().is_block_device() {
            return Err(ImportError::unsupported(
                &name,
                "something that is neither a file nor a block device",
                "use - to read a stream from standard input",
            ));
        }
        let len = lseek64(&file, 0, Whence::SeekEnd)
            .map_err(|errno| ImportError::io("find the size of", &name, errno.into()))?;
        let identity =
            format!("{}:{}:{len}:{}.{}", about.dev(), about.ino(), about.mtime(), about.mtime_nsec());
        Ok(Self { file, name, len: len as u64, identity })
    }
}

impl ByteSource for FileBytes {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, field: &'static str, offset: u64, buf: &mut [u8]) -> Result<()> {
        check(self, field, offset, buf.len() as u64)?;
        self.file.read_exact_at(buf, offset).map_err(|source| ImportError::io("read", &self.name, source))
    }

    fn data_after(&self, from: u64) -> Result<Option<ByteRange>> {
        if from >= self.len {
            return Ok(None);
        }
        let start = match lseek64(self.file.as_fd(), from as i64, Whence::SeekData) {
            Ok(start) => start as u64,
            Err(nix::Error::ENXIO) => return Ok(None),
            // Block devices and odd filesystems: everything is data.
            Err(_) => return Ok(Some(ByteRange::new(from, self.len))),
        };
        let end = lseek64(self.file.as_fd(), start as i64, Whence::SeekHole)
            .map_or(self.len, |end| (end as u64).min(self.len));
        Ok(Some(ByteRange::new(start, end)))
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }
}

/// Bytes in memory.
#[derive(Debug)]
pub struct MemoryBytes {
    name: String,
    bytes: Vec<u8>,
}

impl MemoryBytes {
    #[must_use]
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), bytes }
    }
}

impl ByteSource for MemoryBytes {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, field: &'static str, offset: u64, buf: &mut [u8]) -> Result<()> {
        check(self, field, offset, buf.len() as u64)?;
        let start = offset as usize;
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }
}

/// A part of another source, such as a member of a tar.
pub struct Window {
    inner: Arc<dyn ByteSource>,
    name: String,
    range: ByteRange,
}

impl Window {
    /// `range` of `inner`, which must hold it.
    pub fn new(inner: Arc<dyn ByteSource>, name: &str, range: ByteRange) -> Result<Self> {
        check(&*inner, "a member", range.start, range.len())?;
        Ok(Self { name: format!("{}:{name}", inner.name()), inner, range })
    }
}

impl ByteSource for Window {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.range.len()
    }

    fn read_at(&self, field: &'static str, offset: u64, buf: &mut [u8]) -> Result<()> {
        check(self, field, offset, buf.len() as u64)?;
        self.inner.read_at(field, self.range.start + offset, buf)
    }

    fn data_after(&self, from: u64) -> Result<Option<ByteRange>> {
        let Some(found) = self.inner.data_after(self.range.start.saturating_add(from))? else {
            return Ok(None);
        };
        let inside = found.intersect(&self.range);
        Ok(inside.map(|r| ByteRange::new(r.start - self.range.start, r.end - self.range.start)))
    }

    fn identity(&self) -> String {
        format!("{}@{}", self.inner.identity(), self.range)
    }
}

/// Where the names in a descriptor, an OVF or a `.vmx` are looked up, and nowhere else.
pub trait Folder: Send + Sync {
    /// Opens `name`, which `from` named as its `field`. A name that is not plain is refused before the
    /// backing store hears of it.
    fn open(&self, from: &str, field: &'static str, name: &str) -> Result<Arc<dyn ByteSource>>;
}

/// A name is plain when it can only mean a file in the folder itself.
pub fn check_plain(from: &str, field: &'static str, name: &str) -> Result<()> {
    let plain = !name.is_empty()
        && name != "."
        && name != ".."
        && name.len() <= 255
        && !name.chars().any(|c| matches!(c, '/' | '\\') || c.is_control());
    if plain {
        return Ok(());
    }
    let name = name.chars().take(120).collect();
    Err(ImportError::Outside { file: from.to_owned(), field, name })
}

/// A local directory.
#[derive(Debug)]
pub struct DirFolder {
    dir: PathBuf,
}

impl DirFolder {
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder a file lies in.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => Self::new(parent),
            _ => Self::new(Path::new(".")),
        }
    }
}

impl Folder for DirFolder {
    fn open(&self, from: &str, field: &'static str, name: &str) -> Result<Arc<dyn ByteSource>> {
        check_plain(from, field, name)?;
        match FileBytes::open_strict(&self.dir.join(name)) {
            Ok(bytes) => Ok(Arc::new(bytes)),
            Err(ImportError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(ImportError::Missing { file: from.to_owned(), name: name.to_owned() })
            }
            Err(other) => Err(other),
        }
    }
}
