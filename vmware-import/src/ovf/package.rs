//! An OVA file, or an OVF with its files beside it: random access to everything in it.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use xenith_common_block::ByteRange;

use super::envelope::{FileRef, Package};
use super::manifest::{Manifest, ShaKind, Summing};
use crate::bytes::{ByteSource, DirFolder, FileBytes, Folder, check_plain, read_vec};
use crate::error::{ImportError, Result};
use crate::source::Opened;
use crate::tar::{Seeker, members};
use crate::vmdk::stream::StreamReader;
use crate::vmdk::{FileKind, OpenOptions, Plain, Salvage, open_image};

/// Pieces of a chunked file; a terabyte in pieces of 2 GiB has 512.
const MAX_CHUNKS: usize = 4096;

/// A file of a package.
pub type Member = Arc<dyn ByteSource>;

/// The members of a tar by name.
struct TarFolder(HashMap<String, Member>);

impl Folder for TarFolder {
    fn open(&self, from: &str, field: &'static str, name: &str) -> Result<Member> {
        check_plain(from, field, name)?;
        let missing = || ImportError::Missing { file: from.to_owned(), name: name.to_owned() };
        self.0.get(name).cloned().ok_or_else(missing)
    }
}

/// An open package.
pub struct OvaPackage {
    pub name: String,
    pub envelope: Package,
    pub manifest: Option<Manifest>,
    /// Whether a certificate lies in it; it is reported, not checked.
    pub has_certificate: bool,
    folder: Arc<dyn Folder>,
    ovf: (String, Member),
}

/// Several sources as one.
struct Concat {
    name: String,
    parts: Vec<(u64, Member)>,
    len: u64,
}

impl ByteSource for Concat {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, field: &'static str, offset: u64, buf: &mut [u8]) -> Result<()> {
        crate::bytes::check(self, field, offset, buf.len() as u64)?;
        let mut done = 0;
        let first = self.parts.partition_point(|(start, part)| start + part.len() <= offset);
        for (start, part) in &self.parts[first..] {
            if done == buf.len() {
                break;
            }
            let at = offset + done as u64 - start;
            let len = (part.len() - at).min((buf.len() - done) as u64) as usize;
            part.read_at(field, at, &mut buf[done..done + len])?;
            done += len;
        }
        Ok(())
    }

    fn data_after(&self, from: u64) -> Result<Option<ByteRange>> {
        Ok((from < self.len).then(|| ByteRange::new(from, self.len)))
    }

    fn identity(&self) -> String {
        self.parts.iter().map(|(_, part)| part.identity()).collect::<Vec<_>>().join("+")
    }
}

impl OvaPackage {
    /// Opens an `.ova` (a tar) or `.ovf`.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes: Member = Arc::new(FileBytes::open(path)?);
        match FileKind::detect(&*bytes)? {
            FileKind::Tar => Self::from_tar(&bytes),
            _ => Self::from_ovf(bytes, path),
        }
    }

    /// Opens a tar, wherever its bytes are.
    pub fn from_tar(bytes: &Member) -> Result<Self> {
        let mut by_name = HashMap::new();
        let mut names = Vec::new();
        for (name, member) in members(bytes)? {
            names.push(name.clone());
            if by_name.insert(name.clone(), member).is_some() {
                let detail = format!("has two members called {name:?}");
                return Err(ImportError::damaged(bytes.name(), 0, "tar", detail));
            }
        }
        let ending = |end: &str| names.iter().find(|name| name.to_ascii_lowercase().ends_with(end)).cloned();
        let ovf = ending(".ovf").ok_or_else(|| ImportError::Missing {
            file: bytes.name().to_owned(),
            name: "*.ovf".to_owned(),
        })?;
        let manifest = ending(".mf").and_then(|name| by_name.get(&name).cloned());
        let xml = Arc::clone(&by_name[&ovf]);
        let has_certificate = ending(".cert").is_some();
        Self::new(bytes.name(), Arc::new(TarFolder(by_name)), (ovf, xml), (manifest, has_certificate))
    }

    fn from_ovf(bytes: Member, path: &Path) -> Result<Self> {
        let folder = DirFolder::of(path);
        let beside = |ending| {
            let name = path.with_extension(ending);
            let name = name.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            match folder.open(bytes.name(), "manifest", &name) {
                Ok(found) => Ok(Some(found)),
                Err(ImportError::Missing { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let (manifest, certificate) = (beside("mf")?, beside("cert")?.is_some());
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let display = bytes.name().to_owned();
        Self::new(&display, Arc::new(folder), (name, bytes), (manifest, certificate))
    }

    fn new(
        name: &str,
        folder: Arc<dyn Folder>,
        ovf: (String, Member),
        extras: (Option<Member>, bool),
    ) -> Result<Self> {
        let (manifest, has_certificate) = extras;
        let text = |member: &Member, limit: u64| read_vec(&**member, "OVF", 0, member.len().min(limit));
        let xml = text(&ovf.1, (8 << 20) + 1)?;
        let envelope = Package::parse(ovf.1.name(), &xml)?;
        let manifest = match manifest {
            Some(member) => Some(Manifest::parse(member.name(), &text(&member, (1 << 20) + 1)?)?),
            None => None,
        };
        Ok(Self { name: name.to_owned(), envelope, manifest, has_certificate, folder, ovf })
    }

    /// A file of the package as it lies there (pieces joined, still compressed if it is).
    pub fn file(&self, file: &FileRef) -> Result<Member> {
        let Some(chunk) = file.chunk_size else {
            return self.folder.open(&self.name, "file", &file.href);
        };
        let mut parts: Vec<(u64, Member)> = Vec::new();
        let mut len = 0u64;
        loop {
            let name = format!("{}.{:09}", file.href, parts.len());
            let part = match self.folder.open(&self.name, "file", &name) {
                Ok(part) => part,
                Err(ImportError::Missing { .. }) if !parts.is_empty() => break,
                Err(error) => return Err(error),
            };
            let size = part.len();
            parts.push((len, part));
            len = len.saturating_add(size);
            if size > chunk || parts.len() > MAX_CHUNKS {
                let detail = "has a piece that is larger than chunkSize, or too many pieces";
                return Err(ImportError::damaged(&self.name, 0, "file", format!("{} {detail}", file.href)));
            }
            if size < chunk {
                break;
            }
        }
        if file.size.is_some_and(|size| size > len) {
            let needed = file.size.unwrap_or_default();
            return Err(ImportError::truncated(&file.href, "a file in pieces", needed, len));
        }
        Ok(Arc::new(Concat { name: format!("{}:{}", self.name, file.href), parts, len }))
    }

    /// Opens a disk of the package.
    pub fn disk(&self, file: &FileRef, salvage: Salvage) -> Result<Opened> {
        let bytes = self.file(file)?;
        let name = bytes.name().to_owned();
        if file.gzip || FileKind::detect(&*bytes)? == FileKind::Gzip {
            let input = BufReader::with_capacity(256 * 1024, Seeker { bytes, at: 0 });
            return stream(&name, Box::new(MultiGzDecoder::new(input)));
        }
        let options = OpenOptions { plain: Plain::ByName, salvage, parent: None };
        match open_image(Arc::clone(&bytes), Arc::clone(&self.folder), options) {
            Ok(image) => Ok(Opened::Image(image)),
            Err(error @ ImportError::Truncated { .. }) => {
                stream(&name, Box::new(Seeker { bytes, at: 0 })).map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    /// Sums up one file of the package, or its pieces, where the manifest names them. `false`: it does not.
    pub fn check_file(&self, file: &FileRef) -> Result<bool> {
        let Some(manifest) = &self.manifest else { return Ok(false) };
        let mut named = false;
        for (name, (kind, _)) in manifest.sums.iter().filter(|(name, _)| is_part(name, &file.href)) {
            let sums = sum(self.folder.open(&self.name, "file", name)?, *kind)?;
            named |= manifest.check(&self.name, name, &sums)?;
        }
        Ok(named)
    }

    /// What to say of disks that the manifest leaves out, of which `checked` were not.
    #[must_use]
    pub fn unvouched(&self, checked: &[String]) -> Vec<String> {
        if self.manifest.is_none() {
            return Vec::new();
        }
        let files = self.envelope.disk_files().map(|(_, _, file)| &file.href);
        let left = files.filter(|href| !checked.iter().any(|name| is_part(name, href)));
        left.map(|href| unvouched(href)).collect()
    }

    /// Sums up every file that the manifest names and compares. Returns the names checked.
    pub fn check_manifest(&self) -> Result<Vec<String>> {
        let Some(manifest) = &self.manifest else { return Ok(Vec::new()) };
        let mut checked = Vec::new();
        for (name, (kind, _)) in &manifest.sums {
            let member = if *name == self.ovf.0 {
                Arc::clone(&self.ovf.1)
            } else {
                self.folder.open(&self.name, "file", name)?
            };
            let sums = sum(member, *kind)?;
            manifest.check(&self.name, name, &sums)?;
            checked.push(name.clone());
        }
        Ok(checked)
    }
}

/// Whether `name` is the file `href`, or a piece of it.
fn is_part(name: &str, href: &str) -> bool {
    let piece = |rest: &str| {
        rest.strip_prefix('.').is_some_and(|n| n.len() == 9 && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.strip_prefix(href).is_some_and(|rest| rest.is_empty() || piece(rest))
}

pub(super) fn unvouched(href: &str) -> String {
    format!("the manifest does not name {href}: nothing vouches for it")
}

fn sum(member: Member, kind: ShaKind) -> Result<BTreeMap<ShaKind, String>> {
    let name = member.name().to_owned();
    let summing = Summing::new(Seeker { bytes: member, at: 0 }, &[kind]);
    let (_, sums) = summing.finish().map_err(|error| ImportError::io("read", name, error))?;
    Ok(sums)
}

fn stream(name: &str, input: Box<dyn Read>) -> Result<Opened> {
    let input: Box<dyn Read> = Box::new(BufReader::with_capacity(256 * 1024, input));
    Ok(Opened::Stream(Box::new(StreamReader::open(name, input)?)))
}
