//! Delete a stopped VM, and its disks unless they are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SnapshotId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_api::VmAction;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, nothing};
use crate::pieces::Pieces;
use crate::{records, snapshots};

#[derive(Clone)]
pub struct VmDelete(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub vm: VmId,
    pub host: HostId,
    /// To delete with it, those of its snapshots too.
    pub vdis: Vec<(VdiId, SrId)>,
    #[serde(default)]
    pub snapshots: Vec<SnapshotId>,
}

impl Saga for VmDelete {
    const KIND: &'static str = "vm_delete";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![
            Step::new("hold", nothing).undo(release),
            // Asks the host first: it refuses while there is a domain, and then nothing is lost.
            Step::new("forget", forget).undo(define),
        ];
        for (vdi, _) in &params.vdis {
            let step =
                Step::new("delete_disk", delete_disk).cannot_be_undone("the contents of a disk are gone");
            steps.push(step.for_item(vdi.to_string()));
        }
        steps.push(Step::new("erase", erase).cannot_be_undone("the record is gone"));
        steps
    }
}

async fn release(saga: &VmDelete, ctx: &StepCtx<VmDelete>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}

async fn forget(saga: &VmDelete, ctx: &StepCtx<VmDelete>) -> Result<(), StepError> {
    let Params { vm, host, .. } = ctx.params();
    saga.0.tell_vm(ctx, *host, *vm, VmAction::Forget).await.map(|_| ())
}

async fn define(saga: &VmDelete, ctx: &StepCtx<VmDelete>) -> Result<(), StepError> {
    let Params { vm, host, .. } = ctx.params();
    let Some(record) = saga.0.db.vms.get(vm).await? else { return Ok(()) };
    saga.0.define(ctx, (*host, *vm), record.value.definition, &record.value.spec).await
}

async fn delete_disk(saga: &VmDelete, ctx: &StepCtx<VmDelete>) -> Result<(), StepError> {
    let Params { host, vdis, .. } = ctx.params();
    let wanted = ctx.item().unwrap_or_default();
    match vdis.iter().find(|(vdi, _)| vdi.to_string() == wanted) {
        Some(vdi) => {
            saga.0.delete_vdi(ctx, *host, *vdi).await?;
            saga.0.drop_bases(ctx, vdi.0).await
        }
        None => Err(StepError::permanent("the step names a disk that is not in the parameters")),
    }
}

async fn erase(saga: &VmDelete, ctx: &StepCtx<VmDelete>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let Some(record) = db.vms.get(&params.vm).await? else { return Ok(()) };
    // There may be more of these than one commit takes; the VM's record goes last, so that a second run goes on.
    let mut pieces = Pieces::new(db);
    for snapshot in &params.snapshots {
        pieces.add(snapshots::delete_in(db, Transaction::new(), *snapshot, params.vm)).await?;
    }
    let deleted: BTreeSet<_> = params.vdis.iter().map(|(vdi, _)| *vdi).collect();
    for vdi in &deleted {
        pieces.add(db.vdis.delete_in(Transaction::new(), vdi)).await?;
    }
    let mut erase = db.vms.delete_in(Transaction::new(), &params.vm);
    erase = records::follow(db, erase, params.vm, (Some(&record.value), None), &deleted).await?;
    erase = db.standbys.delete_in(erase, &params.vm);
    pieces.add(erase).await?;
    Ok(pieces.finish().await?)
}
