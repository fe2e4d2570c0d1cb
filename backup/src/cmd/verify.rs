//! `verify`.

use std::process::ExitCode;

use anyhow::bail;
use xenith_backup::verify::{self, Level, Report, Scope};
use xenith_backup::{Repository, gc};
use xenith_common_text::counted;

use crate::cli::{DepthArgs, Output};

/// What of the repository to look at how hard.
pub fn scope(depth: &DepthArgs, now: u64) -> anyhow::Result<Scope> {
    const DAY: u64 = 24 * 3600 * 1000;
    let level = if depth.deep {
        Level::Deep
    } else if depth.quick {
        Level::Quick
    } else {
        Level::Normal
    };
    let mut scope = Scope::all(level);
    if let Some(days) = depth.newer_than {
        scope.since = now.saturating_sub(days.saturating_mul(DAY));
    }
    if let Some(text) = &depth.part {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        let parts: Option<(u32, u32)> = parts;
        match parts {
            Some((k, n)) if (1..=n).contains(&k) => scope.part = (k - 1, n),
            _ => bail!("--part {text:?} is not of the form K/N with K from 1 to N, such as 3/30"),
        }
    }
    Ok(scope)
}

/// What to do with packs that are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    Tell,
    SetAside,
}

pub fn run(
    repo: &Repository,
    (scope, damaged): (&Scope, Damaged),
    output: Output,
) -> anyhow::Result<ExitCode> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let report = verify::verify_part(repo, scope, threads.min(16))?;
    if damaged == Damaged::SetAside {
        gc::set_aside(repo, &report.damaged_packs)?;
    }
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "{}, {} of {} read, {}, {}, {} MiB read{}: {}",
            counted(report.backups, "backup"),
            report.packs_read,
            counted(report.packs, "pack"),
            counted(report.chunks, "chunk"),
            counted(report.pages, "map page"),
            report.bytes_read >> 20,
            if report.locks > 0 { format!(", {}", counted(report.locks, "lock")) } else { String::new() },
            if report.problems.is_empty() { "all good" } else { "DAMAGED" }
        );
        for problem in &report.problems {
            println!("{}: {}", problem.object, problem.detail);
            for touched in &problem.touches {
                println!("  touches {touched}");
            }
        }
        tell_the_way_out(&report, damaged);
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::DAMAGED) })
}

fn tell_the_way_out(report: &Report, damaged: Damaged) {
    let packs = report.damaged_packs.len();
    match damaged {
        Damaged::SetAside if packs > 0 => println!(
            "{packs} packs are set aside: nobody counts on them any more. Back up whole now what is touched, without \
             --changed-ranges: what is still on the disks is stored again, for the older backups as well"
        ),
        Damaged::Tell if packs > 0 => println!(
            "what is in {packs} damaged packs still counts as stored: verify with --set-aside, then back up whole what is touched"
        ),
        _ => {}
    }
}
