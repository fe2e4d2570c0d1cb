//! `prune`, `forget` and `gc`.

use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;
use xenith_backup::gc::{self, Outcome};
use xenith_backup::id::BackupId;
use xenith_backup::retention::Policy;
use xenith_backup::{Repository, hold, manifest, prune};
use xenith_common_text::counted;

use super::list::time_text;
use crate::cli::{KeepArgs, Output};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    DryRun,
    Real,
}

pub struct Prune {
    pub keep: KeepArgs,
    pub name: Option<String>,
    pub mode: Mode,
    /// Seconds.
    pub grace: Option<u64>,
}

pub fn prune(repo: &Repository, request: &Prune, output: Output) -> anyhow::Result<ExitCode> {
    let keep = &request.keep;
    let policy = Policy {
        last: keep.keep_last,
        hourly: keep.keep_hourly,
        daily: keep.keep_daily,
        weekly: keep.keep_weekly,
        monthly: keep.keep_monthly,
        yearly: keep.keep_yearly,
        tags: keep.keep_tag.clone(),
    };
    let plan = prune::plan(repo, &policy, request.name.as_deref())?;
    if output == Output::Text {
        for decision in &plan.decisions {
            let why = if decision.keep_because.is_empty() {
                "forget".to_owned()
            } else {
                format!("keep: {}", decision.keep_because.join(", "))
            };
            println!("{}  {}  {}  {why}", decision.id, time_text(decision.created), decision.series);
        }
        println!("frees {} of {} MiB", plan.proposal.bytes >> 20, plan.proposal.total >> 20);
    }
    let mut done = Vec::new();
    if request.mode == Mode::Real {
        publish(repo, &plan.proposal)?;
        done = carry_out_due(repo, request.grace)?;
        super::lock::extend(repo)?;
    }
    match output {
        Output::Json => {
            println!("{}", serde_json::to_string_pretty(&serde_json::json!({"prune": plan, "done": done}))?);
        }
        Output::Text => report(&done),
    }
    Ok(ExitCode::SUCCESS)
}

/// Each is told apart from the newest of a name: nobody forgets that by leaving the id out.
fn ids_of(repo: &Repository, what: &[String]) -> anyhow::Result<Vec<BackupId>> {
    let (manifests, _) = gc::visible(repo)?;
    let (held, there) = (hold::list(repo)?, manifest::list_ids(repo)?);
    let mut ids = Vec::new();
    for what in what {
        let id = match BackupId::parse(what).filter(|id| there.contains(id)) {
            Some(id) => id,
            None if what.contains('@') => manifest::find(&manifests, what)?.0.id,
            None => bail!("{what:?} names no single backup; give NAME@ID, as `list` shows them"),
        };
        if held.contains(&id) {
            bail!("{what} is held; lift that first with `hold --lift`");
        }
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

pub fn forget(
    repo: &Repository,
    what: &[String],
    (mode, grace): (Mode, Option<u64>),
    output: Output,
) -> anyhow::Result<ExitCode> {
    let proposal = gc::propose(repo, ids_of(repo, what)?)?;
    if output == Output::Text {
        let (backups, bytes) = (counted(proposal.plan.forget.len(), "backup"), proposal.bytes >> 20);
        println!("{backups} to forget; frees {bytes} of {} MiB", proposal.total >> 20);
    }
    let mut done = Vec::new();
    if mode == Mode::Real {
        publish(repo, &proposal)?;
        done = carry_out_due(repo, grace)?;
        super::lock::extend(repo)?;
    }
    match output {
        Output::Json => {
            let told = serde_json::json!({"forget": proposal, "done": done});
            println!("{}", serde_json::to_string_pretty(&told)?);
        }
        Output::Text => report(&done),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn gc(
    repo: &Repository,
    repack_below: u64,
    (grace, output): (Option<u64>, Output),
) -> anyhow::Result<ExitCode> {
    let mut done = carry_out_due(repo, grace)?;
    if repack_below > 0 {
        let moved = gc::repack(repo, repack_below)?;
        if moved.packs > 0 && output == Output::Text {
            println!("moved {} chunks out of {} packs", moved.chunks, moved.packs);
        }
    }
    publish(repo, &gc::propose(repo, Vec::new())?)?;
    done.extend(carry_out_due(repo, grace)?);
    super::lock::extend(repo)?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&done)?),
        Output::Text => report(&done),
    }
    Ok(ExitCode::SUCCESS)
}

fn publish(repo: &Repository, proposal: &gc::Proposal) -> anyhow::Result<()> {
    if !proposal.plan.packs.is_empty() || !proposal.plan.forget.is_empty() {
        gc::publish(repo, &proposal.plan)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Done {
    plan: String,
    outcome: Outcome,
}

fn carry_out_due(repo: &Repository, grace: Option<u64>) -> anyhow::Result<Vec<Done>> {
    let grace = grace.map_or(gc::DEFAULT_GRACE_MILLIS, |seconds| seconds.saturating_mul(1000));
    let mut done = Vec::new();
    for plan in gc::published(repo)? {
        let outcome = gc::carry_out(repo, &plan, repo.now(), grace)?;
        done.push(Done { plan: plan.name, outcome });
    }
    Ok(done)
}

fn report(done: &[Done]) {
    for Done { plan, outcome } in done {
        match outcome {
            Outcome::Waiting { sessions, until } => println!(
                "plan {plan} waits until {} and for {}; run gc then",
                time_text(*until),
                counted(sessions.len(), "running backup")
            ),
            Outcome::Locked { object, until } => println!(
                "plan {plan} waits until {}: {object} is locked in the store; run gc then",
                time_text(*until)
            ),
            Outcome::Done { forgotten, packs, spared, bytes } => println!(
                "plan {plan}: {} forgotten, {} deleted ({} MiB), {spared} spared",
                counted(*forgotten, "backup"),
                counted(*packs, "pack"),
                bytes >> 20
            ),
        }
    }
}
