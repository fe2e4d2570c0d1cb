//! Snapshot a VM's disks. The record is written, incomplete, in the transaction that starts the saga; the last step
//! completes it and makes it the VM's current one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::SnapshotId;
use xenith_hypervisor_agent_types::{Quiesce, Quiesced, SnapshotOf};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, nothing};
use crate::model::SnapshotRecord;
use crate::snapshots;

#[derive(Clone)]
pub struct SnapshotCreate(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub snapshot: SnapshotId,
    pub record: SnapshotRecord,
    /// Of the guest.
    #[serde(default)]
    pub quiesce: Quiesce,
}

/// What came of the snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Taken {
    /// How long the VM stood.
    paused_ms: u32,
    quiesced: Quiesced,
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

async fn erase(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let erase = snapshots::delete_in(db, Transaction::new(), params.snapshot, params.record.vm);
    db.store.commit(erase).await?;
    saga.0.release(params.record.vm, ctx.saga()).await?;
    Ok(())
}

async fn take(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<Taken, StepError> {
    let record = &ctx.params().record;
    let disks =
        record.disks.iter().map(|disk| SnapshotOf { vdi: disk.vdi, snapshot: disk.snapshot }).collect();
    let quiesce = ctx.params().quiesce;
    let made = saga.0.snapshot_quiesced(ctx, (record.host, record.vm), disks, quiesce).await?;
    let paused_ms = u32::try_from(made.paused.as_millis()).unwrap_or(u32::MAX);
    Ok(Taken { paused_ms, quiesced: made.quiesced })
}

async fn drop_disks(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let record = &ctx.params().record;
    for disk in &record.disks {
        saga.0.delete_snapshot(ctx, record.host, (disk.snapshot, disk.sr)).await?;
    }
    Ok(())
}

async fn complete(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    // A saga that an earlier program began left a number, and asked no guest.
    let taken = match ctx.output_if_any::<u32>("take") {
        Some(paused_ms) => Taken { paused_ms, quiesced: Quiesced::default() },
        None => ctx.output("take")?,
    };
    let complete = |record: &mut SnapshotRecord| {
        record.paused_ms = Some(taken.paused_ms);
        record.quiesced = Some(taken.quiesced.clone());
    };
    saga.0.db.snapshots.modify(&ctx.params().snapshot, complete).await?;
    Ok(())
}

async fn release(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let snapshot = ctx.params().snapshot;
    saga.0.release_with(ctx.params().record.vm, ctx.saga(), |vm| vm.snapshot = Some(snapshot)).await?;
    Ok(())
}
