//! The task that owns one VM: its queue, its state, its one activity.
//!
//! Requests and events are messages in one bounded queue ([`QUEUE`]); nobody else touches the VM. A message
//! is handled at once: it may begin an activity, join the one that runs, or be refused, but never waits for
//! it, except `Define`, `Forget` and `Exchange`, which need the record that the activity has. What must be in the journal
//! before a guest is asked is written right there. Dropping the queue's last
//! sender ends the task and leaves the domain alone: that is what a restart of the agent looks like.

mod command;
mod fix_up;
mod leases;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{BoxStream, StreamExt};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use xenith_common_ids::{DomId, OperationId, VmId};
use xenith_hypervisor_agent_api::{CommandResult, Exchanged, ShutdownKind, VmAction};
use xenith_hypervisor_agent_backend::{GuestFactsSource, HypervisorError};
use xenith_hypervisor_agent_types::{
    DeathReason, DomainInfo, DomainStatus, Fault, FaultReason, GuestFacts, ObservedVm, VmFailure,
};

use crate::disk::{InUse, Wrong};
use crate::ha::Ha;
use crate::journal::{Attaching, Phase, VmRecord};
use crate::migration::arrive::Arriving;
use crate::progress::Progress;
use crate::vm::adopt::Adoption;
use crate::vm::driver::{Done, Driver, Finished, Wanted};
use crate::vm::publisher::Publisher;
use crate::vm::registry::Domids;
use crate::vm::state::{self, Activity, AfterDeath, Mode, Settled, Up};

/// Requests that may wait for one VM. More at once is a caller gone wild, who is told to come back.
pub const QUEUE: usize = 64;

pub type Reply = oneshot::Sender<Result<CommandResult, Fault>>;

pub enum Message {
    Command {
        operation: OperationId,
        action: VmAction,
        progress: Arc<Progress>,
        reply: Reply,
    },
    /// Its memory comes from another host.
    Arrive {
        arriving: Box<Arriving>,
        reply: Reply,
    },
    Died {
        domid: DomId,
        reason: DeathReason,
    },
    /// The hypervisor lists it like this.
    Seen(Box<DomainInfo>),
    /// It was not in a list; looked up again before it is believed.
    Missing(DomId),
    /// A lease of what it writes is not as it has to be.
    Lease(Wrong),
    /// Started by the agent itself, when the host boots; once for each boot.
    Autostart {
        boot: String,
        reply: Reply,
    },
}

/// What all owners share.
pub struct Shared {
    pub driver: Arc<Driver>,
    pub facts: Arc<dyn GuestFactsSource>,
    pub publisher: Arc<Publisher>,
    pub domids: Domids,
    pub in_use: InUse,
    pub ha: Arc<Ha>,
}

struct Current {
    activity: Activity,
    future: BoxFuture<'static, Finished>,
    waiters: Vec<Reply>,
}

pub struct Owner {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Message>,
    record: VmRecord,
    settled: Settled,
    current: Option<Current>,
    /// A death that came while something else was being done.
    death: Option<(DomId, DeathReason)>,
    /// Whose crash was counted last: a release that fails is tried again, the crash is still one.
    counted: Option<DomId>,
    /// Wait for the record to be free.
    deferred: VecDeque<(VmAction, Reply)>,
    guest: GuestFacts,
    guest_stream: Option<(DomId, BoxStream<'static, GuestFacts>)>,
    seen: Option<Box<DomainInfo>>,
    failure: Option<Box<VmFailure>>,
    forgotten: bool,
    /// Of the last time that it was sent to another host.
    sending: Option<Arc<Progress>>,
}

impl Owner {
    pub fn new(
        shared: Arc<Shared>,
        record: VmRecord,
        adoption: Adoption,
        queue: mpsc::Receiver<Message>,
    ) -> Self {
        let mut owner = Self {
            shared,
            queue,
            record,
            settled: adoption.settled,
            current: None,
            death: None,
            counted: None,
            deferred: VecDeque::new(),
            guest: GuestFacts::default(),
            guest_stream: None,
            seen: None,
            failure: None,
            forgotten: false,
            sending: None,
        };
        owner.fix_up(adoption.fixup);
        owner.follow_domain();
        owner.publish();
        owner
    }

    fn vm(&self) -> VmId {
        self.record.vm
    }

    /// Runs until the VM is forgotten or the queue is closed.
    pub async fn run(mut self) {
        while !self.forgotten {
            tokio::select! {
                message = self.queue.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => return,
                },
                finished = current_activity(&mut self.current) => self.finish(finished).await,
                facts = next_facts(&mut self.guest_stream) => self.note_facts(facts),
            }
            self.publish();
        }
    }

    async fn handle(&mut self, message: Message) {
        match message {
            Message::Command {
                action: action @ (VmAction::Define { .. } | VmAction::Forget | VmAction::Exchange(_)),
                reply,
                ..
            } => {
                if self.deferred.len() >= QUEUE {
                    let fault =
                        Fault::new(FaultReason::NotReady, "too many requests wait for this VM already");
                    return self.answer(reply, Err(fault));
                }
                self.deferred.push_back((action, reply));
                self.work_off_deferred().await;
            }
            Message::Command { operation, action, progress, reply } => {
                self.command(operation, (action, progress), reply).await;
            }
            Message::Arrive { arriving, reply } => self.arrive(*arriving, reply),
            Message::Died { domid, reason } => self.died(domid, reason),
            Message::Seen(info) => self.note_seen(info).await,
            Message::Missing(domid) => self.check_missing(domid).await,
            Message::Lease(wrong) => self.lease_is_wrong(wrong),
            Message::Autostart { boot, reply } => match (&self.settled, &self.current) {
                (Settled::Stopped { .. }, None)
                    if self.record.away.is_none() && self.record.autostarted.as_ref() != Some(&boot) =>
                {
                    self.record.autostarted = Some(boot);
                    let driver = Arc::clone(&self.shared.driver);
                    let run = xenith_common_ids::IncarnationId::new();
                    let future = driver.start(self.record.clone(), run, Wanted::Agent).boxed();
                    self.begin(Activity::Starting(run), future, vec![reply]);
                }
                _ => self.answer(reply, Ok(Done::Plain)),
            },
        }
    }

    fn begin(&mut self, activity: Activity, future: BoxFuture<'static, Finished>, waiters: Vec<Reply>) {
        tracing::info!(vm = %self.vm(), name = %self.record.spec.get().name, ?activity, "begin");
        self.current = Some(Current { activity, future, waiters });
        self.note_disks();
    }

    /// Tells which VDIs must not be deleted now: those of a domain that is there or under way, and of saved
    /// memory.
    fn note_disks(&self) {
        let record = &self.record;
        let mut specs = Vec::new();
        if self.current.is_some() || matches!(self.settled, Settled::Up(_)) {
            specs.push(record.spec.get());
            specs.extend(record.run.as_ref().map(|run| &run.applied));
        }
        specs.extend(record.saved.as_ref().map(|saved| &saved.spec));
        let attaching = record.run.as_ref().and_then(|run| match &run.attaching {
            Some(Attaching::Disk(disk)) => Some(disk.vdi),
            _ => None,
        });
        let disks = specs.iter().flat_map(|spec| &spec.disks).map(|disk| disk.vdi).chain(attaching);
        let media = specs.iter().filter_map(|spec| spec.hardware.cd.and_then(|cd| cd.vdi));
        self.shared.in_use.set(self.vm(), disks.chain(media).collect());
    }

    async fn finish(&mut self, finished: Finished) {
        let Some(current) = self.current.take() else { return };
        // Waiting for a guest changes nothing, and who joined was noted meanwhile.
        if !matches!(current.activity, Activity::ShuttingDown(_)) {
            self.record = finished.record;
        }
        self.settled = finished.settled;
        match &finished.result {
            Ok(_) => self.failure = None,
            Err(fault) => {
                tracing::warn!(vm = %self.vm(), activity = ?current.activity, %fault, "failed");
                let (at, message) = (OffsetDateTime::now_utc(), fault.message.clone());
                self.failure = Some(Box::new(VmFailure { at, message }));
            }
        }
        if matches!(current.activity, Activity::ShuttingDown(_)) {
            self.forget_asked().await;
        }
        let had = self.shared.in_use.of(self.vm());
        self.follow_domain();
        self.give_up_leases(had).await;
        self.publish();
        for waiter in current.waiters {
            let result = match &finished.result {
                Ok(Done::Plain) => Ok(Done::Plain),
                Ok(Done::Applied { after_restart }) => {
                    Ok(Done::Applied { after_restart: after_restart.clone() })
                }
                Ok(Done::Snapshotted(made)) => Ok(Done::Snapshotted(made.clone())),
                Err(fault) => Err(fault.clone()),
            };
            self.answer(waiter, result);
        }
        self.work_off_deferred().await;
        if let Some((domid, reason)) = self.death.take() {
            self.died(domid, reason);
        }
    }

    fn answer(&self, reply: Reply, result: Result<Done, Fault>) {
        let vm = || Box::new(self.observed());
        let result = result.map(|done| match done {
            Done::Plain => CommandResult::Vm(vm()),
            Done::Applied { after_restart } => CommandResult::Applied { vm: vm(), after_restart },
            Done::Snapshotted(made) => CommandResult::Snapshotted(made),
        });
        // Who asked may be gone (a broken connection); the work is done all the same.
        let _asker_gone = reply.send(result);
    }

    async fn work_off_deferred(&mut self) {
        while self.current.is_none()
            && !self.forgotten
            && let Some((action, reply)) = self.deferred.pop_front()
        {
            let result = match action {
                VmAction::Define { definition, spec } => self.define(definition, *spec).await,
                VmAction::Exchange(exchanged) => self.exchange(exchanged).await,
                _ => self.forget().await,
            };
            match result {
                Ok(()) if self.forgotten => {
                    let _asker_gone = reply.send(Ok(CommandResult::Nothing));
                }
                result => self.answer(reply, result.map(|()| Done::Plain)),
            }
        }
    }

    async fn define(
        &mut self,
        definition: u64,
        spec: xenith_hypervisor_agent_types::ValidVmSpec,
    ) -> Result<(), Fault> {
        if definition < self.record.definition {
            return Err(Fault::new(
                FaultReason::StaleDefinition,
                format_args!("definition {} is here already, {definition} is older", self.record.definition),
            ));
        }
        if definition == self.record.definition && spec == self.record.spec {
            return Ok(());
        }
        let record = VmRecord { definition, spec, ..self.record.clone() };
        self.shared.driver.save(&record).await?;
        self.record = record;
        self.disks_changed().await;
        Ok(())
    }

    /// Commit point: the record says the other VDI. From then on the memory is resumed with that one only.
    async fn exchange(&mut self, Exchanged { from, to }: Exchanged) -> Result<(), Fault> {
        let mut record = self.record.clone();
        let (Settled::Suspended, Some(saved)) = (&self.settled, &mut record.saved) else {
            let now = state::power(&self.settled, None);
            let message = format_args!("the VM is {now}; suspend it, to have a disk of it exchanged");
            return Err(Fault::new(FaultReason::WrongState, message));
        };
        if saved.spec.disks.iter().any(|disk| disk.vdi == to) {
            return Ok(());
        }
        let Some(disk) = saved.spec.disks.iter_mut().find(|disk| disk.vdi == from) else {
            let message = format_args!("VDI {from} is not a disk of the suspended VM");
            return Err(Fault::new(FaultReason::Invalid, message));
        };
        disk.vdi = to;
        let disk = disk.clone();
        // Said before its lease is taken: nobody gives that up then.
        let had = self.shared.in_use.of(self.vm());
        self.shared.in_use.set(self.vm(), had.into_iter().chain([to]).collect());
        let mut exchanged = self.shared.driver.take_lease_of_saved(&record, &disk).await;
        if exchanged.is_ok() {
            exchanged = self.shared.driver.save(&record).await;
        }
        if exchanged.is_ok() {
            self.record = record;
        }
        self.disks_changed().await;
        exchanged
    }

    async fn disks_changed(&mut self) {
        let had = self.shared.in_use.of(self.vm());
        self.note_disks();
        self.give_up_leases(had).await;
    }

    async fn forget(&mut self) -> Result<(), Fault> {
        if !matches!(self.settled, Settled::Stopped { .. }) {
            let now = state::power(&self.settled, None);
            let first = match self.settled {
                Settled::Suspended => "discard its saved memory first: xenith vm power-off --discard-memory",
                _ => "stop it first",
            };
            return Err(Fault::new(FaultReason::WrongState, format_args!("the VM is {now}; {first}")));
        }
        self.shared.driver.forget(&self.record).await?;
        self.forgotten = true;
        // Before the answer: who defines it again at once must not be removed with it.
        self.shared.publisher.remove(self.vm());
        Ok(())
    }

    fn died(&mut self, domid: DomId, reason: DeathReason) {
        if reason == DeathReason::Suspend {
            // A suspended domain is dead by design.
            return;
        }
        let asked = match &self.current {
            None => None,
            Some(Current { activity: Activity::ShuttingDown(kind), .. }) => Some(*kind),
            // Kept with its domain: what is being done may end with another one, or none.
            Some(_) => {
                self.death = Some((domid, reason));
                return;
            }
        };
        let Settled::Up(up) = self.settled else { return };
        // A kept corpse died before.
        if up.domid != domid || up.mode == Mode::Preserved {
            return;
        }
        // Another host may run it: nothing is started anew here.
        let reason = if up.mode == Mode::Sent { DeathReason::Unknown } else { reason };
        let waiters = self.current.take().map(|current| current.waiters).unwrap_or_default();
        self.clean_up(up, reason, asked, waiters);
    }

    fn clean_up(&mut self, up: Up, reason: DeathReason, asked: Option<ShutdownKind>, waiters: Vec<Reply>) {
        // Asked by an agent that was killed meanwhile.
        let asked = asked.or_else(|| self.record.asked(up.run));
        let counts = self.counted == Some(up.domid) || self.has_crashed(up, reason, asked);
        if counts && self.counted != Some(up.domid) {
            let now = OffsetDateTime::now_utc().unix_timestamp();
            let oldest = now - i64::try_from(state::CRASH_WINDOW.as_secs()).unwrap_or(i64::MAX);
            self.record.crashes.retain(|at| *at > oldest);
            self.record.crashes.push(now);
            self.counted = Some(up.domid);
        }
        let spec = self.record.spec.get();
        let crashes = if counts { self.record.crashes.len() } else { 0 };
        let then = state::after_death(reason, spec, asked, crashes);
        tracing::info!(vm = %self.vm(), domid = %up.domid, ?reason, ?then, "the domain ended");
        if then == AfterDeath::Preserve {
            self.settled = Settled::Up(Up { mode: Mode::Preserved, ..up });
            let fault = Fault::new(FaultReason::WrongState, "the guest crashed and is kept; power it off");
            for waiter in waiters {
                self.answer(waiter, Err(fault.clone()));
            }
            return;
        }
        let future = Arc::clone(&self.shared.driver).clean_up(self.record.clone(), up, then).boxed();
        self.begin(Activity::CleaningUp(then), future, waiters);
    }

    /// Whether its guest has crashed, or rebooted before it can have come up, as it would for ever.
    fn has_crashed(&self, up: Up, reason: DeathReason, asked: Option<ShutdownKind>) -> bool {
        match reason {
            DeathReason::Crash | DeathReason::Watchdog => true,
            DeathReason::Reboot | DeathReason::SoftReset if asked.is_none() => {
                let run = self.record.run.as_ref().filter(|run| run.incarnation == up.run);
                run.is_some_and(|run| OffsetDateTime::now_utc() - run.started < state::TOO_SOON)
            }
            _ => false,
        }
    }

    async fn check_missing(&mut self, domid: DomId) {
        let Settled::Up(up) = self.settled else { return };
        if up.domid != domid || self.current.is_some() {
            return;
        }
        let looked_up = self.shared.driver.hypervisor.domain(domid).await;
        if matches!(looked_up, Err(HypervisorError::NoSuchDomain(_))) {
            self.clean_up(up, DeathReason::Unknown, None, Vec::new());
        }
    }

    async fn note_seen(&mut self, info: Box<DomainInfo>) {
        let up = match self.settled {
            Settled::Up(up) => up,
            Settled::Stopped { .. } | Settled::Suspended => return self.adopt_found(&info).await,
        };
        if info.domid != up.domid {
            return;
        }
        match (info.status, up.mode) {
            (DomainStatus::Dead(DeathReason::Suspend), Mode::Running) if self.current.is_none() => {
                self.run_on_again(up).await;
            }
            // The event for this was lost.
            (DomainStatus::Dead(reason), _) => return self.died(info.domid, reason),
            (DomainStatus::Paused, Mode::Running) | (DomainStatus::Running, Mode::Paused)
                if self.current.is_none() =>
            {
                self.check_mode(up).await;
            }
            _ => {}
        }
        self.seen = Some(info);
    }

    /// Somebody paused or unpaused it from outside, or the list is older than our own doing: looked up again.
    /// What is so is told, and kept, so that a restart of the agent does not undo it.
    async fn check_mode(&mut self, up: Up) {
        let (mode, phase) = match self.shared.driver.hypervisor.domain(up.domid).await {
            Ok(info) if info.status == DomainStatus::Paused => (Mode::Paused, Phase::Paused),
            Ok(info) if info.status == DomainStatus::Running => (Mode::Running, Phase::Running),
            _ => return,
        };
        if mode == up.mode {
            return;
        }
        tracing::info!(vm = %self.vm(), domid = %up.domid, ?mode, "changed from outside");
        self.settled = Settled::Up(Up { mode, ..up });
        self.note_writes();
        if let Some(run) = &mut self.record.run {
            run.phase = phase;
            if let Err(fault) = self.shared.driver.save(&self.record).await {
                tracing::warn!(vm = %self.vm(), %fault, "that cannot be written down");
            }
        }
    }

    fn note_facts(&mut self, facts: Option<GuestFacts>) {
        match facts {
            Some(facts) => self.guest = facts,
            None => self.guest_stream = None,
        }
    }

    /// Follows the facts of the domain that is there now, and tells the registry which one that is.
    fn follow_domain(&mut self) {
        let domid = match self.settled {
            Settled::Up(up) => Some(up.domid),
            _ => None,
        };
        self.shared.domids.set(self.vm(), domid);
        self.note_disks();
        self.note_writes();
        if self.guest_stream.as_ref().map(|(domid, _)| *domid) != domid {
            self.guest_stream = domid.map(|domid| (domid, self.shared.facts.watch(domid)));
            self.guest = GuestFacts::default();
            self.seen = None;
        }
    }

    fn observed(&self) -> ObservedVm {
        let activity = self.current.as_ref().map(|current| current.activity);
        let up = match self.settled {
            Settled::Up(up) => Some(up),
            _ => None,
        };
        let spec = self.record.spec.get();
        let run = self.record.run.as_ref().filter(|_| up.is_some());
        let seen = self.seen.as_deref();
        ObservedVm {
            vm: self.vm(),
            name: spec.name.to_string(),
            power: state::power(&self.settled, activity),
            kind: spec.platform.kind(),
            managed: true,
            definition: self.record.definition,
            incarnation: up.map(|up| up.run),
            domid: up.map(|up| up.domid),
            memory: seen.map_or(spec.memory.target, |info| info.memory),
            vcpus_online: seen.map_or(spec.vcpus.online.get(), |info| info.vcpus_online),
            cpu_time_ns: seen.map_or(0, |info| info.cpu_time_ns),
            started: run.map(|run| run.started),
            last_death: self.record.last.map(|(_, reason)| reason),
            failure: self.failure.clone(),
            guest: self.guest.clone(),
            cpu_given: run.and_then(|run| run.cpu_given).map(Box::new),
        }
    }

    fn publish(&self) {
        if !self.forgotten {
            self.shared.publisher.publish(self.observed());
        }
    }
}

async fn current_activity(current: &mut Option<Current>) -> Finished {
    match current {
        Some(current) => Pin::new(&mut current.future).await,
        None => std::future::pending().await,
    }
}

async fn next_facts(stream: &mut Option<(DomId, BoxStream<'static, GuestFacts>)>) -> Option<GuestFacts> {
    match stream {
        Some((_, stream)) => stream.next().await,
        None => std::future::pending().await,
    }
}
