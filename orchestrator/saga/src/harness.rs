//! Two proofs that every saga owes, to be called from its tests (feature `test-support`).
//!
//! * [`every_step_twice`]: each step, and each undo, runs twice in a row; the effects are those of once.
//! * [`failures_and_crashes`]: a failure before and after each step, a failure of each undo, a crash before and
//!   after each write of the log. Whatever happens, the effects are in the end *all* or *none*, never a part.
//!
//! A saga is described by a [`Scenario`]. Its world (the fake agents, the tables that steps work on) outlives the
//! engine, as the real one outlives a crash. Effects are compared as text, so that a failed proof shows what is
//! left over. Pauses between retries are left out.
#![allow(clippy::unwrap_used, reason = "a test harness, compiled for tests only")]

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use xenith_common_ids::SagaId;
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_store::{
    Entry, Health, Keyspace, MemoryStore, Revision, ScanPage, ScanRequest, Schema, StateStore, StoreError,
    Transaction, Watch,
};

use crate::hooks::{Hooks, Inject};
use crate::record::KEYSPACES;
use crate::step::Undoing;
use crate::{EngineConfig, Meta, Outcome, Saga, SagaEngine, SagaRegistry, StepError};

/// No step of a test takes so long; a saga that hangs fails with its case's name.
const PATIENCE: Duration = Duration::from_secs(60);

/// A saga with a world to run it in.
pub trait Scenario: Sync {
    type Saga: Saga;
    /// Cheap handle; clones are the same world.
    type World: Clone + Send + Sync + 'static;

    /// A new world, as it is before the saga.
    fn world(&self) -> impl Future<Output = Self::World> + Send;
    fn saga(&self, world: &Self::World) -> Self::Saga;
    fn params(&self, world: &Self::World) -> <Self::Saga as Saga>::Params;
    /// Everything the saga changes that outlives it, as text. The same effects give the same text.
    fn effects(&self, world: &Self::World) -> impl Future<Output = String> + Send;
}

/// Where a failure is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plot {
    Nothing,
    EverythingTwice,
    /// The step does not run.
    FailBefore(usize),
    /// The step has run.
    FailAfter(usize),
    /// The last step fails after it has run, and the undo of this one fails the first time, before it ran.
    UndoFailsOnceBefore(usize),
    /// The same, after it ran.
    UndoFailsOnceAfter(usize),
    /// The same, and it fails until somebody has asked for a retry.
    UndoFailsForGood(usize),
}

struct Injector {
    plot: Plot,
    last: usize,
    /// How often the undo in question was tried.
    undos: Mutex<u32>,
    mended: Mutex<bool>,
}

impl Injector {
    fn new(plot: Plot, steps: usize) -> Arc<Self> {
        let last = steps.saturating_sub(1);
        Arc::new(Self { plot, last, undos: Mutex::default(), mended: Mutex::default() })
    }

    fn first_undo(&self) -> bool {
        let mut undos = self.undos.lock().unwrap();
        *undos += 1;
        *undos == 1
    }
}

impl Hooks for Injector {
    fn before(&self, _: SagaId, index: usize, undoing: Undoing) -> Inject {
        let failure = || StepError::permanent("a failure put here by the harness");
        let again = || StepError::retryable("a passing failure put here by the harness");
        match (self.plot, undoing) {
            (Plot::EverythingTwice, _) => Inject::Twice,
            (Plot::FailBefore(at), Undoing::No) if at == index => Inject::FailBefore(failure()),
            (Plot::FailAfter(at), Undoing::No) if at == index => Inject::FailAfter(failure()),
            (
                Plot::UndoFailsOnceBefore(_) | Plot::UndoFailsOnceAfter(_) | Plot::UndoFailsForGood(_),
                Undoing::No,
            ) if index == self.last => Inject::FailAfter(failure()),
            (Plot::UndoFailsOnceBefore(at), Undoing::Yes) if at == index && self.first_undo() => {
                Inject::FailBefore(again())
            }
            (Plot::UndoFailsOnceAfter(at), Undoing::Yes) if at == index && self.first_undo() => {
                Inject::FailAfter(again())
            }
            (Plot::UndoFailsForGood(at), Undoing::Yes) if at == index && !*self.mended.lock().unwrap() => {
                Inject::FailBefore(failure())
            }
            _ => Inject::Nothing,
        }
    }

    fn delay(&self, _: Duration) -> Duration {
        Duration::ZERO
    }
}

/// One run of the saga in a world of its own.
struct Stage<'a, S: Scenario> {
    scenario: &'a S,
    world: S::World,
    store: MemoryStore,
}

struct Engine {
    engine: SagaEngine,
    tasks: TaskSet,
}

impl Engine {
    /// As a crash: whatever runs is dropped where it is.
    async fn kill(self) {
        self.tasks.shut_down(PATIENCE).await.expect("runners are dropped at once");
    }
}

impl<'a, S: Scenario> Stage<'a, S> {
    async fn new(scenario: &'a S) -> Self {
        let schema = Schema::new(1).with(KEYSPACES);
        Self { scenario, world: scenario.world().await, store: MemoryStore::new(&schema) }
    }

    async fn engine(&self, hooks: Arc<dyn Hooks>, store: Arc<dyn StateStore>) -> Engine {
        let mut registry = SagaRegistry::new();
        registry.register(self.scenario.saga(&self.world));
        let tasks = TaskSet::new();
        let config = (EngineConfig::default(), hooks);
        let engine = SagaEngine::open_with_hooks(store, registry, config, &tasks).await;
        Engine { engine: engine.expect("the engine opens"), tasks }
    }

    async fn start(&self, engine: &SagaEngine) -> Result<SagaId, crate::SagaError> {
        let params = self.scenario.params(&self.world);
        engine.start::<S::Saga>(&params, Meta::default()).await.map(|started| started.id)
    }

    /// Runs the saga with `plot` to its end.
    async fn play(&self, plot: Plot) -> Outcome {
        let injector = Injector::new(plot, self.steps());
        let running = self.engine(injector.clone(), Arc::new(self.store.clone())).await;
        let id = self.start(&running.engine).await.expect("the saga starts");
        let mut outcome = wait(&running.engine, id, &plot).await;
        if let (Plot::UndoFailsForGood(_), Outcome::Parked { .. }) = (plot, &outcome) {
            *injector.mended.lock().unwrap() = true;
            running.engine.retry(id).await.expect("a parked saga can be retried");
            outcome = wait(&running.engine, id, &plot).await;
        }
        running.kill().await;
        outcome
    }

    fn steps(&self) -> usize {
        S::Saga::steps(&self.scenario.params(&self.world)).len()
    }

    async fn effects(&self) -> String {
        self.scenario.effects(&self.world).await
    }
}

async fn wait(engine: &SagaEngine, id: SagaId, case: &(dyn fmt::Debug + Sync)) -> Outcome {
    match tokio::time::timeout(PATIENCE, engine.wait(id)).await {
        Ok(outcome) => outcome.expect("the saga is there").expect("the engine runs"),
        Err(_) => panic!("{case:?}: the saga hangs: {:?}", engine.get(id).await),
    }
}

/// Effects before, and after an undisturbed run.
async fn none_and_all<S: Scenario>(scenario: &S) -> (String, String) {
    let stage = Stage::new(scenario).await;
    let none = stage.effects().await;
    assert_eq!(stage.play(Plot::Nothing).await, Outcome::Done, "an undisturbed run is done");
    (none, stage.effects().await)
}

/// Whether rolling back is possible up to and including this step.
fn undoable<S: Scenario>(stage: &Stage<'_, S>, step: usize) -> bool {
    let steps = S::Saga::steps(&stage.scenario.params(&stage.world));
    steps.iter().take(step + 1).all(|step| !matches!(step.undo, crate::step::Undo::Forbidden(_)))
}

/// Runs each step twice, and each undo twice; panics where that makes a difference.
pub async fn every_step_twice<S: Scenario>(scenario: &S) {
    let (none, all) = none_and_all(scenario).await;
    let stage = Stage::new(scenario).await;
    assert_eq!(stage.play(Plot::EverythingTwice).await, Outcome::Done);
    assert_eq!(stage.effects().await, all, "every step twice has other effects than once");

    // The undos: unwind once, then once more over the same world.
    for last in 0..stage.steps() {
        let stage = Stage::new(scenario).await;
        if !undoable(&stage, last) {
            break;
        }
        for round in ["once", "and again, from the beginning"] {
            let outcome = stage.play(Plot::FailAfter(last)).await;
            assert!(matches!(outcome, Outcome::RolledBack { .. }), "step {last} {round}: {outcome:?}");
            assert_eq!(stage.effects().await, none, "rolled back from step {last} {round}");
        }
    }
}

/// Puts a failure and a crash everywhere; panics where a part of the effects is left.
pub async fn failures_and_crashes<S: Scenario>(scenario: &S) {
    let (none, all) = none_and_all(scenario).await;
    let steps = Stage::new(scenario).await.steps();
    for at in 0..steps {
        for plot in [
            Plot::FailBefore(at),
            Plot::FailAfter(at),
            Plot::UndoFailsOnceBefore(at),
            Plot::UndoFailsOnceAfter(at),
            Plot::UndoFailsForGood(at),
        ] {
            failure(scenario, plot, &none).await;
        }
    }
    for plot in [Plot::Nothing].into_iter().chain((0..steps).map(Plot::FailAfter)) {
        for moment in [Moment::BeforeCommit, Moment::AfterCommit] {
            let mut commits = 0;
            // One crash later each time, until the saga is through before it comes.
            while crash(scenario, plot, (moment, commits), (&none, &all)).await {
                commits += 1;
            }
        }
    }
}

async fn failure<S: Scenario>(scenario: &S, plot: Plot, none: &str) {
    let stage = Stage::new(scenario).await;
    let failing = match plot {
        Plot::FailBefore(at) | Plot::FailAfter(at) => at,
        _ => stage.steps() - 1,
    };
    let outcome = stage.play(plot).await;
    if undoable(&stage, failing) {
        assert!(matches!(outcome, Outcome::RolledBack { .. }), "{plot:?}: {outcome:?}");
        assert_eq!(stage.effects().await, none, "{plot:?}: something is left over");
    } else {
        assert!(matches!(outcome, Outcome::Parked { .. }), "{plot:?}: {outcome:?}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    BeforeCommit,
    AfterCommit,
}

/// Crashes at one write of the log, opens a new engine, and lets it finish. False: the saga was through before.
async fn crash<S: Scenario>(
    scenario: &S,
    plot: Plot,
    (moment, commits): (Moment, i64),
    (none, all): (&str, &str),
) -> bool {
    let case = format!("{plot:?}, crash {moment:?} {commits}");
    let stage = Stage::new(scenario).await;
    let injector = Injector::new(plot, stage.steps());
    let store = Arc::new(CrashingStore::new(stage.store.clone(), moment));
    let first = stage.engine(injector.clone(), store.clone()).await;
    store.arm(commits);
    let through = async {
        let id = stage.start(&first.engine).await.expect("the saga starts");
        wait(&first.engine, id, &case).await
    };
    let crashed = tokio::select! {
        biased;
        () = store.crashed.notified() => true,
        _ = through => false,
    };
    first.kill().await;

    let second = stage.engine(injector, Arc::new(stage.store.clone())).await;
    second.engine.recover().await.expect("recovery reads the log");
    let (active, _) = second.engine.active(None, 10).await.expect("the log can be read");
    for (id, _) in active {
        wait(&second.engine, id, &case).await;
    }
    let (ended, _) = second.engine.ended(None, 10).await.expect("the log can be read");
    let outcome = ended.first().and_then(|(_, record)| record.phase.outcome());
    second.kill().await;
    let effects = stage.effects().await;
    match outcome {
        Some(Outcome::Done) => assert_eq!(effects, all, "{case}: done, but not all is there"),
        Some(Outcome::RolledBack { .. }) => {
            assert_eq!(effects, none, "{case}: rolled back, but something is left")
        }
        // The start was never logged: nothing may have happened.
        None if crashed && commits == 0 => assert_eq!(effects, none, "{case}: nothing was logged"),
        // Behind the point of no return a failure parks; what is there then is for a person to judge.
        None => assert!(!undoable(&stage, stage.steps() - 1), "{case}: neither done nor rolled back"),
        Some(other) => panic!("{case}: {other:?}"),
    }
    crashed
}

/// Stands still for ever at the n-th commit: the process that used it is dead from then on.
struct CrashingStore {
    inner: MemoryStore,
    moment: Moment,
    left: AtomicI64,
    crashed: Notify,
}

impl CrashingStore {
    fn new(inner: MemoryStore, moment: Moment) -> Self {
        Self { inner, moment, left: AtomicI64::new(i64::MAX), crashed: Notify::new() }
    }

    fn arm(&self, commits: i64) {
        self.left.store(commits, Ordering::SeqCst);
    }
}

#[async_trait]
impl StateStore for CrashingStore {
    async fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.inner.get(keyspace, key).await
    }

    async fn scan(&self, request: ScanRequest) -> Result<ScanPage, StoreError> {
        self.inner.scan(request).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StoreError> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return self.inner.commit(transaction).await;
        }
        if left == 0 && matches!(self.moment, Moment::AfterCommit) {
            self.inner.commit(transaction).await?;
        }
        self.crashed.notify_one();
        std::future::pending().await
    }

    fn watch(&self, keyspace: Keyspace, prefix: &[u8], since: Revision) -> Watch {
        self.inner.watch(keyspace, prefix, since)
    }

    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn health(&self) -> tokio::sync::watch::Receiver<Health> {
        self.inner.health()
    }
}
