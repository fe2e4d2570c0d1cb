//! Virtual machines.

use async_trait::async_trait;
use serde_json::json;
use xenith_common_ids::{IncarnationId, SagaId, VmId};
use xenith_hypervisor_agent_types::{CdDrive, ObservedVm, Power, VmName};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::vm::VmApi;
use xenith_orchestrator_inventory::PageRequest;
use xenith_orchestrator_inventory::filter::Filter;
use xenith_orchestrator_inventory::vm::{VmRow as InventoryRow, Vms};
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::network::{NicChange, NicSettings};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vm::{
    BulkResult, BulkVms, CdInsertion, CloneVm, CompleteFilter, Completion, CreateVm, DeleteVm,
    DiskAttachment, DiskDetachment, MigrateVm, NicAttachment, NicDetachment, PlaceVm, Placement, PowerOffVm,
    ShutdownVm, StartVm, UpdateVm, Vm, VmCount, VmRef, VmRow,
};
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission, Reason};

use super::App;
use super::begin::{About, free, unheld};
use super::filter::{told, typed};
use super::parse_filter;
use super::vm_hardware::{checked_custom, may_give_devices};
use super::vm_new::NewVm;
use super::vm_spec::validated;
use crate::errors::store_error;
use crate::model::VmRecord;
use crate::records;
use crate::sagas::NewVdi;
use crate::sagas::vm_act::{Act, Params as ActParams, VmAct, memory_is_saved};
use crate::sagas::vm_create::{Params as CreateParams, VmCreate};
use crate::sagas::vm_delete::{Params as DeleteParams, VmDelete};
use crate::sagas::vm_update::{Params as UpdateParams, VmUpdate};

/// What a guest gets when the caller names no deadline.
pub(super) const SHUTDOWN_S: u32 = 120;

pub(crate) fn filter(text: &str) -> Result<Filter, ApiError> {
    parse_filter::<Vms>(text)
}

/// A row of the inventory as the API shows it.
pub(crate) fn api_row(row: InventoryRow) -> VmRow {
    let power = row.power.as_str();
    VmRow {
        id: row.id,
        name: row.name,
        power: power.parse().expect("the inventory's words are among the API's"),
        managed: row.managed.as_str() == "yes",
        host: row.host.as_ref().map(|host| host.id),
        host_name: row.host.map(|host| host.name),
        pool: row.pool.map(|pool| pool.name),
        tags: row.tags,
        memory: row.memory,
        vcpus: row.vcpus,
        kind: row.kind.as_str().to_owned(),
        addresses: row.addresses,
        os: row.os,
    }
}

/// A VM that the host runs or ran; `record` has the rest.
fn api_vm(id: VmId, record: &VmRecord, observed: Option<ObservedVm>, power: &str) -> Vm {
    Vm {
        id,
        name: record.spec.name.to_string(),
        description: record.description.clone(),
        tags: record.tags.clone(),
        pool: record.pool,
        host: Some(record.host),
        power: power.parse().expect("the inventory's words are among the API's"),
        managed: true,
        spec: Some(record.spec.clone()),
        definition: record.definition,
        observed,
        pending_restart: record.pending_restart.clone(),
        protection: record.protection,
        custom: record.custom.clone(),
        apart_from: record.apart_from.clone(),
        together_with: record.together_with.clone(),
        standby_of: record.standby_of,
        created: Some(record.created),
    }
}

/// What a plan says.
const LOST_WITH_MEMORY: &str =
    "the memory that is saved of it, if it is suspended: it boots as after a power cut";

fn title(act: Act, name: &VmName) -> String {
    match act {
        Act::Start { .. } => format!("Start {name}"),
        Act::Resume { .. } => format!("Resume {name}"),
        Act::Shutdown { .. } => format!("Shut down {name}"),
        Act::Reboot { .. } => format!("Reboot {name}"),
        Act::PowerOff => format!("Power off {name}"),
        Act::PowerOffAndDiscard => format!("Power off {name} and discard its saved memory"),
        Act::Pause => format!("Pause {name}"),
        Act::Unpause => format!("Unpause {name}"),
        Act::Suspend => format!("Suspend {name}"),
    }
}

/// One change of a definition on its way to a saga.
pub(super) struct Update {
    pub record: Record<VmId, VmRecord>,
    pub new: VmRecord,
    pub new_vdis: Vec<NewVdi>,
    pub method: &'static str,
    pub title: String,
}

/// Refuses what a VM is protected against.
pub(super) fn protected(record: &VmRecord, against: &str) -> ApiError {
    let name = &record.spec.name;
    let message = format_args!(
        "{name} is protected against {against}; allow it first: xenith vm update {name} --unprotect {against}"
    );
    ApiError::new(Reason::WrongState, message)
}

impl App {
    pub(super) async fn act(
        &self,
        call: &Call,
        reference: &str,
        act: Act,
        method: &'static str,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, reference, Permission::Operate).await?;
        let record = &found.value;
        // One that stands by may still run: its host was away when it was replaced.
        if matches!(act, Act::Shutdown { .. } | Act::PowerOff | Act::PowerOffAndDiscard) {
            unheld(record)?
        } else {
            free(record)?
        }
        if act == Act::PowerOff {
            self.nothing_is_saved(&found)?;
        }
        let starts = matches!(act, Act::Start { .. } | Act::Resume { .. });
        if starts && record.protection.start {
            return Err(protected(record, "start"));
        }
        if starts {
            self.may_start_on(call, record.host).await?;
        }
        let title = title(act, &record.spec.name);
        if call.dry_run {
            let mut plan = json!({ "title": title, "host": record.host, "act": act });
            if act == Act::PowerOffAndDiscard {
                plan["lost"] = json!([LOST_WITH_MEMORY]);
            }
            return Err(call.planned(plan));
        }
        if starts {
            self.promise(record.host, record.spec.memory.target.mib());
        }
        let saga = SagaId::new();
        let held = VmRecord { held_by: Some(saga), ..record.clone() };
        let hold = self.db.vms.update_in(Transaction::new(), &found, &held);
        let params = ActParams {
            vm: found.key,
            host: record.host,
            definition: record.definition,
            spec: record.spec.clone(),
            act,
        };
        let subjects = vec![format!("vm/{}", found.key), format!("host/{}", record.host)];
        let id = found.key.to_string();
        self.begin::<VmAct>(call, (saga, &params), About { method, title, subjects, object: Some(&id) }, hold)
            .await
    }

    pub(super) async fn change(&self, call: &Call, update: Update) -> Result<TaskStarted, ApiError> {
        let Update { record: found, mut new, new_vdis, method, title } = update;
        new.spec = validated(new.spec)?;
        if call.dry_run {
            return Err(
                call.planned(json!({ "title": title, "before": found.value.spec, "after": new.spec }))
            );
        }
        let saga = SagaId::new();
        // A host may have a newer one than an orchestrator that was restored from a backup.
        let on_host = self.fleet.vm(found.key).map_or(0, |(_, seen)| seen.definition);
        new.definition = found.value.definition.max(on_host) + 1;
        new.held_by = Some(saga);
        let made = new_vdis.iter().map(|new| new.vdi).collect();
        let mut commit = self.db.vms.update_in(Transaction::new(), &found, &new);
        let change = (Some(&found.value), Some(&new));
        commit =
            records::follow(&self.db, commit, found.key, change, &made).await.map_err(|e| store_error(&e))?;
        for vdi in &new_vdis {
            commit = self.insert_vdi(commit, vdi, new.host, super::vdi::MadeFor::Vm(found.key));
        }
        commit = records::hold_detached(&self.db, commit, (&found.value.spec, &new.spec), saga)
            .await
            .map_err(|e| store_error(&e))?;
        let params = UpdateParams {
            vm: found.key,
            host: new.host,
            old: found.value.spec.clone(),
            new: new.spec.clone(),
            definition: new.definition,
            new_vdis,
        };
        let subjects = vec![format!("vm/{}", found.key), format!("host/{}", new.host)];
        let id = found.key.to_string();
        let about = About { method, title, subjects, object: Some(&id) };
        self.begin::<VmUpdate>(call, (saga, &params), about, commit).await
    }
}

#[async_trait]
impl VmApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<VmRow>, ApiError> {
        App::list::<Vms>(self, call, &request).await
    }

    async fn count(&self, call: &Call, request: ListRequest) -> Result<VmCount, ApiError> {
        let scope = self.scope(&call.caller);
        let all = filter(&request.filter)?;
        let running = format!("({}) power:running", request.filter);
        let running = if request.filter.trim().is_empty() { "power:running".to_owned() } else { running };
        let (running, vms) = (filter(&running)?, self.views.vms.clone());
        let count = move || VmCount { total: vms.count(&all, &scope), running: vms.count(&running, &scope) };
        self.readers.run(count).await
    }

    async fn complete(&self, call: &Call, request: CompleteFilter) -> Result<Completion, ApiError> {
        typed(&request.text)?;
        let scope = self.scope(&call.caller);
        told(self.views.vms.complete(&request.text, request.text.len(), &scope))
    }

    async fn get(&self, call: &Call, request: VmRef) -> Result<Vm, ApiError> {
        match self.find_vm(call, &request.vm, Permission::View).await {
            Ok(found) => {
                let observed = self.fleet.vm(found.key).map(|(_, observed)| (*observed).clone());
                let power = self.views.power(found.value.host, found.key).as_str();
                let mut vm = api_vm(found.key, &found.value, observed, power);
                let sees = call.caller.sight(Permission::View);
                let seen =
                    |vm: &VmId| self.views.vm(*vm).is_some_and(|vm| sees.covers(Some(vm.pool), &*vm.tags));
                vm.apart_from.retain(seen);
                vm.together_with.retain(seen);
                Ok(vm)
            }
            Err(error) if error.reason() == Reason::NotFound => {
                self.unmanaged(call, &request.vm).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn place(&self, call: &Call, request: PlaceVm) -> Result<Placement, ApiError> {
        self.placement(call, request).await
    }

    async fn create(&self, call: &Call, request: CreateVm) -> Result<TaskStarted, ApiError> {
        let saga = SagaId::new();
        let new = self.new_vm(call, &request, saga).await?;
        let title = format!("Create {}", request.name);
        if call.dry_run {
            return Err(
                call.planned(json!({ "title": title, "spec": new.record.spec, "placement": new.placement }))
            );
        }
        let commit = self.insert_vm(&new).await?;
        let NewVm { vm, record, new_vdis, .. } = new;
        let host = record.host;
        if request.start {
            self.promise(host, record.spec.memory.target.mib());
        }
        let start = request.start.then(IncarnationId::new);
        let params = CreateParams { vm, record, new_vdis, start, source: None };
        let subjects = vec![format!("vm/{vm}"), format!("host/{host}")];
        let id = vm.to_string();
        let about = About { method: "vm.create", title, subjects, object: Some(&id) };
        self.begin::<VmCreate>(call, (saga, &params), about, commit).await
    }

    async fn update(&self, call: &Call, request: UpdateVm) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Operate).await?;
        free(&found.value)?;
        let mut new = found.value.clone();
        let spec = &mut new.spec;
        macro_rules! take {
            ($($field:ident),*) => { $(if let Some(value) = request.$field { spec.$field = value; })* };
        }
        take!(name, vcpus, memory, platform, graphics, on_crash, on_reboot);
        if request.no_autostart {
            spec.autostart = None;
        } else if request.autostart.is_some() {
            spec.autostart = request.autostart;
        }
        if let Some(description) = request.description {
            new.description = description;
        }
        if let Some(protection) = request.protection {
            new.protection = protection;
        }
        if let Some(custom) = request.custom {
            checked_custom(&custom)?;
            new.custom = custom;
        }
        let (apart, together) = (request.apart_from.as_deref(), request.together_with.as_deref());
        self.change_company(call, &mut new, (apart, together)).await?;
        if let Some(wanted) = &request.hardware {
            let (hardware, sr) = self.hardware(call, wanted, &new.spec.hardware).await?;
            if sr.is_some_and(|sr| !sr.hosts.contains(&new.host)) {
                let problem = "is in an SR that the VM's host does not have";
                return Err(ApiError::invalid("hardware.cd.iso", problem));
            }
            may_give_devices(call, new.pool, (&new.spec.hardware.pci, &hardware.pci))?;
            new.spec.hardware = hardware;
        }
        if let Some(tags) = request.tags {
            // A tag may be what the caller's role hangs on: nobody tags a VM into or out of their own reach.
            let sight = call.caller.sight(Permission::Operate);
            if !sight.covers(Some(new.pool), &tags) {
                return Err(call.caller.forbidden(Permission::Operate));
            }
            new.tags = tags;
        }
        let title = format!("Change {}", found.value.spec.name);
        self.change(call, Update { record: found, new, new_vdis: vec![], method: "vm.update", title }).await
    }

    async fn delete(&self, call: &Call, request: DeleteVm) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Provision).await?;
        let record = &found.value;
        free(record)?;
        if record.protection.delete {
            return Err(protected(record, "delete"));
        }
        let about = ("vm.delete", if request.keep_disks { Fate::Kept } else { Fate::Deleted });
        self.delete_vm(call, &found, about).await
    }

    async fn start(&self, call: &Call, request: StartVm) -> Result<TaskStarted, ApiError> {
        self.act(call, &request.vm, Act::Start { incarnation: IncarnationId::new() }, "vm.start").await
    }

    async fn shutdown(&self, call: &Call, request: ShutdownVm) -> Result<TaskStarted, ApiError> {
        let deadline_s = if request.deadline_s == 0 { SHUTDOWN_S } else { request.deadline_s };
        self.act(call, &request.vm, Act::Shutdown { deadline_s, force: request.force }, "vm.shutdown").await
    }

    async fn reboot(&self, call: &Call, request: ShutdownVm) -> Result<TaskStarted, ApiError> {
        let deadline_s = if request.deadline_s == 0 { SHUTDOWN_S } else { request.deadline_s };
        self.act(call, &request.vm, Act::Reboot { deadline_s, force: request.force }, "vm.reboot").await
    }

    async fn power_off(&self, call: &Call, request: PowerOffVm) -> Result<TaskStarted, ApiError> {
        let act = if request.discard_memory { Act::PowerOffAndDiscard } else { Act::PowerOff };
        self.act(call, &request.vm, act, "vm.power_off").await
    }

    async fn pause(&self, call: &Call, request: VmRef) -> Result<TaskStarted, ApiError> {
        self.act(call, &request.vm, Act::Pause, "vm.pause").await
    }

    async fn unpause(&self, call: &Call, request: VmRef) -> Result<TaskStarted, ApiError> {
        self.act(call, &request.vm, Act::Unpause, "vm.unpause").await
    }

    async fn suspend(&self, call: &Call, request: VmRef) -> Result<TaskStarted, ApiError> {
        self.act(call, &request.vm, Act::Suspend, "vm.suspend").await
    }

    async fn resume(&self, call: &Call, request: VmRef) -> Result<TaskStarted, ApiError> {
        self.act(call, &request.vm, Act::Resume { incarnation: IncarnationId::new() }, "vm.resume").await
    }

    async fn migrate(&self, call: &Call, request: MigrateVm) -> Result<TaskStarted, ApiError> {
        self.migrate_vm(call, request).await
    }

    async fn attach_disk(&self, call: &Call, request: DiskAttachment) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Provision).await?;
        free(&found.value)?;
        let mut new = found.value.clone();
        let name = new.spec.name.to_string();
        let drive = new.spec.hardware.cd.map(|_| CdDrive::place());
        let taken = new.spec.disks.iter().map(|disk| disk.device).chain(drive).collect();
        let disks = self.disks(call, &name, std::slice::from_ref(&request.disk), taken).await?;
        if let Some(sr) = disks.out_of_reach(new.host) {
            let field = if request.disk.vdi.is_some() { "disk.vdi" } else { "disk.sr" };
            let problem = format_args!("the VM's host does not reach SR {}", sr.name);
            return Err(ApiError::invalid(field, problem));
        }
        let sr = self.views.host(new.host).and_then(|record| record.local_sr);
        let sr = sr.ok_or_else(|| {
            ApiError::new(Reason::HostUnreachable, "the host's storage is not known yet; try again")
        })?;
        new.spec.disks.extend(disks.specs.iter().cloned());
        let title = format!("Attach a disk to {name}");
        let new_vdis = disks.new_vdis(sr);
        self.change(call, Update { record: found, new, new_vdis, method: "vm.attach_disk", title }).await
    }

    async fn detach_disk(&self, call: &Call, request: DiskDetachment) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Operate).await?;
        free(&found.value)?;
        let mut new = found.value.clone();
        let before = new.spec.disks.len();
        new.spec.disks.retain(|disk| disk.device != request.device);
        if new.spec.disks.len() == before {
            return Err(ApiError::not_found("disk", &request.device.to_string()));
        }
        let title = format!("Detach {} from {}", request.device, new.spec.name);
        self.change(call, Update { record: found, new, new_vdis: vec![], method: "vm.detach_disk", title })
            .await
    }

    async fn insert_cd(&self, call: &Call, request: CdInsertion) -> Result<TaskStarted, ApiError> {
        self.insert_into_drive(call, &request.vm, Some(&request.iso)).await
    }

    async fn eject_cd(&self, call: &Call, request: VmRef) -> Result<TaskStarted, ApiError> {
        self.insert_into_drive(call, &request.vm, None).await
    }

    async fn clone(&self, call: &Call, request: CloneVm) -> Result<TaskStarted, ApiError> {
        self.clone_vm(call, request).await
    }

    async fn bulk(&self, call: &Call, request: BulkVms) -> Result<Vec<BulkResult>, ApiError> {
        self.bulk_act(call, &request).await
    }

    async fn attach_nic(&self, call: &Call, request: NicAttachment) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Operate).await?;
        free(&found.value)?;
        let mut new = found.value.clone();
        let nics = self.nics(call, std::slice::from_ref(&request.nic)).await?;
        self.networks_are_of(new.pool, &nics).await?;
        new.spec.nics.extend(nics);
        let title = format!("Add a NIC to {}", new.spec.name);
        self.change(call, Update { record: found, new, new_vdis: vec![], method: "vm.attach_nic", title })
            .await
    }

    async fn nics(&self, call: &Call, request: VmRef) -> Result<Vec<NicSettings>, ApiError> {
        self.nics_of(call, &request).await
    }

    async fn set_nic(&self, call: &Call, request: NicChange) -> Result<NicSettings, ApiError> {
        self.change_nic(call, request).await
    }

    async fn detach_nic(&self, call: &Call, request: NicDetachment) -> Result<TaskStarted, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Operate).await?;
        free(&found.value)?;
        let mut new = found.value.clone();
        let before = new.spec.nics.len();
        new.spec.nics.retain(|nic| nic.mac != request.mac);
        if new.spec.nics.len() == before {
            return Err(ApiError::not_found("NIC", &request.mac.to_string()));
        }
        let title = format!("Remove {} from {}", request.mac, new.spec.name);
        self.change(call, Update { record: found, new, new_vdis: vec![], method: "vm.detach_nic", title })
            .await
    }
}

/// What becomes of the disks of a VM that is deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Deleted,
}

impl App {
    /// Refuses a VM that is suspended: what its guest has in memory goes only when somebody says so.
    fn nothing_is_saved(&self, found: &Record<VmId, VmRecord>) -> Result<(), ApiError> {
        match self.fleet.vm(found.key) {
            Some((_, observed)) if observed.power == Power::Suspended => {
                Err(ApiError::new(Reason::WrongState, memory_is_saved(&found.value.spec.name)))
            }
            _ => Ok(()),
        }
    }

    /// The caller has checked that it may go.
    pub(super) async fn delete_vm(
        &self,
        call: &Call,
        found: &Record<VmId, VmRecord>,
        (method, fate): (&'static str, Fate),
    ) -> Result<TaskStarted, ApiError> {
        let record = &found.value;
        let name = &record.spec.name;
        if let Some((_, observed)) = self.fleet.vm(found.key)
            && observed.power.has_domain()
        {
            let message = format_args!("{name} is {}; shut it down or power it off first", observed.power);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        self.nothing_is_saved(found)?;
        let mut vdis = Vec::new();
        for disk in record.spec.disks.iter().filter(|_| fate == Fate::Deleted) {
            if let Some(vdi) = self.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))? {
                vdis.push((vdi.key, vdi.value.sr));
            }
        }
        let mut snapshots = Vec::new();
        for snapshot in self.snapshots_of(found.key).await? {
            vdis.extend(snapshot.value.kept());
            snapshots.push(snapshot.key);
        }
        let title = format!("Delete {name}");
        if call.dry_run {
            return Err(call.planned(json!({ "title": title, "host": record.host, "vdis": vdis })));
        }
        let saga = SagaId::new();
        let held = VmRecord { held_by: Some(saga), ..record.clone() };
        let hold = self.db.vms.update_in(Transaction::new(), found, &held);
        let params = DeleteParams { vm: found.key, host: record.host, vdis, snapshots };
        let subjects = vec![format!("vm/{}", found.key), format!("host/{}", record.host)];
        let about = About { method, title, subjects, object: None };
        self.begin::<VmDelete>(call, (saga, &params), about, hold).await
    }

    /// A domain that Xenith did not make: by its id, or by its name among those.
    fn unmanaged(&self, call: &Call, reference: &str) -> Option<Vm> {
        let id = match reference.parse::<VmId>() {
            Ok(id) => id,
            Err(_) => {
                let scope = self.scope(&call.caller);
                let quoted = reference.replace('\\', "\\\\").replace('"', "\\\"");
                let named = filter(&format!("managed:no name:=\"{quoted}\"")).ok()?;
                let rows = self.views.vms.page(&PageRequest::first(named, scope, 2)).ok()?.rows;
                rows.into_iter().find(|row| row.name == reference)?.id
            }
        };
        let row = self.views.vms.get(id, &self.scope(&call.caller))?;
        let (host, observed) = self.fleet.vm(id)?;
        Some(Vm {
            id,
            name: row.name,
            description: String::new(),
            tags: Default::default(),
            pool: row.pool?.id,
            host: Some(host),
            power: observed.power,
            managed: false,
            spec: None,
            definition: 0,
            observed: Some((*observed).clone()),
            pending_restart: vec![],
            protection: Default::default(),
            custom: Default::default(),
            apart_from: vec![],
            together_with: vec![],
            standby_of: None,
            created: None,
        })
    }
}
