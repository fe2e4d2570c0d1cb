//! The orchestrator itself.

use async_trait::async_trait;
use xenith_common_pki::expires_of;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::system::SystemApi;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_store::Health;
use xenith_orchestrator_types::system::{SystemHealth, SystemInfo};
use xenith_orchestrator_types::{ApiError, Empty, Permission};

use super::App;
use super::parse_filter;

impl App {
    /// Why the store does not write, if it does not.
    pub(crate) fn read_only(&self) -> Option<String> {
        match &*self.db.store.health().borrow() {
            Health::Writable => None,
            Health::ReadOnly { reason, .. } => Some(reason.clone()),
        }
    }
}

#[async_trait]
impl SystemApi for App {
    async fn info(&self, _: &Call, _: Empty) -> Result<SystemInfo, ApiError> {
        let authority = self.certificates.authority();
        Ok(SystemInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            authority: authority.fingerprint().to_string(),
            authority_pem: authority.certificate_pem().to_owned(),
            authority_expires: expires_of(authority.certificate()).ok(),
            certificate: self.identities.shown(),
        })
    }

    async fn health(&self, call: &Call, _: Empty) -> Result<SystemHealth, ApiError> {
        let sees = call.caller.sight(Permission::View);
        let hosts = self.views.hosts();
        let hosts: Vec<_> = hosts.iter().filter(|(_, host)| sees.covers(Some(host.pool), [])).collect();
        let unheard = |id| !self.fleet.state(id).is_some_and(|state| state.is_heard());
        let scope = self.scope(&call.caller);
        Ok(SystemHealth {
            hosts: hosts.len() as u64,
            hosts_unknown: hosts.iter().filter(|(id, _)| unheard(*id)).count() as u64,
            vms: self.views.vms.count(&parse_filter::<Vms>("")?, &scope),
            vms_running: self.views.vms.count(&parse_filter::<Vms>("power:running")?, &scope),
            tasks_active: self.engine.running() as u64,
            changes_heard: self.fleet.changes_heard(),
            read_only: self.read_only(),
        })
    }
}
