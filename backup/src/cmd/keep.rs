//! `keep`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use nix::unistd::{Group, User};
use xenith_backup::store::{self, Keeper};
use xenith_common_text::counted;

use crate::cli::Output;

pub fn run(folder: &Path, (owner, group): (&str, Option<&str>), output: Output) -> anyhow::Result<ExitCode> {
    let user = User::from_name(owner)?.with_context(|| format!("there is no user {owner}"))?.uid.as_raw();
    let group = group
        .map(|name| Group::from_name(name)?.with_context(|| format!("there is no group {name}")))
        .transpose()?
        .map(|group| group.gid.as_raw());
    let handed = store::keep(folder, Keeper { user, group })?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&handed)?),
        Output::Text => {
            println!(
                "{} taken over, {} were, {} left for later",
                counted(handed.taken, "object"),
                handed.kept,
                handed.left
            );
            if handed.unflagged > 0 {
                println!(
                    "this filesystem has no immutable files: only the owner protects {}",
                    handed.unflagged
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
