//! What this host looks like, with a generation number for every change.
//!
//! Nothing is queued for subscribers: each keeps the generation that it has seen and collects what changed
//! since, so a slow one gets fewer, merged changes and costs no memory. The work of a collection follows the
//! number of changes, not the number of VMs. Removals are remembered for the last [`TOMBSTONES`]; who is
//! further behind, or comes from another run of the agent, gets the full list.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;
use xenith_common_ids::{Generation, VmId};
use xenith_hypervisor_agent_api::Changes;
use xenith_hypervisor_agent_types::{DomainInfo, DomainStatus, HostFacts, ObservedVm, Power};

const TOMBSTONES: usize = 4096;

#[derive(Debug, Clone)]
enum Entry {
    Vm(VmId),
    Gone(VmId),
    Host,
}

/// A VM as it was told last.
#[derive(Debug)]
struct Told {
    /// Its entry in the log.
    at: u64,
    /// When more than its CPU time changed. Who has seen that is told the CPU time alone.
    changed: u64,
    vm: Arc<ObservedVm>,
}

#[derive(Debug, Default)]
struct Inner {
    generation: u64,
    /// Every entry is the newest of its VM.
    log: BTreeMap<u64, Entry>,
    vms: HashMap<VmId, Told>,
    host: Option<(u64, Arc<HostFacts>)>,
    gone: BTreeMap<u64, VmId>,
    /// Removals up to this generation are forgotten.
    forgotten: u64,
}

/// Shared by the owners (who write) and the watch streams (who read).
#[derive(Debug)]
pub struct Publisher {
    instance: String,
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

impl Publisher {
    #[must_use]
    pub fn new() -> Self {
        let instance = Uuid::new_v4().simple().to_string();
        Self { instance, inner: Mutex::default(), changed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a VM as it is now; nothing happens when it is as it was.
    pub fn publish(&self, mut vm: ObservedVm) {
        let mut inner = self.lock();
        let id = vm.vm;
        let known = inner.vms.get(&id).map(|known| (known.at, known.changed, Arc::clone(&known.vm)));
        // Its owner was told nothing while it only ran.
        if let Some((.., known)) = known.as_ref().filter(|(.., known)| known.domid == vm.domid) {
            vm.cpu_time_ns = vm.cpu_time_ns.max(known.cpu_time_ns);
        }
        if known.as_ref().is_some_and(|(.., known)| **known == vm) {
            return;
        }
        let at = inner.next(Entry::Vm(id));
        let mut changed = at;
        if let Some((before, since, known)) = known {
            inner.log.remove(&before);
            if known.only_ran(&vm) {
                changed = since;
            }
        }
        inner.vms.insert(id, Told { at, changed, vm: Arc::new(vm) });
        self.changed.send_replace(at);
    }

    /// Takes of the domains those that are as they were told, but for the CPU time that they used meanwhile: that is
    /// published. What is left is for their owners.
    pub fn take_what_only_ran(&self, domains: &mut Vec<DomainInfo>) {
        let mut inner = self.lock();
        let before = inner.generation;
        domains.retain(|info| !inner.only_ran(info));
        if inner.generation > before {
            self.changed.send_replace(inner.generation);
        }
    }

    pub fn remove(&self, vm: VmId) {
        let mut inner = self.lock();
        let Some(told) = inner.vms.remove(&vm) else { return };
        inner.log.remove(&told.at);
        let at = inner.next(Entry::Gone(vm));
        inner.gone.insert(at, vm);
        if inner.gone.len() > TOMBSTONES
            && let Some((oldest, _)) = inner.gone.pop_first()
        {
            inner.log.remove(&oldest);
            inner.forgotten = oldest;
        }
        self.changed.send_replace(at);
    }

    pub fn publish_host(&self, host: HostFacts) {
        let mut inner = self.lock();
        if inner.host.as_ref().is_some_and(|(_, known)| **known == host) {
            return;
        }
        let at = inner.next(Entry::Host);
        if let Some((before, _)) = inner.host.replace((at, Arc::new(host))) {
            inner.log.remove(&before);
        }
        self.changed.send_replace(at);
    }

    #[must_use]
    pub fn vm(&self, vm: VmId) -> Option<Arc<ObservedVm>> {
        self.lock().vms.get(&vm).map(|told| Arc::clone(&told.vm))
    }

    #[must_use]
    pub fn host(&self) -> Option<Arc<HostFacts>> {
        self.lock().host.as_ref().map(|(_, host)| Arc::clone(host))
    }

    /// A stream of changes for one subscriber.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, instance: &str, since: Generation) -> Subscription {
        let seen = (instance == self.instance).then_some(since.0);
        Subscription { publisher: Arc::clone(self), seen, changed: self.changed.subscribe() }
    }

    fn collect(&self, seen: Option<u64>) -> Changes {
        let inner = self.lock();
        let since = seen.filter(|seen| *seen >= inner.forgotten && *seen <= inner.generation);
        let mut changes = Changes {
            instance: self.instance.clone(),
            generation: Generation(inner.generation),
            full: since.is_none(),
            vms: Vec::new(),
            gone: Vec::new(),
            host: None,
            ran: Vec::new(),
        };
        match since {
            None => {
                changes.vms = inner.vms.values().map(|told| ObservedVm::clone(&told.vm)).collect();
                changes.host = inner.host.as_ref().map(|(_, host)| HostFacts::clone(host));
            }
            Some(since) => {
                for entry in inner.log.range(since + 1..).map(|(_, entry)| entry) {
                    match entry {
                        Entry::Vm(vm) => match inner.vms.get(vm) {
                            Some(told) if told.changed <= since => {
                                changes.ran.push((*vm, told.vm.cpu_time_ns));
                            }
                            told => changes.vms.extend(told.map(|told| ObservedVm::clone(&told.vm))),
                        },
                        // It may be there again.
                        Entry::Gone(vm) if inner.vms.contains_key(vm) => {}
                        Entry::Gone(vm) => changes.gone.push(*vm),
                        Entry::Host => {
                            changes.host = inner.host.as_ref().map(|(_, host)| HostFacts::clone(host));
                        }
                    }
                }
            }
        }
        changes
    }
}

impl Inner {
    /// `false`: there is more to it.
    fn only_ran(&mut self, info: &DomainInfo) -> bool {
        let Some(identity) = info.identity else { return false };
        let power = match info.status {
            DomainStatus::Running => Power::Running,
            DomainStatus::Paused => Power::Paused,
            DomainStatus::Dead(_) | DomainStatus::Dying => return false,
        };
        let is_as_told = |vm: &ObservedVm| {
            vm.managed
                && (vm.domid, vm.incarnation, vm.power)
                    == (Some(info.domid), Some(identity.incarnation), power)
                && (vm.memory, vm.vcpus_online) == (info.memory, info.vcpus_online)
        };
        let Some(told) = self.vms.get_mut(&identity.vm).filter(|told| is_as_told(&told.vm)) else {
            return false;
        };
        if told.vm.cpu_time_ns < info.cpu_time_ns {
            self.generation += 1;
            self.log.remove(&told.at);
            self.log.insert(self.generation, Entry::Vm(identity.vm));
            told.at = self.generation;
            Arc::make_mut(&mut told.vm).cpu_time_ns = info.cpu_time_ns;
        }
        true
    }

    fn next(&mut self, entry: Entry) -> u64 {
        self.generation += 1;
        self.log.insert(self.generation, entry);
        self.generation
    }
}

/// One subscriber's place.
#[derive(Debug)]
pub struct Subscription {
    publisher: Arc<Publisher>,
    seen: Option<u64>,
    changed: watch::Receiver<u64>,
}

impl Subscription {
    /// Waits until there is something new and returns all of it. Safe to drop while it waits.
    pub async fn next(&mut self) -> Changes {
        loop {
            let newest = *self.changed.borrow_and_update();
            if self.seen.is_none_or(|seen| seen != newest) {
                return self.now();
            }
            // An error says that the publisher is gone; it is not, we hold it.
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is new, which may be nothing: a heartbeat.
    pub fn now(&mut self) -> Changes {
        let changes = self.publisher.collect(self.seen);
        self.seen = Some(changes.generation.0);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_common_ids::{DomId, IncarnationId};
    use xenith_common_units::MemoryMiB;
    use xenith_hypervisor_agent_types::test_support::observed;
    use xenith_hypervisor_agent_types::{DeathReason, DomainIdentity, PlatformKind};

    /// As the domain of a test below is.
    fn vm(vm: VmId, power: Power) -> ObservedVm {
        ObservedVm { memory: MemoryMiB::default(), cpu_time_ns: 0, ..observed(vm, power) }
    }

    #[tokio::test]
    async fn changes_are_merged_and_never_lost() {
        let publisher = Arc::new(Publisher::new());
        let (a, b) = (VmId::new(), VmId::new());
        publisher.publish(vm(a, Power::Stopped));
        let mut subscription = publisher.subscribe("", Generation(0));
        let first = subscription.next().await;
        assert!(first.full && first.vms.len() == 1);

        publisher.publish(vm(a, Power::Starting));
        publisher.publish(vm(b, Power::Stopped));
        publisher.publish(vm(a, Power::Running));
        let second = subscription.next().await;
        assert!(!second.full);
        assert_eq!(second.vms.iter().map(|v| v.power).collect::<Vec<_>>(), [Power::Stopped, Power::Running]);

        publisher.publish(vm(a, Power::Running));
        publisher.remove(b);
        let third = subscription.next().await;
        assert_eq!((third.vms.len(), third.gone), (0, vec![b]));

        let mut again = publisher.subscribe(&third.instance, third.generation);
        assert_eq!(again.now().vms.len(), 0);
        let mut stranger = publisher.subscribe("another run", third.generation);
        assert!(stranger.next().await.full);
    }

    #[tokio::test]
    async fn a_vm_that_only_ran_is_told_in_a_few_bytes_to_who_knows_the_rest() {
        let publisher = Arc::new(Publisher::new());
        let id = VmId::new();
        let at = |cpu_time_ns| ObservedVm { cpu_time_ns, ..vm(id, Power::Running) };
        publisher.publish(at(1));
        let mut subscription = publisher.subscribe("", Generation(0));
        let first = subscription.next().await;
        publisher.publish(at(2));
        publisher.publish(at(3));
        let second = subscription.next().await;
        assert_eq!((second.vms.len(), second.ran), (0, vec![(id, 3)]));

        // Who missed the change in between is told all of it, however often it only ran since.
        publisher.publish(ObservedVm { vcpus_online: 2, ..at(4) });
        publisher.publish(ObservedVm { vcpus_online: 2, ..at(5) });
        let third = subscription.next().await;
        assert_eq!((third.vms.len(), third.ran.len()), (1, 0));
        assert_eq!((third.vms[0].vcpus_online, third.vms[0].cpu_time_ns), (2, 5));
        let mut late = publisher.subscribe(&first.instance, first.generation);
        assert_eq!(late.now().vms.len(), 1);
    }

    #[tokio::test]
    async fn owners_hear_of_no_domain_that_only_ran() {
        let publisher = Arc::new(Publisher::new());
        let (id, incarnation, domid) = (VmId::new(), IncarnationId::new(), DomId(7));
        let told =
            ObservedVm { incarnation: Some(incarnation), domid: Some(domid), ..vm(id, Power::Running) };
        publisher.publish(told.clone());
        let mut subscription = publisher.subscribe("", Generation(0));
        subscription.next().await;
        let seen = |cpu_time_ns| DomainInfo {
            domid,
            uuid: id.into(),
            name: "v".into(),
            identity: Some(DomainIdentity { vm: id, incarnation }),
            status: DomainStatus::Running,
            kind: PlatformKind::Pv,
            memory: MemoryMiB::default(),
            memory_max: MemoryMiB::default(),
            vcpus_online: 1,
            cpu_time_ns,
            created: None,
        };
        let left = |info: DomainInfo| {
            let mut domains = vec![info];
            publisher.take_what_only_ran(&mut domains);
            domains.len()
        };
        assert_eq!(left(seen(5)), 0);
        let changes = subscription.next().await;
        assert_eq!((changes.vms.len(), changes.ran), (0, vec![(id, 5)]));
        // An older look tells nothing, and what its owner knows of its CPU time is older, too.
        assert_eq!(left(seen(4)), 0);
        publisher.publish(ObservedVm { vcpus_online: 2, ..told.clone() });
        assert_eq!(subscription.next().await.vms[0].cpu_time_ns, 5);
        publisher.publish(told.clone());
        // Another run counts from nothing.
        publisher.publish(ObservedVm { domid: Some(DomId(8)), ..told.clone() });
        assert_eq!(publisher.vm(id).unwrap().cpu_time_ns, 0);
        publisher.publish(told);

        let stranger = DomainIdentity { vm: VmId::new(), incarnation };
        for other in [
            DomainInfo { status: DomainStatus::Paused, ..seen(6) },
            DomainInfo { status: DomainStatus::Dead(DeathReason::Crash), ..seen(6) },
            DomainInfo { domid: DomId(8), ..seen(6) },
            DomainInfo { vcpus_online: 2, ..seen(6) },
            DomainInfo { memory: MemoryMiB::from_bytes_floor(1 << 30), ..seen(6) },
            DomainInfo { identity: Some(stranger), ..seen(6) },
            DomainInfo { identity: None, ..seen(6) },
        ] {
            assert_eq!(left(other.clone()), 1, "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_vm_that_came_back_is_not_told_gone() {
        let publisher = Arc::new(Publisher::new());
        let id = VmId::new();
        publisher.publish(vm(id, Power::Stopped));
        let mut subscription = publisher.subscribe("", Generation(0));
        subscription.next().await;
        publisher.remove(id);
        publisher.publish(vm(id, Power::Stopped));
        let changes = subscription.next().await;
        assert_eq!((changes.vms.len(), changes.gone.len()), (1, 0));
    }

    #[tokio::test]
    async fn who_missed_too_many_removals_reads_again() {
        let publisher = Arc::new(Publisher::new());
        let mut subscription = publisher.subscribe("", Generation(0));
        assert!(subscription.now().full);
        for _ in 0..=TOMBSTONES {
            let id = VmId::new();
            publisher.publish(vm(id, Power::Stopped));
            publisher.remove(id);
        }
        assert!(subscription.next().await.full);
    }
}
