//! Start, stop, pause, … one VM.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, OperationId, VmId};
use xenith_hypervisor_agent_api::{Command, ShutdownKind, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{FaultReason, ObservedVm, Power, VmSpec};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};

use super::{Deps, host_removed, nothing, step_error};

#[derive(Clone)]
pub struct VmAct(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub vm: VmId,
    pub host: HostId,
    pub definition: u64,
    pub spec: VmSpec,
    pub act: Act,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    Start {
        incarnation: IncarnationId,
    },
    Resume {
        incarnation: IncarnationId,
    },
    /// `force`: power off when the guest did not answer.
    Shutdown {
        deadline_s: u32,
        force: bool,
    },
    Reboot {
        deadline_s: u32,
        force: bool,
    },
    PowerOff,
    Pause,
    Unpause,
    Suspend,
}

/// More than a guest's deadline: the agent answers first.
const MARGIN: Duration = Duration::from_secs(60);
/// Building a large guest, or writing its memory to a slow disk.
const PATIENCE: Duration = Duration::from_secs(1800);

impl Saga for VmAct {
    const KIND: &'static str = "vm_act";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("hold", nothing).undo(release)];
        match params.act {
            Act::Start { .. } => {
                steps.push(Step::new("define", define));
                steps.push(Step::new("start", act).undo(power_off).deadline(PATIENCE));
            }
            Act::Resume { .. } => steps.push(Step::new("resume", act).deadline(PATIENCE)),
            Act::Shutdown { deadline_s, .. } | Act::Reboot { deadline_s, .. } => {
                let deadline = Duration::from_secs(deadline_s.into()) + MARGIN;
                let name = if matches!(params.act, Act::Reboot { .. }) { "reboot" } else { "shutdown" };
                steps.push(Step::new(name, act).deadline(deadline));
            }
            Act::PowerOff => steps.push(Step::new("power_off", act)),
            Act::Pause => steps.push(Step::new("pause", act)),
            Act::Unpause => steps.push(Step::new("unpause", act)),
            Act::Suspend => steps.push(Step::new("suspend", act).deadline(PATIENCE)),
        }
        steps.push(Step::new("observe", observe));
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        steps
    }
}

async fn define(saga: &VmAct, ctx: &StepCtx<VmAct>) -> Result<(), StepError> {
    let Params { vm, host, definition, spec, .. } = ctx.params();
    saga.0.define(ctx, (*host, *vm), *definition, spec).await
}

async fn act(saga: &VmAct, ctx: &StepCtx<VmAct>) -> Result<(), StepError> {
    let Params { vm, host, act, .. } = ctx.params();
    let (action, force) = action(*act);
    saga.0.tell_guest(ctx, (*host, *vm), action, force.then_some(Otherwise::PowerOff)).await
}

/// What becomes of a guest that does not answer.
pub(super) enum Otherwise {
    PowerOff,
}

impl Deps {
    /// As `tell_vm`, of what a guest has to do itself.
    pub(super) async fn tell_guest<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, vm): (HostId, VmId),
        action: VmAction,
        otherwise: Option<Otherwise>,
    ) -> Result<(), StepError> {
        let refused = match self.send_as(ctx, ctx.operation_id(), host, Command::Vm { vm, action }).await {
            Ok(_) => return Ok(()),
            Err(error) => error.ok_or_else(|| host_removed(host))?,
        };
        match (&refused, otherwise) {
            (AgentClientError::Refused(fault), Some(Otherwise::PowerOff))
                if fault.reason == FaultReason::GuestUnresponsive =>
            {
                ctx.progress(90, "the guest did not answer; powering it off");
                let operation = OperationId::from_uuid(ctx.derived_uuid("power off"));
                let command = Command::Vm { vm, action: VmAction::Destroy };
                let done = self.send_as(ctx, operation, host, command).await;
                done.map(drop)
                    .map_err(|error| error.map_or_else(|| host_removed(host), |error| step_error(&error)))
            }
            _ => Err(step_error(&refused)),
        }
    }
}

fn action(act: Act) -> (VmAction, bool) {
    let shutdown =
        |kind, deadline_s: u32| VmAction::Shutdown { kind, deadline: Duration::from_secs(deadline_s.into()) };
    match act {
        Act::Start { incarnation } => (VmAction::Start { incarnation }, false),
        Act::Resume { incarnation } => (VmAction::Resume { incarnation }, false),
        Act::Shutdown { deadline_s, force } => (shutdown(ShutdownKind::PowerOff, deadline_s), force),
        Act::Reboot { deadline_s, force } => (shutdown(ShutdownKind::Reboot, deadline_s), force),
        Act::PowerOff => (VmAction::Destroy, false),
        Act::Pause => (VmAction::Pause, false),
        Act::Unpause => (VmAction::Unpause, false),
        Act::Suspend => (VmAction::Suspend, false),
    }
}

async fn power_off(saga: &VmAct, ctx: &StepCtx<VmAct>) -> Result<(), StepError> {
    let Params { vm, host, .. } = ctx.params();
    saga.0.tell_vm(ctx, *host, *vm, VmAction::Destroy).await.map(|_| ())
}

/// The command is done; waits a moment until the inventory says so too, so that who waited for the task and
/// then looks sees what they asked for. Not a condition: the guest may have gone on meanwhile.
async fn observe(saga: &VmAct, ctx: &StepCtx<VmAct>) -> Result<(), StepError> {
    let Params { vm, act, .. } = ctx.params();
    let arrived = |observed: Option<&ObservedVm>| {
        let power = observed.map(|observed| observed.power);
        match act {
            Act::Start { .. } | Act::Resume { .. } | Act::Unpause => power == Some(Power::Running),
            Act::Pause => power == Some(Power::Paused),
            Act::Suspend => power == Some(Power::Suspended),
            Act::Shutdown { .. } | Act::PowerOff => !power.is_some_and(Power::has_domain),
            Act::Reboot { .. } => true,
        }
    };
    let seen = saga.0.fleet()?.wait_for(*vm, Duration::from_secs(3), arrived).await;
    tracing::debug!(%vm, seen, "observed");
    Ok(())
}

async fn release(saga: &VmAct, ctx: &StepCtx<VmAct>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}
