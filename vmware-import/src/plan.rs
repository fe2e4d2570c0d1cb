//! The plan of a move: what stands in the way of each VM, who moves when, which ESXi hosts come free.
//!
//! Pure: an inventory and settings in, a printable value out; nothing is contacted and nothing changed. A disk
//! or NIC that cannot come along is a finding that blocks, never left out in silence. Costs stay linear in the
//! number of VMs: 50,000 are planned in seconds.

pub mod density;
pub mod inventory;
pub mod rules;
pub mod rvtools;
pub mod waves;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use self::density::{ClusterDensity, Limits, pack};
use self::inventory::{Inventory, Vm};
use self::rules::{Finding, RULES, Severity, assess};
use self::waves::{Rates, Wave, WaveLimits, Wish, cut};
use crate::error::{ImportError, Result};

/// What is known of the target and wanted of the plan; a TOML file of the administrator.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Source network to target network. Empty: not decided yet, nothing is said about it.
    pub networks: HashMap<String, String>,
    /// Source datastore to target storage.
    pub storage: HashMap<String, String>,
    /// Free MiB of each target storage.
    pub free_mib: HashMap<String, u64>,
    /// Names of VMs that the target has already.
    pub taken_names: HashSet<String>,
    pub max_host_memory_mib: Option<u64>,
    pub max_host_cores: Option<u32>,
    pub rates: Rates,
    pub waves: WaveLimits,
    pub vms: HashMap<String, Wish>,
}

impl Settings {
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| ImportError::Usage(format!("{file}: {error}")))
    }
}

/// What rules may ask about everything else.
pub struct Context<'a> {
    settings: &'a Settings,
    names: HashMap<&'a str, u32>,
    macs: HashMap<&'a str, u32>,
    paths: HashMap<&'a str, u32>,
}

impl<'a> Context<'a> {
    #[must_use]
    pub fn new(inventory: &'a Inventory, settings: &'a Settings) -> Self {
        let mut context =
            Self { settings, names: HashMap::new(), macs: HashMap::new(), paths: HashMap::new() };
        for vm in &inventory.vms {
            *context.names.entry(&vm.name).or_default() += 1;
            for nic in vm.nics.iter().filter(|nic| !nic.mac.is_empty()) {
                *context.macs.entry(&nic.mac).or_default() += 1;
            }
            for disk in vm.disks.iter().filter(|disk| !disk.path.is_empty()) {
                *context.paths.entry(&disk.path).or_default() += 1;
            }
        }
        context
    }

    #[must_use]
    pub fn name_users(&self, name: &str) -> u32 {
        self.names.get(name).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn name_taken(&self, name: &str) -> bool {
        self.settings.taken_names.contains(name)
    }

    #[must_use]
    pub fn mac_users(&self, mac: &str) -> u32 {
        self.macs.get(mac).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn disk_users(&self, path: &str) -> u32 {
        self.paths.get(path).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn network_known(&self, name: &str) -> bool {
        self.settings.networks.is_empty() || self.settings.networks.contains_key(name)
    }

    #[must_use]
    pub fn storage_known(&self, name: &str) -> bool {
        self.settings.storage.is_empty() || self.settings.storage.contains_key(name)
    }

    #[must_use]
    pub fn max_host_memory_mib(&self) -> Option<u64> {
        self.settings.max_host_memory_mib
    }

    #[must_use]
    pub fn max_host_cores(&self) -> Option<u32> {
        self.settings.max_host_cores
    }

    /// Whether the disks of `vm` alone are more than a target has room for.
    #[must_use]
    pub fn too_large_for_target(&self, vm: &Vm) -> bool {
        let mut needed: HashMap<&str, u64> = HashMap::new();
        for disk in &vm.disks {
            if let Some(target) = self.settings.storage.get(disk.datastore()) {
                *needed.entry(target).or_default() += disk.used_mib.unwrap_or(disk.capacity_mib);
            }
        }
        needed.iter().any(|(target, mib)| self.settings.free_mib.get(*target).is_some_and(|free| mib > free))
    }
}

/// The assessment of one VM.
#[derive(Debug, Clone, Serialize)]
pub struct VmAssessment {
    pub name: String,
    pub id: String,
    pub transfer_mib: u64,
    /// What is read: `changed blocks`, `whole disks` or `switched off`.
    pub method: &'static str,
    pub findings: Vec<Finding>,
}

impl VmAssessment {
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// Hosts that can be given back after a wave.
#[derive(Debug, Clone, Serialize)]
pub struct FreedHosts {
    pub after_wave: usize,
    /// Seconds from the start of the first wave, if the waves followed each other without a break.
    pub after_seconds: f64,
    pub clusters: Vec<ClusterDensity>,
}

#[derive(Debug, Clone, Serialize)]
pub struct MovePlan {
    pub vms: Vec<VmAssessment>,
    pub waves: Vec<Wave>,
    /// VMs that cannot move as they are.
    pub blocked: Vec<String>,
    /// How often each rule spoke.
    pub counts: BTreeMap<&'static str, usize>,
    /// What could be freed before anything moves, and after each wave.
    pub freed: Vec<FreedHosts>,
    pub total_mib: u64,
    pub notes: Vec<String>,
}

/// After this many waves in a row only the last state is packed again: thousands of waves of one VM each would
/// make the plan quadratic.
const MAX_PACKINGS: usize = 64;

/// Makes the plan.
#[must_use]
pub fn make(inventory: &Inventory, settings: &Settings) -> MovePlan {
    let context = Context::new(inventory, settings);
    let vms: Vec<VmAssessment> = inventory.vms.iter().map(|vm| assess_vm(vm, &context)).collect();
    let is_blocked = |index: usize| vms[index].worst() == Some(Severity::Blocks);
    let movable: Vec<usize> = (0..vms.len()).filter(|&index| !is_blocked(index)).collect();
    let target_of = |datastore: &str| settings.storage.get(datastore).cloned().unwrap_or_default();
    let waves = cut(&inventory.vms, &movable, &settings.vms, (&settings.rates, &settings.waves), &target_of);
    let mut counts: BTreeMap<&'static str, usize> = RULES.iter().map(|rule| (rule.code, 0)).collect();
    for finding in vms.iter().flat_map(|vm| &vm.findings) {
        *counts.entry(finding.code).or_default() += 1;
    }
    let blocked = (0..vms.len()).filter(|&i| is_blocked(i)).map(|i| vms[i].name.clone()).collect();
    MovePlan {
        total_mib: movable.iter().map(|&index| vms[index].transfer_mib).sum(),
        freed: freed(inventory, &waves),
        notes: vec![
            "packing looks at memory and vCPUs only; affinity rules and reservations are not known to it"
                .to_owned(),
        ],
        vms,
        waves,
        blocked,
        counts,
    }
}

fn assess_vm(vm: &Vm, context: &Context<'_>) -> VmAssessment {
    let method = match (vm.power, vm.cbt) {
        (inventory::Power::On, Some(true)) => "changed blocks",
        (inventory::Power::On, _) => "whole disks",
        _ => "switched off",
    };
    VmAssessment {
        name: vm.name.clone(),
        id: vm.id.clone(),
        transfer_mib: vm.transfer_mib(),
        method,
        findings: assess(vm, context),
    }
}

fn freed(inventory: &Inventory, waves: &[Wave]) -> Vec<FreedHosts> {
    let limits = Limits { memory_percent: 90, vcpus_per_core: 6 };
    let mut gone = vec![false; inventory.vms.len()];
    let now = pack(&inventory.hosts, &inventory.vms, limits, |_| true);
    let mut found = vec![FreedHosts { after_wave: 0, after_seconds: 0.0, clusters: now }];
    let mut seconds = 0.0;
    let step = waves.len().div_ceil(MAX_PACKINGS).max(1);
    for (index, wave) in waves.iter().enumerate() {
        wave.members.iter().for_each(|&vm| gone[vm] = true);
        seconds += wave.estimate.seconds;
        if wave.number % step == 0 || index + 1 == waves.len() {
            let clusters = pack(&inventory.hosts, &inventory.vms, limits, |vm| !gone[vm]);
            found.push(FreedHosts { after_wave: wave.number, after_seconds: seconds, clusters });
        }
    }
    found
}
