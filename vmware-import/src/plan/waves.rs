//! Waves: who moves when, and how long it takes.
//!
//! VMs that depend on each other move in one wave, the less critical groups first, and a wave is as large as its
//! window allows at the measured rates. Times have a spread, because rates have one; a wave's time is that of its
//! narrowest place: one ESXi host, one datastore, one target, or the whole line.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::inventory::Vm;

/// Caps and rates; MiB per second.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    pub per_vm: f64,
    pub per_host: f64,
    pub per_datastore: f64,
    pub per_target: f64,
    pub overall: f64,
    /// Measured rates vary: the fast and the slow end, as factors of the time.
    pub best: f64,
    pub worst: f64,
    /// Seconds of each VM that no rate changes: snapshot, shutdown, preparation, start.
    pub per_vm_fixed_seconds: f64,
}

impl Default for Rates {
    /// One 10 Gbit/s line, ESXi hosts at what NFC gives. Measure and replace.
    fn default() -> Self {
        Self {
            per_vm: 100.0,
            per_host: 250.0,
            per_datastore: 400.0,
            per_target: 500.0,
            overall: 800.0,
            best: 0.8,
            worst: 1.6,
            per_vm_fixed_seconds: 300.0,
        }
    }
}

/// How waves are cut.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WaveLimits {
    pub max_vms: usize,
    /// Hours of a migration window.
    pub window_hours: f64,
    pub parallel_overall: usize,
    pub parallel_per_host: usize,
    pub parallel_per_datastore: usize,
    pub parallel_per_target: usize,
}

impl Default for WaveLimits {
    fn default() -> Self {
        // Above ten NFC sessions one host runs out of the memory it sets aside for them.
        Self {
            max_vms: 100,
            window_hours: 8.0,
            parallel_overall: 20,
            parallel_per_host: 4,
            parallel_per_datastore: 8,
            parallel_per_target: 8,
        }
    }
}

/// What the administrator knows about a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wish {
    /// 0 least critical, 9 most.
    pub criticality: u8,
    /// Names of VMs that have to move in the same wave.
    pub depends_on: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub mib: u64,
    pub seconds: f64,
    pub best_seconds: f64,
    pub worst_seconds: f64,
    /// What limits it: `line`, `host NAME`, `datastore NAME`, `target NAME`, `vm NAME`.
    pub narrowest: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wave {
    pub number: usize,
    /// Indexes into the inventory, dependencies first.
    #[serde(skip)]
    pub members: Vec<usize>,
    pub vms: Vec<String>,
    pub criticality: u8,
    pub estimate: Estimate,
    /// It does not fit the window even alone: it needs several passes while its VMs run.
    pub exceeds_window: bool,
}

/// Sets of VMs that move together.
struct Groups(Vec<usize>);

impl Groups {
    fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// Cuts the `movable` VMs into waves.
#[must_use]
pub fn cut(
    vms: &[Vm],
    movable: &[usize],
    wishes: &HashMap<String, Wish>,
    settings: (&Rates, &WaveLimits),
    target_of: &dyn Fn(&str) -> String,
) -> Vec<Wave> {
    let (rates, limits) = settings;
    let mut waves: Vec<Wave> = Vec::new();
    let mut members: Vec<usize> = Vec::new();
    let mut sum = Load::default();
    let window = limits.window_hours * 3600.0;
    for group in groups(vms, movable, wishes) {
        let mut with = sum.clone();
        group.iter().for_each(|&index| with.add(&vms[index], target_of));
        let full = members.len() + group.len() > limits.max_vms || with.seconds(rates, limits).0 > window;
        if full && !members.is_empty() {
            waves.push(wave(
                waves.len() + 1,
                std::mem::take(&mut members),
                vms,
                wishes,
                (&sum, rates, limits),
            ));
            sum = Load::default();
        }
        group.iter().for_each(|&index| sum.add(&vms[index], target_of));
        members.extend(group);
    }
    if !members.is_empty() {
        waves.push(wave(waves.len() + 1, members, vms, wishes, (&sum, rates, limits)));
    }
    waves
}

/// Groups in the order in which they move: least critical first, then the small ones.
fn groups(vms: &[Vm], movable: &[usize], wishes: &HashMap<String, Wish>) -> Vec<Vec<usize>> {
    let by_name: HashMap<&str, usize> =
        movable.iter().map(|&index| (vms[index].name.as_str(), index)).collect();
    let mut sets = Groups((0..vms.len()).collect());
    for &index in movable {
        for other in wishes.get(&vms[index].name).into_iter().flat_map(|wish| &wish.depends_on) {
            if let Some(&other) = by_name.get(other.as_str()) {
                sets.join(index, other);
            }
        }
    }
    let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
    for &index in movable {
        groups.entry(sets.find(index)).or_default().push(index);
    }
    let criticality =
        |group: &Vec<usize>| group.iter().map(|&i| criticality(vms, i, wishes)).max().unwrap_or(0);
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    groups.sort_by_key(|group| {
        let mib: u64 = group.iter().map(|&index| vms[index].transfer_mib()).sum();
        (criticality(group), mib, group[0])
    });
    for group in &mut groups {
        // What others depend on comes first.
        group.sort_by_key(|&index| wishes.get(&vms[index].name).map_or(0, |wish| wish.depends_on.len()));
    }
    groups
}

fn criticality(vms: &[Vm], index: usize, wishes: &HashMap<String, Wish>) -> u8 {
    wishes.get(&vms[index].name).map_or(0, |wish| wish.criticality)
}

#[derive(Clone, Default)]
struct Load {
    mib: u64,
    vms: usize,
    largest: (u64, String),
    hosts: HashMap<String, (u64, usize)>,
    datastores: HashMap<String, (u64, usize)>,
    targets: HashMap<String, (u64, usize)>,
}

impl Load {
    fn add(&mut self, vm: &Vm, target_of: &dyn Fn(&str) -> String) {
        let mib = vm.transfer_mib();
        self.mib += mib;
        self.vms += 1;
        if mib > self.largest.0 {
            self.largest = (mib, vm.name.clone());
        }
        let count = |map: &mut HashMap<String, (u64, usize)>, key: String, mib: u64| {
            let slot = map.entry(key).or_default();
            slot.0 += mib;
            slot.1 += 1;
        };
        count(&mut self.hosts, vm.host.clone(), mib);
        for disk in &vm.disks {
            let share = disk.used_mib.unwrap_or(disk.capacity_mib).min(mib);
            count(&mut self.datastores, disk.datastore().to_owned(), share);
            count(&mut self.targets, target_of(disk.datastore()), share);
        }
    }

    /// The time of the narrowest place, and its name.
    fn seconds(&self, rates: &Rates, limits: &WaveLimits) -> (f64, String) {
        let fixed = rates.per_vm_fixed_seconds;
        let rate = |rate: f64| rate.max(0.001);
        let mut worst = (self.mib as f64 / rate(rates.overall), "line".to_owned());
        let rounds = self.vms.div_ceil(limits.parallel_overall.max(1)) as f64;
        worst.0 = worst.0.max(rounds * fixed);
        let mut consider = |seconds: f64, name: String| {
            if seconds > worst.0 {
                worst = (seconds, name);
            }
        };
        consider(self.largest.0 as f64 / rate(rates.per_vm) + fixed, format!("vm {}", self.largest.1));
        for (map, limit, parallel, word) in [
            (&self.hosts, rates.per_host, limits.parallel_per_host, "host"),
            (&self.datastores, rates.per_datastore, limits.parallel_per_datastore, "datastore"),
            (&self.targets, rates.per_target, limits.parallel_per_target, "target"),
        ] {
            for (name, (mib, count)) in map {
                let parallel = parallel.max(1);
                let shared = rate(limit.min(rates.per_vm * parallel as f64));
                let seconds = (*mib as f64 / shared).max(count.div_ceil(parallel) as f64 * fixed);
                consider(seconds, format!("{word} {name}"));
            }
        }
        worst
    }
}

fn wave(
    number: usize,
    members: Vec<usize>,
    vms: &[Vm],
    wishes: &HashMap<String, Wish>,
    load: (&Load, &Rates, &WaveLimits),
) -> Wave {
    let (load, rates, limits) = load;
    let (seconds, narrowest) = load.seconds(rates, limits);
    let estimate = Estimate {
        mib: load.mib,
        seconds,
        best_seconds: seconds * rates.best,
        worst_seconds: seconds * rates.worst,
        narrowest,
    };
    Wave {
        number,
        vms: members.iter().map(|&index| vms[index].name.clone()).collect(),
        criticality: members.iter().map(|&index| criticality(vms, index, wishes)).max().unwrap_or(0),
        exceeds_window: seconds > limits.window_hours * 3600.0,
        estimate,
        members,
    }
}
