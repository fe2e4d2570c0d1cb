//! A real guest's serial console through orchestrator and agent, and a shell of the real host.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::time::timeout;
use xenith_lab::guest::READY;
use xenith_lab_scenario::{Guest, SLACK, Stage};
use xenith_orchestrator_api::console;
use xenith_orchestrator_client::Console;
use xenith_orchestrator_types::host::HostStatus;

use crate::MINUTE;
use crate::life::ensure_running;

pub async fn read_until(console: &mut Console, wanted: &str, limit: Duration) -> Result<String> {
    let mut seen = Vec::new();
    let reading = async {
        loop {
            let data = console.reader.next().await?.context("the console ended")?;
            seen.extend_from_slice(&data);
            if String::from_utf8_lossy(&seen).contains(wanted) {
                return Ok(());
            }
        }
    };
    let read = timeout(limit * SLACK, reading).await;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    match read {
        Ok(Ok(())) => Ok(seen),
        Ok(Err(error)) => Err(error),
        Err(_) => bail!("no {wanted:?} in {seen:?}"),
    }
}

/// xenconsoled has kept what nobody has read: the first viewer sees the guest's first words. The second sees them
/// too, from our own history.
pub async fn serial(stage: &Stage, guest: &Guest) -> Result<()> {
    ensure_running(stage, guest).await?;
    for viewer in ["the first", "the second"] {
        let ticket = stage.orchestrator.call::<console::Vm>(json!({ "vm": guest.name })).await?;
        let mut console = stage.orchestrator.client().console(&ticket).await?;
        let seen = read_until(&mut console, READY, MINUTE).await;
        seen.with_context(|| format!("{viewer} viewer"))?;
        let used = stage.orchestrator.client().console(&ticket).await;
        ensure!(used.is_err(), "a ticket worked twice");
    }
    Ok(())
}

pub async fn host_shell(stage: &Stage) -> Result<()> {
    let host = stage.host_is(HostStatus::Connected, MINUTE).await?.name;
    let ticket = stage.orchestrator.call::<console::Host>(json!({ "host": host })).await?;
    let mut console = stage.orchestrator.client().console(&ticket).await?;
    console.writer.send("xl list 0 | tail -n 1; echo $((6 * 7))-done\n".into()).await?;
    let seen = read_until(&mut console, "42-done", MINUTE).await?;
    ensure!(seen.contains("Domain-0"), "{seen:?}");
    console.writer.close().await;
    Ok(())
}
