//! Two proofs that every saga owes, to be called from its tests (feature `test-support`).
//!
//! * [`every_step_twice`]: each step, and each undo, runs twice in a row; the effects are those of once.
//! * [`failures_and_crashes`]: a failure before and after each step, a failure of each undo, a crash before and
//!   after each write of the log: of an undisturbed run, and of what follows a failure of each step. Whatever happens, the effects are in the end *all* or *none*, never a part. A
//!   saga that parks behind its point of no return goes on when it is retried, and then all is there.
//!
//! A saga is described by a [`Scenario`], or with the whole program around it by a [`Subject`]. Its world (the
//! agents, the tables that steps work on) outlives the engine, as the real one outlives a crash. Effects are
//! compared as text, so that a failed proof shows what is left over. Pauses between retries are left out.
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
use crate::registry::UndoKind;
use crate::step::Undoing;
use crate::{EngineConfig, Meta, Outcome, Saga, SagaEngine, SagaRegistry, StepError};

/// No step of a test takes so long; a saga that hangs fails with its case's name.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whatever starts exactly one saga, with the world it works in.
pub trait Subject: Sync {
    /// Cheap handle; clones are the same world.
    type World: Clone + Send + Sync + 'static;

    /// A new world, as it is before the saga. Its store has the engine's keyspaces, and no saga that has not
    /// been pruned.
    fn world(&self) -> impl Future<Output = Self::World> + Send;
    fn store(&self, world: &Self::World) -> MemoryStore;
    fn registry(&self, world: &Self::World) -> SagaRegistry;
    /// Starts the saga in this engine, with whatever is written in the same transaction.
    fn start(&self, world: &Self::World, engine: &SagaEngine) -> impl Future<Output = SagaId> + Send;
    /// Everything the saga changes that outlives it, as text. The same effects give the same text.
    fn effects(&self, world: &Self::World) -> impl Future<Output = String> + Send;
    /// What of the effects a rolled back saga answers for; less than all where a guest's own doing is not ours
    /// to take back.
    fn answers_for(&self, world: &Self::World) -> impl Future<Output = String> + Send {
        self.effects(world)
    }
}

/// A saga with a world to run it in, and nothing around it.
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

/// A [`Scenario`] with a store for the log alone.
struct Alone<'a, S>(&'a S);

impl<S: Scenario> Subject for Alone<'_, S> {
    type World = (S::World, MemoryStore);

    async fn world(&self) -> Self::World {
        (self.0.world().await, MemoryStore::new(&Schema::new(1).with(KEYSPACES)))
    }

    fn store(&self, (_, store): &Self::World) -> MemoryStore {
        store.clone()
    }

    fn registry(&self, (world, _): &Self::World) -> SagaRegistry {
        let mut registry = SagaRegistry::new();
        registry.register(self.0.saga(world));
        registry
    }

    async fn start(&self, (world, _): &Self::World, engine: &SagaEngine) -> SagaId {
        let params = self.0.params(world);
        engine.start::<S::Saga>(&params, Meta::default()).await.expect("the saga starts").id
    }

    async fn effects(&self, (world, _): &Self::World) -> String {
        self.0.effects(world).await
    }
}

/// Runs each step twice, and each undo twice; panics where that makes a difference.
pub async fn every_step_twice<S: Scenario>(scenario: &S) {
    subject_every_step_twice(&Alone(scenario)).await;
}

/// Puts a failure and a crash everywhere; panics where a part of the effects is left.
pub async fn failures_and_crashes<S: Scenario>(scenario: &S) {
    subject_failures_and_crashes(&Alone(scenario)).await;
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
    /// The last step that can be undone fails after it has run, and the undo of this one fails the first time,
    /// before it ran.
    UndoFailsOnceBefore(usize),
    /// The same, after it ran.
    UndoFailsOnceAfter(usize),
    /// The same, and it fails until somebody has asked for a retry.
    UndoFailsForGood(usize),
}

struct Injector {
    plot: Plot,
    /// The last step that can be undone.
    last: Option<usize>,
    /// How often the undo in question was tried.
    undos: Mutex<u32>,
    mended: Mutex<bool>,
    /// The log, where somebody wants to know how far it was at the first failure.
    log: Option<Arc<CrashingStore>>,
    failed_at: Mutex<Option<i64>>,
}

impl Injector {
    fn new(plot: Plot, shape: &Shape) -> Arc<Self> {
        Self::over(plot, shape, None)
    }

    fn over(plot: Plot, shape: &Shape, log: Option<Arc<CrashingStore>>) -> Arc<Self> {
        Arc::new(Self {
            plot,
            last: shape.last_undoable(),
            undos: Mutex::default(),
            mended: Mutex::default(),
            log,
            failed_at: Mutex::default(),
        })
    }

    fn note_failure(&self) {
        if let Some(log) = &self.log {
            self.failed_at.lock().unwrap().get_or_insert(log.made());
        }
    }

    fn first_undo(&self) -> bool {
        let mut undos = self.undos.lock().unwrap();
        *undos += 1;
        *undos == 1
    }

    fn mended(&self) -> bool {
        *self.mended.lock().unwrap()
    }
}

impl Hooks for Injector {
    fn before(&self, _: SagaId, index: usize, undoing: Undoing) -> Inject {
        let failure = || StepError::permanent("a failure put here by the harness");
        let again = || StepError::retryable("a passing failure put here by the harness");
        match (self.plot, undoing) {
            (Plot::EverythingTwice, _) => Inject::Twice,
            (Plot::FailBefore(at), Undoing::No) if at == index && !self.mended() => {
                Inject::FailBefore(failure())
            }
            (Plot::FailAfter(at), Undoing::No) if at == index && !self.mended() => {
                self.note_failure();
                Inject::FailAfter(failure())
            }
            (
                Plot::UndoFailsOnceBefore(_) | Plot::UndoFailsOnceAfter(_) | Plot::UndoFailsForGood(_),
                Undoing::No,
            ) if Some(index) == self.last => Inject::FailAfter(failure()),
            (Plot::UndoFailsOnceBefore(at), Undoing::Yes) if at == index && self.first_undo() => {
                Inject::FailBefore(again())
            }
            (Plot::UndoFailsOnceAfter(at), Undoing::Yes) if at == index && self.first_undo() => {
                Inject::FailAfter(again())
            }
            (Plot::UndoFailsForGood(at), Undoing::Yes) if at == index && !self.mended() => {
                Inject::FailBefore(failure())
            }
            _ => Inject::Nothing,
        }
    }

    fn delay(&self, _: Duration) -> Duration {
        Duration::ZERO
    }
}

/// The steps of the saga: for each, its name and whether it can be undone with all before it.
struct Shape(Vec<(String, bool)>);

impl Shape {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn undoable(&self, step: usize) -> bool {
        self.0[step].1
    }

    fn last_undoable(&self) -> Option<usize> {
        (0..self.len()).rev().find(|step| self.undoable(*step))
    }
}

/// What a run without disturbance tells.
struct Known {
    shape: Shape,
    /// Effects before it.
    none: String,
    /// What a rolled back saga answers for, before it.
    answered_none: String,
    /// Effects after it.
    all: String,
}

/// One run of the saga in a world of its own.
struct Stage<'a, S: Subject> {
    subject: &'a S,
    world: S::World,
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

impl<'a, S: Subject> Stage<'a, S> {
    async fn new(subject: &'a S) -> Self {
        Self { subject, world: subject.world().await }
    }

    async fn engine(&self, hooks: Arc<dyn Hooks>, store: Arc<dyn StateStore>) -> Engine {
        let tasks = TaskSet::new();
        let config = (EngineConfig::default(), hooks);
        let registry = self.subject.registry(&self.world);
        let engine = SagaEngine::open_with_hooks(store, registry, config, &tasks).await;
        Engine { engine: engine.expect("the engine opens"), tasks }
    }

    fn store(&self) -> MemoryStore {
        self.subject.store(&self.world)
    }

    /// Runs the saga with `plot` to where it stops, and tells how that was before somebody mended the cause and
    /// asked for a retry of what was parked, and how after.
    async fn play(&self, plot: Plot, shape: &Shape) -> (Outcome, Outcome) {
        let injector = Injector::new(plot, shape);
        let running = self.engine(injector.clone(), Arc::new(self.store())).await;
        let id = self.subject.start(&self.world, &running.engine).await;
        let outcome = wait(&running.engine, id, &plot).await;
        let mut mended = outcome.clone();
        if matches!(outcome, Outcome::Parked { .. }) {
            *injector.mended.lock().unwrap() = true;
            running.engine.retry(id).await.expect("a parked saga can be retried");
            mended = wait(&running.engine, id, &plot).await;
        }
        running.kill().await;
        (outcome, mended)
    }

    async fn effects(&self) -> String {
        self.subject.effects(&self.world).await
    }

    async fn answers_for(&self) -> String {
        self.subject.answers_for(&self.world).await
    }
}

async fn wait(engine: &SagaEngine, id: SagaId, case: &(dyn fmt::Debug + Sync)) -> Outcome {
    match tokio::time::timeout(PATIENCE, engine.wait(id)).await {
        Ok(outcome) => outcome.expect("the saga is there").expect("the engine runs"),
        Err(_) => panic!("{case:?}: the saga hangs: {:?}", engine.get(id).await),
    }
}

/// An undisturbed run.
async fn known<S: Subject>(subject: &S) -> Known {
    let stage = Stage::new(subject).await;
    let (none, answered_none) = (stage.effects().await, stage.answers_for().await);
    let nobody = Injector::new(Plot::Nothing, &Shape(Vec::new()));
    let running = stage.engine(nobody, Arc::new(stage.store())).await;
    let id = subject.start(&stage.world, &running.engine).await;
    assert_eq!(wait(&running.engine, id, &Plot::Nothing).await, Outcome::Done, "an undisturbed run is done");
    let record = running.engine.get(id).await.expect("the saga is in the log");
    running.kill().await;
    let plan = subject.registry(&stage.world).plan(&record.kind, record.version, &record.params);
    let plan = plan.expect("the kind is registered").expect("the parameters can be read");
    let mut before = true;
    let step = |info: &crate::registry::StepInfo| {
        before = before && !matches!(info.undo, UndoKind::Forbidden(_));
        (info.name.clone(), before)
    };
    let shape = Shape(plan.steps().iter().map(step).collect());
    Known { shape, none, answered_none, all: stage.effects().await }
}

/// [`every_step_twice`] for a [`Subject`].
pub async fn subject_every_step_twice<S: Subject>(subject: &S) {
    let known = known(subject).await;
    let shape = &known.shape;
    let stage = Stage::new(subject).await;
    assert_eq!(stage.play(Plot::EverythingTwice, shape).await.0, Outcome::Done);
    assert_eq!(stage.effects().await, known.all, "every step twice has other effects than once");

    // The undos: unwind once, then once more over the same world.
    for last in (0..shape.len()).take_while(|step| shape.undoable(*step)) {
        let stage = Stage::new(subject).await;
        for round in ["once", "and again, from the beginning"] {
            let (outcome, _) = stage.play(Plot::FailAfter(last), shape).await;
            let name = &shape.0[last].0;
            assert!(matches!(outcome, Outcome::RolledBack { .. }), "step {name} {round}: {outcome:?}");
            assert_eq!(
                stage.answers_for().await,
                known.answered_none,
                "rolled back from step {name} {round}"
            );
        }
    }
}

/// [`failures_and_crashes`] for a [`Subject`].
pub async fn subject_failures_and_crashes<S: Subject>(subject: &S) {
    let known = known(subject).await;
    let steps = known.shape.len();
    for at in 0..steps {
        failure(subject, Plot::FailBefore(at), &known).await;
        failure(subject, Plot::FailAfter(at), &known).await;
        if known.shape.undoable(at) {
            failure(subject, Plot::UndoFailsOnceBefore(at), &known).await;
            failure(subject, Plot::UndoFailsOnceAfter(at), &known).await;
            failure(subject, Plot::UndoFailsForGood(at), &known).await;
        }
    }
    for plot in [Plot::Nothing].into_iter().chain((0..steps).map(Plot::FailAfter)) {
        // Up to its failure a run is the undisturbed one, which crashes everywhere, too.
        let first = if plot == Plot::Nothing { 0 } else { commits_to_failure(subject, plot, &known).await };
        for moment in [Moment::BeforeCommit, Moment::AfterCommit] {
            let mut commits = first;
            // One crash later each time, until the saga is through before it comes.
            while crash(subject, plot, (moment, commits), &known).await {
                commits += 1;
            }
        }
    }
}

async fn failure<S: Subject>(subject: &S, plot: Plot, known: &Known) {
    let stage = Stage::new(subject).await;
    let (outcome, mended) = stage.play(plot, &known.shape).await;
    let rolls_back = match plot {
        Plot::FailBefore(at) | Plot::FailAfter(at) => known.shape.undoable(at),
        _ => true,
    };
    if rolls_back {
        assert!(matches!(mended, Outcome::RolledBack { .. }), "{plot:?}: {mended:?}");
        assert_eq!(stage.answers_for().await, known.answered_none, "{plot:?}: something is left over");
    } else {
        assert!(matches!(outcome, Outcome::Parked { .. }), "{plot:?}: {outcome:?}");
        assert_eq!(mended, Outcome::Done, "{plot:?}: a retry goes on");
        assert_eq!(stage.effects().await, known.all, "{plot:?}: done by a retry, but not all is there");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeCommit,
    AfterCommit,
}

/// How often the log was written when the failure came.
async fn commits_to_failure<S: Subject>(subject: &S, plot: Plot, known: &Known) -> i64 {
    let stage = Stage::new(subject).await;
    let log = Arc::new(CrashingStore::new(stage.store(), Moment::BeforeCommit));
    let injector = Injector::over(plot, &known.shape, Some(log.clone()));
    let running = stage.engine(injector.clone(), log.clone()).await;
    log.arm(i64::MAX);
    let id = subject.start(&stage.world, &running.engine).await;
    wait(&running.engine, id, &plot).await;
    running.kill().await;
    let failed_at = *injector.failed_at.lock().unwrap();
    failed_at.unwrap_or_else(|| panic!("{plot:?}: nothing failed"))
}

/// Crashes at one write of the log, opens a new engine, and lets it finish. False: the saga was through before.
async fn crash<S: Subject>(subject: &S, plot: Plot, (moment, commits): (Moment, i64), known: &Known) -> bool {
    let case = format!("{plot:?}, crash {moment:?} {commits}");
    let stage = Stage::new(subject).await;
    let injector = Injector::new(plot, &known.shape);
    let store = Arc::new(CrashingStore::new(stage.store(), moment));
    let first = stage.engine(injector.clone(), store.clone()).await;
    store.arm(commits);
    let through = async {
        let id = subject.start(&stage.world, &first.engine).await;
        wait(&first.engine, id, &case).await
    };
    let crashed = tokio::select! {
        biased;
        () = store.crashed.notified() => true,
        _ = through => false,
    };
    first.kill().await;

    let second = stage.engine(injector, Arc::new(stage.store())).await;
    second.engine.recover().await.expect("recovery reads the log");
    let (active, _) = second.engine.active(None, 10).await.expect("the log can be read");
    for (id, _) in active {
        wait(&second.engine, id, &case).await;
    }
    let (ended, _) = second.engine.ended(None, 10).await.expect("the log can be read");
    let outcome = ended.first().and_then(|(_, record)| record.phase.outcome());
    second.kill().await;
    match outcome {
        Some(Outcome::Done) => {
            assert_eq!(stage.effects().await, known.all, "{case}: done, but not all is there");
        }
        Some(Outcome::RolledBack { .. }) => {
            let left = stage.answers_for().await;
            assert_eq!(left, known.answered_none, "{case}: rolled back, but something is left");
        }
        // The start was never logged: nothing may have happened.
        None if crashed && commits == 0 && moment == Moment::BeforeCommit => {
            assert_eq!(stage.effects().await, known.none, "{case}: nothing was logged");
        }
        // Behind the point of no return a failure parks; that a retry goes on from there was shown without crash.
        None => {
            let last = known.shape.len() - 1;
            assert!(!known.shape.undoable(last), "{case}: neither done nor rolled back");
        }
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

    /// Of one that never crashes: how often it was written since it was armed.
    fn made(&self) -> i64 {
        i64::MAX - self.left.load(Ordering::SeqCst)
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
