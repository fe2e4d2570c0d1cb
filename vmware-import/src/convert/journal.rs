//! What makes a killed conversion go on: a small file beside the target, replaced as a whole.
//!
//! Order of a checkpoint: tables of the target, with `--sync` an `fdatasync` of the target, then the journal by
//! rename. Without the sync the journal holds only while this kernel runs, which is what a kill needs: the
//! record has the boot's id, and after a power cut the work is done again. A crash at any line leaves the
//! journal before, whose claims still hold: the target is appended to or rewritten with the same bytes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::block::Hashing;
use super::engine::Watermark;
use super::{ConvertOptions, Lost};
use crate::digest::DiskDigest;
use crate::error::{ImportError, Result};
use crate::target::TargetFormat;
use crate::vmdk::Salvage;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    /// The boot in which the target was written; `None` when it was made durable, in a file.
    boot: Option<String>,
    /// Every file of the source with size and time of change.
    source: Vec<String>,
    /// Which block device the target is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    format: TargetFormat,
    size: u64,
    /// Bytes of the disk before this are done.
    done: u64,
    written: u64,
    target_state: u64,
    digest: String,
    /// What could not be read of what is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<Lost>,
}

/// What "done" has to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of this process, however it comes. What `cp` and `qemu-img` give.
    #[default]
    Kill,
    /// A power cut.
    PowerCut,
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The journal of one conversion.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    durability: Durability,
    source: Vec<String>,
    device: Option<String>,
    format: TargetFormat,
    size: u64,
    hashing: Hashing,
    salvage: Salvage,
}

/// Where an earlier run got to.
#[derive(Debug)]
pub struct Resume {
    pub watermark: Watermark,
    pub target_state: u64,
}

impl Journal {
    #[must_use]
    pub fn new(path: PathBuf, source: Vec<String>, size: u64, options: &ConvertOptions) -> Self {
        let ConvertOptions { format, hashing, durability, salvage, .. } = *options;
        Self { path, durability, source, device: None, format, size, hashing, salvage }
    }

    /// The same for a target that is the block device with this identity, which holds in one boot only.
    #[must_use]
    pub fn of_device(self, identity: String) -> Self {
        Self { device: Some(identity), ..self }
    }

    /// The state of an earlier run of the same conversion; `None` when there is none, or it was of another
    /// source, size or format, or had losses that this one does not accept. A journal that cannot be read counts as
    /// none: the work is done again.
    #[must_use]
    pub fn load(&self) -> Option<Resume> {
        let record: Record = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()?;
        let digest = DiskDigest::from_bytes(&unhex(&record.digest)?)?;
        let same = record.version == VERSION
            && record.source == self.source
            && record.device == self.device
            && record.format == self.format
            && record.size == self.size
            && record.done <= self.size
            && self.hashing.start().is_none_or(|start| start.kind() == digest.kind())
            && (record.lost.is_empty() || self.salvage == Salvage::NoteLosses)
            && record.boot.is_none_or(|boot| !boot.is_empty() && boot == boot_id());
        let (done, written, lost) = (record.done, record.written, record.lost);
        let watermark = Watermark { done, written, digest, lost };
        same.then_some(Resume { watermark, target_state: record.target_state })
    }

    /// Replaces the journal. The target has to be durable up to `watermark` before.
    pub fn save(&self, watermark: &Watermark, target_state: u64) -> Result<()> {
        let record = Record {
            version: VERSION,
            boot: (self.durability == Durability::Kill || self.device.is_some()).then(boot_id),
            source: self.source.clone(),
            device: self.device.clone(),
            format: self.format,
            size: self.size,
            done: watermark.done,
            written: watermark.written,
            target_state,
            digest: hex(&watermark.digest.to_bytes()),
            lost: watermark.lost.clone(),
        };
        let text = serde_json::to_vec(&record).expect("a record of strings and numbers can be written");
        let new = self.path.with_extension("xenith-journal-new");
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            if self.durability == Durability::PowerCut {
                file.sync_data()?;
            }
            fs::rename(&new, &self.path)
        };
        write().map_err(|source| ImportError::io("write", self.path.display().to_string(), source))
    }

    /// After the target has its name.
    pub fn remove(&self) {
        // A journal that stays is harmless: its source or its target's part file no longer fits.
        let _ = fs::remove_file(&self.path);
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
