//! Start, stop, pause, … one VM.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, OperationId, VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, ShutdownKind, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{DiskAccess, FaultReason, ObservedVm, Power, VmSpec};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};

use super::{AGENT_RETURNS, Deps, TOLD_WITHIN, host_removed, nothing, start_error, step_error};

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
    /// `force`: power off when the guest is not down in time.
    Shutdown {
        deadline_s: u32,
        force: bool,
    },
    Reboot {
        deadline_s: u32,
        force: bool,
    },
    PowerOff,
    /// Also of one that is suspended, whose saved memory is lost.
    PowerOffAndDiscard,
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
            Act::Resume { .. } => {
                steps.push(Step::new("resume", act).retry(AGENT_RETURNS).deadline(PATIENCE));
            }
            Act::Shutdown { deadline_s, .. } | Act::Reboot { deadline_s, .. } => {
                let deadline = Duration::from_secs(deadline_s.into()) + MARGIN;
                let name = if matches!(params.act, Act::Reboot { .. }) { "reboot" } else { "shutdown" };
                steps.push(Step::new(name, act).retry(AGENT_RETURNS).deadline(deadline));
            }
            Act::PowerOff => steps.push(Step::new("power_off", power_off_only)),
            Act::PowerOffAndDiscard => {
                steps.push(Step::new("power_off", power_off).retry(AGENT_RETURNS));
                steps.push(Step::new("discard", act).retry(AGENT_RETURNS));
            }
            Act::Pause => steps.push(Step::new("pause", act)),
            Act::Unpause => steps.push(Step::new("unpause", act)),
            Act::Suspend => {
                steps.push(Step::new("suspend", act).retry(AGENT_RETURNS).deadline(PATIENCE));
            }
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
    let Params { vm, host, act, spec, .. } = ctx.params();
    if matches!(act, Act::Start { .. } | Act::Resume { .. }) {
        saga.0.rules_first(*host, *vm).await?;
    }
    let (mut action, force) = action(*act);
    if let VmAction::Start { cpu_level, .. } = &mut action {
        let disks = spec.disks.iter().filter(|disk| disk.access == DiskAccess::ReadWrite);
        let written: Vec<VdiId> = disks.map(|disk| disk.vdi).collect();
        saga.0.end_leases_of_fenced(ctx, (*host, *vm), &written).await?;
        *cpu_level = saga.0.cpu_level(*host).await?;
    }
    saga.0.tell_guest(ctx, (*host, *vm), action, force.then_some(Otherwise::PowerOff)).await
}

/// What becomes of a guest that is not down in time.
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
        let starts = matches!(action, VmAction::Start { .. });
        let refused = match self.send_as(ctx, ctx.operation_id(), host, Command::Vm { vm, action }).await {
            Ok(_) => return Ok(()),
            Err(error) => error.ok_or_else(|| host_removed(host))?,
        };
        if let (AgentClientError::Refused(fault), Some(Otherwise::PowerOff)) = (&refused, otherwise)
            && let Some(late) = late(fault.reason)
        {
            ctx.progress(90, format!("{late}; powering it off"));
            let operation = OperationId::from_uuid(ctx.derived_uuid("power off"));
            let command = Command::Vm { vm, action: VmAction::Destroy };
            let done = self.send_as(ctx, operation, host, command).await;
            return done
                .map(drop)
                .map_err(|error| error.map_or_else(|| host_removed(host), |error| step_error(&error)));
        }
        Err(match refused {
            // What was asked may be under way, or done: who reads this looks again before they ask again.
            AgentClientError::Unreachable { .. } => StepError::retryable(format!(
                "{refused}; it is not known whether it took the request, which may be done all the same"
            )),
            _ if starts => start_error(&refused),
            _ => step_error(&refused),
        })
    }
}

/// What is said of a guest that was not down in time; `None`: something else was wrong.
const fn late(reason: FaultReason) -> Option<&'static str> {
    match reason {
        FaultReason::GuestUnresponsive => Some("the guest did not answer in time"),
        FaultReason::GuestShuttingDown => Some("the guest is shutting down, but was not down in time"),
        _ => None,
    }
}

fn action(act: Act) -> (VmAction, bool) {
    let shutdown =
        |kind, deadline_s: u32| VmAction::Shutdown { kind, deadline: Duration::from_secs(deadline_s.into()) };
    match act {
        Act::Start { incarnation } => (VmAction::Start { incarnation, cpu_level: None }, false),
        Act::Resume { incarnation } => (VmAction::Resume { incarnation }, false),
        Act::Shutdown { deadline_s, force } => (shutdown(ShutdownKind::PowerOff, deadline_s), force),
        Act::Reboot { deadline_s, force } => (shutdown(ShutdownKind::Reboot, deadline_s), force),
        Act::PowerOff => (VmAction::Destroy, false),
        Act::PowerOffAndDiscard => (VmAction::DiscardSuspended, false),
        Act::Pause => (VmAction::Pause, false),
        Act::Unpause => (VmAction::Unpause, false),
        Act::Suspend => (VmAction::Suspend, false),
    }
}

async fn power_off(saga: &VmAct, ctx: &StepCtx<VmAct>) -> Result<(), StepError> {
    let Params { vm, host, .. } = ctx.params();
    saga.0.tell_vm(ctx, *host, *vm, VmAction::Destroy).await.map(|_| ())
}

/// Its host may not have been heard when this was asked: a VM of which memory is saved is not said to be off.
async fn power_off_only(saga: &VmAct, ctx: &StepCtx<VmAct>) -> Result<(), StepError> {
    let Params { vm, host, spec, .. } = ctx.params();
    match saga.0.tell_vm(ctx, *host, *vm, VmAction::Destroy).await? {
        CommandResult::Vm(seen) if seen.power == Power::Suspended => {
            Err(StepError::permanent(memory_is_saved(&spec.name)))
        }
        _ => Ok(()),
    }
}

/// Why a VM that is suspended is neither powered off nor deleted, and the way out.
pub(crate) fn memory_is_saved(name: impl std::fmt::Display) -> String {
    format!(
        "{name} is suspended, and its memory is saved on its host's disk; resume it, or power it off with the loss of \
         that memory: xenith vm power-off {name} --discard-memory"
    )
}

/// The command is done; waits a moment until that is heard, so that who waited for the task and
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
            Act::PowerOffAndDiscard => {
                power != Some(Power::Suspended) && !power.is_some_and(Power::has_domain)
            }
            Act::Reboot { .. } => true,
        }
    };
    let seen = saga.0.fleet()?.wait_for(*vm, TOLD_WITHIN, arrived).await;
    tracing::debug!(%vm, seen, "observed");
    Ok(())
}

async fn release(saga: &VmAct, ctx: &StepCtx<VmAct>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use xenith_orchestrator_saga::RetryPolicy;

    use super::*;

    fn steps(act: Act) -> Vec<Step<VmAct>> {
        let spec = serde_json::json!({
            "name": "web-1", "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
            "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 128, "max": 128 }, "disks": [], "nics": [],
        });
        let spec = serde_json::from_value(spec).unwrap();
        VmAct::steps(&Params { vm: VmId::new(), host: HostId::new(), definition: 1, spec, act })
    }

    #[test]
    fn a_guest_that_is_slow_is_not_said_to_be_silent() {
        let said: Vec<_> =
            FaultReason::ALL.into_iter().filter_map(|reason| Some((reason, late(reason)?))).collect();
        let silent = (FaultReason::GuestUnresponsive, "the guest did not answer in time");
        let slow = (FaultReason::GuestShuttingDown, "the guest is shutting down, but was not down in time");
        assert_eq!(said, [silent, slow], "and nothing else is a reason to power a guest off");
    }

    #[test]
    fn a_killed_agent_has_a_minute_to_return_while_a_guest_is_at_it() {
        let incarnation = IncarnationId::new();
        let patient = [
            ("shutdown", Act::Shutdown { deadline_s: 1, force: false }),
            ("reboot", Act::Reboot { deadline_s: 1, force: true }),
            ("suspend", Act::Suspend),
            ("resume", Act::Resume { incarnation }),
            ("discard", Act::PowerOffAndDiscard),
        ];
        for (name, act) in patient {
            let steps = steps(act);
            let step = steps.iter().find(|step| step.name() == name).unwrap();
            let RetryPolicy { attempts, first, most } = step.retry_policy();
            let pauses = (0..attempts - 1).map(|doubled| (first * (1 << doubled)).min(most));
            let longest: Duration = pauses.sum();
            // The jitter takes up to half of each.
            let usual = longest * 3 / 4;
            assert!((55..=70).contains(&usual.as_secs()), "{name}: {usual:?}");
        }
        // What ends at once is not waited for that long.
        for (name, act) in [("power_off", Act::PowerOff), ("pause", Act::Pause)] {
            let steps = steps(act);
            let step = steps.iter().find(|step| step.name() == name).unwrap();
            assert_eq!(step.retry_policy(), RetryPolicy::default(), "{name}");
        }
    }
}
