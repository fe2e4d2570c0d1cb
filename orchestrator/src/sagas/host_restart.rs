//! End a boot of a host: it starts anew, with new packages or as it is, or it is switched off.
//!
//! ```text
//! hold -> look (-> note) -> empty -> disarm (-> update) -> restart   -> confirm | -> release
//!                                                       -> power-off -> gone    |
//! ```
//!
//! It is disarmed before its packages are touched, too: the agent may be among them, and the watchdog of an armed host
//! bites while that is away. An order to end a boot names it, as *look* saw it, so that one heard twice ends one boot. Until
//! it is ordered, whatever ends the saga leaves the host as it was, but for VMs that have left it. A host that does not come
//! back in time ends the saga with that; it is neither held nor in maintenance then, and high availability does not go by a
//! lease of it before it is armed again.
//!
//! A host that was switched off stays in maintenance: who switches it on again ends that. It goes off faster than its answer
//! comes, now and then: one that falls silent after the order has it taken for off, as sure as that is ([`off`]), which the
//! task says.

mod off;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::VmId;
use xenith_hypervisor_agent_api::Command;
use xenith_hypervisor_agent_types::system::{PackagesDone, SystemCommand, SystemReply};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::event::Severity;

use super::host_steps::{
    ASK_AGAIN, DISARMED_WITHIN, HOST_RETURNS, Leave, ORDERED_WITHIN, OnHost, PATIENCE, replied,
    something_else,
};
use super::{Deps, Said, nothing};
use off::{ANSWER_LOST, Order, judged};

/// Hundreds of packages from a slow mirror. The agent may be away in between.
const UPDATED_WITHIN: Duration = Duration::from_secs(3 * 3600);

#[derive(Clone)]
pub struct HostRestart(pub Arc<Deps>);

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Reboot,
    /// New packages first, and a reboot where what runs is older than those.
    Update,
    ShutDown,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub on: OnHost,
    pub work: Work,
    /// `None`: none runs, or those that do are on their way.
    pub leave: Option<Leave>,
}

impl Saga for HostRestart {
    const KIND: &'static str = "host_restart";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("hold", nothing).undo(release), Step::new("look", look)];
        if params.leave.is_some() {
            steps.push(Step::new("note", note));
        }
        steps.push(Step::new("empty", empty).retry(ASK_AGAIN).deadline(PATIENCE));
        steps.push(Step::new("disarm", disarm).retry(ASK_AGAIN).deadline(DISARMED_WITHIN));
        if params.work == Work::Update {
            steps.push(Step::new("update", update).retry(ASK_AGAIN).deadline(UPDATED_WITHIN));
        }
        if params.work == Work::ShutDown {
            steps.push(Step::new("power-off", power_off).retry(ASK_AGAIN).deadline(ORDERED_WITHIN));
            steps.push(Step::new("gone", gone).retry(ASK_AGAIN).deadline(HOST_RETURNS));
            steps.push(Step::new("release", release_off).cannot_be_undone("the host is off, and is free"));
        } else {
            steps.push(Step::new("restart", restart).retry(ASK_AGAIN).deadline(HOST_RETURNS));
            steps.push(Step::new("confirm", confirm).retry(ASK_AGAIN).deadline(HOST_RETURNS));
            steps.push(Step::new("release", release).cannot_be_undone("the host is back, and is free"));
        }
        steps
    }
}

type Ctx = StepCtx<HostRestart>;

async fn release(saga: &HostRestart, ctx: &Ctx) -> Result<(), StepError> {
    saga.0.release_host(ctx, &ctx.params().on).await
}

async fn release_off(saga: &HostRestart, ctx: &Ctx) -> Result<(), StepError> {
    let off = OnHost { maintenance: true, ..ctx.params().on.clone() };
    saga.0.release_host(ctx, &off).await
}

/// The boot that is to end.
async fn look(saga: &HostRestart, ctx: &Ctx) -> Result<String, StepError> {
    saga.0.boot_of(ctx, &ctx.params().on).await
}

async fn note(saga: &HostRestart, ctx: &Ctx) -> Result<Vec<VmId>, StepError> {
    saga.0.running_on(&ctx.params().on)
}

async fn empty(saga: &HostRestart, ctx: &Ctx) -> Result<(), StepError> {
    let Params { on, leave, .. } = ctx.params();
    saga.0.empty_host(ctx, on, leave.as_ref()).await
}

async fn update(saga: &HostRestart, ctx: &Ctx) -> Result<PackagesDone, StepError> {
    let on = &ctx.params().on;
    ctx.progress(0, format!("the packages of {} are updated", on.name));
    let command = Command::System(SystemCommand::UpdatePackages);
    match replied(saga.0.send_long(ctx, on.host, command).await?)? {
        SystemReply::Packages(done) => Ok(done),
        other => Err(something_else(&other)),
    }
}

/// Whether the boot ends at all.
fn stays_up(ctx: &Ctx) -> bool {
    ctx.output_if_any::<PackagesDone>("update").is_some_and(|done| !done.restart)
}

async fn disarm(saga: &HostRestart, ctx: &Ctx) -> Result<(), StepError> {
    saga.0.disarm_host(&ctx.params().on).await
}

async fn restart(saga: &HostRestart, ctx: &Ctx) -> Result<(), StepError> {
    if stays_up(ctx) {
        return Ok(());
    }
    let boot = ctx.output("look")?;
    saga.0.about_system(ctx, &ctx.params().on, SystemCommand::Restart { boot }).await.map(|_| ())
}

async fn confirm(saga: &HostRestart, ctx: &Ctx) -> Result<(), StepError> {
    let on = &ctx.params().on;
    let before: String = ctx.output("look")?;
    if stays_up(ctx) {
        let message = format!("the packages of {} are up to date; it did not have to start anew", on.name);
        return saga.0.tell_of_host(on, (Severity::Info, "host.updated"), message).await;
    }
    ctx.progress(0, format!("{} starts anew", on.name));
    if saga.0.boot_of(ctx, on).await? == before {
        return Err(StepError::retryable(format!(
            "{} has not started anew yet; look at its console",
            on.name
        )));
    }
    if saga.0.is_silent(on)? {
        return Err(StepError::retryable(format!("{} has started anew, and is not heard yet", on.name)));
    }
    let (kind, message) = match ctx.params().work {
        Work::Update => ("host.updated", format!("{} has new packages, and started anew", on.name)),
        _ => ("host.rebooted", format!("{} started anew", on.name)),
    };
    saga.0.tell_of_host(on, (Severity::Info, kind), message).await
}

async fn power_off(saga: &HostRestart, ctx: &Ctx) -> Result<Order, StepError> {
    let on = &ctx.params().on;
    let boot = ctx.output("look")?;
    let error = match saga.0.about_system(ctx, on, SystemCommand::PowerOff { boot }).await {
        Ok(_) => return Ok(Order::Taken),
        Err(error) => error,
    };
    let is_silent = saga.0.silence_of(on)?.is_some_and(|silent| silent >= ANSWER_LOST);
    if is_silent && matches!(error, StepError::Retryable { .. }) {
        return Ok(Order::Unanswered);
    }
    Err(error)
}

/// It does not answer any more; and its power control, where it has one, says that it is off.
async fn gone(saga: &HostRestart, ctx: &Ctx) -> Result<Said, StepError> {
    let on = &ctx.params().on;
    let before: String = ctx.output("look")?;
    // Sagas of earlier programs went on only with an answer, and wrote down nothing.
    let order = ctx.output_if_any("power-off").unwrap_or(Order::Taken);
    ctx.progress(0, format!("{} goes down", on.name));
    match saga.0.boot_of(ctx, on).await {
        Ok(boot) if boot == before => {
            let message = format!("{} is still up", on.name);
            return Err(match order {
                Order::Taken => StepError::retryable(message),
                Order::Unanswered => {
                    StepError::permanent(format!("{message}: it did not hear the order; begin again"))
                }
            });
        }
        Ok(_) => {
            return Err(StepError::permanent(format!("{} went down, and was started again", on.name)));
        }
        Err(_) => {}
    }
    let Some(silent) = saga.0.silence_of(on)? else {
        return Err(StepError::retryable(format!("{} goes down", on.name)));
    };
    let control = saga.0.power_of(on).await?;
    let (severity, message) =
        judged(&on.name, order, control.as_ref(), silent).map_err(StepError::retryable)?;
    saga.0.tell_of_host(on, (severity, "host.shut_down"), message.clone()).await?;
    Ok(Said { said: message })
}
