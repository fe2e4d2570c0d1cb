//! What the records say of disks that move: which of the two a VM has, and who holds them meanwhile.
//!
//! The records of the copies, and that a saga holds the disks, are written in the transaction that starts it.

use xenith_common_ids::TaskId;
use xenith_hypervisor_agent_types::VmSpec;
use xenith_orchestrator_saga::{StepCtx, StepError};
use xenith_orchestrator_store::{Expect, Transaction};
use xenith_orchestrator_types::vdi::Vdi;

use super::{Mirror, Mirrored, Mirrors, mirror};
use crate::sagas::Deps;

/// Which of the two a VM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sagas) enum Side {
    Old,
    New,
}

impl Mirror {
    /// The definition with the new disks.
    #[must_use]
    pub fn with_new(&self, spec: &VmSpec) -> VmSpec {
        let mut spec = spec.clone();
        for disk in &mut spec.disks {
            if let Some(moved) = self.disks.iter().find(|moved| moved.from.id == disk.vdi) {
                disk.vdi = moved.to.vdi;
            }
        }
        spec
    }
}

impl Deps {
    /// Adds to a transaction: the records say the other disks, under the names of those that they replace. `None`: they do
    /// already.
    pub(in crate::sagas) async fn put_disks<S: Mirrors>(
        &self,
        ctx: &StepCtx<S>,
        mut commit: Transaction,
        side: Side,
    ) -> Result<Option<Transaction>, StepError> {
        let (mirror, vdis) = (mirror(ctx)?, &self.db.vdis);
        for Mirrored { from, to, .. } in &mirror.disks {
            let old = vdis.get(&from.id).await?;
            match (side, old) {
                (Side::New, None) | (Side::Old, Some(_)) => return Ok(None),
                (Side::New, Some(old)) => {
                    let before = Vdi { held_by: from.held_by, ..old.value };
                    if before != *from {
                        let name = &from.name;
                        let problem =
                            format!("VDI {name} was changed while it was copied; it stays where it is");
                        return Err(StepError::permanent(problem));
                    }
                    let new = Vdi { id: to.vdi, size: to.size, sr: to.sr, host: mirror.to, ..from.clone() };
                    commit = vdis.require_in(commit, &from.id, Expect::At(old.revision));
                    commit = vdis.put_in(vdis.delete_in(commit, &from.id), &to.vdi, &new);
                }
                (Side::Old, None) => {
                    let held_by = Some(TaskId::from(ctx.saga()));
                    let new = Vdi {
                        id: to.vdi,
                        size: to.size,
                        sr: to.sr,
                        host: mirror.to,
                        attached_to: None,
                        held_by,
                        ..from.clone()
                    };
                    let old = Vdi { held_by, ..from.clone() };
                    commit = vdis.put_in(vdis.insert_in(commit, &from.id, &old), &to.vdi, &new);
                }
            }
        }
        Ok(Some(commit))
    }

    /// Undo of what the transaction that starts the saga wrote: the records of the copies go, and the disks and their VM are
    /// let go of.
    pub(in crate::sagas) async fn erase_copies<S: Mirrors>(&self, ctx: &StepCtx<S>) -> Result<(), StepError> {
        let mirror = mirror(ctx)?;
        let erase = |commit, disk: &Mirrored| self.db.vdis.delete_in(commit, &disk.to.vdi);
        self.db.store.commit(mirror.disks.iter().fold(Transaction::new(), erase)).await?;
        for disk in &mirror.disks {
            self.vdi_is_whole(disk.from.id, ctx.saga()).await?;
        }
        self.release(mirror.vm, ctx.saga()).await?;
        Ok(())
    }
}
