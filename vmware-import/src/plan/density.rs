//! Packing what remains on fewer ESXi hosts, so that hosts come free for the new platform.
//!
//! First fit by falling memory, per cluster: memory is what limits a host, cores are over-committed by a factor.
//! One host more than the packing needs is kept (N+1). It is a bound for planning, not a schedule of vMotions:
//! affinity rules and reservations are not looked at, and the plan says so.

use std::collections::BTreeMap;

use serde::Serialize;

use super::inventory::{Host, Power, Vm};

/// How full hosts may get.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Share of a host's memory, in percent.
    pub memory_percent: u64,
    /// vCPUs per core.
    pub vcpus_per_core: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterDensity {
    pub cluster: String,
    pub hosts: usize,
    /// Hosts that have to stay, the spare one included.
    pub needed: usize,
    /// Hosts that can be emptied, in the order in which it costs least.
    pub free: Vec<String>,
}

/// Packs the running VMs among `vms` for which `remains` holds.
pub fn pack(
    hosts: &[Host],
    vms: &[Vm],
    limits: Limits,
    remains: impl Fn(usize) -> bool,
) -> Vec<ClusterDensity> {
    let mut clusters: BTreeMap<&str, Vec<&Host>> = BTreeMap::new();
    for host in hosts {
        clusters.entry(&host.cluster).or_default().push(host);
    }
    let mut by_host: BTreeMap<&str, Vec<&Vm>> = BTreeMap::new();
    for (_, vm) in vms.iter().enumerate().filter(|(index, vm)| remains(*index) && vm.power == Power::On) {
        by_host.entry(&vm.host).or_default().push(vm);
    }
    clusters.into_iter().map(|(cluster, hosts)| pack_cluster(cluster, hosts, &by_host, limits)).collect()
}

fn pack_cluster(
    cluster: &str,
    mut hosts: Vec<&Host>,
    by_host: &BTreeMap<&str, Vec<&Vm>>,
    limits: Limits,
) -> ClusterDensity {
    let load = |host: &Host| -> u64 {
        by_host.get(host.name.as_str()).map_or(0, |vms| vms.iter().map(|vm| vm.memory_mib).sum())
    };
    // The fullest hosts stay: least has to be moved.
    hosts.sort_by_key(|host| std::cmp::Reverse(load(host)));
    let mut vms: Vec<&Vm> = hosts
        .iter()
        .flat_map(|host| by_host.get(host.name.as_str()).into_iter().flatten().copied())
        .collect();
    vms.sort_by_key(|vm| std::cmp::Reverse(vm.memory_mib));
    let packed = (0..=hosts.len()).find(|&count| fits(&hosts[..count], &vms, limits)).unwrap_or(hosts.len());
    let needed = if vms.is_empty() { 0 } else { (packed + 1).min(hosts.len()) };
    let free = hosts[needed..].iter().rev().map(|host| host.name.clone()).collect();
    ClusterDensity { cluster: cluster.to_owned(), hosts: hosts.len(), needed, free }
}

fn fits(hosts: &[&Host], vms: &[&Vm], limits: Limits) -> bool {
    let mut room: Vec<(u64, u64)> = hosts
        .iter()
        .map(|host| {
            (host.memory_mib * limits.memory_percent / 100, u64::from(host.cores) * limits.vcpus_per_core)
        })
        .collect();
    // The sums first: most counts fail here without a packing.
    let (memory, cpus) = room.iter().fold((0, 0), |sum, host| (sum.0 + host.0, sum.1 + host.1));
    let asked = vms.iter().fold((0, 0), |sum, vm| (sum.0 + vm.memory_mib, sum.1 + u64::from(vm.vcpus)));
    if asked.0 > memory || asked.1 > cpus {
        return false;
    }
    vms.iter().all(|vm| {
        let slot = room.iter_mut().find(|room| room.0 >= vm.memory_mib && room.1 >= u64::from(vm.vcpus));
        slot.map(|room| {
            room.0 -= vm.memory_mib;
            room.1 -= u64::from(vm.vcpus);
        })
        .is_some()
    })
}
