//! Imports: what their sagas share. One saga for uploads ([`upload`]), one for vSphere ([`vsphere`]).
//!
//! What always holds: the VM is held by the saga from its first transaction to its last, so nobody starts it before
//! its disks are whole; it is defined on the host only then, so the host does not autostart it either. The import's
//! record follows the saga and decides nothing but what a person decided: when to cut over.

mod guest;
mod upload;
mod vsphere;

use std::collections::BTreeSet;

pub use upload::{ImportUpload, UploadParams};
pub use vsphere::{ImportVsphere, VsphereParams};

use time::OffsetDateTime;
use xenith_common_ids::{ImportId, VdiId, VmId};
use xenith_orchestrator_saga::StepError;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::import::ImportPhase;

use super::Deps;
use crate::model::ImportRecord;
use crate::records;

impl Deps {
    pub(super) async fn import(&self, import: ImportId) -> Result<ImportRecord, StepError> {
        let found = self.db.imports.get(&import).await?;
        found.map(|found| found.value).ok_or_else(|| StepError::permanent("the import's record is gone"))
    }

    pub(super) async fn note_import(
        &self,
        import: ImportId,
        change: impl Fn(&mut ImportRecord) + Send + Sync,
    ) -> Result<(), StoreError> {
        self.db.imports.modify(&import, change).await?;
        // Waves wait for what imports do.
        self.imports.nudge();
        Ok(())
    }

    pub(super) async fn import_phase(&self, import: ImportId, phase: ImportPhase) -> Result<(), StoreError> {
        self.note_import(import, |record| {
            record.phase = phase;
            record.message = None;
            if phase.is_over() {
                record.ended = Some(OffsetDateTime::now_utc());
                record.ticket_hash = None;
            }
        })
        .await
    }

    /// Takes the records of a VM away, and those of the disks that its saga made.
    pub(super) async fn erase_vm(&self, vm: VmId, made: &BTreeSet<VdiId>) -> Result<(), StepError> {
        let db = &self.db;
        let Some(record) = db.vms.get(&vm).await? else { return Ok(()) };
        let mut erase = db.vms.delete_in(Transaction::new(), &vm);
        erase = records::follow(db, erase, vm, (Some(&record.value), None), made).await?;
        for vdi in made {
            erase = db.vdis.delete_in(erase, vdi);
        }
        db.store.commit(erase).await?;
        Ok(())
    }
}
