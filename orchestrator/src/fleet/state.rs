//! What one watcher heard last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;
use xenith_common_ids::{SrId, VmId};
use xenith_hypervisor_agent_api::Changes;
use xenith_hypervisor_agent_types::{HostFacts, ObservedVm, SrSpace};

/// Whether the host is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Not reached since the orchestrator started.
    Connecting,
    Connected,
    /// Was heard, or should have been, and is not.
    Lost {
        why: String,
    },
}

#[derive(Debug)]
struct Inner {
    link: Link,
    facts: Option<Arc<HostFacts>>,
    vms: HashMap<VmId, Arc<ObservedVm>>,
    agent_version: Option<String>,
    local_sr: Option<SrId>,
    last_heard: Option<OffsetDateTime>,
    srs: HashMap<SrId, Result<SeenSr, String>>,
}

/// What was seen of an SR last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenSr {
    pub space: SrSpace,
    pub copy_on_write: bool,
}

/// Read by many, written by the watcher only.
#[derive(Debug)]
pub struct HostState(Mutex<Inner>);

/// What of a message is news.
#[derive(Debug, Default)]
pub struct News {
    pub changed: Vec<Arc<ObservedVm>>,
    pub gone: Vec<VmId>,
    /// There are more or other VMs than before.
    pub others: bool,
    /// VMs of which only CPU time was told: most of what a fleet tells, and shown by no list.
    pub ran: usize,
}

/// Takes what was told of a VM if nothing but its CPU time has changed. Whether it was so.
fn only_ran(known: &mut Arc<ObservedVm>, told: &ObservedVm) -> bool {
    // Every field by its name: a new one must be thought of here.
    let ObservedVm {
        vm,
        name,
        power,
        kind,
        managed,
        definition,
        incarnation,
        domid,
        memory,
        vcpus_online,
        cpu_time_ns,
        started,
        last_death,
        failure,
        guest,
    } = told;
    let same = known.vm == *vm
        && known.power == *power
        && known.kind == *kind
        && known.managed == *managed
        && known.definition == *definition
        && known.incarnation == *incarnation
        && known.domid == *domid
        && known.memory == *memory
        && known.vcpus_online == *vcpus_online
        && known.started == *started
        && known.last_death == *last_death
        && known.name == *name
        && known.failure == *failure
        && known.guest == *guest;
    if same {
        Arc::make_mut(known).cpu_time_ns = *cpu_time_ns;
    }
    same
}

impl Default for HostState {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            link: Link::Connecting,
            facts: None,
            vms: HashMap::new(),
            agent_version: None,
            local_sr: None,
            last_heard: None,
            srs: HashMap::new(),
        }))
    }
}

impl HostState {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn link(&self) -> Link {
        self.lock().link.clone()
    }

    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.lock().link == Link::Connected
    }

    #[must_use]
    pub fn vm(&self, vm: VmId) -> Option<Arc<ObservedVm>> {
        self.lock().vms.get(&vm).cloned()
    }

    #[must_use]
    pub fn vms(&self) -> Vec<Arc<ObservedVm>> {
        self.lock().vms.values().cloned().collect()
    }

    #[must_use]
    pub fn vm_count(&self) -> usize {
        self.lock().vms.len()
    }

    #[must_use]
    pub fn facts(&self) -> Option<Arc<HostFacts>> {
        self.lock().facts.clone()
    }

    #[must_use]
    pub fn agent_version(&self) -> Option<String> {
        self.lock().agent_version.clone()
    }

    #[must_use]
    pub fn local_sr(&self) -> Option<SrId> {
        self.lock().local_sr
    }

    #[must_use]
    pub fn last_heard(&self) -> Option<OffsetDateTime> {
        self.lock().last_heard
    }

    /// `Err`: why it cannot be used.
    #[must_use]
    pub fn sr(&self, sr: SrId) -> Option<Result<SeenSr, String>> {
        self.lock().srs.get(&sr).cloned()
    }

    pub fn note_sr(&self, sr: SrId, seen: Result<SeenSr, String>) {
        self.lock().srs.insert(sr, seen);
    }

    /// Whether that is new.
    pub(super) fn set_link(&self, link: Link) -> bool {
        let mut inner = self.lock();
        let news = inner.link != link;
        inner.link = link;
        news
    }

    pub(super) fn greet(&self, version: String, local_sr: SrId, facts: HostFacts) {
        let mut inner = self.lock();
        inner.agent_version = Some(version);
        inner.local_sr = Some(local_sr);
        inner.facts = Some(Arc::new(facts));
        inner.last_heard = Some(OffsetDateTime::now_utc());
    }

    pub(super) fn apply(&self, changes: Changes) -> News {
        let mut news = News::default();
        let mut inner = self.lock();
        inner.last_heard = Some(OffsetDateTime::now_utc());
        if let Some(facts) = changes.host {
            inner.facts = Some(Arc::new(facts));
        }
        if changes.full {
            let listed: HashMap<VmId, ObservedVm> = changes.vms.into_iter().map(|vm| (vm.vm, vm)).collect();
            news.gone = inner.vms.keys().filter(|vm| !listed.contains_key(vm)).copied().collect();
            inner.vms = listed.into_iter().map(|(id, vm)| (id, Arc::new(vm))).collect();
            news.changed = inner.vms.values().cloned().collect();
            news.others = true;
            return news;
        }
        for vm in changes.vms {
            if inner.vms.get_mut(&vm.vm).is_some_and(|known| only_ran(known, &vm)) {
                news.ran += 1;
                continue;
            }
            let vm = Arc::new(vm);
            news.others |= inner.vms.insert(vm.vm, Arc::clone(&vm)).is_none();
            news.changed.push(vm);
        }
        for vm in changes.gone {
            if inner.vms.remove(&vm).is_some() {
                news.gone.push(vm);
                news.others = true;
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_common_ids::{DomId, Generation, IncarnationId};
    use xenith_common_units::MemoryMiB;
    use xenith_hypervisor_agent_types::{DeathReason, GuestFacts, PlatformKind, Power, VmFailure};

    fn told(vm: ObservedVm) -> Changes {
        Changes {
            instance: "1".into(),
            generation: Generation(1),
            full: false,
            vms: vec![vm],
            gone: vec![],
            host: None,
        }
    }

    #[test]
    fn cpu_time_alone_is_no_news_and_everything_else_is() {
        let vm = ObservedVm {
            vm: VmId::new(),
            name: "web-1".into(),
            power: Power::Running,
            kind: PlatformKind::Pvh,
            managed: true,
            definition: 1,
            incarnation: None,
            domid: None,
            memory: MemoryMiB::from_bytes_floor(1 << 30),
            vcpus_online: 1,
            cpu_time_ns: 7,
            started: None,
            last_death: None,
            failure: None,
            guest: GuestFacts::default(),
        };
        let state = HostState::default();
        assert!(state.apply(told(vm.clone())).others);
        let seen = state.vm(vm.vm).unwrap();
        let news = state.apply(told(ObservedVm { cpu_time_ns: 9, ..vm.clone() }));
        assert_eq!((news.changed.len(), news.ran, news.others), (0, 1, false));
        assert_eq!(state.vm(vm.vm).unwrap().cpu_time_ns, 9);
        assert_eq!(seen.cpu_time_ns, 7, "what somebody holds does not change");
        let at = OffsetDateTime::UNIX_EPOCH;
        for changed in [
            ObservedVm { name: "web-2".into(), ..vm.clone() },
            ObservedVm { power: Power::Paused, ..vm.clone() },
            ObservedVm { kind: PlatformKind::Pv, ..vm.clone() },
            ObservedVm { managed: false, ..vm.clone() },
            ObservedVm { definition: 2, ..vm.clone() },
            ObservedVm { incarnation: Some(IncarnationId::new()), ..vm.clone() },
            ObservedVm { domid: Some(DomId(3)), ..vm.clone() },
            ObservedVm { memory: MemoryMiB::default(), ..vm.clone() },
            ObservedVm { vcpus_online: 2, ..vm.clone() },
            ObservedVm { started: Some(at), ..vm.clone() },
            ObservedVm { last_death: Some(DeathReason::Crash), ..vm.clone() },
            ObservedVm { failure: Some(VmFailure { at, message: String::new() }), ..vm.clone() },
            ObservedVm {
                guest: GuestFacts { os: Some("Debian".into()), ..GuestFacts::default() },
                ..vm.clone()
            },
        ] {
            state.apply(told(vm.clone()));
            let news = state.apply(told(changed.clone()));
            assert_eq!((news.changed.len(), news.ran), (1, 0), "{changed:?}");
            assert_eq!(*state.vm(vm.vm).unwrap(), changed);
        }
    }
}
