//! The engine: starts sagas, takes them up again, answers about them. [`runner`] walks the steps, [`live`] owns
//! the record of a saga while it runs.
//!
//! Who touches a record: the saga's runner and whoever cancels, both through [`live::Live::update`], which holds
//! the saga's own lock during the commit. Nobody else writes it; another engine's write makes ours fail.

mod live;
mod queries;
mod runner;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, broadcast, oneshot, watch};
use xenith_common_ids::{Epoch, SagaId};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_store::{Collection, Expect, Health, Record, StateStore, StoreError, Transaction};

use crate::hooks::{Hooks, NoHooks};
use crate::record::{ACTIVE, ENDED, ENGINE};
use crate::registry::Plan;
use crate::{EventKind, Meta, Outcome, Parked, Phase, Saga, SagaError, SagaEvent, SagaRecord, SagaRegistry};
use live::Live;

/// How much runs at once.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Sagas whose steps run at the same time; the others wait their turn. A step mostly waits for an agent, so
    /// this bounds memory and the burst that agents see, not CPU.
    pub max_running: usize,
    /// Running and waiting together; above it [`SagaError::Busy`]. At 4 KiB each this is 80 MiB.
    pub max_active: usize,
    /// Events kept for a slow receiver before it is told that it lags.
    pub event_capacity: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { max_running: 512, max_active: 20_000, event_capacity: 8192 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EngineRecord {
    pub epoch: Epoch,
}

struct Inner {
    store: Arc<dyn StateStore>,
    active: Collection<SagaId, SagaRecord>,
    ended: Collection<SagaId, SagaRecord>,
    registry: SagaRegistry,
    config: EngineConfig,
    epoch: Epoch,
    tasks: TaskSet,
    slots: Semaphore,
    events: broadcast::Sender<SagaEvent>,
    live: Mutex<HashMap<SagaId, Arc<Live>>>,
    /// Being logged, not yet in `live`: a recovery at this moment must not take them for left behind.
    starting: Mutex<HashSet<SagaId>>,
    hooks: Arc<dyn Hooks>,
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, HashMap<SagaId, Arc<Live>>> {
        // Only whole inserts and removes happen under this lock.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: SagaId) -> Option<Arc<Live>> {
        self.live().get(&id).cloned()
    }

    /// The runner of `live` is through. A saga that parked may have been retried meanwhile: that one stays.
    fn forget(&self, live: &Arc<Live>) {
        let mut all = self.live();
        if all.get(&live.id).is_some_and(|found| Arc::ptr_eq(found, live)) {
            all.remove(&live.id);
        }
    }

    fn starting(&self) -> MutexGuard<'_, HashSet<SagaId>> {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, saga: SagaId, kind: &str, what: EventKind) {
        // Nobody listening is fine.
        let _ =
            self.events.send(SagaEvent { saga, kind: kind.to_owned(), at: OffsetDateTime::now_utc(), what });
    }
}

/// Runs sagas. Cheap to clone.
#[derive(Clone)]
pub struct SagaEngine {
    inner: Arc<Inner>,
}

impl fmt::Debug for SagaEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SagaEngine(epoch {}, {} active)", self.inner.epoch.0, self.inner.live().len())
    }
}

/// A saga that was started: its id, and a way to wait for it.
#[derive(Debug)]
pub struct Started {
    pub id: SagaId,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Started {
    /// Waits for the end (or for parking). `None`: the engine shut down first; the saga goes on at the next start.
    pub async fn outcome(mut self) -> Option<Outcome> {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        }
    }
}

/// What [`SagaEngine::recover`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    pub resumed: usize,
    /// Parked now, because this program cannot run them.
    pub parked: usize,
    /// Were parked before.
    pub waiting: usize,
}

impl SagaEngine {
    /// Takes the next epoch: every older engine on this store is fenced off from here on. Runs nothing yet: call
    /// [`Self::recover`] when the steps' dependencies are ready.
    pub async fn open(
        store: Arc<dyn StateStore>,
        registry: SagaRegistry,
        config: EngineConfig,
        tasks: &TaskSet,
    ) -> Result<Self, SagaError> {
        Self::open_with_hooks(store, registry, (config, Arc::new(NoHooks)), tasks).await
    }

    pub(crate) async fn open_with_hooks(
        store: Arc<dyn StateStore>,
        registry: SagaRegistry,
        (config, hooks): (EngineConfig, Arc<dyn Hooks>),
        tasks: &TaskSet,
    ) -> Result<Self, SagaError> {
        let epoch = next_epoch(&store).await?;
        let inner = Arc::new(Inner {
            active: Collection::new(Arc::clone(&store), ACTIVE),
            ended: Collection::new(Arc::clone(&store), ENDED),
            registry,
            slots: Semaphore::new(config.max_running.max(1)),
            events: broadcast::Sender::new(config.event_capacity.max(16)),
            config,
            epoch,
            tasks: tasks.child(),
            live: Mutex::default(),
            starting: Mutex::default(),
            hooks,
            store,
        });
        let engine = Self { inner };
        engine.spawn_store_watcher();
        Ok(engine)
    }

    /// A start that failed because the disk was full may be in the log all the same; when the store writes again,
    /// what nobody runs is taken up.
    fn spawn_store_watcher(&self) {
        let engine = self.clone();
        let token = self.inner.tasks.token();
        let mut health = self.inner.store.health();
        self.inner.tasks.spawn("saga-store-watcher", async move {
            let watch = async {
                while health.wait_for(|h| *h != Health::Writable).await.is_ok()
                    && health.wait_for(|h| *h == Health::Writable).await.is_ok()
                {
                    if let Err(error) = engine.recover().await {
                        tracing::warn!(%error, "sagas could not be taken up after the store was full");
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = token.cancelled() => {}
                () = watch => {}
            }
        });
    }

    /// The fencing epoch of this engine.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.inner.epoch
    }

    /// Logs a saga and begins. Durable when it returns.
    pub async fn start<S: Saga>(&self, params: &S::Params, meta: Meta) -> Result<Started, SagaError> {
        self.start_with::<S>(SagaId::new(), params, meta, Transaction::new()).await
    }

    /// As [`Self::start`], in one commit with `transaction`: either the caller's writes and the saga are there, or
    /// neither. A failed precondition is [`SagaError::Store`] with the conflict.
    pub async fn start_with<S: Saga>(
        &self,
        id: SagaId,
        params: &S::Params,
        meta: Meta,
        transaction: Transaction,
    ) -> Result<Started, SagaError> {
        let inner = &self.inner;
        if inner.tasks.token().is_cancelled() {
            return Err(SagaError::ShuttingDown);
        }
        let running = inner.live().len();
        if running >= inner.config.max_active {
            return Err(SagaError::Busy { running, retry_after: Duration::from_secs(5) });
        }
        let params_error = |source| SagaError::Params { kind: S::KIND.to_owned(), source };
        let params = serde_json::to_value(params).map_err(params_error)?;
        let plan = inner.registry.plan(S::KIND, S::VERSION, &params);
        let plan = plan.ok_or_else(|| SagaError::UnknownKind { kind: S::KIND.to_owned() })?;
        let plan = plan.map_err(params_error)?;
        let record = SagaRecord {
            kind: S::KIND.to_owned(),
            version: S::VERSION,
            params,
            steps: step_names(&*plan),
            phase: Phase::Running { step: 0 },
            outputs: Default::default(),
            meta,
            epoch: inner.epoch,
            cancel: None,
            created: OffsetDateTime::now_utc(),
            started: None,
            ended: None,
        };
        let engine = self.clone();
        self.unhurried("saga start", async move { engine.log_and_run((id, record), plan, transaction).await })
            .await
    }

    async fn log_and_run(
        &self,
        (id, record): (SagaId, SagaRecord),
        plan: Arc<dyn Plan>,
        transaction: Transaction,
    ) -> Result<Started, SagaError> {
        let inner = &self.inner;
        inner.starting().insert(id);
        let commit = inner.active.insert_in(transaction, &id, &record);
        let started = match inner.store.commit(commit).await {
            Ok(revision) => {
                let outcome = self.run_live(Record { key: id, value: record, revision }, plan, Resumed::No);
                Ok(Started { id, outcome })
            }
            Err(source @ StoreError::TooLarge { .. }) => Err(SagaError::TooLarge { id, source }),
            Err(error) => Err(error.into()),
        };
        inner.starting().remove(&id);
        started
    }

    /// Runs `work` to its end even if the caller goes away (a client that hung up): between the log and the runner
    /// nothing may be dropped half way. Only a shutdown does that, after which the log is read anew.
    async fn unhurried<T: Send + 'static>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, SagaError>> + Send + 'static,
    ) -> Result<T, SagaError> {
        let (answer, answered) = oneshot::channel();
        let token = self.inner.tasks.token();
        self.inner.tasks.spawn(name, async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                // The caller may have gone.
                done = work => drop(answer.send(done)),
            }
        });
        answered.await.unwrap_or(Err(SagaError::ShuttingDown))
    }

    /// Takes up every logged saga that has not ended and that nobody here runs.
    pub async fn recover(&self) -> Result<Recovered, SagaError> {
        let mut recovered = Recovered::default();
        let mut after = None;
        loop {
            let page = self.inner.active.page(after, 500).await?;
            // Each take-over is a commit; many at once share their syncs.
            let mut taking =
                futures::stream::iter(page.records.into_iter().map(|record| self.take_up(record)))
                    .buffer_unordered(256);
            while let Some(taken) = taking.next().await {
                match taken? {
                    TakenUp::Running => recovered.resumed += 1,
                    TakenUp::ParkedNow => recovered.parked += 1,
                    TakenUp::Waiting => recovered.waiting += 1,
                    TakenUp::NotOurs => {}
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(recovered),
            }
        }
    }

    async fn take_up(&self, found: Record<SagaId, SagaRecord>) -> Result<TakenUp, SagaError> {
        let inner = &self.inner;
        if found.value.epoch > inner.epoch {
            return Err(SagaError::Fenced { id: found.key });
        }
        // In this order: a start moves from the one to the other.
        if inner.starting().contains(&found.key) || inner.find(found.key).is_some() {
            return Ok(TakenUp::NotOurs);
        }
        if matches!(found.value.phase, Phase::Parked { .. }) {
            return Ok(TakenUp::Waiting);
        }
        let plan = self.plan_of(&found.value);
        let mut record = found.value.clone();
        record.epoch = inner.epoch;
        let taken = match plan {
            Ok(_) => TakenUp::Running,
            Err(ref reason) => {
                record.phase = parked_as_is(&record.phase, reason.clone());
                TakenUp::ParkedNow
            }
        };
        let revision = match inner.active.update(&found, &record).await {
            Ok(revision) => revision,
            // It ended, or was taken, since it was read.
            Err(StoreError::Conflict { .. }) => return Ok(TakenUp::NotOurs),
            Err(error) => return Err(error.into()),
        };
        if let Ok(plan) = plan {
            self.run_live(Record { key: found.key, value: record, revision }, plan, Resumed::Yes);
        }
        Ok(taken)
    }

    /// The code for a logged saga, or why there is none.
    fn plan_of(&self, record: &SagaRecord) -> Result<Arc<dyn Plan>, String> {
        let (kind, version) = (&record.kind, record.version);
        let plan = self
            .inner
            .registry
            .plan(kind, version, &record.params)
            .ok_or_else(|| format!("this version of the program has no {kind} version {version}"))?
            .map_err(|error| format!("the parameters cannot be read: {error}"))?;
        if step_names(&*plan) != record.steps {
            return Err(format!("the steps of {kind} version {version} are others than when it was started"));
        }
        Ok(plan)
    }

    fn run_live(
        &self,
        record: Record<SagaId, SagaRecord>,
        plan: Arc<dyn Plan>,
        resumed: Resumed,
    ) -> watch::Receiver<Option<Outcome>> {
        let inner = Arc::clone(&self.inner);
        let id = record.key;
        let kind = record.value.kind.clone();
        let live = Arc::new(Live::new(record, plan));
        let outcome = live.subscribe();
        self.inner.live().insert(id, Arc::clone(&live));
        self.inner.emit(id, &kind, EventKind::Queued);
        self.inner.tasks.spawn(&format!("saga {kind}"), runner::run(inner, live, resumed));
        outcome
    }

    /// Stops taking sagas and drops the running ones where they are, as a crash would; they are taken up at the
    /// next start.
    pub async fn shut_down(&self, patience: Duration) -> Result<(), xenith_common_tasks::Stragglers> {
        self.inner.tasks.shut_down(patience).await
    }
}

/// Whether a runner begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resumed {
    No,
    Yes,
}

enum TakenUp {
    Running,
    ParkedNow,
    Waiting,
    NotOurs,
}

fn step_names(plan: &dyn Plan) -> Vec<String> {
    plan.steps().iter().map(|step| step.name.clone()).collect()
}

/// The parked form of a phase, so that a retry goes on at the same place.
fn parked_as_is(phase: &Phase, reason: String) -> Phase {
    let parked = match phase {
        Phase::Running { step } => Parked { reason, step: *step, unwinding: None },
        Phase::Unwinding { step, reason: why } => {
            Parked { reason, step: *step, unwinding: Some(why.clone()) }
        }
        Phase::Parked { parked } => parked.clone(),
        Phase::Ended { .. } => return phase.clone(),
    };
    Phase::Parked { parked }
}

async fn next_epoch(store: &Arc<dyn StateStore>) -> Result<Epoch, SagaError> {
    let engine: Collection<(), EngineRecord> = Collection::new(Arc::clone(store), ENGINE);
    loop {
        let found = engine.get(&()).await?;
        let epoch = Epoch(found.as_ref().map_or(0, |record| record.value.epoch.0) + 1);
        let expect = found.map_or(Expect::Absent, |record| Expect::At(record.revision));
        let require = engine.require_in(Transaction::new(), &(), expect);
        match store.commit(engine.put_in(require, &(), &EngineRecord { epoch })).await {
            Ok(_) => return Ok(epoch),
            // Two engines opened at once: the later one gets the later epoch.
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
}
