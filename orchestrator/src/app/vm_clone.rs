//! A new VM like another. The disks of one that stands still are cloned as they are; of one that is up, a snapshot is
//! taken first, from which the clones are made, and dropped at the end.

use serde_json::json;
use time::OffsetDateTime;
use xenith_common_ids::{IncarnationId, SagaId, VdiId, VmId};
use xenith_hypervisor_agent_types::{CdDrive, DiskAccess, VmSpec};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vm::CloneVm;
use xenith_orchestrator_types::{ApiError, Permission};

use super::App;
use super::begin::{About, free};
use super::vm_new::NewVm;
use crate::errors::store_error;
use crate::model::VmRecord;
use crate::sagas::NewVdi;
use crate::sagas::vm_create::{Kept, Params, Source, VmCreate};

/// Whether the source's disks change while they are cloned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disks {
    Still,
    Written,
}

impl App {
    pub(super) async fn clone_vm(&self, call: &Call, request: CloneVm) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::View).await?;
        let source = &found.value;
        if !call.caller.sight(Permission::Provision).covers(Some(source.pool), &source.tags) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        free(source)?;
        let name = request.name.to_string();
        self.vm_name_is_free(&name, source.pool).await?;
        if request.start {
            self.may_start_on(call, source.host).await?;
        }
        let disks = match self.fleet.vm(found.key) {
            Some((_, observed)) if observed.power.has_domain() => Disks::Written,
            _ => Disks::Still,
        };
        let mut spec = VmSpec { name: request.name.clone(), autostart: None, ..source.spec.clone() };
        // A device of the host is one VM's.
        spec.hardware.pci.clear();
        let (new_vdis, kept) = self.cloned_disks(&mut spec, disks).await?;
        for nic in &mut spec.nics {
            nic.mac = self.free_mac().await?;
        }
        let title = format!("Clone {} as {name}", source.spec.name);
        if call.dry_run {
            let snapshots = kept.len();
            let (host, start) = (source.host, request.start);
            let plan =
                json!({ "title": title, "host": host, "spec": spec, "snapshots": snapshots, "start": start });
            return Err(call.planned(plan));
        }
        let (vm, saga) = (VmId::new(), SagaId::new());
        let record = VmRecord {
            spec,
            definition: 1,
            description: request.description.unwrap_or_else(|| source.description.clone()),
            created: OffsetDateTime::now_utc(),
            pending_restart: vec![],
            held_by: Some(saga),
            snapshot: None,
            protection: Default::default(),
            ..source.clone()
        };
        let new = NewVm { vm, record, new_vdis, placement: Default::default() };
        let commit = self.insert_vm(&new).await?;
        let host = new.record.host;
        if request.start {
            self.promise(host, new.record.spec.memory.target.mib());
        }
        let id = vm.to_string();
        let about = About {
            method: "vm.clone",
            title,
            subjects: vec![format!("vm/{id}"), format!("vm/{}", found.key), format!("host/{host}")],
            object: Some(&id),
        };
        let params = Params {
            vm,
            record: new.record,
            new_vdis: new.new_vdis,
            start: request.start.then(IncarnationId::new),
            source: (disks == Disks::Written).then_some(Source { vm: found.key, disks: kept }),
        };
        self.begin::<VmCreate>(call, (saga, &params), about, commit).await
    }

    /// Gives `spec` disks of its own. Where the source is up they come from snapshots, which are the second result.
    async fn cloned_disks(
        &self,
        spec: &mut VmSpec,
        disks: Disks,
    ) -> Result<(Vec<NewVdi>, Vec<Kept>), ApiError> {
        let (mut new_vdis, mut kept) = (Vec::new(), Vec::new());
        let name = spec.name.clone();
        for disk in &mut spec.disks {
            let found = self.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))?;
            let found = found.ok_or_else(|| ApiError::not_found("VDI", &disk.vdi.to_string()))?.value;
            // What nobody writes needs no snapshot.
            let from = if disks == Disks::Written && disk.access == DiskAccess::ReadWrite {
                let snapshot = VdiId::new();
                kept.push(Kept { vdi: found.id, snapshot, sr: found.sr });
                snapshot
            } else {
                found.id
            };
            let vdi = VdiId::new();
            disk.vdi = vdi;
            new_vdis.push(NewVdi {
                vdi,
                sr: found.sr,
                size: found.size,
                name: format!("{name}-{}", disk.device),
                from: Some(from),
                seed: None,
            });
        }
        if let Some(cd) = &mut spec.hardware.cd {
            // An ISO may be in both drives; one that is gone is not looked for again.
            let there = cd.vdi.filter(|vdi| self.views.vdi(*vdi).is_some());
            *cd = CdDrive { vdi: there };
        }
        Ok((new_vdis, kept))
    }
}
