//! Consoles: who may look at what, and the ticket for it.

use async_trait::async_trait;
use xenith_common_ids::{HostId, VmId};
use xenith_hypervisor_agent_api::ConsoleTarget;
use xenith_hypervisor_agent_types::Graphics;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::console::ConsoleApi;
use xenith_orchestrator_types::console::{ConsoleKind, ConsoleTicket, OpenHostConsole, OpenVmConsole};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use crate::console::Admission;

impl App {
    /// Whether the caller that a ticket was issued to may still have it.
    pub async fn still_admits(&self, admission: &Admission) -> Result<(), ApiError> {
        let caller = self.authn.current(&admission.caller).await?;
        caller.check(admission.permission)?;
        let Some(vm) = admission.vm else { return Ok(()) };
        let missing = || ApiError::not_found("VM", &vm.to_string());
        let record = self.views.vm(vm).ok_or_else(missing)?;
        let may = caller.sight(admission.permission).covers(Some(record.pool), &*record.tags);
        if may { Ok(()) } else { Err(caller.forbidden(admission.permission)) }
    }

    /// The host on which a VM runs now.
    fn running_on(&self, vm: VmId, home: HostId) -> Result<HostId, ApiError> {
        match self.fleet.vm(vm) {
            Some((host, observed)) if observed.power.has_domain() => Ok(host),
            None if !self.fleet.state(home).is_some_and(|state| state.is_heard()) => {
                let name = self.views.host(home).map_or_else(|| home.to_string(), |host| host.name.clone());
                Err(ApiError::new(Reason::HostUnreachable, format_args!("its host {name} is not heard")))
            }
            Some(_) | None => Err(ApiError::new(
                Reason::WrongState,
                "the VM does not run, so it has no console; start it first",
            )),
        }
    }
}

#[async_trait]
impl ConsoleApi for App {
    async fn vm(&self, call: &Call, request: OpenVmConsole) -> Result<ConsoleTicket, ApiError> {
        let found = self.find_vm(call, &request.vm, Permission::Operate).await?;
        let vm = found.key;
        if request.kind == ConsoleKind::Vnc && found.value.spec.graphics == Graphics::None {
            return Err(ApiError::new(
                Reason::WrongState,
                "the VM has no screen; give it one (graphics: vnc) and start it again, or use its serial console",
            ));
        }
        let target = match request.kind {
            ConsoleKind::Serial => ConsoleTarget::Serial { vm, history: request.history.unwrap_or(u32::MAX) },
            ConsoleKind::Vnc => ConsoleTarget::Vnc { vm },
        };
        let host = self.running_on(vm, found.value.host)?;
        let (caller, permission) = (call.caller.clone(), Permission::Operate);
        self.tickets.issue(Admission { caller, permission, vm: Some(vm), host, target })
    }

    async fn host(&self, call: &Call, request: OpenHostConsole) -> Result<ConsoleTicket, ApiError> {
        let found = self.find_host(call, &request.host).await?;
        let host = found.key;
        if !self.fleet.state(host).is_some_and(|state| state.is_heard()) {
            let unheard = format_args!("{} is not heard", found.value.name);
            return Err(ApiError::new(Reason::HostUnreachable, unheard));
        }
        let target = ConsoleTarget::HostShell { size: request.size.unwrap_or_default() };
        let (caller, permission) = (call.caller.clone(), Permission::System);
        self.tickets.issue(Admission { caller, permission, vm: None, host, target })
    }
}
