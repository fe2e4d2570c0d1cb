//! Virtual disk images.

use async_trait::async_trait;
use xenith_common_ids::{HostId, SagaId, VdiId, VmId};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::vdi::VdiApi;
use xenith_orchestrator_inventory::vdi::Vdis;
use xenith_orchestrator_store::{Expect, Transaction};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vdi::{CreateVdi, Vdi, VdiRef};
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission, Reason};

use super::App;
use super::begin::About;
use crate::sagas::NewVdi;
use crate::sagas::vdi_create::{Params as CreateParams, VdiCreate};
use crate::sagas::vdi_delete::{Params as DeleteParams, VdiDelete};

impl App {
    /// Adds the record of a VDI that a saga will make.
    pub(super) fn insert_vdi(
        &self,
        transaction: Transaction,
        new: &NewVdi,
        host: HostId,
        attached_to: Option<VmId>,
    ) -> Transaction {
        let vdi = Vdi { id: new.vdi, name: new.name.clone(), size: new.size, sr: new.sr, host, attached_to };
        self.db.vdis.insert_in(transaction, &new.vdi, &vdi)
    }
}

#[async_trait]
impl VdiApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Vdi>, ApiError> {
        App::list::<Vdis>(self, call, &request)
    }

    async fn create(&self, call: &Call, request: CreateVdi) -> Result<TaskStarted, ApiError> {
        if request.name.is_empty() || request.name.len() > 128 {
            return Err(ApiError::invalid("name", "use 1 to 128 characters"));
        }
        let host = self.find_host(call, &request.host).await?;
        if !call.caller.sight(Permission::Provision).covers(Some(host.value.pool), []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        let sr = host.value.local_sr;
        let sr = sr.ok_or_else(|| {
            ApiError::new(Reason::HostUnreachable, "the host's storage is not known yet; try again")
        })?;
        let vdi = NewVdi { vdi: VdiId::new(), sr, size: request.size, name: request.name };
        let record = self.insert_vdi(Transaction::new(), &vdi, host.key, None);
        let id = vdi.vdi.to_string();
        let about = About {
            method: "vdi.create",
            title: format!("Create VDI {}", vdi.name),
            subjects: vec![format!("vdi/{id}"), format!("host/{}", host.key)],
            object: Some(&id),
        };
        let params = CreateParams { host: host.key, vdi };
        self.begin::<VdiCreate>(call, (SagaId::new(), &params), about, record).await
    }

    async fn delete(&self, call: &Call, request: VdiRef) -> Result<TaskStarted, ApiError> {
        let found = self.find_vdi(call, &request.vdi).await?;
        let pool = self.views.host(found.value.host).map(|host| host.pool);
        if !call.caller.sight(Permission::Provision).covers(pool, []) {
            return Err(call.caller.forbidden(Permission::Provision));
        }
        if let Some(vm) = found.value.attached_to {
            let name = self.views.vm(vm).map_or_else(|| vm.to_string(), |vm| vm.spec.name.to_string());
            return Err(ApiError::new(
                Reason::WrongState,
                format_args!("it is attached to {name}; detach it first"),
            ));
        }
        let erase = self.db.vdis.require_in(Transaction::new(), &found.key, Expect::At(found.revision));
        let erase = self.db.vdis.delete_in(erase, &found.key);
        let about = About {
            method: "vdi.delete",
            title: format!("Delete VDI {}", found.value.name),
            subjects: vec![format!("vdi/{}", found.key), format!("host/{}", found.value.host)],
            object: None,
        };
        let params = DeleteParams { host: found.value.host, vdi: found.key, sr: found.value.sr };
        self.begin::<VdiDelete>(call, (SagaId::new(), &params), about, erase).await
    }
}
