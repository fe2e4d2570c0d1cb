//! A VM as its agent sees it: observed, never intended.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{DomId, IncarnationId, VmId};
use xenith_common_units::MemoryMiB;

use crate::{CpuFeatures, DeathReason, GuestData, PlatformKind};

/// What a VM is doing. `Unknown` is the orchestrator's word for a VM whose host is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    Stopped,
    Starting,
    Running,
    Paused,
    Stopping,
    Suspending,
    /// Off, its memory in a file.
    Suspended,
    Resuming,
    /// Off because it died.
    Crashed,
    Unknown,
}

impl Power {
    pub const ALL: [Self; 10] = [
        Self::Stopped,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Suspending,
        Self::Suspended,
        Self::Resuming,
        Self::Crashed,
        Self::Unknown,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Suspending => "suspending",
            Self::Suspended => "suspended",
            Self::Resuming => "resuming",
            Self::Crashed => "crashed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a domain holds memory for it.
    #[must_use]
    pub const fn has_domain(self) -> bool {
        !matches!(self, Self::Stopped | Self::Suspended | Self::Crashed)
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Power {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|power| power.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a power state"))
    }
}

/// What a guest says of itself. Foreign data: bounded and stripped of control characters by the reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
pub struct GuestFacts {
    pub addresses: Box<[IpAddr]>,
    pub os: Option<String>,
    pub pv_drivers: Option<String>,
    pub memory_free: Option<MemoryMiB>,
    /// Other `data/` keys that the guest wrote, at most 64.
    #[schemars(with = "BTreeMap<String, String>")]
    pub data: GuestData,
}

/// Why the last thing that the agent tried with a VM did not work, for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmFailure {
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: OffsetDateTime,
    pub message: String,
}

// An orchestrator holds one for each VM of its fleet, so what few VMs have is behind a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedVm {
    pub vm: VmId,
    pub name: String,
    pub power: Power,
    pub kind: PlatformKind,
    /// `false`: a domain that no orchestrator knows; listed, never touched.
    pub managed: bool,
    /// Which definition the agent has, 0 for unmanaged ones.
    pub definition: u64,
    pub incarnation: Option<IncarnationId>,
    pub domid: Option<DomId>,
    pub memory: MemoryMiB,
    pub vcpus_online: u32,
    pub cpu_time_ns: u64,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub started: Option<OffsetDateTime>,
    pub last_death: Option<DeathReason>,
    pub failure: Option<Box<VmFailure>>,
    pub guest: GuestFacts,
    /// What this run was given of the processors' features, and must find again where it runs on. `None`: it was started
    /// without a level, and has all of its host's.
    #[serde(default)]
    pub cpu_given: Option<Box<CpuFeatures>>,
}

impl ObservedVm {
    /// Whether nothing but the CPU time is new in `now`. Every field is named, so that a new one is not forgotten.
    #[must_use]
    pub fn only_ran(&self, now: &Self) -> bool {
        let Self {
            vm,
            name,
            power,
            kind,
            managed,
            definition,
            incarnation,
            domid,
            memory,
            vcpus_online,
            cpu_time_ns: _,
            started,
            last_death,
            failure,
            guest,
            cpu_given,
        } = now;
        self.vm == *vm
            && self.power == *power
            && self.kind == *kind
            && self.managed == *managed
            && self.definition == *definition
            && self.incarnation == *incarnation
            && self.domid == *domid
            && self.memory == *memory
            && self.vcpus_online == *vcpus_online
            && self.started == *started
            && self.last_death == *last_death
            && self.name == *name
            && self.failure == *failure
            && self.guest == *guest
            && self.cpu_given == *cpu_given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::observed;

    #[test]
    fn only_cpu_time_is_no_change_and_everything_else_is() {
        let vm = observed(VmId::new(), Power::Running);
        assert!(vm.only_ran(&ObservedVm { cpu_time_ns: 9, ..vm.clone() }));
        let at = OffsetDateTime::UNIX_EPOCH;
        for changed in [
            ObservedVm { vm: VmId::new(), ..vm.clone() },
            ObservedVm { name: "web-2".into(), ..vm.clone() },
            ObservedVm { power: Power::Paused, ..vm.clone() },
            ObservedVm { kind: PlatformKind::Pv, ..vm.clone() },
            ObservedVm { managed: false, ..vm.clone() },
            ObservedVm { definition: 2, ..vm.clone() },
            ObservedVm { incarnation: Some(IncarnationId::new()), ..vm.clone() },
            ObservedVm { domid: Some(DomId(3)), ..vm.clone() },
            ObservedVm { memory: MemoryMiB::default(), ..vm.clone() },
            ObservedVm { vcpus_online: 2, ..vm.clone() },
            ObservedVm { started: Some(at), ..vm.clone() },
            ObservedVm { last_death: Some(DeathReason::Crash), ..vm.clone() },
            ObservedVm { failure: Some(Box::new(VmFailure { at, message: String::new() })), ..vm.clone() },
            ObservedVm {
                guest: GuestFacts { os: Some("Debian".into()), ..GuestFacts::default() },
                ..vm.clone()
            },
            ObservedVm { cpu_given: CpuFeatures::new("GenuineIntel", [1; 8]).map(Box::new), ..vm.clone() },
        ] {
            assert!(!vm.only_ran(&changed), "{changed:?}");
        }
    }

    /// With the counts of an `Arc` it fills 256 bytes, which is a size that allocators have; the next one is 320.
    #[test]
    fn a_fleet_of_them_is_small() {
        let bytes = size_of::<ObservedVm>();
        assert!(bytes <= 240, "{bytes} bytes; put what few VMs have behind a pointer");
    }
}
