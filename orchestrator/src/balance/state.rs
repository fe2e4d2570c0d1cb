//! What a plan has done so far: where VMs are, how full hosts are, in order.
//!
//! A move is applied and can be taken back, the last one first. `view.memory_free` and `view.vms` of a host, which
//! placement's rules read, only lose room and gain VMs; how full a host is follows what leaves it, too.

use std::collections::{BTreeSet, HashMap, HashSet};

use xenith_common_ids::{HostId, VmId};

use super::{Changed, Fullness, HostLoad, Move, Plan, VmView, Vms};
use crate::placement::{HostView, company, fits};

/// Notes that one plan has at most: the first say what is wrong.
const NOTES: usize = 20;

/// A host by its place in the list.
pub(super) type At = usize;

pub(super) struct Host {
    pub view: HostView,
    pub memory_used: u64,
    pub cpu: u64,
    pub before: Fullness,
    pub count: usize,
    pub vms: Vec<VmView>,
    pub looked_at: bool,
    /// Takes part, and is not to be emptied.
    pub open: bool,
    /// Got VMs by this plan.
    pub received: usize,
}

impl Host {
    pub fn fullness(&self) -> Fullness {
        Fullness::of(self.memory_used, &self.view, self.cpu)
    }

    /// As it would be with so much more.
    pub fn with(&self, (memory, cpu): (u64, u64)) -> Fullness {
        Fullness::of(self.memory_used + memory, &self.view, self.cpu + cpu)
    }

    pub fn without(&self, (memory, cpu): (u64, u64)) -> Fullness {
        Fullness::of(self.memory_used.saturating_sub(memory), &self.view, self.cpu.saturating_sub(cpu))
    }
}

/// A move that was applied: the VM is `hosts[from].vms[index]`.
#[derive(Debug, Clone)]
pub(super) struct Applied {
    pub from: At,
    pub index: usize,
    pub to: At,
    pub reason: String,
}

pub(super) struct State {
    pub hosts: Vec<Host>,
    /// Those that are open, the emptiest first.
    pub order: BTreeSet<(u64, At)>,
    /// Where VMs run, as far as the plan is made.
    positions: HashMap<VmId, At>,
    moved: HashSet<VmId>,
    applied: Vec<Applied>,
    /// What the giving host had in use before each: more may be told of its VMs than of it.
    given: Vec<(u64, u64)>,
    most: usize,
    pub empty: Vec<At>,
    notes: Vec<String>,
}

impl State {
    pub fn new(hosts: Vec<HostLoad>, most: usize) -> Self {
        let mut hosts: Vec<Host> = hosts.into_iter().map(host).collect();
        // Whatever order they come in, the plan is the same.
        hosts.sort_by(|a, b| a.view.name.cmp(&b.view.name).then_with(|| a.view.host.cmp(&b.view.host)));
        mirror(&mut hosts);
        let order = hosts.iter().enumerate().filter(|(_, host)| host.open);
        let order = order.map(|(at, host)| (host.fullness().most(), at)).collect();
        let mut positions = HashMap::new();
        for (at, host) in hosts.iter().enumerate() {
            positions.extend(host.view.vms.iter().map(|vm| (*vm, at)));
        }
        Self {
            hosts,
            order,
            positions,
            moved: HashSet::new(),
            applied: Vec::new(),
            given: Vec::new(),
            most,
            empty: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Moves that may still be added.
    pub fn left(&self) -> usize {
        self.most - self.applied.len()
    }

    pub fn mark(&self) -> usize {
        self.applied.len()
    }

    pub fn note(&mut self, note: impl FnOnce() -> String) {
        if self.notes.len() < NOTES {
            self.notes.push(note());
        }
    }

    pub fn name(&self, at: At) -> &str {
        &self.hosts[at].view.name
    }

    pub fn full(&self, at: At) -> u64 {
        self.hosts[at].fullness().most()
    }

    pub fn mean(&self) -> u64 {
        let sum: u64 = self.order.iter().map(|(full, _)| full).sum();
        sum / std::cmp::max(self.order.len() as u64, 1)
    }

    /// Why a VM cannot be moved by this plan.
    pub fn stays(&self, vm: &VmView) -> Option<&'static str> {
        vm.stays.or_else(|| self.moved.contains(&vm.vm).then_some("goes elsewhere by this plan"))
    }

    pub fn position(&self, vm: VmId) -> Option<At> {
        self.positions.get(&vm).copied()
    }

    pub fn beside(&self, of: &BTreeSet<VmId>, at: At) -> usize {
        of.iter().filter(|vm| self.position(**vm) == Some(at)).count()
    }

    /// Whether a host can take a VM, and has none of those to stay apart from; those that left it by this plan count as
    /// there.
    pub fn takes(&self, vm: &VmView, to: At) -> bool {
        let there = &self.hosts[to].view;
        fits(&vm.wish, there) && (vm.wish.apart_from.is_empty() || company(&vm.wish, there).0 == 0)
    }

    pub fn apply(&mut self, applied: Applied) {
        self.shift(&applied, Shift::There);
        self.applied.push(applied);
    }

    /// Back to a mark.
    pub fn take_back(&mut self, mark: usize) {
        while self.applied.len() > mark {
            if let Some(last) = self.applied.pop() {
                self.shift(&last, Shift::Back);
            }
        }
    }

    fn shift(&mut self, applied: &Applied, shift: Shift) {
        let Applied { from, index, to, .. } = *applied;
        for at in [from, to] {
            let full = self.full(at);
            self.order.remove(&(full, at));
        }
        let vm = &self.hosts[from].vms[index];
        let (id, memory, cpu, vcpus, off) = (vm.vm, vm.wish.memory, vm.cpu, vm.wish.vcpus, vm.is_off());
        match shift {
            Shift::There => {
                let source = &mut self.hosts[from];
                self.given.push((source.memory_used, source.cpu));
                source.memory_used = source.memory_used.saturating_sub(memory);
                source.cpu = source.cpu.saturating_sub(cpu);
                let target = &mut self.hosts[to];
                target.memory_used += memory;
                target.cpu += cpu;
                target.view.memory_free -= memory;
                target.view.vcpus_used += vcpus;
                target.received += 1;
                self.moved.insert(id);
                if !off {
                    self.hosts[to].view.vms.insert(id);
                    self.positions.insert(id, to);
                }
            }
            Shift::Back => {
                let target = &mut self.hosts[to];
                target.memory_used -= memory;
                target.cpu -= cpu;
                target.view.memory_free += memory;
                target.view.vcpus_used -= vcpus;
                target.received -= 1;
                if let Some(before) = self.given.pop() {
                    let source = &mut self.hosts[from];
                    (source.memory_used, source.cpu) = before;
                }
                self.moved.remove(&id);
                if !off {
                    self.hosts[to].view.vms.remove(&id);
                    self.positions.insert(id, from);
                }
            }
        }
        for at in [from, to] {
            let full = self.full(at);
            if self.hosts[at].open {
                self.order.insert((full, at));
            }
        }
    }

    /// Moves VMs of one host to another, all or none: each is taken, and none has fewer beside it of those to be
    /// together with. Whether it was done.
    pub fn move_together(&mut self, unit: &[usize], (from, to): (At, At), reason: &str) -> bool {
        let mark = self.mark();
        if unit.len() > self.left() {
            return false;
        }
        let before: Vec<usize> = unit.iter().map(|index| self.friends(from, *index, from)).collect();
        for index in unit {
            if !self.takes(&self.hosts[from].vms[*index], to) {
                self.take_back(mark);
                return false;
            }
            self.apply(Applied { from, index: *index, to, reason: reason.to_owned() });
        }
        let kept = unit.iter().zip(before).all(|(index, before)| self.friends(from, *index, to) >= before);
        if !kept {
            self.take_back(mark);
        }
        kept
    }

    /// How many a VM has beside it, at `at`, of those to be together with.
    fn friends(&self, from: At, index: usize, at: At) -> usize {
        self.beside(&self.hosts[from].vms[index].wish.together_with, at)
    }

    /// The VMs of a host, those that belong together as one. Each is a list of places in `vms`.
    pub fn units(&self, at: At) -> Vec<Vec<usize>> {
        let vms = &self.hosts[at].vms;
        if vms.iter().all(|vm| vm.wish.together_with.is_empty()) {
            return (0..vms.len()).map(|index| vec![index]).collect();
        }
        let places: HashMap<VmId, usize> = vms.iter().enumerate().map(|(index, vm)| (vm.vm, index)).collect();
        let mut seen = vec![false; vms.len()];
        let mut units = Vec::new();
        for start in 0..vms.len() {
            let (mut unit, mut open) = (Vec::new(), vec![start]);
            while let Some(index) = open.pop() {
                if std::mem::replace(&mut seen[index], true) {
                    continue;
                }
                unit.push(index);
                // Who is off is beside nobody.
                let friends = vms[index].wish.together_with.iter().filter_map(|vm| places.get(vm));
                open.extend(friends.filter(|friend| !vms[index].is_off() && !vms[**friend].is_off()));
            }
            if !unit.is_empty() {
                unit.sort_unstable();
                units.push(unit);
            }
        }
        units
    }

    /// Memory and processors of some VMs of a host.
    pub fn weight(&self, at: At, unit: &[usize]) -> (u64, u64) {
        let vms = unit.iter().map(|index| &self.hosts[at].vms[*index]);
        vms.fold((0, 0), |(memory, cpu), vm| (memory + vm.wish.memory, cpu + vm.cpu))
    }

    /// It gets nothing any more.
    pub fn close(&mut self, at: At) {
        let full = self.full(at);
        self.order.remove(&(full, at));
        self.hosts[at].open = false;
        self.empty.push(at);
    }

    pub fn into_plan(self) -> Plan {
        let Self { hosts, applied, empty, notes, .. } = self;
        let changed: BTreeSet<At> = applied.iter().flat_map(|applied| [applied.from, applied.to]).collect();
        let id = |at: At| -> HostId { hosts[at].view.host };
        let moves = applied.iter().map(|applied| {
            let vm = &hosts[applied.from].vms[applied.index];
            Move {
                vm: vm.vm,
                name: vm.name.clone(),
                from: id(applied.from),
                to: id(applied.to),
                memory: vm.wish.memory,
                reason: applied.reason.clone(),
            }
        });
        let changed = changed.into_iter().map(|at| {
            let host = &hosts[at];
            Changed {
                host: host.view.host,
                name: host.view.name.clone(),
                before: host.before,
                after: host.fullness(),
            }
        });
        Plan {
            moves: moves.collect(),
            hosts: changed.collect(),
            empty: empty.into_iter().map(id).collect(),
            notes,
        }
    }
}

#[derive(Clone, Copy)]
enum Shift {
    There,
    Back,
}

fn host(load: HostLoad) -> Host {
    let (before, open) = (load.fullness(), load.is_open());
    let HostLoad { view, memory_used, cpu, count, vms } = load;
    let (looked_at, mut vms) = match vms {
        Vms::NotLookedAt => (false, Vec::new()),
        Vms::Are(vms) => (true, vms),
    };
    vms.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.vm.cmp(&b.vm)));
    Host { view, memory_used, cpu, before, count, vms, looked_at, open, received: 0 }
}

/// A rule between two VMs holds for both, whichever of them names the other.
fn mirror(hosts: &mut [Host]) {
    let mut named: HashMap<VmId, (BTreeSet<VmId>, BTreeSet<VmId>)> = HashMap::new();
    for vm in hosts.iter().flat_map(|host| &host.vms) {
        for other in &vm.wish.apart_from {
            named.entry(*other).or_default().0.insert(vm.vm);
        }
        for other in &vm.wish.together_with {
            named.entry(*other).or_default().1.insert(vm.vm);
        }
    }
    if named.is_empty() {
        return;
    }
    for vm in hosts.iter_mut().flat_map(|host| &mut host.vms) {
        if let Some((apart, together)) = named.remove(&vm.vm) {
            vm.wish.apart_from.extend(apart);
            vm.wish.together_with.extend(together);
        }
    }
}
