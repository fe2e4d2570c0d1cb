//! The numbers of the inventory, as promised in `benches/SPECIFICATION.md`. Prints one table.
//!
//! `cargo bench -p xenith-orchestrator-inventory --bench inventory [-- 250000]`. Seeded: the same rows and the same
//! requests each time. A plain program, as it measures a whole (memory, contention, fan-out), not a function.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use xenith_common_ids::{HostId, NetworkId, PoolId, VmId};
use xenith_common_units::MemoryMiB;
use xenith_orchestrator_inventory::filter::{Filter, parse};
use xenith_orchestrator_inventory::vm::{Kind, Managed, Named, Power, VmPatch, VmRow, Vms};
use xenith_orchestrator_inventory::{CountRequest, Delta, Inventory, Noun, PageRequest, Scope, WatchEvent};

const SEED: u64 = 20_260_901;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

const ROLES: [&str; 12] =
    ["web", "db", "mail", "cache", "build", "proxy", "queue", "search", "metrics", "vpn", "dns", "desktop"];
const TEAMS: [&str; 8] = ["billing", "identity", "search", "platform", "sales", "mobile", "data", "it"];
const SYSTEMS: [&str; 8] = [
    "Debian 12",
    "Debian 11",
    "Ubuntu 24.04",
    "Rocky Linux 9",
    "Windows Server 2022",
    "Windows 11",
    "FreeBSD 14",
    "Alpine 3.20",
];

fn id(n: u64, salt: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(0x0190_0000_0000_7000 | n << 20).to_be_bytes());
    bytes[8..].copy_from_slice(&Random(n ^ salt).next().to_be_bytes());
    bytes
}

fn vm_id(n: u64) -> VmId {
    VmId::from_bytes(id(n, 1))
}

fn host(n: u64) -> Named<HostId> {
    Named { id: HostId::from_bytes(id(n, 2)), name: format!("xen{n:04}.dc{}.example.net", n % 4) }
}

/// 100 VMs a host, 500 hosts a pool.
fn row(n: u64) -> VmRow {
    let mut random = Random(SEED ^ n.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let (role, team) = (*random.pick(&ROLES), *random.pick(&TEAMS));
    let running = random.below(10) < 7;
    let created = 1_700_000_000 + random.below(60_000_000) as i64;
    let time = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    let host_number = n / 100;
    let mut tags: Vec<String> =
        (0..random.below(4)).map(|_| format!("tag{:03}", random.below(200))).collect();
    tags.extend((random.below(3) == 0).then(|| "prod".to_owned()));
    tags.sort();
    tags.dedup();
    VmRow {
        id: vm_id(n),
        name: format!("{role}-{team}-{n:07}"),
        description: format!("{role} server of team {team}, request {}", random.below(1_000_000)),
        power: if running {
            Power::Running
        } else {
            *random.pick(&[Power::Stopped, Power::Paused, Power::Crashed])
        },
        host: Some(host(host_number)),
        pool: Some(Named {
            id: PoolId::from_bytes(id(host_number / 500, 3)),
            name: format!("pool-{}", host_number / 500),
        }),
        tags,
        memory: MemoryMiB::new(512 << random.below(8)).unwrap_or_default(),
        vcpus: 1 << random.below(5),
        kind: *random.pick(&[Kind::Pv, Kind::Pvh, Kind::Hvm]),
        addresses: vec![
            format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255),
            format!("fd00::{:x}:{:x}", n >> 16, n & 0xffff),
        ],
        os: Some((*random.pick(&SYSTEMS)).to_owned()),
        created: time(created),
        started: if running { time(created + 1000) } else { None },
        managed: Managed::Yes,
        fields: [("owner".to_owned(), format!("user{}", random.below(5000)))].into(),
        cpu: running.then(|| random.below(1000) as u32),
        // 20 networks a pool.
        networks: vec![NetworkId::from_bytes(id(host_number / 500 * 20 + random.below(20), 4))],
    }
}

/// What hosts send: mostly CPU use, sometimes a power state, an address, a start.
fn update(random: &mut Random, count: u64) -> Delta<Vms> {
    let id = vm_id(random.below(count));
    let patch = match random.below(20) {
        0 => VmPatch { power: Some(*random.pick(&[Power::Running, Power::Stopped])), ..VmPatch::default() },
        1 => {
            VmPatch { addresses: Some(vec![format!("10.99.{}.7", random.below(256))]), ..VmPatch::default() }
        }
        2 => VmPatch { host: Some(Some(host(random.below(count.div_ceil(100))))), ..VmPatch::default() },
        _ => VmPatch { cpu: Some(Some(random.below(1000) as u32)), ..VmPatch::default() },
    };
    Delta::Patch(id, patch)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Time on the clock and time on a CPU: the second is what the work costs, the first is what a caller waits, and
/// on a busy machine that is mostly others' work.
#[derive(Clone, Copy)]
struct Stopwatch(Instant, Duration);

fn cpu_time(of: ClockId) -> Duration {
    clock_gettime(of).map(Duration::from).unwrap_or_default()
}

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), cpu_time(ClockId::CLOCK_THREAD_CPUTIME_ID))
    }

    fn stop(self) -> (Duration, Duration) {
        (self.0.elapsed(), cpu_time(ClockId::CLOCK_THREAD_CPUTIME_ID).saturating_sub(self.1))
    }
}

#[derive(Default)]
struct Times(Vec<(Duration, Duration)>);

const COLUMNS: &str = "median | p99 | worst | CPU p99 |\n|---|---|---|---|---|";

impl Times {
    fn line(&self, name: &str) {
        let sorted = |pick: fn(&(Duration, Duration)) -> Duration| {
            let mut times: Vec<Duration> = self.0.iter().map(pick).collect();
            times.sort_unstable();
            times
        };
        let at = |times: &[Duration], fraction: f64| {
            let index = ((times.len() as f64 * fraction) as usize).min(times.len().saturating_sub(1));
            times.get(index).copied().unwrap_or_default()
        };
        let (wall, cpu) = (sorted(|both| both.0), sorted(|both| both.1));
        let (median, p99, worst) = (at(&wall, 0.5), at(&wall, 0.99), at(&wall, 1.0));
        println!("| {name} | {median:.2?} | {p99:.2?} | {worst:.2?} | {:.2?} |", at(&cpu, 0.99));
    }
}

fn time_each(rounds: usize, mut work: impl FnMut(usize)) -> Times {
    let one = |round| {
        let watch = Stopwatch::start();
        work(round);
        watch.stop()
    };
    Times((0..rounds).map(one).collect())
}

fn filter(text: &str) -> Filter {
    parse(Vms::SCHEMA, text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

const FILTERS: [&str; 12] = [
    "",
    "power:running",
    "power:running memory:>8GiB",
    "host:xen0042.dc2.example.net",
    "tag:prod -tag:tag007 (os:debian or os:ubuntu)",
    "tag:tag123 power:stopped",
    "memory:512MiB..2GiB vcpus:>4 kind:pvh",
    "uptime:>30d cpu:>90%",
    "field.owner:user77",
    "name:/^db-/",
    "billing 99",
    "pool:pool-1 power:crashed",
];
const SORTS: [&str; 8] = ["name", "-name", "memory", "-cpu", "host", "-created", "power", "uptime"];

fn pages(inventory: &Inventory<Vms>) {
    println!("\n| page of 100, by filter (8 orders, 8 pages each) | {COLUMNS}");
    let mut all = Vec::new();
    for text in FILTERS {
        let parsed = filter(text);
        let mut times = Times::default();
        for sort in SORTS {
            let mut request = PageRequest::first(parsed.clone(), Scope::everything(), 100);
            request.sort = sort.to_owned();
            for _ in 0..8 {
                let watch = Stopwatch::start();
                let page = inventory.page(&request).expect("the sort is known");
                times.0.push(watch.stop());
                request.cursor = page.next;
            }
        }
        all.extend_from_slice(&times.0);
        times.line(&format!("`{text}`"));
    }
    Times(all).line("**all**");
}

fn searches(inventory: &Inventory<Vms>) {
    println!("\n| search: page of 50 by name, with total | {COLUMNS}");
    let count = |text: &str| inventory.count(&filter(text), &Scope::everything());
    for text in
        ["db-sales-00042", "metrics", "10.3.77", "e", "request 4711", "tag:tag042", "nothing-like-this"]
    {
        let text = if text.contains(' ') { format!("\"{text}\"") } else { text.to_owned() };
        let request = PageRequest::first(filter(&text), Scope::everything(), 50);
        let times = time_each(40, |_| {
            black_box(inventory.page(&request).expect("a fine request"));
        });
        times.line(&format!("`{text}` ({} rows)", count(&text)));
    }
    let request = CountRequest {
        filter: filter("power:running"),
        scope: Scope::everything(),
        group_by: ["power", "host", "tag", "os"].map(str::to_owned).to_vec(),
        limit: 20,
    };
    time_each(40, |_| {
        black_box(inventory.facets(&request).expect("known columns"));
    })
    .line("facets of 4 columns");
}

/// Updates as fast as they go, alone, then with readers.
fn updates(inventory: &Inventory<Vms>, count: u64) {
    let mut random = Random(SEED);
    let run = |random: &mut Random, seconds: f64| {
        let begun = Instant::now();
        let mut applied = 0_u64;
        while begun.elapsed().as_secs_f64() < seconds {
            inventory.apply((0..1024).map(|_| update(random, count)));
            applied += 1024;
        }
        applied as f64 / begun.elapsed().as_secs_f64()
    };
    println!("\nupdates applied, alone: {:.0}/s", run(&mut random, 3.0));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (inventory, stop) = (inventory.clone(), Arc::clone(&stop));
        move || {
            let mut random = Random(SEED + 1);
            let (mut gets, mut pages) = (Times::default(), Times::default());
            let filters: Vec<Filter> = FILTERS.iter().map(|text| filter(text)).collect();
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    let watch = Stopwatch::start();
                    black_box(inventory.get(vm_id(random.below(count)), &Scope::everything()));
                    gets.0.push(watch.stop());
                }
                let mut request = PageRequest::first(random.pick(&filters).clone(), Scope::everything(), 100);
                request.sort = (*random.pick(&SORTS)).to_owned();
                let watch = Stopwatch::start();
                black_box(inventory.page(&request).expect("a fine request"));
                pages.0.push(watch.stop());
            }
            (gets, pages)
        }
    });
    println!("updates applied, beside a reader that never rests: {:.0}/s", run(&mut random, 5.0));
    stop.store(true, Ordering::Relaxed);
    let (gets, pages) = reader.join().expect("the reader does not panic");
    println!("\n| under that load | {COLUMNS}");
    gets.line("get");
    pages.line("page of 100, any filter and order");
}

/// From `apply` to the subscriber's hands, 200 subscribers, a steady stream of updates.
fn fan_out(inventory: &Inventory<Vms>, count: u64) {
    const SUBSCRIBERS: u64 = 200;
    const RATE: u64 = 10_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.expect("a runtime starts");
    let base = Instant::now();
    let cpu_before = cpu_time(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let mut tasks = Vec::new();
    for n in 0..SUBSCRIBERS {
        // Most look at a host or a tag, some at everything that runs.
        let text = match n % 20 {
            0 => "power:running".to_owned(),
            1..=5 => format!("tag:tag{:03}", n % 200),
            _ => format!("host:xen{:04}.dc{}.example.net", n, n % 4),
        };
        let mut watch = inventory.watch(inventory.revision(), filter(&text), Scope::everything());
        tasks.push(runtime.spawn(async move {
            let mut times = Times::default();
            // A change may be told twice; only the first time counts.
            let mut seen = std::collections::HashMap::new();
            let mut told = 0_u64;
            while let Ok(event) = tokio::time::timeout(Duration::from_secs(2), watch.next()).await {
                let WatchEvent::Changes { changes, .. } = event else { continue };
                let now = base.elapsed();
                told += changes.len() as u64;
                for change in changes {
                    // The time of the update is in the number of vCPUs.
                    if let xenith_orchestrator_inventory::Change::Added(row)
                    | xenith_orchestrator_inventory::Change::Changed(row) = change
                        && row.vcpus > 1_000
                        && seen.insert(row.id, row.vcpus) != Some(row.vcpus)
                    {
                        let delay = now.saturating_sub(Duration::from_micros(row.vcpus.into()));
                        times.0.push((delay, Duration::ZERO));
                    }
                }
            }
            (times, told)
        }));
    }
    let mut random = Random(SEED + 2);
    let mut applied = 0;
    while base.elapsed() < Duration::from_secs(5) {
        let due = (base.elapsed().as_secs_f64() * RATE as f64) as u64;
        if applied < due {
            let stamp = base.elapsed().as_micros() as u32;
            let deltas = (applied..due.min(applied + 256)).map(|_| {
                let patch = VmPatch { vcpus: Some(stamp), ..VmPatch::default() };
                Delta::Patch(vm_id(random.below(count)), patch)
            });
            inventory.apply(deltas);
            applied = due.min(applied + 256);
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let (mut times, mut told) = (Times::default(), 0);
    for task in tasks {
        let (of_one, n) = runtime.block_on(task).expect("a subscriber does not panic");
        times.0.extend(of_one.0);
        told += n;
    }
    let cpu = cpu_time(ClockId::CLOCK_PROCESS_CPUTIME_ID).saturating_sub(cpu_before);
    println!(
        "\n{} updates/s, {SUBSCRIBERS} subscribers, {told} changes told, {cpu:.1?} of CPU in 5 s",
        applied / 5
    );
    println!("\n| change to subscriber | {COLUMNS}");
    times.line("delay (up to 100 ms of it is gathering)");
}

fn main() {
    let count = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(250_000_u64);
    println!("inventory of {count} VMs, seed {SEED}");
    let before = resident_bytes();
    let begun = Instant::now();
    let inventory: Inventory<Vms> = Inventory::load((0..count).map(row));
    let loaded = begun.elapsed();
    let resident = resident_bytes() - before;
    println!(
        "\nloaded in {loaded:.2?} (rows made meanwhile); resident {} bytes per VM, {} by our own count",
        resident / count,
        inventory.memory() as u64 / count
    );
    pages(&inventory);
    searches(&inventory);
    updates(&inventory, count);
    fan_out(&inventory, count);
}
