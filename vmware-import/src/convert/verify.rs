//! Comparing two disks, and the digest of one.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use xenith_common_block::{BlockError, BlockSource, ByteRange, ExtentKind, NullSink};

use super::ConvertOptions;
use super::engine::{EngineOptions, Watermark, copy_image};
use crate::bytes::{DirFolder, FileBytes};
use crate::digest::{DigestKind, DiskDigest};
use crate::error::{ImportError, Result};
use crate::target::TargetFormat;
use crate::vmdk::image::Image;
use crate::vmdk::stream::StreamReader;
use crate::vmdk::{OpenOptions, Salvage, open_image};

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    pub virtual_size: u64,
    /// Bytes that had to be read from at least one side.
    pub compared: u64,
    pub identical: bool,
    /// Byte offset of the first difference.
    pub first_difference: Option<u64>,
    pub detail: String,
}

/// The digest of all of `image`.
pub fn digest(image: &Image, workers: usize, kind: DigestKind) -> Result<DiskDigest> {
    let hashing = super::Hashing::On(kind);
    let options =
        EngineOptions { workers: workers.max(1), hashing, salvage: Salvage::Refuse, max_rate: None };
    let sink = NullSink(image.virtual_size());
    let outcome = copy_image(image, &sink, Watermark::default(), options, &mut |_, _| Ok(()))?;
    Ok(outcome.watermark.digest)
}

/// Compares what is left of a stream with `target` by their digests: a stream cannot be read twice.
pub fn compare_stream<R: Read>(
    stream: &mut StreamReader<R>,
    target: &Image,
    workers: usize,
) -> Result<Comparison> {
    let size = stream.header.capacity;
    let hashing = super::Hashing::default();
    let options =
        EngineOptions { workers: workers.max(1), hashing, salvage: Salvage::Refuse, max_rate: None };
    if !super::stream::can_hash(stream.header.grain) {
        let way_out = "save the stream to a file first";
        return Err(ImportError::unsupported(
            stream.name(),
            "grains below 64 KiB, for a comparison",
            way_out,
        ));
    }
    let outcome = super::stream::copy_stream(stream, &NullSink(size), options, &mut |_, _| Ok(()))?;
    let found = digest(target, workers, DigestKind::default())?;
    let same = found == outcome.watermark.digest && size == target.virtual_size();
    let detail = if same { "the disks are identical" } else { "the disks differ (by their digests)" };
    Ok(Comparison {
        virtual_size: size,
        compared: found.blocks * crate::digest::DIGEST_BLOCK,
        identical: same,
        first_difference: None,
        detail: detail.to_owned(),
    })
}

/// The digest of a disk of `size` bytes that this crate has written.
pub fn digest_of_file(path: &Path, size: u64, options: &ConvertOptions) -> Result<DiskDigest> {
    // A raw image may begin with bytes that look like another format: the guest wrote them. A device may be larger.
    let image = match options.format {
        TargetFormat::Raw => Image::beginning(Arc::new(FileBytes::open(path)?), size)?,
        TargetFormat::Qcow2 | TargetFormat::Vhd => {
            let folder = Arc::new(DirFolder::of(path));
            open_image(Arc::new(FileBytes::open(path)?), folder, OpenOptions::default())?
        }
    };
    let kind = match options.hashing {
        super::Hashing::On(kind) => kind,
        super::Hashing::Off => DigestKind::default(),
    };
    digest(&image, options.workers, kind)
}

/// Opens `path` as a plain image, whatever its first bytes say.
pub fn open_raw(path: &Path) -> Result<Image> {
    Image::plain(Arc::new(FileBytes::open(path)?))
}

const STEP: u64 = 1024 * 1024;

/// Compares byte by byte; where both sides are known to be zeros nothing is read.
pub fn compare(source: &Image, target: &Image, progress: &mut dyn FnMut(u64)) -> Result<Comparison> {
    let (size, other) = (source.virtual_size(), target.virtual_size());
    let mut result = Comparison {
        virtual_size: size,
        compared: 0,
        identical: true,
        first_difference: None,
        detail: "the disks are identical".to_owned(),
    };
    let common = size.min(other);
    let (mut a, mut b) = (vec![0; STEP as usize], vec![0; STEP as usize]);
    let mut at = 0;
    while at < common {
        let window = ByteRange::new(at, common.min(at + 64 * STEP));
        for part in data_of(source, target, window)? {
            let mut from = part.start;
            while from < part.end {
                let len = (part.end - from).min(STEP) as usize;
                source.read_at(from, &mut a[..len])?;
                target.read_at(from, &mut b[..len])?;
                result.compared += len as u64;
                if a[..len] != b[..len] {
                    let place = a.iter().zip(&b).position(|(x, y)| x != y).unwrap_or_default();
                    return Ok(result.different(from + place as u64, "the contents differ"));
                }
                from += len as u64;
            }
        }
        at = window.end;
        progress(at);
    }
    if size != other {
        let detail = format!("the sizes differ: {size} and {other} bytes");
        return Ok(result.different(common, &detail));
    }
    Ok(result)
}

impl Comparison {
    fn different(mut self, at: u64, detail: &str) -> Self {
        self.identical = false;
        self.first_difference = Some(at);
        self.detail = format!("{detail}, first at byte {at}");
        self
    }
}

/// The ranges of `window` where either side has data.
fn data_of(source: &Image, target: &Image, window: ByteRange) -> Result<Vec<ByteRange>, BlockError> {
    let mut set = xenith_common_block::RangeSet::new();
    for image in [source, target] {
        let extents = image.extents(window)?;
        set.extend(extents.iter().filter(|e| e.kind == ExtentKind::Data).map(|e| e.range));
    }
    Ok(set.as_slice().to_vec())
}
