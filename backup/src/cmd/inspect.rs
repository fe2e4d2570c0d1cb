//! `show`, `diff`, `hold`, `copy`.

use std::process::ExitCode;
use std::sync::Arc;

use xenith_backup::index::Index;
use xenith_backup::ingest::{Options, Progress};
use xenith_backup::reader::BackupDisk;
use xenith_backup::{Repository, copy, diff, gc, hold, manifest};

pub fn show(repo: &Repository, what: &str) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let (manifest, _) = manifest::find(&manifests, what)?;
    println!("{}", serde_json::to_string_pretty(manifest)?);
    Ok(ExitCode::SUCCESS)
}

pub fn diff(repo: &Repository, old: &str, new: &str) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let index = Arc::new(Index::load(repo)?);
    let open = |what: &str| -> anyhow::Result<BackupDisk> {
        let (_, record) = manifest::find(&manifests, what)?;
        Ok(BackupDisk::new(repo, Arc::clone(&index), record))
    };
    for range in diff::diff(&open(old)?, &open(new)?)?.iter() {
        println!("{} {}", range.start, range.len());
    }
    Ok(ExitCode::SUCCESS)
}

pub enum Hold {
    Place,
    Lift,
}

pub fn hold(repo: &Repository, what: &str, action: Hold) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let (manifest, _) = manifest::find(&manifests, what)?;
    match action {
        Hold::Place => hold::place(repo, &manifest.id)?,
        Hold::Lift => hold::lift(repo, &manifest.id)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn copy(from: &Repository, to: &Repository) -> anyhow::Result<ExitCode> {
    for manifest in copy::copy(from, to, &Options::default(), &Progress::default())? {
        for disk in &manifest.disks {
            let (read, stored) = (disk.stats.read >> 20, disk.stats.stored >> 20);
            println!("{}@{}: {read} MiB read, {stored} MiB stored", disk.name, manifest.id);
        }
    }
    Ok(ExitCode::SUCCESS)
}
