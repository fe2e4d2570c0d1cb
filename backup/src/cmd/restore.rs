//! `restore`.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use xenith_backup::index::Index;
use xenith_backup::reader::BackupDisk;
use xenith_backup::restore::{self, RestoreProgress, Target};
use xenith_backup::{Repository, gc, manifest};
use xenith_common_block::{BlockSink, BlockSource, FileSink};

/// What to do with a target that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Refuse,
    Overwrite,
}

pub fn run(repo: &Repository, what: &str, dst: &Path, existing: Existing) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let (_, record) = manifest::find(&manifests, what)?;
    let disk = BackupDisk::new(repo, Arc::new(Index::load(repo)?), record);
    let (sink, target) = open_target(dst, disk.size(), existing)?;
    let workers = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    let progress = RestoreProgress::default();
    let result = restore::restore(&disk, &sink, target, workers, &progress);
    if result.is_err() && target == Target::Blank {
        // Half a disk must not be mistaken for a whole one.
        let _ = std::fs::remove_file(dst);
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

fn open_target(dst: &Path, size: u64, existing: Existing) -> anyhow::Result<(FileSink, Target)> {
    let Ok(meta) = std::fs::metadata(dst) else {
        return Ok((FileSink::create_new(dst, size)?, Target::Blank));
    };
    if existing == Existing::Refuse {
        bail!("{} exists; give --overwrite to replace what it holds", dst.display());
    }
    if meta.file_type().is_block_device() {
        let sink = FileSink::open(dst)?;
        if sink.size() < size {
            bail!("{} has {} bytes, the backup needs {size}", dst.display(), sink.size());
        }
        return Ok((sink, Target::Used));
    }
    std::fs::remove_file(dst)?;
    Ok((FileSink::create_new(dst, size)?, Target::Blank))
}
