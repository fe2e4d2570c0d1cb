//! All VMs of this host: who owns which, and who is told what the hypervisor says.
//!
//! Domains that no journal knows are listed as unmanaged and never touched. The list of domains is read after
//! events and every [`Settings::sample`], which also repairs events that were lost. Whose a domain is, its UUID says: what
//! xenstore has lost makes no VM look stopped ([`crate::vm::adopt`]). A list that cannot be read says nothing: the agent does
//! not start on it, and what was known before stays.

mod leases;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;
use xenith_common_ids::{DomId, OperationId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_api::{CommandResult, VmAction};
use xenith_hypervisor_agent_backend::{DomainEvent, DomainEventKind, DomainEvents};
use xenith_hypervisor_agent_types::{
    DomainInfo, DomainStatus, Fault, FaultReason, GuestFacts, HostHardware, ObservedVm, Power,
};

use crate::fault::{from_hypervisor, from_journal};
use crate::journal::{Journal, JournalError, VmRecord};
use crate::migration::arrive::Arriving;
use crate::progress::Progress;
use crate::vm::adopt::{Adoption, Image, adopt, domain_of};
use crate::vm::owner::{Message, Owner, QUEUE, Shared};
use crate::vm::state::Settled;

/// Which VM has which domain now. Written by the owners.
#[derive(Debug, Clone, Default)]
pub struct Domids(Arc<Domains>);

#[derive(Debug, Default)]
struct Domains {
    of_vm: Mutex<HashMap<VmId, DomId>>,
    /// A VM has another domain, or none.
    changed: Notify,
}

impl Domids {
    fn lock(&self) -> MutexGuard<'_, HashMap<VmId, DomId>> {
        self.0.of_vm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, vm: VmId, domid: Option<DomId>) {
        let before = match domid {
            Some(domid) => self.lock().insert(vm, domid),
            None => self.lock().remove(&vm),
        };
        if before != domid {
            self.0.changed.notify_waiters();
        }
    }

    /// The domain that a VM has now.
    #[must_use]
    pub fn get(&self, vm: VmId) -> Option<DomId> {
        self.lock().get(&vm).copied()
    }

    /// Waits until a VM has another domain than `last`.
    pub async fn after(&self, vm: VmId, last: DomId) -> DomId {
        loop {
            // Before the look, so that a change right after it is not missed.
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(domid) = self.get(vm).filter(|domid| *domid != last) {
                return domid;
            }
            changed.await;
        }
    }

    fn snapshot(&self) -> HashMap<DomId, VmId> {
        let domids = self.lock();
        domids.iter().map(|(vm, domid)| (*domid, *vm)).collect()
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How often the list of domains and the host's facts are read when nothing happens.
    pub sample: Duration,
    /// How often what the host counts is sampled.
    pub metrics: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sample: Duration::from_secs(10), metrics: Duration::from_secs(5) }
    }
}

/// How long events are collected before the list is read for all of them: a hundred starts at once are a
/// hundred events, and a list costs as much as there are domains.
const BURST: Duration = Duration::from_millis(100);

/// How long one order may hold up the next: a start that hangs is no reason to leave the others off.
const AUTOSTART_PATIENCE: Duration = Duration::from_secs(120);

/// What an event leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    /// Its VM was told.
    Told,
    List,
}

pub struct Registry {
    shared: Arc<Shared>,
    tasks: TaskSet,
    owners: Mutex<HashMap<VmId, mpsc::Sender<Message>>>,
    /// `None`: the domains were not listed yet.
    unmanaged: Mutex<Option<BTreeSet<VmId>>>,
    /// VMs whose records cannot be read. What these say, such as that a VM is suspended, holds.
    unreadable: Mutex<BTreeSet<VmId>>,
    /// Held while a VM gets its owner, so that it gets one only.
    defining: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Adopts what is there, then follows the hypervisor until `tasks` end.
    pub async fn start(shared: Arc<Shared>, tasks: TaskSet, settings: Settings) -> Result<Arc<Self>, Fault> {
        let registry = Arc::new(Self {
            shared,
            tasks,
            owners: Mutex::default(),
            unmanaged: Mutex::default(),
            unreadable: Mutex::default(),
            defining: tokio::sync::Mutex::default(),
        });
        let events = registry.shared.driver.hypervisor.events();
        registry.adopt_all().await?;
        registry.refresh().await;
        let follower = Arc::clone(&registry);
        registry.tasks.spawn("domain-watcher", follower.watch_domains(events, settings.sample));
        registry.tasks.spawn("lease-keeper", Arc::clone(&registry).keep_leases());
        Ok(registry)
    }

    async fn watch_domains(self: Arc<Self>, mut events: DomainEvents, sample: Duration) {
        let token = self.tasks.token();
        let mut next_list = Instant::now() + sample;
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                event = events.next() => match event {
                    Some(event) => if self.follow(event).await == Follow::List {
                        next_list = next_list.min(Instant::now() + BURST);
                    },
                    None => break,
                },
                () = sleep_until(next_list) => {
                    self.refresh().await;
                    next_list = Instant::now() + sample;
                }
            }
        }
        // The owners end when their queues close; their domains stay.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn adopt_all(self: &Arc<Self>) -> Result<(), Fault> {
        let journal = self.shared.driver.journal.clone();
        let load = move || {
            // In the way of nothing but the room that they take.
            if let Err(error) = journal.clear_partial_images() {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what suspends have left half stays"
                );
            }
            let (records, broken) = journal.load()?;
            // Before any VM gets its owner: where one cannot be told, none is touched.
            let with_image = |record: VmRecord| image_of(&journal, record.vm).map(|image| (image, record));
            let records: Vec<_> = records.into_iter().map(with_image).collect::<Result<_, JournalError>>()?;
            Ok::<_, JournalError>((records, broken))
        };
        let (records, broken) = tokio::task::spawn_blocking(load)
            .await
            .map_err(|error| Fault::new(FaultReason::Internal, error))?
            .map_err(|error| from_journal(&error))?;
        for error in &broken {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a VM's record cannot be read; it is left alone"
            );
        }
        let unreadable = broken.iter().filter_map(JournalError::vm).collect();
        *self.unreadable.lock().unwrap_or_else(PoisonError::into_inner) = unreadable;
        let domains = self.domains().await?;
        for (image, mut record) in records {
            let adoption = self.adopt(&mut record, image, &domains);
            if adoption.settled != Settled::Suspended && image == Image::Present {
                self.drop_image(record.vm).await;
            }
            self.spawn_owner(record, adoption);
        }
        Ok(())
    }

    fn adopt(&self, record: &mut VmRecord, image: Image, domains: &[DomainInfo]) -> Adoption {
        let domain = domain_of(record, domains);
        let mut adoption = adopt(record, domain, image);
        if self.shared.ha.leaves_starts() {
            adoption.leave_starts();
        }
        tracing::info!(vm = %record.vm, name = %record.spec.get().name, ?adoption, "adopted");
        adoption
    }

    /// An image that is a leftover: it would not be resumed, but takes room.
    async fn drop_image(&self, vm: VmId) {
        let journal = self.shared.driver.journal.clone();
        let removed = tokio::task::spawn_blocking(move || journal.remove_image(vm)).await;
        if !matches!(removed, Ok(Ok(()))) {
            tracing::warn!(%vm, "an old image of its memory cannot be removed");
        }
    }

    async fn domains(&self) -> Result<Vec<DomainInfo>, Fault> {
        self.shared.driver.hypervisor.domains().await.map_err(|error| from_hypervisor(&error))
    }

    fn spawn_owner(&self, record: VmRecord, adoption: Adoption) -> mpsc::Sender<Message> {
        let vm = record.vm;
        let (sender, queue) = mpsc::channel(QUEUE);
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).insert(vm, sender.clone());
        let owner = Owner::new(Arc::clone(&self.shared), record, adoption, queue);
        self.tasks.spawn("vm", owner.run());
        sender
    }

    fn owner(&self, vm: VmId) -> Option<mpsc::Sender<Message>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(&vm).cloned()
    }

    /// What the host has that VMs can be bound to.
    pub async fn hardware(&self) -> Result<HostHardware, Fault> {
        self.shared.driver.hypervisor.hardware().await.map_err(|error| from_hypervisor(&error))
    }

    /// All that are defined here. Of an agent that stops, none.
    #[must_use]
    pub fn vms(&self) -> Vec<VmId> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Does one thing with one VM and returns when it is done.
    pub async fn execute(
        self: &Arc<Self>,
        vm: VmId,
        operation: OperationId,
        action: VmAction,
    ) -> Result<CommandResult, Fault> {
        self.execute_with(vm, (operation, action), Arc::default()).await
    }

    /// The same, telling how far it is where that takes long.
    pub async fn execute_with(
        self: &Arc<Self>,
        vm: VmId,
        (operation, action): (OperationId, VmAction),
        progress: Arc<Progress>,
    ) -> Result<CommandResult, Fault> {
        let owner = match (self.owner(vm), &action) {
            (Some(owner), _) => owner,
            (None, VmAction::Define { definition, spec }) => {
                self.first_definition(VmRecord::new(vm, *definition, (**spec).clone())).await?
            }
            (None, VmAction::Forget) => return Ok(CommandResult::Nothing),
            (None, _) => return Err(not_defined(vm)),
        };
        let forget = action == VmAction::Forget;
        let result = ask(&owner, |reply| Message::Command { operation, action, progress, reply }).await;
        if forget && result.is_ok() {
            self.owners.lock().unwrap_or_else(PoisonError::into_inner).remove(&vm);
            self.shared.domids.set(vm, None);
            self.shared.in_use.set(vm, Vec::new());
        }
        result
    }

    /// Builds a VM that is defined here from what another host sends.
    pub async fn receive(&self, vm: VmId, arriving: Arriving) -> Result<(), Fault> {
        let owner = self.owner(vm).ok_or_else(|| not_defined(vm))?;
        let arriving = Box::new(arriving);
        ask(&owner, |reply| Message::Arrive { arriving, reply }).await.map(drop)
    }

    /// It may have a domain all the same, when its record was lost: that one is adopted.
    async fn first_definition(&self, mut record: VmRecord) -> Result<mpsc::Sender<Message>, Fault> {
        let _one_at_a_time = self.defining.lock().await;
        if let Some(owner) = self.owner(record.vm) {
            return Ok(owner);
        }
        let domains = self.domains().await?;
        let vm = record.vm;
        // One that cannot be read is left alone also now: it says what was suspended, and what runs elsewhere.
        match self.shared.driver.in_journal(move |journal| journal.load_vm(vm)).await? {
            // Put back since the agent started.
            Some(known) => record = known,
            None => self.shared.driver.save(&record).await?,
        }
        let image = self.shared.driver.in_journal(move |journal| image_of(journal, vm)).await?;
        let adoption = self.adopt(&mut record, image, &domains);
        let owner = self.spawn_owner(record, adoption);
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).remove(&vm);
        Ok(owner)
    }

    async fn follow(&self, event: DomainEvent) -> Follow {
        let vm = match event.kind {
            DomainEventKind::Died(_) => match self.shared.driver.hypervisor.domain(event.domid).await {
                Ok(info) => Some(info.vm()).filter(|vm| self.owner(*vm).is_some()),
                Err(_) => None,
            },
            _ => self.shared.domids.snapshot().get(&event.domid).copied(),
        };
        let message = match (event.kind, vm) {
            (DomainEventKind::Died(reason), Some(_)) => Message::Died { domid: event.domid, reason },
            (DomainEventKind::Gone, Some(_)) => Message::Missing(event.domid),
            _ => return Follow::List,
        };
        if let Some(owner) = vm.and_then(|vm| self.owner(vm)) {
            // A full queue loses nothing: the next sample says the same.
            let _next_sample_repeats = owner.try_send(message);
        }
        Follow::Told
    }

    /// Reads the list of domains and tells everybody what concerns them.
    async fn refresh(&self) {
        let known = self.shared.domids.snapshot();
        let mut domains = match self.domains().await {
            Ok(domains) => domains,
            Err(fault) => return tracing::warn!(%fault, "the list of domains cannot be read"),
        };
        let listed: BTreeSet<DomId> = domains.iter().map(|info| info.domid).collect();
        for (domid, vm) in known.iter().filter(|(domid, _)| !listed.contains(domid)) {
            if let Some(owner) = self.owner(*vm) {
                let _next_sample_repeats = owner.try_send(Message::Missing(*domid));
            }
        }
        let mut unmanaged = BTreeSet::new();
        self.shared.publisher.take_what_only_ran(&mut domains);
        for info in domains {
            match self.owner(info.vm()) {
                Some(owner) => {
                    let _next_sample_repeats = owner.try_send(Message::Seen(Box::new(info)));
                }
                None => {
                    let vm = observed_unmanaged(&info);
                    unmanaged.insert(vm.vm);
                    self.shared.publisher.publish(vm);
                }
            }
        }
        let before = {
            let mut known = self.unmanaged.lock().unwrap_or_else(PoisonError::into_inner);
            known.replace(unmanaged.clone()).unwrap_or_default()
        };
        for gone in before.difference(&unmanaged) {
            if self.owner(*gone).is_none() {
                self.shared.publisher.remove(*gone);
            }
        }
        self.publish_host().await;
    }

    /// Tells what the host is and has now.
    pub async fn publish_host(&self) {
        match self.shared.driver.hypervisor.host().await {
            Ok(host) => self.shared.publisher.publish_host(host),
            Err(error) => tracing::warn!(%error, "the host's facts cannot be read"),
        }
    }

    /// Starts what is to start with the host: orders one after the other, those of one order together. A VM whose NICs
    /// would pass what they should not stays off. `Break`: it was not finished.
    pub async fn autostart(
        &self,
        boot: &str,
        unfiltered: Option<&(BTreeSet<MacAddr>, String)>,
    ) -> ControlFlow<()> {
        let journal = self.shared.driver.journal.clone();
        let loaded: Result<Result<_, JournalError>, _> =
            tokio::task::spawn_blocking(move || journal.load()).await;
        let Ok(Ok((records, _))) = loaded else { return ControlFlow::Break(()) };
        let mut orders: BTreeMap<u16, (u16, Vec<VmId>)> = BTreeMap::new();
        for record in records {
            let spec = record.spec.get();
            if let Some(autostart) = spec.autostart {
                if let Some((macs, why)) = unfiltered
                    && spec.nics.iter().any(|nic| macs.contains(&nic.mac))
                {
                    tracing::error!(vm = %record.vm, name = %spec.name, why, "a VM does not start unfiltered");
                    continue;
                }
                let (delay, vms) = orders.entry(autostart.order).or_default();
                *delay = (*delay).max(autostart.delay_s);
                vms.push(record.vm);
            }
        }
        let token = self.tasks.token();
        for (order, (delay, vms)) in orders {
            tracing::info!(order, vms = vms.len(), "autostart");
            let owners: Vec<_> = vms.into_iter().filter_map(|vm| self.owner(vm)).collect();
            let start = |reply| Message::Autostart { boot: boot.to_owned(), reply };
            let starts = owners.iter().map(|owner| ask(owner, start));
            match timeout(AUTOSTART_PATIENCE, futures::future::join_all(starts)).await {
                Ok(results) => {
                    for fault in results.into_iter().filter_map(Result::err) {
                        tracing::error!(%fault, "a VM did not start with the host");
                    }
                }
                Err(_) => tracing::error!(order, "some VMs still start; the next order begins without them"),
            }
            tokio::select! {
                () = token.cancelled() => return ControlFlow::Break(()),
                () = tokio::time::sleep(Duration::from_secs(delay.into())) => {}
            }
        }
        ControlFlow::Continue(())
    }
}

fn image_of(journal: &Journal, vm: VmId) -> Result<Image, JournalError> {
    journal.has_image(vm).map(|is_there| if is_there { Image::Present } else { Image::Absent })
}

fn not_defined(vm: VmId) -> Fault {
    Fault::new(FaultReason::NotFound, format_args!("VM {vm} is not defined on this host"))
}

async fn ask(
    owner: &mpsc::Sender<Message>,
    message: impl FnOnce(oneshot::Sender<Result<CommandResult, Fault>>) -> Message,
) -> Result<CommandResult, Fault> {
    let (reply, answer) = oneshot::channel();
    owner.try_send(message(reply)).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => {
            Fault::new(FaultReason::NotReady, "too many requests wait for this VM already")
        }
        mpsc::error::TrySendError::Closed(_) => Fault::new(FaultReason::NotReady, "the agent is stopping"),
    })?;
    answer.await.unwrap_or_else(|_| Err(Fault::new(FaultReason::NotReady, "the agent is stopping")))
}

/// The VM that a domain is, whether it is ours or not: an id that stays the same while it runs. Not every toolstack gives a
/// domain a UUID.
pub fn known_as(info: &DomainInfo) -> VmId {
    if info.identity.is_some() || !info.uuid.as_uuid().is_nil() {
        return info.vm();
    }
    let seed = format!("unmanaged/{}/{}", info.domid, info.name);
    VmId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, seed.as_bytes()))
}

/// A domain without an owner.
fn observed_unmanaged(info: &DomainInfo) -> ObservedVm {
    let vm = known_as(info);
    let power = match info.status {
        DomainStatus::Running => Power::Running,
        DomainStatus::Paused => Power::Paused,
        DomainStatus::Dying => Power::Stopping,
        DomainStatus::Dead(_) => Power::Crashed,
    };
    ObservedVm {
        vm,
        name: info.name.clone(),
        power,
        kind: info.kind,
        managed: false,
        definition: 0,
        incarnation: info.identity.map(|identity| identity.incarnation),
        domid: Some(info.domid),
        memory: info.memory,
        vcpus_online: info.vcpus_online,
        cpu_time_ns: info.cpu_time_ns,
        started: info.created,
        last_death: None,
        failure: None,
        guest: GuestFacts::default(),
        cpu_given: None,
    }
}
