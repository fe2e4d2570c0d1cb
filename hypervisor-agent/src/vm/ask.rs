//! Asking a guest to go down, and what is told of one that did not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_api::ShutdownKind;
use xenith_hypervisor_agent_backend::{AskedBy, HypervisorError, ShutdownRequest};
use xenith_hypervisor_agent_types::{DomainStatus, Fault, FaultReason};

use crate::fault::from_hypervisor;
use crate::vm::driver::Driver;
use crate::vm::state::Up;

impl Driver {
    /// Asks the guest and waits. The death that answers comes as an event and ends this; returning at all
    /// means that the guest did not go down in time. Asking belongs to that time: it may last as long as the guest
    /// does not take the request up.
    pub async fn shut_down(self: Arc<Self>, up: Up, kind: ShutdownKind, deadline: Duration) -> Fault {
        let request = match kind {
            ShutdownKind::PowerOff => ShutdownRequest::PowerOff,
            ShutdownKind::Reboot => ShutdownRequest::Reboot,
        };
        let ends = Instant::now() + deadline;
        let asked = match timeout_at(ends, self.hypervisor.shutdown(up.domid, request)).await {
            Ok(Ok(asked)) => asked,
            // The request stands all the same.
            Ok(Err(HypervisorError::GuestUnresponsive { .. })) | Err(_) => AskedBy::ControlNode,
            // It has just gone, and the event that ends this is on its way: a repeat comes when the guest goes down.
            Ok(Err(_)) if self.is_gone(up.domid).await => AskedBy::ControlNode,
            Ok(Err(error)) => return from_hypervisor(&error),
        };
        sleep_until(ends).await;
        let seconds = deadline.as_secs();
        let taken_up = match asked {
            AskedBy::ControlNode => self.hypervisor.has_taken_up(up.domid).await.ok(),
            AskedBy::PowerButton => None,
        };
        let message = match taken_up {
            Some(true) => format!(
                "the guest took the request up and is still shutting down after {seconds} s; wait longer, look at its \
                 console, or power it off"
            ),
            Some(false) => format!(
                "the guest did not take the request up within {seconds} s: it boots, hangs, or has no PV drivers; look \
                 at its console, or power it off"
            ),
            None => format!(
                "the guest did not shut down within {seconds} s; wait longer, look at its console, or power it off"
            ),
        };
        let reason = match taken_up {
            Some(true) => FaultReason::GuestShuttingDown,
            Some(false) | None => FaultReason::GuestUnresponsive,
        };
        Fault::new(reason, message)
    }

    async fn is_gone(&self, domid: DomId) -> bool {
        match self.hypervisor.domain(domid).await {
            Ok(info) => matches!(info.status, DomainStatus::Dead(_) | DomainStatus::Dying),
            Err(error) => matches!(error, HypervisorError::NoSuchDomain(_)),
        }
    }
}
