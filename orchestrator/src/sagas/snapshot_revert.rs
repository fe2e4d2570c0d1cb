//! Give a stopped VM's disks the contents of a snapshot. What they held is gone with the first disk, so from there
//! the saga only goes forward.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SnapshotId, VmId};
use xenith_hypervisor_agent_api::{Command, StorageCommand};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::snapshot::SnapshotDisk;

use super::{Deps, nothing};

#[derive(Clone)]
pub struct SnapshotRevert(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub snapshot: SnapshotId,
    pub vm: VmId,
    pub host: HostId,
    pub disks: Vec<SnapshotDisk>,
}

const PATIENCE: Duration = Duration::from_secs(4 * 3600);

impl Saga for SnapshotRevert {
    const KIND: &'static str = "snapshot_revert";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("hold", nothing).undo(release_only)];
        for disk in &params.disks {
            let step = Step::new("revert", revert).cannot_be_undone("what the disk held is gone");
            steps.push(step.for_item(disk.snapshot.to_string()).deadline(PATIENCE));
        }
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        steps
    }
}

async fn release_only(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}

async fn revert(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    let wanted = ctx.item().unwrap_or_default();
    let disk = ctx.params().disks.iter().find(|disk| disk.snapshot.to_string() == wanted);
    let disk =
        disk.ok_or_else(|| StepError::permanent("the step names a disk that is not in the parameters"))?;
    let command = StorageCommand::Revert { vdi: disk.vdi, snapshot: disk.snapshot, sr: disk.sr };
    saga.0.send(ctx, ctx.params().host, Command::Storage(command)).await?;
    let size = disk.size;
    saga.0.db.vdis.modify(&disk.vdi, |vdi| vdi.size = size).await?;
    Ok(())
}

async fn release(saga: &SnapshotRevert, ctx: &StepCtx<SnapshotRevert>) -> Result<(), StepError> {
    let snapshot = ctx.params().snapshot;
    saga.0.release_with(ctx.params().vm, ctx.saga(), |vm| vm.snapshot = Some(snapshot)).await?;
    Ok(())
}
