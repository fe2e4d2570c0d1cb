//! Create a VM: its disks, its definition on the host, and its first start where asked.
//!
//! The record, with its name, MACs and VDIs, is written in the transaction that starts the saga.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{IncarnationId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_api::VmAction;
use xenith_hypervisor_agent_types::SnapshotOf;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, NewVdi, nothing};
use crate::model::VmRecord;
use crate::records;

#[derive(Clone)]
pub struct VmCreate(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub vm: VmId,
    pub record: VmRecord,
    pub new_vdis: Vec<NewVdi>,
    pub start: Option<IncarnationId>,
    /// A VM that is up, of whose disks these are clones.
    #[serde(default)]
    pub source: Option<Source>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    pub vm: VmId,
    pub disks: Vec<Kept>,
}

/// What a disk of the source is kept as until it is cloned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    pub vdi: VdiId,
    pub snapshot: VdiId,
    pub sr: SrId,
}

impl Saga for VmCreate {
    const KIND: &'static str = "vm_create";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("record", nothing).undo(erase)];
        if params.source.is_some() {
            steps.push(Step::new("snapshot", snapshot).undo(drop_snapshot));
        }
        for new in &params.new_vdis {
            steps.push(Step::new("disk", ensure_disk).undo(delete_disk).for_item(new.vdi.to_string()));
        }
        if params.source.is_some() {
            steps.push(Step::new("drop_snapshot", drop_snapshot));
        }
        steps.push(Step::new("define", define).undo(forget));
        if params.start.is_some() {
            steps.push(Step::new("start", start).undo(power_off));
        }
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        steps
    }
}

async fn erase(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let Some(record) = db.vms.get(&params.vm).await? else { return Ok(()) };
    let made: BTreeSet<_> = params.new_vdis.iter().map(|new| new.vdi).collect();
    let mut erase = db.vms.delete_in(Transaction::new(), &params.vm);
    erase = records::follow(db, erase, params.vm, (Some(&record.value), None), &made).await?;
    for vdi in &made {
        erase = db.vdis.delete_in(erase, vdi);
    }
    // Where it was to be one.
    erase = db.standbys.delete_in(erase, &params.vm);
    db.store.commit(erase).await?;
    Ok(())
}

async fn ensure_disk(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    saga.0.ensure_disk(ctx, ctx.params().record.host, &ctx.params().new_vdis).await
}

async fn delete_disk(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    saga.0.delete_disk(ctx, ctx.params().record.host, &ctx.params().new_vdis).await
}

async fn snapshot(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    let Params { record, source: Some(source), .. } = ctx.params() else { return Ok(()) };
    let of = |kept: &Kept| SnapshotOf { vdi: kept.vdi, snapshot: kept.snapshot };
    let disks: Vec<_> = source.disks.iter().map(of).collect();
    if disks.is_empty() {
        return Ok(());
    }
    saga.0.snapshot_disks(ctx, (record.host, source.vm), disks).await.map(drop)
}

async fn drop_snapshot(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    let Params { record, source: Some(source), .. } = ctx.params() else { return Ok(()) };
    for Kept { snapshot, sr, .. } in &source.disks {
        saga.0.delete_snapshot(ctx, record.host, (*snapshot, *sr)).await?;
    }
    Ok(())
}

async fn define(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    let Params { vm, record, .. } = ctx.params();
    saga.0.define(ctx, (record.host, *vm), record.definition, &record.spec).await
}

async fn forget(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    let Params { vm, record, .. } = ctx.params();
    saga.0.tell_vm(ctx, record.host, *vm, VmAction::Forget).await.map(|_| ())
}

async fn start(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    let Params { vm, record, start, .. } = ctx.params();
    let Some(incarnation) = *start else { return Ok(()) };
    saga.0.start_made(ctx, (record.host, *vm), incarnation).await
}

async fn power_off(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    let Params { vm, record, .. } = ctx.params();
    saga.0.tell_vm(ctx, record.host, *vm, VmAction::Destroy).await.map(|_| ())
}

async fn release(saga: &VmCreate, ctx: &StepCtx<VmCreate>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}
