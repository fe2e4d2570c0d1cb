//! Files and folders of a backup as a zip or a tar.
//!
//! Names come from the disk and are plain components (see the parent); a path in the archive is relative and
//! never leads out. A file that cannot be read becomes a line in the report, not an end: what can be saved is.

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
    let mut todo = vec![(path.to_vec(), entry, 0)];
    while let Some((at, entry, depth)) = todo.pop() {
        let name = archive_name(path, &at);
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
        for child in children.into_iter().rev() {
            let mut below = at.clone();
            if below.last() != Some(&b'/') {
                below.push(b'/');
            }
            below.extend_from_slice(&child.name);
            todo.push((below, child, depth + 1));
        }
    }
    Ok(packed)
}

/// A path in the archive: relative to the parent of what was asked for.
fn archive_name(asked: &[u8], at: &[u8]) -> String {
    let parent = asked.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let name = String::from_utf8_lossy(&at[parent.min(at.len())..]).trim_matches('/').to_owned();
    // Zip readers of other systems take these for separators and drives.
    name.replace(['\\', ':'], "_")
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
