//! `show`, `diff`, `hold`, `copy`.

use std::process::ExitCode;
use std::sync::Arc;

use xenith_backup::index::Index;
use xenith_backup::ingest::{Options, Progress};
use xenith_backup::reader::BackupDisk;
use xenith_backup::{Repository, copy, diff, gc, hold, manifest};

use super::list::time_text;
use super::progress;
use crate::cli::Output;

pub fn show(repo: &Repository, what: &str, output: Output) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let (manifest, _) = manifest::find(&manifests, what)?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(manifest)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("backup   {}", manifest.id);
    println!("made     {} on {}", time_text(manifest.created), manifest.host);
    if let Some(origin) = manifest.origin {
        println!("copy of  {origin}");
    }
    if !manifest.tags.is_empty() {
        println!("tags     {}", manifest.tags.join(", "));
    }
    if hold::list(repo)?.contains(&manifest.id) {
        println!("held     no rule forgets it");
    }
    for disk in &manifest.disks {
        let stats = &disk.stats;
        println!(
            "disk     {}: backup {} of it, {} MiB, {} MiB read, {} of {} chunks new, {} MiB stored, {:.1} s{}",
            disk.name,
            disk.number,
            disk.size >> 20,
            stats.read >> 20,
            stats.new_chunks,
            stats.chunks,
            stats.stored >> 20,
            stats.millis as f64 / 1000.0,
            disk.whole_because.as_ref().map_or_else(String::new, |why| format!(" (read whole: {why})")),
        );
    }
    for attachment in &manifest.attachments {
        println!("holds    {} ({} bytes; -o json shows it)", attachment.name, attachment.text.len());
    }
    Ok(ExitCode::SUCCESS)
}

pub fn diff(repo: &Repository, (old, new): (&str, &str), output: Output) -> anyhow::Result<ExitCode> {
    let (manifests, _) = gc::visible(repo)?;
    let index = Arc::new(Index::load(repo)?);
    let open = |what: &str| -> anyhow::Result<BackupDisk> {
        let (_, record) = manifest::find(&manifests, what)?;
        Ok(BackupDisk::new(repo, Arc::clone(&index), record))
    };
    let ranges = diff::diff(&open(old)?, &open(new)?)?;
    if output == Output::Json {
        let rows: Vec<_> =
            ranges.iter().map(|r| serde_json::json!({"offset": r.start, "length": r.len()})).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    for range in ranges.iter() {
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

pub fn copy(from: &Repository, to: &Repository, output: Output) -> anyhow::Result<ExitCode> {
    let progress = Progress::default();
    let copied = progress::show(&|| progress::of_run(&progress), || {
        copy::copy(from, to, &Options::default(), &progress)
    })?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&copied)?);
        return Ok(ExitCode::SUCCESS);
    }
    for manifest in &copied {
        for disk in &manifest.disks {
            let (read, stored) = (disk.stats.read >> 20, disk.stats.stored >> 20);
            println!("{}@{}: {read} MiB read, {stored} MiB stored", disk.name, manifest.id);
        }
    }
    if copied.is_empty() {
        println!("nothing to copy: all backups are there");
    }
    Ok(ExitCode::SUCCESS)
}
