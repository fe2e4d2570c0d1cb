//! Files and folders of a backup as a zip or a tar.
//!
//! Names come from the disk and are plain components (see the parent); a path in the archive is relative and
//! never leads out, and no two entries have one path: names that are no text, or that archives cannot have, are made such,
//! and told apart by a number where they become the same. A file that cannot be read becomes a line in the report, not an end:
//! what can be saved is.

use std::collections::HashMap;
use std::io::{Read, Write};

use super::{Entry, FileSystem, Kind, damaged};
use crate::error::{BackupError, Result, chain};

/// Deeper folders are left out, with a line in the report.
const MAX_DEPTH: usize = 200;
/// What a small file may have before it is streamed.
const PIECE: usize = 1 << 20;

/// What [`pack`] did.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Packed {
    pub files: u64,
    pub folders: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// What could not be read, and why.
    pub left_out: Vec<String>,
}

/// The two kinds of archive.
pub enum Archive<W: Write> {
    Zip(Box<zip::ZipWriter<zip::write::StreamWriter<W>>>),
    Tar(Box<tar::Builder<W>>),
}

impl<W: Write> Archive<W> {
    pub fn zip(out: W) -> Self {
        Self::Zip(Box::new(zip::ZipWriter::new_stream(out)))
    }

    pub fn tar(out: W) -> Self {
        Self::Tar(Box::new(tar::Builder::new(out)))
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Zip(zip) => {
                zip.finish().map_err(|error| broken(&error))?.into_inner().flush().map_err(|e| broken(&e))
            }
            Self::Tar(tar) => {
                tar.into_inner().and_then(|mut out| out.flush()).map_err(|error| broken(&error))
            }
        }
    }

    fn options(entry: &Entry) -> zip::write::SimpleFileOptions {
        let mode = if entry.mode == 0 { 0o644 } else { entry.mode };
        zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .unix_permissions(mode)
            .large_file(true)
    }

    /// A text that is not from the disk.
    pub fn note(&mut self, name: &str, text: &[u8]) -> Result<()> {
        let (name_bytes, size) = (name.as_bytes().to_vec(), text.len() as u64);
        let entry = Entry { name: name_bytes, kind: Kind::File, size, mode: 0o644, modified: 0 };
        self.file(name, &entry, &mut |take| take(text))
    }

    fn folder(&mut self, path: &str, entry: &Entry) -> Result<()> {
        match self {
            Self::Zip(zip) => zip.add_directory(path, Self::options(entry)).map_err(|error| broken(&error)),
            Self::Tar(tar) => {
                let mut header = header(entry, tar::EntryType::Directory, 0);
                tar.append_data(&mut header, path, std::io::empty()).map_err(|error| broken(&error))
            }
        }
    }

    fn link(&mut self, path: &str, entry: &Entry, target: &[u8]) -> Result<()> {
        let target = String::from_utf8_lossy(target);
        match self {
            Self::Zip(zip) => {
                zip.add_symlink(path, &*target, Self::options(entry)).map_err(|error| broken(&error))
            }
            Self::Tar(tar) => {
                let mut header = header(entry, tar::EntryType::Symlink, 0);
                tar.append_link(&mut header, path, &*target).map_err(|error| broken(&error))
            }
        }
    }

    /// A file whose bytes `fill` hands over. Its end is filled with zeros when it turns out shorter, so that the
    /// archive stays whole.
    fn file(
        &mut self,
        path: &str,
        entry: &Entry,
        fill: &mut dyn FnMut(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Zip(zip) => {
                zip.start_file(path, Self::options(entry)).map_err(|error| broken(&error))?;
                fill(&mut |piece| zip.write_all(piece).map_err(|error| broken(&error)))
            }
            Self::Tar(tar) => {
                let fail = |error: std::io::Error| broken(&error);
                begin(tar, path, entry).map_err(fail)?;
                let out = tar.get_mut();
                let mut left = entry.size;
                let result = fill(&mut |piece| {
                    let len = (piece.len() as u64).min(left) as usize;
                    left -= len as u64;
                    out.write_all(&piece[..len]).map_err(fail)
                });
                let rest = left + (entry.size.next_multiple_of(512) - entry.size);
                std::io::copy(&mut std::io::repeat(0).take(rest), out).map_err(fail)?;
                result
            }
        }
    }
}

/// The header of a file whose bytes are then written as they come; the crate itself would pull them.
fn begin<W: Write>(tar: &mut tar::Builder<W>, path: &str, entry: &Entry) -> std::io::Result<()> {
    let mut header = header(entry, tar::EntryType::Regular, entry.size);
    if header.set_path(path).is_err() {
        let mut long = tar::Header::new_gnu();
        long.set_entry_type(tar::EntryType::GNULongName);
        long.set_path("././@LongLink")?;
        long.set_size(path.len() as u64 + 1);
        long.set_cksum();
        tar.append(&long, [path.as_bytes(), &[0]].concat().as_slice())?;
        let short = (0..=99).rev().find(|&at| path.is_char_boundary(at)).unwrap_or(0);
        header.set_path(&path[..short])?;
    }
    header.set_cksum();
    tar.get_mut().write_all(header.as_bytes())
}

fn broken(error: &(dyn std::error::Error + 'static)) -> BackupError {
    BackupError::Block(xenith_common_block::BlockError::Io {
        action: "write",
        target: "the archive".to_owned(),
        offset: 0,
        source: std::io::Error::other(chain(error)),
    })
}

fn header(entry: &Entry, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if entry.mode == 0 { 0o644 } else { entry.mode });
    header.set_mtime(entry.modified.max(0) as u64);
    header.set_size(size);
    header
}

/// Puts what is at `path`, with everything below, into `archive`.
pub fn pack<W: Write>(fs: &mut FileSystem, path: &[u8], archive: &mut Archive<W>) -> Result<Packed> {
    let mut packed = Packed::default();
    let entry = fs.entry(path)?;
    let mut todo = vec![(path.to_vec(), root_name(path), entry, 0)];
    while let Some((at, name, entry, depth)) = todo.pop() {
        let result = pack_one(fs, (&at, &name, &entry), archive, &mut packed);
        let children = match result {
            Ok(children) => children,
            Err(BackupError::Block(error)) => return Err(BackupError::Block(error)),
            Err(error) => {
                packed.left_out.push(format!("{}: {}", String::from_utf8_lossy(&at), chain(&error)));
                continue;
            }
        };
        if depth >= MAX_DEPTH && !children.is_empty() {
            packed.left_out.push(format!("{}: too deep", String::from_utf8_lossy(&at)));
            continue;
        }
        let mut taken = HashMap::new();
        let first = todo.len();
        for child in children {
            let mut below = at.clone();
            if below.last() != Some(&b'/') {
                below.push(b'/');
            }
            below.extend_from_slice(&child.name);
            let own = unique(&mut taken, component(&child.name));
            let name = if name.is_empty() { own } else { format!("{name}/{own}") };
            todo.push((below, name, child, depth + 1));
        }
        // The last is taken first.
        todo[first..].reverse();
    }
    Ok(packed)
}

/// What was asked for, in the archive: its last component; nothing for all.
fn root_name(asked: &[u8]) -> String {
    component(asked.rsplit(|&b| b == b'/').find(|part| !part.is_empty()).unwrap_or_default())
}

/// A name as one component of a path in an archive. Zip readers of other systems take these for separators and drives.
fn component(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace(['\\', ':'], "_")
}

/// `name`, or with a number what none beside it has: a second entry of one name ends a zip, and replaces the first when a tar
/// is unpacked.
fn unique(taken: &mut HashMap<String, u32>, name: String) -> String {
    let mut unique = name.clone();
    while taken.contains_key(&unique) {
        let count = taken.entry(name.clone()).or_default();
        *count += 1;
        unique = format!("{name}~{count}");
    }
    taken.insert(unique.clone(), 0);
    unique
}

fn pack_one<W: Write>(
    fs: &mut FileSystem,
    (at, name, entry): (&[u8], &str, &Entry),
    archive: &mut Archive<W>,
    packed: &mut Packed,
) -> Result<Vec<Entry>> {
    match entry.kind {
        Kind::Folder => {
            let children = fs.list(at)?;
            if !name.is_empty() {
                archive.folder(name, entry)?;
            }
            packed.folders += 1;
            Ok(children)
        }
        Kind::File => {
            let mut bytes = 0;
            archive.file(name, entry, &mut |take| {
                fs.read(at, &mut |piece| {
                    bytes += piece.len() as u64;
                    if bytes > entry.size + PIECE as u64 {
                        return Err(damaged("a file goes on behind its end"));
                    }
                    take(piece)
                })
            })?;
            packed.files += 1;
            packed.bytes += bytes;
            Ok(Vec::new())
        }
        Kind::Link => {
            let target = fs.link(at)?;
            archive.link(name, entry, &target)?;
            packed.files += 1;
            Ok(Vec::new())
        }
        Kind::Other => Err(BackupError::Invalid("it is neither file, folder nor link".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xenith_common_block::MemorySource;

    use super::super::{Reader, Window};
    use super::*;

    /// One folder, whose entries hold their own names.
    struct Odd;

    const NAMES: [&[u8]; 6] = [b"\xe4.txt", b"\xf6.txt", b"a:b", b"a_b", b"a_b~1", b"plain"];

    fn odd(name: &[u8], kind: Kind) -> Entry {
        Entry { name: name.to_vec(), kind, size: name.len() as u64, mode: 0o644, modified: 0 }
    }

    impl Reader for Odd {
        fn list(&mut self, _: &[u8], take: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
            NAMES.iter().try_for_each(|name| take(odd(name, Kind::File)))
        }

        fn entry(&mut self, _: &[u8]) -> Result<Entry> {
            Ok(odd(b"folder", Kind::Folder))
        }

        fn read(&mut self, path: &[u8], take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
            take(path.rsplit(|&b| b == b'/').next().unwrap())
        }

        fn link(&mut self, _: &[u8]) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn names_that_become_the_same_are_told_apart() {
        let window = Window::new(Arc::new(MemorySource::new(vec![0; 4096])));
        let mut fs = FileSystem { reader: Box::new(Odd), window, kind: "odd" };
        let mut archive = Archive::tar(Vec::new());
        let packed = pack(&mut fs, b"/some/folder", &mut archive).unwrap();
        assert!(packed.left_out.is_empty() && packed.files == 6, "{packed:?}");
        let Archive::Tar(tar) = archive else { unreachable!("it was made as a tar") };
        let bytes = tar.into_inner().unwrap();
        let mut found = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.push((entry.path().unwrap().display().to_string(), content));
        }
        let names = ["\u{fffd}.txt", "\u{fffd}.txt~1", "a_b", "a_b~1", "a_b~1~1", "plain"];
        let mut expected = vec![("folder/".to_owned(), Vec::new())];
        expected.extend(names.iter().zip(NAMES).map(|(name, own)| (format!("folder/{name}"), own.to_vec())));
        assert_eq!(found[1..], expected[1..]);
        // A second entry of one name would end it.
        let mut archive = Archive::zip(Vec::new());
        let packed = pack(&mut fs, b"/", &mut archive).unwrap();
        assert!(packed.left_out.is_empty() && packed.files == 6, "{packed:?}");
        archive.finish().unwrap();
    }
}
