//! From what the user named to an open disk.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use crate::bytes::{ByteSource, DirFolder, FileBytes, Folder};
use crate::error::{ImportError, Result};
use crate::target::TargetFormat;
use crate::vmdk::image::Image;
use crate::vmdk::sparse::SparseExtent;
use crate::vmdk::stream::StreamReader;
use crate::vmdk::{FileKind, OpenOptions, Plain, Salvage, open_image};

/// How a source is opened.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    pub plain: Plain,
    /// The parent of the snapshot, named by the user: any file.
    pub parent: Option<std::path::PathBuf>,
    pub salvage: Salvage,
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

/// A disk with random access, or one that can only be read front to back.
pub enum Opened {
    Image(Image),
    Stream(Box<StreamReader<Box<dyn Read>>>),
}

/// What is read at once from a pipe or file.
const STREAM_BUFFER: usize = 256 * 1024;

/// Reads a streamOptimized disk from `input`, front to back.
pub fn open_stream(name: &str, input: Box<dyn Read>) -> Result<Opened> {
    let input: Box<dyn Read> = Box::new(BufReader::with_capacity(STREAM_BUFFER, input));
    Ok(Opened::Stream(Box::new(StreamReader::open(name, input)?)))
}

/// As [`open_disk`]; a streamOptimized file without tables at its end is read front to back, and its markers
/// decide whether it is whole. One whose tables contradict it is refused, unless losses are accepted.
pub fn open_any(path: &Path, options: &SourceOptions) -> Result<Opened> {
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
