//! Change a VM's definition, and its running domain as far as that goes live.
//!
//! A VDI that is taken from the VM is held until the host has unplugged it: before, nobody else may use it.
//!
//! The record says the new definition from the transaction that starts the saga. When the host cannot follow,
//! the old spec comes back as a still newer definition: definitions only go up.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, OperationId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, VmAction};
use xenith_hypervisor_agent_types::VmSpec;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, NewVdi, host_removed, nothing, step_error};
use crate::model::VmRecord;
use crate::records;

#[derive(Clone)]
pub struct VmUpdate(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub vm: VmId,
    pub host: HostId,
    pub old: VmSpec,
    pub new: VmSpec,
    /// Of the new spec.
    pub definition: u64,
    pub new_vdis: Vec<NewVdi>,
}

impl Saga for VmUpdate {
    const KIND: &'static str = "vm_update";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("record", nothing).undo(restore)];
        for new in &params.new_vdis {
            steps.push(Step::new("disk", ensure_disk).undo(delete_disk).for_item(new.vdi.to_string()));
        }
        steps.push(Step::new("define", define).undo(define_old));
        steps.push(Step::new("apply", apply));
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        steps
    }
}

/// The old spec under a definition newer than the one that failed.
async fn restore(saga: &VmUpdate, ctx: &StepCtx<VmUpdate>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let Some(found) = db.vms.get(&params.vm).await? else { return Ok(()) };
    if found.value.held_by != Some(ctx.saga()) {
        return Ok(());
    }
    let restored = VmRecord {
        spec: params.old.clone(),
        definition: params.definition + 1,
        held_by: None,
        ..found.value.clone()
    };
    let made: BTreeSet<_> = params.new_vdis.iter().map(|new| new.vdi).collect();
    let mut commit = db.vms.update_in(Transaction::new(), &found, &restored);
    commit = records::follow(db, commit, params.vm, (Some(&found.value), Some(&restored)), &made).await?;
    for vdi in &made {
        commit = db.vdis.delete_in(commit, vdi);
    }
    db.store.commit(commit).await?;
    Ok(())
}

async fn ensure_disk(saga: &VmUpdate, ctx: &StepCtx<VmUpdate>) -> Result<(), StepError> {
    saga.0.ensure_disk(ctx, ctx.params().host, &ctx.params().new_vdis).await
}

async fn delete_disk(saga: &VmUpdate, ctx: &StepCtx<VmUpdate>) -> Result<(), StepError> {
    saga.0.delete_disk(ctx, ctx.params().host, &ctx.params().new_vdis).await
}

async fn define(saga: &VmUpdate, ctx: &StepCtx<VmUpdate>) -> Result<(), StepError> {
    let Params { vm, host, old, new, definition, .. } = ctx.params();
    let plugged = new.nics.iter().any(|nic| old.nics.iter().all(|had| had.mac != nic.mac));
    // One that is off, or not heard of, is not plugged into now.
    let is_up = saga.0.fleet()?.vm(*vm).is_some_and(|(_, seen)| seen.power.has_domain());
    if plugged && is_up {
        saga.0.rules_first(*host, *vm).await?;
    }
    saga.0.define(ctx, (*host, *vm), *definition, new).await
}

async fn define_old(saga: &VmUpdate, ctx: &StepCtx<VmUpdate>) -> Result<(), StepError> {
    let Params { vm, host, old, definition, .. } = ctx.params();
    saga.0.define(ctx, (*host, *vm), *definition + 1, old).await?;
    let operation = OperationId::from_uuid(ctx.derived_uuid("apply the old definition"));
    let command = Command::Vm { vm: *vm, action: VmAction::Apply };
    match saga.0.send_as(ctx, operation, *host, command).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.map_or_else(|| host_removed(*host), |error| step_error(&error))),
    }
}

/// Returns the fields that wait for the next start.
async fn apply(saga: &VmUpdate, ctx: &StepCtx<VmUpdate>) -> Result<Vec<String>, StepError> {
    let Params { vm, host, .. } = ctx.params();
    match saga.0.tell_vm(ctx, *host, *vm, VmAction::Apply).await? {
        CommandResult::Applied { after_restart, .. } => Ok(after_restart),
        _ => Ok(Vec::new()),
    }
}

async fn release(saga: &VmUpdate, ctx: &StepCtx<VmUpdate>) -> Result<(), StepError> {
    let Params { old, new, .. } = ctx.params();
    records::release_detached(&saga.0.db, (old, new), ctx.saga()).await?;
    let pending: Vec<String> = ctx.output("apply")?;
    let note = |record: &mut VmRecord| record.pending_restart.clone_from(&pending);
    saga.0.release_with(ctx.params().vm, ctx.saga(), note).await?;
    Ok(())
}
