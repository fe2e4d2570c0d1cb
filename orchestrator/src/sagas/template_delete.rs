//! Delete a template. VMs that were made from it have disks of their own. Its record goes in the transaction that
//! starts the saga, so that nobody makes a VM from it meanwhile.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SrId, VdiId};
use xenith_orchestrator_saga::{Saga, Step, StepCtx, StepError};

use super::Deps;

#[derive(Clone)]
pub struct TemplateDelete(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub host: HostId,
    pub disks: Vec<(VdiId, SrId)>,
}

impl Saga for TemplateDelete {
    const KIND: &'static str = "template_delete";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let step = |vdi: &VdiId| {
            let step = Step::new("delete_disk", delete).cannot_be_undone("the contents of a disk are gone");
            step.for_item(vdi.to_string())
        };
        params.disks.iter().map(|(vdi, _)| step(vdi)).collect()
    }
}

async fn delete(saga: &TemplateDelete, ctx: &StepCtx<TemplateDelete>) -> Result<(), StepError> {
    let wanted = ctx.item().unwrap_or_default();
    match ctx.params().disks.iter().find(|(vdi, _)| vdi.to_string() == wanted) {
        Some(disk) => saga.0.delete_vdi(ctx, ctx.params().host, *disk).await,
        None => Err(StepError::permanent("the step names a disk that is not in the parameters")),
    }
}
