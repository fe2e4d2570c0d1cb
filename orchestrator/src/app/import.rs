//! VMs on their way to us. Everything that takes time is in the saga; here it is begun, shown and steered.

use async_trait::async_trait;
use aws_lc_rs::rand;
use serde_json::json;
use time::OffsetDateTime;
use xenith_common_ids::{ImportId, SagaId, TaskId};
use xenith_common_pki::Peer;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::import::ImportApi;
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::import::{
    ConnectSource, CutOverImport, Import, ImportDisk, ImportOrigin, ImportPhase, ImportRef, ImportSource,
    ListImports, LookAtSource, PrepareImport, SourceRef, SourceVm, StartImport, UploadTicket, UploadVm,
    VmAssessment,
};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::wave::{ImportPlan, PlanImports};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::App;
use super::begin::About;
use super::import_source::api_source;
use super::listings::filtered;
use super::listings::imports::ImportRow;
use super::vm_new::NewVm;
use crate::errors::{saga_error, store_error};
use crate::model::{ImportDiskRecord, ImportRecord, PrepareWish};
use crate::sagas::import::{ImportUpload, UploadParams};

impl App {
    pub(super) fn api_import(&self, id: ImportId, record: &ImportRecord) -> Import {
        let live = self.imports.of(id);
        let disk = |disk: &ImportDiskRecord| {
            let done = live.get(&disk.vdi).copied().unwrap_or(0);
            let done = if record.phase == ImportPhase::Done { disk.capacity } else { done };
            ImportDisk { name: disk.name.clone(), vdi: disk.vdi, capacity: disk.capacity, done }
        };
        Import {
            id,
            name: record.name.clone(),
            vm: record.vm,
            host: record.host,
            task: TaskId::from(record.saga),
            origin: record.origin.clone(),
            phase: record.phase,
            message: record.message.clone(),
            disks: record.disks.iter().map(disk).collect(),
            passes: record.passes.clone(),
            preparation: record.preparation.clone(),
            cut_over_at: record.cut_over.map(|wish| wish.at),
            created: record.created,
            ended: record.ended,
            archived: record.archived,
        }
    }

    pub(super) async fn find_import(
        &self,
        call: &Call,
        reference: &str,
        permission: Permission,
    ) -> Result<Record<ImportId, ImportRecord>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let visible = |record: &ImportRecord| sees.covers(Some(record.pool), &record.tags);
        let found = match reference.parse::<ImportId>() {
            Ok(id) => self.db.imports.get(&id).await.map_err(|e| store_error(&e))?,
            // A name may have been imported several times: the newest is meant, of those that the caller sees.
            Err(_) => {
                let (all, _) = self.db.imports.all().await.map_err(|e| store_error(&e))?;
                all.into_iter()
                    .filter(|record| record.value.name == reference && visible(&record.value))
                    .max_by_key(|record| record.key)
            }
        };
        let found = found.filter(|record| visible(&record.value));
        let found = found.ok_or_else(|| ApiError::not_found("import", reference))?;
        let may = call.caller.sight(permission);
        if may.covers(Some(found.value.pool), &found.value.tags) {
            Ok(found)
        } else {
            Err(call.caller.forbidden(permission))
        }
    }

    async fn ticket_for(&self, record: &ImportRecord, ticket: String) -> Result<UploadTicket, ApiError> {
        let port = self.imports.port(record.host).ok_or_else(|| {
            ApiError::new(Reason::WrongState, "the host has not said yet where it takes uploads; try again")
        })?;
        let host = self.views.host(record.host);
        let host = host.ok_or_else(|| ApiError::new(Reason::HostUnreachable, "the host was removed"))?;
        let disks = record.disks.iter().map(|disk| ImportDisk {
            name: disk.name.clone(),
            vdi: disk.vdi,
            capacity: disk.capacity,
            done: 0,
        });
        Ok(UploadTicket {
            ticket,
            address: host.at(port),
            server_name: Peer::Host(record.host).server_name().to_str().into_owned(),
            authority_pem: self.certificates.authority().certificate_pem().to_owned(),
            disks: disks.collect(),
        })
    }
}

fn check_disks(request: &UploadVm) -> Result<(), ApiError> {
    if request.disks.len() != request.vm.disks.len() || request.disks.is_empty() {
        return Err(ApiError::invalid("disks", "name each disk of the VM once, and at least one"));
    }
    for (index, (upload, disk)) in request.disks.iter().zip(&request.vm.disks).enumerate() {
        let field = format!("disks[{index}]");
        match disk.size {
            Some(size) if disk.vdi.is_none() && upload.capacity <= size.bytes() && upload.capacity > 0 => {}
            Some(_) => return Err(ApiError::invalid(field, "the VDI is too small for what comes")),
            None => return Err(ApiError::invalid(field, "only a new VDI takes an upload; give its size")),
        }
    }
    Ok(())
}

#[async_trait]
impl ImportApi for App {
    async fn list(&self, call: &Call, request: ListImports) -> Result<Page<Import>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let (all, _) = self.db.imports.all().await.map_err(|error| store_error(&error))?;
        let found = all
            .into_iter()
            .filter(|record| sees.covers(Some(record.value.pool), &record.value.tags))
            .filter(|record| request.archived || !record.value.archived);
        let row = |record: &Record<ImportId, ImportRecord>| {
            let import = self.api_import(record.key, &record.value);
            ImportRow { host: self.host_name(import.host), pool: self.pool_name(record.value.pool), import }
        };
        let rows = found.map(|record| row(&record)).collect();
        let ListImports { filter, sort, limit, cursor, .. } = request;
        let request = ListRequest { filter, sort, limit, cursor };
        Ok(filtered(rows, &request)?.map(|row: ImportRow| row.import))
    }

    async fn get(&self, call: &Call, request: ImportRef) -> Result<Import, ApiError> {
        let found = self.find_import(call, &request.import, Permission::View).await?;
        Ok(self.api_import(found.key, &found.value))
    }

    async fn upload(&self, call: &Call, request: UploadVm) -> Result<TaskStarted, ApiError> {
        check_disks(&request)?;
        let (import, saga) = (ImportId::new(), SagaId::new());
        let new = self.new_vm(call, &request.vm, saga).await?;
        let name = request.vm.name.to_string();
        let title = format!("Import {name} from {}", request.file);
        if call.dry_run {
            let plan = json!({ "title": title, "spec": new.record.spec, "placement": new.placement });
            return Err(call.planned(plan));
        }
        let disks = request.disks.iter().zip(&new.new_vdis).map(|(disk, vdi)| ImportDiskRecord {
            name: disk.name.clone(),
            vdi: vdi.vdi,
            size: vdi.size,
            capacity: disk.capacity,
            key: None,
        });
        let origin = ImportOrigin::Upload { file: request.file.clone() };
        let record = import_record(&new, saga, origin, disks.collect());
        let commit = self.insert_vm(&new).await?;
        let commit = self.db.imports.insert_in(commit, &import, &record);
        let start = request.vm.start;
        let NewVm { vm, record, new_vdis, .. } = new;
        let subjects = vec![format!("vm/{vm}"), format!("host/{}", record.host), format!("import/{import}")];
        let id = import.to_string();
        let about = About { method: "import.upload", title, subjects, object: Some(&id) };
        let prepare = !request.no_prepare;
        let params = UploadParams { import, vm, record, new_vdis, prepare, start };
        self.begin::<ImportUpload>(call, (saga, &params), about, commit).await
    }

    async fn ticket(&self, call: &Call, request: ImportRef) -> Result<UploadTicket, ApiError> {
        let found = self.find_import(call, &request.import, Permission::Provision).await?;
        if found.value.phase != ImportPhase::Uploading {
            let text =
                format_args!("{} takes no upload: it is {}", found.value.name, found.value.phase.as_str());
            return Err(ApiError::new(Reason::WrongState, text));
        }
        let mut random = [0; 32];
        rand::fill(&mut random).map_err(|_| ApiError::internal("the system has no randomness"))?;
        let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let ticket = self.ticket_for(&found.value, secret.clone()).await?;
        let hash = blake3::hash(secret.as_bytes()).to_hex().to_string();
        let changed = ImportRecord { ticket_hash: Some(hash), ..found.value.clone() };
        self.db.imports.update(&found, &changed).await.map_err(|error| store_error(&error))?;
        // The saga tells the host; whoever has the ticket need not wait for its next round.
        self.imports.nudge();
        Ok(ticket)
    }

    async fn connect(&self, _: &Call, request: ConnectSource) -> Result<ImportSource, ApiError> {
        self.connect_source(request).await
    }

    async fn sources(&self, _: &Call, _: Empty) -> Result<Vec<ImportSource>, ApiError> {
        let (all, _) = self.db.import_sources.all().await.map_err(|error| store_error(&error))?;
        Ok(all.iter().map(|record| api_source(record.key, &record.value)).collect())
    }

    async fn disconnect(&self, _: &Call, request: SourceRef) -> Result<Empty, ApiError> {
        self.forget_source(&request.source).await?;
        Ok(Empty {})
    }

    async fn inventory(&self, _: &Call, request: LookAtSource) -> Result<Vec<SourceVm>, ApiError> {
        self.source_vms(request).await
    }

    async fn assess(&self, _: &Call, request: LookAtSource) -> Result<Vec<VmAssessment>, ApiError> {
        self.assess_vms(request).await
    }

    async fn plan(&self, call: &Call, request: PlanImports) -> Result<ImportPlan, ApiError> {
        self.plan_imports(call, request).await
    }

    async fn start(&self, call: &Call, request: StartImport) -> Result<TaskStarted, ApiError> {
        self.start_import(call, request).await
    }

    async fn cut_over(&self, call: &Call, request: CutOverImport) -> Result<Import, ApiError> {
        self.set_cut_over(call, request).await
    }

    async fn roll_back(&self, call: &Call, request: ImportRef) -> Result<Import, ApiError> {
        let found = self.find_import(call, &request.import, Permission::Provision).await?;
        if found.value.phase.is_over() {
            return self.go_back(&found).await;
        }
        self.engine.cancel(found.value.saga, &call.caller.name).await.map_err(|error| saga_error(&error))?;
        self.imports.nudge();
        Ok(self.api_import(found.key, &found.value))
    }

    async fn prepare(&self, call: &Call, request: PrepareImport) -> Result<Import, ApiError> {
        let found = self.find_import(call, &request.import, Permission::Provision).await?;
        let refused =
            |text: &str| Err(ApiError::new(Reason::WrongState, format_args!("{}: {text}", found.value.name)));
        if found.value.phase != ImportPhase::NotPrepared {
            return refused("nothing is to be decided about its guest now");
        }
        let outcome = found.value.preparation.as_ref().map(|preparation| preparation.outcome.as_str());
        if request.without && outcome == Some("half-written") {
            return refused("some of the changes are on its disks; try again, or roll back");
        }
        let wish = if request.without { PrepareWish::Without } else { PrepareWish::Again };
        let changed = ImportRecord { prepare_wish: Some(wish), ..found.value.clone() };
        self.db.imports.update(&found, &changed).await.map_err(|error| store_error(&error))?;
        self.imports.nudge();
        Ok(self.api_import(found.key, &changed))
    }

    async fn archive(&self, call: &Call, request: ImportRef) -> Result<Import, ApiError> {
        let found = self.find_import(call, &request.import, Permission::Provision).await?;
        if !found.value.phase.is_over() {
            let text = format_args!("the import of {} is not over yet", found.value.name);
            return Err(ApiError::new(Reason::WrongState, text));
        }
        let changed = ImportRecord { archived: true, ..found.value.clone() };
        self.db.imports.update(&found, &changed).await.map_err(|error| store_error(&error))?;
        Ok(self.api_import(found.key, &changed))
    }
}

pub(super) fn import_record(
    new: &NewVm,
    saga: SagaId,
    origin: ImportOrigin,
    disks: Vec<ImportDiskRecord>,
) -> ImportRecord {
    ImportRecord {
        name: new.record.spec.name.to_string(),
        vm: new.vm,
        pool: new.record.pool,
        tags: new.record.tags.clone(),
        host: new.record.host,
        saga,
        origin,
        phase: ImportPhase::Preparing,
        message: None,
        disks,
        passes: Vec::new(),
        cut_over: None,
        stopped_source: false,
        tracked_source: false,
        left_at_source: false,
        preparation: None,
        prepare_tries: 0,
        prepare_wish: None,
        ticket_hash: None,
        created: OffsetDateTime::now_utc(),
        ended: None,
        archived: false,
    }
}
