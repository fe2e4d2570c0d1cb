//! Disks while their VM runs: the second one, that was attached to it; what is on the first is for other steps.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_hypervisor_agent_types::ObservedVm;
use xenith_lab_scenario::{Guest, Stage, until};
use xenith_orchestrator_api::{snapshot, vdi, vm};

use crate::MINUTE;
use crate::life::{ensure_running, ensure_stopped, same_domain};

/// Snapshot a running guest, change the disk, go back, find what was there.
pub async fn snapshot(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    stage.order(&before, "write-pattern 21 1 xvdb").await?;
    let create = json!({ "vm": guest.name, "name": "before" });
    stage.orchestrator.done::<snapshot::Create>(create, 3 * MINUTE).await?;
    let of = json!({ "snapshot": "before", "vm": guest.name });
    let made = stage.orchestrator.call::<snapshot::Get>(of.clone()).await?;
    // A second is promised; emulation is some twenty times slower.
    ensure!(made.current && made.paused_ms.is_some_and(|paused| paused < 5000), "{made:?}");
    let after = stage.running(guest).await?;
    ensure!(same_domain(&before, &after), "{before:?} became {after:?}");
    stage.order(&after, "write-pattern 22 1 xvdb").await?;
    stage.order(&after, "check-pattern 22 1 xvdb").await?;
    ensure_stopped(stage, guest).await?;
    stage.orchestrator.done::<snapshot::Revert>(of.clone(), 3 * MINUTE).await?;
    let back = ensure_running(stage, guest).await?;
    stage.order(&back, "check-pattern 21 1 xvdb").await?;
    stage.orchestrator.done::<snapshot::Delete>(of, MINUTE).await?;
    let left = stage.dom0("ls /var/lib/xenith/sr/*.snap 2>/dev/null | wc -l").await?;
    ensure!(left.trim() == "0", "{left} snapshots are left on the host");
    Ok(())
}

/// Enlarge a disk of a running guest: its back end says so, and it still works.
pub async fn resize(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let spec = stage.vm(guest.name).await?.spec.context("a definition")?;
    let disk = spec.disks.get(1).context("a second disk")?.vdi.to_string();
    let size = stage.orchestrator.call::<vdi::Get>(json!({ "vdi": disk })).await?.size.bytes() + (16 << 20);
    let grow = json!({ "vdi": disk, "size": size });
    stage.orchestrator.done::<vdi::Resize>(grow, MINUTE).await?;
    // The back end looks with the next request.
    stage.order(&before, "write-pattern 23 1 xvdb").await?;
    stage.order(&before, "check-pattern 23 1 xvdb").await?;
    tells_size(stage, &before, ("51728", size)).await
}

/// Waits until the back end of a disk tells its size: it does so beside the request in which it saw that.
pub async fn tells_size(stage: &Stage, guest: &ObservedVm, (device, size): (&str, u64)) -> Result<()> {
    let domid = guest.domid.context("a domain")?.0;
    let wanted = (size / 512).to_string();
    until(&format!("{} tells {wanted} sectors", guest.name), MINUTE, async || {
        let sectors = stage.dom0(&format!("xenstore-read backend/vbd/{domid}/{device}/sectors")).await?;
        Ok((sectors.trim() == wanted).then_some(()))
    })
    .await
}

/// A second VM from a snapshot has what the first had.
pub async fn clone(stage: &Stage, guest: &Guest, copy: &Guest) -> Result<()> {
    let running = ensure_running(stage, guest).await?;
    stage.order(&running, "write-pattern 24 1 xvdb").await?;
    let create = json!({ "vm": guest.name, "name": "golden" });
    stage.orchestrator.done::<snapshot::Create>(create, 3 * MINUTE).await?;
    ensure_stopped(stage, guest).await?;
    let clone = json!({ "snapshot": "golden", "vm": guest.name, "name": copy.name, "start": true });
    stage.orchestrator.done::<snapshot::Clone>(clone, 5 * MINUTE).await?;
    let cloned = stage.observed(copy.name, "runs", |seen| seen.domid.is_some()).await?;
    let cloned = stage.running(copy).await.unwrap_or(cloned);
    stage.order(&cloned, "check-pattern 24 1 xvdb").await?;
    stage.orchestrator.done::<vm::PowerOff>(json!({ "vm": copy.name }), MINUTE).await?;
    stage.orchestrator.done::<vm::Delete>(json!({ "vm": copy.name }), MINUTE).await?;
    let of = json!({ "snapshot": "golden", "vm": guest.name });
    stage.orchestrator.done::<snapshot::Delete>(of, MINUTE).await.map(drop)
}
