//! Delete a VDI. Its record goes in the transaction that starts the saga, so that nobody attaches it meanwhile.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SrId, VdiId};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};

use super::Deps;

#[derive(Clone)]
pub struct VdiDelete(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub host: HostId,
    pub vdi: VdiId,
    pub sr: SrId,
}

impl Saga for VdiDelete {
    const KIND: &'static str = "vdi_delete";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![Step::new("disk", delete).cannot_be_undone("the contents of a disk are gone")]
    }
}

async fn delete(saga: &VdiDelete, ctx: &StepCtx<VdiDelete>) -> Result<(), StepError> {
    let Params { host, vdi, sr } = ctx.params();
    saga.0.delete_vdi(ctx, *host, (*vdi, *sr)).await?;
    saga.0.drop_bases(ctx, *vdi).await
}
