//! Series of so many VMs: what an hour of samples costs, what a year takes on disk, and how soon a query is answered.
//!
//! `cargo bench -p xenith-orchestrator-metrics --bench year [-- VMS DAYS FOLDER]`, seeded. The
//! hour goes through the whole path: 720 samples of each VM, a flush every minute. The time before it is written in
//! the records that a year leaves behind, which is the only short cut; some VMs share theirs, each with its own copy. It
//! begins a month before the year, so that what bounds the store has something to delete, and what is left is counted.
//!
//! Ends with a failure where a query or the space misses what must be kept.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where by panicking")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;
use xenith_common_ids::VmId;
use xenith_orchestrator_metrics::{Entity, Metrics, Query, Reading, SLOT, schema};
use xenith_orchestrator_store::{Keyspace, RocksStore, ScanRequest, StateStore};
use xenith_orchestrator_types::metrics::{Measured, Metric};

const SEED: u64 = 20_260_901;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// The first second of the hour that is sampled: noon of a day.
const NOON: u64 = 20_500 * DAY + 12 * HOUR;
/// VMs with the same past, so that most of a run is not spent on inventing it.
const ALIKE: usize = 25;
/// Pasts on their way to the disk.
const WRITERS: usize = 16;
/// Days before the year, which have to go.
const TOO_OLD: u64 = 30;
/// Milliseconds.
const QUERY: f64 = 50.0;
/// Of a VM: the days of a year and the one under way at either end, the hours of two days and those under way.
const DAYS_KEPT: f64 = 368.0;
const HOURS_KEPT: f64 = 52.0;
/// Bytes of a VM on disk for all of it: more than twice what its records take.
const SPACE: f64 = 800_000.0;

/// Noisy, with a quiet night; memory stands still.
fn value(metric: Metric, at: u64, rng: &mut Rng) -> f64 {
    match metric {
        Metric::Memory => 4_294_967_296.0,
        Metric::DiskQueueFull | Metric::NetDropped => 0.0,
        _ => {
            let day = (at % DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
            let busy = 1000.0 * (2.0 - day.cos()) * f64::from(metric.number());
            busy * (0.8 + 0.4 * rng.f64())
        }
    }
}

fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().metadata().map_or(0, |file| file.len())).sum()
}

/// What must be kept, and what missed it.
#[derive(Default)]
struct Missed(Vec<String>);

impl Missed {
    fn at_most(&mut self, what: &str, figure: f64, must: f64) {
        println!("{what}: {figure:.1} (must {must})");
        if figure > must {
            self.0.push(format!("{what}: {figure:.1}, must be at most {must}"));
        }
    }
}

/// Milliseconds: median, p99, slowest.
fn percentiles(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort_unstable();
    [0.5, 0.99, 1.0].map(|share| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0)
}

/// Metrics of a VM.
fn of_vms() -> Vec<Metric> {
    Metric::ALL.iter().copied().filter(|metric| metric.of().contains(&Measured::Vm)).collect()
}

/// A past of so many days, from which VMs copy.
async fn copy(metrics: Arc<Metrics>, vms: Vec<Entity>, days: u64, seed: u64) -> usize {
    let (of, mut rng, today) = (of_vms(), Rng::with_seed(seed), NOON / DAY);
    let mut past = |periods: std::ops::Range<u64>, length: u64, points: u64| {
        let mut all = Vec::new();
        for period in periods {
            let column = |metric: &Metric| {
                let at = |point: u64| period * length + point * length / points;
                let values: Vec<f64> = (0..points).map(|point| value(*metric, at(point), &mut rng)).collect();
                (*metric, values)
            };
            let columns: Vec<(Metric, Vec<f64>)> = of.iter().map(column).collect();
            all.push((u32::try_from(period).unwrap(), columns));
        }
        all
    };
    let days = past(today - days..today - 1, DAY, 24);
    let hours = past((today - 1) * 24..today * 24 + 12, HOUR, 60);
    let bytes = metrics.write_days(&vms, &days).await.unwrap();
    bytes + metrics.write_hours(&vms, &hours).await.unwrap()
}

async fn backfill(metrics: &Arc<Metrics>, vms: &[Entity], days: u64) {
    let began = Instant::now();
    let (mut writers, mut bytes, mut of) = (JoinSet::new(), 0, 0);
    for (seed, together) in (SEED..).zip(vms.chunks(ALIKE)) {
        if writers.len() >= WRITERS {
            bytes += writers.join_next().await.unwrap().unwrap();
        }
        writers.spawn(copy(Arc::clone(metrics), together.to_vec(), days, seed));
        of += 1;
    }
    bytes += writers.join_all().await.into_iter().sum::<usize>();
    let took = began.elapsed();
    println!("{days} days of {} VMs written in {took:.0?}: {} bytes a VM in records", vms.len(), bytes / of);
}

async fn hour(metrics: &Metrics, vms: &[Entity], rng: &mut Rng) {
    let of = of_vms();
    let (mut taking, mut flushing, mut slowest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for at in (NOON..NOON + HOUR).step_by(SLOT as usize) {
        let slot = u32::try_from(at).unwrap() / SLOT;
        let readings: Vec<Reading> = vms
            .iter()
            .map(|entity| {
                let values = of.iter().map(|metric| (*metric, value(*metric, at, rng))).collect();
                Reading { entity: *entity, slot, values }
            })
            .collect();
        let began = Instant::now();
        readings.iter().for_each(|reading| metrics.record(reading));
        taking += began.elapsed();
        if at % 60 == 55 {
            let began = Instant::now();
            metrics.flush(at + 5).await.unwrap();
            flushing += began.elapsed();
            slowest = slowest.max(began.elapsed());
        }
    }
    println!("an hour of samples: taken in {taking:.1?} ({:.2?} of 5 s each)", taking / 720);
    println!("  flushed in {flushing:.1?}, the slowest minute {slowest:.0?}");
    println!("  in memory {} bytes a VM", metrics.bytes_in_memory() / vms.len());
}

async fn queries(metrics: &Metrics, vms: &[Entity], rng: &mut Rng, missed: &mut Missed) {
    let now = NOON + HOUR + 100;
    for (name, stretch, metric) in [
        ("the last hour, all metrics", HOUR, None),
        ("a day, all metrics", DAY, None),
        ("a year, one metric", 365 * DAY, Some(Metric::Cpu)),
        ("a year, all metrics", 365 * DAY, None),
    ] {
        let mut times = Vec::new();
        for _ in 0..500 {
            let entities = vec![vms[rng.usize(..vms.len())]];
            let metrics_wanted = metric.into_iter().collect();
            let query = Query { entities, metrics: metrics_wanted, from: now - stretch, to: now, step: 0 };
            let began = Instant::now();
            let answer = metrics.query(&query, now).await.unwrap();
            times.push(began.elapsed());
            assert!(!answer.series.is_empty());
        }
        let [median, p99, slowest] = percentiles(times);
        println!("query, {name}: median {median:.2} ms, slowest {slowest:.2} ms");
        missed.at_most(&format!("query, {name}, p99 ms"), p99, QUERY);
    }
}

/// Lets time go on until nothing more is too old, and counts what is left.
async fn bounded(metrics: &Metrics, store: &RocksStore, vms: usize, missed: &mut Missed) {
    let began = Instant::now();
    // Each call looks at two VMs for days and two for hours, as in service.
    for _ in 0..vms {
        metrics.expire(NOON + HOUR, |_| true).await.unwrap();
    }
    let took = began.elapsed();
    println!("all records looked at for their age in {took:.1?}, {:.0?} a VM", took / vms as u32);
    for (what, keyspace, kept) in [
        ("days", Keyspace::new("metrics.day"), DAYS_KEPT),
        ("hours", Keyspace::new("metrics.hour"), HOURS_KEPT),
    ] {
        let (mut count, mut after) = (0, None);
        loop {
            let request = ScanRequest { after, ..ScanRequest::prefix(keyspace, [], 1000) };
            let page = store.scan(request).await.unwrap();
            count += page.entries.len();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        missed.at_most(&format!("records of {what} kept of a VM"), count as f64 / vms as f64, kept);
    }
}

async fn run(vms: usize, days: u64, folder: &Path) -> Missed {
    let (mut rng, mut missed) = (Rng::with_seed(SEED), Missed::default());
    let vms: Vec<Entity> = (0..vms).map(|_| VmId::new().into()).collect();
    let open = || Arc::new(RocksStore::open(folder, schema()).unwrap());
    let store = open();
    let metrics = Arc::new(Metrics::open(store.clone(), NOON).await.unwrap());
    backfill(&metrics, &vms, days + TOO_OLD).await;
    hour(&metrics, &vms, &mut rng).await;
    queries(&metrics, &vms, &mut rng, &mut missed).await;
    bounded(&metrics, &store, vms.len(), &mut missed).await;
    let began = Instant::now();
    metrics.flush(NOON + 2 * HOUR + 700).await.unwrap();
    println!("the hour closed in {:.1?}", began.elapsed());
    missed.at_most("bytes on disk a VM", size(folder) as f64 / vms.len() as f64, SPACE);
    drop((metrics, store));
    let began = Instant::now();
    let _metrics = Metrics::open(open(), NOON + 2 * HOUR + 700).await.unwrap();
    println!("opened again in {:.1?}", began.elapsed());
    missed
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |n: usize, default: u64| arguments.get(n).map_or(default, |text| text.parse().unwrap());
    let (vms, days) = (number(0, 10_000), number(1, 365));
    let temporary = tempfile::tempdir().unwrap();
    let folder = arguments.get(2).map_or_else(|| temporary.path().join("store"), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let missed = runtime.block_on(run(usize::try_from(vms).unwrap(), days, &folder));
    for missed in &missed.0 {
        println!("missed: {missed}");
    }
    if missed.0.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
