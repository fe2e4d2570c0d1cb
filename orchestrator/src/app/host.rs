//! Physical machines.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use time::OffsetDateTime;
use xenith_common_ids::{HostId, OperationId, VdiId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope, JoinToken};
use xenith_hypervisor_agent_types::HostHardware;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::host::HostApi;
use xenith_orchestrator_inventory::host::Hosts;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::host::{
    AddHost, EndBoot, EvacuateHost, Evacuation, Host, HostAddress, HostMaintenance, HostManagement,
    HostPeerAddress, HostRef, HostStatus, JoinTokenIssued, RemoveHost, UpgradeHost,
};
use xenith_orchestrator_types::power::{HostMachinePower, HostPowerControl, OrderPower, SetPowerControl};
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Reason};

use super::App;
use super::find::administers;
use super::host_management::agent_address;
use super::host_power::shown;
use super::host_upgrade::unheld;
use crate::authn::{new_secret, secret_hash};
use crate::errors::store_error;
use crate::events::Happened;
use crate::fleet::Link;
use crate::forget;
use crate::model::{HostRecord, JoinRecord};
use crate::sagas::host_restart::Work;

const LONGEST_MINUTES: u32 = 7 * 24 * 60;

impl App {
    /// The VDIs that are a host's: in its local SR, and those of shared ones that are kept with it.
    async fn vdis_of(&self, host: &Record<HostId, HostRecord>) -> Result<BTreeSet<VdiId>, ApiError> {
        let (srs, _) = self.db.srs.all().await.map_err(|e| store_error(&e))?;
        let attached = srs.into_iter().filter(|sr| sr.value.hosts.contains(&host.key)).map(|sr| sr.key);
        let vdis = host.value.local_sr.into_iter().chain(attached).flat_map(|sr| self.views.vdis_in(sr));
        Ok(vdis.filter(|vdi| vdi.host == host.key).map(|vdi| vdi.id).collect())
    }

    /// A token that works once, for a host that gets into the pool of this name.
    pub(crate) async fn issue_join_token(
        &self,
        join: &JoinRecord,
        pool_name: &str,
    ) -> Result<JoinToken, ApiError> {
        let secret = new_secret()?;
        let commit = self.require_pool_in(Transaction::new(), join.pool);
        let commit = self.db.joins.insert_in(commit, &secret_hash(&secret), join);
        self.db.store.commit(commit).await.map_err(|error| Self::pool_gone(&error, pool_name))?;
        Ok(JoinToken {
            address: self.join_address.clone(),
            fingerprint: self.certificates.authority().fingerprint().to_string(),
            secret,
        })
    }

    pub(super) fn api_host(&self, id: HostId, record: &HostRecord) -> Host {
        let state = self.fleet.state(id);
        let link = state.as_ref().map_or(Link::Connecting, |state| state.link());
        let (status, problem) = match link {
            Link::Connected => (HostStatus::Connected, None),
            Link::Connecting if record.local_sr.is_none() => (HostStatus::Enrolling, None),
            Link::Connecting => (HostStatus::Unknown, Some("is being connected".to_owned())),
            Link::Lost { why } => (HostStatus::Unknown, Some(why)),
        };
        Host {
            id,
            name: record.name.clone(),
            pool: record.pool,
            address: record.address.clone(),
            peer_address: record.peer_address.clone(),
            status,
            problem,
            maintenance: record.maintenance,
            agent_version: state.as_ref().and_then(|state| state.agent_version()),
            local_sr: record.local_sr,
            facts: state.as_ref().and_then(|state| state.facts()).map(|facts| (*facts).clone()),
            vms: state.as_ref().map_or(0, |state| u32::try_from(state.vm_count()).unwrap_or(u32::MAX)),
            last_heard: state.as_ref().and_then(|state| state.last_heard()),
            certificate_expires: record.certificate_expires,
        }
    }
}

/// A name or an IP address alone.
fn peer_address(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    let name = (1..=253).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if name || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(ApiError::invalid("address", "is no name and no IP address, such as 10.10.0.1; it has no port"))
}

#[async_trait]
impl HostApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Host>, ApiError> {
        App::list::<Hosts>(self, call, &request).await
    }

    async fn get(&self, call: &Call, request: HostRef) -> Result<Host, ApiError> {
        let found = self.find_host(call, &request.host).await?;
        Ok(self.api_host(found.key, &found.value))
    }

    async fn hardware(&self, call: &Call, request: HostRef) -> Result<HostHardware, ApiError> {
        let found = self.find_host(call, &request.host).await?;
        let unreachable = |error: &dyn std::fmt::Display| ApiError::new(Reason::HostUnreachable, error);
        let client = self.fleet.client(found.key).ok_or_else(|| unreachable(&"the host was removed"))?;
        let command = Command::LookAtHardware;
        let envelope = Envelope { operation: OperationId::new(), epoch: self.fleet.epoch(), command };
        match client.execute(&envelope).await.map_err(|error| unreachable(&error))? {
            CommandResult::Hardware(hardware) => Ok(*hardware),
            other => Err(ApiError::internal(format_args!("the host answered something else: {other:?}"))),
        }
    }

    async fn add(&self, call: &Call, request: AddHost) -> Result<JoinTokenIssued, ApiError> {
        let pool = self.find_pool(call, request.pool.as_deref())?;
        administers(call, pool.id)?;
        let minutes = if request.minutes == 0 { 60 } else { request.minutes };
        if minutes > LONGEST_MINUTES {
            return Err(ApiError::invalid("minutes", format_args!("give 1 to {LONGEST_MINUTES} (a week)")));
        }
        let expires = OffsetDateTime::now_utc() + Duration::from_secs(u64::from(minutes) * 60);
        let (user, user_name) = (call.caller.user, call.caller.name.clone());
        let join = JoinRecord { name: request.name, pool: pool.id, expires, user, user_name };
        let token = self.issue_join_token(&join, &pool.name).await?;
        Ok(JoinTokenIssued { token: token.to_string(), expires })
    }

    async fn set_maintenance(&self, call: &Call, request: HostMaintenance) -> Result<Host, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        unheld(&found.value)?;
        let changed = HostRecord { maintenance: request.maintenance, ..found.value.clone() };
        self.db.hosts.update(&found, &changed).await.map_err(|e| store_error(&e))?;
        Ok(self.api_host(found.key, &changed))
    }

    async fn evacuate(&self, call: &Call, request: EvacuateHost) -> Result<Evacuation, ApiError> {
        self.evacuate_host(call, &request).await
    }

    async fn upgrade(&self, call: &Call, request: UpgradeHost) -> Result<TaskStarted, ApiError> {
        self.upgrade_host(call, request).await
    }

    async fn reboot(&self, call: &Call, request: EndBoot) -> Result<TaskStarted, ApiError> {
        self.end_boot(call, request, Work::Reboot).await
    }

    async fn shutdown(&self, call: &Call, request: EndBoot) -> Result<TaskStarted, ApiError> {
        self.end_boot(call, request, Work::ShutDown).await
    }

    async fn power_control(&self, call: &Call, request: HostRef) -> Result<HostPowerControl, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        Ok(shown(found.key, found.value.power.as_ref()))
    }

    async fn set_power_control(
        &self,
        call: &Call,
        request: SetPowerControl,
    ) -> Result<HostPowerControl, ApiError> {
        self.set_power_control_of(call, request).await
    }

    async fn power(&self, call: &Call, request: OrderPower) -> Result<HostMachinePower, ApiError> {
        self.order_power(call, request).await
    }

    async fn set_address(&self, call: &Call, request: HostAddress) -> Result<Host, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        let address = agent_address("address", &request.address)?;
        let changed = HostRecord { address, ..found.value.clone() };
        self.db.hosts.update(&found, &changed).await.map_err(|e| store_error(&e))?;
        self.fleet.remove(found.key);
        self.fleet.watch(found.key, &changed);
        Ok(self.api_host(found.key, &changed))
    }

    async fn set_peer_address(&self, call: &Call, request: HostPeerAddress) -> Result<Host, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        let peer_address = request.address.as_deref().map(peer_address).transpose()?;
        let changed = HostRecord { peer_address, ..found.value.clone() };
        self.db.hosts.update(&found, &changed).await.map_err(|e| store_error(&e))?;
        Ok(self.api_host(found.key, &changed))
    }

    async fn set_management(&self, call: &Call, request: HostManagement) -> Result<TaskStarted, ApiError> {
        self.change_management(call, request).await
    }

    async fn remove(&self, call: &Call, request: RemoveHost) -> Result<Empty, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        unheld(&found.value)?;
        self.nothing_moves(found.key, &found.value.name).await?;
        let vms = self.views.vms_of(found.key);
        if let Some((name, saga)) = vms.iter().find_map(|(_, vm)| Some((&vm.name, vm.held_by()?))) {
            return Err(super::begin::held(name, saga));
        }
        if !vms.is_empty() && !request.force {
            let message = format_args!(
                "{} has {} defined on it; delete what is defined there first, or force: it is forgotten here and runs on there",
                found.value.name,
                counted(vms.len(), "VM")
            );
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let vdis = self.vdis_of(&found).await?;
        if call.dry_run {
            let mut names: Vec<_> = vms.iter().map(|(_, vm)| vm.name.to_string()).collect();
            names.sort_unstable();
            let title = format!("Remove {}", found.value.name);
            return Err(
                call.planned(json!({ "title": title, "forgotten_vms": names, "forgotten_vdis": vdis.len() }))
            );
        }
        let vms: Vec<VmId> = vms.into_iter().map(|(vm, _)| vm).collect();
        let happened = Happened {
            severity: Severity::Warning,
            kind: "host.removed",
            subject: format!("host/{}", found.key),
            message: format!("{} was removed by {}", found.value.name, call.caller.name),
            pool: Some(found.value.pool),
        };
        let removed = async {
            let last = forget::host_in(&self.db, &found, &vms, &vdis).await?;
            self.events.note_in(last, happened).await
        };
        removed.await.map_err(|error| match error {
            error if error.is_conflict() => ApiError::new(
                Reason::Conflict,
                format_args!(
                    "a VM or an SR of {} was changed at the same moment; try again",
                    found.value.name
                ),
            ),
            error => store_error(&error),
        })?;
        self.certificates.revoke(found.key);
        self.fleet.remove(found.key);
        Ok(Empty {})
    }
}
