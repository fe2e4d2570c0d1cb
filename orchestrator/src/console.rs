//! Tickets for consoles: from a call that was authorised and audited to a WebSocket that cannot carry a
//! credential (browsers let no page set headers).
//!
//! What always holds: a ticket is 256 random bits, kept as a hash, works once and for [`LIFE`], and stands for
//! the caller who got it: when it is used, and every few seconds while the console is open, the caller's session
//! and roles are looked at again. Tickets live in memory: a restart forgets them, and clients ask again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use xenith_common_ids::{HostId, VmId};
use xenith_hypervisor_agent_api::ConsoleTarget;
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_types::console::ConsoleTicket;
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use crate::authn::{new_secret, secret_hash};

/// From the answer to the WebSocket: a round trip, and patience for a browser that starts its viewer.
pub const LIFE: Duration = Duration::from_secs(30);
/// Tickets that wait to be used. More is somebody who asks and never comes.
const WAITING: usize = 1024;

/// What a ticket opens, and for whom.
#[derive(Debug, Clone)]
pub struct Admission {
    pub caller: Caller,
    pub permission: Permission,
    /// What `permission` is needed for.
    pub vm: Option<VmId>,
    pub host: HostId,
    pub target: ConsoleTarget,
}

#[derive(Debug, Default)]
pub struct Tickets(Mutex<HashMap<String, (Instant, Arc<Admission>)>>);

impl Tickets {
    pub fn issue(&self, admission: Admission) -> Result<ConsoleTicket, ApiError> {
        self.issue_at(Instant::now(), admission)
    }

    /// Takes a ticket out; there is no second time, whatever comes of the first.
    pub fn redeem(&self, secret: &str) -> Option<Arc<Admission>> {
        self.redeem_at(Instant::now(), secret)
    }

    fn issue_at(&self, now: Instant, admission: Admission) -> Result<ConsoleTicket, ApiError> {
        let secret = new_secret()?;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (expires, _)| *expires > now);
        if waiting.len() >= WAITING {
            let mut full = ApiError::new(Reason::Throttled, "too many console tickets wait to be used");
            full.data.retry_after_s = Some(30);
            return Err(full);
        }
        waiting.insert(secret_hash(&secret), (now + LIFE, Arc::new(admission)));
        Ok(ConsoleTicket { path: format!("/console/{secret}"), expires: OffsetDateTime::now_utc() + LIFE })
    }

    fn redeem_at(&self, now: Instant, secret: &str) -> Option<Arc<Admission>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (expires, admission) = waiting.remove(&secret_hash(secret))?;
        (expires > now).then_some(admission)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_hypervisor_agent_types::TerminalSize;

    fn admission() -> Admission {
        Admission {
            caller: Caller::anonymous(None),
            permission: Permission::System,
            vm: None,
            host: HostId::new(),
            target: ConsoleTarget::HostShell { size: TerminalSize::default() },
        }
    }

    fn secret(ticket: &ConsoleTicket) -> &str {
        ticket.path.strip_prefix("/console/").unwrap()
    }

    #[test]
    fn a_ticket_works_once_and_for_a_while() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let ticket = tickets.issue_at(now, admission()).unwrap();
        assert!(tickets.redeem_at(now, "another").is_none());
        assert!(tickets.redeem_at(now, secret(&ticket)).is_some());
        assert!(tickets.redeem_at(now, secret(&ticket)).is_none(), "used");
        let late = tickets.issue_at(now, admission()).unwrap();
        assert!(tickets.redeem_at(now + LIFE, secret(&late)).is_none(), "expired");
    }

    #[test]
    fn tickets_that_nobody_uses_are_bounded() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        for _ in 0..WAITING {
            tickets.issue_at(now, admission()).unwrap();
        }
        assert_eq!(tickets.issue_at(now, admission()).unwrap_err().reason(), Reason::Throttled);
        assert!(tickets.issue_at(now + LIFE, admission()).is_ok());
    }
}
