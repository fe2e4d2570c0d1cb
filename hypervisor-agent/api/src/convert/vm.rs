//! [`ObservedVm`] and VDIs.

use time::OffsetDateTime;
use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::{
    DeathReason, GuestFacts, ObservedVm, PlatformKind, Power, VdiFacts, VdiSize, VmFailure,
};

use super::fields::{enums, id, optional_id, under};
use crate::{WireError, wire};

enums! {
    fn power_to_wire, power: Power <-> Power {
        Stopped = Power::Stopped, Starting = Power::Starting, Running = Power::Running, Paused = Power::Paused,
        Stopping = Power::Stopping, Suspending = Power::Suspending, Suspended = Power::Suspended,
        Resuming = Power::Resuming, Crashed = Power::Crashed, Unknown = Power::Unknown,
    }
    fn kind_to_wire, kind: PlatformKind <-> PlatformKind {
        Pv = PlatformKind::Pv, Pvh = PlatformKind::Pvh, Hvm = PlatformKind::Hvm,
    }
    fn death_to_wire, death: DeathReason <-> DeathReason {
        PowerOff = DeathReason::PowerOff, Reboot = DeathReason::Reboot, Suspend = DeathReason::Suspend,
        Crash = DeathReason::Crash, Watchdog = DeathReason::Watchdog, SoftReset = DeathReason::SoftReset,
        Unknown = DeathReason::Unknown,
    }
}

fn to_ms(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn from_ms(field: &str, ms: i64) -> Result<OffsetDateTime, WireError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .map_err(|error| WireError::new(field, error))
}

fn memory(field: &str, mib: u64) -> Result<MemoryMiB, WireError> {
    MemoryMiB::new(mib).map_err(|error| WireError::new(field, error))
}

impl From<&ObservedVm> for wire::ObservedVm {
    fn from(vm: &ObservedVm) -> Self {
        Self {
            vm_id: vm.vm.to_string(),
            name: vm.name.clone(),
            power: power_to_wire(vm.power),
            kind: kind_to_wire(vm.kind),
            managed: vm.managed,
            definition: vm.definition,
            incarnation_id: vm.incarnation.map(|id| id.to_string()).unwrap_or_default(),
            domid: vm.domid.map(|domid| domid.0),
            memory_mib: vm.memory.mib(),
            vcpus_online: vm.vcpus_online,
            cpu_time_ns: vm.cpu_time_ns,
            started_ms: vm.started.map(to_ms),
            last_death: vm.last_death.map_or(0, death_to_wire),
            failure: vm
                .failure
                .as_ref()
                .map(|failure| wire::Failure { at_ms: to_ms(failure.at), message: failure.message.clone() }),
            guest: Some((&vm.guest).into()),
            cpu_given: vm.cpu_given.as_deref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::ObservedVm> for ObservedVm {
    type Error = WireError;

    fn try_from(vm: wire::ObservedVm) -> Result<Self, WireError> {
        Ok(Self {
            vm: id("vm_id", &vm.vm_id)?,
            name: vm.name,
            power: power("power", vm.power)?,
            kind: kind("kind", vm.kind)?,
            managed: vm.managed,
            definition: vm.definition,
            incarnation: optional_id("incarnation_id", &vm.incarnation_id)?,
            domid: vm.domid.map(DomId),
            memory: memory("memory_mib", vm.memory_mib)?,
            vcpus_online: vm.vcpus_online,
            cpu_time_ns: vm.cpu_time_ns,
            started: vm.started_ms.map(|ms| from_ms("started_ms", ms)).transpose()?,
            last_death: if vm.last_death == 0 { None } else { Some(death("last_death", vm.last_death)?) },
            failure: vm
                .failure
                .map(|failure| {
                    let at = from_ms("failure.at_ms", failure.at_ms)?;
                    Ok::<_, WireError>(Box::new(VmFailure { at, message: failure.message }))
                })
                .transpose()?,
            guest: under("guest", vm.guest.unwrap_or_default().try_into())?,
            cpu_given: optional_id("cpu_given", &vm.cpu_given)?.map(Box::new),
        })
    }
}

impl From<&GuestFacts> for wire::GuestFacts {
    fn from(guest: &GuestFacts) -> Self {
        Self {
            addresses: guest.addresses.iter().map(ToString::to_string).collect(),
            os: guest.os.clone(),
            pv_drivers: guest.pv_drivers.clone(),
            memory_free_mib: guest.memory_free.map(MemoryMiB::mib),
            data: guest.data.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }
}

impl TryFrom<wire::GuestFacts> for GuestFacts {
    type Error = WireError;

    fn try_from(guest: wire::GuestFacts) -> Result<Self, WireError> {
        Ok(Self {
            addresses: guest
                .addresses
                .iter()
                .map(|address| id("addresses", address))
                .collect::<Result<_, _>>()?,
            os: guest.os,
            pv_drivers: guest.pv_drivers,
            memory_free: guest.memory_free_mib.map(|mib| memory("memory_free_mib", mib)).transpose()?,
            data: guest.data.into_iter().collect(),
        })
    }
}

impl From<&VdiFacts> for wire::VdiFacts {
    fn from(vdi: &VdiFacts) -> Self {
        Self {
            vdi_id: vdi.vdi.to_string(),
            sr_id: vdi.sr.to_string(),
            size: vdi.size.bytes(),
            physical: vdi.physical,
            snapshot_of: vdi.snapshot_of.map(|of| of.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::VdiFacts> for VdiFacts {
    type Error = WireError;

    fn try_from(vdi: wire::VdiFacts) -> Result<Self, WireError> {
        Ok(Self {
            vdi: id("vdi_id", &vdi.vdi_id)?,
            sr: id("sr_id", &vdi.sr_id)?,
            size: VdiSize::from_bytes(vdi.size).map_err(|error| WireError::new("size", error))?,
            physical: vdi.physical,
            snapshot_of: optional_id("snapshot_of", &vdi.snapshot_of)?,
        })
    }
}
