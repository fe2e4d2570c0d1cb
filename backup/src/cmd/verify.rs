//! `verify`.

use std::process::ExitCode;

use xenith_backup::Repository;
use xenith_backup::verify::{self, Level};

use crate::cli::{DepthArgs, Output};

pub fn level(depth: &DepthArgs) -> Level {
    if depth.deep {
        Level::Deep
    } else if depth.quick {
        Level::Quick
    } else {
        Level::Normal
    }
}

pub fn run(repo: &Repository, level: Level, output: Output) -> anyhow::Result<ExitCode> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let report = verify::verify(repo, level, threads.min(16))?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "{} backups, {} packs, {} chunks, {} map pages, {} MiB read: {}",
            report.backups,
            report.packs,
            report.chunks,
            report.pages,
            report.bytes_read >> 20,
            if report.problems.is_empty() { "all good" } else { "DAMAGED" }
        );
        for problem in &report.problems {
            println!("{}: {}", problem.object, problem.detail);
            for touched in &problem.touches {
                println!("  touches {touched}");
            }
        }
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::DAMAGED) })
}
