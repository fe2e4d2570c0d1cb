//! Packs that were found damaged: nobody counts on them any more, and what is good in them stays.
//!
//! They are named in a published plan that forgets no backup. So no run that begins now uses a chunk in them: a run that
//! reads a disk whole stores what it finds there again, elsewhere. The plan rests for [`REST`], for every job to have done
//! so; then it is carried out as any other: a pack of which each needed chunk lies elsewhere goes, one that holds the
//! only copy of something stays. A crash leaves the plan or none.

use super::{Plan, plan_name, publish, published};
use crate::error::Result;
use crate::id::ObjectHash;
use crate::immutable;
use crate::repo::Repository;

/// Milliseconds: two weeks and a day, so that jobs that run once a week have two tries.
const REST: u64 = 15 * 24 * 60 * 60 * 1000;

/// Sets `packs` aside; says how many of them were not before.
pub fn set_aside(repo: &Repository, packs: &[ObjectHash]) -> Result<usize> {
    repo.keyring().need_own("setting packs aside")?;
    if packs.is_empty() {
        return Ok(0);
    }
    let plans = published(repo)?;
    let planned = |name: &ObjectHash| plans.iter().any(|plan| plan.packs.contains(name));
    let mut packs: Vec<ObjectHash> = packs.iter().filter(|name| !planned(name)).copied().collect();
    packs.sort_unstable();
    packs.dedup();
    if packs.is_empty() {
        return Ok(0);
    }
    let (name, created) = (plan_name(&plans, repo.now()), repo.now());
    let plan = Plan { name, created, forget: Vec::new(), packs, not_before: 0 };
    let rested = repo.store().clock()?.saturating_add(REST);
    let plan = Plan { not_before: immutable::last_lock(repo, &plan)?.max(rested), ..plan };
    publish(repo, &plan)?;
    Ok(plan.packs.len())
}
