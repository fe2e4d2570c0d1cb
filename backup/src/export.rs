//! A backup's disks as files that others read: raw, qcow2 and VHD images, VMDK streams, OVA packages.
//!
//! An image is written as `NAME.xenith-part` and renamed when it is whole: the rename is the commit point, and a
//! crash leaves no file that could be taken for a disk.

mod ova;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use xenith_common_block::{BlockError, BlockSource};
use xenith_common_image::{TargetFormat, vmdk};

use crate::error::{BackupError, Result};
use crate::reader::BackupDisk;
use crate::restore::{self, RestoreProgress, Target};

pub use ova::{Machine, ova};

/// What to write a disk as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Raw,
    Qcow2,
    Vhd,
    Vmdk,
    /// All disks of the backup, with a description of a machine.
    Ova,
}

impl Format {
    /// By the ending of a name; raw for any other.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("vmdk") => Self::Vmdk,
            Some("ova") => Self::Ova,
            _ => match TargetFormat::of_name(path) {
                TargetFormat::Raw => Self::Raw,
                TargetFormat::Qcow2 => Self::Qcow2,
                TargetFormat::Vhd => Self::Vhd,
            },
        }
    }
}

/// Writes `disk` to the new file `path`. A file that is there is refused.
pub fn disk(disk: &BackupDisk, path: &Path, format: Format, progress: &RestoreProgress) -> Result<()> {
    let format = match format {
        Format::Raw => TargetFormat::Raw,
        Format::Qcow2 => TargetFormat::Qcow2,
        Format::Vhd => TargetFormat::Vhd,
        Format::Vmdk => return in_place(path, |file, name| stream(disk, file, name, progress).map(|_| ())),
        Format::Ova => return Err(BackupError::Invalid("an OVA takes all disks of a backup".to_owned())),
    };
    let part = part_path(path);
    refuse_existing(path)?;
    let _stale = std::fs::remove_file(&part);
    let target = xenith_common_image::create(&part, format, disk.size())?;
    let workers = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    let written = restore::restore(disk, &target, Target::Blank, workers, progress).and_then(|()| {
        target.finish()?;
        Ok(target.flush()?)
    });
    commit(&part, path, written)
}

/// Writes a new file through `fill` under another name and gives it its own when it is whole.
fn in_place(path: &Path, fill: impl FnOnce(&mut BufWriter<File>, &str) -> Result<()>) -> Result<()> {
    let part = part_path(path);
    refuse_existing(path)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&part);
    let file = file.map_err(|source| failed("create", &part, source))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let written = fill(&mut out, &name).and_then(|()| {
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(|source| failed("write", &part, source))
    });
    commit(&part, path, written)
}

fn commit(part: &Path, path: &Path, written: Result<()>) -> Result<()> {
    let done =
        written.and_then(|()| std::fs::rename(part, path).map_err(|source| failed("rename", part, source)));
    if done.is_err() {
        let _half = std::fs::remove_file(part);
    }
    done
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.exists() {
        let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(failed("create", path, exists));
    }
    Ok(())
}

/// A VMDK stream of `disk`; returns its bytes.
fn stream(disk: &BackupDisk, out: &mut dyn Write, name: &str, progress: &RestoreProgress) -> Result<u64> {
    let mut last = 0;
    let written = vmdk::write(disk, name, out, &mut |done| {
        progress.done.fetch_add(done - last, Ordering::Relaxed);
        last = done;
        if progress.cancelled.load(Ordering::Relaxed) { Err(BlockError::Cancelled) } else { Ok(()) }
    })?;
    progress.written.fetch_add(written, Ordering::Relaxed);
    Ok(written)
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> BackupError {
    BackupError::Block(BlockError::Io { action, target: path.display().to_string(), offset: 0, source })
}

fn part_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".xenith-part");
    PathBuf::from(name)
}
