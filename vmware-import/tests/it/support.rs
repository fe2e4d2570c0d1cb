//! What the tests share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use xenith_common_block::BlockSource;
use xenith_vmware_import::convert::{Check, ConvertOptions, Report, convert_image, convert_stream};
use xenith_vmware_import::error::Result;
use xenith_vmware_import::source::{SourceOptions, open_disk};
use xenith_vmware_import::target::TargetFormat;
use xenith_vmware_import::vmdk::Image;
use xenith_vmware_import::vmdk::stream::StreamReader;
use xenith_vmware_import_generator as generate;

/// Not a whole number of grains of any format.
pub const SIZE: u64 = 20 * 1024 * 1024 + 7 * 512;

/// A folder with a raw image of odd size in it.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub raw: PathBuf,
}

impl Lab {
    pub fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("reference.raw");
        generate::sample(&raw, SIZE, 20, seed).unwrap();
        Self { dir, raw }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn content(&self) -> generate::RawImage {
        generate::RawImage::open(&self.raw).unwrap()
    }

    pub fn reference(&self) -> Vec<u8> {
        std::fs::read(&self.raw).unwrap()
    }
}

pub fn open(path: &Path) -> Result<Image> {
    open_disk(path, &SourceOptions::default())
}

/// All bytes of a disk, read in pieces that fit nothing.
pub fn contents(image: &Image) -> Vec<u8> {
    let mut bytes = vec![0; image.size() as usize];
    let mut at = 0;
    for part in bytes.chunks_mut(300_007) {
        image.read_at(at, part).unwrap();
        at += part.len() as u64;
    }
    bytes
}

pub fn options(format: TargetFormat) -> ConvertOptions {
    ConvertOptions { check: Check::ReadBack, workers: 2, ..ConvertOptions::new(format) }
}

pub fn convert(source: &Path, target: &Path) -> Result<Report> {
    convert_image(&open(source)?, target, &options(TargetFormat::of_name(target)), &mut |_| ())
}

/// As `cat source | xenith-import convert - target`.
pub fn convert_piped(source: &Path, target: &Path) -> Result<Report> {
    let file = std::fs::File::open(source).unwrap();
    let mut stream = StreamReader::open("pipe", Choppy { inner: file, turn: 0 })?;
    convert_stream(&mut stream, target, &options(TargetFormat::of_name(target)), &mut |_| ())
}

/// Gives odd numbers of bytes, as pipes do.
struct Choppy {
    inner: std::fs::File,
    turn: usize,
}

impl std::io::Read for Choppy {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.turn += 1;
        let len = buf.len().min(1 + self.turn * 7919 % 65_536);
        self.inner.read(&mut buf[..len])
    }
}

/// qemu-img, where it is installed; tests that need it say so when it is not.
pub fn qemu_img(arguments: &[&str]) -> Option<Output> {
    match Command::new("qemu-img").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("qemu-img is not installed: this part is not tested");
            None
        }
        Err(error) => panic!("qemu-img: {error}"),
    }
}

pub fn qemu_img_ok(arguments: &[&str]) -> bool {
    let Some(output) = qemu_img(arguments) else { return false };
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    true
}
