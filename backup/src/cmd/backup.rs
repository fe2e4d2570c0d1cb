//! `backup`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use xenith_backup::Repository;
use xenith_backup::ingest::{self, DiskJob, Options, Progress};
use xenith_common_block::{ByteRange, FileSource, RangeSet};

use super::progress;
use crate::cli::Output;

pub struct Request {
    pub disks: Vec<String>,
    pub changed_ranges: Option<PathBuf>,
    pub level: Option<i32>,
    pub workers: Option<usize>,
    pub tags: Vec<String>,
}

pub fn run(repo: &Repository, request: Request, output: Output) -> anyhow::Result<ExitCode> {
    let mut sources = Vec::new();
    for disk in &request.disks {
        let (name, path) =
            disk.split_once('=').with_context(|| format!("{disk:?} is not of the form NAME=PATH"))?;
        let source = FileSource::open(Path::new(path));
        sources.push((name.to_owned(), source.with_context(|| format!("{name} cannot be backed up"))?));
    }
    let mut changed = match &request.changed_ranges {
        None => None,
        Some(_) if sources.len() != 1 => bail!("--changed-ranges goes with one disk"),
        Some(path) => Some(read_ranges(path)?),
    };
    let jobs = sources
        .iter()
        .map(|(name, source)| DiskJob { name: name.clone(), source, changed: changed.take().into() })
        .collect();
    let mut options = Options { tags: request.tags, ..Options::default() };
    if let Some(level) = request.level {
        (options.level, options.most) = (level, level);
    }
    options.workers = request.workers.unwrap_or(options.workers);
    let progress = Progress::default();
    let began = Instant::now();
    let manifest =
        progress::show(&|| progress::of_run(&progress), || ingest::backup(repo, jobs, &options, &progress))?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&manifest)?);
        return Ok(ExitCode::SUCCESS);
    }
    for disk in &manifest.disks {
        let stats = &disk.stats;
        println!(
            "{}@{}: {} MiB disk, {} MiB read, {} of {} chunks new, {} MiB new, {} MiB stored, {:.1} s{}",
            disk.name,
            manifest.id,
            disk.size >> 20,
            stats.read >> 20,
            stats.new_chunks,
            stats.chunks,
            stats.new_bytes >> 20,
            stats.stored >> 20,
            began.elapsed().as_secs_f64(),
            disk.whole_because.as_ref().map_or_else(String::new, |why| format!(" (read whole: {why})")),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines of `offset length`; empty lines and lines that start with `#` are skipped.
fn read_ranges(path: &Path) -> anyhow::Result<RangeSet> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut ranges = RangeSet::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let mut word = || words.next().and_then(|word| word.parse::<u64>().ok());
        match (word(), word(), words.next()) {
            (Some(offset), Some(length), None) => ranges.insert(ByteRange::with_len(offset, length)),
            _ => bail!("{}:{}: expected `offset length` in bytes", path.display(), number + 1),
        }
    }
    Ok(ranges)
}
