//! `mirror`.

use std::process::ExitCode;

use anyhow::bail;
use xenith_backup::Repository;
use xenith_backup::error::chain;
use xenith_backup::ingest::Progress;
use xenith_backup::keys::KdfCost;
use xenith_backup::mirror::{self, Look};

use super::{DAMAGED, key, lock, open, progress};
use crate::cli::{KeyArgs, LockArgs, NewKeyArgs, Output};

pub struct Request {
    pub to: String,
    /// Whether it is made first.
    pub init: bool,
    /// Whether what it lost is brought again.
    pub whole: bool,
    pub lock: LockArgs,
    pub new: NewKeyArgs,
}

fn target(from: &Repository, request: &Request, key: &KeyArgs) -> anyhow::Result<Repository> {
    let credential = key::new_or_same(&request.new, key)?;
    let retention = lock::retention(&request.lock);
    if request.init {
        let store = open::store_for_init(&request.to)?;
        return Ok(mirror::init(from, store, (&credential, KdfCost::DEFAULT), retention)?);
    }
    if retention.is_some() {
        bail!("--immutable is for --init; for a mirror that is there use `lock --immutable`");
    }
    open::repository_with(&request.to, &credential)
}

pub fn run(
    from: &Repository,
    request: &Request,
    (key, output): (&KeyArgs, Output),
) -> anyhow::Result<ExitCode> {
    let to = target(from, request, key)?;
    let counters = Progress::default();
    let look = if request.whole { Look::Whole } else { Look::New };
    let done =
        progress::show(&|| progress::of_run(&counters), || mirror::mirror(from, &to, look, &counters))?;
    let problems: Vec<String> = done.problems.iter().map(|problem| chain(problem)).collect();
    match output {
        Output::Json => {
            let told = serde_json::json!({
                "backups": done.manifests, "packs": done.packs, "bytes": done.bytes, "problems": problems,
            });
            println!("{}", serde_json::to_string_pretty(&told)?);
        }
        Output::Text => {
            for manifest in &done.manifests {
                let names: Vec<&str> = manifest.disks.iter().map(|disk| disk.name.as_str()).collect();
                println!("{}@{}", names.join(","), manifest.id);
            }
            println!(
                "{} backups mirrored, {} packs moved ({} MiB)",
                done.manifests.len(),
                done.packs,
                done.bytes >> 20
            );
            problems.iter().for_each(|problem| println!("not mirrored: {problem}"));
        }
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}
