//! A guest stands still for a snapshot: asked over its channel, that libxl and QEMU make.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_hypervisor_agent_types::{Consistency, ObservedVm};
use xenith_lab_scenario::{Guest, Stage, until};
use xenith_orchestrator_api::{snapshot, vm};

use crate::MINUTE;

/// The guest does as a guest agent does and counts it (`lab/guest/agent`); the agent of the host must believe it, and let
/// it go.
pub async fn through_the_channel(stage: &Stage, guest: &Guest) -> Result<()> {
    // One guest at a time leaves the emulated CPU to it.
    crate::life::ensure_stopped(stage, &crate::PVH).await?;
    let mut create = guest.create();
    create["hardware"] = json!({ "guest_agent": true });
    stage.orchestrator.done::<vm::Create>(create, MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 4 * MINUTE).await?;
    let up = stage.running(guest).await?;
    let domid = up.domid.context("it runs in a domain")?;
    // `xl channel-list` tells no names.
    let channels = stage.dom0(&format!("xenstore-ls /local/domain/{domid}/device/console")).await?;
    ensure!(channels.contains("org.qemu.guest_agent.0"), "{channels}");
    counts(stage, &up, "0 thawed").await?;
    for (number, quiesce) in [(1, "try"), (2, "demand")] {
        let create = json!({ "vm": guest.name, "name": quiesce, "quiesce": quiesce });
        stage.orchestrator.done::<snapshot::Create>(create, 3 * MINUTE).await?;
        let of = json!({ "vm": guest.name, "snapshot": quiesce });
        let made = stage.orchestrator.call::<snapshot::Get>(of.clone()).await?;
        ensure!(made.consistency == Some(Consistency::FilesystemConsistent), "{made:?}");
        counts(stage, &up, &format!("{number} thawed")).await?;
        stage.orchestrator.done::<snapshot::Delete>(of, MINUTE).await?;
    }
    let notes = stage.dom0("find /var/lib/xenith/frozen -type f | wc -l").await?;
    ensure!(notes.trim() == "0", "{notes} guests are noted as frozen");
    ensure!(stage.running(guest).await?.domid == up.domid, "the guest was restarted");
    crate::life::end(stage, guest).await
}

/// Waits until the guest says how often it was frozen and how it is: as soon as it listens to its channel.
async fn counts(stage: &Stage, up: &ObservedVm, wanted: &str) -> Result<()> {
    until(&format!("the guest counts {wanted}"), MINUTE, async || {
        let counted = stage.view(up)?.read("data/xenith/quiesced").await?;
        Ok((counted.as_deref() == Some(wanted)).then_some(()))
    })
    .await
}
