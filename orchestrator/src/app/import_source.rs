//! Import sources, and what is at them.

use std::sync::Arc;

use serde_json::json;
use time::OffsetDateTime;
use xenith_common_ids::{ImportId, ImportSourceId, SagaId};
use xenith_hypervisor_agent_types::VdiSize;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::import::{
    ConnectSource, CutOverImport, Import, ImportFinding, ImportOrigin, ImportPhase, ImportSource,
    LookAtSource, NetworkMapping, SourceVm, StartImport, StorageMapping, VmAssessment,
};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vm::CreateVm;
use xenith_orchestrator_types::{ApiError, Permission, Reason};
use xenith_vmware_import::plan::inventory::{Inventory, Power, Vm};
use xenith_vmware_import::plan::rules::Severity;
use xenith_vmware_import::plan::{self, Settings};
use xenith_vmware_import::vsphere::{Credentials, MoRef, Vim, inspect, inventory, source};

use super::App;
use super::begin::About;
use super::import::import_record;
use super::vm_new::NewVm;
use crate::errors::store_error;
use crate::model::{CutOverWish, ImportDiskRecord, ImportRecord, ImportSourceRecord};
use crate::sagas::import::{ImportVsphere, VsphereParams};
use crate::vsphere::{self, api_error, with_source};

pub(super) fn api_source(id: ImportSourceId, record: &ImportSourceRecord) -> ImportSource {
    ImportSource {
        id,
        name: record.name.clone(),
        address: record.address.clone(),
        user: record.user.clone(),
        fingerprint: record.fingerprint.clone(),
        about: record.about.clone(),
        created: record.created,
    }
}

const fn power(power: Power) -> &'static str {
    match power {
        Power::On => "on",
        Power::Off => "off",
        Power::Suspended => "suspended",
    }
}

impl App {
    pub(super) async fn find_source(
        &self,
        reference: &str,
    ) -> Result<Record<ImportSourceId, ImportSourceRecord>, ApiError> {
        let (all, _) = self.db.import_sources.all().await.map_err(|error| store_error(&error))?;
        let id = reference.parse::<ImportSourceId>().ok();
        let found = all.into_iter().find(|record| Some(record.key) == id || record.value.name == reference);
        found.ok_or_else(|| ApiError::not_found("import source", reference))
    }

    pub(super) async fn connect_source(&self, request: ConnectSource) -> Result<ImportSource, ApiError> {
        if request.name.is_empty() || request.name.len() > 128 {
            return Err(ApiError::invalid("name", "use 1 to 128 characters"));
        }
        // The same name and address again: with a new password, or a certificate that was renewed.
        let (all, _) = self.db.import_sources.all().await.map_err(|error| store_error(&error))?;
        let known = all.into_iter().find(|record| record.value.name == request.name);
        if let Some(known) = known.as_ref().filter(|known| known.value.address != request.address) {
            let text = format_args!(
                "there is an import source {:?} already, at {}; take another name",
                request.name, known.value.address
            );
            return Err(ApiError::new(Reason::Conflict, text));
        }
        let ConnectSource { name, address, user, password, fingerprint } = request;
        let pin = fingerprint.as_deref().map(str::parse).transpose();
        let pin =
            pin.map_err(|error: xenith_vmware_import::ImportError| ApiError::invalid("fingerprint", error))?;
        let sealed = self.vault.seal(vsphere::PURPOSE, password.as_bytes()).map_err(ApiError::internal)?;
        let (host, credentials) = (address.clone(), Credentials { user: user.clone(), password });
        let signing_in = tokio::task::spawn_blocking(move || {
            let vim = Vim::connect(&host, credentials, pin)?;
            let about = vim.about().to_owned();
            let _left_open = vim.logout();
            Ok(about)
        });
        let about = signing_in.await.map_err(ApiError::internal)?;
        let about = about.map_err(|error| vsphere::connect_error(&error))?;
        let record = ImportSourceRecord {
            name,
            address,
            user,
            sealed_password: sealed,
            // Connecting without one ends with the error that shows it.
            fingerprint: fingerprint.unwrap_or_default(),
            about,
            created: known.as_ref().map_or_else(OffsetDateTime::now_utc, |known| known.value.created),
        };
        let id = known.as_ref().map_or_else(ImportSourceId::new, |known| known.key);
        let written = match &known {
            Some(known) => self.db.import_sources.update(known, &record).await,
            None => self.db.import_sources.insert(&id, &record).await,
        };
        written.map_err(|error| store_error(&error))?;
        Ok(api_source(id, &record))
    }

    pub(super) async fn forget_source(&self, reference: &str) -> Result<(), ApiError> {
        let found = self.find_source(reference).await?;
        let (imports, _) = self.db.imports.all().await.map_err(|error| store_error(&error))?;
        let user = imports.iter().find(|import| {
            let from =
                matches!(&import.value.origin, ImportOrigin::Vsphere { source, .. } if *source == found.key);
            from && !import.value.phase.is_over()
        });
        if let Some(import) = user {
            let text = format_args!("the import of {} still needs it", import.value.name);
            return Err(ApiError::new(Reason::WrongState, text));
        }
        self.db.import_sources.delete(&found).await.map_err(|error| store_error(&error))?;
        Ok(())
    }

    pub(super) async fn read_inventory(&self, request: &LookAtSource) -> Result<Inventory, ApiError> {
        let found = self.find_source(&request.source).await?;
        let opened = vsphere::open(&self.vault, &found.value).map_err(ApiError::internal)?;
        let read = with_source(opened, |vim| inventory::read(vim)).await;
        let read = read.map_err(|error| api_error(&error))?;
        for wanted in &request.vms {
            if !read.vms.iter().any(|vm| vm.id == *wanted || vm.name == *wanted) {
                return Err(ApiError::not_found("VM at the source", wanted));
            }
        }
        Ok(read)
    }

    pub(super) async fn source_vms(&self, request: LookAtSource) -> Result<Vec<SourceVm>, ApiError> {
        let read = self.read_inventory(&request).await?;
        Ok(read.vms.iter().filter(|vm| wanted(vm, &request.vms)).map(source_vm).collect())
    }

    pub(super) async fn assess_vms(&self, request: LookAtSource) -> Result<Vec<VmAssessment>, ApiError> {
        let read = self.read_inventory(&request).await?;
        let read = self.look_closer(&request, read).await?;
        let settings = self.plan_settings();
        let plan = plan::make(&read, &settings);
        let chosen = plan.vms.iter().zip(&read.vms).filter(|(_, vm)| wanted(vm, &request.vms));
        Ok(chosen.map(|(assessment, _)| api_assessment(assessment)).collect())
    }

    /// VMs that were asked for by name are told more of: what their disks show, where they are off.
    async fn look_closer(&self, request: &LookAtSource, mut read: Inventory) -> Result<Inventory, ApiError> {
        let names = request.vms.clone();
        let named = |vm: &Vm| !names.is_empty() && wanted(vm, &names);
        if !read.vms.iter().any(|vm| named(vm) && inspect::is_worth_it(vm)) {
            return Ok(read);
        }
        let found = self.find_source(&request.source).await?;
        let opened = vsphere::open(&self.vault, &found.value).map_err(ApiError::internal)?;
        let looked = with_source(opened, move |vim| {
            read.vms.iter_mut().filter(|vm| wanted(vm, &names)).for_each(|vm| inspect::look(vim, vm));
            Ok(read)
        });
        looked.await.map_err(|error| api_error(&error))
    }

    /// What we know of ourselves.
    pub(super) fn plan_settings(&self) -> Settings {
        let facts = self.views.hosts().into_iter().filter_map(|(host, _)| self.fleet.facts(host));
        let largest = facts.map(|facts| facts.memory_total.mib()).max();
        Settings { max_host_memory_mib: largest, ..Settings::default() }
    }

    pub(super) async fn start_import(
        &self,
        call: &Call,
        request: StartImport,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_source(&request.source).await?;
        let opened = vsphere::open(&self.vault, &found.value).map_err(ApiError::internal)?;
        let name = request.vm.clone();
        let described = with_source(opened, move |vim| describe(vim, &name));
        let described = described.await.map_err(|error| api_error(&error))?;
        let one = Inventory { vms: vec![described.vm.clone()], ..Inventory::default() };
        let plan = plan::make(&one, &self.plan_settings());
        let assessment = plan.vms.first().map(api_assessment);
        let assessment = assessment.ok_or_else(|| ApiError::internal("the plan lost the VM"))?;
        let (import, saga) = (ImportId::new(), SagaId::new());
        let create = create_vm(&request, &described)?;
        let new = self.new_vm(call, &create, saga).await?;
        let title = format!("Import {} from {}", described.vm.name, found.value.name);
        if call.dry_run {
            let plan = json!({
                "title": title, "assessment": assessment, "spec": new.record.spec, "placement": new.placement,
            });
            return Err(call.planned(plan));
        }
        if !assessment.movable {
            let mut error = ApiError::new(
                Reason::WrongState,
                format_args!("{} cannot be moved as it is", described.vm.name),
            );
            let blocks = assessment.findings.iter().filter(|finding| finding.severity == "blocks");
            error.data.detail = blocks
                .map(|finding| format!("{}: {}; {}", finding.code, finding.reason, finding.fix))
                .collect();
            return Err(error);
        }
        self.refuse_twice(found.key, &described.reference.id).await?;
        let disks = described.disks.iter().zip(&new.new_vdis).map(|(disk, vdi)| ImportDiskRecord {
            name: disk.label.clone(),
            vdi: vdi.vdi,
            size: vdi.size,
            capacity: disk.capacity,
            key: Some(disk.key),
        });
        let origin = ImportOrigin::Vsphere {
            source: found.key,
            source_name: found.value.name.clone(),
            vm: described.reference.id.clone(),
            vm_name: described.vm.name.clone(),
        };
        let cut_over = request.cut_over_at.map(|at| CutOverWish { at, force: request.force });
        let record = ImportRecord { cut_over, ..import_record(&new, saga, origin, disks.collect()) };
        let commit = self.insert_vm(&new).await?;
        let commit = self.db.imports.insert_in(commit, &import, &record);
        let NewVm { vm, record, new_vdis, .. } = new;
        let subjects = vec![format!("vm/{vm}"), format!("host/{}", record.host), format!("import/{import}")];
        let id = import.to_string();
        let about = About { method: "import.start", title, subjects, object: Some(&id) };
        let params = VsphereParams {
            import,
            vm,
            record,
            new_vdis,
            source: found.key,
            reference: described.reference.id.clone(),
            datacenter: described.datacenter.clone(),
            was_on: described.vm.power == Power::On,
            downtime_s: request.downtime_s,
            interval_s: if request.interval_s == 0 { 600 } else { request.interval_s },
            shutdown_s: if request.shutdown_s == 0 { 300 } else { request.shutdown_s },
            force: request.force,
            verify: request.verify,
            track: request.track,
            prepare: !request.no_prepare,
            start: request.start,
        };
        self.begin::<ImportVsphere>(call, (saga, &params), about, commit).await
    }

    /// Two moves of one VM would take each other's snapshots.
    async fn refuse_twice(&self, source: ImportSourceId, reference: &str) -> Result<(), ApiError> {
        let (imports, _) = self.db.imports.all().await.map_err(|error| store_error(&error))?;
        let twice = imports.iter().find(|import| {
            let same = matches!(&import.value.origin, ImportOrigin::Vsphere { source: of, vm, .. }
                if *of == source && vm == reference);
            same && !import.value.phase.is_over()
        });
        match twice {
            None => Ok(()),
            Some(import) => {
                let text = format_args!("import {} moves this VM already; roll it back first", import.key);
                Err(ApiError::new(Reason::Conflict, text))
            }
        }
    }

    pub(super) async fn set_cut_over(&self, call: &Call, request: CutOverImport) -> Result<Import, ApiError> {
        let found = self.find_import(call, &request.import, Permission::Provision).await?;
        if found.value.phase.is_over() || matches!(found.value.origin, ImportOrigin::Upload { .. }) {
            let text = format_args!("the import of {} has no cut-over before it", found.value.name);
            return Err(ApiError::new(Reason::WrongState, text));
        }
        let at = request.at.unwrap_or_else(OffsetDateTime::now_utc);
        let changed =
            ImportRecord { cut_over: Some(CutOverWish { at, force: request.force }), ..found.value.clone() };
        self.db.imports.update(&found, &changed).await.map_err(|error| store_error(&error))?;
        self.imports.nudge();
        Ok(self.api_import(found.key, &changed))
    }
}

impl App {
    /// After the cut-over: the source runs again. The VM here has to be off, and stays until somebody deletes it.
    pub(super) async fn go_back(&self, found: &Record<ImportId, ImportRecord>) -> Result<Import, ApiError> {
        let record = &found.value;
        let (ImportOrigin::Vsphere { source, vm, .. }, ImportPhase::Done) = (&record.origin, record.phase)
        else {
            let state = record.phase.as_str();
            let text =
                format_args!("the import of {} is {state}; delete the VM to be rid of it", record.name);
            return Err(ApiError::new(Reason::WrongState, text));
        };
        self.ensure_off_here(record).await?;
        let source = self.find_source(&source.to_string()).await?;
        let opened = vsphere::open(&self.vault, &source.value).map_err(ApiError::internal)?;
        let (reference, again, tracked) = (vm_reference(vm), record.stopped_source, record.tracked_source);
        let started = if again { source::Started::Again } else { source::Started::AsItIs };
        let restore = move |vim: &Arc<Vim>| {
            source::restore(vim, &reference, started)?;
            if tracked { source::set_tracking(vim, &reference, source::Tracking::Off) } else { Ok(()) }
        };
        let restored = with_source(opened, restore).await;
        restored.map_err(|error| api_error(&error))?;
        let message =
            Some("the source runs again; the VM here is kept, delete it when it is not needed".to_owned());
        let changed =
            ImportRecord { phase: ImportPhase::RolledBack, message, left_at_source: false, ..record.clone() };
        self.db.imports.update(found, &changed).await.map_err(|error| store_error(&error))?;
        Ok(self.api_import(found.key, &changed))
    }
}

impl App {
    /// Two of a VM must not run, with one address and one name: neither one that is seen to run here, nor one of a host that
    /// is not heard.
    async fn ensure_off_here(&self, record: &ImportRecord) -> Result<(), ApiError> {
        match self.fleet.vm(record.vm) {
            Some((_, observed)) if observed.power.has_domain() => {
                let text =
                    format_args!("{} runs here; shut it down first: two of it must not run", record.name);
                Err(ApiError::new(Reason::WrongState, text))
            }
            Some(_) => Ok(()),
            None => match self.db.vms.get(&record.vm).await.map_err(|error| store_error(&error))? {
                // Somebody has deleted it.
                None => Ok(()),
                Some(_) => {
                    let text = format_args!(
                        "{} may run here: its host is not heard; roll back when it is, or delete the VM first",
                        record.name
                    );
                    Err(ApiError::new(Reason::HostUnreachable, text))
                }
            },
        }
    }
}

pub(super) fn wanted(vm: &Vm, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| vm.id == *name || vm.name == *name)
}

/// The VM of this name or id, with what its disks show.
fn describe(vim: &Arc<Vim>, name: &str) -> xenith_vmware_import::Result<source::SourceVm> {
    let reference = source::find(vim, name)?;
    let mut described = source::describe(vim, &reference)?;
    inspect::look(vim, &mut described.vm);
    Ok(described)
}

fn source_vm(vm: &Vm) -> SourceVm {
    SourceVm {
        id: vm.id.clone(),
        name: vm.name.clone(),
        power: power(vm.power).to_owned(),
        host: vm.host.clone(),
        os: vm.os.clone(),
        vcpus: vm.vcpus,
        memory_mib: vm.memory_mib,
        disks: u32::try_from(vm.disks.len()).unwrap_or(u32::MAX),
        transfer_mib: vm.transfer_mib(),
        networks: vm.nics.iter().map(|nic| nic.network.clone()).collect(),
        template: vm.template,
    }
}

pub(super) fn api_assessment(assessment: &plan::VmAssessment) -> VmAssessment {
    let severity = |severity| match severity {
        Severity::Note => "note",
        Severity::Attention => "attention",
        Severity::Blocks => "blocks",
    };
    let finding = |finding: &plan::rules::Finding| ImportFinding {
        code: finding.code.to_owned(),
        severity: severity(finding.severity).to_owned(),
        reason: finding.reason.clone(),
        fix: finding.fix.to_owned(),
    };
    VmAssessment {
        id: assessment.id.clone(),
        name: assessment.name.clone(),
        transfer_mib: assessment.transfer_mib,
        method: assessment.method.to_owned(),
        movable: assessment.worst() != Some(Severity::Blocks),
        findings: assessment.findings.iter().map(finding).collect(),
    }
}

fn create_vm(request: &StartImport, described: &source::SourceVm) -> Result<CreateVm, ApiError> {
    let vm = &described.vm;
    if vm.template {
        return Err(ApiError::invalid("vm", "it is a template; make a VM of it at the source first"));
    }
    let nics = vm.nics.iter().map(|nic| mapped(&request.networks, &nic.network, &nic.mac));
    let nics = nics.collect::<Result<Vec<_>, ApiError>>()?;
    let nics: Vec<_> = nics.into_iter().flatten().collect();
    let disks = described.disks.iter().map(|disk| -> Result<serde_json::Value, ApiError> {
        let sr = sr_for(&request.storage, disk)?;
        let size = VdiSize::holding(disk.capacity).map_err(ApiError::internal)?;
        Ok(json!({ "size": size, "sr": sr }))
    });
    let disks = disks.collect::<Result<Vec<_>, ApiError>>()?;
    let firmware = if vm.efi { "uefi" } else { "bios" };
    let create = json!({
        "name": request.name.clone().unwrap_or_else(|| vm.name.clone()),
        "platform": { "kind": "hvm", "firmware": firmware },
        "vcpus": { "online": vm.vcpus.max(1), "max": vm.vcpus.max(1) },
        "memory": { "target": vm.memory_mib, "max": vm.memory_mib },
        "disks": disks,
        "nics": nics,
        "graphics": "vnc",
        "description": vm.annotation,
        "tags": request.tags,
        "pool": request.pool,
        "host": request.host,
        "start": request.start,
    });
    serde_json::from_value(create).map_err(|error| ApiError::invalid("vm", error))
}

/// No NIC goes lost in silence: each has a network, or was left out by name.
fn mapped(
    mappings: &[NetworkMapping],
    network: &str,
    mac: &str,
) -> Result<Option<serde_json::Value>, ApiError> {
    let exact = mappings.iter().find(|mapping| mapping.from == network);
    let mapping = exact.or_else(|| mappings.iter().find(|mapping| mapping.from == "*"));
    let Some(mapping) = mapping else {
        let text =
            format_args!("a NIC is in the network {network:?} there, for which none of ours was given");
        return Err(ApiError::invalid("networks", text));
    };
    Ok(mapping.to.as_ref().map(|ours| json!({ "network": ours, "mac": mac })))
}

/// The SR for a disk; `None` is the local one of the host. With any mapping, each disk has to have one.
fn sr_for<'a>(
    mappings: &'a [StorageMapping],
    disk: &source::SourceDisk,
) -> Result<Option<&'a str>, ApiError> {
    let datastore = disk.datastore();
    let exact = mappings.iter().find(|mapping| mapping.from == datastore);
    let mapping = exact.or_else(|| mappings.iter().find(|mapping| mapping.from == "*"));
    if mapping.is_none() && !mappings.is_empty() {
        let text = format_args!(
            "{} is on the datastore {datastore:?} there, for which no SR of ours was given",
            disk.label
        );
        return Err(ApiError::invalid("storage", text));
    }
    Ok(mapping.map(|mapping| mapping.to.as_str()))
}

/// For the saga.
pub(crate) fn vm_reference(id: &str) -> MoRef {
    MoRef::new("VirtualMachine", id)
}
