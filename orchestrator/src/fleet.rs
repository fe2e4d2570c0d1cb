//! The hosts as they are: one watcher task for each, and what it heard last.
//!
//! Nothing here is stored; it is rebuilt from the agents' lists after a start. A host that is silent becomes
//! *unknown*, and so do its VMs: never *stopped*, because nobody knows that.

mod changes;
mod metrics;
mod state;
mod watcher;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::broadcast;
use xenith_common_ids::{Epoch, HostId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_client::AgentClient;
use xenith_hypervisor_agent_types::{HostFacts, ObservedVm, Power};

pub use changes::Changed;
pub use state::{HostState, Link, RunningVms, SeenSr};
pub use watcher::Renewal;

use crate::db::Db;
use crate::metering::Metering;

/// Something that a watcher heard.
#[derive(Debug, Clone)]
pub enum FleetEvent {
    /// A VM is as it says, on this host.
    Vm { host: HostId, vm: Arc<ObservedVm> },
    /// The VM is not on this host any more.
    VmGone { host: HostId, vm: VmId },
    /// The list of this host is complete as of now.
    Host { host: HostId },
    /// The host is heard again, or no more.
    Link { host: HostId },
    /// Forgotten by an administrator, with the VMs that it was heard to have.
    Removed { host: HostId, vms: Vec<VmId> },
}

/// Kept for a subscriber that is busy. One that lags has missed something: what must miss nothing takes
/// [`Fleet::changed`].
const EVENTS: usize = 16_384;

struct Member {
    client: AgentClient,
    state: Arc<HostState>,
    tasks: TaskSet,
}

/// Everything that watchers need.
pub struct Fleet {
    db: Db,
    epoch: Epoch,
    tls: Arc<ClientConfig>,
    renewal: Arc<dyn Renewal>,
    metering: Arc<Metering>,
    tasks: TaskSet,
    members: RwLock<HashMap<HostId, Member>>,
    /// Which host has a VM, by what was heard.
    places: RwLock<HashMap<VmId, HostId>>,
    events: broadcast::Sender<FleetEvent>,
    changes: changes::Changes,
    heard: AtomicU64,
}

impl Fleet {
    #[must_use]
    pub fn new(
        db: Db,
        epoch: Epoch,
        tls: Arc<ClientConfig>,
        (renewal, metering): (Arc<dyn Renewal>, Arc<Metering>),
        tasks: &TaskSet,
    ) -> Arc<Self> {
        Arc::new(Self {
            db,
            epoch,
            tls,
            renewal,
            metering,
            tasks: tasks.child(),
            members: RwLock::default(),
            places: RwLock::default(),
            events: broadcast::Sender::new(EVENTS),
            changes: changes::Changes::default(),
            heard: AtomicU64::new(0),
        })
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<FleetEvent> {
        self.events.subscribe()
    }

    /// The client of a host, heard or not.
    #[must_use]
    pub fn client(&self, host: HostId) -> Option<AgentClient> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.get(&host).map(|member| member.client.clone())
    }

    #[must_use]
    pub fn state(&self, host: HostId) -> Option<Arc<HostState>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.get(&host).map(|member| Arc::clone(&member.state))
    }

    #[must_use]
    pub fn states(&self) -> Vec<(HostId, Arc<HostState>)> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.iter().map(|(host, member)| (*host, Arc::clone(&member.state))).collect()
    }

    /// What was heard last of a VM, and where. `None` while its host is not heard.
    #[must_use]
    pub fn vm(&self, vm: VmId) -> Option<(HostId, Arc<ObservedVm>)> {
        let host = *self.places.read().unwrap_or_else(PoisonError::into_inner).get(&vm)?;
        let state = self.state(host)?;
        state.is_heard().then(|| state.vm(vm).map(|observed| (host, observed)))?
    }

    /// How many changes of VMs hosts told since the start.
    #[must_use]
    pub fn changes_heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// What changed since the last call, for the read model; waits until something did. Safe to cancel.
    pub async fn changed(&self) -> Changed {
        self.changes.take().await
    }

    #[must_use]
    pub fn facts(&self, host: HostId) -> Option<Arc<HostFacts>> {
        self.state(host)?.facts()
    }

    /// Waits until a VM is as `wanted` says, at most `patience`. Whether it is.
    pub async fn wait_for(
        &self,
        vm: VmId,
        patience: Duration,
        wanted: impl Fn(Option<&ObservedVm>) -> bool + Send,
    ) -> bool {
        let waiting = self.changes.wait_for(vm);
        let wait = async {
            loop {
                // Before the look, so that a change right after it is not missed.
                let news = waiting.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if wanted(self.vm(vm).map(|(_, observed)| observed).as_deref()) {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(patience, wait).await.is_ok()
    }

    /// Which host has which VM, by what `host` said. On its way from one host to another a VM is on both: then it is where
    /// it runs, and where it was while it runs nowhere.
    fn place(&self, host: HostId, changed: &[Arc<ObservedVm>], gone: &[VmId]) {
        let heard = |host: HostId| self.state(host).filter(|state| state.is_heard());
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        for vm in changed {
            let other = places.get(&vm.vm).copied().filter(|other| *other != host);
            let there = other.and_then(heard).and_then(|state| state.vm(vm.vm));
            if there.is_none_or(|there| claim(vm.power) > claim(there.power)) {
                places.insert(vm.vm, host);
            }
        }
        for vm in gone {
            if places.get(vm) == Some(&host) {
                places.remove(vm);
                let others = self.states().into_iter();
                let others = others.filter(|(other, state)| *other != host && state.is_heard());
                let having = others.filter_map(|(other, state)| Some((claim(state.vm(*vm)?.power), other)));
                if let Some((_, other)) = having.max() {
                    places.insert(*vm, other);
                }
            }
        }
    }

    /// Whether another host has a VM: on its way from one to the other it is on both, and counted by both.
    fn is_elsewhere(&self, vm: VmId, host: HostId) -> bool {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.get(&vm).is_some_and(|place| *place != host)
    }

    /// Ends the watcher of a host and forgets what it said.
    pub fn remove(&self, host: HostId) {
        let member = self.members.write().unwrap_or_else(PoisonError::into_inner).remove(&host);
        let Some(member) = member else { return };
        member.tasks.cancel();
        let vms: Vec<VmId> = member.state.vms().iter().map(|vm| vm.vm).collect();
        self.places.write().unwrap_or_else(PoisonError::into_inner).retain(|_, place| *place != host);
        self.changes.note(|changed| {
            changed.vms.extend(&vms);
            changed.links.insert(host);
            changed.domains.insert(host);
        });
        self.changes.wake_all();
        self.emit(FleetEvent::Removed { host, vms });
    }

    fn emit(&self, event: FleetEvent) {
        let _nobody_listens = self.events.send(event);
    }
}

/// How much a host has of a VM that two hosts have.
const fn claim(power: Power) -> u8 {
    match power {
        Power::Running | Power::Starting | Power::Stopping => 2,
        // A VM that was sent, or has arrived.
        Power::Paused | Power::Suspending | Power::Resuming => 1,
        Power::Stopped | Power::Suspended | Power::Crashed | Power::Unknown => 0,
    }
}
