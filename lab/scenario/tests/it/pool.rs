//! Two hosts of a pool: a VM goes from one to the other and back, and its network with it.
//!
//! The first host serves the SR that both share, so that no third machine is needed.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_common_ids::TaskId;
use xenith_hypervisor_agent_types::{ObservedVm, Power};
use xenith_lab::{Cable, Link};
use xenith_lab_scenario::{Guest, Programs, SLACK, Stage, join_pool, told, until};
use xenith_orchestrator_api::{backup_job, backup_run, host, network, pool, repository, sr, task, vdi, vm};
use xenith_orchestrator_types::backup::RunStatus;
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::network::NetworkState;
use xenith_orchestrator_types::task::TaskStatus;

use crate::MINUTE;
use crate::faults::kill_agent_in;
use crate::life::ensure_stopped;

/// Where backups are on every host: the second of the shares.
const BACKUPS: &str = "mkdir -p /mnt/backups && { mountpoint -q /mnt/backups \
                       || mount -t nfs 10.77.0.1:/srv/backups /mnt/backups; }";

/// Both hosts; the orchestrator's process is the first one's.
pub struct Pair {
    pub one: Stage,
    pub other: Stage,
}

impl Pair {
    /// The ends of all logs, for a step that failed.
    pub async fn logs(&self) -> String {
        format!("{}\n--- {}\n{}", self.one.logs().await, self.other.name, self.other.logs().await)
    }

    /// The host that has the VM, and the other one.
    async fn around(&self, guest: &Guest) -> Result<(&Stage, &Stage)> {
        let first = self.one.host_is(HostStatus::Connected, MINUTE).await?.id;
        let has =
            self.one.vm(guest.name).await?.host.with_context(|| format!("{} is nowhere", guest.name))?;
        Ok(if has == first { (&self.one, &self.other) } else { (&self.other, &self.one) })
    }

    /// Its only domain is on the host that the orchestrator tells, and it is the run that it was before.
    async fn runs_on(&self, guest: &Guest, boot: &str) -> Result<ObservedVm> {
        let (has, other) = self.around(guest).await?;
        let left = other.domains(guest.name).await?;
        ensure!(left.is_empty(), "{} has domain {left:?} on {} too", guest.name, other.name);
        let domains = has.domains(guest.name).await?;
        ensure!(domains.len() == 1, "{} has the domains {domains:?} on {}", guest.name, has.name);
        let seen = has.running_as(guest, domains[0]).await?;
        ensure!(has.boot_id(&seen).await? == boot, "the guest has booted anew: its memory is lost");
        has.order(&seen, "check-pattern 31 1").await?;
        Ok(seen)
    }
}

/// Both join, and share an SR and a private network.
pub async fn found(pair: &Pair, programs: &Programs) -> Result<()> {
    join_pool([&pair.one, &pair.other], programs).await?;
    let lan = json!({ "name": "lan", "uplink": { "kind": "private", "vni": 5 } });
    pair.one.orchestrator.call::<network::Create>(lan).await.map(drop)
}

/// One guest with its disk on the shared SR, one on the other host that stays there: they reach each other.
pub async fn start(pair: &Pair, (moves, stays): (&Guest, &Guest)) -> Result<()> {
    until("the network is there", MINUTE, async || {
        let status = pair.one.orchestrator.call::<network::Status>(json!({ "network": "lan" })).await?;
        let there = status.hosts.iter().filter(|on| on.state == NetworkState::Realised).count();
        Ok((there == 2).then_some(()))
    })
    .await?;
    for (guest, sr, stage) in [(moves, Some("nas"), &pair.one), (stays, None, &pair.other)] {
        let mut create = guest.create();
        create["host"] = json!(stage.name);
        if let Some(sr) = sr {
            create["disks"][0]["sr"] = json!(sr);
        }
        stage.orchestrator.done::<vm::Create>(create, 2 * MINUTE).await?;
        stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
        stage.running(guest).await?;
    }
    let seen = pair.one.running(moves).await?;
    pair.one.order(&seen, "write-pattern 31 1").await?;
    reaches(pair, (moves, stays)).await
}

/// The frames of two hosts go through a tunnel, whose ends learn of each other a moment after they were told.
async fn reaches(pair: &Pair, (guest, peer): (&Guest, &Guest)) -> Result<()> {
    until(&format!("{} reaches {}", guest.name, peer.name), MINUTE, async || {
        Ok(pings(pair, (guest, peer)).await?.then_some(()))
    })
    .await
}

async fn pings(pair: &Pair, (guest, peer): (&Guest, &Guest)) -> Result<bool> {
    let (has, _) = pair.around(guest).await?;
    let seen = has.running(guest).await?;
    let said = has.view(&seen)?.order(&format!("ping {}", peer.address()), MINUTE * SLACK).await?;
    Ok(said.starts_with("ok"))
}

/// There and back, as it runs. The guest notices nothing, and its peer finds it.
pub async fn moves(pair: &Pair, (guest, peer): (&Guest, &Guest)) -> Result<()> {
    for _ in 0..2 {
        let (has, next) = pair.around(guest).await?;
        let boot = has.boot_id(&has.running(guest).await?).await?;
        let order = json!({ "vm": guest.name, "host": next.name });
        has.orchestrator.done::<vm::Migrate>(order, 5 * MINUTE).await?;
        pair.runs_on(guest, &boot).await?;
        ensure!(pair.around(guest).await?.0.name == next.name, "{} has not moved", guest.name);
        reaches(pair, (guest, peer)).await?;
    }
    Ok(())
}

/// The agent that receives it dies: moved or not, it runs once.
pub async fn receiver_dies(pair: &Pair, guest: &Guest) -> Result<()> {
    let (has, next) = pair.around(guest).await?;
    let boot = has.boot_id(&has.running(guest).await?).await?;
    let order = json!({ "vm": guest.name, "host": next.name });
    kill_agent_in(next, "Receiving", has.orchestrator.call::<vm::Migrate>(order)).await?;
    pair.runs_on(guest, &boot).await.map(drop)
}

/// The agent that sends it dies.
pub async fn sender_dies(pair: &Pair, guest: &Guest) -> Result<()> {
    let (has, next) = pair.around(guest).await?;
    let boot = has.boot_id(&has.running(guest).await?).await?;
    let order = json!({ "vm": guest.name, "host": next.name });
    kill_agent_in(has, "Sending", has.orchestrator.call::<vm::Migrate>(order)).await?;
    pair.runs_on(guest, &boot).await.map(drop)
}

/// The hosts do not reach each other any more while its memory is on its way.
pub async fn network_is_cut(pair: &Pair, guest: &Guest) -> Result<()> {
    let (has, next) = pair.around(guest).await?;
    let boot = has.boot_id(&has.running(guest).await?).await?;
    let order = json!({ "vm": guest.name, "host": next.name });
    let started = has.orchestrator.call::<vm::Migrate>(order).await?;
    until("its memory is on its way", 2 * MINUTE, async || {
        let task = has.orchestrator.call::<task::Get>(json!({ "task": started.task })).await?;
        let sends = has.vm(guest.name).await?.observed.is_some_and(|seen| seen.power != Power::Running);
        Ok((sends || task.status.is_over()).then_some(()))
    })
    .await?;
    let cable = pair.other.host.as_ref().context("the host is ours")?;
    cable.set_cable(Cable::Lan, Link::Down).await?;
    // Longer than either side waits for the other.
    tokio::time::sleep(MINUTE + MINUTE / 4).await;
    cable.set_cable(Cable::Lan, Link::Up).await?;
    let task = has.orchestrator.over(started.task, 5 * MINUTE).await?;
    ensure!(matches!(task.status, TaskStatus::Done | TaskStatus::RolledBack), "{}", told(&task));
    eprintln!("    {}", told(&task));
    pair.runs_on(guest, &boot).await.map(drop)
}

/// The server of their SR is away for a minute while the guest writes: it waits, goes on, and nothing is lost.
pub async fn server_is_away(pair: &Pair, guest: &Guest) -> Result<()> {
    let (has, _) = pair.around(guest).await?;
    let seen = has.running(guest).await?;
    let boot = has.boot_id(&seen).await?;
    pair.one.dom0("systemctl stop nfs-server").await?;
    let (view, began) = (has.view(&seen)?, Instant::now());
    let writes = async {
        let said = view.order("write-pattern 41 1", 6 * MINUTE * SLACK).await;
        eprintln!("    the guest has written after {:.0} s", began.elapsed().as_secs_f64());
        said
    };
    let away = async {
        tokio::time::sleep(MINUTE).await;
        // An SR that does not answer holds its agent up in nothing else.
        let heard = has.host_is(HostStatus::Connected, MINUTE / 4).await;
        pair.one.dom0("systemctl start nfs-server").await?;
        heard
    };
    let (written, heard) = tokio::join!(writes, away);
    let (written, _) = (written?, heard?);
    ensure!(written.starts_with("ok"), "the guest could not write: {written}");
    has.order(&seen, "check-pattern 41 1").await?;
    // What later steps look for.
    has.order(&seen, "write-pattern 31 1").await?;
    pair.runs_on(guest, &boot).await.map(drop)
}

/// All that can go from a host goes; what has a disk of its own there stays, with the reason.
pub async fn evacuate(pair: &Pair, (moves, stays): (&Guest, &Guest)) -> Result<()> {
    let (has, _) = pair.around(moves).await?;
    if has.name != pair.other.name {
        let order = json!({ "vm": moves.name, "host": pair.other.name });
        has.orchestrator.done::<vm::Migrate>(order, 5 * MINUTE).await?;
    }
    let boot = pair.other.boot_id(&pair.other.running(moves).await?).await?;
    let orchestrator = &pair.one.orchestrator;
    let evacuation = orchestrator.call::<host::Evacuate>(json!({ "host": pair.other.name })).await?;
    for vm in evacuation.vms {
        match vm.task {
            Some(task) => {
                let task = orchestrator.over(task, 5 * MINUTE).await?;
                ensure!(vm.name == moves.name && task.status == TaskStatus::Done, "{}", told(&task));
            }
            None => ensure!(vm.name == stays.name && vm.error.is_some(), "{} stays: {:?}", vm.name, vm.error),
        }
    }
    let back = json!({ "host": pair.other.name, "maintenance": false });
    orchestrator.call::<host::SetMaintenance>(back).await?;
    pair.runs_on(moves, &boot).await?;
    ensure!(pair.around(moves).await?.0.name == pair.one.name, "{} has not left", moves.name);
    Ok(())
}

/// A host starts anew when all has left it, what has a disk of its own there with that, and is back in the pool.
pub async fn reboots(pair: &Pair, (guest, peer): (&Guest, &Guest)) -> Result<()> {
    const BOOT: &str = "cat /proc/sys/kernel/random/boot_id";
    let other = &pair.other;
    let (has, _) = pair.around(guest).await?;
    ensure!(has.name == other.name, "{} is not on {}, which it is to leave", guest.name, other.name);
    let seen = other.running(guest).await?;
    other.order(&seen, "write-pattern 31 1").await?;
    let (boot, before) = (other.boot_id(&seen).await?, other.dom0(BOOT).await?);
    let orchestrator = &pair.one.orchestrator;
    let order = json!({ "host": other.name, "guests": "evacuate", "move_disks": true });
    let plan =
        orchestrator.cli(&["host", "reboot", &other.name, "--evacuate", "--move-disks", "--dry-run"]).await?;
    ensure!(plan.contains(guest.name), "the plan does not name {}: {plan}", guest.name);
    orchestrator.done::<host::Reboot>(order, 20 * MINUTE).await?;
    // Its agent is heard; SSH may come up a moment later, and what was connected before is noticed to be gone.
    let now = until("SSH answers again", 3 * MINUTE, async || Ok(other.dom0(BOOT).await.ok())).await?;
    ensure!(now != before, "{} has not started anew", other.name);
    ensure!(pair.around(guest).await?.0.name == pair.one.name, "{} has not left", guest.name);
    pair.runs_on(guest, &boot).await?;
    // The shared SR and the private network come back with the host.
    let home = json!({ "vm": peer.name, "host": other.name });
    let started = until("the host takes VMs again", 3 * MINUTE, async || {
        Ok(orchestrator.call::<vm::Migrate>(home.clone()).await.ok())
    })
    .await?;
    let task = orchestrator.over(started.task, 5 * MINUTE).await?;
    ensure!(task.status == TaskStatus::Done, "{}", told(&task));
    reaches(pair, (guest, peer)).await
}

/// A guest that is started under a level is given what both hosts have: it boots with that, and moves.
pub async fn keeps_to_a_level(pair: &Pair, guest: &Guest) -> Result<()> {
    let orchestrator = &pair.one.orchestrator;
    let level = |kind: &str| json!({ "pool": "default", "mode": { "kind": kind } });
    let status = orchestrator.call::<pool::SetCpuLevel>(level("auto")).await?;
    ensure!(status.levels.len() == 1, "the hosts are alike, and have {status:?}");
    let (has, next) = pair.around(guest).await?;
    ensure_stopped(has, guest).await?;
    orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    let seen = has.running(guest).await?;
    ensure!(seen.cpu_given.as_deref() == status.levels.first(), "{status:?}, and was given {seen:?}");
    has.order(&seen, "write-pattern 31 1").await?;
    let boot = has.boot_id(&seen).await?;
    let order = json!({ "vm": guest.name, "host": next.name });
    orchestrator.done::<vm::Migrate>(order, 5 * MINUTE).await?;
    let moved = pair.runs_on(guest, &boot).await?;
    ensure!(moved.cpu_given == seen.cpu_given, "{moved:?}, and was given {seen:?}");
    orchestrator.call::<pool::SetCpuLevel>(level("off")).await.map(drop)
}

/// The network between the hosts is encrypted as its guests run, and open again.
pub async fn encrypts(pair: &Pair, guests: (&Guest, &Guest)) -> Result<()> {
    const HAS: &str = "modprobe wireguard 2>/dev/null && command -v wg >/dev/null && echo yes || echo no";
    for stage in [&pair.one, &pair.other] {
        if stage.dom0(HAS).await?.trim() != "yes" {
            eprintln!("    {} has no WireGuard: not looked at", stage.name);
            return Ok(());
        }
    }
    let orchestrator = &pair.one.orchestrator;
    orchestrator.cli(&["network", "set-encryption", "lan", "wireguard"]).await?;
    until("the hosts have shaken hands, and the guests reach each other", 3 * MINUTE, async || {
        let reached = pings(pair, guests).await?;
        let met = pair.other.dom0("wg show all latest-handshakes | awk '$3 > 0' | wc -l").await?;
        Ok((reached && met.trim() != "0").then_some(()))
    })
    .await?;
    orchestrator.cli(&["network", "set-encryption", "lan", "none"]).await?;
    reaches(pair, guests).await
}

/// There and back as it runs, each time with its disk, which only its host reaches.
pub async fn moves_with_disk(pair: &Pair, guest: &Guest) -> Result<()> {
    let (has, _) = pair.around(guest).await?;
    has.order(&has.running(guest).await?, "write-pattern 31 1").await?;
    for _ in 0..2 {
        let (has, next) = pair.around(guest).await?;
        let boot = has.boot_id(&has.running(guest).await?).await?;
        let order = json!({ "vm": guest.name, "host": next.name, "move_disks": true });
        has.orchestrator.done::<vm::Migrate>(order, 8 * MINUTE).await?;
        pair.runs_on(guest, &boot).await?;
        ensure!(pair.around(guest).await?.0.name == next.name, "{} has not moved", guest.name);
    }
    Ok(())
}

/// To a second SR of its host and back, while the guest writes.
pub async fn disk_moves(pair: &Pair, guest: &Guest) -> Result<()> {
    let (has, _) = pair.around(guest).await?;
    let spec = json!({ "kind": "folder", "path": "/srv/second" });
    let second = json!({ "name": "second", "host": has.name, "spec": spec });
    has.orchestrator.done::<sr::Create>(second, MINUTE).await?;
    let disk = format!("{}-xvda", guest.name);
    let home = json!({ "vdi": disk });
    for order in [json!({ "vdi": disk, "sr": "second" }), home] {
        let before = has.running(guest).await?;
        let boot = has.boot_id(&before).await?;
        has.order(&before, &format!("write-pattern {} 1", FIRST - 1)).await?;
        let started = has.orchestrator.call::<vdi::Migrate>(order).await?;
        let pattern = writes_until_it_stands(has, guest, started.task).await?;
        let task = has.orchestrator.over(started.task, 8 * MINUTE).await?;
        ensure!(task.status == TaskStatus::Done, "{}", told(&task));
        let seen = has.running_anew(guest, &before).await?;
        ensure!(has.boot_id(&seen).await? == boot, "the guest has booted anew: its memory is lost");
        if has.order(&seen, &format!("check-pattern {pattern} 1")).await.is_err() {
            // It was made to stand before it had heard of the last.
            has.order(&seen, &format!("check-pattern {} 1", pattern - 1)).await?;
        }
        // For the steps that follow.
        has.order(&seen, "write-pattern 31 1").await?;
    }
    Ok(())
}

const FIRST: u32 = 50;

/// One pattern after the other. Returns the last that the guest was told: what it was at when it was made to stand, it
/// finishes when it runs again.
async fn writes_until_it_stands(has: &Stage, guest: &Guest, task: TaskId) -> Result<u32> {
    for pattern in FIRST.. {
        let now = has.orchestrator.call::<task::Get>(json!({ "task": task })).await?;
        let seen = has.vm(guest.name).await?.observed.context("its host tells of it")?;
        if now.status.is_over() || seen.power != Power::Running {
            return Ok(pattern - 1);
        }
        let said = has.view(&seen)?.order(&format!("write-pattern {pattern} 1"), MINUTE / 4).await;
        if !said.is_ok_and(|said| said.starts_with("ok")) {
            return Ok(pattern);
        }
    }
    anyhow::bail!("the move does not end")
}

/// Rules hold for real packets, change while the guests run, and let answers pass.
pub async fn rules(pair: &Pair, (guest, peer): (&Guest, &Guest)) -> Result<()> {
    let orchestrator = &pair.one.orchestrator;
    let web = json!({ "vm": peer.name, "tags": ["web"] });
    orchestrator.done::<vm::Update>(web, MINUTE).await?;
    orchestrator.cli(&["security-group", "create", "web", "--tag", "web", "--ingress", "tcp:443"]).await?;
    until("what no rule allows is dropped", MINUTE, async || {
        Ok((!pings(pair, (guest, peer)).await?).then_some(()))
    })
    .await?;
    // Nobody asked it to answer: it asks, and the answer passes although its ingress is closed.
    reaches(pair, (peer, guest)).await.context("the answer to what it asked is dropped")?;
    orchestrator.cli(&["security-group", "set-rules", "web", "--ingress", "icmp"]).await?;
    reaches(pair, (guest, peer)).await?;
    orchestrator.cli(&["security-group", "delete", "web", "--yes"]).await.map(drop)
}

/// A VM that is off is only defined elsewhere, and starts there.
pub async fn moves_off(pair: &Pair, guest: &Guest) -> Result<()> {
    let (has, next) = pair.around(guest).await?;
    ensure_stopped(has, guest).await?;
    let order = json!({ "vm": guest.name, "host": next.name });
    has.orchestrator.done::<vm::Migrate>(order, MINUTE).await?;
    next.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    let seen = next.running(guest).await?;
    next.order(&seen, "check-pattern 31 1").await?;
    ensure!(has.domains(guest.name).await?.is_empty(), "{} has a domain where it was", guest.name);
    Ok(())
}

/// Both hosts write to one repository on an NFS server at once, twice, and all of it is there. That the share is not
/// mounted is told, and nothing is made where it was.
pub async fn backs_up(pair: &Pair, guests: [&Guest; 2]) -> Result<()> {
    for stage in [&pair.one, &pair.other] {
        stage.dom0(BACKUPS).await?;
    }
    let orchestrator = &pair.one.orchestrator;
    let place = json!({ "name": "share", "place": { "kind": "folder", "path": "/mnt/backups/xenith" } });
    orchestrator.done::<repository::Create>(place, 2 * MINUTE).await?;
    let names = guests.map(|guest| guest.name);
    let job = json!({ "name": "share", "vms": names, "repositories": ["share"], "concurrency": 2 });
    orchestrator.call::<backup_job::Create>(job).await?;
    for _ in 0..2 {
        let started = orchestrator.call::<backup_job::Run>(json!({ "job": "share" })).await?;
        let over = until("the backup run is over", 10 * MINUTE, async || {
            let run = orchestrator.call::<backup_run::Get>(json!({ "run": started.run })).await?;
            Ok(run.status.is_over().then_some(run))
        })
        .await?;
        ensure!(over.status == RunStatus::Done && over.vms.len() == 2, "{over:?}");
    }
    let deep = json!({ "repository": "share", "deep": true });
    orchestrator.done::<repository::Verify>(deep, 5 * MINUTE).await?;
    let served = pair.one.dom0("find /srv/backups/xenith/manifests -type f | wc -l").await?;
    ensure!(served.trim() == "4", "{served} backups are on the server, not 4");
    // Under the share is an empty folder of the host's own: nothing is made there.
    for stage in [&pair.one, &pair.other] {
        // Who read there last may still be about to close.
        stage.dom0("for i in $(seq 60); do umount /mnt/backups && exit 0; sleep 1; done; exit 1").await?;
    }
    let started = orchestrator.call::<repository::Test>(json!({ "repository": "share" })).await?;
    let task = orchestrator.over(started.task, 6 * MINUTE).await?;
    ensure!(task.status != TaskStatus::Done, "{}", told(&task));
    for stage in [&pair.one, &pair.other] {
        let made = stage.dom0("find /mnt/backups | wc -l").await?;
        ensure!(made.trim() == "1", "{} has made something under the share: {made}", stage.name);
        stage.dom0(BACKUPS).await?;
    }
    let again = json!({ "repository": "share" });
    orchestrator.done::<repository::Test>(again, 3 * MINUTE).await.map(drop)
}

pub async fn end(pair: &Pair, guests: [&Guest; 2]) -> Result<()> {
    for guest in guests {
        let (has, _) = pair.around(guest).await?;
        crate::life::end(has, guest).await?;
    }
    let left = pair.one.dom0("find /srv/nas -name '*.raw' -o -name '*.qcow2' | wc -l").await?;
    ensure!(left.trim() == "0", "{left} disks are left in the shared SR");
    Ok(())
}
