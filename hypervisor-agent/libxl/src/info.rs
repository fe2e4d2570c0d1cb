//! What libxl says about domains and the machine, read from its JSON.
//!
//! libxl leaves out fields that have their default value, so everything has a default here too.

use serde::Deserialize;
use uuid::Uuid;
use xenith_hypervisor_agent_types::{CpuTopology, DeathReason, DomainStatus, XenVersion};

use crate::raw::Topology;

/// `libxl_dominfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Dominfo {
    pub uuid: Uuid,
    pub domid: u32,
    pub paused: bool,
    pub shutdown: bool,
    pub dying: bool,
    pub shutdown_reason: Option<String>,
    pub outstanding_memkb: u64,
    pub current_memkb: u64,
    pub max_memkb: u64,
    /// Nanoseconds.
    pub cpu_time: u64,
    pub vcpu_max_id: u32,
    pub vcpu_online: u32,
    pub domain_type: Option<String>,
}

impl Dominfo {
    pub fn parse(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    pub fn status(&self) -> DomainStatus {
        match self {
            Self { dying: true, .. } => DomainStatus::Dying,
            Self { shutdown: true, .. } => DomainStatus::Dead(death_reason(self)),
            Self { paused: true, .. } => DomainStatus::Paused,
            _ => DomainStatus::Running,
        }
    }

    /// Whether it lives, and its virtual CPUs were ever let go. One that stands and has used none of their time may be what an
    /// agent that was killed has left of a build.
    pub fn has_run(&self) -> bool {
        match self.status() {
            DomainStatus::Running => true,
            DomainStatus::Paused => self.cpu_time > 0,
            DomainStatus::Dead(_) | DomainStatus::Dying => false,
        }
    }
}

/// Why a domain with the `shutdown` flag ended.
pub fn death_reason(info: &Dominfo) -> DeathReason {
    match info.shutdown_reason.as_deref() {
        // Number 0 in Xen's list; a default that libxl may leave out.
        Some("poweroff") | None => DeathReason::PowerOff,
        Some("reboot") => DeathReason::Reboot,
        Some("suspend") => DeathReason::Suspend,
        Some("crash") => DeathReason::Crash,
        Some("watchdog") => DeathReason::Watchdog,
        Some("soft_reset") => DeathReason::SoftReset,
        Some(_) => DeathReason::Unknown,
    }
}

/// `SHUTDOWN_*` of Xen's public `sched.h`.
pub const fn reason_of_code(code: u8) -> DeathReason {
    match code {
        0 => DeathReason::PowerOff,
        1 => DeathReason::Reboot,
        2 => DeathReason::Suspend,
        3 => DeathReason::Crash,
        4 => DeathReason::Watchdog,
        5 => DeathReason::SoftReset,
        _ => DeathReason::Unknown,
    }
}

/// `libxl_physinfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Physinfo {
    pub threads_per_core: u32,
    pub cores_per_socket: u32,
    pub nr_cpus: u32,
    pub cpu_khz: u32,
    /// Pages of [`PAGE_KIB`].
    pub total_pages: u64,
    pub free_pages: u64,
    /// Free, but claimed by domains that are being built.
    pub outstanding_pages: u64,
    pub nr_nodes: u32,
    /// The first four words of the processors' features; libxl writes no more of them.
    pub hw_cap: Vec<u32>,
    pub cap_hvm: bool,
    pub cap_pv: bool,
    pub cap_hvm_directio: bool,
    pub cap_hap: bool,
    pub cap_shadow: bool,
    pub cap_iommu_hap_pt_share: bool,
}

/// KiB per page, the same on x86 and ARM.
pub const PAGE_KIB: u64 = 4;

impl Physinfo {
    pub fn parse(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// KiB that no domain has and none has claimed.
    pub const fn free_kib(&self) -> u64 {
        self.free_pages.saturating_sub(self.outstanding_pages) * PAGE_KIB
    }

    pub const fn total_kib(&self) -> u64 {
        self.total_pages * PAGE_KIB
    }

    /// The words of `xl info`'s `virt_caps`.
    pub fn capabilities(&self) -> Vec<String> {
        [
            (self.cap_pv, "pv"),
            (self.cap_hvm, "hvm"),
            (self.cap_hvm_directio, "hvm_directio"),
            (self.cap_hap, "hap"),
            (self.cap_shadow, "shadow"),
            (self.cap_iommu_hap_pt_share, "iommu_hap_pt_share"),
        ]
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, name)| name.to_owned())
        .collect()
    }

    /// `cpus` is the list of online CPUs where it could be read: physinfo's own figures describe the first
    /// socket only.
    pub fn topology(&self, cpus: &[Topology]) -> CpuTopology {
        let distinct = |of: fn(&Topology) -> (u32, u32)| {
            let mut all: Vec<_> = cpus.iter().map(of).collect();
            all.sort_unstable();
            all.dedup();
            u32::try_from(all.len()).unwrap_or(u32::MAX)
        };
        let (sockets, cores) = (distinct(|cpu| (cpu.socket, 0)), distinct(|cpu| (cpu.socket, cpu.core)));
        let cores_per_socket = if sockets == 0 { self.cores_per_socket } else { cores.div_ceil(sockets) };
        CpuTopology {
            cpus: self.nr_cpus,
            cores_per_socket,
            threads_per_core: self.threads_per_core,
            nodes: self.nr_nodes,
            khz: u64::from(self.cpu_khz),
        }
    }
}

/// `libxl_version_info`, of which this is all that we show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Version {
    pub xen_version_major: u32,
    pub xen_version_minor: u32,
    pub xen_version_extra: String,
    pub commandline: String,
}

impl Version {
    pub fn parse(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }
}

impl From<Version> for XenVersion {
    fn from(version: Version) -> Self {
        Self {
            major: version.xen_version_major,
            minor: version.xen_version_minor,
            extra: version.xen_version_extra,
        }
    }
}
