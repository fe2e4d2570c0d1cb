//! One row from what is intended and what is observed.

use std::collections::{BTreeMap, BTreeSet};

use xenith_common_ids::{HostId, NetworkId, VdiId, VmId};
use xenith_hypervisor_agent_types::{ObservedVm, PlatformKind, Power as ObservedPower};
use xenith_orchestrator_inventory::host::{HostRow, HostStatus, Maintenance};
use xenith_orchestrator_inventory::vdi::{Attached, VdiRow};
use xenith_orchestrator_inventory::vm::{Kind, Managed, Named, Power, VmRow};

use super::{Intended, KnownVm};
use crate::fleet::{Fleet, Link};

/// `None`: there is no such VM, or it is an unmanaged one whose host is not heard.
pub(super) fn vm(vm: VmId, intended: &Intended, fleet: &Fleet) -> Option<VmRow> {
    let record = intended.vms.get(&vm);
    let observed = fleet.vm(vm);
    let host = record.map(|record| record.host).or(observed.as_ref().map(|(host, _)| *host))?;
    let host_record = intended.hosts.get(&host);
    let pool = record.map(|record| record.pool).or(host_record.map(|host| host.pool));
    let observed = observed.map(|(_, observed)| observed);
    let observed = observed.as_deref();
    let guest = observed.map(|observed| &observed.guest);
    Some(VmRow {
        id: vm,
        name: record.map_or_else(
            || observed.map(|observed| observed.name.clone()).unwrap_or_default(),
            |record| record.name.to_string(),
        ),
        description: record.map(|record| record.description.to_string()).unwrap_or_default(),
        power: power_of(host, vm, fleet),
        host: host_record.map(|record| Named { id: host, name: record.name.clone() }),
        pool: pool.and_then(|id| intended.pools.get(&id).map(|pool| Named { id, name: pool.name.clone() })),
        tags: record.map(|record| record.tags.iter().cloned().collect()).unwrap_or_default(),
        memory: memory(record.map(|record| &**record), observed),
        vcpus: observed
            .map(|observed| observed.vcpus_online)
            .or(record.map(|record| record.vcpus))
            .unwrap_or_default(),
        kind: kind(record.map(|record| record.kind).or(observed.map(|observed| observed.kind))?),
        addresses: guest
            .map(|guest| guest.addresses.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        os: guest.and_then(|guest| guest.os.clone()),
        created: record.map(|record| record.created),
        started: observed.and_then(|observed| observed.started),
        managed: if record.is_some() { Managed::Yes } else { Managed::No },
        fields: BTreeMap::new(),
        cpu: None,
        networks: record.map(|record| each_once(&record.networks)).unwrap_or_default(),
    })
}

/// Several NICs may be in one network.
fn each_once(networks: &[NetworkId]) -> Vec<NetworkId> {
    networks.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
}

pub(super) fn host(host: HostId, intended: &Intended, fleet: &Fleet) -> Option<HostRow> {
    let record = intended.hosts.get(&host)?;
    let state = fleet.state(host);
    let facts = state.as_ref().and_then(|state| state.facts());
    let facts = facts.as_deref();
    Some(HostRow {
        id: host,
        name: record.name.clone(),
        pool: intended.pools.get(&record.pool).map(|pool| pool.name.clone()),
        status: match state.as_ref().map_or(Link::Connecting, |state| state.link()) {
            Link::Connected => HostStatus::Connected,
            Link::Connecting if record.local_sr.is_none() => HostStatus::Enrolling,
            Link::Connecting | Link::Lost { .. } => HostStatus::Unknown,
        },
        maintenance: if record.maintenance { Maintenance::On } else { Maintenance::Off },
        memory_total: facts.map(|facts| facts.memory_total.mib()),
        memory_free: facts.map(|facts| facts.memory_free.mib()),
        cpus: facts.map(|facts| facts.topology.cpus),
        vms: state.as_ref().map_or(0, |state| u32::try_from(state.vm_count()).unwrap_or(u32::MAX)),
        xen_version: facts.map(|facts| format!("{}.{}{}", facts.xen.major, facts.xen.minor, facts.xen.extra)),
        agent_version: state.as_ref().and_then(|state| state.agent_version()),
        tags: vec![],
        addresses: vec![record.address.clone()],
    })
}

pub(super) fn vdi(vdi: VdiId, intended: &Intended) -> Option<VdiRow> {
    let record = intended.vdis.get(&vdi)?;
    let host = intended.hosts.get(&record.host);
    let pool = host.and_then(|host| intended.pools.get(&host.pool));
    let vm = record.attached_to.and_then(|vm| intended.vms.get(&vm));
    Some(VdiRow {
        id: vdi,
        name: record.name.clone(),
        size: record.size.bytes().div_ceil(1 << 20),
        host: host.map(|host| host.name.clone()),
        pool: pool.map(|pool| pool.name.clone()),
        sr: Some(record.sr.to_string()),
        vm: vm.map(|vm| vm.name.to_string()),
        attached: if record.attached_to.is_some() { Attached::Yes } else { Attached::No },
        tags: vm.map(|vm| vm.tags.iter().cloned().collect()).unwrap_or_default(),
    })
}

fn memory(record: Option<&KnownVm>, observed: Option<&ObservedVm>) -> xenith_common_units::MemoryMiB {
    let observed = observed.filter(|observed| observed.power.has_domain()).map(|observed| observed.memory);
    observed.or(record.map(|record| record.memory)).unwrap_or_default()
}

/// How a VM of this host is, by what is heard of it.
pub(super) fn power_of(host: HostId, vm: VmId, fleet: &Fleet) -> Power {
    match fleet.state(host).filter(|state| state.is_heard()) {
        None => Power::Unknown,
        Some(state) => match state.vm(vm) {
            Some(observed) => power(observed.power),
            // What another host told is not so any more, or not yet: that one may be dead, and its VM on the way to this one.
            None if fleet.vm(vm).is_some() => Power::Unknown,
            // The host is heard and does not have it: it is not defined there yet.
            None => Power::Stopped,
        },
    }
}

const fn power(power: ObservedPower) -> Power {
    match power {
        ObservedPower::Stopped => Power::Stopped,
        ObservedPower::Starting | ObservedPower::Resuming => Power::Starting,
        ObservedPower::Running => Power::Running,
        ObservedPower::Paused => Power::Paused,
        ObservedPower::Stopping | ObservedPower::Suspending => Power::Stopping,
        ObservedPower::Suspended => Power::Suspended,
        ObservedPower::Crashed => Power::Crashed,
        ObservedPower::Unknown => Power::Unknown,
    }
}

const fn kind(kind: PlatformKind) -> Kind {
    match kind {
        PlatformKind::Pv => Kind::Pv,
        PlatformKind::Pvh => Kind::Pvh,
        PlatformKind::Hvm => Kind::Hvm,
    }
}
