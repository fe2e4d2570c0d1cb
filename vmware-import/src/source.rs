//! From what the user named to an open disk.

use std::path::Path;
use std::sync::Arc;

use crate::bytes::{ByteSource, DirFolder, FileBytes, Folder};
use crate::error::Result;
use crate::target::TargetFormat;
use crate::vmdk::image::Image;
use crate::vmdk::{FileKind, OpenOptions, Plain, open_image};

/// How a source is opened.
#[derive(Debug, Clone, Default)]
pub struct SourceOptions {
    pub plain: Plain,
    /// The parent of the snapshot, named by the user: any file.
    pub parent: Option<std::path::PathBuf>,
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
    open_image(bytes, Arc::new(DirFolder::of(path)), OpenOptions { plain: options.plain, parent })
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
