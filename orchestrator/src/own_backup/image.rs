//! A few files as one disk.
//!
//! ```text
//! 0     "XENITH ORCHESTRATOR 1\n", then the listing's length (u64, little endian) at 32
//! 4096  the listing: JSON, [{"name", "size", "offset"}], in the order of the offsets
//! ...   the files, each at a multiple of 4096, zeros between them
//! ```
//!
//! Files begin at multiples of the unit that backups are cut in, so that a table of the store which moved is the same
//! chunks at another place. What is read back is foreign data: lengths are checked before anything is allocated, and a
//! name can only be one of those that a backup has.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xenith_common_block::{BlockError, BlockSource};

/// In front of the names of the store's files.
pub const STORE: &str = "store/";

const MAGIC: &[u8] = b"XENITH ORCHESTRATOR 1\n";
const UNIT: u64 = 4096;
const LENGTH_AT: usize = 32;
/// A hundred thousand files: far more than a store has.
const MAX_LISTING: u64 = 16 << 20;
/// Bytes copied at a time.
const PIECE: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this is not the backup of an orchestrator: {0}")]
    Damaged(String),
    #[error(transparent)]
    Block(#[from] BlockError),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    size: u64,
    offset: u64,
}

fn units(bytes: u64) -> u64 {
    bytes.next_multiple_of(UNIT)
}

/// The disk, read from files that do not change.
pub struct FolderImage {
    head: Vec<u8>,
    files: Vec<(Listed, File)>,
    size: u64,
}

impl FolderImage {
    /// Of files under the names they get.
    pub fn new(files: Vec<(String, PathBuf)>) -> Result<Self, ImageError> {
        let mut opened = Vec::new();
        for (name, path) in files {
            let failed = |source| ImageError::Io { action: "read", path: path.clone(), source };
            let file = File::open(&path).map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            opened.push((Listed { name, size, offset: 0 }, file));
        }
        // The listing's length depends on the offsets' digits, and those on its length: it gets room for the longest.
        let longest: usize = opened.iter().map(|(listed, _)| listed.name.len() + 100).sum();
        let mut at = units(UNIT + longest as u64 + 2);
        for (listed, _) in &mut opened {
            listed.offset = at;
            at = units(at + listed.size);
        }
        let listing: Vec<&Listed> = opened.iter().map(|(listed, _)| listed).collect();
        let listing = serde_json::to_vec(&listing).expect("a listing is plain data");
        let mut head = vec![0; UNIT as usize];
        head[..MAGIC.len()].copy_from_slice(MAGIC);
        head[LENGTH_AT..LENGTH_AT + 8].copy_from_slice(&(listing.len() as u64).to_le_bytes());
        head.extend_from_slice(&listing);
        Ok(Self { head, files: opened, size: at })
    }
}

/// Copies into `buf`, which lies at `offset`, what `bytes` at `at` has of it.
fn overlap(offset: u64, len: usize, at: u64, size: u64) -> Option<(usize, u64, usize)> {
    let (start, end) = (offset.max(at), (offset + len as u64).min(at + size));
    (start < end).then(|| ((start - offset) as usize, start - at, (end - start) as usize))
}

impl BlockSource for FolderImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size)?;
        buf.fill(0);
        if let Some((to, from, len)) = overlap(offset, buf.len(), 0, self.head.len() as u64) {
            buf[to..to + len].copy_from_slice(&self.head[from as usize..from as usize + len]);
        }
        let first = self.files.partition_point(|(listed, _)| listed.offset + listed.size <= offset);
        for (listed, file) in &self.files[first..] {
            if listed.offset >= offset + buf.len() as u64 {
                break;
            }
            if let Some((to, from, len)) = overlap(offset, buf.len(), listed.offset, listed.size) {
                let failed = |source| BlockError::Io {
                    action: "read",
                    target: listed.name.clone(),
                    offset: from,
                    source,
                };
                file.read_exact_at(&mut buf[to..to + len], from).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn damaged(detail: impl Into<String>) -> ImageError {
    ImageError::Damaged(detail.into())
}

fn listing(disk: &dyn BlockSource) -> Result<Vec<Listed>, ImageError> {
    if disk.size() < 2 * UNIT {
        return Err(damaged("it is too small"));
    }
    let mut head = vec![0; UNIT as usize];
    disk.read_at(0, &mut head)?;
    if !head.starts_with(MAGIC) {
        return Err(damaged("it begins with something else, or it is of a newer program"));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&head[LENGTH_AT..LENGTH_AT + 8]);
    let length = u64::from_le_bytes(length);
    if length > MAX_LISTING || length > disk.size() - UNIT {
        return Err(damaged("its listing is too long"));
    }
    let mut text = vec![0; length as usize];
    disk.read_at(UNIT, &mut text)?;
    let listing: Vec<Listed> =
        serde_json::from_slice(&text).map_err(|error| damaged(format!("its listing: {error}")))?;
    let (mut names, mut at) = (HashSet::new(), UNIT + length);
    for listed in &listing {
        // One behind the other: what is unpacked is never more than the disk has.
        let end = listed.offset.checked_add(listed.size).filter(|end| *end <= disk.size());
        at = match end {
            Some(end) if listed.offset >= at => end,
            _ => return Err(damaged(format!("{:?} lies outside of its place", listed.name))),
        };
        if !is_ours(&listed.name) || !names.insert(listed.name.as_str()) {
            return Err(damaged(format!("{:?} is no name of a file in it", listed.name)));
        }
    }
    Ok(listing)
}

/// A file right in the store's folder.
fn is_ours(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.strip_prefix(STORE).is_some_and(|file| {
        !file.is_empty() && file.len() <= 200 && !file.starts_with('.') && file.chars().all(plain)
    })
}

/// Writes the files of a disk below `folder`, where none of them may be. Only the owner can read them.
pub fn unpack(disk: &dyn BlockSource, folder: &Path) -> Result<(), ImageError> {
    let listing = listing(disk)?;
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ImageError::Io { action, path, source }
    };
    let store = folder.join(STORE);
    fs::create_dir_all(&store).map_err(failed("create", &store))?;
    let mut piece = vec![0; PIECE];
    for listed in listing {
        let path = folder.join(&listed.name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("create", &path))?;
        let mut at = 0;
        while at < listed.size {
            let len = (listed.size - at).min(PIECE as u64);
            let piece = &mut piece[..len as usize];
            disk.read_at(listed.offset + at, piece)?;
            file.write_all(piece).map_err(failed("write", &path))?;
            at += len;
        }
        file.sync_all().map_err(failed("write", &path))?;
    }
    for folder in [&store, &folder.to_owned()] {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use xenith_common_block::MemorySource;

    use super::*;

    fn bytes_of(image: &FolderImage) -> Vec<u8> {
        let mut bytes = vec![0; image.size() as usize];
        image.read_at(0, &mut bytes).unwrap();
        bytes
    }

    fn image(folder: &Path, files: &[(&str, Vec<u8>)]) -> FolderImage {
        let write = |(at, (name, bytes)): (usize, &(&str, Vec<u8>))| {
            let path = folder.join(at.to_string());
            fs::write(&path, bytes).unwrap();
            ((*name).to_owned(), path)
        };
        FolderImage::new(files.iter().enumerate().map(write).collect()).unwrap()
    }

    #[test]
    fn files_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("store/000000.log", vec![7; 32]),
            ("store/000001.sst", (0..200_000u32).map(|n| n as u8).collect()),
            ("store/CURRENT", b"MANIFEST-000001\n".to_vec()),
            ("store/EMPTY", vec![]),
        ];
        let image = image(folder.path(), &files);
        assert_eq!(image.size() % UNIT, 0);
        let bytes = bytes_of(&image);
        // In pieces that begin and end anywhere it reads as in one.
        let mut at = 0;
        for len in (1..).step_by(997) {
            let len = len.min(bytes.len() - at);
            let mut piece = vec![1; len];
            image.read_at(at as u64, &mut piece).unwrap();
            assert_eq!(piece, bytes[at..at + len], "{len} at {at}");
            at += len;
            if at == bytes.len() {
                break;
            }
        }
        let out = tempfile::tempdir().unwrap();
        unpack(&MemorySource::new(bytes), out.path()).unwrap();
        for (name, expected) in files {
            assert_eq!(fs::read(out.path().join(name)).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_damaged_or_hostile_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = bytes_of(&image(folder.path(), &[("store/CURRENT", vec![1; 5000])]));
        let listed = |text: &str| {
            let mut bytes = good.clone();
            bytes[LENGTH_AT..LENGTH_AT + 8].copy_from_slice(&(text.len() as u64).to_le_bytes());
            bytes[UNIT as usize..UNIT as usize + text.len()].copy_from_slice(text.as_bytes());
            bytes
        };
        let file = |name: &str, offset: u64| format!(r#"{{"name":"{name}","size":1,"offset":{offset}}}"#);
        let name = |name: &str| listed(&format!("[{}]", file(name, 2 * UNIT)));
        let two = |names: [&str; 2], offsets: [u64; 2]| {
            listed(&format!("[{},{}]", file(names[0], offsets[0]), file(names[1], offsets[1])))
        };
        let (at, out) = (2 * UNIT, tempfile::tempdir().unwrap());
        unpack(&MemorySource::new(two(["store/a", "store/b"], [at, at + 1])), out.path()).unwrap();
        let mut long = good.clone();
        long[LENGTH_AT..LENGTH_AT + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        for (what, bytes) in [
            ("empty", vec![]),
            ("cut off", good[..UNIT as usize].to_vec()),
            ("something else", vec![0; good.len()]),
            ("a listing without end", long),
            ("a listing that is none", listed("[{]")),
            ("outside", listed(r#"[{"name":"store/a","size":9,"offset":18446744073709551615}]"#)),
            ("the listing itself", listed(&format!("[{}]", file("store/a", UNIT)))),
            ("two at one place", two(["store/a", "store/b"], [at, at])),
            ("another key", name("master.key")),
            ("another folder", name("store/../../etc/passwd")),
            ("an absolute path", name("/etc/passwd")),
            ("a hidden file", name("store/.bashrc")),
            ("a folder below", name("store/a/b")),
            ("no name", name("store/")),
            ("twice", two(["store/a", "store/a"], [at, at + 1])),
        ] {
            let out = tempfile::tempdir().unwrap();
            assert!(unpack(&MemorySource::new(bytes), out.path()).is_err(), "{what}");
            let left: Vec<_> = fs::read_dir(out.path()).unwrap().collect();
            assert!(left.is_empty(), "{what}: {left:?}");
        }
    }
}
