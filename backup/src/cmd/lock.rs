//! `lock`, and the locks that `init` asks for.

use std::process::ExitCode;

use anyhow::Context;
use xenith_backup::Repository;
use xenith_backup::immutable::{self, Which};
use xenith_backup::index;
use xenith_backup::store::{LockMode, Retention};

use crate::cli::{LockArgs, LockModeArg, Output};

/// What the command line asks for.
pub fn retention(args: &LockArgs) -> Option<Retention> {
    let mode = match args.lock_mode {
        LockModeArg::Governance => LockMode::Governance,
        LockModeArg::Compliance => LockMode::Compliance,
    };
    args.immutable.map(|days| Retention { days, mode })
}

pub fn run(
    repo: &Repository,
    (retention, which): (Option<Retention>, Which),
    output: Output,
) -> anyhow::Result<ExitCode> {
    let changed;
    let repo = match retention {
        Some(retention) => {
            changed = repo.set_retention(Some(retention))?;
            &changed
        }
        None => repo,
    };
    let done = immutable::extend(repo, &index::list_packs(repo)?, which)?;
    let done = done.context("this repository locks nothing; --immutable DAYS makes it")?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&done)?),
        Output::Text => println!("{} of {} locks extended", done.extended, done.objects),
    }
    Ok(ExitCode::SUCCESS)
}

/// What every command that looks after a repository does at its end.
pub fn extend(repo: &Repository) -> anyhow::Result<()> {
    if repo.keyring().retention().is_some() {
        immutable::extend(repo, &index::list_packs(repo)?, Which::Due)?;
    }
    Ok(())
}
