//! Move a disk of a running VM to another SR of its host.
//!
//! ```text
//! record -> keep -> copy -> passes                                              while it runs
//! suspend -> rest -> switch -> exchange -> define | -> resume -> delete_old -> release
//! ```
//!
//! The first line is [`super::mirror`]'s. Then the VM's memory is saved on its host, what its guest wrote last is copied,
//! and the memory is resumed with the new disk. The domain is another one then: Xen gives a running one no other disk
//! behind its guest's back. The VM stands while its memory is written and read, which is said before.
//!
//! Until *resume* may have begun, the VM has its old disk, whatever fails, and everything is taken back: the saved memory
//! gets the old disk again, and is resumed with it. Behind it the new disk may have been written, and a retry goes on.
//! The old VDI goes when the new one runs.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, OperationId, VdiId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Exchanged, VmAction};
use xenith_hypervisor_agent_types::{ObservedVm, Power, ValidVmSpec, VmSpec};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::mirror::{self, Mirror, Mirrors, Side};
use super::{AGENT_RETURNS, Deps, TOLD_WITHIN, host_removed, nothing, step_error};
use crate::model::VmRecord;

#[derive(Clone)]
pub struct VdiMove(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub mirror: Mirror,
    /// The VM's, as it is when the saga begins.
    pub definition: u64,
    pub spec: VmSpec,
}

/// Writing the memory of a large guest to a slow disk, or reading it.
const PATIENCE: Duration = Duration::from_secs(1800);

impl Mirrors for VdiMove {
    fn deps(&self) -> &Deps {
        &self.0
    }

    fn mirror(params: &Params) -> Option<&Mirror> {
        Some(&params.mirror)
    }
}

impl Saga for VdiMove {
    const KIND: &'static str = "vdi_move";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("record", nothing).undo(erase)];
        steps.extend(mirror::while_it_runs());
        let suspend = Step::new("suspend", suspend).undo(run_on);
        steps.push(suspend.retry(AGENT_RETURNS).undo_retry(AGENT_RETURNS).deadline(PATIENCE));
        steps.push(mirror::rest());
        steps.push(Step::new("switch", switch).undo(switch_back));
        steps.push(Step::new("exchange", exchange).undo(exchange_back));
        steps.push(Step::new("define", define).undo(define_back));
        let resume = Step::new("resume", resume).retry(AGENT_RETURNS).deadline(PATIENCE);
        steps.push(resume.cannot_be_undone("the VM runs with the new disk, or may run"));
        steps.push(Step::new("delete_old", delete_old).retry(mirror::AGAIN).deadline(mirror::LETS_GO));
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        steps
    }
}

async fn erase(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    saga.0.erase_copies(ctx).await
}

async fn suspend(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    let Mirror { vm, from, .. } = &ctx.params().mirror;
    saga.0.tell_guest(ctx, (*from, *vm), VmAction::Suspend, None).await
}

/// Where it was suspended. A suspend that is under way is waited for: its host answers a definition when the VM is at rest.
async fn run_on(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    let (deps, Mirror { vm, from, .. }) = (&saga.0, &ctx.params().mirror);
    let Some(found) = deps.db.vms.get(vm).await? else { return Ok(()) };
    let VmRecord { definition, spec, .. } = found.value;
    let spec = ValidVmSpec::try_from(spec).map_err(|error| StepError::permanent(error.to_string()))?;
    let action = VmAction::Define { definition, spec: Box::new(spec) };
    // Never the same question twice: the answer changes.
    let asked = deps.send_as(ctx, OperationId::new(), *from, Command::Vm { vm: *vm, action }).await;
    match asked {
        Ok(CommandResult::Vm(seen)) if seen.power == Power::Suspended => {}
        Ok(_) => return Ok(()),
        Err(error) => return Err(error.map_or_else(|| host_removed(*from), |error| step_error(&error))),
    }
    let incarnation = IncarnationId::from_uuid(ctx.derived_uuid("run on"));
    deps.tell_vm(ctx, *from, *vm, VmAction::Resume { incarnation }).await?;
    seen_running(saga, ctx).await
}

async fn switch(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    place(saga, ctx, Side::New).await
}

async fn switch_back(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    place(saga, ctx, Side::Old).await
}

/// Of the definition with those disks. Definitions only go up: the way back is the second step from where the saga began.
fn defined(params: &Params, side: Side) -> (u64, VmSpec) {
    match side {
        Side::New => (params.definition + 1, params.mirror.with_new(&params.spec)),
        Side::Old => (params.definition + 2, params.spec.clone()),
    }
}

async fn place(saga: &VdiMove, ctx: &StepCtx<VdiMove>, side: Side) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let Some(commit) = saga.0.put_disks(ctx, Transaction::new(), side).await? else { return Ok(()) };
    let found = db.vms.get(&params.mirror.vm).await?;
    let ours = found.filter(|found| found.value.held_by == Some(ctx.saga()));
    let commit = match ours {
        Some(found) => {
            let (definition, spec) = defined(params, side);
            let changed = VmRecord { definition, spec, ..found.value.clone() };
            db.vms.update_in(commit, &found, &changed)
        }
        None => commit,
    };
    db.store.commit(commit).await?;
    Ok(())
}

async fn exchange(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    for disk in &ctx.params().mirror.disks {
        give(saga, ctx, (disk.from.id, disk.to.vdi)).await?;
    }
    Ok(())
}

async fn exchange_back(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    for disk in &ctx.params().mirror.disks {
        give(saga, ctx, (disk.to.vdi, disk.from.id)).await?;
    }
    Ok(())
}

/// The saved memory goes with this VDI instead of that one.
async fn give(saga: &VdiMove, ctx: &StepCtx<VdiMove>, (from, to): (VdiId, VdiId)) -> Result<(), StepError> {
    let Mirror { vm, from: host, .. } = &ctx.params().mirror;
    let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("{from} becomes {to}")));
    let action = VmAction::Exchange(Exchanged { from, to });
    match saga.0.send_as(ctx, operation, *host, Command::Vm { vm: *vm, action }).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.map_or_else(|| host_removed(*host), |error| step_error(&error))),
    }
}

async fn define(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    define_as(saga, ctx, Side::New).await
}

async fn define_back(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    define_as(saga, ctx, Side::Old).await
}

async fn define_as(saga: &VdiMove, ctx: &StepCtx<VdiMove>, side: Side) -> Result<(), StepError> {
    let params = ctx.params();
    let (host, vm): (HostId, _) = (params.mirror.from, params.mirror.vm);
    let (definition, spec) = defined(params, side);
    saga.0.define(ctx, (host, vm), definition, &spec).await
}

async fn resume(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    let (deps, Mirror { vm, from, .. }) = (&saga.0, &ctx.params().mirror);
    deps.rules_first(*from, *vm).await?;
    let incarnation = IncarnationId::from_uuid(ctx.derived_uuid("resumed"));
    deps.tell_guest(ctx, (*from, *vm), VmAction::Resume { incarnation }, None).await
}

/// With what was kept of it. Who looks right after the end finds the VM running.
async fn delete_old(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    mirror::drop_kept(saga, ctx).await?;
    mirror::delete_old(saga, ctx).await?;
    seen_running(saga, ctx).await
}

async fn seen_running(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    let running = |seen: Option<&ObservedVm>| seen.is_some_and(|seen| seen.power == Power::Running);
    let _told_later = saga.0.fleet()?.wait_for(ctx.params().mirror.vm, TOLD_WITHIN, running).await;
    Ok(())
}

async fn release(saga: &VdiMove, ctx: &StepCtx<VdiMove>) -> Result<(), StepError> {
    saga.0.release(ctx.params().mirror.vm, ctx.saga()).await?;
    Ok(())
}
