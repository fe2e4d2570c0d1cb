//! The engine from outside: outcomes, cancelling, crashes, fencing, events.

use std::sync::Arc;
use std::time::Duration;

use xenith_common_ids::{Epoch, SagaId};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_saga::{
    EngineConfig, EventKind, Meta, Outcome, Phase, Recovered, SagaEngine, SagaError, SagaRegistry,
};
use xenith_orchestrator_store::{Expect, Keyspace, MemoryStore, RocksStore, Schema, StateStore, Transaction};

use crate::world::{Bench, Garden, Plant, PlantParams, store, trees, until};

fn meta(title: &str) -> Meta {
    Meta { title: title.to_owned(), who: "anna".to_owned(), ..Meta::default() }
}

async fn run(garden: &Garden, params: PlantParams) -> (Bench, SagaId, Outcome) {
    let bench = Bench::new(garden, &store()).await;
    let started = bench.engine.start::<Plant>(&params, meta("test")).await.unwrap();
    let id = started.id;
    let outcome = tokio::time::timeout(Duration::from_secs(20), started.outcome()).await.unwrap().unwrap();
    (bench, id, outcome)
}

#[tokio::test]
async fn runs_to_the_end_and_keeps_the_record() {
    let garden = Garden::default();
    let (bench, id, outcome) = run(&garden, trees(&["oak", "elm"])).await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(garden.log(), ["survey", "plant oak", "plant elm", "water"]);
    let record = bench.engine.get(id).await.unwrap();
    assert_eq!(record.steps, ["survey", "plant:oak", "plant:elm", "water"]);
    assert_eq!(record.outputs["survey"], 2);
    assert_eq!(record.meta.who, "anna");
    assert!(record.ended.unwrap() >= record.started.unwrap() && record.started.unwrap() >= record.created);
    assert_eq!(record.done(), (4, 4));
    assert_eq!(bench.engine.ended(None, 10).await.unwrap().0[0].0, id);
    assert_eq!(bench.engine.active(None, 10).await.unwrap().0, []);
    assert_eq!(bench.engine.wait(id).await.unwrap(), Some(Outcome::Done));
    let now = time::OffsetDateTime::now_utc();
    assert_eq!(bench.engine.prune_ended(now, 10).await.unwrap(), 1);
    assert!(matches!(bench.engine.get(id).await, Err(SagaError::NotFound(_))));
}

#[tokio::test]
async fn outcomes_of_trouble() {
    let rolled_back = |reason: &str| Outcome::RolledBack { reason: reason.to_owned() };
    for (name, trouble, sign, outcome, trees_left) in [
        ("passing trouble is retried", &[("plant elm", 2, true)][..], false, Outcome::Done, 2),
        ("retries run out", &[("plant elm", 3, true)], false, rolled_back("plant:elm: rain"), 0),
        ("permanent trouble is not retried", &[("water", 1, false)], false, rolled_back("water: drought"), 0),
        (
            "trouble while undoing is retried",
            &[("water", 1, false), ("fell oak", 2, true)],
            false,
            rolled_back("water: drought"),
            0,
        ),
        (
            "an undo that fails parks",
            &[("water", 1, false), ("fell elm", 1, false)],
            false,
            Outcome::Parked {
                reason: "undo of plant:elm: drought (undoing because of: water: drought)".to_owned(),
            },
            2,
        ),
        (
            "behind the point of no return it parks",
            &[("open", 1, false)],
            true,
            Outcome::Parked {
                reason: "open: drought (cannot be rolled back since the step \"sign\")".to_owned(),
            },
            2,
        ),
    ] {
        let garden = Garden::default();
        for (step, times, retryable) in trouble {
            garden.trouble(step, *times, *retryable);
        }
        let (_, _, got) = run(&garden, PlantParams { sign, ..trees(&["oak", "elm"]) }).await;
        assert_eq!(got, outcome, "{name}");
        assert_eq!(garden.trees().len(), trees_left, "{name}");
    }
}

#[tokio::test]
async fn a_step_that_has_changed_nothing_is_not_undone() {
    for (taken, log) in [
        ("plant elm", &["survey", "plant oak", "plant elm", "fell oak"][..]),
        ("plant oak", &["survey", "plant oak"]),
        ("survey", &["survey"]),
    ] {
        let garden = Garden::default();
        garden.taken.lock().unwrap().insert(taken.to_owned());
        let (bench, id, outcome) = run(&garden, trees(&["oak", "elm"])).await;
        let reason = format!("{}: another's", taken.replace(' ', ":"));
        assert_eq!(outcome, Outcome::RolledBack { reason }, "{taken}");
        assert_eq!(garden.log(), log, "{taken}");
        assert!(bench.engine.get(id).await.unwrap().ended.is_some(), "{taken}");
    }
}

#[tokio::test]
async fn an_overdue_step_unwinds() {
    let garden = Garden::default();
    garden.close("water");
    let (_, _, outcome) = run(&garden, PlantParams { hurry: true, ..trees(&["oak"]) }).await;
    assert_eq!(outcome, Outcome::RolledBack { reason: "water: not finished within 500ms".to_owned() });
    assert_eq!(garden.trees(), [""; 0]);
}

#[tokio::test]
async fn a_step_that_failed_until_it_was_overdue_says_what_failed() {
    let garden = Garden::default();
    garden.trouble("water", u32::MAX, true);
    let (_, _, outcome) = run(&garden, PlantParams { hurry: true, ..trees(&["oak"]) }).await;
    let reason = "water: not finished within 500ms; what failed last: rain".to_owned();
    assert_eq!(outcome, Outcome::RolledBack { reason });
}

#[tokio::test]
async fn a_parked_saga_is_retried_or_abandoned() {
    let garden = Garden::default();
    garden.trouble("water", 1, false);
    garden.trouble("fell oak", 1, false);
    let (bench, id, outcome) = run(&garden, trees(&["oak"])).await;
    assert!(matches!(outcome, Outcome::Parked { .. }));
    let asked = bench.engine.cancel(id, "anna").await;
    assert!(matches!(asked, Err(SagaError::WrongState { state: "parked", .. })), "{asked:?}");
    bench.engine.retry(id).await.unwrap();
    let outcome = bench.engine.wait(id).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::RolledBack { reason: "water: drought".to_owned() });
    assert!(matches!(bench.engine.retry(id).await, Err(SagaError::WrongState { state: "ended", .. })));

    let garden = Garden::default();
    garden.trouble("open", 1, false);
    let (bench, id, _) = run(&garden, PlantParams { sign: true, ..trees(&["oak"]) }).await;
    bench.engine.abandon(id, "anna").await.unwrap();
    let outcome = bench.engine.wait(id).await.unwrap().unwrap();
    assert!(matches!(&outcome, Outcome::Abandoned { reason } if reason.starts_with("abandoned by anna")));
    assert_eq!(garden.trees(), ["oak"]);

    let garden = Garden::default();
    garden.trouble("open", 1, false);
    let (bench, id, _) = run(&garden, PlantParams { sign: true, ..trees(&["oak"]) }).await;
    bench.engine.retry(id).await.unwrap();
    assert_eq!(bench.engine.wait(id).await.unwrap().unwrap(), Outcome::Done);
}

#[tokio::test]
async fn cancelling() {
    for (name, gate, expected_log) in [
        ("a step that listens ends at once", "water", &["survey", "plant oak", "water", "fell oak"][..]),
        ("a step that does not is waited for", "plant oak", &["survey", "plant oak", "fell oak"]),
    ] {
        let garden = Garden::default();
        garden.close(gate);
        let bench = Bench::new(&garden, &store()).await;
        let started = bench.engine.start::<Plant>(&trees(&["oak"]), meta(name)).await.unwrap();
        until(name, || garden.log().last().is_some_and(|last| last == gate)).await;
        bench.engine.cancel(started.id, "bob").await.unwrap();
        // The first request counts. (The saga may be through already.)
        let _ = bench.engine.cancel(started.id, "carl").await;
        assert_eq!(bench.engine.get(started.id).await.unwrap().cancel_requested_by(), Some("bob"), "{name}");
        if gate != "water" {
            garden.open(gate);
        }
        let outcome = started.outcome().await.unwrap();
        assert_eq!(outcome, Outcome::RolledBack { reason: "cancelled by bob".to_owned() }, "{name}");
        assert_eq!(garden.log(), expected_log, "{name}");
    }
}

#[tokio::test]
async fn cancelling_behind_the_point_of_no_return_is_refused() {
    let garden = Garden::default();
    garden.close("open");
    let bench = Bench::new(&garden, &store()).await;
    let params = PlantParams { sign: true, ..trees(&["oak"]) };
    let started = bench.engine.start::<Plant>(&params, meta("sign")).await.unwrap();
    until("the last step", || garden.log().last().is_some_and(|last| last == "open")).await;
    let refused = bench.engine.cancel(started.id, "bob").await.unwrap_err();
    assert!(matches!(&refused, SagaError::PointOfNoReturn { step, .. } if step == "sign"), "{refused}");
    garden.open("open");
    assert_eq!(started.outcome().await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_cancel_survives_a_crash() {
    let (garden, store) = (Garden::default(), store());
    garden.close("plant oak");
    let bench = Bench::new(&garden, &store).await;
    let started = bench.engine.start::<Plant>(&trees(&["oak"]), meta("x")).await.unwrap();
    until("the step", || garden.log().len() == 2).await;
    bench.engine.cancel(started.id, "bob").await.unwrap();
    bench.kill().await;
    garden.open("plant oak");
    let bench = Bench::new(&garden, &store).await;
    assert_eq!(bench.engine.recover().await.unwrap().resumed, 1);
    let outcome = bench.engine.wait(started.id).await.unwrap().unwrap();
    assert_eq!(outcome, Outcome::RolledBack { reason: "cancelled by bob".to_owned() });
    assert_eq!(started.outcome().await, None, "who waited on the dead engine is told");
}

#[tokio::test]
async fn callers_who_hang_up_leave_nothing_half_done() {
    let (garden, store) = (Garden::default(), store());
    let bench = Bench::new(&garden, &store).await;
    // Polled once, then dropped.
    let oak = trees(&["oak"]);
    let start = bench.engine.start::<Plant>(&oak, meta("x"));
    let _ = tokio::time::timeout(Duration::ZERO, start).await;
    until("the saga runs all the same", || garden.log().last().is_some_and(|last| last == "water")).await;
    until("and ends", || bench.engine.running() == 0).await;

    garden.close("plant elm");
    let started = bench.engine.start::<Plant>(&trees(&["elm"]), meta("x")).await.unwrap();
    until("the step", || garden.log().last().is_some_and(|last| last == "plant elm")).await;
    let _ = tokio::time::timeout(Duration::ZERO, bench.engine.cancel(started.id, "bob")).await;
    garden.open("plant elm");
    let outcome = started.outcome().await.unwrap();
    assert_eq!(outcome, Outcome::RolledBack { reason: "cancelled by bob".to_owned() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_beside_starts_runs_nothing_twice() {
    let (garden, store) = (Garden::default(), store());
    let bench = Bench::new(&garden, &store).await;
    let recovering = tokio::spawn({
        let engine = bench.engine.clone();
        async move {
            for _ in 0..200 {
                engine.recover().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    for n in 0..100 {
        let saga = bench.engine.start::<Plant>(&trees(&[&n.to_string()]), meta("x")).await.unwrap();
        assert_eq!(saga.outcome().await, Some(Outcome::Done));
    }
    recovering.await.unwrap();
    assert_eq!(garden.log().len(), 300, "each step once");
}

#[tokio::test]
async fn an_older_engine_is_fenced_off() {
    let (garden, store) = (Garden::default(), store());
    garden.close("plant oak");
    let old = Bench::new(&garden, &store).await;
    let started = old.engine.start::<Plant>(&trees(&["oak"]), meta("x")).await.unwrap();
    until("the step", || garden.log().len() == 2).await;
    let new = Bench::new(&garden, &store).await;
    assert_eq!((old.engine.epoch(), new.engine.epoch()), (Epoch(1), Epoch(2)));
    assert_eq!(new.engine.recover().await.unwrap(), Recovered { resumed: 1, ..Recovered::default() });
    garden.open("plant oak");
    assert_eq!(new.engine.wait(started.id).await.unwrap(), Some(Outcome::Done));
    until("the old engine lets go", || old.engine.running() == 0).await;
    assert_eq!(garden.log().iter().filter(|step| *step == "water").count(), 1, "only one engine went on");
    assert!(matches!(old.engine.recover().await, Ok(recovered) if recovered == Recovered::default()));
}

#[tokio::test]
async fn what_this_program_cannot_run_is_parked() {
    let (garden, store) = (Garden::default(), store());
    garden.close("survey");
    let bench = Bench::new(&garden, &store).await;
    let started = bench.engine.start::<Plant>(&trees(&["oak"]), meta("x")).await.unwrap();
    bench.kill().await;
    let tasks = TaskSet::new();
    let shared = Arc::new(store.clone());
    let config = EngineConfig::default();
    let engine = SagaEngine::open(shared, SagaRegistry::new(), config, &tasks).await.unwrap();
    assert_eq!(engine.recover().await.unwrap(), Recovered { parked: 1, ..Recovered::default() });
    let Phase::Parked { parked } = engine.get(started.id).await.unwrap().phase else { panic!("parked") };
    assert_eq!(parked.reason, "this version of the program has no plant version 1");
    tasks.shut_down(Duration::from_secs(5)).await.unwrap();
    // The right program again: a person lets it go on.
    garden.open("survey");
    let bench = Bench::new(&garden, &store).await;
    assert_eq!(bench.engine.recover().await.unwrap(), Recovered { waiting: 1, ..Recovered::default() });
    bench.engine.retry(started.id).await.unwrap();
    assert_eq!(bench.engine.wait(started.id).await.unwrap(), Some(Outcome::Done));
}

#[tokio::test]
async fn starting_together_with_the_callers_writes() {
    const VMS: Keyspace = Keyspace::new("vm");
    let schema = Schema::new(1).with(xenith_orchestrator_saga::KEYSPACES).with(&[VMS]);
    let (garden, store) = (Garden::default(), MemoryStore::new(&schema));
    let bench = Bench::new(&garden, &store).await;
    let claim =
        |id: SagaId| Transaction::new().require(VMS, "web", Expect::Absent).put(VMS, "web", id.to_string());
    let (first, second) = (SagaId::new(), SagaId::new());
    let params = trees(&["oak"]);
    let started = bench.engine.start_with::<Plant>(first, &params, meta("a"), claim(first)).await.unwrap();
    let refused = bench.engine.start_with::<Plant>(second, &params, meta("b"), claim(second)).await;
    assert!(matches!(refused, Err(SagaError::Store(error)) if error.is_conflict()));
    assert!(matches!(bench.engine.get(second).await, Err(SagaError::NotFound(_))));
    assert_eq!(started.outcome().await, Some(Outcome::Done));
    assert_eq!(store.get(VMS, b"web").await.unwrap().unwrap().value, first.to_string());
}

#[tokio::test]
async fn concurrency_is_bounded_and_too_many_are_refused() {
    let (garden, store) = (Garden::default(), store());
    garden.close("survey");
    let config = EngineConfig { max_running: 2, max_active: 5, ..EngineConfig::default() };
    let bench = Bench::with(&garden, &store, config).await;
    let mut started = Vec::new();
    for _ in 0..5 {
        started.push(bench.engine.start::<Plant>(&trees(&[]), meta("x")).await.unwrap());
    }
    let refused = bench.engine.start::<Plant>(&trees(&[]), meta("x")).await;
    assert!(matches!(refused, Err(SagaError::Busy { running: 5, .. })));
    until("two run", || garden.log().len() == 2).await;
    assert_eq!(garden.log().len(), 2);
    garden.open("survey");
    for saga in started {
        assert_eq!(saga.outcome().await, Some(Outcome::Done));
    }
}

#[tokio::test]
async fn events_tell_the_story() {
    let garden = Garden::default();
    garden.trouble("plant oak", 1, true);
    garden.trouble("water", 1, false);
    let bench = Bench::new(&garden, &store()).await;
    let mut events = bench.engine.subscribe();
    let started = bench.engine.start::<Plant>(&trees(&["oak"]), meta("x")).await.unwrap();
    let id = started.id;
    started.outcome().await.unwrap();
    let mut story = Vec::new();
    while let Ok(event) = events.try_recv() {
        assert_eq!((event.saga, event.kind.as_str()), (id, "plant"));
        story.push(match event.what {
            EventKind::Queued => "queued".to_owned(),
            EventKind::Started { resumed } => format!("started {resumed}"),
            EventKind::StepStarted { index, count, step } => format!("{index}/{count} {step}"),
            EventKind::Progress { index, percent, message } => format!("{index} {percent}% {message}"),
            EventKind::StepDone { step, .. } => format!("{step} done"),
            EventKind::Retrying { attempt, error, .. } => format!("try {attempt} after {error}"),
            EventKind::CancelRequested { by } => format!("cancel {by}"),
            EventKind::Unwinding { index, reason } => format!("unwinding from {index}: {reason}"),
            EventKind::UndoStarted { step, .. } => format!("undo {step}"),
            EventKind::UndoDone { step, .. } => format!("undid {step}"),
            EventKind::Ended { outcome } => format!("{outcome:?}"),
        });
    }
    let expected = [
        "queued",
        "started false",
        "0/3 survey",
        "survey done",
        "1/3 plant:oak",
        "try 2 after rain",
        "1 50% one of 1",
        "plant:oak done",
        "2/3 water",
        "unwinding from 2: water: drought",
        "undo plant:oak",
        "undid plant:oak",
        "RolledBack { reason: \"water: drought\" }",
    ];
    assert_eq!(story, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_rocksdb_it_goes_on_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let schema = || Schema::new(1).with(xenith_orchestrator_saga::KEYSPACES);
    let garden = Garden::default();
    let open = async || {
        let store = Arc::new(RocksStore::open(folder.path(), schema()).unwrap());
        let mut registry = SagaRegistry::new();
        registry.register(Plant { garden: garden.clone() });
        let tasks = TaskSet::new();
        let engine = SagaEngine::open(store, registry, EngineConfig::default(), &tasks).await.unwrap();
        Bench { engine, tasks }
    };
    garden.close("water");
    let bench = open().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let params = trees(&[&format!("oak {n}")]);
        ids.push(bench.engine.start::<Plant>(&params, meta("x")).await.unwrap().id);
    }
    until("all wait", || garden.log().iter().filter(|step| *step == "water").count() == 20).await;
    bench.kill().await;
    garden.open("water");
    let bench = open().await;
    assert_eq!(bench.engine.recover().await.unwrap().resumed, 20);
    for id in ids {
        assert_eq!(bench.engine.wait(id).await.unwrap(), Some(Outcome::Done));
    }
    assert_eq!(garden.trees().len(), 20);
}
