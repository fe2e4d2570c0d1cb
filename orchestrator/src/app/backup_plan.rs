//! What a restore or a deletion of a backup makes, replaces and loses, for who asks before.
//!
//! Sentences for people: they say what is gone afterwards and what is not, with sizes and times. Nothing here changes
//! anything, and nothing decides.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use xenith_common_ids::VdiId;
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_types::backup::{RestoreBackup, RestoreTarget};
use xenith_orchestrator_types::{ApiError, Permission};

use super::App;
use super::backup_restore::Plan;
use crate::catalogue;
use crate::errors::store_error;
use crate::model::{BackupRecord, VmRecord};

/// For people and programs; empty where no calendar has it.
pub(super) fn at(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

/// The VM that a backup is of, or its first disk, by name.
fn named(record: &BackupRecord) -> String {
    match &record.definition {
        Some(definition) => definition.spec.name.to_string(),
        None => record.facts.disks.first().map(|disk| disk.name.clone()).unwrap_or_default(),
    }
}

impl App {
    /// What a restore would make, and what would be lost.
    pub(super) async fn restore_told(
        &self,
        (request, record): (&RestoreBackup, &BackupRecord),
        plan: &Plan,
    ) -> Result<Value, ApiError> {
        let params = &plan.params;
        let target = match &request.target {
            RestoreTarget::InPlace => "into the VM, whose disks are overwritten",
            RestoreTarget::Disks => "new disks that no VM has",
            RestoreTarget::NewVm { .. } => "a new VM with new MAC addresses; the old one stays as it is",
        };
        let (mut lost, mut stays) = (Vec::new(), Vec::new());
        if request.target == RestoreTarget::InPlace
            && let Some(vm) = &params.vm
        {
            lost.extend(params.disks.iter().map(|(name, vdi)| self.overwritten(*vdi, name)));
            let vm = self.db.vms.get(&vm.id).await.map_err(|e| store_error(&e))?;
            stays.extend(vm.iter().flat_map(|vm| untouched(&vm.value, &params.disks)));
        }
        let disk = |new: &crate::sagas::NewVdi| json!({ "name": new.name, "size": new.size, "sr": new.sr });
        let new_vm = params.vm.as_ref().and_then(|vm| vm.new.as_ref());
        Ok(json!({
            "title": plan.title,
            "backup": record.facts.id,
            "made": at(record.created),
            "target": target,
            "host": params.host,
            "lost": lost,
            "stays": stays,
            "new_disks": params.new_vdis.iter().map(disk).collect::<Vec<_>>(),
            "spec": new_vm.map(|vm| &vm.spec),
            "start": params.start.is_some(),
        }))
    }

    fn overwritten(&self, vdi: VdiId, name: &str) -> String {
        let now = self.views.vdi(vdi);
        let (shown, size) = match &now {
            Some(now) => (now.name.clone(), now.size.to_string()),
            None => (vdi.to_string(), "of unknown size".to_owned()),
        };
        format!("what the disk {shown} ({size}) holds now; it becomes {name} of the backup")
    }

    /// What the deletion of a backup would lose, what is left, and what counts from it.
    pub(super) async fn deletion_told(
        &self,
        call: &Call,
        record: &BackupRecord,
        title: &str,
    ) -> Result<Value, ApiError> {
        let repository = self.db.repositories.get(&record.repository).await.map_err(|e| store_error(&e))?;
        let repository = repository.map(|found| found.value.repository.name).unwrap_or_default();
        let (name, made) = (named(record), at(record.created));
        let mut left = match &record.definition {
            Some(definition) => catalogue::of_vm(&self.db, definition.vm, &[], usize::MAX).await,
            None => Ok(Vec::new()),
        }
        .map_err(|e| store_error(&e))?;
        left.retain(|other| (other.repository, &other.facts.id) != (record.repository, &record.facts.id));
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            left.iter().partition(|other| other.repository == record.repository);
        let mut lost = vec![format!("the state of {name} of {made}")];
        if record.definition.is_some() && left.is_empty() {
            lost.push(format!("the last backup of {name}: there is no other, in any repository"));
        }
        Ok(json!({
            "title": title,
            "repository": repository,
            "backup": record.facts.id,
            "of": name,
            "made": made,
            "lost": lost,
            "left_here": here.len(),
            "newest_left_here": here.iter().map(|other| other.created).max().map(at),
            "left_elsewhere": elsewhere.len(),
            "depends_on_it": self.dependants(call, record).await?,
        }))
    }

    /// Whatever goes on without it, but not as cheaply. Names only what the caller may see.
    async fn dependants(&self, call: &Call, record: &BackupRecord) -> Result<Vec<String>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let mut lines = Vec::new();
        let (bases, _) = self.db.bases.all().await.map_err(|e| store_error(&e))?;
        for base in bases {
            if base.key.1 == record.repository && base.value.backup == record.facts.id {
                let disk = &base.value.disk_name;
                lines.push(format!("the next backup of {disk} counts from it, and will read the whole disk"));
            }
        }
        let (standbys, _) = self.db.standbys.all().await.map_err(|e| store_error(&e))?;
        for standby in standbys {
            let holds = standby.value.holds.as_ref().is_some_and(|holds| holds.backup == record.facts.id);
            if standby.value.repository == record.repository && holds {
                let name = match self.views.vm(standby.key) {
                    Some(vm) if sees.covers(Some(vm.pool), &*vm.tags) => vm.name.to_string(),
                    None if sees == Sight::All => standby.key.to_string(),
                    Some(_) | None => "a VM that stands by".to_owned(),
                };
                lines.push(format!("{name} holds it and keeps it; the next backup is written to it whole"));
            }
        }
        Ok(lines)
    }
}

/// What a restore in place leaves as it is.
fn untouched(vm: &VmRecord, disks: &[(String, VdiId)]) -> Vec<String> {
    let mut stays = vec!["memory, CPUs and network cards".to_owned()];
    let others = vm.spec.disks.iter().filter(|disk| disks.iter().all(|(_, vdi)| *vdi != disk.vdi));
    stays.extend(others.map(|disk| format!("the disk {}, which is not restored", disk.device)));
    stays
}
