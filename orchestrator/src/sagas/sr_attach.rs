//! Attach an SR to a host, making it where it is new. Its record says so from the transaction that starts the saga.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SrId};
use xenith_hypervisor_agent_api::{Command, MakeSr, StorageCommand};
use xenith_hypervisor_agent_types::SrSpec;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, nothing};

#[derive(Clone)]
pub struct SrAttach(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub sr: SrId,
    pub host: HostId,
    pub spec: SrSpec,
    /// Made by this; otherwise it must be there.
    pub new: bool,
}

impl Saga for SrAttach {
    const KIND: &'static str = "sr_attach";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![Step::new("record", nothing).undo(erase), Step::new("attach", attach).undo(detach)]
    }
}

async fn erase(saga: &SrAttach, ctx: &StepCtx<SrAttach>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    if params.new {
        db.store.commit(db.srs.delete_in(Transaction::new(), &params.sr)).await?;
        return Ok(());
    }
    let host = params.host;
    db.srs.modify(&params.sr, |record| record.hosts.retain(|other| *other != host)).await?;
    Ok(())
}

async fn attach(saga: &SrAttach, ctx: &StepCtx<SrAttach>) -> Result<(), StepError> {
    let Params { sr, host, spec, new } = ctx.params();
    let make = if *new { MakeSr::New } else { MakeSr::MustExist };
    let command = StorageCommand::Attach { sr: *sr, spec: spec.clone(), make };
    saga.0.send(ctx, *host, Command::Storage(command)).await?;
    saga.0.bring_within_reach(*sr, Some(*host)).await?;
    Ok(())
}

async fn detach(saga: &SrAttach, ctx: &StepCtx<SrAttach>) -> Result<(), StepError> {
    let Params { sr, new, .. } = *ctx.params();
    let command = if new { StorageCommand::Unmake { sr } } else { StorageCommand::Detach { sr } };
    saga.0.send(ctx, ctx.params().host, Command::Storage(command)).await.map(|_| ())
}
