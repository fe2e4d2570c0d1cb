//! From a published plan to deleted packs.

use std::time::Duration;

use serde::Serialize;

use super::{Live, Plan, forged, plan_key, published, read_object, verdict_key, write_object};
use crate::error::{BackupError, Result};
use crate::hold;
use crate::id::{BackupId, ObjectHash};
use crate::immutable;
use crate::index::{self, pack_key, segment_key};
use crate::manifest::{self, manifest_key};
use crate::repo::Repository;
use crate::session::{self, SeenSession};
use crate::store::StoreError;

/// More small segments than this are merged: each costs every reader a request.
const MAX_SEGMENTS: usize = 32;
/// Segments with fewer entries are small: a full one has 256 Ki.
const SMALL_SEGMENT: usize = 64 * 1024;
/// Entries merged at a time: 26 MiB.
const MOST_ENTRIES: usize = 512 * 1024;

/// How carrying out a plan went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Sessions that began before the plan are still open, or the grace is not over. Try again later.
    Waiting {
        sessions: Vec<BackupId>,
        until: u64,
    },
    /// A lock in the store is not over: nothing else was deleted. `until` is milliseconds since 1970. Try again then.
    Locked {
        object: String,
        until: u64,
    },
    Done {
        forgotten: usize,
        packs: usize,
        spared: usize,
        bytes: u64,
    },
}

/// Carries out a published plan as of `now`, if its grace (milliseconds) is over and no session is in the way.
/// May be called again, by anybody, at the same time.
pub fn carry_out(repo: &Repository, plan: &Plan, now: u64, grace: u64) -> Result<Outcome> {
    repo.keyring().need_own("carrying out a plan")?;
    let sessions = session::list(repo)?;
    let waiting = waiting_for(repo, plan, &sessions, (now, grace))?;
    let rested = plan.created.saturating_add(grace);
    let until = rested.max(plan.not_before);
    // Locks end by the store's clock.
    let locked = plan.not_before > 0 && repo.store().clock()? < plan.not_before;
    if !waiting.is_empty() || now < rested || locked {
        return Ok(Outcome::Waiting { sessions: waiting, until });
    }
    let Some(verdict) = settle(repo, plan)? else {
        // Somebody else finished it meanwhile.
        return Ok(Outcome::Done { forgotten: 0, packs: 0, spared: 0, bytes: 0 });
    };
    immutable::extend_spared(repo, plan, &verdict)?;
    let sizes: std::collections::HashMap<ObjectHash, u64> =
        index::list_packs(repo)?.into_iter().map(|pack| (pack.name, pack.size)).collect();
    let mut bytes = 0;
    // Manifests first, and at the first lock no further: a manifest that is there must have its packs.
    let manifests = verdict.forget.iter().map(|id| (manifest_key(id), 0));
    let packs = verdict.packs.iter().map(|pack| (pack_key(pack), sizes.get(pack).copied().unwrap_or(0)));
    for (key, size) in manifests.chain(packs) {
        match repo.store().delete(&key) {
            Ok(()) => bytes += size,
            Err(StoreError::Locked { key, until }) => {
                tracing::warn!(object = key, until, plan = plan.name, "a lock keeps what a plan gives up");
                return Ok(Outcome::Locked { object: key, until });
            }
            Err(error) => return Err(error.into()),
        }
    }
    tidy(repo, &sessions)?;
    // The plan goes before the verdict: see `settle`.
    for key in [plan_key(&plan.name), verdict_key(&plan.name)].into_iter().flatten() {
        repo.store().delete(&key)?;
    }
    Ok(Outcome::Done {
        forgotten: verdict.forget.len(),
        packs: verdict.packs.len(),
        spared: plan.packs.len() - verdict.packs.len(),
        bytes,
    })
}

/// Sessions that may not know the plan and are not over. Those whose lease ran out are revoked.
fn waiting_for(
    repo: &Repository,
    plan: &Plan,
    sessions: &[SeenSession],
    (now, grace): (u64, u64),
) -> Result<Vec<BackupId>> {
    let mut waiting = Vec::new();
    for session in sessions {
        if session.ended || session.saw_plans.contains(&plan.name) {
            continue;
        }
        match manifest::read(repo, &session.id) {
            // Committed or revoked: over.
            Ok(_) => continue,
            Err(BackupError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if session.lease_end(now).saturating_add(grace) < now {
            let revoked = manifest::revoke(repo, &session.id)?;
            tracing::warn!(session = %session.id, host = session.host, revoked, "a session's lease ran out");
        } else {
            waiting.push(session.id);
        }
    }
    Ok(waiting)
}

/// The one verdict on `plan`: made now, or by somebody before. `None` when the plan is carried out already.
fn settle(repo: &Repository, plan: &Plan) -> Result<Option<Plan>> {
    let key = verdict_key(&plan.name).ok_or_else(|| BackupError::Invalid("not a plan's name".to_owned()))?;
    match read_object(repo, &key, &plan.name) {
        Err(BackupError::Store(StoreError::NotFound { .. })) => {}
        Ok(None) => return give_up(repo, plan).map(|()| None),
        other => return other,
    }
    let verdict = judge(repo, plan)?;
    match write_object(repo, &key, &verdict) {
        Ok(()) => {}
        Err(StoreError::AlreadyExists { .. }) => {
            return match read_object(repo, &key, &plan.name) {
                Err(BackupError::Store(StoreError::NotFound { .. })) => Ok(None),
                Ok(None) => give_up(repo, plan).map(|()| None),
                other => other,
            };
        }
        Err(error) => return Err(error.into()),
    }
    // If the verdict could be created because another collector had deleted its own, then that one had deleted
    // the plan before: this verdict is late and must not be carried out.
    let alive = plan_key(&plan.name).is_some_and(|key| repo.store().size(&key).is_ok());
    if alive {
        return Ok(Some(verdict));
    }
    repo.store().delete(&key)?;
    Ok(None)
}

/// Ends a plan whose verdict somebody without the repository's own key has made, with nothing deleted: another plan names
/// the same. The plan goes first, as ever, so that whoever is about to make a verdict finds that it is late.
fn give_up(repo: &Repository, plan: &Plan) -> Result<()> {
    tracing::warn!(
        plan = plan.name,
        "its verdict was not made with the repository's own key: it is given up"
    );
    for key in [plan_key(&plan.name), verdict_key(&plan.name)].into_iter().flatten() {
        repo.store().delete(&key)?;
    }
    Ok(())
}

/// Marks again and spares what is needed.
fn judge(repo: &Repository, plan: &Plan) -> Result<Plan> {
    // Plans before packs: a pack of a plan that is finished in between is then missing from the listing.
    let plans = published(repo)?;
    let planned =
        |name: &ObjectHash| plan.packs.contains(name) || plans.iter().any(|other| other.packs.contains(name));
    let held = hold::list(repo)?;
    // A revocation is no backup, and stays whoever names it: without it the session that it ended could commit after all.
    let is_revoked = |id: &BackupId| matches!(manifest::read(repo, id), Ok(None));
    let forget: Vec<BackupId> =
        plan.forget.iter().filter(|id| !held.contains(id) && !is_revoked(id)).copied().collect();
    let (index, live) = Live::load(repo, &forget)?;
    let mut spared: Vec<ObjectHash> = Vec::new();
    index.table().groups(|rows, entries| {
        let names = || entries.iter().map(|entry| index.packs()[entry.pack as usize].name);
        if live.get(rows.start) && names().all(|name| planned(&name) || index.is_spoilt(&name)) {
            spared.extend(names());
        }
    })?;
    spared.sort_unstable();
    spared.dedup();
    let keep = |name: &&ObjectHash| spared.binary_search(name).is_err() && !index.is_unreadable(name);
    Ok(Plan { packs: plan.packs.iter().filter(keep).copied().collect(), forget, ..plan.clone() })
}

/// Index segments about packs that are gone, sessions that are over, verdicts nobody needs.
fn tidy(repo: &Repository, sessions: &[SeenSession]) -> Result<()> {
    for session in sessions {
        let over = session.ended
            || match manifest::read(repo, &session.id) {
                Ok(_) => true,
                Err(BackupError::NotFound { .. }) => false,
                Err(error) => return Err(error),
            };
        if over {
            for key in &session.objects {
                repo.store().delete(key)?;
            }
        }
    }
    // Longer than any object takes to write: a writer that is at it renews its lease every few minutes.
    let swept = repo.store().sweep(Duration::from_millis(2 * session::LEASE_MILLIS))?;
    tracing::debug!(swept, "what dead writers left half written is gone");
    tidy_index(repo)?;
    immutable::tidy(repo)?;
    tidy_probes(repo)?;
    for key in forged(repo)? {
        repo.store().delete(&key)?;
    }
    let plans: Vec<String> =
        repo.store().list("plans/")?.into_iter().map(|info| info.key.to_string()).collect();
    for info in repo.store().list("verdicts/")? {
        let plan = info.key.as_str().replacen("verdicts/", "plans/", 1);
        if !plans.contains(&plan) {
            repo.store().delete(&info.key)?;
        }
    }
    Ok(())
}

/// What trying out a store left, because it was locked.
fn tidy_probes(repo: &Repository) -> Result<()> {
    for info in repo.store().list("probe/")? {
        match repo.store().delete(&info.key) {
            Ok(()) | Err(StoreError::Locked { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Merges segments that are small or mostly about packs that are gone, as many at a time as fit in memory.
fn tidy_index(repo: &Repository) -> Result<()> {
    // Segments before packs: a pack is stored before the segment about it, so one that is not listed then is gone. The other
    // way round the segments of a run that is at work would count as being about packs that are gone.
    let segments = repo.store().list("index/")?;
    let packs = index::list_packs(repo)?;
    let exists = |name: &ObjectHash| packs.binary_search_by_key(name, |pack| pack.name).is_ok();
    let (mut entries, mut worth_it) = (0, false);
    let mut chosen = Vec::new();
    for info in segments {
        match index::read_segment(repo, &info.key) {
            Ok(segment) => {
                let dead = segment.packs.iter().filter(|name| !exists(name)).count();
                let stale = dead * 2 > segment.packs.len();
                if stale || segment.entries.len() < SMALL_SEGMENT {
                    worth_it |= stale;
                    entries += segment.entries.len();
                    chosen.push((info.key, segment));
                }
            }
            Err(BackupError::Store(StoreError::NotFound { .. })) => {}
            // A segment that cannot be read is worth nothing: its packs have footers.
            Err(BackupError::Damaged { .. }) => repo.store().delete(&info.key)?,
            Err(error) => return Err(error),
        }
        if entries > MOST_ENTRIES {
            worth_it = true;
            break;
        }
    }
    if !worth_it && chosen.len() <= MAX_SEGMENTS {
        return Ok(());
    }
    for (bytes, hash) in index::merge(&chosen, &exists, repo.keyring()) {
        match repo.store().create(&segment_key(&hash), &[bytes]) {
            Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (key, _) in &chosen {
        repo.store().delete(key)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use xenith_common_block::MemorySource;

    use super::*;
    use crate::forward_store;
    use crate::index::Index;
    use crate::ingest::{self, DiskJob, Options, Progress};
    use crate::keys::{Credential, KdfCost, Keyring};
    use crate::store::{MemoryStore, ObjectInfo, ObjectStore};

    fn backup(repo: &Repository, name: &str) {
        let source = MemorySource::new(name.as_bytes().repeat(4096));
        let job = DiskJob { name: name.to_owned(), source: &source, changed: None.into() };
        ingest::backup(repo, vec![job], &Options::default(), &Progress::default()).unwrap();
    }

    /// A store in which a backup is made once, right after the packs were listed.
    struct AfterPacks {
        inner: Arc<MemoryStore>,
        writer: Mutex<Option<Repository>>,
    }

    impl ObjectStore for AfterPacks {
        forward_store!(self => self.inner; create read_range size delete describe);

        fn list_each(
            &self,
            prefix: &str,
            take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
        ) -> Result<(), StoreError> {
            self.inner.list_each(prefix, take)?;
            let writer = if prefix == "packs/" { self.writer.lock().unwrap().take() } else { None };
            if let Some(repo) = writer {
                backup(&repo, "late");
            }
            Ok(())
        }
    }

    #[test]
    fn the_segments_of_a_run_that_is_at_work_stay() {
        let (store, key) = (Arc::new(MemoryStore::new()), Credential::Passphrase("horse".to_owned()));
        let repo = Repository::init(store.clone(), &Keyring::for_tests(), &key, KdfCost::CHEAP).unwrap();
        backup(&repo, "early");
        let during = AfterPacks { inner: store, writer: Mutex::new(Some(repo.clone())) };
        tidy_index(&Repository::open(Arc::new(during), &key).unwrap()).unwrap();
        let index = Index::load(&repo).unwrap();
        assert!(index.orphans().is_empty(), "{:?}", index.orphans().len());
        assert_eq!(manifest::list(&repo).unwrap().0.len(), 2, "nothing was made meanwhile");
    }
}
