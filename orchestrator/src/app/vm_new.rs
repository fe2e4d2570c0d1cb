//! A VM that is to be made: placed, whole, and what has to be written for it. Creating and importing share it.

use xenith_common_ids::{PoolId, SagaId, VmId};
use xenith_hypervisor_agent_types::{CdDrive, Hardware, VmSpec};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::vm::{CreateVm, Placement};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use super::vm_hardware::{checked_custom, may_give_devices};
use super::vm_spec::validated;
use crate::errors::store_error;
use crate::model::VmRecord;
use crate::records;
use crate::sagas::NewVdi;

/// See the module's text.
pub(super) struct NewVm {
    pub vm: VmId,
    /// Held by the saga that will make it.
    pub record: VmRecord,
    pub new_vdis: Vec<NewVdi>,
    pub placement: Placement,
}

impl App {
    /// Checks who may, finds everything that `request` names, and the best host.
    pub(super) async fn new_vm(
        &self,
        call: &Call,
        request: &CreateVm,
        saga: SagaId,
    ) -> Result<NewVm, ApiError> {
        let name = request.name.to_string();
        let pool = self.find_pool(call, request.pool.as_deref())?;
        if !call.caller.sight(Permission::Provision).covers(Some(pool.id), &request.tags) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        checked_custom(&request.custom)?;
        let (hardware, cd_sr) = self.hardware(call, &request.hardware, &Hardware::default()).await?;
        let drive = hardware.cd.map(|_| CdDrive::place());
        let mut disks = self.disks(call, &name, &request.disks, drive.into_iter().collect()).await?;
        cd_sr.into_iter().for_each(|sr| disks.need(sr));
        let spec = validated(VmSpec {
            name: request.name.clone(),
            platform: request.platform.clone(),
            vcpus: request.vcpus,
            memory: request.memory,
            disks: disks.specs.clone(),
            nics: self.nics(call, &request.nics).await?,
            graphics: request.graphics,
            on_crash: request.on_crash,
            on_reboot: request.on_reboot,
            autostart: request.autostart,
            hardware,
        })?;
        let wish = self.wish(call, &spec, request, &disks).await?;
        // A host that was named brings its own pool along, which the caller may only see. What finds no room there wakes
        // hosts, so this comes first.
        if !call.caller.sight(Permission::Provision).covers(wish.pool, &request.tags) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        let placed = self.placed(&wish, self.visible_hosts(call));
        if !call.dry_run && placed.as_ref().is_err_and(|error| error.reason() == Reason::NoPlacement) {
            self.note_no_room(&wish);
        }
        let (host, placement) = placed?;
        // As in the wish: no other pool's hosts are chosen among.
        let pool = wish.pool.unwrap_or(pool.id);
        may_give_devices(call, pool, (&[], &spec.hardware.pci))?;
        self.networks_are_of(pool, &spec.nics).await?;
        self.vm_name_is_free(&name, pool).await?;
        let sr = self.views.host(host).and_then(|record| record.local_sr);
        let sr = sr.ok_or_else(|| {
            ApiError::new(Reason::HostUnreachable, "the host's storage is not known yet; try again")
        })?;
        let record = VmRecord {
            description: request.description.clone(),
            tags: request.tags.clone(),
            apart_from: wish.apart_from.iter().copied().collect(),
            together_with: wish.together_with.iter().copied().collect(),
            held_by: Some(saga),
            protection: request.protection,
            custom: request.custom.clone(),
            ..VmRecord::new(spec, (pool, host))
        };
        Ok(NewVm { vm: VmId::new(), record, new_vdis: disks.new_vdis(sr), placement })
    }

    /// Refuses a name that a VM of the pool has. The transaction refuses it too; a plan ends before that.
    pub(super) async fn vm_name_is_free(&self, name: &str, pool: PoolId) -> Result<(), ApiError> {
        let taken = self.db.vm_names.get(&(name.to_owned(), pool)).await.map_err(|e| store_error(&e))?;
        if taken.is_some() {
            let message = format_args!("there is a VM {name:?} in this pool already");
            return Err(ApiError::new(Reason::Conflict, message));
        }
        Ok(())
    }

    /// The records of the VM, of its name and addresses, and of its disks.
    pub(super) async fn insert_vm(&self, new: &NewVm) -> Result<Transaction, ApiError> {
        let made = new.new_vdis.iter().map(|new| new.vdi).collect();
        let mut commit = self.db.vms.insert_in(Transaction::new(), &new.vm, &new.record);
        commit = records::follow(&self.db, commit, new.vm, (None, Some(&new.record)), &made)
            .await
            .map_err(|e| store_error(&e))?;
        for vdi in &new.new_vdis {
            commit = self.insert_vdi(commit, vdi, new.record.host, super::vdi::MadeFor::Vm(new.vm));
        }
        Ok(commit)
    }
}
