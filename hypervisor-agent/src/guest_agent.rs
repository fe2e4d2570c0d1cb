//! The QEMU guest agent in a guest, which is asked to hold its filesystems still while the disks are snapshotted.
//!
//! ```text
//! freeze ──> connect, sync, status ──> note ──> freeze ──> (the snapshot) ──> thaw ──> note removed
//!                                        │                      │               │ not answered
//!                                        │     dropped, told, time up, stopping │
//!                                        └──── crash: the next start ───────────┴──> thaw again and again
//!                                                                                    until it answers, is gone, or boots
//! ```
//!
//! What always holds:
//! * **A guest that we froze is thawed.** Not the caller but a task of its own holds the guest, and thaws it when it is
//!   told to, when the caller is gone, after [`Limits::frozen`], and when the agent stops. A thaw that is not answered is
//!   ordered again until the guest says that it is thawed, is gone, or boots anew. [`notes`] outlive a kill of the agent.
//! * A guest is not believed: it can neither hang nor fill the agent ([`wire`], [`link`]), and costs one task at a time.
//! * A snapshot counts as filesystem-consistent only if the guest thawed at our word and not before, by its own count.
//!
//! Who else touches it: the channel is made for this agent. Somebody who connects to its socket by hand makes us wait in
//! QEMU's queue, which ends as silence does.

mod hold;
pub mod link;
mod notes;
pub mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use xenith_common_ids::{DomId, VmId};
use xenith_common_tasks::{CancellationToken, TaskSet};
use xenith_hypervisor_agent_backend::{Hypervisor, HypervisorError};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::journal::Journal;
use hold::Hold;
pub use link::Limits;
use link::LinkError;
use notes::Notes;

/// Why a guest was not held still.
#[derive(Debug, thiserror::Error)]
pub enum QuiesceError {
    #[error(
        "the VM has no channel to a guest agent; give it one (xenith vm update VM --guest-agent on), start it anew, \
         and install qemu-ga in the guest"
    )]
    NoChannel,
    #[error("the guest has not answered to the thaw after the last freeze yet; look at its console")]
    StillHeld,
    #[error("the guest was frozen already; it has been told to thaw, try again")]
    WasFrozen,
    #[error("the guest had not written everything out after {} s; it was told to go on", .0.as_secs())]
    NotInTime(Duration),
    #[error("the guest froze no filesystem")]
    NothingFroze,
    #[error("the guest had thawed by itself before the snapshot was over")]
    ThawedItself,
    #[error("the snapshot took longer than the guest is held still; it was thawed before")]
    TimeUp,
    #[error("the guest did not say that it thawed ({0}); it is told again until it does")]
    NotThawed(LinkError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("it cannot be written down that the guest is frozen: {0}")]
    Note(std::io::Error),
    #[error("the channel cannot be looked up: {0}")]
    Hypervisor(HypervisorError),
    #[error("the agent stops")]
    Stopping,
}

impl QuiesceError {
    /// For who demanded it.
    pub fn fault(&self) -> Fault {
        let reason = match self {
            Self::NoChannel | Self::NothingFroze | Self::Link(LinkError::Refused { .. }) => {
                FaultReason::Unsupported
            }
            Self::Note(error) if error.kind() == std::io::ErrorKind::StorageFull => FaultReason::StorageFull,
            Self::Note(_) => FaultReason::Internal,
            Self::Hypervisor(_) => FaultReason::Hypervisor,
            Self::Stopping => FaultReason::NotReady,
            Self::StillHeld
            | Self::WasFrozen
            | Self::NotInTime(_)
            | Self::ThawedItself
            | Self::TimeUp
            | Self::NotThawed(_)
            | Self::Link(_) => FaultReason::GuestUnresponsive,
        };
        Fault::new(reason, format_args!("the guest cannot be quiesced: {self}"))
    }
}

/// Cheap to clone; all clones know the same guests.
#[derive(Clone)]
pub struct GuestAgents {
    hypervisor: Arc<dyn Hypervisor>,
    journal: Journal,
    notes: Notes,
    tasks: TaskSet,
    limits: Limits,
    held: Arc<Mutex<BTreeMap<VmId, CancellationToken>>>,
}

/// A guest whose filesystems stand still. Dropped, it is thawed, and nobody hears what came of it.
#[must_use]
pub struct Frozen {
    release: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<(), QuiesceError>>,
}

impl Frozen {
    /// Lets the guest write again. An error: it may not have stood still until now.
    pub async fn thaw(self) -> Result<(), QuiesceError> {
        // Thawed already when nobody listens; then that is the answer.
        let _time_was_up = self.release.send(());
        self.ended.await.unwrap_or(Err(QuiesceError::Stopping))
    }
}

/// A VM whose guest is held by a task. One at a time.
struct Held {
    vm: VmId,
    /// The agent stops, or the guest boots.
    over: CancellationToken,
    all: Arc<Mutex<BTreeMap<VmId, CancellationToken>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.vm);
    }
}

impl GuestAgents {
    #[must_use]
    pub fn new(hypervisor: Arc<dyn Hypervisor>, (journal, state): (Journal, &Path), tasks: TaskSet) -> Self {
        let (notes, limits) = (Notes::below(state), Limits::default());
        Self { hypervisor, journal, notes, tasks, limits, held: Arc::default() }
    }

    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Has the guest write out what it holds and stand still. `domid` is the VM's running domain.
    pub async fn freeze(&self, vm: VmId, domid: DomId) -> Result<Frozen, QuiesceError> {
        let paths = self.hypervisor.consoles(domid).await.map_err(QuiesceError::Hypervisor)?;
        let path = paths.guest_agent.ok_or(QuiesceError::NoChannel)?;
        let held = self.hold(vm).ok_or(QuiesceError::StillHeld)?;
        let (began, begun) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let hold = Hold { agents: self.clone(), held };
        self.tasks.spawn("guest-frozen", hold.freeze(path, began, released, end));
        begun.await.unwrap_or(Err(QuiesceError::Stopping))?;
        Ok(Frozen { release, ended })
    }

    fn hold(&self, vm: VmId) -> Option<Held> {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(&vm) {
            return None;
        }
        let over = self.tasks.token().child_token();
        all.insert(vm, over.clone());
        Some(Held { vm, over, all: Arc::clone(&self.held) })
    }

    /// Before a guest boots: its filesystems are not mounted yet, so nothing of it is frozen. Nobody tells it to thaw any
    /// more; perhaps what boots has no agent, and would never answer.
    pub async fn boots(&self, vm: VmId) {
        if let Some(over) = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&vm) {
            over.cancel();
        }
        self.remove_note(vm).await;
    }

    async fn remove_note(&self, vm: VmId) {
        let notes = self.notes.clone();
        let removed = tokio::task::spawn_blocking(move || notes.remove(vm)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%vm, %error, "that the guest is thawed cannot be written down; the next start thaws it again");
        }
    }

    /// Thaws the guests that an agent before this one had frozen when it was killed.
    pub fn recover(&self) -> std::io::Result<()> {
        for vm in self.notes.all()? {
            tracing::warn!(%vm, "its guest may be frozen since the agent ended; it is told to thaw");
            if let Some(held) = self.hold(vm) {
                let hold = Hold { agents: self.clone(), held };
                self.tasks.spawn("guest-thaw", hold.thaw());
            }
        }
        Ok(())
    }
}
