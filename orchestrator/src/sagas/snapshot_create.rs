//! Snapshot a VM's disks. The record is written, incomplete, in the transaction that starts the saga; the last step
//! completes it and makes it the VM's current one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{OperationId, SnapshotId};
use xenith_hypervisor_agent_api::{Command, CommandResult, VmAction};
use xenith_hypervisor_agent_types::SnapshotOf;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, host_removed, step_error};
use crate::model::SnapshotRecord;

#[derive(Clone)]
pub struct SnapshotCreate(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub snapshot: SnapshotId,
    pub record: SnapshotRecord,
}

/// A VM that stands still may be copied, where its SR shares no blocks.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

impl Saga for SnapshotCreate {
    const KIND: &'static str = "snapshot_create";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("hold", nothing).undo(erase),
            Step::new("take", take).undo(drop_disks).deadline(PATIENCE),
            Step::new("complete", complete),
            Step::new("release", release).cannot_be_undone(super::RELEASED),
        ]
    }
}

async fn nothing(_: &SnapshotCreate, _: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    Ok(())
}

async fn erase(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    db.store.commit(db.snapshots.delete_in(Transaction::new(), &params.snapshot)).await?;
    saga.0.release(params.record.vm, ctx.saga()).await?;
    Ok(())
}

/// Returns how long the VM stood, in milliseconds.
async fn take(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<u32, StepError> {
    let record = &ctx.params().record;
    let disks =
        record.disks.iter().map(|disk| SnapshotOf { vdi: disk.vdi, snapshot: disk.snapshot }).collect();
    match saga.0.tell_vm(ctx, record.host, record.vm, VmAction::Snapshot { disks }).await? {
        CommandResult::Snapshotted(made) => Ok(u32::try_from(made.paused.as_millis()).unwrap_or(u32::MAX)),
        other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
    }
}

async fn drop_disks(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let record = &ctx.params().record;
    for disk in &record.disks {
        let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("drop {}", disk.snapshot)));
        let command = Command::DeleteVdi { vdi: disk.snapshot, sr: disk.sr };
        let sent = saga.0.send_as(ctx, operation, record.host, command).await;
        sent.map_err(|error| error.map_or_else(|| host_removed(record.host), |error| step_error(&error)))?;
    }
    Ok(())
}

async fn complete(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let paused: u32 = ctx.output("take")?;
    saga.0.db.snapshots.modify(&ctx.params().snapshot, |record| record.paused_ms = Some(paused)).await?;
    Ok(())
}

async fn release(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let snapshot = ctx.params().snapshot;
    saga.0.release_with(ctx.params().record.vm, ctx.saga(), |vm| vm.snapshot = Some(snapshot)).await?;
    Ok(())
}
