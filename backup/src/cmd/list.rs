//! `list`.

use std::process::ExitCode;

use serde::Serialize;
use xenith_backup::{Repository, gc, hold};

use crate::cli::Output;

/// One disk of one backup. Part of the interface of scripts.
#[derive(Serialize)]
struct Row<'a> {
    id: String,
    name: &'a str,
    /// RFC 3339, UTC.
    time: String,
    created_ms: u64,
    size: u64,
    read: u64,
    new_bytes: u64,
    stored: u64,
    /// Of this disk's backups; the highest is the newest.
    number: u64,
    /// No rule forgets it.
    held: bool,
    /// Why the whole disk was read, when it was.
    whole_because: Option<&'a str>,
    host: &'a str,
    tags: &'a [String],
}

pub fn time_text(millis: u64) -> String {
    time::OffsetDateTime::from_unix_timestamp((millis / 1000) as i64)
        .ok()
        .and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_default()
}

pub fn run(repo: &Repository, output: Output) -> anyhow::Result<ExitCode> {
    let (manifests, problems) = gc::visible(repo)?;
    let held = hold::list(repo)?;
    let rows: Vec<Row<'_>> = manifests
        .iter()
        .flat_map(|manifest| {
            manifest.disks.iter().map(|disk| Row {
                id: manifest.id.to_string(),
                name: &disk.name,
                time: time_text(manifest.created),
                created_ms: manifest.created,
                size: disk.size,
                read: disk.stats.read,
                new_bytes: disk.stats.new_bytes,
                stored: disk.stats.stored,
                number: disk.number,
                held: held.contains(&manifest.id),
                whole_because: disk.whole_because.as_deref(),
                host: &manifest.host,
                tags: &manifest.tags,
            })
        })
        .collect();
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows)?),
        Output::Text => {
            for row in &rows {
                let held = if row.held { "  held" } else { "" };
                println!("{}  {}  {}  {} MiB{held}", row.id, row.time, row.name, row.size >> 20);
            }
        }
    }
    for problem in &problems {
        eprintln!("xenith-backup: {problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::DAMAGED) })
}
