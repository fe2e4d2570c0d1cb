//! One run: fill, start, measure at rest, under load, with subscribers, with sagas, after a crash.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use xenith_common_ids::{NetworkId, VmId};
use xenith_hypervisor_agent_sim::SimConfig;
use xenith_orchestrator_api::{host, system, vm};
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::vm::StartVm;
use xenith_orchestrator_types::{Empty, ListRequest};

use crate::clients::{self, Made, Told};
use crate::hosts::{Host, Plan};
use crate::load::change;
use crate::orchestrator::{Filling, Orchestrator};
use crate::report::{line, load_average, shares, threads, usage};

#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub hosts: usize,
    pub vms: usize,
    pub seconds: u64,
}

/// Each VM is told again with its CPU time at this pace: 250,000 VMs are 50,000 updates a second.
const SAMPLE: Duration = Duration::from_secs(5);
const SUBSCRIBERS: usize = 200;
/// Of these subscribers, those that follow every running VM.
const BROAD: usize = 10;
/// Rows that change a second while subscribers watch.
const CHANGES: usize = 500;
/// Starts under way at once.
const STARTS: usize = 64;

pub async fn run(size: Size) -> Result<()> {
    let (memory, disk) = (tempfile::tempdir_in("/dev/shm")?, tempfile::tempdir()?);
    let data = disk.path().join("data");
    let outcome = phases(size, memory.path(), &data).await;
    if outcome.is_err() {
        let log = std::fs::read_to_string(data.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("the orchestrator's last words:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
    }
    outcome
}

async fn phases(size: Size, memory: &Path, data: &Path) -> Result<()> {
    let total = size.hosts * size.vms;
    println!(
        "{} hosts, {total} VMs, seed {}, {} CPUs, load average {}",
        size.hosts,
        crate::SEED,
        std::thread::available_parallelism()?,
        load_average()
    );
    let filling = Filling::open(data).await?;
    let fingerprint = filling.certificates.authority().fingerprint();
    let begun = Instant::now();
    let hosts = fleet(size, memory, &filling).await?;
    line("fleet made (not promised)", format!("{:.1} s", begun.elapsed().as_secs_f64()));
    drop(filling);
    let ours = usage(std::process::id())?;
    line("memory of the simulated fleet, per VM", format!("{} bytes", ours.resident / total as u64));

    let orchestrator = Orchestrator::start(data, fingerprint)?;
    let client = serving(&orchestrator, total, "start to serving all rows").await?;
    connected(&orchestrator, &client, size.hosts, "start to all hosts heard").await?;
    tokio::time::sleep(SAMPLE).await;
    at_rest(&orchestrator, total)?;
    let vms: Vec<VmId> = hosts.iter().flat_map(|host| host.guests.iter().map(|guest| guest.vm)).collect();
    updates(&orchestrator, &client, vms.len(), size).await?;
    reads(&orchestrator, &vms, size).await?;
    subscribers(&orchestrator, &hosts, size).await?;
    sagas(&orchestrator, &hosts).await?;

    let orchestrator = orchestrator.crash().await?;
    line("load average at the crash", load_average());
    let client = serving(&orchestrator, total, "kill -9 to serving all rows").await?;
    connected(&orchestrator, &client, size.hosts, "kill -9 to all hosts heard").await?;
    Ok(())
}

async fn fleet(size: Size, folder: &Path, filling: &Filling) -> Result<Vec<Host>> {
    std::fs::create_dir_all(folder.join("boot"))?;
    std::fs::write(folder.join("boot/vmlinuz"), b"kernel")?;
    let mut config = SimConfig::default();
    config.host.memory = xenith_common_units::MemoryMiB::from_bytes_floor(256 << 30);
    let network = NetworkId::new();
    let plan = Plan { folder, vms: size.vms, sample: SAMPLE, network, config: Arc::new(config) };
    let plan = &plan;
    futures::stream::iter(0..size.hosts)
        .map(|number| Host::start(plan, number, filling))
        .buffered(16)
        .try_collect()
        .await
}

async fn serving(orchestrator: &Orchestrator, total: usize, what: &str) -> Result<Client> {
    let client = orchestrator.client(0).await?;
    loop {
        let page = client.call::<vm::List>(&ListRequest::default()).await?;
        if page.total == total as u64 {
            line(what, format!("{:.1} s", orchestrator.started.elapsed().as_secs_f64()));
            return Ok(client);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn connected(orchestrator: &Orchestrator, client: &Client, hosts: usize, what: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let request = ListRequest { filter: "status:connected".into(), limit: 1, ..ListRequest::default() };
        let heard = client.call::<host::List>(&request).await?.total;
        if heard == hosts as u64 {
            line(what, format!("{:.1} s", orchestrator.started.elapsed().as_secs_f64()));
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{heard} of {hosts} hosts are heard");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn at_rest(orchestrator: &Orchestrator, total: usize) -> Result<()> {
    let usage = usage(orchestrator.pid()?)?;
    line("resident memory of the orchestrator", format!("{} MiB", usage.resident >> 20));
    line("- per VM (aim 2 KiB, must 4)", format!("{} bytes", usage.resident / total as u64));
    Ok(())
}

/// What every fleet tells by itself, and nothing else: who eats the CPUs, and what one update costs the orchestrator.
async fn updates(orchestrator: &Orchestrator, client: &Client, vms: usize, size: Size) -> Result<()> {
    let (pid, own) = (orchestrator.pid()?, std::process::id());
    let heard =
        async || Ok::<_, anyhow::Error>(client.call::<system::Health>(&Empty {}).await?.changes_heard);
    let before = (heard().await?, Instant::now(), usage(pid)?.cpu, usage(own)?.cpu, threads(pid)?);
    tokio::time::sleep(Duration::from_secs(size.seconds)).await;
    let wall = before.1.elapsed();
    let taken = (heard().await? - before.0) as f64;
    let cpu = (usage(pid)?.cpu - before.2).as_secs_f64();
    let agents = (usage(own)?.cpu - before.3).as_secs_f64();
    let (rate, offered) = (taken / wall.as_secs_f64(), vms as f64 / SAMPLE.as_secs_f64());
    line(
        "updates taken in a second, alone (aim 200,000, must 50,000)",
        format!("{rate:.0} of {offered:.0} offered"),
    );
    line(
        "- CPU of one update",
        format!("{:.1} us: one CPU takes in {:.0} a second", cpu / taken * 1e6, taken / cpu),
    );
    let percent = |cpu: f64| cpu / wall.as_secs_f64() * 100.0;
    line(
        "- CPU of the orchestrator / of all agents, of one",
        format!("{:.0} % / {:.0} %", percent(cpu), percent(agents)),
    );
    line("- the orchestrator's by thread", shares(pid, &before.4, wall)?);
    Ok(())
}

/// Reads beside the updates that every fleet makes by itself.
async fn reads(orchestrator: &Orchestrator, vms: &[VmId], size: Size) -> Result<()> {
    let client = orchestrator.client(1).await?;
    let heard =
        async || Ok::<_, anyhow::Error>(client.call::<system::Health>(&Empty {}).await?.changes_heard);
    let (before, begun, used) = (heard().await?, Instant::now(), usage(orchestrator.pid()?)?.cpu);
    let end = |from: Instant| from + Duration::from_secs(size.seconds);
    let (door, end, known) = (orchestrator.door, end(begun), vms.to_vec());
    let pages = clients::apart(move || async move { clients::pages(&door.client(2).await?, end).await });
    let gets =
        clients::apart(move || async move { clients::gets(&door.client(3).await?, &known, end).await });
    let (mut pages, mut gets) = tokio::try_join!(pages, gets)?;
    let seconds = begun.elapsed().as_secs_f64();
    let taken = (heard().await? - before) as f64 / seconds;
    let offered = vms.len() as f64 / SAMPLE.as_secs_f64();
    let cpu = (usage(orchestrator.pid()?)?.cpu - used).as_secs_f64() / seconds;
    line(
        "updates taken in a second (aim 200,000, must 50,000)",
        format!("{taken:.0} of {offered:.0} offered"),
    );
    line("- CPU of the orchestrator meanwhile, reads included", format!("{:.0} % of one", cpu * 100.0));
    line("page of 100, any filter and order (aim 10, must 30)", pages.show());
    line("get under that load (aim 1, must 2)", gets.show());
    for (what, filters) in [
        ("substring search (aim 50, must 100)", &["web-1", "billing", "e", "name:99"][..]),
        ("tag search (aim 50, must 100)", &["tag:prod", "tag:web tag:test"][..]),
    ] {
        let end = Instant::now() + Duration::from_secs(size.seconds.div_ceil(4));
        let search = move || async move { clients::searches(&door.client(4).await?, filters, end).await };
        line(what, clients::apart(search).await?.show());
    }
    Ok(())
}

async fn subscribers(orchestrator: &Orchestrator, hosts: &[Host], size: Size) -> Result<()> {
    let made = Made::default();
    let ready = Arc::new(tokio::sync::Semaphore::new(0));
    let end = Arc::new(tokio::sync::Notify::new());
    let mut following = tokio::task::JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let filter = match number {
            broad if broad < BROAD => "power:running".to_owned(),
            _ if number % 2 == 0 => format!("host:xen{}", number * 13 % hosts.len()),
            _ => format!("name:{number}7"),
        };
        let client = orchestrator.client(number).await?;
        following.spawn(clients::follow(
            client,
            filter,
            (Arc::clone(&made), Arc::clone(&ready)),
            Arc::clone(&end),
        ));
    }
    let all = ready.acquire_many(u32::try_from(SUBSCRIBERS)?);
    let all = tokio::time::timeout(Duration::from_secs(300), all).await;
    all.context("not every subscriber got its first list")??.forget();
    let (begun, used) = (Instant::now(), usage(orchestrator.pid()?)?.cpu);
    let (own, by_thread) = (usage(std::process::id())?.cpu, threads(orchestrator.pid()?)?);
    let changed = change(hosts, CHANGES, &made, begun + Duration::from_secs(size.seconds)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let cpu = (usage(orchestrator.pid()?)?.cpu - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    let agents = (usage(std::process::id())?.cpu - own).as_secs_f64() / begun.elapsed().as_secs_f64();
    let by_thread = shares(orchestrator.pid()?, &by_thread, begun.elapsed())?;
    end.notify_waiters();
    let mut all = Told::default();
    while let Some(told) = following.join_next().await {
        let told = told??;
        all.rows += told.rows;
        all.resyncs += told.resyncs;
        all.times.extend(told.times);
    }
    line("rows that changed while 200 subscribers watched", format!("{changed} ({CHANGES} a second)"));
    line("- told to subscribers / ended with a resync", format!("{} / {}", all.rows, all.resyncs));
    line("- told to the broad ones of", format!("{} wanted", changed * BROAD as u64));
    line(
        "- CPU of the orchestrator / of agents and subscribers, of one",
        format!("{:.0} % / {:.0} %", cpu * 100.0, agents * 100.0),
    );
    line("- the orchestrator's by thread", by_thread);
    ensure!(all.times.count() > 0, "nobody was told anything");
    line("change at an agent to subscriber (aim 250, must 500)", all.times.show());
    Ok(())
}

/// Starts: five steps each, every one written to disk before and after.
async fn sagas(orchestrator: &Orchestrator, hosts: &[Host]) -> Result<()> {
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
    let rate = vms.len() as f64 / took;
    line("five-step sagas a second (aim 1,000, must 200)", format!("{rate:.0} ({} starts)", vms.len()));
    line("- of that time, until all were accepted", format!("{:.1} of {took:.1} s", asked.as_secs_f64()));
    Ok(())
}
