//! Making the disks of a VM: one step for each, which names its VDI, and its undo. Every saga that makes some has them.

use xenith_common_ids::HostId;
use xenith_orchestrator_saga::{Saga, StepCtx, StepError};

use super::{Deps, NewVdi};

/// The one that the step is about.
fn of_step<'a, S: Saga>(ctx: &StepCtx<S>, all: &'a [NewVdi]) -> Result<&'a NewVdi, StepError> {
    let wanted = ctx.item().unwrap_or_default();
    let found = all.iter().find(|new| new.vdi.to_string() == wanted);
    found.ok_or_else(|| StepError::permanent("the step names a disk that is not in the parameters"))
}

impl Deps {
    pub(super) async fn ensure_disk<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        all: &[NewVdi],
    ) -> Result<(), StepError> {
        self.ensure_vdi(ctx, host, of_step(ctx, all)?).await
    }

    pub(super) async fn delete_disk<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        all: &[NewVdi],
    ) -> Result<(), StepError> {
        let new = of_step(ctx, all)?;
        self.delete_vdi(ctx, host, (new.vdi, new.sr)).await
    }
}
