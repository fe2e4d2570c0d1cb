//! One VM's row from what is intended and what is observed.

use std::collections::BTreeMap;

use xenith_common_ids::VmId;
use xenith_hypervisor_agent_types::{ObservedVm, PlatformKind, Power as ObservedPower};
use xenith_orchestrator_inventory::vm::{Kind, Managed, Named, Power, VmRow};

use super::Intended;
use crate::fleet::Fleet;
use crate::model::VmRecord;

/// `None`: there is no such VM, or it is an unmanaged one whose host is not heard.
pub(super) fn row(vm: VmId, intended: &Intended, fleet: &Fleet) -> Option<VmRow> {
    let record = intended.vms.get(&vm);
    let observed = fleet.vm(vm);
    let host = record.map(|record| record.host).or(observed.as_ref().map(|(host, _)| *host))?;
    let host_record = intended.hosts.get(&host);
    let pool = record.map(|record| record.pool).or(host_record.map(|host| host.pool));
    let heard = fleet.state(host).is_some_and(|state| state.is_heard());
    let observed = observed.map(|(_, observed)| observed);
    let observed = observed.as_deref();
    let guest = observed.map(|observed| &observed.guest);
    Some(VmRow {
        id: vm,
        name: record.map_or_else(
            || observed.map(|observed| observed.name.clone()).unwrap_or_default(),
            |record| record.spec.name.to_string(),
        ),
        description: record.map(|record| record.description.clone()).unwrap_or_default(),
        power: match (heard, observed) {
            (false, _) => Power::Unknown,
            (true, Some(observed)) => power(observed.power),
            // The host is heard and does not have it: it is not defined there yet.
            (true, None) => Power::Stopped,
        },
        host: host_record.map(|record| Named { id: host, name: record.name.clone() }),
        pool: pool.and_then(|id| intended.pools.get(&id).map(|pool| Named { id, name: pool.name.clone() })),
        tags: record.map(|record| record.tags.iter().cloned().collect()).unwrap_or_default(),
        memory: memory(record.map(|record| &**record), observed),
        vcpus: observed
            .map(|observed| observed.vcpus_online)
            .or(record.map(|record| record.spec.vcpus.online.get()))
            .unwrap_or_default(),
        kind: kind(
            record.map(|record| record.spec.platform.kind()).or(observed.map(|observed| observed.kind))?,
        ),
        addresses: guest
            .map(|guest| guest.addresses.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        os: guest.and_then(|guest| guest.os.clone()),
        created: record.map(|record| record.created),
        started: observed.and_then(|observed| observed.started),
        managed: if record.is_some() { Managed::Yes } else { Managed::No },
        fields: BTreeMap::new(),
        cpu: None,
    })
}

fn memory(record: Option<&VmRecord>, observed: Option<&ObservedVm>) -> xenith_common_units::MemoryMiB {
    let observed = observed.filter(|observed| observed.power.has_domain()).map(|observed| observed.memory);
    observed.or(record.map(|record| record.spec.memory.target)).unwrap_or_default()
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
