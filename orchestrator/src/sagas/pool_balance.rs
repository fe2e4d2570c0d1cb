//! Make the moves of a plan: so many at a time, of these so many to or from one host.
//!
//! ```text
//! hold -> move -> release
//! ```
//!
//! Each move is a saga of its own ([`super::vm_migrate`]) under an id that follows from this one's: what had begun when the
//! orchestrator died is found again, and nothing begins twice. A move that is refused, or fails, is told at the end and
//! keeps no other from being made: a plan is such that any of its moves can be left out ([`crate::balance`]). Cancelled,
//! nothing more begins; what is on its way goes on, and what has moved stays where it is.
//!
//! Who checks and begins a move is the application, as if somebody had asked for it: [`Mover`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, PoolId, SagaId, UserId, VmId};
use xenith_common_text::counted;
use xenith_orchestrator_saga::{Outcome, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::event::Severity;

use super::{Deps, nothing};
use crate::events::Happened;
use crate::model::{BalanceRecord, MovedRecord};

#[derive(Clone)]
pub struct PoolBalance(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub pool: PoolId,
    pub pool_name: String,
    pub moves: Vec<Order>,
    pub at_once: u32,
    pub per_host: u32,
    /// Who began it; the moves are theirs.
    pub who: String,
    pub user: Option<UserId>,
}

/// One move.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    pub vm: VmId,
    pub name: String,
    pub from: HostId,
    pub to: HostId,
    pub to_name: String,
}

/// What became of the wish to begin a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    Moving,
    /// It cannot be made (any more), and why.
    Refused(String),
}

/// Begins moves, and waits for them.
#[async_trait]
pub trait Mover: Send + Sync {
    /// Under this id; one that has begun already is not begun again.
    async fn begin_move(&self, saga: SagaId, order: &Order, plan: &Params) -> Result<Begun, StepError>;

    /// How it ended. `None`: the orchestrator stops.
    async fn wait_for_move(&self, saga: SagaId) -> Result<Option<Outcome>, StepError>;
}

/// What was done.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub moved: usize,
    /// Of each VM that stays: its name, and why.
    pub failed: Vec<(String, String)>,
}

/// A thousand large guests, two at a time.
const PATIENCE: Duration = Duration::from_secs(7 * 86_400);
/// Names of VMs in one message.
const NAMED: usize = 3;
/// Moves that a pool's record remembers, the newest: twice what an hour can have, and a quarter of what a record can hold.
const REMEMBERED: usize = 2000;

impl Saga for PoolBalance {
    const KIND: &'static str = "pool_balance";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("hold", nothing).undo(release),
            Step::new("move", make_moves).deadline(PATIENCE),
            Step::new("release", release).cannot_be_undone("the pool is free for the next plan"),
        ]
    }
}

async fn release(saga: &PoolBalance, ctx: &StepCtx<PoolBalance>) -> Result<(), StepError> {
    let ours = ctx.saga();
    let release = |record: &mut BalanceRecord| record.held_by = record.held_by.filter(|by| *by != ours);
    saga.0.db.balances.modify(&ctx.params().pool, release).await?;
    Ok(())
}

/// What is on its way.
struct UnderWay<'a> {
    params: &'a Params,
    waiting: VecDeque<usize>,
    /// Moves to or from a host.
    busy: HashMap<HostId, u32>,
    names: Vec<usize>,
}

impl<'a> UnderWay<'a> {
    fn new(params: &'a Params) -> Self {
        let waiting = (0..params.moves.len()).collect();
        Self { params, waiting, busy: HashMap::new(), names: Vec::new() }
    }

    /// The first that keeps within the limits.
    fn next(&mut self) -> Option<usize> {
        if self.names.len() >= limit(self.params.at_once) {
            return None;
        }
        let free = |host: HostId| {
            self.busy.get(&host).is_none_or(|busy| *busy < std::cmp::max(self.params.per_host, 1))
        };
        let fits = |index: &usize| {
            let order = &self.params.moves[*index];
            free(order.from) && free(order.to)
        };
        let place = self.waiting.iter().position(fits)?;
        self.waiting.remove(place)
    }

    fn begin(&mut self, index: usize) {
        let order = &self.params.moves[index];
        for host in [order.from, order.to] {
            *self.busy.entry(host).or_default() += 1;
        }
        self.names.push(index);
    }

    fn end(&mut self, index: usize) {
        let order = &self.params.moves[index];
        for host in [order.from, order.to] {
            if let Some(busy) = self.busy.get_mut(&host) {
                *busy = busy.saturating_sub(1);
            }
        }
        self.names.retain(|other| *other != index);
    }

    /// "3 of 12 VMs moved; on their way: web-1 to xen2 and 2 more".
    fn words(&self, report: &Report) -> String {
        let mut text = format!("{} of {} moved", report.moved, counted(self.params.moves.len(), "VM"));
        if !report.failed.is_empty() {
            text.push_str(&format!(", {} stay", report.failed.len()));
        }
        let named = self.names.iter().take(NAMED).map(|index| &self.params.moves[*index]);
        let named: Vec<String> = named.map(|order| format!("{} to {}", order.name, order.to_name)).collect();
        if !named.is_empty() {
            text.push_str(&format!("; on their way: {}{}", named.join(", "), more(self.names.len())));
        }
        text
    }
}

fn limit(most: u32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX).max(1)
}

fn more(count: usize) -> String {
    if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() }
}

async fn make_moves(saga: &PoolBalance, ctx: &StepCtx<PoolBalance>) -> Result<Report, StepError> {
    let (deps, params) = (&saga.0, ctx.params());
    let mover = deps.mover()?;
    let mut report = Report::default();
    let mut way = UnderWay::new(params);
    let mut moving = FuturesUnordered::new();
    loop {
        while let Some(index) = way.next() {
            if ctx.cancelled().is_cancelled() {
                return Err(StepError::Cancelled);
            }
            let order = &params.moves[index];
            let move_id = SagaId::from_uuid(ctx.derived_uuid(&order.vm.to_string()));
            match mover.begin_move(move_id, order, params).await? {
                Begun::Moving => {
                    deps.remember_move(params.pool, order.vm, move_id).await?;
                    way.begin(index);
                    moving.push(ended(Arc::clone(&mover), index, move_id));
                }
                Begun::Refused(why) => report.failed.push((order.name.clone(), why)),
            }
        }
        let over = report.moved + report.failed.len();
        let percent = over * 100 / std::cmp::max(params.moves.len(), 1);
        ctx.progress(u8::try_from(percent).unwrap_or(100), way.words(&report));
        if moving.is_empty() {
            break;
        }
        tokio::select! {
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
            Some((index, outcome)) = moving.next() => {
                way.end(index);
                let name = params.moves[index].name.clone();
                match outcome? {
                    Some(Outcome::Done) => report.moved += 1,
                    Some(
                        Outcome::RolledBack { reason }
                        | Outcome::Parked { reason }
                        | Outcome::Abandoned { reason },
                    ) => report.failed.push((name, reason)),
                    None => return Err(StepError::retryable("the orchestrator is stopping")),
                }
            }
        }
    }
    deps.tell_balanced(params, &report).await;
    match report.failed.first() {
        Some((name, why)) if report.moved == 0 => {
            Err(StepError::permanent(format!("no VM was moved; {name} stays: {why}")))
        }
        _ => Ok(report),
    }
}

async fn ended(
    mover: Arc<dyn Mover>,
    index: usize,
    saga: SagaId,
) -> (usize, Result<Option<Outcome>, StepError>) {
    (index, mover.wait_for_move(saga).await)
}

impl Deps {
    fn mover(&self) -> Result<Arc<dyn Mover>, StepError> {
        let mover = self.mover.get().and_then(std::sync::Weak::upgrade);
        mover.ok_or_else(|| StepError::retryable("the orchestrator is starting"))
    }

    /// For the limits of later plans. Said again after a crash, it is in the list already.
    async fn remember_move(&self, pool: PoolId, vm: VmId, saga: SagaId) -> Result<(), StepError> {
        let at = OffsetDateTime::now_utc();
        let remember = |record: &mut BalanceRecord| {
            let limits = time::Duration::minutes(i64::from(record.policy.cool_down_minutes.max(60)));
            record.moved.retain(|moved| at - moved.at < limits);
            if record.moved.iter().all(|moved| moved.saga != saga) {
                record.moved.push(MovedRecord { vm, saga, at });
            }
            let too_many = record.moved.len().saturating_sub(REMEMBERED);
            record.moved.drain(..too_many);
        };
        self.db.balances.modify(&pool, remember).await?;
        Ok(())
    }

    async fn tell_balanced(&self, params: &Params, report: &Report) {
        let Report { moved, failed } = report;
        let mut message = format!(
            "{moved} of {} moved in the pool {}",
            counted(params.moves.len(), "VM"),
            params.pool_name
        );
        let stay = failed.iter().take(NAMED).map(|(name, why)| format!("{name} stays: {why}"));
        let stay: Vec<String> = stay.collect();
        if !stay.is_empty() {
            message.push_str(&format!("; {}{}", stay.join("; "), more(failed.len())));
        }
        let severity = if failed.is_empty() { Severity::Info } else { Severity::Warning };
        let (subject, pool) = (format!("pool/{}", params.pool), Some(params.pool));
        self.tell(Happened { severity, kind: "pool.balanced", subject, message, pool }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use xenith_common_tasks::TaskSet;
    use xenith_orchestrator_saga::{EngineConfig, Meta, SagaEngine, SagaRegistry};
    use xenith_orchestrator_store::{MemoryStore, StateStore, Transaction};

    use super::super::told::Told;
    use super::*;
    use crate::db::{self, Db};

    /// Moves that end when they are told to.
    #[derive(Default)]
    struct Moves {
        told: Told,
        refused: Vec<&'static str>,
    }

    #[async_trait]
    impl Mover for Moves {
        async fn begin_move(&self, saga: SagaId, order: &Order, _: &Params) -> Result<Begun, StepError> {
            if self.refused.contains(&order.name.as_str()) {
                return Ok(Begun::Refused("is paused".into()));
            }
            let before = self.told.begin(&order.name, saga);
            assert!(before.is_none_or(|before| before == saga), "{} begins twice", order.name);
            Ok(Begun::Moving)
        }

        async fn wait_for_move(&self, saga: SagaId) -> Result<Option<Outcome>, StepError> {
            Ok(Some(self.told.ended(saga).await))
        }
    }

    struct World {
        db: Db,
        pool: PoolId,
        mover: Arc<Moves>,
    }

    impl World {
        fn new(refused: Vec<&'static str>) -> Self {
            let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(&db::schema()));
            let mover = Arc::new(Moves { refused, ..Moves::default() });
            Self { db: Db::over(store), pool: PoolId::new(), mover }
        }

        /// As a start of the orchestrator does.
        async fn engine(&self, tasks: &TaskSet) -> SagaEngine {
            let deps = Arc::new(Deps::new(self.db.clone()));
            let mover: Weak<dyn Mover> = Arc::downgrade(&(Arc::clone(&self.mover) as Arc<dyn Mover>));
            deps.set_mover(mover);
            let mut registry = SagaRegistry::new();
            registry.register(PoolBalance(deps));
            let store = Arc::clone(&self.db.store);
            SagaEngine::open(store, registry, EngineConfig::default(), tasks).await.unwrap()
        }

        /// Four VMs go from one host to another, and one between two others; two at once, one for each host.
        async fn start(&self, engine: &SagaEngine) -> SagaId {
            let (from, to) = (HostId::new(), HostId::new());
            let order = |name: &str, from: HostId, to: HostId| Order {
                vm: VmId::new(),
                name: name.into(),
                from,
                to,
                to_name: "xen2".into(),
            };
            let mut moves: Vec<Order> = ["a", "b", "c"].map(|name| order(name, from, to)).into();
            moves.push(order("z", HostId::new(), HostId::new()));
            let params = Params {
                pool: self.pool,
                pool_name: "default".into(),
                moves,
                at_once: 2,
                per_host: 1,
                who: "anna".into(),
                user: None,
            };
            let saga = SagaId::new();
            let held = BalanceRecord { held_by: Some(saga), ..BalanceRecord::default() };
            let hold = self.db.balances.insert_in(Transaction::new(), &self.pool, &held);
            engine.start_with::<PoolBalance>(saga, &params, Meta::default(), hold).await.unwrap();
            saga
        }

        async fn record(&self) -> BalanceRecord {
            self.db.balances.get(&self.pool).await.unwrap().unwrap().value
        }
    }

    fn rolled_back() -> Outcome {
        Outcome::RolledBack { reason: "no room".into() }
    }

    #[tokio::test]
    async fn moves_keep_within_the_limits_and_one_that_fails_keeps_no_other() {
        let (world, tasks) = (World::new(vec!["b"]), TaskSet::new());
        let engine = world.engine(&tasks).await;
        let saga = world.start(&engine).await;
        // Of those between the same hosts one at a time; the other one goes beside it.
        world.mover.told.until(&["a", "z"]).await;
        assert_eq!(world.record().await.held_by, Some(saga));
        world.mover.told.end("a", rolled_back());
        world.mover.told.until(&["a", "c", "z"]).await;
        for name in ["c", "z"] {
            world.mover.told.end(name, Outcome::Done);
        }
        assert_eq!(engine.wait(saga).await.unwrap(), Some(Outcome::Done));
        let report: Report =
            serde_json::from_value(engine.get(saga).await.unwrap().outputs["move"].clone()).unwrap();
        let failed: Vec<(&str, &str)> = report.failed.iter().map(|(name, why)| (&**name, &**why)).collect();
        assert_eq!((report.moved, failed), (2, vec![("a", "no room"), ("b", "is paused")]));
        let record = world.record().await;
        assert_eq!((record.held_by, record.moved.len()), (None, 3), "what was refused moved nothing");
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn what_had_begun_before_a_crash_is_waited_for_and_not_begun_again() {
        let (world, tasks) = (World::new(vec![]), TaskSet::new());
        let engine = world.engine(&tasks).await;
        let saga = world.start(&engine).await;
        world.mover.told.until(&["a", "z"]).await;
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
        drop(engine);

        world.mover.told.end("a", Outcome::Done);
        let tasks = TaskSet::new();
        let engine = world.engine(&tasks).await;
        engine.recover().await.unwrap();
        // The mover would refuse another id for the same VM.
        world.mover.told.until(&["a", "b", "z"]).await;
        for name in ["b", "z"] {
            world.mover.told.end(name, Outcome::Done);
        }
        world.mover.told.until(&["a", "b", "c", "z"]).await;
        world.mover.told.end("c", Outcome::Done);
        assert_eq!(engine.wait(saga).await.unwrap(), Some(Outcome::Done));
        let record = world.record().await;
        assert_eq!((record.held_by, record.moved.len()), (None, 4), "each is remembered once");
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn a_cancelled_one_begins_nothing_more_and_lets_the_pool_go() {
        let (world, tasks) = (World::new(vec![]), TaskSet::new());
        let engine = world.engine(&tasks).await;
        let saga = world.start(&engine).await;
        world.mover.told.until(&["a", "z"]).await;
        engine.cancel(saga, "anna").await.unwrap();
        let outcome = engine.wait(saga).await.unwrap();
        assert_eq!(outcome, Some(Outcome::RolledBack { reason: "cancelled by anna".into() }));
        assert_eq!(world.mover.told.begun(), ["a", "z"]);
        assert_eq!(world.record().await.held_by, None);
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn where_no_vm_could_be_moved_the_task_says_why() {
        let (world, tasks) = (World::new(vec!["a", "b", "c", "z"]), TaskSet::new());
        let engine = world.engine(&tasks).await;
        let saga = world.start(&engine).await;
        let outcome = engine.wait(saga).await.unwrap();
        let reason = "move: no VM was moved; a stays: is paused".into();
        assert_eq!(outcome, Some(Outcome::RolledBack { reason }));
        assert_eq!(world.record().await.held_by, None);
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }
}
