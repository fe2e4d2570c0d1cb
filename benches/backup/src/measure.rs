//! CPU seconds and peak memory of child processes; bytes and objects of a folder.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};

/// What one step of one tool cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// User and system seconds.
    pub cpu: f64,
    pub wall: f64,
    /// Most memory it had at once, bytes; of short steps at least as much as a look every few milliseconds saw.
    pub peak: u64,
    /// Bytes and files the step added to the repository.
    pub bytes: u64,
    pub objects: u64,
    /// Of ours, those that grow with what is stored.
    pub packs: u64,
}

fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Runs `command` to its end and says what it cost and what it added to `repo`.
pub fn run(command: &mut Command, repo: &Path) -> Result<Cost> {
    let (before_bytes, before_objects) = size_of(repo);
    let packs = || size_of(&repo.join("packs")).1;
    let before_packs = packs();
    let (cpu, began) = (cpu_of_children()?, Instant::now());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.with_context(|| format!("{command:?} cannot be started"))?;
    let (id, over) = (child.id(), AtomicBool::new(false));
    let (output, peak) = std::thread::scope(|scope| -> Result<_> {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            while !over.load(Ordering::Relaxed) {
                peak = peak.max(peak_of(id).unwrap_or(0));
                std::thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        let output = child.wait_with_output();
        over.store(true, Ordering::Relaxed);
        let peak = watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?;
        Ok((output?, peak))
    })?;
    let cost = Cost {
        peak,
        cpu: cpu_of_children()? - cpu,
        wall: began.elapsed().as_secs_f64(),
        bytes: size_of(repo).0.saturating_sub(before_bytes),
        objects: size_of(repo).1.saturating_sub(before_objects),
        packs: packs().saturating_sub(before_packs),
    };
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(cost)
}

/// Most memory process `id` has had so far, bytes.
pub fn peak_of(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// User and system seconds of this process.
pub fn own_cpu() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
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
