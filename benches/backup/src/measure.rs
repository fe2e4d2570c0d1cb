//! CPU seconds and peak memory of child processes; bytes and objects of a folder.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};

/// What one step of one tool cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// User and system seconds.
    pub cpu: f64,
    pub wall: f64,
    /// Bytes and files the step added to the repository.
    pub bytes: u64,
    pub objects: u64,
}

fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Runs `command` to its end and says what it cost and what it added to `repo`.
pub fn run(command: &mut Command, repo: &Path) -> Result<Cost> {
    let (before_bytes, before_objects) = size_of(repo);
    let (cpu, began) = (cpu_of_children()?, Instant::now());
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.with_context(|| format!("{command:?} cannot be started"))?;
    let cost = Cost {
        cpu: cpu_of_children()? - cpu,
        wall: began.elapsed().as_secs_f64(),
        bytes: size_of(repo).0.saturating_sub(before_bytes),
        objects: size_of(repo).1.saturating_sub(before_objects),
    };
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(cost)
}

/// Bytes and number of files below `dir`.
pub fn size_of(dir: &Path) -> (u64, u64) {
    let Ok(entries) = std::fs::read_dir(dir) else { return (0, 0) };
    entries.flatten().fold((0, 0), |(bytes, count), entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => {
            let (more, files) = size_of(&entry.path());
            (bytes + more, count + files)
        }
        Ok(meta) => (bytes + meta.len(), count + 1),
        Err(_) => (bytes, count),
    })
}
