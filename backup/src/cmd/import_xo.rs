//! `import-xo`.

use std::path::Path;
use std::process::ExitCode;

use xenith_backup::Repository;
use xenith_backup::ingest::{Options, Progress};
use xenith_backup::xo::{self, Outcome};

use super::list::time_text;
use crate::cli::Output;

pub fn run(repo: &Repository, source: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let mut told = |outcome: &Outcome| {
        if output == Output::Text {
            say(outcome);
        }
    };
    let outcomes = xo::import(repo, source, (&Options::default(), &Progress::default()), &mut told)?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    }
    let lost = |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. } | Outcome::Unreadable { .. });
    Ok(if outcomes.iter().any(lost) { ExitCode::from(super::DAMAGED) } else { ExitCode::SUCCESS })
}

fn say(outcome: &Outcome) {
    match outcome {
        Outcome::Imported { vm, created, backup, read, stored } => println!(
            "{vm} of {}: imported as {backup}, {} MiB read, {} MiB stored",
            time_text(*created),
            read >> 20,
            stored >> 20
        ),
        Outcome::Present { vm, created, backup } => {
            println!("{vm} of {}: is there as {backup}", time_text(*created));
        }
        Outcome::Failed { vm, created, why } => {
            println!("{vm} of {}: NOT imported: {why}", time_text(*created))
        }
        Outcome::Unreadable { why } => println!("NOT imported: {why}"),
    }
}
