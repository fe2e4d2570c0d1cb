//! Sagas of five steps per second, each boundary durable on disk; and how long taking up many after a crash takes.
//!
//! `cargo bench -p xenith-orchestrator-saga --bench saga [-- FOLDER]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_saga::{
    EngineConfig, KEYSPACES, Meta, Outcome, Saga, SagaEngine, SagaRegistry, Step, StepCtx, StepError,
};
use xenith_orchestrator_store::{RocksStore, Schema};

#[derive(Debug, Serialize, Deserialize)]
struct Params {
    vm: String,
    /// Wait for ever at the third step.
    stuck: bool,
}

struct Five;

impl Saga for Five {
    const KIND: &'static str = "five";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        let step = |name| Step::new(name, Self::step).undo(Self::undo);
        let wait = Step::new("wait", Self::wait).undo(Self::undo).deadline(Duration::from_secs(3600));
        vec![step("place"), step("disks"), wait, step("define"), step("run")]
    }
}

impl Five {
    async fn step(&self, ctx: &StepCtx<Self>) -> Result<String, StepError> {
        Ok(ctx.params().vm.clone())
    }

    async fn wait(&self, ctx: &StepCtx<Self>) -> Result<(), StepError> {
        if ctx.params().stuck && ctx.epoch().0 == 1 {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn undo(&self, _: &StepCtx<Self>) -> Result<(), StepError> {
        Ok(())
    }
}

async fn open(path: &std::path::Path) -> (SagaEngine, TaskSet) {
    let store = Arc::new(RocksStore::open(path, Schema::new(1).with(KEYSPACES)).expect("the store opens"));
    let mut registry = SagaRegistry::new();
    registry.register(Five);
    let tasks = TaskSet::new();
    let config = EngineConfig { max_running: 10_000, ..EngineConfig::default() };
    let engine = SagaEngine::open(store, registry, config, &tasks).await.expect("the engine opens");
    (engine, tasks)
}

async fn start(engine: &SagaEngine, n: u32, stuck: bool) -> xenith_orchestrator_saga::Started {
    let params = Params { vm: format!("vm-{n}"), stuck };
    let meta = Meta { title: format!("Start VM vm-{n}"), who: "bench".to_owned(), ..Meta::default() };
    engine.start::<Five>(&params, meta).await.expect("the saga starts")
}

async fn throughput(engine: &SagaEngine, clients: u32) {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let (mut done, mut worst) = (0_u64, Duration::ZERO);
                while begun.elapsed() < Duration::from_secs(4) {
                    let one = Instant::now();
                    assert_eq!(start(&engine, client, false).await.outcome().await, Some(Outcome::Done));
                    worst = worst.max(one.elapsed());
                    done += 1;
                }
                (done, worst)
            })
        })
        .collect();
    let (mut total, mut slowest) = (0, Duration::ZERO);
    for task in tasks {
        let (done, worst) = task.await.expect("clients do not panic");
        total += done;
        slowest = slowest.max(worst);
    }
    let rate = total as f64 / begun.elapsed().as_secs_f64();
    println!("| five-step sagas, {clients} at a time | {rate:.0}/s | slowest {slowest:.0?} |");
}

async fn measure(folder: &std::path::Path) {
    println!("| what | rate | |\n|---|---|---|");
    let (engine, tasks) = open(folder).await;
    for clients in [1, 64, 512] {
        throughput(&engine, clients).await;
    }
    let stuck: Vec<_> = (0..5000)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move { start(&engine, n, true).await })
        })
        .collect();
    for saga in stuck {
        saga.await.expect("no panic");
    }
    tasks.shut_down(Duration::from_secs(60)).await.expect("all are dropped");
    drop(engine);
    let begun = Instant::now();
    let (engine, tasks) = open(folder).await;
    let opened = begun.elapsed();
    let recovered = engine.recover().await.expect("the log can be read");
    println!(
        "| take up {} sagas after a crash | opened in {opened:.0?} | all running after {:.0?} |",
        recovered.resumed,
        begun.elapsed()
    );
    while engine.running() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("| and finish them | | {:.1?} |", begun.elapsed());
    tasks.shut_down(Duration::from_secs(10)).await.expect("nothing runs");
}

fn main() {
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let folder = given.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let folder = folder.join(format!("xenith-saga-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder is writable");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(measure(&folder));
    std::fs::remove_dir_all(&folder).expect("our own folder can be removed");
}
