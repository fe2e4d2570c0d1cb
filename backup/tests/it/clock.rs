//! Clocks jump: of a writer, of a collector, for one run or for good. It costs time, never data.

use std::sync::Arc;

use xenith_backup::gc::{self, Outcome};
use xenith_backup::repo::now_millis;
use xenith_backup::retention::Policy;
use xenith_backup::session::{LEASE_MILLIS, Session};
use xenith_backup::store::MemoryStore;
use xenith_backup::verify::{Level, verify};
use xenith_backup::{BackupError, Repository, manifest, prune};

use crate::support::{Disk, MIB, backup, in_memory, noise, open, restored, try_backup, try_restore};

const TEN_YEARS: u64 = 10 * 365 * 24 * 3600 * 1000;

fn ahead() -> u64 {
    now_millis() + TEN_YEARS
}

/// A machine whose battery is empty.
fn reset() -> u64 {
    1000
}

fn ahead_of(store: &Arc<MemoryStore>) -> Repository {
    open(store.clone()).unwrap().with_clock(ahead)
}

#[test]
fn changes_count_from_the_last_backup_and_not_from_the_latest_date() {
    for (name, first, second) in [("back", ahead as fn() -> u64, reset as fn() -> u64), ("on", reset, ahead)]
    {
        let (store, _) = in_memory();
        let on = |clock| open(store.clone()).unwrap().with_clock(clock);
        let mut disk = Disk::new(20 * MIB);
        disk.write(MIB, &noise(1, MIB));
        disk.take_changes();
        backup(&on(first), "vm", &disk.bytes);
        disk.write(2 * MIB, &noise(2, MIB));
        let changed = disk.take_changes();
        try_backup(&on(second), &[("vm", &disk.bytes, Some(changed))]).unwrap();
        let middle = disk.bytes.clone();
        // By its date the newest backup is another one; what changed is known since this one.
        disk.write(5 * MIB, &noise(3, MIB));
        let changed = disk.take_changes();
        let last = try_backup(&on(reset), &[("vm", &disk.bytes, Some(changed))]).unwrap();
        assert_eq!(last.disks[0].whole_because, None, "{name}");
        assert!(last.disks[0].stats.read < 2 * MIB as u64, "{name}");
        assert!(try_restore(&on(reset), "vm").unwrap() == disk.bytes, "{name}: not the newest");
        let all = manifest::list(&on(reset)).unwrap().0;
        let numbers: Vec<u64> = {
            let mut all: Vec<_> = all.iter().map(|manifest| (manifest.number(), manifest.id)).collect();
            all.sort_unstable();
            all.into_iter().map(|(number, _)| number).collect()
        };
        assert_eq!(numbers, [1, 2, 3], "{name}");
        let second = all.iter().find(|manifest| manifest.number() == 2).unwrap();
        assert!(restored(&on(reset), second, "vm") == middle, "{name}");
    }
}

#[test]
fn a_backup_from_the_future_does_not_push_out_the_newest() {
    let (store, repo) = in_memory();
    let wrong = backup(&ahead_of(&store), "vm", &noise(1, MIB));
    let old = backup(&repo, "vm", &noise(2, MIB));
    let newest = backup(&repo, "vm", &noise(3, MIB));
    let policy = Policy { last: 1, ..Policy::default() };
    let plan = prune::plan(&repo, &policy, None).unwrap();
    let kept: Vec<_> =
        plan.decisions.iter().filter(|d| !d.keep_because.is_empty()).map(|decision| decision.id).collect();
    assert_eq!(kept, [newest.id], "of {} and {}", wrong.id, old.id);
}

#[test]
fn a_dead_run_whose_clock_was_ahead_is_not_waited_for_for_years() {
    let (store, repo) = in_memory();
    store.set_clock(now_millis());
    let dead = Session::open(&ahead_of(&store)).unwrap();
    let first = backup(&repo, "vm", &noise(1, MIB));
    let proposal = gc::propose(&repo, vec![first.id]).unwrap();
    gc::publish(&repo, &proposal.plan).unwrap();
    let carry_out = |now| gc::carry_out(&repo, &gc::published(&repo).unwrap()[0], now, 0).unwrap();
    assert!(
        matches!(carry_out(now_millis()), Outcome::Waiting { .. }),
        "its lease by the store's clock runs"
    );
    let outcome = carry_out(now_millis() + LEASE_MILLIS + 1000);
    assert!(matches!(outcome, Outcome::Done { forgotten: 1, .. }), "{outcome:?}");
    let mut late = first;
    late.id = dead.id();
    assert!(matches!(manifest::commit(&repo, &late), Err(BackupError::SessionRevoked { .. })));
}

#[test]
fn a_plan_from_the_future_is_carried_out_today() {
    let (store, repo) = in_memory();
    store.set_clock(now_millis());
    let first = backup(&repo, "vm", &noise(1, MIB));
    let kept = backup(&repo, "vm", &noise(2, MIB));
    let proposal = gc::propose(&ahead_of(&store), vec![first.id]).unwrap();
    gc::publish(&repo, &proposal.plan).unwrap();
    let grace = gc::DEFAULT_GRACE_MILLIS;
    let carry_out = |now| gc::carry_out(&repo, &gc::published(&repo).unwrap()[0], now, grace).unwrap();
    assert!(matches!(carry_out(now_millis()), Outcome::Waiting { .. }));
    let outcome = carry_out(now_millis() + grace + 1000);
    assert!(matches!(outcome, Outcome::Done { forgotten: 1, .. }), "{outcome:?}");
    assert!(restored(&repo, &kept, "vm") == noise(2, MIB));
}

#[test]
fn a_collector_whose_clock_jumps_costs_a_run_its_commit_and_nobody_a_backup() {
    let (store, repo) = in_memory();
    store.set_clock(now_millis());
    let first = backup(&repo, "vm", &noise(1, MIB));
    let kept = backup(&repo, "vm", &noise(2, MIB));
    let running = Session::open(&repo).unwrap();
    let proposal = gc::propose(&repo, vec![first.id]).unwrap();
    gc::publish(&repo, &proposal.plan).unwrap();
    // Back: nothing is due.
    let outcome = gc::carry_out(&repo, &proposal.plan, reset(), 0).unwrap();
    assert!(matches!(outcome, Outcome::Waiting { .. }), "{outcome:?}");
    // Ahead: the grace seems over, and the run that goes on is given up on. It may not commit any more, and does not.
    let outcome = gc::carry_out(&repo, &proposal.plan, ahead(), 0).unwrap();
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let mut late = kept.clone();
    late.id = running.id();
    assert!(matches!(manifest::commit(&repo, &late), Err(BackupError::SessionRevoked { .. })));
    assert!(restored(&repo, &kept, "vm") == noise(2, MIB));
    assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
    // Started again it stores what the collector took.
    let again = backup(&repo, "vm", &noise(1, MIB));
    assert!(restored(&repo, &again, "vm") == noise(1, MIB));
}

#[test]
fn copies_keep_their_order_among_what_is_there() {
    use xenith_backup::ingest::Progress;
    let (_, from) = in_memory();
    let (_, to) = in_memory();
    let copied = |options| xenith_backup::copy::copy(&from, &to, options, &Progress::default()).unwrap();
    let options = crate::support::options();
    let old = noise(1, MIB);
    backup(&from, "vm", &old);
    std::thread::sleep(std::time::Duration::from_millis(2));
    let own = backup(&to, "vm", &noise(2, MIB));
    let copy = copied(&options);
    // Older than what is there: it goes in before it, and does not become the newest.
    assert!(try_restore(&to, "vm").unwrap() == noise(2, MIB));
    assert!(restored(&to, &copy[0], "vm") == old);
    assert_eq!((copy[0].number(), own.number()), (0, 1));
}
