//! What VMs are made from.

use async_trait::async_trait;
use serde_json::json;
use time::OffsetDateTime;
use xenith_common_ids::{IncarnationId, PoolId, SagaId, TemplateId, VdiId, VmId};
use xenith_hypervisor_agent_types::{DiskAccess, DiskDevice, DiskSpec, VdiSize, VmSpec};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::template::TemplateApi;
use xenith_orchestrator_store::{Expect, Record, Transaction};
use xenith_orchestrator_types::snapshot::SnapshotDisk;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::template::{
    CloudInit, CreateTemplate, DeployTemplate, ImportTemplate, SetTemplateFragments, Template, TemplateDisk,
    TemplateRef,
};
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission, Reason};

use super::App;
use super::begin::{About, free};
use super::cloud_init::Part;
use super::find::{matches, only};
use super::listings::filtered;
use super::listings::storage::TemplateRow;
use super::vm_spec::validated;
use crate::errors::store_error;
use crate::model::VmRecord;
use crate::records;
use crate::sagas::template_create::{Params as CreateParams, TemplateCreate};
use crate::sagas::template_delete::{Params as DeleteParams, TemplateDelete};
use crate::sagas::vdi_import::{Params as ImportParams, VdiImport};
use crate::sagas::vm_create::{Params as VmParams, VmCreate};
use crate::sagas::{NewVdi, Seed};

impl App {
    async fn find_template(
        &self,
        call: &Call,
        reference: &str,
    ) -> Result<Record<TemplateId, Template>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let (all, _) = self.db.templates.all().await.map_err(|e| store_error(&e))?;
        let meant = all.into_iter().filter(|record| {
            let template = &record.value;
            matches(reference, &record.key, &template.name) && sees.covers(Some(template.pool), [])
        });
        let shown = meant.map(|record| {
            let shown = format!("{} (pool {})", record.key, self.pool_name(record.value.pool));
            (record, shown)
        });
        only("template", reference, shown.collect())
    }

    /// In the pool: of other pools' templates the caller may not know.
    async fn name_is_free(&self, name: &str, pool: PoolId) -> Result<(), ApiError> {
        let (all, _) = self.db.templates.all().await.map_err(|e| store_error(&e))?;
        if all.iter().any(|record| record.value.pool == pool && record.value.name == name) {
            return Err(ApiError::new(
                Reason::Conflict,
                format_args!("there is a template {name:?} in this pool already"),
            ));
        }
        Ok(())
    }

    /// The template's own fragments, then those that are asked for; none where cloud-init is told nothing.
    async fn fragments_for(
        &self,
        template: &Template,
        wanted: Option<&CloudInit>,
    ) -> Result<Vec<Part>, ApiError> {
        let Some(wanted) = wanted else { return Ok(vec![]) };
        let mut fragments = template.fragments.clone();
        fragments.extend(self.named_fragments(template.pool, &wanted.fragments).await?);
        self.fragments(&fragments).await
    }

    /// The disks of a VM from a template, and the small one that cloud-init reads.
    fn deployed_disks(
        &self,
        (vm, request): (VmId, &DeployTemplate),
        template: &Template,
        fragments: &[Part],
    ) -> Result<(Vec<DiskSpec>, Vec<NewVdi>), ApiError> {
        let name = request.name.to_string();
        let (mut disks, mut new_vdis) = (Vec::new(), Vec::new());
        for (index, disk) in template.disks.iter().enumerate() {
            let size = disk.size.ok_or_else(|| {
                ApiError::new(
                    Reason::WrongState,
                    format_args!("the template {} is not complete", template.name),
                )
            })?;
            let wanted = request.disk_size.filter(|_| index == 0).unwrap_or(size);
            if wanted < size {
                let problem =
                    format_args!("the template's disk is {size} large; a disk is never made smaller");
                return Err(ApiError::invalid("disk_size", problem));
            }
            let vdi = VdiId::new();
            disks.push(DiskSpec { device: disk.device, vdi, access: DiskAccess::ReadWrite });
            let (sr, name) = (disk.sr, format!("{name}-{}", disk.device));
            new_vdis.push(NewVdi { vdi, sr, size: wanted, name, from: Some(disk.vdi), seed: None });
        }
        if let Some(wanted) = &request.cloud_init {
            let files = super::cloud_init::files((vm, &name), wanted, fragments)?;
            let seed = Seed::seal(&files, &self.vault).map_err(ApiError::internal)?;
            let used = |device: &DiskDevice| disks.iter().any(|disk| disk.device == *device);
            let device = (0..DiskDevice::COUNT).filter_map(DiskDevice::nth).find(|device| !used(device));
            let device =
                device.ok_or_else(|| ApiError::invalid("cloud_init", "all disk devices are in use"))?;
            let sr = self.views.host(template.host).and_then(|record| record.local_sr).ok_or_else(|| {
                ApiError::new(Reason::HostUnreachable, "the host's storage is not known yet; try again")
            })?;
            let size = VdiSize::from_bytes(1 << 20).map_err(ApiError::internal)?;
            let vdi = VdiId::new();
            disks.push(DiskSpec { device, vdi, access: DiskAccess::ReadOnly });
            let name = format!("{name}-seed");
            new_vdis.push(NewVdi { vdi, sr, size, name, from: None, seed: Some(seed) });
        }
        Ok((disks, new_vdis))
    }
}

#[async_trait]
impl TemplateApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Template>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let (all, _) = self.db.templates.all().await.map_err(|e| store_error(&e))?;
        let shown = all.into_iter().map(|record| record.value);
        let row = |template: Template| TemplateRow {
            pool: self.pool_name(template.pool),
            host: self.host_name(template.host),
            template,
        };
        let rows = shown.filter(|template| sees.covers(Some(template.pool), [])).map(row).collect();
        Ok(filtered(rows, &request)?.map(|row: TemplateRow| row.template))
    }

    async fn get(&self, call: &Call, request: TemplateRef) -> Result<Template, ApiError> {
        Ok(self.find_template(call, &request.template).await?.value)
    }

    async fn create(&self, call: &Call, request: CreateTemplate) -> Result<TaskStarted, ApiError> {
        super::vdi::checked_name(&request.name)?;
        let vm = self.find_vm(call, &request.vm, Permission::Provision).await?;
        free(&vm.value)?;
        let _alone = self.name_changes.lock().await;
        self.name_is_free(&request.name, vm.value.pool).await?;
        let spec = &vm.value.spec;
        let mut kept = Vec::new();
        for disk in spec.disks.iter().filter(|disk| disk.access == DiskAccess::ReadWrite) {
            let vdi = self.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))?;
            let vdi = vdi.ok_or_else(|| ApiError::not_found("VDI", &disk.vdi.to_string()))?.value;
            let (device, snapshot) = (disk.device, VdiId::new());
            kept.push(SnapshotDisk { device, vdi: vdi.id, snapshot, sr: vdi.sr, size: vdi.size });
        }
        if kept.is_empty() {
            let message = format_args!("{} has no disks that it writes", spec.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let disk = |disk: &SnapshotDisk| TemplateDisk {
            device: disk.device,
            vdi: disk.snapshot,
            sr: disk.sr,
            size: Some(disk.size),
        };
        let template = Template {
            id: TemplateId::new(),
            name: request.name,
            description: request.description,
            pool: vm.value.pool,
            host: vm.value.host,
            created: OffsetDateTime::now_utc(),
            platform: spec.platform.clone(),
            vcpus: spec.vcpus,
            memory: spec.memory,
            graphics: spec.graphics,
            disks: kept.iter().map(disk).collect(),
            fragments: vec![],
            ready: false,
        };
        let saga = SagaId::new();
        let held = VmRecord { held_by: Some(saga), ..vm.value.clone() };
        let commit = self.db.vms.update_in(Transaction::new(), &vm, &held);
        let commit = self.db.templates.insert_in(commit, &template.id, &template);
        let id = template.id.to_string();
        let about = About {
            method: "template.create",
            title: format!("Make the template {} from {}", template.name, spec.name),
            subjects: vec![
                format!("template/{id}"),
                format!("vm/{}", vm.key),
                format!("host/{}", template.host),
            ],
            object: Some(&id),
        };
        let params = CreateParams { template: template.id, vm: vm.key, host: template.host, disks: kept };
        self.begin::<TemplateCreate>(call, (saga, &params), about, commit).await
    }

    async fn import(&self, call: &Call, request: ImportTemplate) -> Result<TaskStarted, ApiError> {
        super::vdi::checked_name(&request.name)?;
        super::vdi::checked_source(&request.url, &request.sha256)?;
        let host = self.find_host(call, &request.host).await?;
        if !call.caller.sight(Permission::Provision).covers(Some(host.value.pool), []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        let _alone = self.name_changes.lock().await;
        self.name_is_free(&request.name, host.value.pool).await?;
        let sr = self.sr_on(call, host.key, request.sr.as_deref()).await?;
        let device = DiskDevice::nth(0).ok_or_else(|| ApiError::internal("no disk devices"))?;
        let vdi = VdiId::new();
        let template = Template {
            id: TemplateId::new(),
            name: request.name,
            description: request.description,
            pool: host.value.pool,
            host: host.key,
            created: OffsetDateTime::now_utc(),
            platform: request.platform,
            vcpus: request.vcpus,
            memory: request.memory,
            graphics: request.graphics,
            disks: vec![TemplateDisk { device, vdi, sr, size: None }],
            fragments: vec![],
            ready: false,
        };
        let commit = self.db.templates.insert_in(Transaction::new(), &template.id, &template);
        let id = template.id.to_string();
        let about = About {
            method: "template.import",
            title: format!("Import the template {}", template.name),
            subjects: vec![format!("template/{id}"), format!("host/{}", host.key)],
            object: Some(&id),
        };
        let params = ImportParams {
            host: host.key,
            vdi,
            sr,
            url: request.url,
            sha256: request.sha256,
            template: Some(template.id),
        };
        self.begin::<VdiImport>(call, (SagaId::new(), &params), about, commit).await
    }

    async fn delete(&self, call: &Call, request: TemplateRef) -> Result<TaskStarted, ApiError> {
        let found = self.find_template(call, &request.template).await?;
        let template = &found.value;
        if !call.caller.sight(Permission::Provision).covers(Some(template.pool), []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        if !template.ready {
            let message = format_args!("{} is being made; cancel that task instead", template.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let erase = self.db.templates.require_in(Transaction::new(), &found.key, Expect::At(found.revision));
        let erase = self.db.templates.delete_in(erase, &found.key);
        let title = format!("Delete the template {}", template.name);
        if call.dry_run {
            let lost = |disk: &TemplateDisk| {
                let size = disk.size.map(|size| size.to_string()).unwrap_or_default();
                format!("the template's disk {} ({size}): VDI {}", disk.device, disk.vdi)
            };
            return Err(call.planned(json!({
                "title": title,
                "host": template.host,
                "lost": template.disks.iter().map(lost).collect::<Vec<_>>(),
                "stays": ["VMs that were made from it, with their disks"],
            })));
        }
        let about = About {
            method: "template.delete",
            title,
            subjects: vec![format!("template/{}", found.key), format!("host/{}", template.host)],
            object: None,
        };
        let disks = template.disks.iter().map(|disk| (disk.vdi, disk.sr)).collect();
        let params = DeleteParams { host: template.host, disks };
        self.begin::<TemplateDelete>(call, (SagaId::new(), &params), about, erase).await
    }

    async fn deploy(&self, call: &Call, request: DeployTemplate) -> Result<TaskStarted, ApiError> {
        let found = self.find_template(call, &request.template).await?;
        let template = &found.value;
        if !template.ready {
            let message = format_args!("the template {} is not complete", template.name);
            return Err(ApiError::new(Reason::WrongState, message));
        }
        if !call.caller.sight(Permission::Provision).covers(Some(template.pool), &request.tags) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        self.vm_name_is_free(request.name.as_str(), template.pool).await?;
        if request.start {
            self.may_start_on(call, template.host).await?;
        }
        let (vm, saga) = (VmId::new(), SagaId::new());
        let fragments = self.fragments_for(template, request.cloud_init.as_ref()).await?;
        let (disks, new_vdis) = self.deployed_disks((vm, &request), template, &fragments)?;
        let nics = self.nics(call, &request.nics).await?;
        self.networks_are_of(template.pool, &nics).await?;
        let spec = validated(VmSpec {
            name: request.name.clone(),
            platform: template.platform.clone(),
            vcpus: request.vcpus.unwrap_or(template.vcpus),
            memory: request.memory.unwrap_or(template.memory),
            disks,
            nics,
            graphics: template.graphics,
            on_crash: Default::default(),
            on_reboot: Default::default(),
            autostart: None,
            hardware: Default::default(),
        })?;
        let title = format!("Create {} from the template {}", request.name, template.name);
        if call.dry_run {
            let (host, start) = (template.host, request.start);
            return Err(call.planned(json!({ "title": title, "host": host, "spec": spec, "start": start })));
        }
        let record = VmRecord {
            description: request.description,
            tags: request.tags,
            held_by: Some(saga),
            ..VmRecord::new(spec, (template.pool, template.host))
        };
        let made = new_vdis.iter().map(|new| new.vdi).collect();
        let mut commit =
            self.db.templates.require_in(Transaction::new(), &found.key, Expect::At(found.revision));
        commit = self.db.vms.insert_in(commit, &vm, &record);
        let change = (None, Some(&record));
        commit = records::follow(&self.db, commit, vm, change, &made).await.map_err(|e| store_error(&e))?;
        for vdi in &new_vdis {
            commit = self.insert_vdi(commit, vdi, record.host, super::vdi::MadeFor::Vm(vm));
        }
        if request.start {
            self.promise(record.host, record.spec.memory.target.mib());
        }
        let (id, host) = (vm.to_string(), record.host);
        let about = About {
            method: "template.deploy",
            title,
            subjects: vec![format!("vm/{vm}"), format!("template/{}", found.key), format!("host/{host}")],
            object: Some(&id),
        };
        let start = request.start.then(IncarnationId::new);
        let params = VmParams { vm, record, new_vdis, start, source: None };
        self.begin::<VmCreate>(call, (saga, &params), about, commit).await
    }

    async fn set_fragments(&self, call: &Call, request: SetTemplateFragments) -> Result<Template, ApiError> {
        let found = self.find_template(call, &request.template).await?;
        if !call.caller.sight(Permission::Provision).covers(Some(found.value.pool), []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        // Nobody deletes one of them meanwhile.
        let _alone = self.name_changes.lock().await;
        let fragments = self.named_fragments(found.value.pool, &request.fragments).await?;
        self.fragments(&fragments).await?;
        let template = Template { fragments, ..found.value.clone() };
        self.db.templates.update(&found, &template).await.map_err(|error| store_error(&error))?;
        Ok(template)
    }
}
