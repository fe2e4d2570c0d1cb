//! Everything that is done with a standby VM: bringing it to a newer backup, letting it take over, or both.
//!
//! ```text
//! follow:    hold -> [disks] -> [checkpoint] -> write... -> define -> followed -> release
//! fail over: hold -> switch -> define -> start -> release -> tell the other's host
//! fail back: hold -> [stop] -> snapshot -> transfer -> those of follow -> those of fail over -> record -> tidy
//! ```
//!
//! What always holds:
//! * what the standby's record says that it holds is a whole backup: the record says nothing while its disks are written
//!   ([`super::standby_follow`]), and where there is a checkpoint, a saga that is taken back puts both back;
//! * which of the two VMs stands by changes in one transaction ([`super::standby_switch`]), so that an orchestrator that
//!   dies at any moment finds one of them free to run, never both and never none;
//! * the *release* is the point of no return: before it the VM that ran is started again.
//!
//! VMs are held from the transaction that starts the saga; the VM that ran is not, when a fail-over is forced while another
//! operation has it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, RepositoryId, VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, ShutdownKind, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::backup::BackupFacts;
use xenith_hypervisor_agent_types::{FaultReason, Quiesced, VmSpec};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::standby_follow::{self, Follow};
use super::standby_switch::{self, Switch};
use super::vm_act::Otherwise;
use super::{Deps, backup_vm, host_removed, nothing, step_error};

#[derive(Clone)]
pub struct StandbyAct(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    /// The VM that stands by, and its host.
    pub standby: VmId,
    pub host: HostId,
    pub repository: RepositoryId,
    pub last: Option<Last>,
    pub follow: Option<Follow>,
    pub switch: Option<Switch>,
}

/// The last backup of the VM that ran, made while it is off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Last {
    pub stop: Option<Stop>,
    pub backup: backup_vm::Params,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stop {
    pub deadline_s: u32,
    /// Power off when the guest does not answer.
    pub force: bool,
    /// When it has to be started again after all.
    pub incarnation: IncarnationId,
}

/// A VM's definition before and after.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    pub old: VmSpec,
    pub new: VmSpec,
    /// Of the new one.
    pub definition: u64,
}

/// A host that restarts, a store that fails over: data waits for an hour.
pub(super) const PATIENT: RetryPolicy =
    RetryPolicy { attempts: 120, first: Duration::from_millis(500), most: Duration::from_secs(30) };
pub(super) const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// More than a guest's deadline: the agent answers first.
const MARGIN: Duration = Duration::from_secs(60);

impl Saga for StandbyAct {
    const KIND: &'static str = "standby_act";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("hold", nothing).undo(put_back)];
        if let Some(last) = &params.last {
            if let Some(stop_params) = last.stop {
                let deadline = Duration::from_secs(stop_params.deadline_s.into()) + MARGIN;
                steps.push(Step::new("stop", stop).undo(start_again).deadline(deadline));
            }
            steps.push(Step::new(backup_vm::SNAPSHOT, snapshot).undo(drop_snapshots));
            steps.push(Step::new("transfer", transfer).retry(PATIENT).deadline(WEEK));
        }
        if let Some(follow) = &params.follow {
            steps.extend(standby_follow::steps(follow));
        }
        if params.switch.is_some() {
            steps.extend(standby_switch::steps());
        }
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        if params.last.is_some() {
            steps.push(Step::new("record", record));
            steps.push(Step::new("tidy", tidy));
        }
        if params.follow.as_ref().is_some_and(|follow| follow.checkpoint) {
            steps.push(Step::new("drop_checkpoint", standby_follow::drop_checkpoint));
        }
        if params.switch.is_some() {
            steps.push(Step::new("define_other", standby_switch::define_falling));
        }
        steps
    }
}

/// Both VMs are let go of, and the standby is what it was.
async fn put_back(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    if ctx.params().follow.is_some() {
        standby_follow::put_back(saga, ctx).await?;
    }
    release(saga, ctx).await
}

async fn release(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let params = ctx.params();
    saga.0.release(params.standby, ctx.saga()).await?;
    if let Some(falling) = params.switch.as_ref().and_then(|switch| switch.falling.as_ref()) {
        saga.0.release(falling.vm, ctx.saga()).await?;
    }
    Ok(())
}

fn last(ctx: &StepCtx<StandbyAct>) -> Result<&Last, StepError> {
    ctx.params().last.as_ref().ok_or_else(|| StepError::permanent("no last backup is among the parameters"))
}

async fn stop(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let Last { stop: Some(stop), backup } = last(ctx)? else { return Ok(()) };
    let deadline = Duration::from_secs(stop.deadline_s.into());
    let action = VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline };
    let otherwise = stop.force.then_some(Otherwise::PowerOff);
    saga.0.tell_guest(ctx, (backup.host, backup.vm), action, otherwise).await
}

async fn start_again(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let Last { stop: Some(stop), backup } = last(ctx)? else { return Ok(()) };
    let cpu_level = saga.0.cpu_level(backup.host).await?;
    let action = VmAction::Start { incarnation: stop.incarnation, cpu_level };
    let command = Command::Vm { vm: backup.vm, action };
    match saga.0.send_as(ctx, ctx.operation_id(), backup.host, command).await {
        Ok(_) => Ok(()),
        // It was not stopped, and runs on.
        Err(Some(AgentClientError::Refused(fault))) if fault.reason == FaultReason::WrongState => Ok(()),
        Err(error) => Err(error.map_or_else(|| host_removed(backup.host), |error| step_error(&error))),
    }
}

async fn snapshot(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<Quiesced, StepError> {
    saga.0.keep_disks(ctx, &last(ctx)?.backup).await
}

async fn drop_snapshots(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    saga.0.drop_kept_disks(ctx, &last(ctx)?.backup).await
}

async fn transfer(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<BackupFacts, StepError> {
    let quiesced = ctx.output(backup_vm::SNAPSHOT)?;
    saga.0.transfer_disks(ctx, &last(ctx)?.backup, (ctx.params().repository, quiesced)).await
}

async fn record(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    let made: BackupFacts = ctx.output("transfer")?;
    let (backup, repository) = (&last(ctx)?.backup, ctx.params().repository);
    let commit = saga.0.record_backup_in(backup, (repository, &made), Transaction::new()).await?;
    saga.0.db.store.commit(commit).await?;
    Ok(())
}

async fn tidy(saga: &StandbyAct, ctx: &StepCtx<StandbyAct>) -> Result<(), StepError> {
    saga.0.tidy_snapshots(ctx, &last(ctx)?.backup).await
}

/// The step's disk.
pub(super) fn item(ctx: &StepCtx<StandbyAct>) -> Result<VdiId, StepError> {
    let item = ctx.item().unwrap_or_default();
    item.parse().map_err(|_| StepError::permanent("the step names no disk"))
}
