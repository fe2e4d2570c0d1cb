//! Hosts that end when they are told to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use xenith_common_tasks::TaskSet;
use xenith_orchestrator_saga::{EngineConfig, Meta, SagaEngine, SagaRegistry};
use xenith_orchestrator_store::{MemoryStore, StateStore, Transaction};

use super::super::told::{Told, lock};
use super::*;
use crate::db::{self, Db};
use crate::model::PoolUpdateRecord;

#[derive(Default)]
struct Updates {
    told: Told,
    back: Mutex<Vec<String>>,
    /// Does not begin while another is under way.
    no_room: Option<&'static str>,
    /// How often it was asked whether a host has begun.
    looks: AtomicU32,
}

impl Updates {
    /// The saga has looked some times more.
    async fn looked(&self) {
        let before = self.looks.load(Ordering::Relaxed);
        let waiting = async {
            while self.looks.load(Ordering::Relaxed) < before + 4 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "it does not look");
    }
}

#[async_trait]
impl HostUpdates for Updates {
    async fn has_begun(&self, saga: SagaId) -> Result<bool, StepError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        Ok(self.told.has_begun(saga))
    }

    async fn begin_host(&self, saga: SagaId, place: usize, params: &Params) -> Result<Begun, StepError> {
        let name = &params.hosts[place].name;
        if self.has_begun(saga).await? {
            return Ok(Begun::Going);
        }
        if self.no_room == Some(name.as_str()) && self.told.is_going() {
            return Ok(Begun::NotYet("no room".into()));
        }
        assert!(self.told.begin(name, saga).is_none(), "{name} begins twice");
        Ok(Begun::Going)
    }

    fn progress_of(&self, saga: SagaId) -> Option<String> {
        self.told.name_of(saga).map(|name| format!("{name} starts anew"))
    }

    async fn wait_for_host(&self, saga: SagaId) -> Result<Option<Outcome>, StepError> {
        Ok(Some(self.told.ended(saga).await))
    }

    async fn bring_back(&self, _: SagaId, place: usize, params: &Params) -> Result<Vec<String>, StepError> {
        lock(&self.back).push(params.hosts[place].name.clone());
        Ok(Vec::new())
    }
}

struct World {
    db: Db,
    pool: PoolId,
    updates: Arc<Updates>,
}

impl World {
    fn new(no_room: Option<&'static str>) -> Self {
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(&db::schema()));
        let updates = Arc::new(Updates { no_room, ..Updates::default() });
        Self { db: Db::over(store), pool: PoolId::new(), updates }
    }

    /// As a start of the orchestrator does.
    async fn engine(&self, tasks: &TaskSet) -> SagaEngine {
        let deps = Arc::new(Deps::new(self.db.clone()));
        let updates: Weak<dyn HostUpdates> =
            Arc::downgrade(&(Arc::clone(&self.updates) as Arc<dyn HostUpdates>));
        deps.set_host_updates(updates);
        let mut registry = SagaRegistry::new();
        registry.register(PoolUpdate(deps));
        let store = Arc::clone(&self.db.store);
        SagaEngine::open(store, registry, EngineConfig::default(), tasks).await.unwrap()
    }

    /// Three hosts.
    async fn start(&self, engine: &SagaEngine, at_once: u32) -> SagaId {
        let target = |name: &str| Target { host: HostId::new(), name: name.into() };
        let params = Params {
            pool: self.pool,
            pool_name: "default".into(),
            hosts: ["a", "b", "c"].map(target).into(),
            what: HostUpdate::Reboot,
            at_once,
            afterwards: Afterwards::ComeBack,
            local_disks: LocalDisks::Stay,
            behalf: Behalf { who: "anna".into(), user: None },
        };
        let saga = SagaId::new();
        let update = Some(PoolUpdateRecord { held_by: saga, paused: false });
        let held = BalanceRecord { update, ..BalanceRecord::default() };
        let hold = self.db.balances.insert_in(Transaction::new(), &self.pool, &held);
        engine.start_with::<PoolUpdate>(saga, &params, Meta::default(), hold).await.unwrap();
        saga
    }

    async fn pause(&self, paused: bool) {
        let pause = |record: &mut BalanceRecord| {
            record.update = record.update.take().map(|update| PoolUpdateRecord { paused, ..update });
        };
        self.db.balances.modify(&self.pool, pause).await.unwrap();
    }

    async fn is_free(&self) -> bool {
        self.db.balances.get(&self.pool).await.unwrap().unwrap().value.update.is_none()
    }
}

#[test]
fn a_vm_is_brought_back_under_one_id() {
    let (host, vm) = (SagaId::new(), VmId::new());
    assert_eq!(back_id(host, vm), back_id(host, vm));
    assert_ne!(back_id(host, vm), back_id(SagaId::new(), vm));
    assert_ne!(back_id(host, vm), back_id(host, VmId::new()));
}

#[tokio::test]
async fn one_after_the_other_until_one_fails() {
    let (world, tasks) = (World::new(None), TaskSet::new());
    let engine = world.engine(&tasks).await;
    let saga = world.start(&engine, 1).await;
    world.updates.told.until(&["a"]).await;
    world.updates.told.end("a", Outcome::Done);
    world.updates.told.until(&["a", "b"]).await;
    assert_eq!(*lock(&world.updates.back), ["a"], "its VMs are back before the next one begins");
    world.updates.told.end("b", Outcome::RolledBack { reason: "it did not come back".into() });
    let outcome = engine.wait(saga).await.unwrap();
    let Some(Outcome::RolledBack { reason }) = outcome else { panic!("{outcome:?}") };
    for said in ["stopped at b: it did not come back", "updated: a;", "not begun: c)"] {
        assert!(reason.contains(said), "{reason}");
    }
    assert_eq!(world.updates.told.begun(), ["a", "b"]);
    assert!(world.is_free().await);
    tasks.shut_down(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn paused_it_begins_no_host_and_a_crash_begins_none_twice() {
    let (world, tasks) = (World::new(None), TaskSet::new());
    let engine = world.engine(&tasks).await;
    let saga = world.start(&engine, 1).await;
    world.updates.told.until(&["a"]).await;
    world.pause(true).await;
    tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    drop(engine);

    let tasks = TaskSet::new();
    let engine = world.engine(&tasks).await;
    engine.recover().await.unwrap();
    world.updates.told.end("a", Outcome::Done);
    world.updates.looked().await;
    assert_eq!(world.updates.told.begun(), ["a"]);
    world.pause(false).await;
    world.updates.told.until(&["a", "b"]).await;
    world.updates.told.end("b", Outcome::Done);
    world.updates.told.until(&["a", "b", "c"]).await;
    world.updates.told.end("c", Outcome::Done);
    assert_eq!(engine.wait(saga).await.unwrap(), Some(Outcome::Done));
    assert!(world.is_free().await);
    tasks.shut_down(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn so_many_at_once_and_one_without_room_waits_for_another() {
    let (world, tasks) = (World::new(Some("b")), TaskSet::new());
    let engine = world.engine(&tasks).await;
    let saga = world.start(&engine, 2).await;
    world.updates.told.until(&["a"]).await;
    world.updates.looked().await;
    assert_eq!(world.updates.told.begun(), ["a"], "there is no room for the VMs of b");
    world.updates.told.end("a", Outcome::Done);
    world.updates.told.until(&["a", "b", "c"]).await;
    for name in ["c", "b"] {
        world.updates.told.end(name, Outcome::Done);
    }
    assert_eq!(engine.wait(saga).await.unwrap(), Some(Outcome::Done));
    tasks.shut_down(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn what_does_not_pass_ends_it_and_who_cancels_begins_nothing_more() {
    let hosts = vec![Target { host: HostId::new(), name: "a".into() }];
    let params = Params {
        pool: PoolId::new(),
        pool_name: "default".into(),
        hosts,
        what: HostUpdate::Reboot,
        at_once: 1,
        afterwards: Afterwards::Stay,
        local_disks: LocalDisks::Stay,
        behalf: Behalf { who: "anna".into(), user: None },
    };
    let (began, mut way) = (Instant::now(), Way::new(&params));
    way.not_yet("no room".into(), began);
    way.not_yet("no room".into(), began + READY_WITHIN);
    assert!(!way.is_over());
    way.not_yet("no room".into(), began + READY_WITHIN + LOOK_EVERY);
    assert!(way.is_over() && way.stopped.as_deref() == Some("a: no room"));

    let mut way = Way::new(&params);
    way.began();
    assert_eq!(way.words(|_| None), "0 of 1 host updated; under way: a");
    assert_eq!(
        way.words(|_| Some("web-1 is paused".into())),
        "0 of 1 host updated; under way: a (web-1 is paused)"
    );

    let (world, tasks) = (World::new(None), TaskSet::new());
    let engine = world.engine(&tasks).await;
    let saga = world.start(&engine, 1).await;
    world.updates.told.until(&["a"]).await;
    engine.cancel(saga, "anna").await.unwrap();
    let outcome = engine.wait(saga).await.unwrap();
    assert_eq!(outcome, Some(Outcome::RolledBack { reason: "cancelled by anna".into() }));
    assert_eq!(world.updates.told.begun(), ["a"]);
    assert!(world.is_free().await);
    tasks.shut_down(Duration::from_secs(10)).await.unwrap();
}
