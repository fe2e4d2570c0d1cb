//! XFS. The reader gives no times.

use lamxfs::{BlockRead, EntryKind, Error, Path, Xfs};

use super::{Entry, Kind, Reader, Window, damaged};
use crate::error::{BackupError, Result};

const PIECE: usize = 1 << 20;

struct Source(Window);

impl BlockRead for Source {
    type Error = std::io::Error;

    fn read_at(&mut self, at: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.fill(at, buf)
    }
}

struct XfsReader(Xfs<Source>);

pub(super) fn open(window: Window) -> Result<Box<dyn Reader>> {
    let size = window.size();
    Ok(Box::new(XfsReader(Xfs::open(Source(window), size).map_err(lifted)?)))
}

fn lifted(error: Error) -> BackupError {
    match error {
        Error::NotFound { .. } => BackupError::NotFound { what: "this path".to_owned() },
        other => damaged(other.to_string()),
    }
}

fn kind(of: EntryKind) -> Kind {
    match of {
        EntryKind::Regular => Kind::File,
        EntryKind::Directory => Kind::Folder,
        EntryKind::Symlink => Kind::Link,
        EntryKind::Other => Kind::Other,
    }
}

impl Reader for XfsReader {
    fn list(&mut self, at: &[u8], take: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        for found in self.0.read_dir(Path::new(at)).map_err(lifted)? {
            let inode = lamxfs::Inode { ino: found.inode_number };
            let metadata = self.0.metadata(&inode).ok();
            take(Entry {
                name: found.name,
                kind: kind(found.kind),
                size: metadata.as_ref().map_or(0, lamxfs::Metadata::size),
                mode: metadata.as_ref().map_or(0, |metadata| metadata.mode() & 0o7777),
                modified: 0,
            })?;
        }
        Ok(())
    }

    fn entry(&mut self, at: &[u8]) -> Result<Entry> {
        let inode = self.0.resolve(Path::new(at)).map_err(lifted)?;
        let metadata = self.0.metadata(&inode).map_err(lifted)?;
        let kind = if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_file() {
            Kind::File
        } else if metadata.is_symlink() {
            Kind::Link
        } else {
            Kind::Other
        };
        let name = at.rsplit(|&b| b == b'/').next().unwrap_or_default().to_vec();
        Ok(Entry { name, kind, size: metadata.size(), mode: metadata.mode() & 0o7777, modified: 0 })
    }

    fn read(&mut self, at: &[u8], take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let inode = self.0.resolve(Path::new(at)).map_err(lifted)?;
        let mut piece = vec![0; PIECE];
        let mut offset = 0;
        loop {
            let len = self.0.read_file_at(&inode, offset, &mut piece).map_err(lifted)?;
            if len == 0 {
                return Ok(());
            }
            take(&piece[..len])?;
            offset += len as u64;
        }
    }

    fn link(&mut self, at: &[u8]) -> Result<Vec<u8>> {
        let target = self.0.read_link(Path::new(at)).map_err(lifted)?;
        if target.len() > 4096 { Err(damaged("a link's target is longer than a path")) } else { Ok(target) }
    }
}
