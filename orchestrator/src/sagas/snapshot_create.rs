//! Snapshot a VM's disks, or these and its memory. The record is written, incomplete, in the transaction that starts the
//! saga; the last step completes it and makes it the VM's current one.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::SnapshotId;
use xenith_hypervisor_agent_types::{KeptMemory, MemoryOf, Quiesce, Quiesced, SnapshotOf};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
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
    #[serde(default)]
    memory: Option<KeptMemory>,
}

/// A VM that stands still may be copied, where its SR shares no blocks.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// A host that did not hear that nobody wants it any more may write much memory before it lets go of it.
const HOST_ENDS: RetryPolicy =
    RetryPolicy { attempts: 400, first: Duration::from_millis(500), most: Duration::from_secs(8) };

impl Saga for SnapshotCreate {
    const KIND: &'static str = "snapshot_create";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("hold", nothing).undo(erase),
            Step::new("take", take).undo(drop_kept).undo_retry(HOST_ENDS).deadline(PATIENCE),
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
    let of = (record.host, record.vm);
    let made = match &record.memory {
        Some(memory) => {
            let memory = MemoryOf { vdi: memory.vdi, sr: memory.sr };
            saga.0.snapshot_with_memory(ctx, of, disks, memory).await?
        }
        None => saga.0.snapshot_quiesced(ctx, of, disks, ctx.params().quiesce).await?,
    };
    let paused_ms = u32::try_from(made.paused.as_millis()).unwrap_or(u32::MAX);
    Ok(Taken { paused_ms, quiesced: made.quiesced, memory: made.memory })
}

async fn drop_kept(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let record = &ctx.params().record;
    let kept: Vec<_> = record.kept().collect();
    for (vdi, sr) in kept {
        let discarded = saga.0.discard_snapshot(ctx, record.host, (vdi, sr)).await?;
        discarded.or_again(&format!("the snapshot ({vdi})"))?;
    }
    Ok(())
}

async fn complete(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    // A saga that an earlier program began left a number, and asked no guest.
    let taken = match ctx.output_if_any::<u32>("take") {
        Some(paused_ms) => Taken { paused_ms, quiesced: Quiesced::default(), memory: None },
        None => ctx.output("take")?,
    };
    let complete = |record: &mut SnapshotRecord| {
        record.paused_ms = Some(taken.paused_ms);
        record.quiesced = Some(taken.quiesced.clone());
        if let Some(memory) = &mut record.memory {
            memory.kept = taken.memory.clone();
        }
    };
    saga.0.db.snapshots.modify(&ctx.params().snapshot, complete).await?;
    Ok(())
}

async fn release(saga: &SnapshotCreate, ctx: &StepCtx<SnapshotCreate>) -> Result<(), StepError> {
    let snapshot = ctx.params().snapshot;
    saga.0.release_with(ctx.params().record.vm, ctx.saga(), |vm| vm.snapshot = Some(snapshot)).await?;
    Ok(())
}
