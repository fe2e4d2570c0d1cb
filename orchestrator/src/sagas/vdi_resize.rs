//! Make a VDI larger. It only goes forward: a disk is never made smaller.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SrId, VdiId};
use xenith_hypervisor_agent_api::{Command, StorageCommand};
use xenith_hypervisor_agent_types::VdiSize;
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};

use super::Deps;

#[derive(Clone)]
pub struct VdiResize(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub host: HostId,
    pub vdi: VdiId,
    pub sr: SrId,
    pub size: VdiSize,
}

impl Saga for VdiResize {
    const KIND: &'static str = "vdi_resize";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![Step::new("grow", grow).cannot_be_undone("a disk is never made smaller")]
    }
}

async fn grow(saga: &VdiResize, ctx: &StepCtx<VdiResize>) -> Result<(), StepError> {
    let Params { host, vdi, sr, size } = *ctx.params();
    let command = StorageCommand::Grow { vdi, sr, size };
    saga.0.send(ctx, host, Command::Storage(command)).await?;
    saga.0.db.vdis.modify(&vdi, |record| record.size = record.size.max(size)).await?;
    Ok(())
}
