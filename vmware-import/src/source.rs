//! From what the user named to an open disk.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use crate::bytes::{ByteSource, DirFolder, FileBytes, Folder};
use crate::error::{ImportError, Result};
use crate::ovf::OvaPackage;
use crate::target::TargetFormat;
use crate::vmdk::image::Image;
use crate::vmdk::sparse::SparseExtent;
use crate::vmdk::stream::StreamReader;
use crate::vmdk::{FileKind, OpenOptions, Plain, Salvage, open_image};
use crate::vmx::{VmsdSnapshot, VmxVm, parse_vmsd};

/// How a source is opened.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    pub plain: Plain,
    /// The parent of the snapshot, named by the user: any file.
    pub parent: Option<std::path::PathBuf>,
    pub salvage: Salvage,
    /// Which disk of a package.
    pub disk: Option<usize>,
}

/// Opens the disk at `path`; its extents and parents are looked up in the folder it lies in.
pub fn open_disk(path: &Path, options: &SourceOptions) -> Result<Image> {
    let bytes: Arc<dyn ByteSource> = Arc::new(FileBytes::open(path)?);
    if options.plain == Plain::Yes {
        return Image::plain(bytes);
    }
    let parent = match &options.parent {
        None => None,
        Some(path) => {
            let parent: Arc<dyn ByteSource> = Arc::new(FileBytes::open(path)?);
            let folder: Arc<dyn Folder> = Arc::new(DirFolder::of(path));
            Some((parent, folder))
        }
    };
    let open = OpenOptions { plain: options.plain, salvage: options.salvage, parent };
    open_image(bytes, Arc::new(DirFolder::of(path)), open)
}

/// Opens the result of a conversion. Without a `format` the name decides; for other names a qcow2 or VHD
/// of `size` bytes is taken for one, anything else for raw: a guest may have written any magic at the
/// start of its raw disk.
pub fn open_target(path: &Path, format: Option<TargetFormat>, size: u64) -> Result<Image> {
    let bytes: Arc<dyn ByteSource> = Arc::new(FileBytes::open(path)?);
    let named = path.extension().is_some().then(|| TargetFormat::of_name(path));
    let kind = FileKind::detect(&*bytes)?;
    let folder = Arc::new(DirFolder::of(path));
    match format.or(named.filter(|&f| f != TargetFormat::Raw)) {
        Some(TargetFormat::Raw) => Image::plain(bytes),
        Some(_) => open_image(bytes, folder, OpenOptions::default()),
        None if kind == FileKind::Unknown => Image::plain(bytes),
        None => match open_image(Arc::clone(&bytes), folder, OpenOptions::default()) {
            Ok(image) if image.virtual_size() == size => Ok(image),
            _ => Image::plain(bytes),
        },
    }
}

/// A disk with random access, or something that can only be read front to back.
pub enum Opened {
    Image(Image),
    Stream(Box<StreamReader<Box<dyn Read>>>),
    /// An OVA that is being streamed: its disks are found while it is read.
    Package(Box<dyn Read>),
}

/// Files that describe a VM instead of being a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageKind {
    /// OVA or OVF.
    Ovf,
    Vmx,
}

/// What is read at once from a pipe or file.
const STREAM_BUFFER: usize = 256 * 1024;

/// Reads a streamOptimized disk or an OVA from `input`, front to back.
pub fn open_input(name: &str, mut input: Box<dyn Read>) -> Result<Opened> {
    let mut head = [0; 512];
    let mut filled = 0;
    while filled < head.len() {
        match input.read(&mut head[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ImportError::io("read", name, error)),
        }
    }
    let head = head[..filled].to_vec();
    let kind = FileKind::of(&head);
    let input: Box<dyn Read> = Box::new(std::io::Cursor::new(head).chain(input));
    match kind {
        FileKind::Tar => Ok(Opened::Package(input)),
        FileKind::Sparse => open_stream(name, input),
        // An empty stream is one that was cut off before its first byte.
        _ if filled == 0 => Err(ImportError::truncated(name, "header", 512, 0)),
        _ => Err(ImportError::unsupported(
            name,
            "what is neither a streamOptimized VMDK nor an OVA, from a stream",
            "save it to a file first",
        )),
    }
}

fn open_stream(name: &str, input: Box<dyn Read>) -> Result<Opened> {
    let input: Box<dyn Read> = Box::new(BufReader::with_capacity(STREAM_BUFFER, input));
    Ok(Opened::Stream(Box::new(StreamReader::open(name, input)?)))
}

/// Whether `path` is a package, by its contents or, for a `.vmx`, its name.
pub fn package_kind(path: &Path) -> Result<Option<PackageKind>> {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    if extension.as_deref() == Some("vmx") {
        return Ok(Some(PackageKind::Vmx));
    }
    Ok(match FileKind::detect(&FileBytes::open(path)?)? {
        FileKind::Tar | FileKind::Ovf => Some(PackageKind::Ovf),
        FileKind::Unknown if extension.as_deref() == Some("ovf") => Some(PackageKind::Ovf),
        _ => None,
    })
}

/// Reads the VM of a `.vmx`.
pub fn read_vmx(path: &Path) -> Result<VmxVm> {
    let bytes = FileBytes::open(path)?;
    let text = crate::bytes::read_vec(&bytes, "settings", 0, bytes.len().min((1 << 20) + 1))?;
    VmxVm::parse(bytes.name(), &text)
}

/// The snapshots that the `.vmsd` beside a `.vmx` lists; none where there is no such file.
pub fn read_snapshots(vmx: &Path) -> Result<Vec<VmsdSnapshot>> {
    let path = vmx.with_extension("vmsd");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = FileBytes::open_strict(&path)?;
    let text = crate::bytes::read_vec(&bytes, "snapshots", 0, bytes.len().min((1 << 20) + 1))?;
    parse_vmsd(bytes.name(), &text)
}

/// As [`open_disk`], also for a disk of a package. A streamOptimized file without tables at its end is read front
/// to back, and its markers decide whether it is whole. One whose tables contradict it is refused, unless losses
/// are accepted.
pub fn open_any(path: &Path, options: &SourceOptions) -> Result<Opened> {
    if options.plain != Plain::Yes {
        match package_kind(path)? {
            Some(PackageKind::Ovf) => return open_of_package(path, options),
            Some(PackageKind::Vmx) => return open_of_vmx(path, options),
            None => {}
        }
    }
    let error = match open_disk(path, options) {
        Ok(image) => return Ok(Opened::Image(image)),
        Err(error) => error,
    };
    let is_stream = FileBytes::open(path)
        .and_then(|bytes| SparseExtent::read_header(&bytes))
        .is_ok_and(|header| header.compressed && header.markers);
    let cut = matches!(error, ImportError::Truncated { .. }) || options.salvage == Salvage::NoteLosses;
    if options.plain == Plain::Yes || !is_stream || !cut {
        return Err(error);
    }
    let Ok(file) = File::open(path) else { return Err(error) };
    // A damaged descriptor is no better from here: then the first error stands.
    open_stream(&path.display().to_string(), Box::new(file)).map_err(|_| error)
}

fn choose<T>(path: &Path, mut all: Vec<T>, wanted: Option<usize>) -> Result<T> {
    let count = all.len();
    match wanted {
        Some(index) if index < count => Ok(all.swap_remove(index)),
        None if count == 1 => Ok(all.swap_remove(0)),
        _ => Err(ImportError::Usage(format!(
            "{} has {count} disks: say which with --disk 0 to {}",
            path.display(),
            count.saturating_sub(1)
        ))),
    }
}

/// Compares the disk that `options` choose with what the manifest of its package promises; nothing is checked where none
/// does, or where `path` is no package.
pub fn check_promise(path: &Path, options: &SourceOptions) -> Result<()> {
    if path.as_os_str() == "-" || options.plain == Plain::Yes {
        return Ok(());
    }
    match package_kind(path)? {
        Some(PackageKind::Ovf) => {}
        Some(PackageKind::Vmx) | None => return Ok(()),
    }
    let package = OvaPackage::open(path)?;
    let files = package.envelope.disk_files().map(|(_, _, file)| file.clone()).collect();
    package.check_file(&choose(path, files, options.disk)?).map(drop)
}

fn open_of_package(path: &Path, options: &SourceOptions) -> Result<Opened> {
    let package = OvaPackage::open(path)?;
    let files = package.envelope.disk_files().map(|(_, _, file)| file.clone()).collect();
    package.disk(&choose(path, files, options.disk)?, options.salvage)
}

fn open_of_vmx(path: &Path, options: &SourceOptions) -> Result<Opened> {
    let disk = choose(path, read_vmx(path)?.disks, options.disk)?;
    let folder = DirFolder::of(path);
    let bytes = folder.open(&path.display().to_string(), "disk", &disk.file)?;
    let open = OpenOptions { plain: Plain::ByName, salvage: options.salvage, parent: None };
    open_image(bytes, Arc::new(folder), open).map(Opened::Image)
}
