//! What a program costs, alone.
//!
//! The kernel adds up the time of all children of a process and keeps the memory of the largest. So each program is run by
//! a process of its own, which is this one under the name [`ALONE`] and has no other child.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

/// The first argument of a process that runs a program for [`run`].
pub const ALONE: &str = "--alone";

/// Seconds, and the most that was resident.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// User and system time.
    pub cpu: f64,
    pub wall: f64,
    pub memory_mib: f64,
}

/// The least of what was measured several times: on a shared machine that is the most repeatable.
pub fn least(costs: &[Cost], pick: fn(&Cost) -> f64) -> f64 {
    costs.iter().map(pick).fold(f64::MAX, f64::min)
}

pub fn most(costs: &[Cost], pick: fn(&Cost) -> f64) -> f64 {
    costs.iter().map(pick).fold(0.0, f64::max)
}

/// Runs a program, with a file on its standard input through a pipe, and tells what it cost.
pub fn run(command: &Command, pipe: Option<&Path>) -> anyhow::Result<Cost> {
    let result = tempfile::NamedTempFile::new()?;
    let mut alone = Command::new(std::env::current_exe()?);
    alone.arg(ALONE).arg(result.path()).arg(command.get_program()).args(command.get_args());
    alone.stdout(Stdio::null());
    if pipe.is_some() {
        alone.stdin(Stdio::piped());
    }
    let mut child = alone.spawn()?;
    let fed = match (pipe, child.stdin.take()) {
        (Some(path), Some(mut stdin)) => std::io::copy(&mut File::open(path)?, &mut stdin).map(drop),
        _ => Ok(()),
    };
    // What the program says about it comes first.
    ensure!(child.wait()?.success(), "{command:?} failed");
    fed.with_context(|| format!("{command:?} did not read all of its input"))?;
    let told: Value = serde_json::from_slice(&fs::read(result.path())?)?;
    let number = |key: &str| told[key].as_f64().with_context(|| format!("no {key} was measured"));
    Ok(Cost { cpu: number("cpu")?, wall: number("wall")?, memory_mib: number("memory_mib")? })
}

/// `RESULT PROGRAM ARGUMENT...`: runs the program and writes its cost to a file.
pub fn alone(arguments: &[OsString]) -> anyhow::Result<()> {
    let [result, program, rest @ ..] = arguments else { bail!("{ALONE} is for the bench itself") };
    let name = Path::new(program).display();
    let started = Instant::now();
    let status = Command::new(program).args(rest).status().with_context(|| format!("cannot run {name}"))?;
    let wall = started.elapsed().as_secs_f64();
    ensure!(status.success(), "{name} ended with {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let (cpu, memory) = (micros as f64 / 1e6, usage.max_rss() as f64 / 1024.0);
    fs::write(result, json!({ "cpu": cpu, "wall": wall, "memory_mib": memory }).to_string())?;
    Ok(())
}
