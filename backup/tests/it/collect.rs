//! Collectors and writers at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use xenith_backup::gc::{self, Outcome, Plan};
use xenith_backup::index::list_packs;
use xenith_backup::session::{LEASE_MILLIS, Session};
use xenith_backup::store::{MemoryStore, ObjectStore};
use xenith_backup::verify::{Level, verify};
use xenith_backup::{manifest, repo::now_millis};

use crate::roundtrip::collect;
use crate::support::{AfterListing, Disk, MIB, backup, in_memory, noise, open, restored, try_backup};

fn stored(store: &MemoryStore) -> u64 {
    store.list("packs/").unwrap().iter().map(|info| info.size).sum()
}

#[test]
fn what_nobody_needs_goes_and_the_rest_stays() {
    let (store, repo) = in_memory();
    let (a, b) = (noise(1, 4 * MIB), noise(2, 4 * MIB));
    let first = backup(&repo, "vm", &a);
    let second = backup(&repo, "vm", &b);
    let before = stored(&store);
    let proposal = gc::propose(&repo, vec![first.id]).unwrap();
    assert!(proposal.bytes > 4 * MIB as u64, "{proposal:?}");
    gc::publish(&repo, &proposal.plan).unwrap();
    // Forgotten at once for everyone who looks, there until the plan is carried out.
    assert_eq!(gc::visible(&repo).unwrap().0.len(), 1);
    assert_eq!(manifest::list(&repo).unwrap().0.len(), 2);
    let early = gc::carry_out(&repo, &proposal.plan, proposal.plan.created + 10, 1000).unwrap();
    assert!(matches!(early, Outcome::Waiting { .. }), "the grace is not over: {early:?}");
    // A run that knows the plan stores the chunks again.
    let third = backup(&repo, "vm", &a);
    assert!(third.disks[0].stats.new_bytes >= 4 * MIB as u64);
    collect(&repo);
    assert!(stored(&store) < before + 5 * MIB as u64);
    assert!(restored(&repo, &second, "vm") == b && restored(&repo, &third, "vm") == a);
    assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
}

#[test]
fn a_collector_waits_for_open_sessions_and_revokes_dead_ones() {
    let (store, repo) = in_memory();
    store.set_clock(now_millis());
    let session = Session::open(&repo).unwrap();
    let first = backup(&repo, "vm", &noise(1, MIB));
    let proposal = gc::propose(&repo, vec![first.id]).unwrap();
    gc::publish(&repo, &proposal.plan).unwrap();
    let now = proposal.plan.created;
    let outcome = gc::carry_out(&repo, &proposal.plan, now, 0).unwrap();
    assert_eq!(outcome, Outcome::Waiting { sessions: vec![session.id()], until: now });
    let later = now + 2 * LEASE_MILLIS;
    let outcome = gc::carry_out(&repo, &proposal.plan, later, 0).unwrap();
    assert!(matches!(outcome, Outcome::Done { forgotten: 1, .. }), "{outcome:?}");
    let mut late = first;
    late.id = session.id();
    assert!(manifest::commit(&repo, &late).is_err(), "a revoked session committed");
}

#[test]
fn repacking_frees_what_a_few_chunks_hold_back() {
    let (store, repo) = in_memory();
    let mut bytes = noise(1, 8 * MIB);
    let first = backup(&repo, "vm", &bytes);
    bytes.truncate(MIB);
    let second = backup(&repo, "small", &bytes);
    let proposal = gc::propose(&repo, vec![first.id]).unwrap();
    assert!(proposal.waste > 6 * MIB as u64, "{proposal:?}");
    gc::publish(&repo, &proposal.plan).unwrap();
    collect(&repo);
    let before = stored(&store);
    let moved = gc::repack(&repo, 50).unwrap();
    assert_eq!(moved.packs, 1);
    collect(&repo);
    assert!(stored(&store) < before / 4, "{} of {before} bytes are left", stored(&store));
    assert!(restored(&repo, &second, "small") == bytes);
    assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
}

#[test]
fn ten_writers_and_two_collectors() {
    let (store, _) = in_memory();
    let busy = AtomicBool::new(true);
    let kept = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..10u64)
            .map(|writer| {
                let (store, kept) = (Arc::clone(&store), &kept);
                scope.spawn(move || {
                    let repo = open(store).unwrap();
                    for round in 0..3 {
                        let name = format!("vm{writer}");
                        // Overlapping contents, so that writers use each other's packs.
                        let bytes = noise((writer + round) % 4, MIB / 2);
                        let manifest = backup(&repo, &name, &bytes);
                        kept.lock().unwrap().push((name, manifest, bytes));
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            let (store, busy, kept) = (Arc::clone(&store), &busy, &kept);
            scope.spawn(move || {
                let repo = open(store).unwrap();
                while busy.load(Ordering::Relaxed) {
                    let forget = {
                        let mut kept = kept.lock().unwrap();
                        if kept.len() > 4 { vec![kept.remove(0).1.id] } else { Vec::new() }
                    };
                    let proposal = gc::propose(&repo, forget).unwrap();
                    gc::publish(&repo, &proposal.plan).unwrap();
                    for plan in gc::published(&repo).unwrap() {
                        gc::carry_out(&repo, &plan, now_millis().max(plan.created), 0).unwrap();
                    }
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        busy.store(false, Ordering::Relaxed);
    });
    let repo = open(store).unwrap();
    collect(&repo);
    assert_eq!(verify(&repo, Level::Deep, 2).unwrap().problems, vec![]);
    for (name, manifest, bytes) in kept.into_inner().unwrap() {
        assert!(restored(&repo, &manifest, &name) == bytes, "{name}");
    }
}

#[test]
fn what_a_killed_writer_left_half_written_goes() {
    use std::time::{Duration, SystemTime};
    let dir = tempfile::tempdir().unwrap();
    let repo = crate::support::init(Arc::new(xenith_backup::store::LocalStore::open(dir.path()).unwrap()));
    let first = backup(&repo, "vm", &noise(1, MIB));
    let kept = backup(&repo, "vm", &noise(2, MIB));
    let (old, young) = (dir.path().join(".tmp/old"), dir.path().join(".tmp/young"));
    std::fs::create_dir_all(dir.path().join(".tmp")).unwrap();
    for path in [&old, &young] {
        std::fs::write(path, noise(3, MIB)).unwrap();
    }
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
    std::fs::File::options().write(true).open(&old).unwrap().set_modified(yesterday).unwrap();
    let proposal = gc::propose(&repo, vec![first.id]).unwrap();
    gc::publish(&repo, &proposal.plan).unwrap();
    collect(&repo);
    assert!(!old.exists() && young.exists(), "the wrong half is gone");
    assert!(restored(&repo, &kept, "vm") == noise(2, MIB));
}

#[test]
fn what_only_a_run_reaches_that_commits_while_its_base_is_forgotten_stays() {
    let (store, repo) = in_memory();
    let mut disk = Disk::new(32 * MIB);
    disk.write(0, &noise(1, MIB));
    disk.write(20 * MIB, &noise(2, MIB));
    let first = backup(&repo, "vm", &disk.bytes);
    // As packs are set aside that were found damaged somewhere: they are needed all the same.
    let packs = list_packs(&repo).unwrap().into_iter().map(|pack| pack.name).collect();
    let name = format!("000000000001-{}", "0".repeat(32));
    let aside = Plan { name, created: now_millis(), forget: vec![], packs, not_before: 0 };
    gc::publish(&repo, &aside).unwrap();
    disk.take_changes();
    disk.write(20 * MIB, &noise(3, 4096));

    // Between the listing and the reading of the first backup's manifest a run commits that knows the plan and takes over
    // what did not change, and another collector deletes that manifest.
    let (others, wanted) = (repo.clone(), disk.clone());
    let then = move || {
        try_backup(&others, &[("vm", &wanted.bytes, Some(wanted.changed.clone()))]).unwrap();
        let plan = gc::propose(&others, vec![first.id]).unwrap().plan;
        gc::publish(&others, &plan).unwrap();
        let outcome = gc::carry_out(&others, &plan, plan.created, 0).unwrap();
        assert!(matches!(outcome, Outcome::Done { forgotten: 1, .. }), "{outcome:?}");
    };
    let collector = open(AfterListing::arc(store, "manifests/", then)).unwrap();
    let outcome = gc::carry_out(&collector, &aside, aside.created, 0).unwrap();
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let (left, _) = manifest::list(&repo).unwrap();
    assert_eq!(left.len(), 1);
    assert!(restored(&repo, &left[0], "vm") == disk.bytes);
    assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
}

#[test]
fn a_revocation_stays_whoever_wants_it_forgotten() {
    let (store, repo) = in_memory();
    store.set_clock(now_millis());
    let session = Session::open(&repo).unwrap();
    let kept = backup(&repo, "vm", &noise(1, MIB));
    let plan = gc::propose(&repo, vec![session.id()]).unwrap().plan;
    gc::publish(&repo, &plan).unwrap();
    let later = plan.created + 2 * LEASE_MILLIS;
    let outcome = gc::carry_out(&repo, &plan, later, 0).unwrap();
    assert!(matches!(outcome, Outcome::Done { forgotten: 0, .. }), "{outcome:?}");
    let mut late = kept;
    late.id = session.id();
    assert!(manifest::commit(&repo, &late).is_err(), "a session that nobody waited for committed");
}
