//! Hosts, an orchestrator, a network, a shared disk and the truth about time, in steps of half a second.
//!
//! Messages are late or lost, hosts are cut off from the orchestrator or the disk or both, processes die and stand, clocks
//! are fast or slow, power goes. What decides is the product's code; what is simulated is the world around it.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use xenith_common_ha::{Challenge, LeaseMark, Moment, Timing};
use xenith_common_ids::{AgentRunId, VmId};

use crate::host::Host;
use crate::orchestrator::{Orchestrator, Store};

const STEP_MS: u64 = 500;
const CHAOS_MS: u64 = 900_000;
const QUIET_MS: u64 = 900_000;
const VMS: u8 = 5;

/// What one world does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// The orchestrator does not wait for the leases of its hosts.
    HastyJudge,
    /// Hosts are not reset.
    NoWatchdog,
    /// Hosts that have booted start their VMs unasked.
    StartsByItself,
    /// A run of the agent that is over begins anew, and its process lives on.
    GoesOn,
    /// Power control that says neither on nor off is taken for off.
    TrustsPower,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub by_lease: u32,
    pub by_power: u32,
    pub bites: u32,
    pub restarts: u32,
    pub welcomes: u32,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.by_lease += other.by_lease;
        self.by_power += other.by_power;
        self.bites += other.bites;
        self.restarts += other.restarts;
        self.welcomes += other.welcomes;
    }
}

/// What everybody shares: the time, chance, and what is counted.
pub struct Scene {
    /// The truth, in milliseconds.
    pub now: u64,
    pub rng: Rng,
    pub mistake: Mistake,
    /// By what the hosts are armed.
    pub timing: Timing,
    pub tally: Tally,
}

impl Scene {
    pub fn is_chaos(&self) -> bool {
        self.now < CHAOS_MS
    }

    /// Between `from` and `to` milliseconds from now.
    pub fn later(&mut self, from: u64, to: u64) -> u64 {
        self.now + self.rng.u64(from..to)
    }

    /// Of a message or a write: mostly short.
    pub fn delay(&mut self) -> u64 {
        match self.rng.u32(0..1000) {
            950..990 if self.is_chaos() => self.rng.u64(300..10_000),
            990.. if self.is_chaos() => self.rng.u64(10_000..150_000),
            _ => self.rng.u64(1..300),
        }
    }

    /// Thousandths of a second that a clock goes in one: at most one hundredth off.
    pub fn rate(&mut self) -> u64 {
        match self.rng.u32(0..4) {
            0 => 990,
            1 => 1010,
            _ => self.rng.u64(990..=1010),
        }
    }

    pub fn agent_run(&mut self) -> AgentRunId {
        AgentRunId::from_bytes(self.rng.u128(..).to_be_bytes())
    }
}

#[derive(Debug, Clone)]
pub enum Body {
    // To agents.
    Beat {
        asked: Moment,
        challenge: Option<Challenge>,
    },
    AllowAutostart,
    Start(VmId),
    Remove(VmId),
    Look {
        asked: Moment,
    },
    PowerOff {
        asked: Moment,
    },
    // To the orchestrator.
    Answer {
        asked: Moment,
        run: AgentRunId,
        challenge: Challenge,
        there: BTreeSet<VmId>,
        running: BTreeSet<VmId>,
    },
    Looked {
        asked: Moment,
        marks: Vec<Option<LeaseMark>>,
    },
    IsOff {
        asked: Moment,
    },
}

#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// On a new connection, or on one that this run of the agent has.
    Agent(Option<AgentRunId>),
    Power,
    Orchestrator,
}

/// A message between a life of the orchestrator and a host.
#[derive(Debug, Clone)]
pub struct Flight {
    pub at: u64,
    pub life: u32,
    pub host: usize,
    pub way: Way,
    pub body: Body,
}

pub struct World {
    scene: Scene,
    hosts: Vec<Host>,
    orchestrator: Option<Orchestrator>,
    orchestrator_at: u64,
    lives: u32,
    store: Store,
    flights: Vec<Flight>,
}

impl World {
    pub fn new(seed: u64, mistake: Mistake) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(2..5);
        let has_power = rng.u32(0..3) == 0;
        let place: BTreeMap<VmId, usize> =
            (0..VMS).map(|number| (VmId::from_bytes([number; 16]), rng.usize(0..count))).collect();
        let timing = Timing::default();
        let mut scene = Scene { now: 0, rng, mistake, timing, tally: Tally::default() };
        let hosts = (0..count).map(|_| Host::new(&mut scene)).collect();
        let store = Store { place, fenced: vec![None; count], has_power };
        Self { scene, hosts, orchestrator: None, orchestrator_at: 0, lives: 0, store, flights: Vec::new() }
    }

    pub fn tally(&self) -> Tally {
        self.scene.tally
    }

    /// An error says which VM ran twice.
    pub fn through_chaos(&mut self) -> Result<(), String> {
        self.until(CHAOS_MS)
    }

    /// Then everything runs, once.
    pub fn through_quiet(&mut self) -> Result<(), String> {
        self.until(CHAOS_MS + QUIET_MS)?;
        match self.store.place.keys().find(|vm| self.running(**vm) == 0) {
            Some(vm) => Err(format!("{vm} does not run in the end")),
            None => Ok(()),
        }
    }

    fn until(&mut self, end: u64) -> Result<(), String> {
        while self.scene.now < end {
            self.scene.now += STEP_MS;
            for host in &mut self.hosts {
                host.step(&mut self.scene);
            }
            self.deliver();
            self.command();
            if let Some(vm) = self.store.place.keys().find(|vm| self.running(**vm) > 1) {
                return Err(format!("{vm} runs twice after {} s", self.scene.now / 1000));
            }
        }
        Ok(())
    }

    fn running(&self, vm: VmId) -> usize {
        self.hosts.iter().filter(|host| host.running.contains(&vm)).count()
    }

    fn command(&mut self) {
        let now = self.scene.now;
        if self.orchestrator.is_none() && self.orchestrator_at <= now {
            self.lives += 1;
            self.orchestrator = Some(Orchestrator::new(self.lives, &self.store, &mut self.scene));
        }
        if self.orchestrator.is_some() && self.scene.is_chaos() && self.scene.rng.u32(0..900) == 0 {
            self.orchestrator = None;
            self.orchestrator_at = self.scene.later(1000, 120_000);
        }
        if let Some(orchestrator) = &mut self.orchestrator {
            let sent = orchestrator.step(&mut self.store, &mut self.scene);
            self.flights.extend(sent);
        }
    }

    fn deliver(&mut self) {
        let now = self.scene.now;
        if self.flights.iter().all(|flight| flight.at > now) {
            return;
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.at <= now);
        self.flights = later;
        for flight in due {
            let arrived = match flight.way {
                Way::Agent(run) => self.at_agent(flight, run),
                Way::Power => self.at_power(flight),
                Way::Orchestrator => self.at_orchestrator(flight),
            };
            self.flights.extend(arrived);
        }
    }

    /// What follows: the message once more, later, or its answer.
    fn at_agent(&mut self, flight: Flight, run: Option<AgentRunId>) -> Option<Flight> {
        let (now, disk) = (self.scene.now, self.hosts.iter().map(|host| host.on_disk).collect::<Vec<_>>());
        let host = &mut self.hosts[flight.host];
        let agent = host.agent.as_ref()?;
        if run.is_some_and(|run| run != agent.run) {
            return None;
        }
        let waits_until = host.no_network_until.max(agent.stands_until);
        if waits_until > now {
            return Some(Flight { at: waits_until + self.scene.delay(), ..flight });
        }
        let body = match flight.body {
            Body::Look { asked } if host.no_disk_until <= now => Body::Looked { asked, marks: disk },
            body => host.take(body, &self.scene)?,
        };
        let at = now + self.scene.delay();
        Some(Flight { at, way: Way::Orchestrator, body, ..flight })
    }

    fn at_power(&mut self, flight: Flight) -> Option<Flight> {
        let Body::PowerOff { asked } = flight.body else { return None };
        let (host, off_ms) = (flight.host, self.scene.rng.u64(30_000..300_000));
        let at = self.scene.now + self.scene.delay();
        let is_off = Flight { at, way: Way::Orchestrator, body: Body::IsOff { asked }, ..flight };
        match self.scene.rng.u32(0..8) {
            // It does not answer, or says neither on nor off.
            0 | 1 => (self.scene.mistake == Mistake::TrustsPower).then_some(is_off),
            // It does as it was told, and its answer is lost.
            2 => {
                self.hosts[host].reset(off_ms, &self.scene);
                None
            }
            _ => {
                self.hosts[host].reset(off_ms, &self.scene);
                Some(is_off)
            }
        }
    }

    fn at_orchestrator(&mut self, flight: Flight) -> Option<Flight> {
        let cut_off = self.hosts[flight.host].no_network_until;
        let is_power = matches!(flight.body, Body::IsOff { .. });
        if cut_off > self.scene.now && !is_power {
            return Some(Flight { at: cut_off + self.scene.delay(), ..flight });
        }
        let orchestrator = self.orchestrator.as_mut().filter(|running| running.life == flight.life)?;
        orchestrator.take((flight.host, flight.body), &mut self.store, &mut self.scene);
        None
    }
}
