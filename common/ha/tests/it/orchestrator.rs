//! The orchestrator: what it has written down, and one life of its process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xenith_common_ha::duty::{RestartPriority, Stranded, in_order, left_over};
use xenith_common_ha::{Challenge, Judge, Moment, Proof, Reading, Timing, Verdict};
use xenith_common_ids::{AgentRunId, VmId};
use xenith_common_units::MemoryMiB;

use crate::world::{Body, Flight, Mistake, Scene, Way};

#[derive(Debug, Clone)]
pub struct Fenced {
    proof: Proof,
    moved: BTreeSet<VmId>,
}

/// Outlives the process.
pub struct Store {
    /// Which host may run a VM.
    pub place: BTreeMap<VmId, usize>,
    pub fenced: Vec<Option<Fenced>>,
    pub has_power: bool,
}

/// What a host said last.
struct Said {
    run: AgentRunId,
    challenge: Challenge,
    there: BTreeSet<VmId>,
    running: BTreeSet<VmId>,
}

pub struct Orchestrator {
    pub life: u32,
    began: u64,
    rate: u64,
    judges: Vec<Judge>,
    said: Vec<Option<Said>>,
    /// Answers to questions of before count for nothing.
    fenced_at: Vec<Option<Moment>>,
    next: u64,
}

impl Orchestrator {
    pub fn new(life: u32, store: &Store, scene: &mut Scene) -> Self {
        let timing = match scene.mistake {
            Mistake::HastyJudge => Timing::new(12, 1, 3).unwrap(),
            _ => scene.timing,
        };
        let now = Moment::at(Duration::ZERO);
        let judge = |fenced: &Option<Fenced>| match fenced {
            Some(fenced) => Judge::fenced(timing, fenced.proof, now),
            None => Judge::new(timing, now),
        };
        Self {
            life,
            began: scene.now,
            rate: scene.rate(),
            judges: store.fenced.iter().map(judge).collect(),
            said: store.fenced.iter().map(|_| None).collect(),
            fenced_at: vec![None; store.fenced.len()],
            next: scene.now,
        }
    }

    fn clock(&self, scene: &Scene) -> Moment {
        Moment::at(Duration::from_micros((scene.now - self.began) * self.rate))
    }

    pub fn take(&mut self, (host, body): (usize, Body), store: &mut Store, scene: &mut Scene) {
        let now = self.clock(scene);
        match body {
            Body::Answer { asked, run, challenge, there, running } => {
                if self.fenced_at[host].is_none_or(|at| asked > at) {
                    self.judges[host].heard(now);
                    self.said[host] = Some(Said { run, challenge, there, running });
                }
            }
            Body::Looked { asked, marks } => {
                for (other, mark) in marks.into_iter().enumerate().filter(|(other, _)| *other != host) {
                    if self.judges[other].looked(Reading { asked, answered: now, mark }) {
                        scene.tally.by_lease += 1;
                        self.fence(other, (Proof::Lease, now), store);
                    }
                }
            }
            Body::IsOff { asked } => {
                if self.judges[host].found_off(asked) {
                    scene.tally.by_power += 1;
                    self.fence(host, (Proof::Power, now), store);
                }
            }
            _ => {}
        }
    }

    fn fence(&mut self, host: usize, (proof, now): (Proof, Moment), store: &mut Store) {
        store.fenced[host] = Some(Fenced { proof, moved: BTreeSet::new() });
        self.fenced_at[host] = Some(now);
        self.said[host] = None;
    }

    pub fn step(&mut self, store: &mut Store, scene: &mut Scene) -> Vec<Flight> {
        if scene.now < self.next {
            return Vec::new();
        }
        self.next = scene.now + 5_000;
        let now = self.clock(scene);
        let mut sent = Vec::new();
        for host in 0..self.judges.len() {
            self.welcome(host, now, store, scene);
            for (way, body) in self.for_host(host, now, (&*store, &mut *scene)) {
                sent.push(Flight { at: scene.now + scene.delay(), life: self.life, host, way, body });
            }
        }
        let heard: Vec<usize> =
            (0..self.judges.len()).filter(|host| self.judges[*host].verdict() == Verdict::Heard).collect();
        if let Some(reader) = scene.rng.choice(&heard) {
            let body = Body::Look { asked: now };
            let at = scene.now + scene.delay();
            sent.push(Flight { at, life: self.life, host: *reader, way: Way::Agent(None), body });
        }
        restart(&heard, store, scene);
        sent
    }

    fn welcome(&mut self, host: usize, now: Moment, store: &mut Store, scene: &mut Scene) {
        let (Some(fenced), Some(said)) = (&store.fenced[host], &self.said[host]) else { return };
        if left_over(&said.there, &fenced.moved).is_empty() {
            store.fenced[host] = None;
            self.fenced_at[host] = None;
            self.judges[host].welcome(now);
            scene.tally.welcomes += 1;
        }
    }

    fn for_host(
        &mut self,
        host: usize,
        now: Moment,
        (store, scene): (&Store, &mut Scene),
    ) -> Vec<(Way, Body)> {
        let granted = self.judges[host].grant(now);
        let said = self.said[host].as_ref();
        let challenge = said.filter(|_| granted).map(|said| said.challenge);
        let mut sent = vec![(Way::Agent(None), Body::Beat { asked: now, challenge })];
        let suspected = self.judges[host].verdict() == Verdict::Suspected;
        if store.has_power && suspected && (self.judges[host].may_be_cut() || scene.rng.bool()) {
            sent.push((Way::Power, Body::PowerOff { asked: now }));
        }
        let Some(said) = said else { return sent };
        let way = Way::Agent(Some(said.run));
        if let Some(fenced) = &store.fenced[host] {
            let over = left_over(&said.there, &fenced.moved);
            sent.extend(over.into_iter().map(|vm| (way, Body::Remove(vm))));
        } else if granted {
            sent.push((way, Body::AllowAutostart));
            let here = store.place.iter().filter(|(_, place)| **place == host).map(|(vm, _)| *vm);
            let missing = here.filter(|vm| !said.running.contains(vm));
            sent.extend(missing.map(|vm| (way, Body::Start(vm))));
        }
        sent
    }
}

/// Gives the VMs of fenced hosts to others.
fn restart(heard: &[usize], store: &mut Store, scene: &mut Scene) {
    let stranded = store.place.iter().filter(|(_, place)| store.fenced[**place].is_some());
    let stranded = stranded.map(|(vm, _)| Stranded {
        vm: *vm,
        priority: RestartPriority::Medium,
        memory: MemoryMiB::ZERO,
    });
    for Stranded { vm, .. } in in_order(stranded.collect()) {
        let Some(to) = scene.rng.choice(heard) else { return };
        let from = store.place[&vm];
        if let Some(fenced) = &mut store.fenced[from] {
            fenced.moved.insert(vm);
            store.place.insert(vm, *to);
            scene.tally.restarts += 1;
        }
    }
}
