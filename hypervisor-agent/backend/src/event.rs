//! What a hypervisor tells without being asked.

use tokio::sync::broadcast;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_types::DeathReason;

/// A subscriber that is this many events behind lists again instead: cheaper than a longer queue, and
/// bounded whatever the host does.
const CAPACITY: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainEvent {
    pub domid: DomId,
    pub kind: DomainEventKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainEventKind {
    /// It was made, by us or by somebody else.
    Appeared,
    /// It ended and waits to be destroyed.
    Died(DeathReason),
    /// It is no longer listed.
    Gone,
    /// Events were lost: list again. The domain id means nothing here.
    Resync,
}

/// The sending end, kept by a back-end.
#[derive(Debug, Clone)]
pub struct EventSender(broadcast::Sender<DomainEvent>);

impl EventSender {
    #[must_use]
    pub fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    pub fn send(&self, domid: DomId, kind: DomainEventKind) {
        // An error says that nobody listens, which is nobody's loss.
        let _nobody_listens = self.0.send(DomainEvent { domid, kind });
    }

    #[must_use]
    pub fn subscribe(&self) -> DomainEvents {
        DomainEvents(self.0.subscribe())
    }
}

impl Default for EventSender {
    fn default() -> Self {
        Self::new()
    }
}

/// The receiving end.
#[derive(Debug)]
pub struct DomainEvents(broadcast::Receiver<DomainEvent>);

impl DomainEvents {
    /// The next event; `None` when the back-end is gone. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<DomainEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                Some(DomainEvent { domid: DomId::DOM0, kind: DomainEventKind::Resync })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
