//! What disks are made of: a raw image, and one with something in it.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Random;

/// Contents of a disk: what is in each grain, and which grains a layer holds.
pub trait Content {
    /// In bytes, a multiple of 512.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`, zeros past the end. Returns whether the layer holds this grain at all.
    fn grain(&self, offset: u64, buf: &mut [u8]) -> Result<bool>;
}

/// A raw image; with a base, only the grains that differ from the base are held.
pub struct RawImage {
    file: File,
    base: Option<File>,
    size: u64,
}

impl RawImage {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, base: None, size })
    }

    /// The difference from `base` to `path`.
    pub fn changes(path: &Path, base: &Path) -> Result<Self> {
        Ok(Self { base: Some(File::open(base)?), ..Self::open(path)? })
    }
}

fn fill(file: &File, size: u64, offset: u64, buf: &mut [u8]) -> Result<()> {
    let len = size.saturating_sub(offset).min(buf.len() as u64) as usize;
    file.read_exact_at(&mut buf[..len], offset)?;
    buf[len..].fill(0);
    Ok(())
}

impl Content for RawImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn grain(&self, offset: u64, buf: &mut [u8]) -> Result<bool> {
        fill(&self.file, self.size, offset, buf)?;
        match &self.base {
            None => Ok(buf.iter().any(|&byte| byte != 0)),
            Some(base) => {
                let mut old = vec![0; buf.len()];
                fill(base, self.size, offset, &mut old)?;
                Ok(old != buf)
            }
        }
    }
}

/// Writes a raw image of `size` bytes at `path`, about `percent` of it data: stretches of 512 bytes to 2 MiB,
/// half of them text-like (deflate makes a third of it), half random.
pub fn sample(path: &Path, size: u64, percent: u64, seed: u64) -> Result<()> {
    let file = File::options().write(true).create(true).truncate(true).open(path)?;
    file.set_len(size)?;
    let mut random = Random(seed);
    let mut at = 0;
    while at < size {
        let len = (512u64 << (random.draw() % 13)).min(size - at);
        let gap = len * (100 - percent) / percent.max(1);
        let mut data = vec![0u8; len as usize];
        if random.draw().is_multiple_of(2) {
            data.chunks_mut(8)
                .for_each(|part| part.copy_from_slice(&random.draw().to_le_bytes()[..part.len()]));
        } else {
            text(&mut random, &mut data);
        }
        file.write_all_at(&data, at)?;
        at += len + (gap / 512 * 512).min(size);
    }
    // The last sector tells whether a reader handles a short last grain.
    file.write_all_at(&[0xa5; 512], size - 512)
}

fn text(random: &mut Random, data: &mut [u8]) {
    const WORDS: [&str; 16] = [
        "the ",
        "disk ",
        "of ",
        "a ",
        "guest ",
        "holds ",
        "files, ",
        "libraries ",
        "and ",
        "journals; ",
        "most ",
        "bytes ",
        "repeat ",
        "what ",
        "was ",
        "before\n",
    ];
    let mut at = 0;
    while at < data.len() {
        let value = random.draw();
        let word = WORDS[(value % 16) as usize].as_bytes();
        let len = word.len().min(data.len() - at);
        data[at..at + len].copy_from_slice(&word[..len]);
        at += len;
        if value >> 32 & 7 == 0 && at < data.len() {
            data[at] = (value >> 40) as u8;
            at += 1;
        }
    }
}
