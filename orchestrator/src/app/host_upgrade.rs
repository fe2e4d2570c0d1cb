//! A new system for a host: what speaks against it is told before anything is touched.

use serde_json::json;
use xenith_common_ids::{HostId, OperationId, SagaId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::system::{HostSystem, SystemCommand, SystemReply};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::host::{EvacuatedVm, UpgradeHost};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::begin::{About, held};
use super::vdi::checked_source;
use super::vm_migrate::Evacuating;
use crate::errors::store_error;
use crate::model::HostRecord;
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
        let moves = match request.evacuate {
            true => self.evacuate_vms(call, &found, Evacuating::Planned).await,
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
        let maintenance = found.value.maintenance;
        let found = if request.evacuate { self.emptied(call, found).await? } else { found };
        let saga = SagaId::new();
        let held = HostRecord { held_by: Some(saga), maintenance: true, ..found.value.clone() };
        let hold = self.db.hosts.update_in(Transaction::new(), &found, &held);
        let (host, name) = (found.key, found.value.name.clone());
        let params = Params { host, name, url: request.url, maintenance };
        let id = host.to_string();
        let subjects = vec![format!("host/{id}")];
        let about = About { method: "host.upgrade", title, subjects, object: Some(&id) };
        self.begin::<HostUpgrade>(call, (saga, &params), about, hold).await
    }

    /// Its VMs are on their way. The record as it is afterwards.
    async fn emptied(
        &self,
        call: &Call,
        found: Record<HostId, HostRecord>,
    ) -> Result<Record<HostId, HostRecord>, ApiError> {
        self.begin_maintenance(&found).await?;
        self.evacuate_vms(call, &found, Evacuating::Begun).await;
        let again = self.db.hosts.get(&found.key).await.map_err(|e| store_error(&e))?;
        again.ok_or_else(|| ApiError::not_found("host", &found.value.name))
    }

    /// What it runs; or why it cannot be upgraded at all.
    async fn system_of(&self, host: HostId) -> Result<HostSystem, ApiError> {
        let unreachable = |error: &dyn std::fmt::Display| ApiError::new(Reason::HostUnreachable, error);
        let client = self.fleet.client(host).ok_or_else(|| unreachable(&"the host was removed"))?;
        let command = Command::System(SystemCommand::Look);
        let envelope = Envelope { operation: OperationId::new(), epoch: self.engine.epoch(), command };
        match client.execute(&envelope).await {
            Ok(CommandResult::System(SystemReply::System(system))) => Ok(system),
            Ok(other) => Err(ApiError::internal(format_args!("the host answered something else: {other:?}"))),
            Err(AgentClientError::Refused(fault)) => Err(ApiError::new(Reason::WrongState, fault)),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// A VM that runs and is not moved would be under a host that starts anew.
    fn nobody_stays(
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
