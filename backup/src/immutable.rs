//! Immutability: what is needed stays locked in the store, and what is not needed runs out.
//!
//! A repository with a retention of D days locks every object worth it for D days when it creates it. What no published
//! plan gives up is locked anew, for D days from then, whenever another third of D has passed since the store got it: so
//! what is needed is never less than D/3 from the end of its lock while somebody runs a backup or a collection that
//! often, and a run costs one request for each object whose time has come, not one for each there is.
//!
//! What always holds: locks only grow, and extending one twice is extending it once. When the last run was is a record in
//! `locks/`, created after all its locks were extended; a run that died leaves none, and the next does its part again. A
//! record can only save work: `verify` asks the store about each object.
//!
//! What a plan names is not extended any more; the plan says until when the last of its locks runs, and is not carried
//! out before.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use xenith_common_text::counted;

use crate::error::{BackupError, Result};
use crate::format::{ObjectBuilder, ObjectKind, Sealed};
use crate::gc::{self, Plan};
use crate::id::BackupId;
use crate::index::{PackInfo, pack_key};
use crate::manifest::manifest_key;
use crate::repo::Repository;
use crate::store::{Lock, ObjectKey, Retention, StoreError};

/// How often a lock is extended in the time it lasts.
const STEPS: u64 = 3;
/// Requests at a time: each is small, and waits for the store.
const AT_A_TIME: usize = 8;
const MAX_RECORD: u64 = 1 << 16;

/// What to extend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// What has come of age since the last run.
    Due,
    /// Whatever the store says is locked too briefly: after a mistake, or when the retention became longer.
    All,
}

/// How extending went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Extended {
    /// Objects that are to be locked.
    pub objects: usize,
    /// Of these, those whose lock was extended.
    pub extended: usize,
}

/// That a whole run of extending locks was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The object this was written as.
    pub key: String,
    /// The store's clock when it began, milliseconds since 1970.
    pub at: u64,
}

impl Record {
    /// A record as it is sealed, for the object `key`.
    pub fn parse(json: &[u8], key: &str) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if record.key == key { Ok(record) } else { Err("it is another record under this name".to_owned()) }
    }
}

/// Something that is to be locked, and when the store got it.
struct Needed {
    key: ObjectKey,
    modified: u64,
}

/// Extends locks where the repository has a retention, of all of `packs` and the other objects that no plan gives up.
/// Says `None` where it has none.
pub fn extend(repo: &Repository, packs: &[PackInfo], which: Which) -> Result<Option<Extended>> {
    let Some(retention) = repo.keyring().retention() else { return Ok(None) };
    let now = repo.store().clock()?;
    let needed = needed(repo, packs, &gc::published(repo)?)?;
    let mut due: Vec<&Needed> = needed.iter().collect();
    match which {
        Which::Due => {
            let last = last_run(repo, now)?;
            due.retain(|object| is_due(object.modified, (last, now), retention));
        }
        Which::All => {
            let short = Mutex::new(Vec::new());
            in_parallel(&needed, |object| {
                if existing(repo.store().lock_of(&object.key))?
                    .is_some_and(|lock| is_short(lock, now, retention))
                {
                    lock_list(&short).push(object);
                }
                Ok(())
            })?;
            due = short.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
    in_parallel(&due, |object| lock_anew(repo, &object.key, retention.lock_at(now)))?;
    if !due.is_empty() {
        write_record(repo, now)?;
    }
    Ok(Some(Extended { objects: needed.len(), extended: due.len() }))
}

/// Extends the locks of what a verdict spares: nobody did while the plan named it.
pub(crate) fn extend_spared(repo: &Repository, plan: &Plan, verdict: &Plan) -> Result<()> {
    let Some(retention) = repo.keyring().retention() else { return Ok(()) };
    let packs = plan.packs.iter().filter(|name| !verdict.packs.contains(name)).map(pack_key);
    let manifests = plan.forget.iter().filter(|id| !verdict.forget.contains(id)).map(manifest_key);
    let spared: Vec<ObjectKey> = packs.chain(manifests).collect();
    if spared.is_empty() {
        return Ok(());
    }
    let lock = retention.lock_at(repo.store().clock()?);
    in_parallel(&spared, |key| lock_anew(repo, key, lock))
}

/// When the last lock of what `plan` gives up is over; 0 where nothing is locked.
pub(crate) fn last_lock(repo: &Repository, plan: &Plan) -> Result<u64> {
    if repo.keyring().retention().is_none() {
        return Ok(0);
    }
    let keys: Vec<ObjectKey> =
        plan.forget.iter().map(manifest_key).chain(plan.packs.iter().map(pack_key)).collect();
    let last = Mutex::new(0);
    in_parallel(&keys, |key| {
        let until = existing(repo.store().lock_of(key))?.flatten().map_or(0, |lock| lock.until);
        let mut last = lock_list(&last);
        *last = until.max(*last);
        Ok(())
    })?;
    Ok(last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Says which objects are not locked, or still their writer's where there is a keeper, or not for long enough, and how many were looked at.
pub(crate) fn check(repo: &Repository, packs: &[PackInfo]) -> Result<(u64, Vec<BackupError>)> {
    let plans = match gc::published(repo) {
        // Told elsewhere. What it names is then expected to be locked as well.
        Err(BackupError::Damaged { .. }) => Vec::new(),
        plans => plans?,
    };
    let needed = needed(repo, packs, &plans)?;
    let problems = Mutex::new(Vec::new());
    let Some(retention) = repo.keyring().retention() else {
        for object in &needed {
            if let Some(detail) = existing(repo.store().exposed(&object.key))?.flatten() {
                lock_list(&problems).push(BackupError::damaged(&object.key, detail));
            }
        }
        return Ok((0, problems.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)));
    };
    let now = repo.store().clock()?;
    in_parallel(&needed, |object| {
        let Some(found) = existing(repo.store().lock_of(&object.key))? else { return Ok(()) };
        if is_short(found, now, retention) {
            let what = match found {
                None => "it is not locked".to_owned(),
                Some(lock) => format!("its lock ends at {}", crate::store::time_text(lock.until)),
            };
            let days = counted(retention.days, "day");
            let detail = format!("{what}, of {days}; `xenith-backup lock --all` mends that");
            lock_list(&problems).push(BackupError::damaged(&object.key, detail));
        }
        Ok(())
    })?;
    let mut problems = problems.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    problems.sort_by_key(ToString::to_string);
    Ok((needed.len() as u64, problems))
}

/// Deletes all records but the newest.
pub(crate) fn tidy(repo: &Repository) -> Result<()> {
    let mut listed = repo.store().list("locks/")?;
    listed.pop();
    listed.iter().try_for_each(|info| Ok(repo.store().delete(&info.key)?))
}

/// Whether another step of its life began between the last run and now.
fn is_due(modified: u64, (last, now): (u64, u64), retention: Retention) -> bool {
    let step = retention.millis() / STEPS;
    let steps = |at: u64| at.saturating_sub(modified) / step;
    steps(now) > steps(last)
}

/// Shorter than a run at each step leaves it, with a day's patience for such that are late.
fn is_short(lock: Option<Lock>, now: u64, retention: Retention) -> bool {
    let enough = (retention.millis() / STEPS).saturating_sub(24 * 3600 * 1000);
    lock.is_none_or(|lock| lock.until <= now.saturating_add(enough))
}

fn needed(repo: &Repository, packs: &[PackInfo], plans: &[Plan]) -> Result<Vec<Needed>> {
    let mut given_up: Vec<_> = plans.iter().flat_map(|plan| plan.packs.iter().copied()).collect();
    given_up.sort_unstable();
    let forgotten: Vec<BackupId> = plans.iter().flat_map(|plan| plan.forget.iter().copied()).collect();
    // It is listed nowhere, and never changes.
    let mut needed = vec![Needed { key: ObjectKey::new("config".to_owned()), modified: 0 }];
    for prefix in ["keys/", "keyring/", "manifests/"] {
        for info in repo.store().list(prefix)? {
            let id = info.key.as_str().strip_prefix("manifests/").and_then(BackupId::parse);
            if id.is_none_or(|id| !forgotten.contains(&id)) {
                needed.push(Needed { key: info.key, modified: info.modified });
            }
        }
    }
    let kept = packs.iter().filter(|pack| given_up.binary_search(&pack.name).is_err());
    needed.extend(kept.map(|pack| Needed { key: pack_key(&pack.name), modified: pack.modified }));
    Ok(needed)
}

fn lock_anew(repo: &Repository, key: &ObjectKey, lock: Lock) -> Result<()> {
    match repo.store().extend_lock(key, lock) {
        // Collected meanwhile.
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `None` for what was collected meanwhile.
fn existing<T>(found: Result<T, StoreError>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write_record(repo: &Repository, at: u64) -> Result<()> {
    let key = ObjectKey::new(format!("locks/{at:016x}"));
    let mut object = ObjectBuilder::new(ObjectKind::LockRecord, repo.keyring());
    let record = Record { key: key.to_string(), at };
    object.push_all(&serde_json::to_vec(&record).expect("a record is plain data"));
    match repo.store().create(&key, &[object.finish().0]) {
        // Somebody else began in the same millisecond, and did the same.
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// When the last whole run began. What cannot be read, or lies ahead, does not count: then more is extended.
fn last_run(repo: &Repository, now: u64) -> Result<u64> {
    for info in repo.store().list("locks/")?.iter().rev() {
        match read_record(repo, &info.key) {
            Ok(record) if record.at <= now => return Ok(record.at),
            Ok(_) | Err(BackupError::Damaged { .. } | BackupError::Store(StoreError::NotFound { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(0)
}

fn read_record(repo: &Repository, key: &ObjectKey) -> Result<Record> {
    let name = format!("lock record {key}");
    let bytes = repo.store().read(key, MAX_RECORD)?;
    let plain =
        Sealed::open(&bytes, ObjectKind::LockRecord, repo.keyring(), &name)?.concat(MAX_RECORD as usize)?;
    Record::parse(&plain, key.as_str()).map_err(|detail| BackupError::damaged(name, detail))
}

fn lock_list<T>(list: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    list.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn in_parallel<'a, T: Sync>(items: &'a [T], each: impl Fn(&'a T) -> Result<()> + Sync) -> Result<()> {
    at_a_time(AT_A_TIME, items, each)
}

/// `each` for all of `items`, so many at a time, until the first error.
pub(crate) fn at_a_time<'a, T: Sync>(
    most: usize,
    items: &'a [T],
    each: impl Fn(&'a T) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            each(item).inspect_err(|_| next.store(items.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..most.min(items.len())).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LockMode;

    const DAY: u64 = 24 * 3600 * 1000;

    #[test]
    fn each_step_of_an_objects_life_is_due_once() {
        let retention = Retention { days: 30, mode: LockMode::Compliance };
        let born = 1_000 * DAY;
        for (what, last, now, due) in [
            ("it is younger than a step", born, born + 9 * DAY, false),
            ("it came after the last run", born - DAY, born + DAY, false),
            ("a step began", born + 9 * DAY, born + 10 * DAY, true),
            ("that step was seen to", born + 10 * DAY, born + 11 * DAY, false),
            ("two steps passed without a run", born + DAY, born + 25 * DAY, true),
            ("there never was a run", 0, born + 10 * DAY, true),
            ("there never was a run, and it is new", 0, born + DAY, false),
            ("the store's clock went back", born + 10 * DAY, born + 5 * DAY, false),
        ] {
            assert_eq!(is_due(born, (last, now), retention), due, "{what}");
        }
    }

    #[test]
    fn a_run_a_step_keeps_every_lock_long_enough() {
        let retention = Retention { days: 30, mode: LockMode::Governance };
        for (born, period) in [(5 * DAY, DAY), (5 * DAY + 1, 3 * DAY), (0, 10 * DAY)] {
            let mut lock = retention.lock_at(born);
            let mut extended = 0;
            let mut last = born;
            for day in 1..400 {
                let now = born + day * DAY;
                assert!(lock.until > now + 9 * DAY, "day {day} of a run each {period} ms");
                if now - last >= period {
                    if is_due(born, (last, now), retention) {
                        lock = retention.lock_at(now);
                        extended += 1;
                    }
                    assert!(!is_short(Some(lock), now, retention), "day {day}");
                    last = now;
                }
            }
            assert!((36..=40).contains(&extended), "{extended} extensions");
        }
    }
}
