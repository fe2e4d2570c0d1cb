//! A host: its power, its watchdog, its agent, and what runs on it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use xenith_common_ha::{Autostart, Guard, LeaseMark, Moment};
use xenith_common_ids::{AgentRunId, VmId};

use crate::world::{Body, Mistake, Scene};

pub struct Agent {
    pub run: AgentRunId,
    /// The process is there and does nothing.
    pub stands_until: u64,
    guard: Guard,
    sequence: u64,
    next_write: u64,
    writing: bool,
    /// It was allowed to feed, and stood before it did.
    feeds_late: bool,
    /// It has the watchdog open.
    opened: bool,
}

struct Write {
    mark: LeaseMark,
    begun: Moment,
    lands: u64,
}

struct Confirm {
    run: AgentRunId,
    begun: Moment,
    at: u64,
}

pub struct Host {
    rate: u64,
    watchdog_rate: u64,
    boot: u32,
    off_until: u64,
    agent_at: u64,
    pub agent: Option<Agent>,
    bites_at: Option<u64>,
    pub running: BTreeSet<VmId>,
    /// The journal: outlives everything.
    defined: BTreeSet<VmId>,
    autostarted: Option<u32>,
    pub no_network_until: u64,
    pub no_disk_until: u64,
    pub on_disk: Option<LeaseMark>,
    writes: VecDeque<Write>,
    confirms: Vec<Confirm>,
}

impl Host {
    pub fn new(scene: &mut Scene) -> Self {
        Self {
            rate: scene.rate(),
            watchdog_rate: scene.rate(),
            boot: 1,
            off_until: 0,
            agent_at: 0,
            agent: None,
            bites_at: None,
            running: BTreeSet::new(),
            defined: BTreeSet::new(),
            autostarted: None,
            no_network_until: 0,
            no_disk_until: 0,
            on_disk: None,
            writes: VecDeque::new(),
            confirms: Vec::new(),
        }
    }

    pub fn step(&mut self, scene: &mut Scene) {
        if scene.is_chaos() {
            self.fail(scene);
        }
        self.storage(scene);
        if self.bites_at.is_some_and(|at| at <= scene.now) {
            scene.tally.bites += 1;
            let off_ms = scene.rng.u64(20_000..120_000);
            self.reset(off_ms, scene);
        }
        if self.off_until > scene.now {
            return;
        }
        if self.agent.is_none() && self.agent_at <= scene.now {
            self.start_agent(scene);
        }
        self.live(scene);
    }

    fn clock(&self, now: u64) -> Moment {
        Moment::at(Duration::from_micros(now * self.rate))
    }

    fn fail(&mut self, scene: &mut Scene) {
        match scene.rng.u32(0..6000) {
            0..6 => {
                self.no_network_until = scene.later(5_000, 300_000);
                self.no_disk_until = scene.later(5_000, 300_000);
            }
            6..10 => self.no_network_until = scene.later(5_000, 300_000),
            10..14 => self.no_disk_until = scene.later(5_000, 300_000),
            14..18 => {
                if self.agent.take().is_some() {
                    self.agent_at = scene.later(200, 60_000);
                    // The kernel feeds once more when the process that has it open dies.
                    if self.bites_at.is_some() {
                        self.feed(scene);
                    }
                }
            }
            18..22 => {
                if let Some(agent) = &mut self.agent {
                    agent.stands_until = scene.later(1_000, 60_000);
                }
            }
            22..25 => {
                let off_ms = scene.rng.u64(20_000..300_000);
                self.reset(off_ms, scene);
            }
            _ => {}
        }
    }

    /// Whatever ran is gone.
    pub fn reset(&mut self, off_ms: u64, scene: &Scene) {
        self.running.clear();
        self.agent = None;
        self.bites_at = None;
        self.boot += 1;
        self.off_until = scene.now + off_ms;
        self.agent_at = self.off_until;
        self.confirms.clear();
        // What is on its way lands all the same.
        self.writes.retain(|write| write.lands <= scene.now + 2_000);
    }

    fn storage(&mut self, scene: &mut Scene) {
        while let Some(first) = self.writes.front_mut()
            && first.lands <= scene.now
        {
            if self.no_disk_until > scene.now {
                first.lands = self.no_disk_until + scene.delay();
                return;
            }
            self.on_disk = Some(first.mark);
            let at = scene.now + scene.delay();
            self.confirms.push(Confirm { run: first.mark.run, begun: first.begun, at });
            self.writes.pop_front();
        }
    }

    fn start_agent(&mut self, scene: &mut Scene) {
        let started = self.autostarted == Some(self.boot) || scene.mistake == Mistake::StartsByItself;
        let autostart = if started { Autostart::Allowed } else { Autostart::Waits };
        self.agent = Some(Agent {
            run: scene.agent_run(),
            stands_until: 0,
            guard: Guard::new(scene.timing, autostart, scene.rng.u64(..), self.clock(scene.now)),
            sequence: 0,
            next_write: scene.now,
            writing: false,
            feeds_late: false,
            opened: false,
        });
    }

    fn feed(&mut self, scene: &Scene) {
        let watchdog_ms = u64::try_from(scene.timing.watchdog().as_millis()).unwrap();
        let bites_at = scene.now + watchdog_ms * 1000 / self.watchdog_rate;
        self.bites_at = Some(if scene.mistake == Mistake::NoWatchdog { u64::MAX } else { bites_at });
    }

    fn live(&mut self, scene: &mut Scene) {
        let local = self.clock(scene.now);
        let Some(agent) = &mut self.agent else { return };
        if agent.stands_until > scene.now {
            return;
        }
        if std::mem::take(&mut agent.feeds_late) {
            agent.opened = true;
            self.feed(scene);
        } else if agent.guard.may_feed(local) {
            if scene.is_chaos() && scene.rng.u32(0..400) == 0 {
                agent.stands_until = scene.later(1_000, 40_000);
                agent.feeds_late = true;
                return;
            }
            agent.opened = true;
            self.feed(scene);
        } else if agent.guard.is_over(local) && !agent.opened {
            if scene.mistake != Mistake::GoesOn {
                self.agent = None;
                self.agent_at = scene.later(2_000, 10_000);
                return;
            }
            let first = scene.rng.u64(..);
            agent.guard = Guard::new(scene.timing, agent.guard.autostart(), first, local);
        }
        self.lease(local, scene);
        self.autostart(local);
    }

    fn lease(&mut self, local: Moment, scene: &mut Scene) {
        let Some(agent) = &mut self.agent else { return };
        self.confirms.retain(|confirm| {
            if confirm.at > scene.now {
                return true;
            }
            if confirm.run == agent.run {
                agent.guard.lease_written(confirm.begun, local);
                agent.writing = false;
            }
            false
        });
        if agent.writing || scene.now < agent.next_write {
            return;
        }
        agent.writing = true;
        agent.sequence += 1;
        agent.next_write = scene.now + 5_000;
        let mark = LeaseMark { run: agent.run, sequence: agent.sequence };
        // One kernel writes one file in order.
        let before = self.writes.back().map_or(0, |write| write.lands);
        let lands = (scene.now.max(self.no_disk_until) + scene.delay()).max(before);
        self.writes.push_back(Write { mark, begun: local, lands });
    }

    /// Whether a VM may be started now: the watchdog runs, is not about to bite, and the boot is known.
    fn may_start(&self, local: Moment) -> bool {
        self.bites_at.is_some() && self.agent.as_ref().is_some_and(|agent| agent.guard.may_start(local))
    }

    fn autostart(&mut self, local: Moment) {
        let allowed = self.agent.as_ref().is_some_and(|agent| agent.guard.autostart() == Autostart::Allowed);
        if allowed && self.autostarted != Some(self.boot) && self.may_start(local) {
            self.autostarted = Some(self.boot);
            self.running = self.defined.clone();
        }
    }

    /// What the agent answers, if anything.
    pub fn take(&mut self, body: Body, scene: &Scene) -> Option<Body> {
        let local = self.clock(scene.now);
        let may_start = self.may_start(local);
        let agent = self.agent.as_mut()?;
        match body {
            Body::Beat { asked, challenge } => {
                if let Some(challenge) = challenge {
                    agent.guard.answered(challenge, local);
                }
                let challenge = agent.guard.challenge(local);
                let (there, running) = (self.defined.clone(), self.running.clone());
                return Some(Body::Answer { asked, run: agent.run, challenge, there, running });
            }
            Body::AllowAutostart => agent.guard.allow_autostart(),
            Body::Start(vm) if may_start => {
                self.defined.insert(vm);
                self.running.insert(vm);
            }
            Body::Remove(vm) => {
                self.running.remove(&vm);
                self.defined.remove(&vm);
            }
            // Refused, or cannot be answered.
            _ => {}
        }
        None
    }
}
