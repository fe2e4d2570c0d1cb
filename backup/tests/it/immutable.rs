//! A repository that locks what it stores, in a store whose clock is set by hand.

use std::sync::Arc;

use xenith_backup::gc::{self, Outcome};
use xenith_backup::immutable::{self, Extended, Which};
use xenith_backup::index::list_packs;
use xenith_backup::keys::{self, Credential, KdfCost, Keyring};
use xenith_backup::store::{
    Fault, FaultyStore, Lock, LockMode, MemoryStore, ObjectKey, ObjectStore, Retention, StoreError,
};
use xenith_backup::verify::{Level, verify};
use xenith_backup::{BackupError, Repository, hold};

use crate::support::{MIB, backup, noise, open, passphrase, restored};

const DAY: u64 = 24 * 3600 * 1000;
/// When the tests begin. Machines' clocks are somewhere else entirely, which must not matter to locks.
const BEGIN: u64 = 20_000 * DAY;
const RETENTION: Retention = Retention { days: 30, mode: LockMode::Compliance };

fn locked_at(day: u64) -> Lock {
    RETENTION.lock_at(BEGIN + day * DAY)
}

/// The repository as a process finds it that starts on that day.
fn on_day(store: &Arc<MemoryStore>, day: u64) -> Repository {
    store.set_clock(BEGIN + day * DAY);
    open(store.clone()).unwrap().with_clock(|| BEGIN)
}

fn made() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    store.set_clock(BEGIN);
    let ring = Keyring::create(xenith_backup::chunk::Chunking::default()).with_retention(Some(RETENTION));
    let repo = Repository::init(store.clone(), &ring, &passphrase(), KdfCost::CHEAP).unwrap();
    (store, repo)
}

fn until(store: &MemoryStore, key: &ObjectKey) -> Option<u64> {
    store.lock_of(key).unwrap().map(|lock| lock.until)
}

fn extended(repo: &Repository, which: Which) -> usize {
    immutable::extend(repo, &list_packs(repo).unwrap(), which).unwrap().unwrap().extended
}

/// Nearly equal: a process measures how long it runs by its own clock.
fn is_about(found: Option<u64>, expected: Lock) -> bool {
    found.is_some_and(|until| until.abs_diff(expected.until) < DAY / 10)
}

#[test]
fn what_nobody_could_bring_back_is_locked_by_the_stores_clock() {
    let (store, _) = made();
    let repo = on_day(&store, 0);
    backup(&repo, "vm", &noise(1, MIB));
    for key in store.keys() {
        let kept = ["config", "keys/", "keyring/", "packs/", "manifests/"];
        let lock = until(&store, &key);
        if kept.iter().any(|prefix| key.as_str().starts_with(prefix)) {
            assert!(is_about(lock, locked_at(0)), "{key}: {lock:?}");
        } else if !key.as_str().starts_with("probe/") {
            assert_eq!(lock, None, "{key}");
        }
    }
    assert_eq!(verify(&repo, Level::Quick, 1).unwrap().problems, vec![]);
}

#[test]
fn a_run_extends_what_has_come_of_age_and_nothing_else() {
    let (store, _) = made();
    let first = backup(&on_day(&store, 0), "vm", &noise(1, MIB));
    let old: Vec<ObjectKey> = store.list("packs/").unwrap().into_iter().map(|info| info.key).collect();
    // Another disk each day; the first one's packs come of age on the tenth.
    for day in 1..=12 {
        backup(&on_day(&store, day), &format!("vm{day}"), &noise(100 + day, MIB / 4));
        let expected = locked_at(if day < 10 { 0 } else { 10 });
        for key in &old {
            assert!(is_about(until(&store, key), expected), "day {day}: {key}");
        }
    }
    let repo = on_day(&store, 12);
    assert_eq!(verify(&repo, Level::Quick, 1).unwrap().problems, vec![]);
    // On the thirteenth only that of the third day is due, of at least 26 packs there are.
    let looked = immutable::extend(&on_day(&store, 13), &list_packs(&repo).unwrap(), Which::Due).unwrap();
    let Extended { objects, extended: some } = looked.unwrap();
    assert!(objects > 30 && (2..=4).contains(&some), "{some} of {objects}");
    assert_eq!(extended(&on_day(&store, 13), Which::Due), 0, "twice on one day is once");
    assert!(restored(&repo, &first, "vm") == noise(1, MIB));
    // One record is enough: a collection deletes the others.
    assert!(store.list("locks/").unwrap().len() > 1);
    gc::publish(&repo, &gc::propose(&repo, vec![first.id]).unwrap().plan).unwrap();
    let repo = on_day(&store, 60);
    for plan in gc::published(&repo).unwrap() {
        gc::carry_out(&repo, &plan, BEGIN + 60 * DAY, 0).unwrap();
    }
    assert_eq!(store.list("locks/").unwrap().len(), 1);
}

#[test]
fn a_run_cut_short_leaves_its_part_to_the_next() {
    let (store, _) = made();
    for disk in 0..4 {
        backup(&on_day(&store, 0), &format!("vm{disk}"), &noise(disk, MIB / 4));
    }
    on_day(&store, 11);
    for at in 0..20 {
        let fork = store.fork();
        fork.set_clock(BEGIN + 11 * DAY);
        let dying = Arc::new(FaultyStore::new(fork, Some((Fault::DieBefore, at))));
        let repo = open(dying.clone()).unwrap();
        let finished = immutable::extend(&repo, &list_packs(&repo).unwrap(), Which::Due).is_ok();
        drop(repo);
        let fork = Arc::new(Arc::into_inner(dying).unwrap().into_inner());
        fork.set_clock(BEGIN + 11 * DAY);
        let repo = open(fork.clone()).unwrap();
        let rest = extended(&repo, Which::Due);
        assert_eq!(rest == 0, finished, "killed at {at}");
        for info in fork.list("packs/").unwrap() {
            assert!(is_about(until(&fork, &info.key), locked_at(11)), "killed at {at}: {}", info.key);
        }
    }
}

#[test]
fn a_collector_waits_for_the_last_lock() {
    let (store, _) = made();
    let first = backup(&on_day(&store, 0), "vm", &noise(1, MIB));
    let second = backup(&on_day(&store, 2), "vm", &noise(2, MIB));
    let repo = on_day(&store, 3);
    let proposal = gc::propose(&repo, vec![first.id]).unwrap();
    assert!(is_about(Some(proposal.plan.not_before), locked_at(0)), "{proposal:?}");
    gc::publish(&repo, &proposal.plan).unwrap();
    let packs = store.list("packs/").unwrap().len();
    let before = on_day(&store, 29);
    let carry_out = |repo: &Repository| gc::carry_out(repo, &proposal.plan, BEGIN + 40 * DAY, 0).unwrap();
    let outcome = carry_out(&before);
    assert_eq!(outcome, Outcome::Waiting { sessions: vec![], until: proposal.plan.not_before });
    // What a plan gives up is not locked any longer; what is needed is.
    assert!(extended(&before, Which::Due) > 0);
    for name in &proposal.plan.packs {
        assert!(is_about(until(&store, &xenith_backup::index::pack_key(name)), locked_at(0)));
    }
    let outcome = carry_out(&on_day(&store, 31));
    assert!(matches!(outcome, Outcome::Done { forgotten: 1, .. }), "{outcome:?}");
    assert!(store.list("packs/").unwrap().len() < packs);
    let repo = on_day(&store, 31);
    assert!(restored(&repo, &second, "vm") == noise(2, MIB));
    assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
}

#[test]
fn a_refused_delete_is_told_and_tried_later() {
    let (store, _) = made();
    let first = backup(&on_day(&store, 0), "vm", &noise(1, MIB));
    backup(&on_day(&store, 0), "vm", &noise(2, MIB));
    let repo = on_day(&store, 1);
    let proposal = gc::propose(&repo, vec![first.id]).unwrap();
    gc::publish(&repo, &proposal.plan).unwrap();
    // Somebody who did not know the plan yet extended one lock after all.
    let key = xenith_backup::index::pack_key(&proposal.plan.packs[0]);
    store.extend_lock(&key, locked_at(25)).unwrap();
    let carry_out = |day| gc::carry_out(&on_day(&store, day), &proposal.plan, BEGIN + day * DAY, 0).unwrap();
    let outcome = carry_out(40);
    assert_eq!(outcome, Outcome::Locked { object: key.to_string(), until: locked_at(25).until });
    assert!(store.size(&key).is_ok());
    assert_eq!(gc::published(&on_day(&store, 41)).unwrap().len(), 1, "the plan is still there");
    let outcome = carry_out(56);
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(matches!(store.size(&key), Err(StoreError::NotFound { .. })));
}

#[test]
fn what_a_verdict_spares_is_locked_again() {
    let (store, _) = made();
    let first = backup(&on_day(&store, 0), "vm", &noise(1, MIB));
    let repo = on_day(&store, 1);
    let plan = gc::propose(&repo, vec![first.id]).unwrap().plan;
    gc::publish(&repo, &plan).unwrap();
    hold::place(&repo, &first.id).unwrap();
    let repo = on_day(&store, 35);
    let outcome = gc::carry_out(&repo, &plan, BEGIN + 35 * DAY, 0).unwrap();
    assert!(matches!(outcome, Outcome::Done { forgotten: 0, packs: 0, .. }), "{outcome:?}");
    for name in &plan.packs {
        assert!(is_about(until(&store, &xenith_backup::index::pack_key(name)), locked_at(35)));
    }
    extended(&repo, Which::Due);
    assert_eq!(verify(&repo, Level::Quick, 1).unwrap().problems, vec![]);
}

#[test]
fn verify_names_what_is_locked_too_briefly() {
    let (store, _) = made();
    backup(&on_day(&store, 0), "vm", &noise(1, MIB));
    let report = |day| verify(&on_day(&store, day), Level::Quick, 1).unwrap();
    let pack = store.list("packs/").unwrap()[0].key.clone();
    assert_eq!(report(1).problems, vec![]);
    store.unlock(&pack);
    let problems = report(1).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].object == pack.to_string() && problems[0].detail.starts_with("it is not locked"));
    assert_eq!(extended(&on_day(&store, 1), Which::All), 1, "only that one");
    assert_eq!(report(1).problems, vec![]);
    // Nobody ran for four weeks.
    let problems = report(28).problems;
    assert_eq!(problems.len() as u64, report(28).locks, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.detail.starts_with("its lock ends at")), "{problems:?}");
    extended(&on_day(&store, 28), Which::Due);
    assert_eq!(report(28).problems, vec![]);
}

#[test]
fn a_repository_that_exists_can_begin_to_lock() {
    let store = Arc::new(MemoryStore::new());
    store.set_clock(BEGIN);
    let repo = crate::support::init(store.clone());
    let manifest = backup(&repo, "vm", &noise(1, MIB));
    assert_eq!(immutable::extend(&repo, &[], Which::All).unwrap(), None);
    let repo = repo.set_retention(Some(RETENTION)).unwrap();
    assert!(extended(&repo, Which::All) > 3);
    let repo = on_day(&store, 1);
    assert_eq!(repo.keyring().retention(), Some(RETENTION));
    assert_eq!(verify(&repo, Level::Quick, 1).unwrap().problems, vec![]);
    assert!(restored(&repo, &manifest, "vm") == noise(1, MIB));
    let refused = repo.set_retention(Some(Retention { days: 40_000, ..RETENTION })).unwrap_err();
    assert!(matches!(refused, BackupError::Invalid(_)), "{refused}");
}

#[test]
fn an_old_passphrase_opens_nothing_although_its_slot_is_locked() {
    let (store, repo) = made();
    let manifest = backup(&repo, "vm", &noise(1, MIB));
    let new = Credential::Passphrase("battery staple".to_owned());
    keys::rotate(repo.store(), repo.keys(), &new, KdfCost::CHEAP).unwrap();
    assert!(matches!(open(store.clone()), Err(BackupError::WrongKey)));
    let repo = Repository::open(store, &new).unwrap();
    assert_eq!(repo.keyring().retention(), Some(RETENTION));
    assert!(restored(&repo, &manifest, "vm") == noise(1, MIB));
}

#[test]
fn a_store_without_locks_is_no_place_for_such_a_repository() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(xenith_backup::store::LocalStore::open(dir.path()).unwrap());
    let ring = Keyring::create(xenith_backup::chunk::Chunking::default()).with_retention(Some(RETENTION));
    let refused = Repository::init(store, &ring, &passphrase(), KdfCost::CHEAP).unwrap_err();
    let said = xenith_backup::error::chain(&refused);
    assert!(said.contains("cannot lock objects"), "{said}");
}
