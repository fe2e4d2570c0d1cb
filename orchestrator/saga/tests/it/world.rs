//! A saga about a garden: plants a list of trees one step each, then waters the lot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_saga::{
    EngineConfig, KEYSPACES, RetryPolicy, Saga, SagaEngine, SagaRegistry, Step, StepCtx, StepError,
};
use xenith_orchestrator_store::{MemoryStore, Schema};

/// What the steps act on; outlives every engine.
#[derive(Debug, Clone, Default)]
pub struct Garden {
    pub trees: Arc<Mutex<BTreeMap<String, u32>>>,
    pub log: Arc<Mutex<Vec<String>>>,
    /// Names of steps (or `undo name`) that fail so: (times, retryable).
    pub trouble: Arc<Mutex<BTreeMap<String, (u32, bool)>>>,
    /// Steps that find that somebody else is at it, and change nothing.
    pub taken: Arc<Mutex<BTreeSet<String>>>,
    /// Steps that wait until they are let go or cancelled.
    pub gates: Arc<Mutex<BTreeSet<String>>>,
}

impl Garden {
    pub fn trouble(&self, step: &str, times: u32, retryable: bool) {
        self.trouble.lock().unwrap().insert(step.to_owned(), (times, retryable));
    }

    pub fn close(&self, step: &str) {
        self.gates.lock().unwrap().insert(step.to_owned());
    }

    pub fn open(&self, step: &str) {
        self.gates.lock().unwrap().remove(step);
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn trees(&self) -> Vec<String> {
        self.trees.lock().unwrap().keys().cloned().collect()
    }

    async fn act(&self, name: &str) -> Result<(), StepError> {
        self.log.lock().unwrap().push(name.to_owned());
        while self.gates.lock().unwrap().contains(name) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.taken.lock().unwrap().contains(name) {
            return Err(StepError::untouched("another's"));
        }
        let mut trouble = self.trouble.lock().unwrap();
        match trouble.get_mut(name) {
            Some((times, retryable)) if *times > 0 => {
                *times -= 1;
                Err(if *retryable { StepError::retryable("rain") } else { StepError::permanent("drought") })
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlantParams {
    pub trees: Vec<String>,
    #[serde(default)]
    pub sign: bool,
    #[serde(default)]
    pub hurry: bool,
}

/// Plants trees.
pub struct Plant {
    pub garden: Garden,
}

pub const QUICK: RetryPolicy =
    RetryPolicy { attempts: 3, first: Duration::from_millis(1), most: Duration::from_millis(2) };

impl Saga for Plant {
    const KIND: &'static str = "plant";
    type Params = PlantParams;

    fn steps(params: &PlantParams) -> Vec<Step<Self>> {
        let survey = Step::new("survey", Self::survey).retry(QUICK);
        let plant = |tree: &String| {
            Step::new("plant", Self::plant).for_item(tree).undo(Self::fell).retry(QUICK).undo_retry(QUICK)
        };
        let (tries, patience) = match params.hurry {
            true => (RetryPolicy { attempts: u32::MAX, ..QUICK }, Duration::from_millis(500)),
            false => (QUICK, Duration::from_secs(100)),
        };
        let water = Step::new("water", Self::water).retry(tries).deadline(patience);
        let sign = Step::new("sign", Self::sign).cannot_be_undone("signed is signed").retry(QUICK);
        let open = Step::new("open", Self::open).retry(QUICK);
        let mut steps = vec![survey];
        steps.extend(params.trees.iter().map(plant));
        steps.push(water);
        if params.sign {
            steps.extend([sign, open]);
        }
        steps
    }
}

impl Plant {
    async fn survey(&self, ctx: &StepCtx<Self>) -> Result<usize, StepError> {
        self.garden.act("survey").await?;
        Ok(ctx.params().trees.len())
    }

    async fn plant(&self, ctx: &StepCtx<Self>) -> Result<u32, StepError> {
        let tree = ctx.item().expect("one of several");
        self.garden.act(&format!("plant {tree}")).await?;
        let count: usize = ctx.output("survey")?;
        ctx.progress(50, format!("one of {count}"));
        self.garden.trees.lock().unwrap().entry(tree.to_owned()).or_insert(0);
        Ok(ctx.attempt())
    }

    async fn fell(&self, ctx: &StepCtx<Self>) -> Result<(), StepError> {
        let tree = ctx.item().expect("one of several");
        self.garden.act(&format!("fell {tree}")).await?;
        self.garden.trees.lock().unwrap().remove(tree);
        Ok(())
    }

    async fn water(&self, ctx: &StepCtx<Self>) -> Result<(), StepError> {
        tokio::select! {
            outcome = self.garden.act("water") => outcome?,
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
        }
        for wet in self.garden.trees.lock().unwrap().values_mut() {
            *wet = 1;
        }
        Ok(())
    }

    async fn sign(&self, _: &StepCtx<Self>) -> Result<(), StepError> {
        self.garden.act("sign").await
    }

    async fn open(&self, _: &StepCtx<Self>) -> Result<(), StepError> {
        self.garden.act("open").await
    }
}

pub fn store() -> MemoryStore {
    MemoryStore::new(&Schema::new(1).with(KEYSPACES))
}

pub struct Bench {
    pub engine: SagaEngine,
    pub tasks: TaskSet,
}

impl Bench {
    pub async fn new(garden: &Garden, store: &MemoryStore) -> Self {
        Self::with(garden, store, EngineConfig::default()).await
    }

    pub async fn with(garden: &Garden, store: &MemoryStore, config: EngineConfig) -> Self {
        let mut registry = SagaRegistry::new();
        registry.register(Plant { garden: garden.clone() });
        let tasks = TaskSet::new();
        let engine = SagaEngine::open(Arc::new(store.clone()), registry, config, &tasks).await.unwrap();
        Self { engine, tasks }
    }

    /// As a crash.
    pub async fn kill(self) {
        self.tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }
}

pub fn trees(names: &[&str]) -> PlantParams {
    PlantParams { trees: names.iter().map(|name| (*name).to_owned()).collect(), sign: false, hurry: false }
}

/// Polls until `condition` holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
