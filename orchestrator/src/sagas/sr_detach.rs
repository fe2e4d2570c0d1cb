//! Detach an SR from a host. What is in it stays.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SrId};
use xenith_hypervisor_agent_api::{Command, MakeSr, StorageCommand};
use xenith_hypervisor_agent_types::SrSpec;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};

use super::Deps;

#[derive(Clone)]
pub struct SrDetach(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub sr: SrId,
    pub host: HostId,
    pub spec: SrSpec,
}

impl Saga for SrDetach {
    const KIND: &'static str = "sr_detach";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        // The host refuses while a VM uses it, and then the record must still say that it is attached.
        vec![Step::new("detach", detach).undo(attach), Step::new("record", record).undo(restore)]
    }
}

async fn detach(saga: &SrDetach, ctx: &StepCtx<SrDetach>) -> Result<(), StepError> {
    let command = StorageCommand::Detach { sr: ctx.params().sr };
    saga.0.send(ctx, ctx.params().host, Command::Storage(command)).await.map(|_| ())
}

async fn attach(saga: &SrDetach, ctx: &StepCtx<SrDetach>) -> Result<(), StepError> {
    let Params { sr, host, spec } = ctx.params();
    let command = StorageCommand::Attach { sr: *sr, spec: spec.clone(), make: MakeSr::MustExist };
    saga.0.send(ctx, *host, Command::Storage(command)).await.map(|_| ())
}

async fn record(saga: &SrDetach, ctx: &StepCtx<SrDetach>) -> Result<(), StepError> {
    let host = ctx.params().host;
    saga.0.db.srs.modify(&ctx.params().sr, |record| record.hosts.retain(|other| *other != host)).await?;
    // Another host that has it attached works on its VDIs from now on.
    saga.0.bring_within_reach(ctx.params().sr, None).await?;
    Ok(())
}

async fn restore(saga: &SrDetach, ctx: &StepCtx<SrDetach>) -> Result<(), StepError> {
    let host = ctx.params().host;
    saga.0.db.srs.modify(&ctx.params().sr, |record| record.hosts.extend([host])).await?;
    Ok(())
}
