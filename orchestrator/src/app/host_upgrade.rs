//! A new system for a host: what speaks against it is told before anything is touched.

use serde_json::json;
use xenith_common_ids::{HostId, OperationId, SagaId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::system::{HostSystem, SystemCommand, SystemReply};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::host::{EvacuatedVm, UpgradeHost};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::begin::{About, held};
use super::host_restart::{Begin, behalf};
use super::vdi::checked_source;
use crate::model::HostRecord;
use crate::sagas::host_steps::{Leave, LocalDisks};
use crate::sagas::host_upgrade::{HostUpgrade, Params};

impl App {
    pub(super) async fn upgrade_host(
        &self,
        call: &Call,
        request: UpgradeHost,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        checked_source(&request.url, "")?;
        unheld(&found.value)?;
        let system = self.system_of(found.key).await?;
        let disks = LocalDisks::from(request.move_disks);
        let moves = match request.evacuate {
            true => self.would_leave(call, &found, disks).await,
            false => vec![],
        };
        self.nobody_stays(&found, &moves)?;
        let title = format!("Upgrade {}", found.value.name);
        if call.dry_run {
            let now = json!({ "slot": system.slot, "version": system.version });
            return Err(call.planned(json!({
                "title": title,
                "now": now,
                "into_slot": system.slot.other(),
                "url": request.url,
                "maintenance": true,
                "vms": moves,
            })));
        }
        let leave = request.evacuate.then(|| disks.leave(behalf(call)));
        let about = Begin { saga: SagaId::new(), method: "host.upgrade", title };
        self.begin_upgrade(call, &found, (request.url, leave), about).await
    }

    /// The host is the saga's from here on.
    pub(super) async fn begin_upgrade(
        &self,
        call: &Call,
        found: &Record<HostId, HostRecord>,
        (url, leave): (String, Option<Leave>),
        Begin { saga, method, title }: Begin,
    ) -> Result<TaskStarted, ApiError> {
        let (on, hold) = self.taken_by(found, saga);
        let params = Params { on, url, leave };
        let id = found.key.to_string();
        let about = About { method, title, subjects: vec![format!("host/{id}")], object: Some(&id) };
        self.begin::<HostUpgrade>(call, (saga, &params), about, hold).await
    }

    /// What it runs; or why it cannot be upgraded at all.
    pub(super) async fn system_of(&self, host: HostId) -> Result<HostSystem, ApiError> {
        match self.asked_of_system(host, SystemCommand::Look).await? {
            SystemReply::System(system) => Ok(system),
            other => Err(ApiError::internal(format_args!("the host answered something else: {other:?}"))),
        }
    }

    pub(super) async fn asked_of_system(
        &self,
        host: HostId,
        command: SystemCommand,
    ) -> Result<SystemReply, ApiError> {
        let unreachable = |error: &dyn std::fmt::Display| ApiError::new(Reason::HostUnreachable, error);
        let client = self.fleet.client(host).ok_or_else(|| unreachable(&"the host was removed"))?;
        let command = Command::System(command);
        let envelope = Envelope { operation: OperationId::new(), epoch: self.engine.epoch(), command };
        match client.execute(&envelope).await {
            Ok(CommandResult::System(reply)) => Ok(reply),
            Ok(other) => Err(ApiError::internal(format_args!("the host answered something else: {other:?}"))),
            Err(AgentClientError::Refused(fault)) => Err(ApiError::new(Reason::WrongState, fault)),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// A VM that runs and is not moved would be under a host that starts anew.
    pub(super) fn nobody_stays(
        &self,
        found: &Record<HostId, HostRecord>,
        moves: &[EvacuatedVm],
    ) -> Result<(), ApiError> {
        let name = &found.value.name;
        let observed = self.fleet.state(found.key).map(|state| state.vms()).unwrap_or_default();
        let goes = |vm: VmId| moves.iter().any(|moved| moved.vm == vm && moved.error.is_none());
        let stay: Vec<_> = observed.iter().filter(|seen| seen.domid.is_some() && !goes(seen.vm)).collect();
        if stay.is_empty() {
            return Ok(());
        }
        let why = |vm: VmId, name: &str| {
            let stays = moves.iter().find(|moved| moved.vm == vm);
            let error = stays.and_then(|moved| moved.error.as_deref()).unwrap_or("it runs");
            format!("{name}: {error}")
        };
        let message = format!(
            "{name} starts anew, but runs {}; have everything moved first (--evacuate), or shut it down",
            counted(stay.len(), "VM")
        );
        let mut error = ApiError::new(Reason::WrongState, message);
        error.data.detail = stay.iter().map(|seen| why(seen.vm, &seen.name)).collect();
        Err(error)
    }
}

/// Refuses a host that another operation works on.
pub(super) fn unheld(record: &HostRecord) -> Result<(), ApiError> {
    record.held_by.map_or(Ok(()), |saga| Err(held(&record.name, saga)))
}
