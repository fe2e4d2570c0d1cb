//! A VM's life as an administrator sees it.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use xenith_hypervisor_agent_types::Power;
use xenith_lab::guest::GuestKind;
use xenith_lab_scenario::{Guest, Programs, Stage, Steps};
use xenith_orchestrator_api::{network, vm};

const MINUTE: Duration = Duration::from_secs(60);

pub async fn enrol(stage: &Stage, programs: &Programs) -> Result<()> {
    let host = stage.enrol(programs).await?;
    let facts = host.facts.as_ref();
    let bridges: Vec<_> = facts.iter().flat_map(|facts| &facts.bridges).map(|b| b.name.as_str()).collect();
    ensure!(bridges.contains(&"xenbr0"), "{host:?}");
    ensure!(facts.is_some_and(|facts| facts.xen.major == 4), "{host:?}");
    let network = json!({ "name": "lan", "bridge": "xenbr0" });
    stage.orchestrator.call::<network::Create>(network).await.map(drop)
}

pub async fn all(stage: &mut Stage, steps: &mut Steps) {
    let pvh = Guest::new("pvh-1", GuestKind::Pvh, 101);
    if !steps.run("start a PVH guest, see its facts", 6 * MINUTE, start(stage, &pvh)).await {
        eprintln!("{}", stage.logs().await);
    }
    if !steps.run("shut down and delete it", 4 * MINUTE, end(stage, &pvh)).await {
        eprintln!("{}", stage.logs().await);
    }
}

pub async fn start(stage: &Stage, guest: &Guest) -> Result<()> {
    stage.orchestrator.done::<vm::Create>(guest.create(), MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    let seen = stage.running(guest).await?;
    ensure!(seen.guest.os.as_deref().is_some_and(|os| os.contains("Xenith test guest")), "{:?}", seen.guest);
    stage.order(&seen, "write-pattern 7").await?;
    stage.order(&seen, "check-pattern 7").await.map(drop)
}

pub async fn end(stage: &Stage, guest: &Guest) -> Result<()> {
    stage.orchestrator.done::<vm::Shutdown>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    stage.observed(guest.name, "is stopped", |seen| seen.power == Power::Stopped).await?;
    ensure!(stage.domains(guest.name).await?.is_empty(), "the domain is still there");
    stage.orchestrator.done::<vm::Delete>(json!({ "vm": guest.name }), MINUTE).await?;
    ensure!(stage.vm(guest.name).await.is_err(), "it is still known");
    Ok(())
}
