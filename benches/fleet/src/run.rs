//! One run: fill, start, measure at rest, under load, with subscribers, with sagas, after a crash.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Notify, Semaphore};
use xenith_common_ids::{NetworkId, VmId};
use xenith_hypervisor_agent_sim::{Operation, SimConfig};
use xenith_orchestrator_api::{host, system, task, vm};
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::task::ListTasks;
use xenith_orchestrator_types::vm::StartVm;
use xenith_orchestrator_types::{Empty, ListRequest};

use crate::asked::{Size, Work};
use crate::clients::{self, Following, Made};
use crate::hosts::{Host, Plan};
use crate::load::{change, speed};
use crate::orchestrator::{Filling, Orchestrator};
use crate::report::{Promises, line, load_average, shares, threads, usage};
use crate::rules;
use crate::stand;

/// Updates a second that must be taken in.
const UPDATES: f64 = 50_000.0;
/// Seconds from a start to all rows served, and to all hosts heard.
const STARTED: f64 = 15.0;
const SUBSCRIBERS: usize = 200;
/// Of these subscribers, those that follow every running VM.
const BROAD: usize = 10;
/// Rows that change a second while subscribers watch.
const CHANGES: usize = 500;
/// From the last burst to when it does not count any more.
const SETTLED: Duration = Duration::from_secs(20);
/// Starts under way at once.
const STARTS: usize = 64;

pub async fn run(size: Size, work: Work) -> Result<()> {
    let (memory, disk) = (tempfile::tempdir_in("/dev/shm")?, tempfile::tempdir()?);
    let data = disk.path().join("data");
    let outcome = phases((size, work), memory.path(), &data).await;
    if outcome.is_err() {
        let log = std::fs::read_to_string(data.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("the orchestrator's last words:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
    }
    outcome?.finish()
}

async fn phases((size, work): (Size, Work), memory: &Path, data: &Path) -> Result<Promises> {
    let mut promises = Promises::default();
    let total = size.hosts * size.vms;
    println!(
        "{} hosts, {total} VMs told every {} s, seed {}, {} CPUs, load average {}",
        size.hosts,
        size.pace.as_secs(),
        crate::SEED,
        std::thread::available_parallelism()?,
        load_average()
    );
    line("speed of one CPU, steps of a pseudo-random walk a second", format!("{:.0} million", speed()));
    let filling = Filling::open(data).await?;
    let fingerprint = filling.certificates.authority().fingerprint();
    let begun = Instant::now();
    let hosts = fleet(size, memory, &filling).await?;
    line("fleet made (not promised)", format!("{:.1} s", begun.elapsed().as_secs_f64()));
    drop(filling);
    let ours = usage(std::process::id())?;
    line("memory of the simulated fleet, per VM", format!("{} bytes", ours.resident / total as u64));

    let orchestrator = Orchestrator::start(data, fingerprint)?;
    started(&orchestrator, size, "start", &mut promises).await?;
    if let Work::Rules { changes } = work {
        rules::change(&orchestrator, &hosts, changes, &mut promises).await?;
        return Ok(promises);
    }
    if size.seconds == 0 {
        stand::still(orchestrator.door).await?;
        return Ok(promises);
    }
    tokio::time::sleep(size.pace).await;
    at_rest(&orchestrator, total, &mut promises)?;
    updates(&orchestrator, &hosts, size, &mut promises).await?;
    reads(&orchestrator, &hosts, size, &mut promises).await?;
    subscribers(&orchestrator, &hosts, size, &mut promises).await?;
    sagas(&orchestrator, &hosts, &mut promises).await?;
    later(&orchestrator, total, &mut promises).await?;

    let orchestrator = orchestrator.crash().await?;
    line("load average at the crash", load_average());
    started(&orchestrator, size, "kill -9", &mut promises).await?;
    Ok(promises)
}

async fn fleet(size: Size, folder: &Path, filling: &Filling) -> Result<Vec<Host>> {
    std::fs::create_dir_all(folder.join("boot"))?;
    std::fs::write(folder.join("boot/vmlinuz"), b"kernel")?;
    let mut config = SimConfig::default();
    config.host.memory = xenith_common_units::MemoryMiB::from_bytes_floor(256 << 30);
    // As Debian's guests tell. Their addresses, one of IPv4 and one of IPv6 for each NIC, are the simulator's.
    config.guest.os = "Debian GNU/Linux 12 (bookworm)".to_owned();
    config.guest.data = [("os_distro", "debian"), ("os_uname", "6.1.0-28-amd64")].into_iter().collect();
    let network = NetworkId::new();
    let plan = Plan { folder, vms: size.vms, sample: size.pace, network, config: Arc::new(config) };
    let plan = &plan;
    futures::stream::iter(0..size.hosts)
        .map(|number| Host::start(plan, number, filling))
        .buffered(16)
        .try_collect()
        .await
}

/// From the start of the process to its first whole list, and to its last host.
async fn started(orchestrator: &Orchestrator, size: Size, from: &str, promises: &mut Promises) -> Result<()> {
    let mut reached = |to: &str| {
        let (what, took) =
            (format!("{from} to {to}, s (aim 5, must 15)"), orchestrator.started.elapsed().as_secs_f64());
        line(&what, format!("{took:.1}"));
        promises.at_most(&what, took, STARTED);
    };
    let client = orchestrator.client(0).await?;
    serving(&client, size.hosts * size.vms).await?;
    reached("serving all rows");
    connected(&client, size.hosts).await?;
    reached("all hosts heard");
    Ok(())
}

async fn serving(client: &Client, total: usize) -> Result<()> {
    while client.call::<vm::List>(&ListRequest::default()).await?.total != total as u64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn connected(client: &Client, hosts: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let request = ListRequest { filter: "status:connected".into(), limit: 1, ..ListRequest::default() };
        let heard = client.call::<host::List>(&request).await?.total;
        if heard == hosts as u64 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{heard} of {hosts} hosts are heard");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn at_rest(orchestrator: &Orchestrator, total: usize, promises: &mut Promises) -> Result<()> {
    let usage = usage(orchestrator.pid()?)?;
    line("resident memory of the orchestrator", format!("{} MiB", usage.resident >> 20));
    let (what, each) = ("- per VM, bytes (aim 2,048, must 4,096)", usage.resident / total as u64);
    line(what, each);
    promises.at_most(what, each as f64, 4096.0);
    Ok(())
}

/// Right after a start little of what is measured was written, and nobody has asked for anything. What a burst of calls
/// took goes back to the kernel some seconds behind it.
async fn later(orchestrator: &Orchestrator, total: usize, promises: &mut Promises) -> Result<()> {
    let in_burst = usage(orchestrator.pid()?)?.resident;
    line("resident memory behind the last burst (not promised)", format!("{} MiB", in_burst >> 20));
    tokio::time::sleep(SETTLED).await;
    let (seconds, usage) = (orchestrator.started.elapsed().as_secs(), usage(orchestrator.pid()?)?);
    let each = usage.resident / total as u64;
    let what = format!("- {seconds} s after the start, per VM, bytes (aim 2,048, must 4,096)");
    line(&what, format!("{each}, {} MiB", usage.resident >> 20));
    promises.at_most(&what, each as f64, 4096.0);
    Ok(())
}

/// Updates on their way, counted at both ends.
struct Flow<'a> {
    hosts: &'a [Host],
    client: Client,
    begun: Instant,
    made: u64,
    heard: u64,
}

impl<'a> Flow<'a> {
    async fn begin(hosts: &'a [Host], client: Client) -> Result<Self> {
        let mut flow = Self { hosts, client, begun: Instant::now(), made: 0, heard: 0 };
        (flow.made, flow.heard) = flow.counts().await?;
        flow.begun = Instant::now();
        Ok(flow)
    }

    /// Made by agents, and heard by the orchestrator, since each began. An agent makes an update of each running VM
    /// whenever it has looked at its domains: they have used CPU time.
    async fn counts(&self) -> Result<(u64, u64)> {
        let made = |host: &Host| host.sim.calls(Operation::Domains) * host.guests.len() as u64;
        let made: u64 = self.hosts.iter().map(made).sum();
        Ok((made, self.client.call::<system::Health>(&Empty {}).await?.changes_heard))
    }

    /// Prints what became of them; returns how many were heard, and in which time.
    async fn end(self, what: &str, size: Size, promises: &mut Promises) -> Result<(f64, Duration)> {
        let (made, heard) = self.counts().await?;
        let (made, heard, wall) = (made - self.made, heard - self.heard, self.begun.elapsed());
        let rate = |count: u64| count as f64 / wall.as_secs_f64();
        let guests: usize = self.hosts.iter().map(|host| host.guests.len()).sum();
        let wanted = guests as f64 / size.pace.as_secs_f64();
        let figure = format!("{:.0} of {:.0} made by agents, {wanted:.0} wanted", rate(heard), rate(made));
        line(what, figure);
        // An agent merges what the orchestrator has not taken in yet: the newest replaces the one before.
        let lost = made.saturating_sub(heard);
        line("- of them merged, or still under way", format!("{lost} of {made}"));
        if rate(made) < UPDATES {
            line("- what must be kept is not shown", format!("fewer than {UPDATES} a second were made"));
        } else {
            promises.at_least(what, rate(heard), UPDATES);
        }
        Ok((heard as f64, wall))
    }
}

/// What every fleet tells by itself, and nothing else: who eats the CPUs, and what one update costs the orchestrator.
async fn updates(
    orchestrator: &Orchestrator,
    hosts: &[Host],
    size: Size,
    promises: &mut Promises,
) -> Result<()> {
    let (pid, own) = (orchestrator.pid()?, std::process::id());
    let flow = Flow::begin(hosts, orchestrator.client(0).await?).await?;
    let before = (usage(pid)?.cpu, usage(own)?.cpu, threads(pid)?);
    tokio::time::sleep(Duration::from_secs(size.seconds)).await;
    let cpu = (usage(pid)?.cpu - before.0).as_secs_f64();
    let agents = (usage(own)?.cpu - before.1).as_secs_f64();
    let what = "updates taken in a second, alone (aim 200,000, must 50,000)";
    let (taken, wall) = flow.end(what, size, promises).await?;
    line(
        "- CPU of one update",
        format!("{:.1} us: one CPU takes in {:.0} a second", cpu / taken * 1e6, taken / cpu),
    );
    let percent = |cpu: f64| cpu / wall.as_secs_f64() * 100.0;
    line(
        "- CPU of the orchestrator / of all agents, of one",
        format!("{:.0} % / {:.0} %", percent(cpu), percent(agents)),
    );
    line("- the orchestrator's by thread", shares(pid, &before.2, wall)?);
    Ok(())
}

/// Reads beside the updates that every fleet makes by itself.
async fn reads(
    orchestrator: &Orchestrator,
    hosts: &[Host],
    size: Size,
    promises: &mut Promises,
) -> Result<()> {
    let flow = Flow::begin(hosts, orchestrator.client(1).await?).await?;
    let used = usage(orchestrator.pid()?)?.cpu;
    let (door, end) = (orchestrator.door, Instant::now() + Duration::from_secs(size.seconds));
    let known: Vec<VmId> = hosts.iter().flat_map(|host| host.guests.iter().map(|guest| guest.vm)).collect();
    let pages = clients::apart(move || async move { clients::pages(&door.client(2).await?, end).await });
    let gets =
        clients::apart(move || async move { clients::gets(&door.client(3).await?, &known, end).await });
    let (mut pages, mut gets) = tokio::try_join!(pages, gets)?;
    let cpu = (usage(orchestrator.pid()?)?.cpu - used).as_secs_f64();
    let what = "updates taken in a second, beside reads (aim 200,000, must 50,000)";
    let (_, wall) = flow.end(what, size, promises).await?;
    let percent = cpu / wall.as_secs_f64() * 100.0;
    line("- CPU of the orchestrator meanwhile, reads included", format!("{percent:.0} % of one"));
    promises.times("page of 100, any filter and order, ms (aim 10, must 30)", &mut pages, 30.0);
    promises.times("get under that load, ms (aim 1, must 2)", &mut gets, 2.0);
    for (what, filters) in [
        ("substring search, ms (aim 50, must 100)", &["web-1", "billing", "e", "name:99"][..]),
        ("tag search, ms (aim 50, must 100)", &["tag:prod", "tag:web tag:test"][..]),
    ] {
        let end = Instant::now() + Duration::from_secs(size.seconds.div_ceil(4));
        let search = move || async move { clients::searches(&door.client(4).await?, filters, end).await };
        promises.times(what, &mut clients::apart(search).await?, 100.0);
    }
    Ok(())
}

/// What each subscriber follows.
fn filters(hosts: usize) -> Vec<String> {
    let filter = |number: usize| match number {
        broad if broad < BROAD => "power:running".to_owned(),
        _ if number.is_multiple_of(2) => format!("host:xen{}", number * 13 % hosts),
        _ => format!("name:{number}7"),
    };
    (0..SUBSCRIBERS).map(filter).collect()
}

async fn subscribers(
    orchestrator: &Orchestrator,
    hosts: &[Host],
    size: Size,
    promises: &mut Promises,
) -> Result<()> {
    let (ready, end) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let following = Following { made: Made::default(), ready, end };
    let (door, filters, theirs) = (orchestrator.door, filters(hosts.len()), following.clone());
    let mut subscribers = Box::pin(clients::apart(move || clients::follow_all(door, filters, theirs)));
    let all = following.ready.acquire_many(u32::try_from(SUBSCRIBERS)?);
    tokio::select! {
        ended = &mut subscribers => {
            ended?;
            bail!("the subscribers ended by themselves");
        }
        all = tokio::time::timeout(Duration::from_secs(300), all) => {
            all.context("not every subscriber got its first list")??.forget();
        }
    }
    let (begun, used) = (Instant::now(), usage(orchestrator.pid()?)?.cpu);
    let (own, by_thread) = (usage(std::process::id())?.cpu, threads(orchestrator.pid()?)?);
    let changed = change(hosts, CHANGES, &following.made, begun + Duration::from_secs(size.seconds)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let cpu = (usage(orchestrator.pid()?)?.cpu - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    let agents = (usage(std::process::id())?.cpu - own).as_secs_f64() / begun.elapsed().as_secs_f64();
    let by_thread = shares(orchestrator.pid()?, &by_thread, begun.elapsed())?;
    let mut all = loop {
        // Again and again: who is at work on a row just now hears nothing.
        following.end.notify_waiters();
        tokio::select! {
            told = &mut subscribers => break told?,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    };
    line("rows that changed while 200 subscribers watched", format!("{changed} ({CHANGES} a second)"));
    line("- told to subscribers / ended with a resync", format!("{} / {}", all.rows, all.resyncs));
    line("- told to the broad ones of", format!("{} wanted", changed * BROAD as u64));
    line(
        "- CPU of the orchestrator / of agents and subscribers, of one",
        format!("{:.0} % / {:.0} %", cpu * 100.0, agents * 100.0),
    );
    line("- the orchestrator's by thread", by_thread);
    ensure!(all.times.count() > 0, "nobody was told anything");
    promises.times("change at an agent to subscriber, ms (aim 250, must 500)", &mut all.times, 500.0);
    Ok(())
}

/// A start that was rolled back is over, too, and no saga that was completed. Lists are told a moment later.
async fn all_done(client: &Client) -> Result<()> {
    let filter = "method:vm.start -status:done".to_owned();
    let request = ListTasks { filter, limit: 1, ..ListTasks::default() };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let others = client.call::<task::List>(&request).await?;
        let Some(first) = others.items.first() else { return Ok(()) };
        let (status, why) = (first.status.as_str(), first.message.as_deref().unwrap_or_default());
        ensure!(Instant::now() < deadline, "{} starts are not done, the first {status}: {why}", others.total);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Starts: five steps each, every one written to disk before and after.
async fn sagas(orchestrator: &Orchestrator, hosts: &[Host], promises: &mut Promises) -> Result<()> {
    let vms: Vec<VmId> = hosts.iter().flat_map(|host| host.stopped.iter().copied()).take(3000).collect();
    let mut clients = Vec::new();
    for user in 0..crate::orchestrator::USERS {
        clients.push(orchestrator.client(user).await?);
    }
    let begun = Instant::now();
    futures::stream::iter(vms.iter().enumerate().map(Ok))
        .try_for_each_concurrent(STARTS, |(turn, vm)| {
            let client = &clients[turn % clients.len()];
            async move { client.call::<vm::Start>(&StartVm { vm: vm.to_string() }).await.map(drop) }
        })
        .await?;
    let asked = begun.elapsed();
    while clients[0].call::<system::Health>(&Empty {}).await?.tasks_active > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    all_done(&clients[0]).await?;
    let rate = vms.len() as f64 / took;
    let what = "five-step sagas a second (aim 1,000, must 200)";
    line(what, format!("{rate:.0} ({} starts)", vms.len()));
    promises.at_least(what, rate, 200.0);
    line("- of that time, until all were accepted", format!("{:.1} of {took:.1} s", asked.as_secs_f64()));
    Ok(())
}
