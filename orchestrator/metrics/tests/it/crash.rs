//! A crash loses what was not flushed and nothing else, wherever it happens.

use std::sync::Arc;

use xenith_orchestrator_metrics::{PARTS, schema};
use xenith_orchestrator_store::{Fuse, Keyspace, RocksOptions, RocksStore, ScanRequest};

use crate::support::{DAY_ONE, World, about, vm, vm_of};

const SHEETS: Keyspace = Keyspace::new("metrics.sheet");

#[tokio::test]
async fn minutes_that_were_flushed_are_there_after_a_crash() {
    let mut world = World::new().await;
    let vm = vm();
    world.live(&[vm], 7200 + 600, |at| 1.0 + at as f64 % 100.0).await;
    let before = world.query(vm, DAY_ONE, 60).await;
    let mut world = world.crash().await;
    let after = world.query(vm, DAY_ONE, 60).await;
    // The minute that was under way.
    let n = after.series[0].points.len();
    assert_eq!(after.series[0].points[..n - 1], before.series[0].points[..n - 1]);
    let seconds = world.query(vm, world.now - 600, 5).await;
    let there = seconds.series[0].points.iter().flatten().count();
    assert!((107..=108).contains(&there), "{there} of the slots of nine minutes are there");
    // And it goes on, hours being closed with what was replayed.
    world.live(&[vm], 7200, |at| 1.0 + at as f64 % 100.0).await;
    let later = world.query(vm, DAY_ONE, 60).await;
    assert_eq!(later.series[0].points[..n - 1], before.series[0].points[..n - 1]);
    let missing = later.series[0].points.iter().filter(|point| point.is_none()).count();
    assert!(missing <= 1, "{missing} minutes are missing");
}

#[tokio::test]
async fn a_crash_at_any_commit_of_the_closing_of_an_hour_loses_nothing() {
    for budget in 0..5 {
        let store = Arc::new(Fuse::new(&schema()));
        let mut world = World::over(store.clone(), DAY_ONE).await;
        // One group's records are three transactions, the other's one.
        let vms: Vec<_> = (0..150).map(|n| vm_of(7, n)).chain([vm_of(8, 0)]).collect();
        world.live(&vms, 3600 + 60, |_| 9.0).await;
        world.now += 3600 + 720;
        store.take(budget);
        let failed = world.metrics.flush(world.now).await.is_err();
        store.mend();
        assert!(failed, "the budget of {budget} was enough");
        let world = world.crash().await;
        // The first commit is the last minute's.
        let minutes = if budget == 0 { 60 } else { 61 };
        for vm in &vms {
            let found = about(&world.query(*vm, DAY_ONE, 60).await, |_| 9.0);
            assert_eq!(found, minutes, "after {budget} commits");
        }
        world.metrics.flush(world.now).await.unwrap();
        for vm in &vms {
            let found = about(&world.query(*vm, DAY_ONE, 60).await, |_| 9.0);
            assert_eq!(found, minutes, "after {budget} commits and another flush");
        }
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_written_later() {
    let store = Arc::new(Fuse::new(&schema()));
    store.take(0);
    let mut world = World::over(store.clone(), DAY_ONE).await;
    let vm = vm();
    for second in (0..600).step_by(5) {
        world.record(vm, DAY_ONE + second, &[(xenith_orchestrator_types::metrics::Metric::Cpu, 4.0)]);
    }
    world.now += 605;
    world.metrics.flush(world.now).await.unwrap_err();
    store.mend();
    world.metrics.flush(world.now).await.unwrap();
    let world = world.crash().await;
    assert_eq!(about(&world.query(vm, DAY_ONE, 60).await, |_| 4.0), 10);
}

#[tokio::test]
async fn every_part_writes_its_share_and_all_of_them_all() {
    let mut world = World::new().await;
    let vms: Vec<_> = (0..64).map(|n| vm_of(n * 64, n)).collect();
    for vm in &vms {
        world.record(*vm, DAY_ONE, &[(xenith_orchestrator_types::metrics::Metric::Cpu, 4.0)]);
    }
    world.now += 60;
    for part in 0..PARTS {
        world.metrics.flush_part(part, world.now).await.unwrap();
        let written = world.store.scan(ScanRequest::prefix(SHEETS, [], 100)).await.unwrap().entries.len();
        assert_eq!(written, (usize::from(part) + 1).div_ceil(8));
    }
    let world = world.crash().await;
    for vm in vms {
        assert_eq!(about(&world.query(vm, DAY_ONE, 60).await, |_| 4.0), 1);
    }
}

#[tokio::test]
async fn a_minute_of_two_runs_is_whole() {
    let mut world = World::new().await;
    let vm = vm();
    let cpu = [(xenith_orchestrator_types::metrics::Metric::Cpu, 4.0)];
    (0..6).for_each(|slot| world.record(vm, DAY_ONE + slot * 5, &cpu));
    world.now += 30;
    // As when it is stopped.
    world.metrics.save(world.now + 60).await.unwrap();
    let mut world = world.crash().await;
    (7..12).for_each(|slot| world.record(vm, DAY_ONE + slot * 5, &cpu));
    world.now += 30;
    world.metrics.flush(world.now).await.unwrap();
    let world = world.crash().await;
    let slots = world.query(vm, DAY_ONE, 5).await;
    let missing = slots.series[0].points.iter().position(Option::is_none);
    assert_eq!((about(&slots, |_| 4.0), missing), (11, Some(6)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_disk_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let options = || RocksOptions { keep_free_bytes: 0, ..RocksOptions::default() };
    let open = || Arc::new(RocksStore::open_with(folder.path(), schema(), options()).unwrap());
    let mut world = World::over(open(), DAY_ONE).await;
    let vm = vm();
    world.live(&[vm], 3 * 3600, |_| 7.0).await;
    let now = world.now;
    drop(world);
    let world = World::over(open(), now).await;
    assert_eq!(about(&world.query(vm, DAY_ONE, 60).await, |_| 7.0), 179);
}
