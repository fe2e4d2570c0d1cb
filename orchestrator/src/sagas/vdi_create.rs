//! Create an empty VDI. Its record is written in the transaction that starts the saga.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::HostId;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, NewVdi, nothing};

#[derive(Clone)]
pub struct VdiCreate(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub host: HostId,
    pub vdi: NewVdi,
}

impl Saga for VdiCreate {
    const KIND: &'static str = "vdi_create";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("record", nothing).undo(erase),
            Step::new("disk", ensure).undo(delete),
            Step::new("whole", whole),
        ]
    }
}

async fn erase(saga: &VdiCreate, ctx: &StepCtx<VdiCreate>) -> Result<(), StepError> {
    let db = &saga.0.db;
    db.store.commit(db.vdis.delete_in(Transaction::new(), &ctx.params().vdi.vdi)).await?;
    Ok(())
}

async fn ensure(saga: &VdiCreate, ctx: &StepCtx<VdiCreate>) -> Result<(), StepError> {
    saga.0.ensure_vdi(ctx, ctx.params().host, &ctx.params().vdi).await
}

async fn delete(saga: &VdiCreate, ctx: &StepCtx<VdiCreate>) -> Result<(), StepError> {
    let Params { host, vdi } = ctx.params();
    saga.0.delete_vdi(ctx, *host, (vdi.vdi, vdi.sr)).await
}

async fn whole(saga: &VdiCreate, ctx: &StepCtx<VdiCreate>) -> Result<(), StepError> {
    saga.0.vdi_is_whole(ctx.params().vdi.vdi, ctx.saga()).await
}
