//! What takes more than one step, one file per operation. A file lists its steps; what they share is here.
//!
//! A VM is *held* by the saga that works on it: `held_by` is set in the transaction that starts the saga and
//! cleared by its last step, or by the undo of its first. So two operations never work on one VM, whatever
//! process dies when. That last step cannot be undone: behind it the VM may be somebody else's already.

pub mod import;
pub mod vdi_create;
pub mod vdi_delete;
pub mod vm_act;
pub mod vm_create;
pub mod vm_delete;
pub mod vm_update;

use std::sync::{Arc, OnceLock};

use xenith_common_ids::{HostId, OperationId, SagaId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{FaultReason, ValidVmSpec, VdiSize, VmSpec};
use xenith_orchestrator_saga::{Saga, SagaRegistry, StepCtx, StepError};
use xenith_orchestrator_store::StoreError;

use crate::db::Db;
use crate::fleet::Fleet;
use crate::imports::LiveImports;

/// Why a VM's release is the commit point of a saga.
const RELEASED: &str = "the VM is free for the next operation";

/// What the steps work with.
pub struct Deps {
    pub db: Db,
    pub imports: Arc<LiveImports>,
    fleet: OnceLock<Arc<Fleet>>,
}

/// Every operation that this version knows.
#[must_use]
pub fn registry(deps: &Arc<Deps>) -> SagaRegistry {
    let mut registry = SagaRegistry::new();
    registry.register(vm_create::VmCreate(Arc::clone(deps)));
    registry.register(vm_act::VmAct(Arc::clone(deps)));
    registry.register(vm_update::VmUpdate(Arc::clone(deps)));
    registry.register(vm_delete::VmDelete(Arc::clone(deps)));
    registry.register(vdi_create::VdiCreate(Arc::clone(deps)));
    registry.register(vdi_delete::VdiDelete(Arc::clone(deps)));
    registry.register(import::ImportUpload(Arc::clone(deps)));
    registry
}

/// A VDI that a saga makes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewVdi {
    pub vdi: VdiId,
    pub sr: SrId,
    pub size: VdiSize,
    pub name: String,
}

fn step_error(error: &AgentClientError) -> StepError {
    let passing = match error {
        AgentClientError::Unreachable { .. } => true,
        // "No" is an answer; only "not yet" is worth waiting for.
        AgentClientError::Refused(fault) => fault.reason == FaultReason::NotReady,
        _ => false,
    };
    if passing { StepError::retryable(error.to_string()) } else { StepError::permanent(error.to_string()) }
}

impl Deps {
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, imports: Arc::default(), fleet: OnceLock::new() }
    }

    /// Before any saga runs: the fleet needs the engine's epoch, so it comes later.
    pub fn set_fleet(&self, fleet: &Arc<Fleet>) {
        let _set_before = self.fleet.set(Arc::clone(fleet));
    }

    fn fleet(&self) -> Result<&Fleet, StepError> {
        self.fleet
            .get()
            .map(|fleet| &**fleet)
            .ok_or_else(|| StepError::retryable("the orchestrator is starting"))
    }

    /// Sends a command under the step's own operation id: a step that runs again repeats it, not the work.
    async fn send<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        command: Command,
    ) -> Result<CommandResult, StepError> {
        self.send_as(ctx, ctx.operation_id(), host, command)
            .await
            .map_err(|error| error.map_or_else(|| host_removed(host), |error| step_error(&error)))
    }

    /// `Err(None)`: the host is not one of ours any more.
    async fn send_as<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        operation: OperationId,
        host: HostId,
        command: Command,
    ) -> Result<CommandResult, Option<AgentClientError>> {
        let client = self.fleet.get().and_then(|fleet| fleet.client(host)).ok_or(None)?;
        client.execute(&Envelope { operation, epoch: ctx.epoch(), command }).await.map_err(Some)
    }

    async fn tell_vm<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        vm: VmId,
        action: VmAction,
    ) -> Result<CommandResult, StepError> {
        self.send(ctx, host, Command::Vm { vm, action }).await
    }

    async fn define<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, vm): (HostId, VmId),
        definition: u64,
        spec: &VmSpec,
    ) -> Result<(), StepError> {
        let spec =
            ValidVmSpec::try_from(spec.clone()).map_err(|error| StepError::permanent(error.to_string()))?;
        let action = VmAction::Define { definition, spec: Box::new(spec) };
        self.tell_vm(ctx, host, vm, action).await.map(|_| ())
    }

    async fn ensure_vdi<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        vdi: &NewVdi,
    ) -> Result<(), StepError> {
        let command = Command::EnsureVdi { vdi: vdi.vdi, sr: vdi.sr, size: vdi.size };
        self.send(ctx, host, command).await.map(|_| ())
    }

    async fn delete_vdi<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        (vdi, sr): (VdiId, SrId),
    ) -> Result<(), StepError> {
        self.send(ctx, host, Command::DeleteVdi { vdi, sr }).await.map(|_| ())
    }

    /// Lets go of a VM, unless another saga has it by now.
    pub async fn release(&self, vm: VmId, saga: SagaId) -> Result<(), StoreError> {
        self.release_with(vm, saga, |_| ()).await
    }

    async fn release_with(
        &self,
        vm: VmId,
        saga: SagaId,
        change: impl Fn(&mut crate::model::VmRecord) + Send + Sync,
    ) -> Result<(), StoreError> {
        let release = |record: &mut crate::model::VmRecord| {
            if record.held_by == Some(saga) {
                record.held_by = None;
                change(record);
            }
        };
        self.db.vms.modify(&vm, release).await.map(|_| ())
    }
}

fn host_removed(host: HostId) -> StepError {
    StepError::permanent(format!("host {host} was removed"))
}
