//! Delete a snapshot. Those that came from it come from its parent then; nothing is merged.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SnapshotId, SrId, VdiId, VmId};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, nothing};
use crate::model::SnapshotRecord;
use crate::snapshots;

#[derive(Clone)]
pub struct SnapshotDelete(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub snapshot: SnapshotId,
    pub vm: VmId,
    pub host: HostId,
    pub disks: Vec<(VdiId, SrId)>,
}

impl Saga for SnapshotDelete {
    const KIND: &'static str = "snapshot_delete";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("hold", nothing).undo(release)];
        for (snapshot, _) in &params.disks {
            let step =
                Step::new("delete_disk", delete).cannot_be_undone("the contents of the snapshot are gone");
            steps.push(step.for_item(snapshot.to_string()));
        }
        steps.push(Step::new("erase", erase).cannot_be_undone("the record is gone"));
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        steps
    }
}

async fn delete(saga: &SnapshotDelete, ctx: &StepCtx<SnapshotDelete>) -> Result<(), StepError> {
    let wanted = ctx.item().unwrap_or_default();
    match ctx.params().disks.iter().find(|(snapshot, _)| snapshot.to_string() == wanted) {
        Some(disk) => saga.0.delete_vdi(ctx, ctx.params().host, *disk).await,
        None => Err(StepError::permanent("the step names a disk that is not in the parameters")),
    }
}

async fn erase(saga: &SnapshotDelete, ctx: &StepCtx<SnapshotDelete>) -> Result<(), StepError> {
    let (db, id) = (&saga.0.db, ctx.params().snapshot);
    let Some(gone) = db.snapshots.get(&id).await? else { return Ok(()) };
    let parent = gone.value.parent;
    let mut erase = snapshots::delete_in(db, Transaction::new(), id, gone.value.vm);
    let all = snapshots::of_vm(db, gone.value.vm).await?;
    for child in all.iter().filter(|other| other.value.parent == Some(id)) {
        let moved = SnapshotRecord { parent, ..child.value.clone() };
        erase = db.snapshots.update_in(erase, child, &moved);
    }
    if let Some(vm) = db.vms.get(&ctx.params().vm).await?
        && vm.value.snapshot == Some(id)
    {
        let mut changed = vm.value.clone();
        changed.snapshot = parent;
        erase = db.vms.update_in(erase, &vm, &changed);
    }
    db.store.commit(erase).await?;
    Ok(())
}

async fn release(saga: &SnapshotDelete, ctx: &StepCtx<SnapshotDelete>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}
