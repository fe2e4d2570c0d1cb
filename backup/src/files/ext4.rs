//! ext2, ext3, ext4.

use std::error::Error;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, Metadata, Path};

use super::{Entry, Kind, Reader, Window, damaged};
use crate::error::{BackupError, Result};

/// A link's target is a path.
const MAX_LINK: u64 = 4096;
const PIECE: usize = 1 << 20;

struct Source(Window);

impl Ext4Read for Source {
    fn read(&mut self, at: u64, buf: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        Ok(self.0.fill(at, buf)?)
    }
}

struct Ext4Reader(Ext4);

pub(super) fn open(window: Window) -> Result<Box<dyn Reader>> {
    Ok(Box::new(Ext4Reader(Ext4::load(Box::new(Source(window))).map_err(lifted)?)))
}

fn lifted(error: Ext4Error) -> BackupError {
    match error {
        Ext4Error::NotFound => BackupError::NotFound { what: "this path".to_owned() },
        other => damaged(crate::error::chain(&other)),
    }
}

fn kind(of: FileType) -> Kind {
    if of.is_dir() {
        Kind::Folder
    } else if of.is_regular_file() {
        Kind::File
    } else if of.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    }
}

fn entry(name: &[u8], metadata: &Metadata) -> Entry {
    Entry {
        name: name.to_vec(),
        kind: kind(metadata.file_type()),
        size: metadata.len(),
        mode: u32::from(metadata.mode()) & 0o7777,
        modified: metadata.modified().seconds(),
    }
}

fn path(bytes: &[u8]) -> Result<Path<'_>> {
    Path::try_from(bytes).map_err(|_| BackupError::Invalid("this cannot be a path of ext4".to_owned()))
}

impl Reader for Ext4Reader {
    fn list(&mut self, at: &[u8], take: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        for found in self.0.read_dir(path(at)?).map_err(lifted)? {
            let found = found.map_err(lifted)?;
            let metadata = found.metadata().map_err(lifted)?;
            take(entry(found.file_name().as_ref(), &metadata))?;
        }
        Ok(())
    }

    fn entry(&mut self, at: &[u8]) -> Result<Entry> {
        let metadata = self.0.symlink_metadata(path(at)?).map_err(lifted)?;
        Ok(entry(at.rsplit(|&b| b == b'/').next().unwrap_or_default(), &metadata))
    }

    fn read(&mut self, at: &[u8], take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut file = self.0.open(path(at)?).map_err(lifted)?;
        let mut piece = vec![0; PIECE];
        loop {
            let len = file.read_bytes(&mut piece).map_err(lifted)?;
            if len == 0 {
                return Ok(());
            }
            take(&piece[..len])?;
        }
    }

    fn link(&mut self, at: &[u8]) -> Result<Vec<u8>> {
        // The reader takes memory for as much as the inode claims.
        if self.0.symlink_metadata(path(at)?).map_err(lifted)?.len() > MAX_LINK {
            return Err(damaged("a link's target is longer than a path"));
        }
        let target = self.0.read_link(path(at)?).map_err(lifted)?;
        Ok(target.as_path().as_ref().to_vec())
    }
}
