//! Xen's object: what a hypervisor back-end builds, lists and reports.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{DomId, DomainUuid, IncarnationId, VmId};
use xenith_common_units::{MacAddr, MemoryMiB};

use crate::{
    BootDevice, CpuLevel, CpuShare, DirectBoot, DiskAccess, DiskDevice, Firmware, Graphics, MemorySpec,
    PciAddress, PlatformKind, VcpuSpec, Video, VmName,
};

/// Whose domain it is. Written where a guest can read but not change it, and listed again after a restart
/// of the agent: this is how running VMs are adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct DomainIdentity {
    pub vm: VmId,
    pub incarnation: IncarnationId,
}

/// Everything that a hypervisor needs to build a domain. Paths and bridges are the host's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSpec {
    pub identity: DomainIdentity,
    pub name: VmName,
    pub kind: PlatformKind,
    /// PV and PVH; `kernel` and `ramdisk` are absolute paths here.
    pub direct_boot: Option<DirectBoot>,
    /// HVM.
    pub firmware: Firmware,
    /// HVM; never empty there.
    pub boot_order: Vec<BootDevice>,
    pub vcpus: VcpuSpec,
    pub memory: MemorySpec,
    pub disks: Vec<DomainDisk>,
    pub nics: Vec<DomainNic>,
    pub graphics: Graphics,
    pub hardware: DomainHardware,
}

/// What a domain has besides; see [`crate::Hardware`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainHardware {
    pub cd: Option<DomainCd>,
    pub video: Option<Video>,
    pub cpu: CpuShare,
    pub pci: Vec<PciAddress>,
    /// See [`crate::Hardware::guest_agent`].
    pub guest_agent: bool,
    /// What a new domain gets of the processors' features; `None`: all that Xen gives. A domain that is built from a stream
    /// has what the stream says.
    pub cpu_level: Option<CpuLevel>,
}

/// A CD drive; `None`: empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainCd {
    pub path: Option<PathBuf>,
}

/// A raw image or block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainDisk {
    pub device: DiskDevice,
    pub path: PathBuf,
    pub access: DiskAccess,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainNic {
    pub mac: MacAddr,
    pub bridge: String,
}

/// Why a domain ended, as Xen tells (`SHUTDOWN_*` in Xen's public `sched.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeathReason {
    PowerOff,
    Reboot,
    /// Saved to a stream on request.
    Suspend,
    Crash,
    /// The guest's own watchdog fired.
    Watchdog,
    SoftReset,
    /// It is gone and nobody saw why (destroyed from outside).
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DomainStatus {
    Running,
    Paused,
    /// Ended, its memory still held until it is destroyed.
    Dead(DeathReason),
    /// Being torn down by Xen.
    Dying,
}

/// One domain as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainInfo {
    pub domid: DomId,
    /// From Xen itself: what is left of its identity when xenstore has lost its data.
    pub uuid: DomainUuid,
    pub name: String,
    /// `None`: not made by an agent, not finished, or its mark was lost; see [`Self::is_of`].
    pub identity: Option<DomainIdentity>,
    pub status: DomainStatus,
    pub kind: PlatformKind,
    pub memory: MemoryMiB,
    pub memory_max: MemoryMiB,
    pub vcpus_online: u32,
    /// Sum over all virtual CPUs since the domain was made.
    pub cpu_time_ns: u64,
    pub created: Option<OffsetDateTime>,
}

impl DomainInfo {
    /// Whether it is a domain of this VM. One without a mark is known by what Xen itself keeps: to take it for nobody's
    /// would start the VM a second time on the same disks.
    #[must_use]
    pub fn is_of(&self, vm: VmId) -> bool {
        self.vm() == vm
    }

    /// The VM whose domain it is, if that is one of ours.
    #[must_use]
    pub fn vm(&self) -> VmId {
        self.identity.map_or_else(|| self.uuid.into(), |identity| identity.vm)
    }

    #[must_use]
    pub const fn is_alive(&self) -> bool {
        matches!(self.status, DomainStatus::Running | DomainStatus::Paused)
    }

    /// Whether its virtual CPUs were ever let go, by Xen's own count. One that is half built has used none of their time.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.status == DomainStatus::Running || self.cpu_time_ns > 0
    }
}

/// Where a domain's consoles are on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsolePaths {
    /// The PV console's pseudo-terminal.
    pub serial: Option<PathBuf>,
    /// TCP port of VNC on the host's loopback.
    pub vnc_port: Option<u16>,
    /// Unix socket whose other end is the guest agent's, where the domain has such a channel.
    pub guest_agent: Option<PathBuf>,
}
