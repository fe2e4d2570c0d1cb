//! Give a host a new system, in the slot that does not run, and start it anew into that.
//!
//! ```text
//! hold -> look (-> note) -> fetch -> fill -> tidy -> empty -> restart -> confirm | -> release
//! ```
//!
//! Until *restart* nothing of the running system was touched. The host tries the new system once, and comes back with the
//! old one by itself when that does not come up or is not healthy; *confirm* then fails, and the saga rolls back to what is
//! the case already. Whatever ends the saga before *release*, its undo makes sure that the old system runs and is the one
//! that starts, if need be with another restart. A host that is not heard by then parks it.
//!
//! The host is *held*, in maintenance and, from *empty* on, out of high availability meanwhile ([`super::host_steps`]). A
//! restart names the boot that it is to end, as *look* saw it, so that an order heard twice restarts once.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::VmId;
use xenith_hypervisor_agent_api::Command;
use xenith_hypervisor_agent_types::system::{HostSystem, SystemCommand, SystemReply, SystemStanding};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::event::Severity;

use super::host_steps::{ASK_AGAIN, HOST_RETURNS, Leave, OnHost, PATIENCE, replied, something_else};
use super::{Deps, nothing};

#[derive(Clone)]
pub struct HostUpgrade(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    #[serde(flatten)]
    pub on: OnHost,
    /// Of the folder with the image.
    pub url: String,
    /// `None`: none runs, or those that do are on their way.
    #[serde(default)]
    pub leave: Option<Leave>,
}

/// Unpacking takes minutes on a slow disk.
const FILL_LIMIT: Duration = Duration::from_secs(3600);
/// A download that breaks goes on where it was: worth more tries than most.
const DOWNLOADS: RetryPolicy =
    RetryPolicy { attempts: 20, first: Duration::from_secs(1), most: Duration::from_secs(60) };

impl Saga for HostUpgrade {
    const KIND: &'static str = "host_upgrade";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("hold", nothing).undo(release), Step::new("look", look)];
        if params.leave.is_some() {
            steps.push(Step::new("note", note));
        }
        steps.extend([
            Step::new("fetch", fetch).undo(drop_if_heard).retry(DOWNLOADS).deadline(PATIENCE),
            Step::new("fill", fill).deadline(FILL_LIMIT),
            Step::new("tidy", drop_image),
            Step::new("empty", empty).retry(ASK_AGAIN).deadline(PATIENCE),
            Step::new("restart", restart).undo(go_back).undo_retry(ASK_AGAIN).deadline(HOST_RETURNS),
            Step::new("confirm", confirm).retry(ASK_AGAIN).deadline(HOST_RETURNS),
            Step::new("release", release).cannot_be_undone("the host runs its new system, and is free"),
        ]);
        steps
    }
}

type Ctx = StepCtx<HostUpgrade>;

impl Deps {
    async fn system_of(&self, ctx: &Ctx) -> Result<HostSystem, StepError> {
        match self.about_system(ctx, &ctx.params().on, SystemCommand::Look).await? {
            SystemReply::System(system) => Ok(system),
            other => Err(something_else(&other)),
        }
    }
}

async fn release(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    saga.0.release_host(ctx, &ctx.params().on).await
}

async fn note(saga: &HostUpgrade, ctx: &Ctx) -> Result<Vec<VmId>, StepError> {
    saga.0.running_on(&ctx.params().on)
}

async fn look(saga: &HostUpgrade, ctx: &Ctx) -> Result<HostSystem, StepError> {
    saga.0.system_of(ctx).await
}

/// The version of the image.
async fn fetch(saga: &HostUpgrade, ctx: &Ctx) -> Result<String, StepError> {
    let Params { on, url, .. } = ctx.params();
    let command = Command::System(SystemCommand::Fetch { url: url.clone() });
    match replied(saga.0.send_long(ctx, on.host, command).await?)? {
        SystemReply::Fetched { version } => Ok(version),
        other => Err(something_else(&other)),
    }
}

async fn fill(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let command = Command::System(SystemCommand::Fill);
    saga.0.send_long(ctx, ctx.params().on.host, command).await.map(|_| ())
}

/// What was fetched is in its slot, or is not wanted any more.
async fn drop_image(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    saga.0.about_system(ctx, &ctx.params().on, SystemCommand::Drop).await.map(|_| ())
}

/// A host that is not heard keeps it: the next upgrade takes it up, or drops it. That is no reason to hold the host.
async fn drop_if_heard(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    if let Err(error) = drop_image(saga, ctx).await {
        tracing::warn!(%error, host = %ctx.params().on.name, "an image that is not wanted any more stays on its host");
    }
    Ok(())
}

/// One that nobody moves stays, and so does the old system. The host itself asks again before it starts anew.
async fn empty(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let Params { on, leave, .. } = ctx.params();
    saga.0.empty_host(ctx, on, leave.as_ref()).await?;
    saga.0.disarm_host(on).await
}

async fn restart(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let before: HostSystem = ctx.output("look")?;
    let start = SystemCommand::Start { slot: before.slot.other(), boot: before.boot };
    saga.0.about_system(ctx, &ctx.params().on, start).await.map(|_| ())
}

/// The version that runs now.
async fn confirm(saga: &HostUpgrade, ctx: &Ctx) -> Result<String, StepError> {
    let OnHost { host, name, .. } = &ctx.params().on;
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
        let told = (Severity::Warning, "host.fell_back");
        saga.0.tell_of_host(&ctx.params().on, told, message.clone()).await?;
        return Err(StepError::permanent(message));
    }
    if now.standing != SystemStanding::Good {
        ctx.progress(50, format!("{name} runs {} and looks whether it is healthy", now.version));
        return Err(StepError::retryable(format!("{} was not found healthy on {name} yet", now.version)));
    }
    let message =
        format!("{name} runs {} (slot {}); before it was {}", now.version, now.slot, before.version);
    saga.0.tell_of_host(&ctx.params().on, (Severity::Info, "host.upgraded"), message).await?;
    tracing::info!(%host, version = %now.version, "a host was upgraded");
    Ok(now.version)
}

/// The old system runs, and is the one that starts.
async fn go_back(saga: &HostUpgrade, ctx: &Ctx) -> Result<(), StepError> {
    let Some(before) = ctx.output_if_any::<HostSystem>("look") else { return Ok(()) };
    let on = &ctx.params().on;
    let name = &on.name;
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
    saga.0.about_system(ctx, on, SystemCommand::Start { slot: before.slot, boot: now.boot }).await?;
    if same_boot {
        return Ok(());
    }
    Err(StepError::retryable(format!("{name} starts anew, back into slot {}", before.slot)))
}
