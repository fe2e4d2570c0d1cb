//! Another management interface for a host: what speaks against it is told before anything is touched.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;
use xenith_common_ids::{HostId, OperationId, SagaId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::management::{
    Addressing, Management, ManagementChange, ManagementCommand, ManagementReply, ManagementState,
};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::host::HostManagement as Request;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::begin::About;
use super::host_upgrade::unheld;
use crate::errors::store_error;
use crate::model::HostRecord;
use crate::sagas::host_management::{HostManagement, Params, TRIAL_SECONDS};

impl App {
    pub(super) async fn change_management(
        &self,
        call: &Call,
        request: Request,
    ) -> Result<TaskStarted, ApiError> {
        let found = self.find_own_host(call, &request.host).await?;
        unheld(&found.value)?;
        let given = request.agent_address.as_deref();
        let given = given.map(|text| agent_address("agent_address", text)).transpose()?;
        self.nobody_is_harmed(&found).await?;
        let state = self.management_of(found.key).await?;
        let change = ManagementChange {
            address: request.address,
            gateway: request.gateway,
            dns: request.dns,
            vlan: request.vlan,
            bond: request.bond,
            interfaces: request.interfaces,
        };
        let now = state.management;
        let wanted =
            now.with(&change, &state.cards).map_err(|(field, problem)| ApiError::invalid(field, problem))?;
        let name = found.value.name.clone();
        if wanted == now {
            let message = format_args!("the management interface of {name} is that already: {now}");
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let address = found.value.address.clone();
        let moves_to = given.unwrap_or_else(|| afterwards(&address, &now, &wanted));
        let title = format!("Change the management interface of {name}");
        if call.dry_run {
            return Err(call.planned(json!({
                "title": title,
                "now": now.to_string(),
                "then": wanted.to_string(),
                "agent_address": moves_to,
                "goes_back_unless_heard_within_s": TRIAL_SECONDS,
            })));
        }
        let saga = SagaId::new();
        // Whoever turns high availability on meanwhile gets it for this host when the change is over.
        let held = HostRecord { held_by: Some(saga), disarmed: true, ..found.value.clone() };
        let hold = self.db.hosts.update_in(Transaction::new(), &found, &held);
        let params = Params { host: found.key, name, wanted, address, moves_to };
        let id = found.key.to_string();
        let subjects = vec![format!("host/{id}")];
        let about = About { method: "host.set_management", title, subjects, object: Some(&id) };
        self.begin::<HostManagement>(call, (saga, &params), about, hold).await
    }

    /// For up to two minutes the host may be heard by nobody.
    async fn nobody_is_harmed(&self, found: &Record<HostId, HostRecord>) -> Result<(), ApiError> {
        self.nothing_moves(found.key, &found.value.name).await?;
        let armed = self.db.ha_pools.get(&found.value.pool).await.map_err(|e| store_error(&e))?;
        if armed.is_none() {
            return self.is_let_go(found).await;
        }
        let pool = self.pool_name(found.value.pool);
        let message = format_args!(
            "high availability is on, and {} may not be heard for two minutes: it could be fenced; turn that off first \
             (xenith ha disable {pool})",
            found.value.name
        );
        Err(ApiError::new(Reason::WrongState, message))
    }

    /// High availability that was turned off a moment ago may have its watchdog still.
    async fn is_let_go(&self, found: &Record<HostId, HostRecord>) -> Result<(), ApiError> {
        let kept = self.db.ha_hosts.get(&found.key).await.map_err(|e| store_error(&e))?;
        if kept.is_none_or(|kept| kept.value.rests) {
            return Ok(());
        }
        let name = &found.value.name;
        let message = format_args!("{name} is armed still for high availability; try again in a moment");
        Err(ApiError::new(Reason::WrongState, message))
    }

    /// What it has; or why it cannot be changed from here at all.
    async fn management_of(&self, host: HostId) -> Result<ManagementState, ApiError> {
        let unreachable = |error: &dyn std::fmt::Display| ApiError::new(Reason::HostUnreachable, error);
        let client = self.fleet.client(host).ok_or_else(|| unreachable(&"the host was removed"))?;
        let command = Command::Management(Box::new(ManagementCommand::Look));
        let envelope = Envelope { operation: OperationId::new(), epoch: self.engine.epoch(), command };
        match client.execute(&envelope).await {
            Ok(CommandResult::Management(ManagementReply::State(state))) => Ok(*state),
            Ok(other) => Err(ApiError::internal(format_args!("the host answered something else: {other:?}"))),
            Err(AgentClientError::Refused(fault)) => Err(ApiError::new(Reason::WrongState, fault)),
            Err(error) => Err(unreachable(&error)),
        }
    }
}

/// `address:port` of an agent.
pub(super) fn agent_address(field: &'static str, text: &str) -> Result<String, ApiError> {
    let address = text.trim();
    let fine =
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if fine {
        return Ok(address.to_owned());
    }
    Err(ApiError::invalid(field, "is not of the form address:port, such as xen1.example.org:8444"))
}

/// Where an agent is reached afterwards, that is reached at `recorded` now. A name is looked up then as it is now; an
/// address follows where it is the management interface's.
fn afterwards(recorded: &str, now: &Management, then: &Management) -> String {
    let follow = || {
        let Addressing::Static(new) = then.address else { return None };
        let (host, port) = recorded.rsplit_once(':')?;
        let ip: IpAddr = host.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let was_it = match now.address {
            Addressing::Dhcp => !ip.is_loopback(),
            Addressing::Static(old) => old.ip() == ip,
        };
        was_it.then_some(SocketAddr::new(new.ip(), port.parse().ok()?).to_string())
    };
    follow().unwrap_or_else(|| recorded.to_owned())
}

#[cfg(test)]
mod tests {
    use xenith_common_units::MacAddr;

    use super::*;

    #[test]
    fn where_a_host_is_looked_for_afterwards() {
        let of = |address: &str| Management {
            cards: vec![MacAddr::from_xen_block([0, 0, 1])],
            bond: None,
            vlan: None,
            address: address.parse().unwrap(),
            gateway: None,
            dns: vec![],
        };
        for (name, recorded, now, then, expected) in [
            ("its address", "192.0.2.5:8444", "192.0.2.5/24", "192.0.2.6/24", "192.0.2.6:8444"),
            ("another of its addresses", "10.0.0.5:8444", "192.0.2.5/24", "192.0.2.6/24", "10.0.0.5:8444"),
            ("a lease", "192.0.2.5:8444", "dhcp", "192.0.2.6/24", "192.0.2.6:8444"),
            ("a lease that comes", "192.0.2.5:8444", "192.0.2.5/24", "dhcp", "192.0.2.5:8444"),
            ("a name", "xen1:8444", "192.0.2.5/24", "192.0.2.6/24", "xen1:8444"),
            ("IPv6", "[2001:db8::5]:8444", "2001:db8::5/64", "2001:db8::6/64", "[2001:db8::6]:8444"),
            ("this machine", "127.0.0.1:8444", "dhcp", "192.0.2.6/24", "127.0.0.1:8444"),
        ] {
            assert_eq!(afterwards(recorded, &of(now), &of(then)), expected, "{name}");
        }
    }
}
