//! Make a template from a VM, which stays as it is: its disks are snapshotted, and the snapshots are the template's.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, TemplateId, VmId};
use xenith_hypervisor_agent_types::SnapshotOf;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::snapshot::SnapshotDisk;

use super::{Deps, nothing};

#[derive(Clone)]
pub struct TemplateCreate(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub template: TemplateId,
    pub vm: VmId,
    pub host: HostId,
    pub disks: Vec<SnapshotDisk>,
}

const PATIENCE: Duration = Duration::from_secs(4 * 3600);

impl Saga for TemplateCreate {
    const KIND: &'static str = "template_create";
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

async fn erase(saga: &TemplateCreate, ctx: &StepCtx<TemplateCreate>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    db.store.commit(db.templates.delete_in(Transaction::new(), &params.template)).await?;
    saga.0.release(params.vm, ctx.saga()).await?;
    Ok(())
}

async fn take(saga: &TemplateCreate, ctx: &StepCtx<TemplateCreate>) -> Result<(), StepError> {
    let Params { vm, host, disks, .. } = ctx.params();
    let disks = disks.iter().map(|disk| SnapshotOf { vdi: disk.vdi, snapshot: disk.snapshot }).collect();
    saga.0.snapshot_disks(ctx, (*host, *vm), disks).await.map(|_| ())
}

async fn drop_disks(saga: &TemplateCreate, ctx: &StepCtx<TemplateCreate>) -> Result<(), StepError> {
    let Params { host, disks, .. } = ctx.params();
    for disk in disks {
        saga.0.delete_snapshot(ctx, *host, (disk.snapshot, disk.sr)).await?;
    }
    Ok(())
}

async fn complete(saga: &TemplateCreate, ctx: &StepCtx<TemplateCreate>) -> Result<(), StepError> {
    saga.0.db.templates.modify(&ctx.params().template, |record| record.ready = true).await?;
    Ok(())
}

async fn release(saga: &TemplateCreate, ctx: &StepCtx<TemplateCreate>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}
