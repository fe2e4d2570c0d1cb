//! Virtual disk images.

use async_trait::async_trait;
use serde_json::json;
use xenith_common_ids::{HostId, SagaId, TaskId, VdiId, VmId};
use xenith_hypervisor_agent_types::VdiSize;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::vdi::VdiApi;
use xenith_orchestrator_inventory::vdi::Vdis;
use xenith_orchestrator_store::{Expect, Record, Transaction};
use xenith_orchestrator_types::import::UploadTicket;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vdi::{
    BreakLease, BrokenLease, CloneVdi, CopyVdi, CreateVdi, ExportVdi, ImportVdi, MigrateVdi, ResizeVdi,
    UploadVdi, Vdi, VdiDownload, VdiRef,
};
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission, Reason};

use super::App;
use super::begin::About;
use crate::sagas::NewVdi;
use crate::sagas::vdi_create::{Params as CreateParams, VdiCreate};
use crate::sagas::vdi_delete::{Params as DeleteParams, VdiDelete};
use crate::sagas::vdi_import::{Params as ImportParams, VdiImport};
use crate::sagas::vdi_resize::{Params as ResizeParams, VdiResize};

/// Whom a new VDI is for while a saga makes it.
#[derive(Debug, Clone, Copy)]
pub(super) enum MadeFor {
    /// A VM, which the saga holds.
    Vm(VmId),
    /// Nobody yet: the saga holds the VDI itself.
    Itself(SagaId),
}

/// Refuses one that is not whole yet.
pub(super) fn whole(vdi: &Record<VdiId, Vdi>) -> Result<(), ApiError> {
    match vdi.value.held_by {
        Some(task) => Err(super::begin::held(&vdi.value.name, SagaId::from(task))),
        None => Ok(()),
    }
}

impl App {
    pub(super) fn may_provision(&self, call: &Call, vdi: &Vdi) -> Result<(), ApiError> {
        let pool = self.views.host(vdi.host).map(|host| host.pool);
        if call.caller.sight(Permission::Provision).covers(pool, []) {
            return Ok(());
        }
        Err(call.caller.forbidden(Permission::Provision))
    }

    /// Refuses one in an SR that its host does not have attached: the host would refuse, when the record may be gone.
    pub(super) async fn within_reach(&self, vdi: &Vdi) -> Result<(), ApiError> {
        let sr = self.reach_of(vdi).await?;
        if sr.hosts.contains(&vdi.host) {
            return Ok(());
        }
        let message = format_args!(
            "VDI {} is in SR {}, which its host does not have attached; attach it first: xenith sr attach {} HOST",
            vdi.name, sr.name, sr.name
        );
        Err(ApiError::new(Reason::WrongState, message))
    }

    /// Adds the record of a VDI that a saga will make.
    pub(super) fn insert_vdi(
        &self,
        transaction: Transaction,
        new: &NewVdi,
        host: HostId,
        made_for: MadeFor,
    ) -> Transaction {
        let (attached_to, held_by) = match made_for {
            MadeFor::Vm(vm) => (Some(vm), None),
            MadeFor::Itself(saga) => (None, Some(TaskId::from(saga))),
        };
        let vdi = Vdi {
            id: new.vdi,
            name: new.name.clone(),
            size: new.size,
            sr: new.sr,
            host,
            attached_to,
            held_by,
            leased_to: None,
        };
        self.db.vdis.insert_in(transaction, &new.vdi, &vdi)
    }
}

/// Refuses what an agent could not fetch, and a digest that is none.
pub(super) fn checked_source(url: &str, sha256: &str) -> Result<(), ApiError> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) || url.contains(char::is_whitespace) {
        return Err(ApiError::invalid(
            "url",
            "give the address of the file, beginning with https:// or http://",
        ));
    }
    if !sha256.is_empty() && (sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(ApiError::invalid("sha256", "give 64 hexadecimal digits, or none"));
    }
    Ok(())
}

pub(super) fn checked_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.len() > 128 {
        return Err(ApiError::invalid("name", "use 1 to 128 characters"));
    }
    Ok(())
}

#[async_trait]
impl VdiApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Vdi>, ApiError> {
        App::list::<Vdis>(self, call, &request).await
    }

    async fn get(&self, call: &Call, request: VdiRef) -> Result<Vdi, ApiError> {
        let found = self.find_vdi(call, &request.vdi).await?.value;
        let leased_to = self.leased_to(&found).await.map(Box::new);
        Ok(Vdi { leased_to, ..found })
    }

    async fn break_lease(&self, call: &Call, request: BreakLease) -> Result<BrokenLease, ApiError> {
        self.break_lease_of(call, request).await
    }

    async fn create(&self, call: &Call, request: CreateVdi) -> Result<TaskStarted, ApiError> {
        checked_name(&request.name)?;
        let host = self.find_host(call, &request.host).await?;
        if !call.caller.sight(Permission::Provision).covers(Some(host.value.pool), []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        let sr = self.sr_on(call, host.key, request.sr.as_deref()).await?;
        self.not_a_library(sr).await?;
        let vdi =
            NewVdi { vdi: VdiId::new(), sr, size: request.size, name: request.name, from: None, seed: None };
        let saga = SagaId::new();
        let record = self.insert_vdi(Transaction::new(), &vdi, host.key, MadeFor::Itself(saga));
        let id = vdi.vdi.to_string();
        let about = About {
            method: "vdi.create",
            title: format!("Create VDI {}", vdi.name),
            subjects: vec![format!("vdi/{id}"), format!("host/{}", host.key)],
            object: Some(&id),
        };
        let params = CreateParams { host: host.key, vdi };
        self.begin::<VdiCreate>(call, (saga, &params), about, record).await
    }

    async fn import(&self, call: &Call, request: ImportVdi) -> Result<TaskStarted, ApiError> {
        checked_name(&request.name)?;
        checked_source(&request.url, &request.sha256)?;
        let host = self.find_host(call, &request.host).await?;
        if !call.caller.sight(Permission::Provision).covers(Some(host.value.pool), []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        let sr = self.sr_on(call, host.key, request.sr.as_deref()).await?;
        // Until it is there.
        let size = VdiSize::from_bytes(1 << 20).map_err(ApiError::internal)?;
        let vdi = NewVdi { vdi: VdiId::new(), sr, size, name: request.name, from: None, seed: None };
        let saga = SagaId::new();
        let record = self.insert_vdi(Transaction::new(), &vdi, host.key, MadeFor::Itself(saga));
        let id = vdi.vdi.to_string();
        let about = About {
            method: "vdi.import",
            title: format!("Import VDI {}", vdi.name),
            subjects: vec![format!("vdi/{id}"), format!("host/{}", host.key)],
            object: Some(&id),
        };
        let (url, sha256) = (request.url, request.sha256);
        let params = ImportParams { host: host.key, vdi: vdi.vdi, sr, url, sha256, template: None };
        self.begin::<VdiImport>(call, (saga, &params), about, record).await
    }

    async fn resize(&self, call: &Call, request: ResizeVdi) -> Result<TaskStarted, ApiError> {
        let found = self.find_vdi(call, &request.vdi).await?;
        self.may_provision(call, &found.value)?;
        whole(&found)?;
        self.within_reach(&found.value).await?;
        let Vdi { name, size, sr, host, .. } = &found.value;
        if request.size < *size {
            let problem = format_args!("{name} is {size} large; a disk is never made smaller");
            return Err(ApiError::invalid("size", problem));
        }
        let id = found.key.to_string();
        let about = About {
            method: "vdi.resize",
            title: format!("Resize VDI {name} to {}", request.size),
            subjects: vec![format!("vdi/{id}"), format!("host/{host}")],
            object: Some(&id),
        };
        let params = ResizeParams { host: *host, vdi: found.key, sr: *sr, size: request.size };
        self.begin::<VdiResize>(call, (SagaId::new(), &params), about, Transaction::new()).await
    }

    async fn clone(&self, call: &Call, request: CloneVdi) -> Result<TaskStarted, ApiError> {
        checked_name(&request.name)?;
        let found = self.find_vdi(call, &request.vdi).await?;
        self.may_provision(call, &found.value)?;
        whole(&found)?;
        self.within_reach(&found.value).await?;
        let Vdi { name, size, sr, host, .. } = found.value;
        let vdi =
            NewVdi { vdi: VdiId::new(), sr, size, name: request.name, from: Some(found.key), seed: None };
        let saga = SagaId::new();
        let record = self.insert_vdi(Transaction::new(), &vdi, host, MadeFor::Itself(saga));
        let id = vdi.vdi.to_string();
        let about = About {
            method: "vdi.clone",
            title: format!("Clone VDI {name} as {}", vdi.name),
            subjects: vec![format!("vdi/{id}"), format!("vdi/{}", found.key), format!("host/{host}")],
            object: Some(&id),
        };
        let params = CreateParams { host, vdi };
        self.begin::<VdiCreate>(call, (saga, &params), about, record).await
    }

    async fn copy(&self, call: &Call, request: CopyVdi) -> Result<TaskStarted, ApiError> {
        self.copy_vdi(call, request).await
    }

    async fn migrate(&self, call: &Call, request: MigrateVdi) -> Result<TaskStarted, ApiError> {
        self.migrate_vdi(call, request).await
    }

    async fn upload(&self, call: &Call, request: UploadVdi) -> Result<TaskStarted, ApiError> {
        self.upload_vdi(call, request).await
    }

    async fn upload_ticket(&self, call: &Call, request: VdiRef) -> Result<UploadTicket, ApiError> {
        App::upload_ticket(self, call, request).await
    }

    async fn export(&self, call: &Call, request: ExportVdi) -> Result<VdiDownload, ApiError> {
        self.export_vdi(call, request).await
    }

    async fn delete(&self, call: &Call, request: VdiRef) -> Result<TaskStarted, ApiError> {
        let found = self.find_vdi(call, &request.vdi).await?;
        self.may_provision(call, &found.value)?;
        whole(&found)?;
        self.within_reach(&found.value).await?;
        if let Some(vm) = found.value.attached_to {
            let name = self.views.vm(vm).map_or_else(|| vm.to_string(), |vm| vm.name.to_string());
            return Err(ApiError::new(
                Reason::WrongState,
                format_args!("it is attached to {name}; detach it first"),
            ));
        }
        if let Some(name) = self.drive_with(found.key) {
            let message =
                format_args!("it is in the CD drive of {name}; eject it first: xenith vm eject-cd {name}");
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let title = format!("Delete VDI {}", found.value.name);
        if call.dry_run {
            let Vdi { host, sr, size, .. } = found.value;
            return Err(call.planned(json!({ "title": title, "host": host, "sr": sr, "size": size })));
        }
        let erase = self.db.vdis.require_in(Transaction::new(), &found.key, Expect::At(found.revision));
        let erase = self.db.vdis.delete_in(erase, &found.key);
        let about = About {
            method: "vdi.delete",
            title,
            subjects: vec![format!("vdi/{}", found.key), format!("host/{}", found.value.host)],
            object: None,
        };
        let params = DeleteParams { host: found.value.host, vdi: found.key, sr: found.value.sr };
        self.begin::<VdiDelete>(call, (SagaId::new(), &params), about, erase).await
    }
}
