//! Collection without a global lock.
//!
//! A collector marks what the manifests reach, publishes an immutable *plan* of what nobody reaches, waits,
//! settles on a *verdict*, and carries it out. What always holds:
//! * The plan exists before its collector lists sessions, and a session exists before its writer lists plans.
//!   So for each pair either the writer knows the plan and uses nothing in it, or the collector knows the
//!   session and waits until it has committed, ended or been revoked.
//! * After the wait everything is marked again; what a commit made reachable since is spared.
//! * A pack is deleted only if every reachable chunk in it lies in another pack that no published plan names, and that is
//!   not known to be spoilt.
//! * There is one verdict per plan (create-if-absent), and whoever carries the plan out deletes just what the
//!   verdict says: two collectors that see different moments cannot add up their deletions.
//! * Anything that cannot be read ends a collection before it deletes.
//! * In a sealed repository a plan or verdict counts to collectors only if it was made with the repository's own key:
//!   who may only add backups could otherwise name what others delete. One that was not is never carried out, so what it
//!   names is as safe as before; writers cannot tell, and do without what it names.
//!
//! | step | who reads it | a crash after it leaves |
//! |---|---|---|
//! | publish plan | writers at their start, collectors | a plan that the next collector carries out |
//! | publish verdict | collectors | the same, with the choice made |
//! | delete manifests, then packs | | some deleted; the rest is deleted by the next collector |
//! | delete plan, then verdict | | a verdict without plan: swept by the next collector |
//!
//! `docs/backup-format.md` has the proof, `tests/it/gc_model.rs` a model that is checked exhaustively.

mod carry_out;
mod mark;
mod repack;
mod set_aside;

use serde::{Deserialize, Serialize};

use crate::crypto::{Secret32, random_hex};
use crate::error::{BackupError, Result};
use crate::format::{ObjectBuilder, ObjectKind, Sealed};
use crate::id::{BackupId, ObjectHash};
use crate::immutable;
use crate::manifest;
use crate::repo::Repository;
use crate::session;
use crate::store::{ObjectKey, StoreError};

pub use carry_out::{Outcome, carry_out};
pub use mark::{Live, PackUse};
pub use repack::{Repacked, repack};
pub use set_aside::set_aside;

/// How long a plan rests before it is carried out, on top of waiting for sessions: twice the longest lease, for
/// stores whose listings lag.
pub const DEFAULT_GRACE_MILLIS: u64 = 2 * session::LEASE_MILLIS;

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
    /// When the last lock on what it names ends (milliseconds since 1970 by the store's clock): it rests until then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_before: u64,
}

impl Plan {
    /// A plan or a verdict as it is sealed, for the object of this name.
    pub fn parse(json: &[u8], name: &str) -> Result<Self, String> {
        let plan: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if plan.name == name { Ok(plan) } else { Err("it is another plan's".to_owned()) }
    }
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn plan_key(name: &str) -> Option<ObjectKey> {
    ObjectKey::parse(&format!("plans/{name}"))
}

fn verdict_key(name: &str) -> Option<ObjectKey> {
    ObjectKey::parse(&format!("verdicts/{name}"))
}

/// All plans that are published and not yet carried out.
pub fn published(repo: &Repository) -> Result<Vec<Plan>> {
    Ok(scan(repo)?.0)
}

/// What lies among the plans and was not made with the repository's own key.
pub fn forged(repo: &Repository) -> Result<Vec<ObjectKey>> {
    Ok(scan(repo)?.1)
}

fn scan(repo: &Repository) -> Result<(Vec<Plan>, Vec<ObjectKey>)> {
    let (mut plans, mut forged) = (Vec::new(), Vec::new());
    for info in repo.store().list("plans/")? {
        let name = info.key.as_str().trim_start_matches("plans/").to_owned();
        match read_object(repo, &info.key, &name) {
            Ok(None) => {
                tracing::warn!(
                    plan = name,
                    "it was not made with the repository's own key, and counts for nothing"
                );
                forged.push(info.key);
            }
            Ok(Some(mut plan)) => {
                // A collector whose clock was ahead must not make everybody wait for years.
                if info.modified > 0 && plan.created > info.modified.saturating_add(session::LEASE_MILLIS) {
                    plan.created = info.modified;
                }
                plans.push(plan);
            }
            Err(BackupError::Store(StoreError::NotFound { .. })) => {}
            // A plan nobody can read is never carried out, but what it names is unknown: no safe answer.
            Err(error) => return Err(error),
        }
    }
    plans.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((plans, forged))
}

/// Of a plan or verdict: its object, and in a sealed repository who made it.
fn seal_of(secret: &Secret32, key: &ObjectKey, json: &[u8]) -> blake3::Hash {
    // The key tells plans from verdicts: a plan that is put in its verdict's place would delete what was to be spared.
    blake3::Hasher::new_keyed(secret.expose())
        .update(key.as_str().as_bytes())
        .update(&[0])
        .update(json)
        .finalize()
}

/// `None`: nobody with the repository's own key made it.
fn read_object(repo: &Repository, key: &ObjectKey, name: &str) -> Result<Option<Plan>> {
    let label = format!("plan {key}");
    let bytes = repo.store().read(key, MAX_PLAN)?;
    let plain = Sealed::open(&bytes, ObjectKind::Plan, repo.keyring(), &label)?.concat(MAX_PLAN as usize)?;
    let mut json = plain.as_slice();
    if repo.keyring().is_sealed() {
        let Some((body, mac)) = plain.split_last_chunk::<32>() else { return Ok(None) };
        let good = |secret| seal_of(secret, key, body) == blake3::Hash::from_bytes(*mac);
        if !repo.keyring().collector_secret().is_none_or(good) {
            return Ok(None);
        }
        json = body;
    }
    Plan::parse(json, name).map(Some).map_err(|detail| BackupError::damaged(label, detail))
}

fn write_object(repo: &Repository, key: &ObjectKey, plan: &Plan) -> Result<(), StoreError> {
    let mut object = ObjectBuilder::new(ObjectKind::Plan, repo.keyring());
    let mut plain = serde_json::to_vec(plan).expect("a plan is plain data");
    if let Some(secret) = repo.keyring().collector_secret() {
        let mac = seal_of(secret, key, &plain);
        plain.extend_from_slice(mac.as_bytes());
    }
    object.push_all(&plain);
    repo.store().create(key, &[object.finish().0])
}

/// A printable proposal: nothing is changed until it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    pub plan: Plan,
    /// Stored bytes of the plan's packs.
    pub bytes: u64,
    /// Stored bytes nobody needs inside packs that stay.
    pub waste: u64,
    /// Stored bytes of all packs.
    pub total: u64,
}

/// Marks, and proposes to forget `forget` and to delete what then nobody needs.
pub fn propose(repo: &Repository, forget: Vec<BackupId>) -> Result<Proposal> {
    repo.keyring().need_own("collecting")?;
    // Sessions first: packs that came after the oldest open one are left for another time. That spares
    // running writers the trouble; safety does not need it.
    let open: Vec<_> = session::list(repo)?.into_iter().filter(|session| !session.ended).collect();
    let youngest = open.iter().map(|session| session.opened).min().unwrap_or(u64::MAX);
    let plans = published(repo)?;
    let (index, live) = Live::load(repo, &forget)?;
    let planned = |name: &ObjectHash| plans.iter().any(|plan| plan.packs.contains(name));
    let use_of = live.pack_use(&index, &|name| planned(name) || index.is_spoilt(name))?;
    let mut proposal = Proposal {
        plan: Plan {
            name: plan_name(&plans, repo.now()),
            created: repo.now(),
            forget,
            packs: Vec::new(),
            not_before: 0,
        },
        bytes: 0,
        waste: 0,
        total: 0,
    };
    for (pack, used) in index.packs().iter().zip(&use_of) {
        proposal.total += pack.size;
        if !used.needed
            && !planned(&pack.name)
            && pack.modified < youngest
            && !index.is_unreadable(&pack.name)
        {
            proposal.plan.packs.push(pack.name);
            proposal.bytes += pack.size;
        } else if used.needed {
            proposal.waste += pack.size.saturating_sub(used.live_bytes);
        }
    }
    proposal.plan.not_before = immutable::last_lock(repo, &proposal.plan)?;
    Ok(proposal)
}

/// Epoch and random digits: the epoch orders plans for people, the digits make a name nobody used before.
fn plan_name(plans: &[Plan], now: u64) -> String {
    let epoch = |plan: &Plan| plan.name.split('-').next().and_then(|text| text.parse::<u64>().ok());
    let last = plans.iter().filter_map(epoch).max().unwrap_or(0);
    format!("{:012}-{}", last.max(now / 1000).saturating_add(1), random_hex())
}

/// Publishes a plan. From here on no new session uses what it names.
pub fn publish(repo: &Repository, plan: &Plan) -> Result<()> {
    repo.keyring().need_own("publishing a plan")?;
    let key = plan_key(&plan.name).ok_or_else(|| BackupError::Invalid("not a plan's name".to_owned()))?;
    write_object(repo, &key, plan)?;
    Ok(())
}

/// Backups that a published plan forgets: they are not shown any more.
pub fn forgotten(repo: &Repository) -> Result<Vec<BackupId>> {
    Ok(published(repo)?.into_iter().flat_map(|plan| plan.forget).collect())
}

/// The backups there are: committed, readable, and not to be forgotten.
pub fn visible(repo: &Repository) -> Result<(Vec<manifest::Manifest>, Vec<BackupError>)> {
    let gone = forgotten(repo)?;
    let (mut manifests, problems) = manifest::list(repo)?;
    manifests.retain(|manifest| !gone.contains(&manifest.id));
    Ok((manifests, problems))
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
