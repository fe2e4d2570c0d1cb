//! Pruning: retention decides, a plan forgets, a collector deletes.

use serde::Serialize;

use crate::error::Result;
use crate::gc::{self, Proposal};
use crate::hold;
use crate::repo::Repository;
use crate::retention::{Candidate, Decision, Policy, decide};

/// What pruning would do. Printing it is the dry run; publishing its plan is the real one.
#[derive(Debug, Clone, Serialize)]
pub struct PrunePlan {
    pub decisions: Vec<Decision>,
    pub proposal: Proposal,
}

/// Decides on all visible backups; with `only`, on those of one series.
pub fn plan(repo: &Repository, policy: &Policy, only: Option<&str>) -> Result<PrunePlan> {
    let held = hold::list(repo)?;
    let (manifests, _) = gc::visible(repo)?;
    let candidates: Vec<Candidate> = manifests
        .into_iter()
        .filter(|manifest| only.is_none_or(|only| manifest.series() == only))
        .map(|manifest| Candidate {
            id: manifest.id,
            series: manifest.series(),
            created: manifest.created,
            number: manifest.number(),
            held: held.contains(&manifest.id),
            tags: manifest.tags,
        })
        .collect();
    let decisions = decide(&candidates, policy);
    let forget = decisions.iter().filter(|d| d.keep_because.is_empty()).map(|d| d.id).collect();
    Ok(PrunePlan { decisions, proposal: gc::propose(repo, forget)? })
}
