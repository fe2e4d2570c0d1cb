//! Give a host a new system, in the slot that does not run, and start it anew into that.
//!
//! ```text
//! hold -> look -> fetch -> fill -> tidy -> empty -> restart -> confirm | -> release
//! ```
//!
//! Until *restart* nothing of the running system was touched. The host tries the new system once, and comes back with the
//! old one by itself when that does not come up or is not healthy; *confirm* then fails, and the saga rolls back to what is
//! the case already. Whatever ends the saga before *release*, its undo makes sure that the old system runs and is the one
//! that starts, if need be with another restart. A host that is not heard by then parks it.
//!
//! The host is *held* (`HostRecord::held_by`) and in maintenance meanwhile. A restart names the boot that it is to end, as
//! *look* saw it, so that an order heard twice restarts once.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, OperationId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_api::{Command, CommandResult};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::FaultReason;
use xenith_hypervisor_agent_types::system::{HostSystem, SystemCommand, SystemReply, SystemStanding};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::event::Severity;

use super::{Deps, host_removed, nothing, step_error};
use crate::events::Happened;
use crate::model::HostRecord;

#[derive(Clone)]
pub struct HostUpgrade(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub host: HostId,
    pub name: String,
    /// Of the folder with the image.
    pub url: String,
    /// Whether the host was in maintenance before; it is again afterwards.
    pub maintenance: bool,
}

/// What the agent answers at once. A host that goes down may take a connection and say nothing.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Half a gigabyte over a slow line; and large VMs that leave one after the other.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Unpacking takes minutes on a slow disk.
const FILL_LIMIT: Duration = Duration::from_secs(3600);
/// Twice through the firmware of a large server, and ten minutes in which a new system may become healthy.
const HOST_RETURNS: Duration = Duration::from_secs(3600);
/// A download that breaks goes on where it was: worth more tries than most.
const DOWNLOADS: RetryPolicy =
    RetryPolicy { attempts: 20, first: Duration::from_secs(1), most: Duration::from_secs(60) };
/// Asked again until the deadline of the step.
const ASK_AGAIN: RetryPolicy =
    RetryPolicy { attempts: 100_000, first: Duration::from_millis(200), most: Duration::from_secs(5) };

impl Saga for HostUpgrade {
    const KIND: &'static str = "host_upgrade";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("hold", nothing).undo(release),
            Step::new("look", look),
            Step::new("fetch", fetch).undo(drop_if_heard).retry(DOWNLOADS).deadline(PATIENCE),
            Step::new("fill", fill).deadline(FILL_LIMIT),
            Step::new("tidy", drop_image),
            Step::new("empty", empty).retry(ASK_AGAIN).deadline(PATIENCE),
            Step::new("restart", restart).undo(go_back).undo_retry(ASK_AGAIN).deadline(HOST_RETURNS),
            Step::new("confirm", confirm).retry(ASK_AGAIN).deadline(HOST_RETURNS),
            Step::new("release", release).cannot_be_undone("the host runs its new system, and is free"),
        ]
    }
}

type Ctx = StepCtx<HostUpgrade>;

impl Deps {
    /// Under an id of its own each time: what was answered a moment ago is not asked for.
    async fn about_system(&self, ctx: &Ctx, command: SystemCommand) -> Result<SystemReply, StepError> {
        let host = ctx.params().host;
        let sent = self.send_as(ctx, OperationId::new(), host, Command::System(command));
        let Ok(answer) = tokio::time::timeout(ANSWERS_WITHIN, sent).await else {
            return Err(StepError::retryable(format!("{} does not answer", ctx.params().name)));
        };
        replied(answer.map_err(|error| error.map_or_else(|| host_removed(host), |error| passing(&error)))?)
    }

    async fn system_of(&self, ctx: &Ctx) -> Result<HostSystem, StepError> {
        match self.about_system(ctx, SystemCommand::Look).await? {
            SystemReply::System(system) => Ok(system),
            other => Err(something_else(&other)),
        }
    }
}

/// A host that has just started may not have mounted yet what its boot menu is on.
fn passing(error: &AgentClientError) -> StepError {
    match error {
        AgentClientError::Refused(fault) if fault.reason == FaultReason::Hypervisor => {
            StepError::retryable(fault.to_string())
        }
        other => step_error(other),
    }
}

fn replied(result: CommandResult) -> Result<SystemReply, StepError> {
    match result {
        CommandResult::System(reply) => Ok(reply),
        other => Err(something_else(&other)),
    }
}

fn something_else(answer: &dyn std::fmt::Debug) -> StepError {
    StepError::permanent(format!("the host answered something else: {answer:?}"))
}

/// Also the undo of the hold. Said again after a crash, the host may be another saga's by then.
async fn release(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let (ours, maintenance) = (ctx.saga(), ctx.params().maintenance);
    let free = |record: &mut HostRecord| {
        if record.held_by == Some(ours) {
            record.held_by = None;
            record.maintenance = maintenance;
        }
    };
    saga.0.db.hosts.modify(&ctx.params().host, free).await?;
    Ok(())
}

async fn look(saga: &HostUpgrade, ctx: &Ctx) -> Result<HostSystem, StepError> {
    saga.0.system_of(ctx).await
}

/// The version of the image.
async fn fetch(saga: &HostUpgrade, ctx: &Ctx) -> Result<String, StepError> {
    let Params { host, url, .. } = ctx.params();
    let command = Command::System(SystemCommand::Fetch { url: url.clone() });
    match replied(saga.0.send_long(ctx, *host, command).await?)? {
        SystemReply::Fetched { version } => Ok(version),
        other => Err(something_else(&other)),
    }
}

async fn fill(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let command = Command::System(SystemCommand::Fill);
    saga.0.send_long(ctx, ctx.params().host, command).await.map(|_| ())
}

/// What was fetched is in its slot, or is not wanted any more.
async fn drop_image(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    saga.0.about_system(ctx, SystemCommand::Drop).await.map(|_| ())
}

/// A host that is not heard keeps it: the next upgrade takes it up, or drops it. That is no reason to hold the host.
async fn drop_if_heard(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    if let Err(error) = drop_image(saga, ctx).await {
        tracing::warn!(%error, host = %ctx.params().name, "an image that is not wanted any more stays on its host");
    }
    Ok(())
}

/// Waits for VMs that are being moved away. One that nobody moves stays, and so does the old system. The host itself asks
/// again before it starts anew.
async fn empty(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let Params { host, name, .. } = ctx.params();
    let state = saga.0.fleet()?.state(*host).ok_or_else(|| host_removed(*host))?;
    if !state.is_heard() {
        return Err(StepError::retryable(format!("{name} is not heard")));
    }
    let mut leaving = 0;
    for seen in state.vms().into_iter().filter(|seen| seen.domid.is_some()) {
        match saga.0.db.vms.get(&seen.vm).await? {
            Some(record) if record.value.held_by.is_some() || record.value.host != *host => leaving += 1,
            _ => {
                let message = format!("{} runs on {name}; move it away, or shut it down", seen.name);
                return Err(StepError::permanent(message));
            }
        }
    }
    if leaving == 0 {
        return Ok(());
    }
    ctx.progress(0, format!("{} to leave {name} first", counted(leaving, "VM")));
    Err(StepError::retryable(format!("{} still to leave {name}", counted(leaving, "VM"))))
}

async fn restart(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let before: HostSystem = ctx.output("look")?;
    let start = SystemCommand::Start { slot: before.slot.other(), boot: before.boot };
    saga.0.about_system(ctx, start).await.map(|_| ())
}

/// The version that runs now.
async fn confirm(saga: &HostUpgrade, ctx: &Ctx) -> Result<String, StepError> {
    let Params { host, name, .. } = ctx.params();
    let before: HostSystem = ctx.output("look")?;
    ctx.progress(0, format!("{name} starts anew"));
    let now = saga.0.system_of(ctx).await?;
    if now.boot == before.boot {
        return Err(StepError::retryable(format!("{name} has not started anew yet")));
    }
    if now.slot == before.slot {
        let message = format!(
            "the new system did not come up on {name}, or was not healthy there; {} runs again (slot {})",
            now.version, now.slot
        );
        tell(saga, ctx, (Severity::Warning, "host.fell_back"), message.clone()).await?;
        return Err(StepError::permanent(message));
    }
    if now.standing != SystemStanding::Good {
        ctx.progress(50, format!("{name} runs {} and looks whether it is healthy", now.version));
        return Err(StepError::retryable(format!("{} was not found healthy on {name} yet", now.version)));
    }
    let message =
        format!("{name} runs {} (slot {}); before it was {}", now.version, now.slot, before.version);
    tell(saga, ctx, (Severity::Info, "host.upgraded"), message).await?;
    tracing::info!(%host, version = %now.version, "a host was upgraded");
    Ok(now.version)
}

/// The old system runs, and is the one that starts.
async fn go_back(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let Some(before) = ctx.output_if_any::<HostSystem>("look") else { return Ok(()) };
    let name = &ctx.params().name;
    let now = saga.0.system_of(ctx).await?;
    let same_boot = now.boot == before.boot;
    if now.slot == before.slot && !same_boot {
        return match now.standing {
            SystemStanding::OnTrial => {
                Err(StepError::retryable(format!("{name} looks whether it is healthy")))
            }
            _ => Ok(()),
        };
    }
    // In the same boot nothing starts anew by it: what was to be tried is not tried any more.
    saga.0.about_system(ctx, SystemCommand::Start { slot: before.slot, boot: now.boot }).await?;
    if same_boot {
        return Ok(());
    }
    Err(StepError::retryable(format!("{name} starts anew, back into slot {}", before.slot)))
}

async fn tell(
    saga: &HostUpgrade,
    ctx: &Ctx,
    (severity, kind): (Severity, &'static str),
    message: String,
) -> Result<(), StepError> {
    let host = ctx.params().host;
    let pool = saga.0.db.hosts.get(&host).await?.map(|record| record.value.pool);
    saga.0.tell(Happened { severity, kind, subject: format!("host/{host}"), message, pool }).await;
    Ok(())
}
