//! Series of so many VMs: what an hour of samples costs, what a year takes on disk, and how soon a query is answered.
//!
//! `cargo bench -p xenith-orchestrator-metrics --bench year [-- VMS DAYS FOLDER]`, seeded. The
//! hour goes through the whole path: 720 samples of each VM, a flush every minute. The year before it is written in
//! the records that a year leaves behind, which is the only short cut.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use xenith_common_ids::VmId;
use xenith_orchestrator_metrics::{Entity, Metrics, Query, Reading, SLOT, schema};
use xenith_orchestrator_store::RocksStore;
use xenith_orchestrator_types::metrics::{Measured, Metric};

const SEED: u64 = 20_260_901;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// The first second of the hour that is sampled: noon of a day.
const NOON: u64 = 20_500 * DAY + 12 * HOUR;

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

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    format!("median {:.2} ms, p99 {:.2} ms, slowest {:.2} ms", at(0.5), at(0.99), at(1.0))
}

async fn backfill(metrics: &Metrics, vms: &[Entity], days: u64, rng: &mut Rng) {
    let of = Metric::ALL.iter().copied().filter(|metric| metric.of().contains(&Measured::Vm));
    let of: Vec<Metric> = of.collect();
    let began = Instant::now();
    let (today, mut bytes) = (NOON / DAY, 0);
    for entity in vms {
        let mut records = Vec::new();
        for day in today - days..today - 1 {
            let hours = |metric: &Metric| {
                let values = (0..24).map(|hour| value(*metric, day * DAY + hour * HOUR, rng)).collect();
                (*metric, values)
            };
            records.push((u32::try_from(day).unwrap(), of.iter().map(hours).collect()));
        }
        bytes += metrics.write_days(*entity, &records).await.unwrap();
        let mut records = Vec::new();
        for hour in (today - 1) * 24..today * 24 + 12 {
            let minutes = |metric: &Metric| {
                let values = (0..60).map(|minute| value(*metric, hour * HOUR + minute * 60, rng)).collect();
                (*metric, values)
            };
            records.push((u32::try_from(hour).unwrap(), of.iter().map(minutes).collect()));
        }
        bytes += metrics.write_hours(*entity, &records).await.unwrap();
    }
    println!(
        "{days} days of {} VMs written in {:.0?}: {} bytes a VM in records",
        vms.len(),
        began.elapsed(),
        bytes / vms.len()
    );
}

async fn hour(metrics: &Metrics, vms: &[Entity], rng: &mut Rng) {
    let of = Metric::ALL.iter().copied().filter(|metric| metric.of().contains(&Measured::Vm));
    let of: Vec<Metric> = of.collect();
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

async fn queries(metrics: &Metrics, vms: &[Entity], rng: &mut Rng) {
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
        println!("query, {name}: {}", percentiles(times));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |n: usize, default: u64| arguments.get(n).map_or(default, |text| text.parse().unwrap());
    let (vms, days) = (number(0, 10_000), number(1, 365));
    let temporary = tempfile::tempdir().unwrap();
    let folder = arguments.get(2).map_or_else(|| temporary.path().join("store"), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut rng = Rng::with_seed(SEED);
        let vms: Vec<Entity> = (0..vms).map(|_| VmId::new().into()).collect();
        let open = || Arc::new(RocksStore::open(&folder, schema()).unwrap());
        let metrics = Metrics::open(open(), NOON).await.unwrap();
        backfill(&metrics, &vms, days, &mut rng).await;
        hour(&metrics, &vms, &mut rng).await;
        queries(&metrics, &vms, &mut rng).await;
        let began = Instant::now();
        metrics.flush(NOON + 2 * HOUR + 700).await.unwrap();
        println!("the hour closed in {:.1?}", began.elapsed());
        println!("on disk {} MiB, {} bytes a VM", size(&folder) >> 20, size(&folder) / vms.len() as u64);
        drop(metrics);
        let began = Instant::now();
        let _metrics = Metrics::open(open(), NOON + 2 * HOUR + 700).await.unwrap();
        println!("opened again in {:.1?}", began.elapsed());
    });
}
