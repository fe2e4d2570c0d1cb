//! What is there after minutes, days and a year.

use xenith_orchestrator_metrics::Query;
use xenith_orchestrator_types::metrics::Metric;

use crate::support::{DAY_ONE, World, about, vm};

#[tokio::test]
async fn an_hour_of_seconds_a_day_of_minutes() {
    let mut world = World::new().await;
    let vm = vm();
    let value = |at: u64| 10.0 + (at % 600) as f64;
    world.live(&[vm], 3 * 3600, value).await;

    let seconds = world.query(vm, world.now - 3000, 5).await;
    assert_eq!(about(&seconds, value), 600);
    let minutes = world.query(vm, DAY_ONE, 60).await;
    assert_eq!(minutes.plan.step, 60);
    // The average of the twelve slots of a minute.
    assert_eq!(about(&minutes, |at| value(at) + 27.5), 180);
    let point = minutes.series[0].points[0].unwrap();
    assert!((point.min - 10.0).abs() < 0.01 && (point.max - 65.0).abs() < 0.1, "{point:?}");
    let hours = world.query(vm, DAY_ONE, 3600).await;
    assert_eq!(about(&hours, |_| 307.5), 3);
    let two_hours = world.query(vm, world.now - 2 * 3600, 5).await;
    assert_eq!(two_hours.plan.step, 60, "so long ago there are no seconds any more");
}

#[tokio::test]
async fn what_was_not_measured_is_a_gap() {
    let mut world = World::new().await;
    let vm = vm();
    world.live(&[vm], 120, |_| 5.0).await;
    world.live(&[], 300, |_| 0.0).await;
    world.live(&[vm], 60, |_| 0.0).await;
    let answer = world.query(vm, DAY_ONE, 60).await;
    let there: Vec<bool> = answer.series[0].points.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, true, false, false, false, false, false, true]);
    assert_eq!(answer.series[0].points[7].unwrap().avg, 0.0, "nothing used is not the same as nothing known");
    let (at, values) = world.metrics.latest(vm).unwrap();
    assert_eq!((at, values), (world.now - 5, vec![(Metric::Cpu, 0.0)]));
}

#[tokio::test]
async fn days_become_hours_and_a_year_goes_by() {
    let mut world = World::new().await;
    let vm = vm();
    // One value an hour is enough of a year.
    let hourly = |at: u64| 1.0 + ((at / 3600) % 24) as f64;
    for _ in 0..400 * 24 {
        world.record(vm, world.now, &[(Metric::Cpu, hourly(world.now))]);
        world.now += 3600;
        world.metrics.flush(world.now + 100).await.unwrap();
        world.metrics.expire(world.now + 100, |_| true).await.unwrap();
    }
    let year = world.query(vm, world.now - 365 * 86_400, 86_400).await;
    assert_eq!(year.plan.step, 86_400);
    assert_eq!(about(&year, |_| 12.5), 365);
    let hours = world.query(vm, world.now - 60 * 86_400, 3600).await;
    assert_eq!(about(&hours, hourly), 60 * 24);
    let all = world.query(vm, DAY_ONE, 86_400).await;
    assert!(all.series[0].points.iter().flatten().count() <= 367, "what is older than a year is gone");
}

#[tokio::test]
async fn a_day_waits_for_the_hours_that_were_not_closed_before_a_stop() {
    let mut world = World::new().await;
    let vm = vm();
    world.live(&[vm], 6 * 3600, |_| 7.0).await;
    // The first hours are records, of the last there are sheets. Nobody closes them for three days.
    world.now += 3 * 86_400;
    let world = world.crash().await;
    world.metrics.expire(world.now, |_| true).await.unwrap();
    assert_eq!(about(&world.query(vm, DAY_ONE, 3600).await, |_| 7.0), 6);
    for _ in 0..2 {
        world.metrics.flush(world.now).await.unwrap();
        world.metrics.expire(world.now, |_| true).await.unwrap();
        assert_eq!(about(&world.query(vm, DAY_ONE, 3600).await, |_| 7.0), 6);
    }
}

#[tokio::test]
async fn who_was_deleted_is_forgotten_after_a_month() {
    let mut world = World::new().await;
    let (gone, stays) = (vm(), vm());
    world.live(&[gone, stays], 7200, |_| 3.0).await;
    let keep = |entity| entity == stays;
    for day in 1..40 {
        let now = world.now + day * 86_400;
        world.metrics.flush(now).await.unwrap();
        world.metrics.expire(now, keep).await.unwrap();
        let query = Query { entities: vec![gone], metrics: vec![], from: DAY_ONE, to: now, step: 3600 };
        let found = world.metrics.query(&query, now).await.unwrap();
        assert_eq!(found.series.len(), usize::from(day < 31), "day {day}");
    }
    let query = Query { entities: vec![stays], metrics: vec![], from: DAY_ONE, to: world.now, step: 3600 };
    assert_eq!(world.metrics.query(&query, world.now).await.unwrap().series.len(), 1);
    assert_eq!(world.metrics.len(), 0, "nobody is in memory who says nothing");
}

#[tokio::test]
async fn a_minute_that_came_late_is_taken_in() {
    let mut world = World::new().await;
    let vm = vm();
    world.live(&[vm], 60, |_| 8.0).await;
    // Nothing for the next minute; then its slots come all at once, after the flush.
    let began = world.now;
    world.live(&[], 65, |_| 0.0).await;
    for slot in 0..12 {
        world.record(vm, began + slot * 5, &[(Metric::Cpu, 16.0)]);
    }
    let minutes = world.query(vm, began, 60).await;
    assert_eq!(about(&minutes, |_| 16.0), 1);
    world.live(&[], 60, |_| 0.0).await;
    let world = world.crash().await;
    assert_eq!(about(&world.query(vm, began, 60).await, |_| 16.0), 1);
}
