//! NTFS. Names are looked up as Windows does, whatever their case. Reparse points (junctions, symbolic links,
//! files of the cloud) are shown as what they are not followed to: something other.

use std::io::{Read, Seek};

use ntfs::indexes::NtfsFileNameIndex;
use ntfs::structured_values::{NtfsFileAttributeFlags, NtfsFileName, NtfsFileNamespace};
use ntfs::{Ntfs, NtfsAttributeFlags, NtfsError, NtfsFile, NtfsReadSeek};

use super::{Entry, Kind, Reader, Window, damaged};
use crate::error::{BackupError, Result};

const PIECE: usize = 1 << 20;
/// From 1601 to 1970 in units of 100 ns.
const EPOCH: i64 = 116_444_736_000_000_000;

struct NtfsReader {
    window: std::io::BufReader<Window>,
    ntfs: Ntfs,
}

pub(super) fn open(window: Window) -> Result<Box<dyn Reader>> {
    let mut window = std::io::BufReader::with_capacity(16 * 1024, window);
    let mut ntfs = Ntfs::new(&mut window).map_err(lifted)?;
    ntfs.read_upcase_table(&mut window).map_err(lifted)?;
    Ok(Box::new(NtfsReader { window, ntfs }))
}

fn lifted(error: NtfsError) -> BackupError {
    damaged(error.to_string())
}

fn not_found() -> BackupError {
    BackupError::NotFound { what: "this path".to_owned() }
}

fn entry(name: &NtfsFileName) -> Entry {
    let flags = name.file_attributes();
    let kind = if flags.contains(NtfsFileAttributeFlags::REPARSE_POINT) {
        Kind::Other
    } else if name.is_directory() {
        Kind::Folder
    } else {
        Kind::File
    };
    let stamp = i64::try_from(name.modification_time().nt_timestamp()).unwrap_or(EPOCH);
    Entry {
        name: name.name().to_string_lossy().into_bytes(),
        kind,
        size: name.data_size(),
        mode: if kind == Kind::Folder { 0o755 } else { 0o644 },
        modified: (stamp - EPOCH).div_euclid(10_000_000),
    }
}

impl NtfsReader {
    /// Walks to `path` and gives the file and the entry that named it.
    fn at<T>(
        &mut self,
        path: &[u8],
        then: impl FnOnce(&Ntfs, &mut std::io::BufReader<Window>, &NtfsFile<'_>, Entry) -> Result<T>,
    ) -> Result<T> {
        let Self { window, ntfs } = self;
        let text = std::str::from_utf8(path).map_err(|_| not_found())?;
        let mut file = ntfs.root_directory(window).map_err(lifted)?;
        let mut here = Entry { name: Vec::new(), kind: Kind::Folder, size: 0, mode: 0o755, modified: 0 };
        for part in text.split('/').filter(|part| !part.is_empty()) {
            let next = {
                let index = file.directory_index(window).map_err(|_| not_found())?;
                let mut finder = index.finder();
                let found = NtfsFileNameIndex::find(&mut finder, ntfs, window, part);
                let found = found.ok_or_else(not_found)?.map_err(lifted)?;
                let name = found.key().ok_or_else(not_found)?.map_err(lifted)?;
                here = entry(&name);
                found.to_file(ntfs, window).map_err(lifted)?
            };
            file = next;
        }
        then(ntfs, window, &file, here)
    }
}

fn list(
    window: &mut (impl Read + Seek),
    file: &NtfsFile<'_>,
    take: &mut dyn FnMut(Entry) -> Result<()>,
) -> Result<()> {
    let index = file.directory_index(window).map_err(lifted)?;
    let mut entries = index.entries();
    while let Some(found) = entries.next(window) {
        let Some(name) = found.map_err(lifted)?.key() else { continue };
        let name = name.map_err(lifted)?;
        // Each long name has a short twin; the metadata files of the root begin with a dollar sign.
        let system = name.file_attributes().contains(NtfsFileAttributeFlags::SYSTEM)
            && name.name().to_string_lossy().starts_with('$');
        if name.namespace() != NtfsFileNamespace::Dos && !system {
            take(entry(&name))?;
        }
    }
    Ok(())
}

impl Reader for NtfsReader {
    fn list(&mut self, path: &[u8], take: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        self.at(path, |_, window, file, _| list(window, file, take))
    }

    fn entry(&mut self, path: &[u8]) -> Result<Entry> {
        self.at(path, |_, _, _, entry| Ok(entry))
    }

    fn read(&mut self, path: &[u8], take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.at(path, |_, window, file, _| {
            let Some(data) = file.data(window, "") else { return Ok(()) };
            let data = data.map_err(lifted)?;
            let attribute = data.to_attribute().map_err(lifted)?;
            if attribute.flags().intersects(NtfsAttributeFlags::COMPRESSED | NtfsAttributeFlags::ENCRYPTED) {
                let text = "this file is compressed or encrypted by NTFS; serve the disk with serve-nbd to a Windows";
                return Err(BackupError::Invalid(text.to_owned()));
            }
            let mut value = attribute.value(window).map_err(lifted)?;
            let mut piece = vec![0; PIECE];
            loop {
                let len = value.read(window, &mut piece).map_err(lifted)?;
                if len == 0 {
                    return Ok(());
                }
                take(&piece[..len])?;
            }
        })
    }

    fn link(&mut self, _path: &[u8]) -> Result<Vec<u8>> {
        Err(BackupError::Invalid("links of NTFS are not read".to_owned()))
    }
}
