//! `restore`.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::bail;
use xenith_backup::export::{self, Format, Machine};
use xenith_backup::index::Index;
use xenith_backup::reader::BackupDisk;
use xenith_backup::restore::{self, RestoreProgress, Target};
use xenith_backup::{Repository, gc, manifest};
use xenith_common_block::{BlockSink, BlockSource, FileSink};

use super::progress;
use crate::cli::{ImageFormat, MachineArgs, Output};

/// What to do with a target that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Refuse,
    Overwrite,
}

pub struct Request {
    pub what: String,
    pub dst: PathBuf,
    pub existing: Existing,
    pub format: Option<ImageFormat>,
    pub machine: MachineArgs,
    pub output: Output,
}

fn format(request: &Request) -> Format {
    match request.format {
        None => Format::of_name(&request.dst),
        Some(ImageFormat::Raw) => Format::Raw,
        Some(ImageFormat::Qcow2) => Format::Qcow2,
        Some(ImageFormat::Vhd) => Format::Vhd,
        Some(ImageFormat::Vmdk) => Format::Vmdk,
        Some(ImageFormat::Ova) => Format::Ova,
    }
}

pub fn run(repo: &Repository, request: &Request) -> anyhow::Result<ExitCode> {
    let dst = &request.dst;
    let (manifests, _) = gc::visible(repo)?;
    let (manifest, record) = manifest::find(&manifests, &request.what)?;
    let index = Arc::new(Index::load(repo)?);
    let open = |record| BackupDisk::new(repo, Arc::clone(&index), record);
    let progress = RestoreProgress::default();
    let format = format(request);
    let is_device = std::fs::metadata(dst).is_ok_and(|meta| meta.file_type().is_block_device());
    if dst.exists() && request.existing == Existing::Refuse {
        bail!("{} exists; give --overwrite to replace what it holds", dst.display());
    }
    if is_device && format != Format::Raw {
        bail!("{} is a device, which takes a disk as it is: give --format raw, or a file", dst.display());
    }
    if dst.exists() && !is_device {
        std::fs::remove_file(dst)?;
    }
    let total = match format {
        Format::Ova => manifest.disks.iter().map(|disk| disk.size).sum(),
        _ => record.size,
    };
    let began = Instant::now();
    progress::show(&|| progress::of_restore(&progress, total), || -> anyhow::Result<()> {
        match format {
            Format::Raw if is_device => onto_device(&open(record), dst, &progress),
            Format::Ova => {
                let disks: Vec<(String, BackupDisk)> =
                    manifest.disks.iter().map(|disk| (disk.name.clone(), open(disk))).collect();
                let MachineArgs { vcpus, memory_mib } = request.machine;
                let machine = Machine { name: record.name.clone(), vcpus, memory_mib };
                Ok(export::ova(&machine, &disks, dst, &progress)?)
            }
            // Also raw: a file that has its name is whole, whatever ended the restore.
            format => Ok(export::disk(&open(record), dst, format, &progress)?),
        }
    })?;
    let written = progress.written.load(Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    match request.output {
        Output::Json => println!(
            "{}",
            serde_json::json!({
                "name": record.name, "id": manifest.id, "size": record.size, "written": written, "seconds": seconds,
            })
        ),
        Output::Text => println!(
            "{}@{}: {} MiB disk, {} MiB written, {seconds:.1} s",
            record.name,
            manifest.id,
            record.size >> 20,
            written >> 20
        ),
    }
    Ok(ExitCode::SUCCESS)
}

fn onto_device(disk: &BackupDisk, dst: &Path, progress: &RestoreProgress) -> anyhow::Result<()> {
    let sink = FileSink::open(dst)?;
    if sink.size() < disk.size() {
        bail!("{} has {} bytes, the backup needs {}", dst.display(), sink.size(), disk.size());
    }
    let workers = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    Ok(restore::restore(disk, &sink, Target::Used, workers, progress)?)
}
