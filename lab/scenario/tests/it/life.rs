//! A VM's life as an administrator sees it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use xenith_hypervisor_agent_types::{DeathReason, ObservedVm, Power};
use xenith_lab_scenario::{Guest, Programs, SLACK, Stage, until};
use xenith_orchestrator_api::{network, vdi, vm};
use xenith_orchestrator_types::Reason;

use crate::{GATEWAY, MINUTE};

pub async fn enrol(stage: &Stage, programs: &Programs) -> Result<()> {
    let host = stage.enrol(programs).await?;
    let facts = host.facts.as_ref();
    let bridges: Vec<_> = facts.iter().flat_map(|facts| &facts.bridges).map(|b| b.name.as_str()).collect();
    ensure!(bridges.contains(&"xenbr0"), "{host:?}");
    ensure!(facts.is_some_and(|facts| facts.xen.major == 4), "{host:?}");
    let network = json!({ "name": "lan", "bridge": "xenbr0" });
    stage.orchestrator.call::<network::Create>(network).await.map(drop)
}

/// What an administrator runs in dom0 when something is odd. Of the rest it may warn: an emulated host has no nested
/// paging, and the agent itself has its port.
pub async fn doctor(stage: &Stage) -> Result<()> {
    until("doctor finds Xen, its daemon and its toolstack", 3 * MINUTE, async || {
        let said = stage.shell.exec("/usr/sbin/xenith-agent doctor -o json", MINUTE * SLACK).await?.text();
        let report: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        let checks = report["checks"].as_array().context("no checks")?;
        let is_well = |name: &str| checks.iter().any(|check| check["name"] == name && check["level"] == "ok");
        let well = ["xen", "xenstored", "libxenlight", "joined"].into_iter().all(is_well);
        if !well {
            // It gives a slow host ten seconds for an answer.
            eprintln!("    {said}");
        }
        Ok(well.then_some(()))
    })
    .await
}

pub async fn start(stage: &Stage, guest: &Guest) -> Result<()> {
    stage.orchestrator.done::<vm::Create>(guest.create(), MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    stage.running(guest).await?;
    let told = |seen: &ObservedVm| {
        let facts = &seen.guest;
        facts.os.as_deref().is_some_and(|os| os.contains("Xenith test guest"))
            && facts.pv_drivers.as_deref().is_some_and(|drivers| drivers.starts_with("1.0"))
            && facts.memory_free.is_some_and(|free| free.mib() < guest.memory_mib)
    };
    let seen = stage.observed(guest.name, "tells its system, drivers and free memory", told).await?;
    stage.order(&seen, "write-pattern 7 1").await?;
    stage.order(&seen, "check-pattern 7 1").await?;
    // Through the bridge and out of the host.
    stage.pings(&seen, GATEWAY).await
}

/// The orchestrator may only now notice that an agent was gone for a moment, and tell what that one was at when it died.
async fn settled(stage: &Stage, guest: &Guest) -> Result<ObservedVm> {
    let passing = [Power::Unknown, Power::Starting, Power::Stopping, Power::Suspending, Power::Resuming];
    stage.observed(guest.name, "has settled", |seen| !passing.contains(&seen.power)).await
}

/// Brings a VM to running from wherever the step before left it.
pub async fn ensure_running(stage: &Stage, guest: &Guest) -> Result<ObservedVm> {
    let vm = json!({ "vm": guest.name });
    let limit = 3 * MINUTE;
    match settled(stage, guest).await?.power {
        Power::Running => None,
        Power::Stopped | Power::Crashed => Some(stage.orchestrator.done::<vm::Start>(vm, limit).await?),
        Power::Suspended => Some(stage.orchestrator.done::<vm::Resume>(vm, limit).await?),
        Power::Paused => Some(stage.orchestrator.done::<vm::Unpause>(vm, limit).await?),
        other => bail!("{} is {other} when the step begins", guest.name),
    };
    stage.running(guest).await
}

/// Brings a VM to off; how does not matter here.
pub async fn ensure_stopped(stage: &Stage, guest: &Guest) -> Result<()> {
    if settled(stage, guest).await?.power.has_domain() {
        stage.orchestrator.done::<vm::PowerOff>(json!({ "vm": guest.name }), 2 * MINUTE).await?;
    }
    stage.observed(guest.name, "is off", |seen| !seen.power.has_domain()).await.map(drop)
}

pub async fn pause(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let vm = json!({ "vm": guest.name });
    stage.orchestrator.done::<vm::Pause>(vm.clone(), MINUTE).await?;
    stage.observed(guest.name, "is paused", |seen| seen.power == Power::Paused).await?;
    let state = stage.dom0(&format!("xl list {} | awk 'NR == 2 {{print $5}}'", guest.name)).await?;
    ensure!(state.contains('p'), "xl shows {state}");
    stage.orchestrator.done::<vm::Unpause>(vm, MINUTE).await?;
    let after = stage.observed(guest.name, "runs", |seen| seen.power == Power::Running).await?;
    ensure!(same_domain(&before, &after), "{before:?} became {after:?}");
    stage.order(&after, "uptime").await.map(drop)
}

pub async fn set_memory(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let target = guest.memory_mib - 48;
    let update = json!({ "vm": guest.name, "memory": { "target": target, "max": guest.memory_mib } });
    stage.orchestrator.done::<vm::Update>(update, 2 * MINUTE).await?;
    let after =
        stage.observed(guest.name, "has given memory back", |seen| seen.memory.mib() <= target + 2).await?;
    ensure!(same_domain(&before, &after), "{before:?} became {after:?}");
    let vm = stage.vm(guest.name).await?;
    ensure!(vm.pending_restart.is_empty(), "{:?}", vm.pending_restart);
    Ok(())
}

pub async fn attach_disk(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let disk = json!({ "vm": guest.name, "disk": { "size": 32 << 20 } });
    stage.orchestrator.done::<vm::AttachDisk>(disk, 2 * MINUTE).await?;
    stage.order(&before, "write-pattern 3 1 xvdb").await?;
    stage.order(&before, "check-pattern 3 1 xvdb").await?;
    let disks = stage.vm(guest.name).await?.spec.map_or(0, |spec| spec.disks.len());
    ensure!(disks == 2, "{disks} disks");
    Ok(())
}

pub async fn suspend_and_resume(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let boot = stage.boot_id(&before).await?;
    stage.order(&before, "write-pattern 7 1").await?;
    stage.orchestrator.done::<vm::Suspend>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    stage.observed(guest.name, "is suspended", |seen| seen.power == Power::Suspended).await?;
    ensure!(stage.domains(guest.name).await?.is_empty(), "the domain is still there");
    stage.orchestrator.done::<vm::Resume>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    let after = stage.running(guest).await?;
    ensure!(after.domid != before.domid, "a new domain has a new id");
    ensure!(stage.boot_id(&after).await? == boot, "the guest has booted anew: its memory is lost");
    stage.order(&after, "check-pattern 7 1").await.map(drop)
}

pub async fn end(stage: &Stage, guest: &Guest) -> Result<()> {
    ensure_running(stage, guest).await?;
    let vm = json!({ "vm": guest.name });
    stage.orchestrator.done::<vm::Shutdown>(vm.clone(), 3 * MINUTE).await?;
    let off = stage.observed(guest.name, "is stopped", |seen| seen.power == Power::Stopped).await?;
    ensure!(off.last_death == Some(DeathReason::PowerOff), "{off:?}");
    ensure!(stage.domains(guest.name).await?.is_empty(), "the domain is still there");
    stage.orchestrator.done::<vm::Delete>(vm, MINUTE).await?;
    let known = stage.orchestrator.refused::<vm::Get>(json!({ "vm": guest.name })).await?;
    ensure!(known == Reason::NotFound, "{known:?}");
    let disks = stage.orchestrator.call::<vdi::List>(json!({})).await?.items;
    let left: Vec<_> = disks.iter().filter(|disk| disk.name.contains(guest.name)).collect();
    ensure!(left.is_empty(), "disks are left: {left:?}");
    Ok(())
}

pub async fn crash(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let domid = before.domid.map_or(0, |domid| domid.0);
    // Not `order`: a guest that crashes does not answer.
    stage.dom0(&format!("xenstore-write /local/domain/{domid}/xenith/command '99 crash'")).await?;
    let after = stage.observed(guest.name, "is crashed", |seen| seen.power == Power::Crashed).await?;
    ensure!(after.last_death == Some(DeathReason::Crash), "{after:?}");
    ensure!(stage.domains(guest.name).await?.is_empty(), "the dead domain is still there");
    Ok(())
}

/// The same run of the VM, in the same domain.
pub fn same_domain(one: &ObservedVm, other: &ObservedVm) -> bool {
    one.incarnation == other.incarnation && one.domid == other.domid
}
