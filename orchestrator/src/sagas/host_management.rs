//! Change the management interface of a host, and have it keep that only when it was heard over it.
//!
//! ```text
//! hold -> try -> keep -> move | -> release
//! ```
//!
//! The host goes back by itself [`TRIAL_SECONDS`] after *try*, with or without its agent, unless *keep* has reached it where
//! it is to be reached afterwards. *keep* asks nowhere else: whoever is answered there was heard over the new way. Then
//! *move* has the orchestrator look for it there.
//!
//! Whatever ends the saga before *release*, its undo makes sure that the host has what it had, wherever it is heard; also
//! when it has kept the change and its answer was lost. A host that is heard nowhere parks it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use xenith_common_ids::{HostId, OperationId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope};
use xenith_hypervisor_agent_types::management::{
    Keeping, Management, ManagementCommand, ManagementReply, ManagementTrial,
};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::event::Severity;

use super::{Deps, nothing, step_error};
use crate::events::Happened;
use crate::model::HostRecord;

/// After so long a host goes back.
pub const TRIAL_SECONDS: u32 = 60;
/// Longer than that, so that what became of it is known.
const KNOWN_WITHIN: Duration = Duration::from_secs(120);
/// Making a connection, and an answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Switches need a while until they forward again.
const ASK_AGAIN: RetryPolicy =
    RetryPolicy { attempts: 100_000, first: Duration::from_millis(500), most: Duration::from_secs(2) };

#[derive(Clone)]
pub struct HostManagement(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub host: HostId,
    pub name: String,
    pub wanted: Management,
    /// Where its agent is reached now.
    pub address: String,
    /// Where it is to be reached afterwards.
    pub moves_to: String,
}

impl Saga for HostManagement {
    const KIND: &'static str = "host_management";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("hold", nothing).undo(release),
            Step::new("try", try_out).undo(go_back).undo_retry(ASK_AGAIN),
            Step::new("keep", keep).retry(ASK_AGAIN).deadline(KNOWN_WITHIN),
            Step::new("move", move_there).undo(move_back),
            Step::new("release", release).cannot_be_undone("the host has its new management interface"),
        ]
    }
}

type Ctx = StepCtx<HostManagement>;

impl Deps {
    /// Over a connection of its own each time: one from before may hang where nobody is any more.
    async fn about_management(
        &self,
        ctx: &Ctx,
        address: &str,
        command: ManagementCommand,
    ) -> Result<ManagementReply, StepError> {
        let Params { host, name, .. } = ctx.params();
        let client = self.fleet()?.client_at(*host, address);
        let command = Command::Management(Box::new(command));
        let envelope = Envelope { operation: OperationId::new(), epoch: ctx.epoch(), command };
        match timeout(ANSWERS_WITHIN, client.execute(&envelope)).await {
            Err(_) => Err(StepError::retryable(format!("{name} does not answer at {address}"))),
            Ok(Err(error)) => Err(step_error(&error)),
            Ok(Ok(CommandResult::Management(reply))) => Ok(reply),
            Ok(Ok(other)) => Err(something_else(&other)),
        }
    }

    /// Whether a host has this saga's change, on trial or kept.
    async fn has_change(&self, ctx: &Ctx, address: &str) -> Result<bool, StepError> {
        match self.about_management(ctx, address, ManagementCommand::Look).await? {
            ManagementReply::State(state) => {
                let ours = ctx.saga().to_string();
                Ok(state.on_trial.as_ref() == Some(&ours) || state.kept.as_ref() == Some(&ours))
            }
            other => Err(something_else(&other)),
        }
    }
}

fn something_else(answer: &dyn std::fmt::Debug) -> StepError {
    StepError::permanent(format!("the host answered something else: {answer:?}"))
}

/// Where the host may be heard: also where an administrator has said meanwhile that it is.
async fn addresses(saga: &HostManagement, ctx: &Ctx) -> Result<Vec<String>, StepError> {
    let Params { host, address, moves_to, .. } = ctx.params();
    let mut addresses = vec![address.clone()];
    let recorded = saga.0.db.hosts.get(host).await?.map(|record| record.value.address);
    for more in [Some(moves_to.clone()), recorded].into_iter().flatten() {
        if !addresses.contains(&more) {
            addresses.push(more);
        }
    }
    Ok(addresses)
}

/// Also the undo of the hold. Said again after a crash, the host may be another saga's by then.
async fn release(saga: &HostManagement, ctx: &Ctx) -> Result<(), StepError> {
    let ours = ctx.saga();
    let free = |record: &mut HostRecord| record.let_go(ours);
    saga.0.db.hosts.modify(&ctx.params().host, free).await?;
    Ok(())
}

/// Also asked at the new address: the answer to what was asked before may have been cut off by what it began.
async fn try_out(saga: &HostManagement, ctx: &Ctx) -> Result<(), StepError> {
    let params = ctx.params();
    let trial = ManagementTrial {
        change: ctx.saga().to_string(),
        wanted: params.wanted.clone(),
        seconds: TRIAL_SECONDS,
    };
    let mut failed = StepError::Cancelled;
    for address in addresses(saga, ctx).await? {
        match saga.0.about_management(ctx, &address, ManagementCommand::Try(trial.clone())).await {
            Ok(_) => return Ok(()),
            Err(error @ StepError::Retryable { .. }) => failed = error,
            Err(error) => return Err(error),
        }
    }
    Err(failed)
}

async fn keep(saga: &HostManagement, ctx: &Ctx) -> Result<(), StepError> {
    let params = ctx.params();
    let change = ctx.saga().to_string();
    ctx.progress(50, format!("{} is expected at {}", params.name, params.moves_to));
    let asked = saga.0.about_management(ctx, &params.moves_to, ManagementCommand::Keep { change }).await;
    let not_heard = match asked {
        Ok(ManagementReply::Keeping { keeping: Keeping::Kept }) => return Ok(()),
        Ok(ManagementReply::Keeping { keeping: Keeping::WentBack }) => return went_back(saga, ctx).await,
        Ok(ManagementReply::Keeping { keeping: Keeping::NotYet }) => {
            StepError::retryable(format!("{} has not changed over yet", params.name))
        }
        Ok(other) => return Err(something_else(&other)),
        Err(error) => error,
    };
    // Heard where it was, and without the change: it is over.
    let elsewhere = params.address != params.moves_to;
    if elsewhere && matches!(saga.0.has_change(ctx, &params.address).await, Ok(false)) {
        return went_back(saga, ctx).await;
    }
    Err(not_heard)
}

async fn went_back(saga: &HostManagement, ctx: &Ctx) -> Result<(), StepError> {
    let Params { name, moves_to, .. } = ctx.params();
    let message = format!(
        "{name} was not heard at {moves_to} within {TRIAL_SECONDS} s, and went back to its old management interface"
    );
    tell(saga, ctx, (Severity::Warning, "host.management_went_back"), message.clone()).await?;
    Err(StepError::permanent(message))
}

/// From now on the orchestrator looks for the host there.
async fn move_there(saga: &HostManagement, ctx: &Ctx) -> Result<(), StepError> {
    watch_at(saga, ctx, &ctx.params().moves_to).await?;
    let Params { name, wanted, .. } = ctx.params();
    let message = format!("the management interface of {name} is {wanted}");
    tell(saga, ctx, (Severity::Info, "host.management_changed"), message).await
}

async fn move_back(saga: &HostManagement, ctx: &Ctx) -> Result<(), StepError> {
    watch_at(saga, ctx, &ctx.params().address).await
}

async fn watch_at(saga: &HostManagement, ctx: &Ctx, address: &str) -> Result<(), StepError> {
    let host = ctx.params().host;
    let Some(record) = saga.0.db.hosts.get(&host).await? else { return Ok(()) };
    if record.value.address == address {
        return Ok(());
    }
    saga.0.db.hosts.modify(&host, |record: &mut HostRecord| address.clone_into(&mut record.address)).await?;
    let moved = HostRecord { address: address.to_owned(), ..record.value };
    if let Some(fleet) = saga.0.fleet.get() {
        fleet.remove(host);
        fleet.watch(host, &moved);
    }
    Ok(())
}

/// The host has what it had.
async fn go_back(saga: &HostManagement, ctx: &Ctx) -> Result<(), StepError> {
    let params = ctx.params();
    let mut failed = StepError::retryable(format!("{} goes back", params.name));
    for address in addresses(saga, ctx).await? {
        match saga.0.has_change(ctx, &address).await {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(error) => {
                failed = error;
                continue;
            }
        }
        let change = ctx.saga().to_string();
        saga.0.about_management(ctx, &address, ManagementCommand::GoBack { change }).await?;
        // It answers first, and goes a moment later.
        return match saga.0.has_change(ctx, &address).await {
            Ok(false) => Ok(()),
            _ => Err(StepError::retryable(format!("{} goes back", params.name))),
        };
    }
    Err(failed)
}

async fn tell(
    saga: &HostManagement,
    ctx: &Ctx,
    (severity, kind): (Severity, &'static str),
    message: String,
) -> Result<(), StepError> {
    let host = ctx.params().host;
    let pool = saga.0.db.hosts.get(&host).await?.map(|record| record.value.pool);
    saga.0.tell(Happened { severity, kind, subject: format!("host/{host}"), message, pool }).await;
    Ok(())
}
