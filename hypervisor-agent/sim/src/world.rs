//! Everything that a simulated host has and does, under one lock, without IO and without waiting.
//!
//! What always holds:
//! * the sum of all domains' memory and dom0's is at most the host's; a domain holds its memory from the
//!   moment that its build begins until it is removed;
//! * names are unique among listed domains; ids only grow;
//! * `agenda` has exactly the domains whose timer is [`Timer::Due`];
//! * nothing is done before [`World::settle`] has brought the world to the time of the call, so a list is
//!   true whether or not the host's driver task had its turn.

mod devices;
mod domain;
mod lifecycle;
mod meters;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_backend::{DomainEventKind, EventSender, HypervisorError, Result};
use xenith_hypervisor_agent_types::{Bridge, DeathReason, HostFacts, ProofBridge};

use crate::devices::Net;
use crate::fault::{EventName, Failure, Faults, Verdict};
use crate::management::ManagementWorld;
use crate::system::Systems;
use crate::{Manners, Operation, SimConfig};

pub(crate) use domain::{Domain, Run, Stage, Timer};

pub(crate) struct World {
    pub config: Arc<SimConfig>,
    pub hostname: String,
    pub bridges: Vec<Bridge>,
    pub net: Net,
    /// Those of `bridges` that are devices of `net`.
    pub net_bridges: BTreeSet<String>,
    pub domains: BTreeMap<DomId, Domain>,
    pub faults: Faults,
    pub systems: Systems,
    pub management: ManagementWorld,
    pub calls: [u64; Operation::COUNT],
    pub events: EventSender,
    /// Grows whenever a guest's facts may have changed.
    pub revision: watch::Sender<u64>,
    /// How often the host has booted: a call that was under way during a reboot has no effect.
    boot: u32,
    /// How often calls were told to take no longer: those that had begun by then are due.
    pub hurried: u64,
    agenda: BTreeSet<(Duration, DomId)>,
    next_domid: u32,
    dice: fastrand::Rng,
    settled: Duration,
}

/// One call as rules, delays and errors see it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub operation: Operation,
    pub domid: DomId,
    /// The VM's name for a create, the device for a device.
    pub subject: Option<String>,
    pub memory: MemoryMiB,
    pub guest: NeedsGuest,
}

/// Whether a call waits for the guest's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeedsGuest {
    No,
    Yes,
}

/// When a call takes effect, and how it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub due: Duration,
    pub verdict: Verdict,
    boot: u32,
    pub hurried: u64,
}

impl World {
    pub(crate) fn new(config: Arc<SimConfig>, hostname: String, seed: u64) -> Self {
        Self {
            bridges: config.host.bridges(),
            net: Net::new(&config.host.bridges(), &config.host.interfaces),
            net_bridges: config.host.bridges.iter().cloned().collect(),
            faults: Faults::new(&config.faults),
            systems: Systems::default(),
            management: ManagementWorld::default(),
            config,
            hostname,
            domains: BTreeMap::new(),
            calls: [0; Operation::COUNT],
            events: EventSender::new(),
            revision: watch::Sender::new(0),
            boot: 1,
            hurried: 0,
            agenda: BTreeSet::new(),
            next_domid: 1,
            dice: fastrand::Rng::with_seed(seed),
            settled: Duration::ZERO,
        }
    }

    /// Counts a call, asks the rules and rolls its delay.
    pub(crate) fn begin(&mut self, call: &Call, at: Duration) -> Begun {
        self.calls[call.operation as usize] += 1;
        let domain = self.domains.get(&call.domid);
        let subjects: Vec<&str> =
            call.subject.as_deref().into_iter().chain(domain.map(|domain| &*domain.name)).collect();
        let (mut verdict, longer) = self.faults.judge(call.operation, &subjects, &mut self.dice);
        let mut due = at + self.config.delays.get(call.operation).sample(&mut self.dice) + longer;
        if let (NeedsGuest::Yes, Some(domain)) = (call.guest, domain) {
            let patience = at + self.config.guest.patience;
            let ready = match (domain.run, domain.timer, domain.stage) {
                (Run::Running, _, _) if domain.manners == Manners::Deaf => None,
                (Run::Running, Timer::Due(boot), Stage::Booting) => Some(boot),
                _ => Some(at),
            };
            match ready {
                Some(ready) if ready <= patience => due = due.max(ready),
                _ => {
                    due = due.max(patience);
                    if verdict == Verdict::Pass {
                        verdict = Verdict::Fail(Failure::Unresponsive);
                    }
                }
            }
        }
        Begun { due, verdict, boot: self.boot, hurried: self.hurried }
    }

    /// An injected failure in the words of the seam.
    pub(crate) fn error(&self, failure: Failure, call: &Call) -> HypervisorError {
        let operation = call.operation.as_str();
        let domid = call.domid;
        let injected = || "a fault rule of the simulator says so".to_owned();
        let subject = || call.subject.clone().unwrap_or_else(|| operation.to_owned());
        let after = self.config.guest.patience;
        match failure {
            Failure::NoMemory => HypervisorError::NoMemory { needed: call.memory, free: self.free() },
            Failure::OutOfMemory => HypervisorError::OutOfMemory { operation, log: injected() },
            Failure::NotAXenHost => HypervisorError::NotAXenHost { detail: injected() },
            Failure::NoSuchDomain => HypervisorError::NoSuchDomain(domid),
            Failure::NoSuchDevice => HypervisorError::NoSuchDevice { domid, device: subject() },
            Failure::AlreadyAttached => HypervisorError::AlreadyAttached { domid, device: subject() },
            Failure::WrongStatus => HypervisorError::WrongStatus {
                domid,
                status: format!("not as it should be ({})", injected()),
                operation,
                needs: "another",
            },
            Failure::NameTaken => HypervisorError::NameTaken { name: subject(), domid },
            Failure::InvalidSpec => HypervisorError::InvalidSpec { field: subject(), problem: injected() },
            Failure::Device => HypervisorError::Device { device: subject(), detail: injected() },
            Failure::Unsupported => HypervisorError::Unsupported { operation, why: injected() },
            Failure::Unresponsive => HypervisorError::GuestUnresponsive {
                domid,
                operation,
                after: Some(after),
                log: String::new(),
            },
            Failure::TimedOut => {
                HypervisorError::TimedOut { operation, after: Some(after), log: String::new() }
            }
            Failure::Failed => {
                HypervisorError::Failed { operation, code: "injected".to_owned(), log: injected() }
            }
            Failure::Closed => HypervisorError::Closed,
        }
    }

    /// Refuses the rest of a call that the host's reboot cut off.
    pub(crate) fn check(&self, begun: Begun) -> Result<()> {
        if begun.boot == self.boot { Ok(()) } else { Err(HypervisorError::Closed) }
    }

    /// As after a reboot of the host.
    pub(crate) fn reset(&mut self) {
        self.domains.clear();
        self.agenda.clear();
        self.next_domid = 1;
        self.boot += 1;
        self.forget_devices();
    }

    /// Memory that no domain holds.
    pub(crate) fn free(&self) -> MemoryMiB {
        let host = &self.config.host;
        let held: u64 = self.domains.values().map(|domain| domain.memory.mib()).sum();
        let free = host.memory.mib().saturating_sub(host.dom0_memory.mib()).saturating_sub(held);
        MemoryMiB::from_bytes_floor(free << 20)
    }

    pub(crate) fn host(&self) -> HostFacts {
        let host = &self.config.host;
        HostFacts {
            hostname: self.hostname.clone(),
            xen: host.xen.clone(),
            cpu_model: host.cpu_model.clone(),
            cpu_features: host.cpu_features,
            topology: host.topology(),
            memory_total: host.memory,
            memory_free: self.free(),
            memory_dom0: host.dom0_memory,
            scheduler: "credit2".to_owned(),
            capabilities: host.capabilities.clone(),
            bridges: self
                .bridges
                .iter()
                .filter(|bridge| !ProofBridge::is_one(&bridge.name))
                .cloned()
                .collect(),
        }
    }

    pub(crate) fn get(&self, domid: DomId) -> Result<&Domain> {
        self.domains.get(&domid).ok_or(HypervisorError::NoSuchDomain(domid))
    }

    pub(crate) fn get_mut(&mut self, domid: DomId) -> Result<&mut Domain> {
        self.domains.get_mut(&domid).ok_or(HypervisorError::NoSuchDomain(domid))
    }

    /// The domain if its guest runs.
    pub(crate) fn running(&mut self, domid: DomId, operation: Operation) -> Result<&mut Domain> {
        self.in_status(domid, operation, "running", |run| run == Run::Running)
    }

    pub(crate) fn in_status(
        &mut self,
        domid: DomId,
        operation: Operation,
        needs: &'static str,
        fits: fn(Run) -> bool,
    ) -> Result<&mut Domain> {
        let domain = self.get_mut(domid)?;
        if fits(domain.run) {
            return Ok(domain);
        }
        let status = domain.status_text().to_owned();
        Err(HypervisorError::WrongStatus { domid, status, operation: operation.as_str(), needs })
    }

    /// Tells subscribers, unless a rule loses it.
    pub(crate) fn emit(&mut self, domid: DomId, kind: DomainEventKind) {
        let event = match kind {
            DomainEventKind::Appeared => EventName::Appeared,
            DomainEventKind::Died(_) => EventName::Died,
            DomainEventKind::Gone => EventName::Gone,
            DomainEventKind::Resync => return self.events.send(domid, kind),
        };
        let subjects: Vec<&str> = self.domains.get(&domid).map(|domain| &*domain.name).into_iter().collect();
        if !self.faults.loses(event, &subjects, &mut self.dice) {
            self.events.send(domid, kind);
        }
    }

    pub(crate) fn facts_changed(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// When the next guest does something by itself.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.agenda.first().map(|(due, _)| *due)
    }

    /// The time of a call: never before what was already done.
    pub(crate) fn time(&self, now: Duration) -> Duration {
        now.max(self.settled)
    }

    /// Lets guests do all that they do up to `now`, each thing at its own instant.
    pub(crate) fn settle(&mut self, now: Duration) {
        while let Some(&(due, domid)) = self.agenda.first()
            && due <= now
        {
            self.agenda.pop_first();
            self.step(domid, due);
        }
        self.settled = self.settled.max(now);
    }

    /// A guest's timer rang.
    fn step(&mut self, domid: DomId, at: Duration) {
        let Some(domain) = self.domains.get_mut(&domid) else { return };
        domain.timer = Timer::Off;
        let next = match domain.stage {
            Stage::Leaving(reason) => return self.end(domid, reason, at),
            Stage::Up => return,
            Stage::Booting => {
                domain.stage = Stage::Up;
                match (domain.manners, domain.pending.take()) {
                    (Manners::CrashesAtBoot, _) => return self.end(domid, DeathReason::Crash, at),
                    (Manners::Deaf, _) => None,
                    (_, Some(asked)) => Some(asked),
                    (Manners::PowersOffAtBoot, None) => Some(DeathReason::PowerOff),
                    (Manners::RebootsAtBoot, None) => Some(DeathReason::Reboot),
                    (Manners::Polite | Manners::NoDrivers, None) => None,
                }
            }
        };
        self.facts_changed();
        if let Some(reason) = next {
            self.leave(domid, reason, at);
        }
    }

    /// The guest begins to shut down.
    fn leave(&mut self, domid: DomId, reason: DeathReason, at: Duration) {
        let takes = self.config.guest.shutdown.sample(&mut self.dice);
        if let Some(domain) = self.domains.get_mut(&domid) {
            domain.stage = Stage::Leaving(reason);
        }
        self.arm(domid, takes, at);
        self.settle(at);
    }

    /// Sets a guest's timer to `takes` of running time from `at`.
    fn arm(&mut self, domid: DomId, takes: Duration, at: Duration) {
        let Some(domain) = self.domains.get_mut(&domid) else { return };
        if let Timer::Due(due) = domain.timer {
            self.agenda.remove(&(due, domid));
        }
        domain.timer = if domain.run == Run::Running { Timer::Due(at + takes) } else { Timer::Held(takes) };
        if let Timer::Due(due) = domain.timer {
            self.agenda.insert((due, domid));
        }
    }

    /// Changes what the virtual CPUs do; the guest's timer stands still unless they run.
    fn set_run(&mut self, domid: DomId, run: Run, at: Duration) {
        let Some(domain) = self.domains.get_mut(&domid) else { return };
        domain.count_cpu(at);
        domain.run = run;
        if let Some(agent) = &domain.guest_agent {
            agent.note_run(run);
        }
        match (run, domain.timer) {
            (Run::Running, Timer::Held(left)) => {
                domain.timer = Timer::Due(at + left);
                self.agenda.insert((at + left, domid));
            }
            (Run::Dead(_), Timer::Due(due)) => {
                domain.timer = Timer::Off;
                self.agenda.remove(&(due, domid));
            }
            // A suspended guest may yet run on.
            (Run::Dead(DeathReason::Suspend), Timer::Held(_)) => {}
            (Run::Dead(_), Timer::Held(_)) => domain.timer = Timer::Off,
            (Run::Paused | Run::Suspending | Run::Building, Timer::Due(due)) => {
                domain.timer = Timer::Held(due.saturating_sub(at));
                self.agenda.remove(&(due, domid));
            }
            _ => {}
        }
    }
}
