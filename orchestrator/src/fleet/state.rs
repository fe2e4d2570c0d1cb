//! What one watcher heard last.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use xenith_common_ids::{SrId, VmId};
use xenith_hypervisor_agent_api::Changes;
use xenith_hypervisor_agent_types::{GuestData, HostFacts, ObservedVm, SrSpace};

use crate::by_id::{ById, HasId};

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
    /// When it was heard no more; counts only while it is not. At first when the watch began.
    silent_since: Instant,
    facts: Option<Arc<HostFacts>>,
    vms: ById<ObservedVm>,
    /// What their guests wrote, each once: most guests of a host are of a few systems.
    written: HashSet<GuestData>,
    running: RunningVms,
    agent_version: Option<String>,
    local_sr: Option<SrId>,
    last_heard: Option<OffsetDateTime>,
    srs: HashMap<SrId, Result<SeenSr, String>>,
}

/// The VMs of a host that have a domain, in sum: kept with every change, so that nobody counts them to know how full a
/// host is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunningVms {
    pub vms: u32,
    pub vcpus: u32,
}

impl RunningVms {
    fn of(vm: &ObservedVm) -> Self {
        if vm.power.has_domain() { Self { vms: 1, vcpus: vm.vcpus_online } } else { Self::default() }
    }

    fn change(&mut self, before: Option<&ObservedVm>, after: Option<&ObservedVm>) {
        let (before, after) =
            (before.map(Self::of).unwrap_or_default(), after.map(Self::of).unwrap_or_default());
        self.vms = (self.vms + after.vms).saturating_sub(before.vms);
        self.vcpus = (self.vcpus + after.vcpus).saturating_sub(before.vcpus);
    }
}

/// What was seen of an SR last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenSr {
    pub space: SrSpace,
    pub copy_on_write: bool,
}

impl HasId for ObservedVm {
    type Id = VmId;

    fn id(&self) -> VmId {
        self.vm
    }
}

impl Inner {
    /// A guest writes the same as others there: it is kept once.
    fn share_written(&mut self, data: &mut GuestData) {
        if let Some(known) = self.written.get(data) {
            data.clone_from(known);
            return;
        }
        if self.written.len() > self.vms.len() {
            self.written.retain(GuestData::is_shared);
        }
        self.written.insert(data.clone());
    }
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
    /// Other VMs have a domain than before.
    pub domains: bool,
    /// VMs of which only CPU time was told: most of what a fleet tells, and shown by no list.
    pub ran: usize,
}

impl Default for HostState {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            link: Link::Connecting,
            silent_since: Instant::now(),
            facts: None,
            vms: ById::default(),
            written: HashSet::new(),
            running: RunningVms::default(),
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

    /// How long it has not been heard, as far as this run of the orchestrator knows. `None`: it is heard.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let inner = self.lock();
        (inner.link != Link::Connected).then(|| inner.silent_since.elapsed())
    }

    #[must_use]
    pub fn vm(&self, vm: VmId) -> Option<Arc<ObservedVm>> {
        self.lock().vms.get(&vm).cloned()
    }

    #[must_use]
    pub fn vms(&self) -> Vec<Arc<ObservedVm>> {
        self.lock().vms.iter().cloned().collect()
    }

    /// The VMs that have a domain there.
    #[must_use]
    pub fn with_domain(&self) -> BTreeSet<VmId> {
        let inner = self.lock();
        inner.vms.iter().filter(|vm| vm.power.has_domain()).map(|vm| vm.vm).collect()
    }

    #[must_use]
    pub fn vm_count(&self) -> usize {
        self.lock().vms.len()
    }

    #[must_use]
    pub fn running(&self) -> RunningVms {
        self.lock().running
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

    /// Whether that is new.
    #[must_use]
    pub fn note_sr(&self, sr: SrId, seen: Result<SeenSr, String>) -> bool {
        let mut inner = self.lock();
        let news = inner.srs.get(&sr) != Some(&seen);
        inner.srs.insert(sr, seen);
        news
    }

    /// Whether that is new.
    pub(super) fn set_link(&self, link: Link) -> bool {
        let mut inner = self.lock();
        let news = inner.link != link;
        if inner.link == Link::Connected {
            inner.silent_since = Instant::now();
        }
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

    pub(super) fn apply(&self, mut changes: Changes) -> News {
        let mut news = News::default();
        let mut inner = self.lock();
        changes.vms.iter_mut().for_each(|vm| inner.share_written(&mut vm.guest.data));
        inner.last_heard = Some(OffsetDateTime::now_utc());
        if let Some(facts) = changes.host {
            inner.facts = Some(Arc::new(facts));
        }
        if changes.full {
            let listed: ById<ObservedVm> = changes.vms.into_iter().map(Arc::new).collect();
            news.gone = inner.vms.ids().filter(|vm| listed.get(vm).is_none()).collect();
            news.domains = true;
            inner.vms = listed;
            let mut running = RunningVms::default();
            inner.vms.iter().for_each(|vm| running.change(None, Some(vm)));
            inner.running = running;
            news.changed = inner.vms.iter().cloned().collect();
            news.others = true;
            return news;
        }
        for vm in changes.vms {
            let vm = Arc::new(vm);
            let before = inner.vms.insert(Arc::clone(&vm));
            inner.running.change(before.as_deref(), Some(&vm));
            news.others |= before.is_none();
            news.domains |= before.is_some_and(|before| before.power.has_domain()) != vm.power.has_domain();
            news.changed.push(vm);
        }
        for (vm, cpu_time_ns) in changes.ran {
            // The agent tells this only of VMs that it told before.
            if let Some(known) = inner.vms.get_mut(&vm) {
                Arc::make_mut(known).cpu_time_ns = cpu_time_ns;
                news.ran += 1;
            }
        }
        for vm in changes.gone {
            if let Some(before) = inner.vms.remove(&vm) {
                inner.running.change(Some(&before), None);
                news.gone.push(vm);
                news.others = true;
                news.domains |= before.power.has_domain();
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_common_ids::Generation;
    use xenith_hypervisor_agent_types::{GuestFacts, Power, test_support};

    fn told(vm: ObservedVm) -> Changes {
        Changes { vms: vec![vm], ..nothing() }
    }

    fn nothing() -> Changes {
        Changes {
            instance: "1".into(),
            generation: Generation(1),
            full: false,
            vms: vec![],
            gone: vec![],
            host: None,
            ran: vec![],
        }
    }

    fn observed() -> ObservedVm {
        test_support::observed(VmId::new(), Power::Running)
    }

    #[test]
    fn an_sr_that_looks_the_same_is_no_news() {
        let (state, sr) = (HostState::default(), SrId::new());
        let seen = |free| Ok(SeenSr { space: SrSpace { free, ..SrSpace::default() }, copy_on_write: true });
        assert!(state.note_sr(sr, seen(7)));
        assert!(!state.note_sr(sr, seen(7)));
        assert!(state.note_sr(sr, seen(6)));
        assert!(state.note_sr(sr, Err("it is gone".to_owned())));
        assert!(!state.note_sr(sr, Err("it is gone".to_owned())));
    }

    #[test]
    fn cpu_time_alone_is_no_news() {
        let vm = observed();
        let state = HostState::default();
        assert!(state.apply(told(vm.clone())).others);
        let seen = state.vm(vm.vm).unwrap();
        let news = state.apply(Changes { ran: vec![(vm.vm, 9), (VmId::new(), 1)], ..nothing() });
        assert_eq!((news.changed.len(), news.ran, news.others), (0, 1, false));
        assert_eq!(state.vm(vm.vm).unwrap().cpu_time_ns, 9);
        assert_eq!(seen.cpu_time_ns, 7, "what somebody holds does not change");
        let paused = ObservedVm { power: Power::Paused, ..vm.clone() };
        let news = state.apply(told(paused.clone()));
        assert_eq!((news.changed.len(), news.ran, news.others), (1, 0, false));
        assert_eq!(*state.vm(vm.vm).unwrap(), paused);
        assert!(!news.domains && state.with_domain() == BTreeSet::from([vm.vm]), "it has its domain still");
        for (power, domains) in [(Power::Stopped, true), (Power::Crashed, false), (Power::Starting, true)] {
            assert_eq!(state.apply(told(ObservedVm { power, ..vm.clone() })).domains, domains, "{power}");
        }
        assert!(state.apply(Changes { gone: vec![vm.vm], ..nothing() }).domains);
        assert_eq!(state.with_domain(), BTreeSet::new());
    }

    #[test]
    fn what_guests_write_alike_is_kept_once_and_goes_with_the_last() {
        let writing = |vm: ObservedVm, kernel: &str| {
            let data = [("os_distro", "debian"), ("os_uname", kernel)].into_iter().collect();
            ObservedVm { guest: GuestFacts { data, ..vm.guest.clone() }, ..vm }
        };
        let (web, db, state) = (observed(), observed(), HostState::default());
        let kinds = || state.lock().written.len();
        let vms = vec![writing(web.clone(), "6.1"), writing(db.clone(), "6.1")];
        state.apply(Changes { full: true, vms, ..nothing() });
        assert_eq!(kinds(), 1);
        for kernel in 2..50 {
            let kernel = format!("6.{kernel}");
            state.apply(told(writing(web.clone(), &kernel)));
            let data = |vm: VmId| state.vm(vm).unwrap().guest.data.clone();
            assert_eq!(
                (data(web.vm).get("os_uname"), data(db.vm).get("os_uname")),
                (Some(&*kernel), Some("6.1"))
            );
            assert!(kinds() <= 4, "{} are kept of two guests", kinds());
        }
    }

    #[test]
    fn the_sum_of_what_runs_follows_every_change() {
        let vm = |power: Power, vcpus_online: u32| ObservedVm { power, vcpus_online, ..observed() };
        let (web, db) = (vm(Power::Running, 2), vm(Power::Running, 4));
        let (stopped, grown) = (
            ObservedVm { power: Power::Stopped, ..db.clone() },
            ObservedVm { vcpus_online: 3, ..web.clone() },
        );
        let state = HostState::default();
        let all = Changes { full: true, vms: vec![web.clone(), db.clone()], ..nothing() };
        for (case, changes, expected) in [
            ("a list", all.clone(), (2, 6)),
            ("the same again", all, (2, 6)),
            ("one stops", told(stopped), (1, 2)),
            ("one gets a virtual CPU", told(grown), (1, 3)),
            ("the other starts", told(db.clone()), (2, 7)),
            ("it is gone", Changes { gone: vec![db.vm], ..nothing() }, (1, 3)),
            ("it is gone once", Changes { gone: vec![db.vm], ..nothing() }, (1, 3)),
            ("nothing is left", Changes { full: true, ..nothing() }, (0, 0)),
        ] {
            state.apply(changes);
            let RunningVms { vms, vcpus } = state.running();
            assert_eq!((vms, vcpus), expected, "{case}");
        }
    }
}
