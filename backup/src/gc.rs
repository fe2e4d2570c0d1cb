//! Collection without a global lock.
//!
//! A collector marks what the manifests reach, publishes an immutable *plan* of what nobody reaches, waits, and
//! carries it out. What always holds:
//! * The plan exists before its collector lists sessions, and a session exists before its writer lists plans.
//!   So for each pair either the writer knows the plan and uses nothing in it, or the collector knows the
//!   session and waits until it has committed, ended or been revoked.
//! * After the wait everything is marked again; what a commit made reachable since is spared.
//! * A pack is deleted only if every reachable chunk in it lies in another pack that no published plan names.
//! * Anything that cannot be read ends a collection before it deletes.
//!
//! A crash at any point leaves a plan that the next collector carries out. `docs/backup-format.md` has the
//! proof, `tests/it/gc_model.rs` the model that is checked exhaustively.

use serde::{Deserialize, Serialize};

use crate::error::{BackupError, Result};
use crate::format::{ObjectKind, Sealed};
use crate::id::{BackupId, ObjectHash};
use crate::repo::Repository;
use crate::store::{ObjectKey, StoreError};

/// Largest plan: names of all packs of 100 TiB.
const MAX_PLAN: u64 = 64 << 20;

/// What is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its object's name: the epoch, a dash, random digits.
    pub name: String,
    /// Milliseconds since 1970 by the collector's clock.
    pub created: u64,
    /// Backups to forget.
    pub forget: Vec<BackupId>,
    /// Packs nobody needs once those are forgotten.
    pub packs: Vec<ObjectHash>,
}

fn plan_key(name: &str) -> Option<ObjectKey> {
    ObjectKey::parse(&format!("plans/{name}"))
}

/// All plans that are published and not yet carried out.
pub fn published(repo: &Repository) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for info in repo.store().list("plans/")? {
        let name = info.key.as_str().trim_start_matches("plans/").to_owned();
        match read_plan(repo, &name) {
            Ok(plan) => plans.push(plan),
            Err(BackupError::Store(StoreError::NotFound { .. })) => {}
            // A plan nobody can read is never carried out, but what it names is unknown: no safe answer.
            Err(error) => return Err(error),
        }
    }
    Ok(plans)
}

fn read_plan(repo: &Repository, name: &str) -> Result<Plan> {
    let label = format!("plan {name}");
    let key = plan_key(name).ok_or_else(|| BackupError::damaged(&label, "it has an impossible name"))?;
    let bytes = repo.store().read(&key, MAX_PLAN)?;
    let plain = Sealed::open(&bytes, ObjectKind::Plan, repo.keyring(), &label)?.concat(MAX_PLAN as usize)?;
    let plan: Plan =
        serde_json::from_slice(&plain).map_err(|error| BackupError::damaged(&label, error.to_string()))?;
    if plan.name == name { Ok(plan) } else { Err(BackupError::damaged(label, "it is another plan's")) }
}

/// The last look before a commit. Plans published since the session began wait for it, and mark again after
/// it; so they are no obstacle, but they are worth a line in the log.
pub fn check_before_commit(repo: &Repository, saw: &[String]) -> Result<()> {
    for plan in published(repo)? {
        if !saw.contains(&plan.name) {
            tracing::info!(plan = plan.name, "a collector's plan waits for this session");
        }
    }
    Ok(())
}
