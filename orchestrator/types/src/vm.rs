//! Virtual machines.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, PoolId, TaskId, VdiId, VmId};
use xenith_common_units::{MacAddr, MemoryMiB};
use xenith_hypervisor_agent_types::{
    Autostart, CpuShare, CrashAction, DiskAccess, DiskDevice, Graphics, MemorySpec, ObservedVm, PciAddress,
    Platform, Power, RebootAction, VcpuSpec, VdiSize, Video, VmName, VmSpec,
};

use crate::Reference;

/// What was asked for and what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vm {
    pub id: VmId,
    pub name: String,
    pub description: String,
    pub tags: BTreeSet<String>,
    pub pool: PoolId,
    /// Where it is defined; `None` until it was placed.
    pub host: Option<HostId>,
    pub power: Power,
    /// `false`: a domain that Xenith did not make; it can be looked at only.
    pub managed: bool,
    /// The definition; `None` for unmanaged ones.
    pub spec: Option<VmSpec>,
    pub definition: u64,
    /// As its host last said.
    pub observed: Option<ObservedVm>,
    /// What of the definition waits for the next start.
    pub pending_restart: Vec<String>,
    #[serde(default)]
    pub protection: Protection,
    /// Whatever the administrator wants to keep with it.
    #[serde(default)]
    pub custom: BTreeMap<String, String>,
    /// VMs that it should not share a host with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart_from: Vec<VmId>,
    /// VMs that it should share a host with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together_with: Vec<VmId>,
    /// The VM that it stands by for: it follows that one's backups, and is not started or changed.
    #[serde(default)]
    pub standby_of: Option<VmId>,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub created: Option<OffsetDateTime>,
}

/// What is refused until it is allowed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    #[serde(default)]
    pub delete: bool,
    /// Also resuming. Autostart on its host is not asked: turn that off too.
    #[serde(default)]
    pub start: bool,
    #[serde(default)]
    pub migration: bool,
}

/// What a VM has besides the usual.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHardware {
    /// A CD drive, for hvm.
    #[serde(default)]
    pub cd: Option<NewCd>,
    #[serde(default)]
    pub video: Option<Video>,
    #[serde(default)]
    pub cpu: CpuShare,
    /// PCI devices of the host; `host.hardware` lists them.
    #[serde(default)]
    pub pci: Vec<PciAddress>,
    /// A channel to the QEMU guest agent, for backups that quiesce. Costs a pv or pvh guest a QEMU process on its host.
    #[serde(default)]
    pub guest_agent: bool,
    /// Not offered: give the guest the PCI device that is the USB controller.
    #[serde(default)]
    pub usb: Vec<String>,
    /// Not offered by Xen's tools for these guests.
    #[serde(default)]
    pub tpm: bool,
    /// Not offered by Xen's tools for these guests.
    #[serde(default)]
    pub secure_boot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCd {
    /// A VDI; without one the drive is empty.
    #[serde(default)]
    pub iso: Option<Reference>,
}

/// A row of a list: what tables show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmRow {
    pub id: VmId,
    pub name: String,
    pub power: Power,
    pub managed: bool,
    pub host: Option<HostId>,
    pub host_name: Option<String>,
    pub pool: Option<String>,
    pub tags: Vec<String>,
    pub memory: MemoryMiB,
    pub vcpus: u32,
    pub kind: String,
    pub addresses: Vec<String>,
    pub os: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    pub name: VmName,
    pub platform: Platform,
    pub vcpus: VcpuSpec,
    pub memory: MemorySpec,
    #[serde(default)]
    pub disks: Vec<NewDisk>,
    #[serde(default)]
    pub nics: Vec<NewNic>,
    #[serde(default)]
    pub graphics: Graphics,
    #[serde(default)]
    pub on_crash: CrashAction,
    /// Of a guest that reboots by itself.
    #[serde(default)]
    pub on_reboot: RebootAction,
    #[serde(default)]
    pub autostart: Option<Autostart>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub tags: BTreeSet<String>,
    #[serde(default)]
    pub pool: Option<Reference>,
    /// Without one, the best host is chosen.
    #[serde(default)]
    pub host: Option<Reference>,
    /// Start it when it is made.
    #[serde(default)]
    pub start: bool,
    /// Names or ids of VMs that it should not share a host with, if there is another way.
    #[serde(default)]
    pub apart_from: Vec<Reference>,
    /// Names or ids of VMs that it should share a host with, if that host can take it.
    #[serde(default)]
    pub together_with: Vec<Reference>,
    #[serde(default)]
    pub hardware: NewHardware,
    #[serde(default)]
    pub protection: Protection,
    #[serde(default)]
    pub custom: BTreeMap<String, String>,
}

/// A disk to make, or a VDI that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDisk {
    /// Without one, the next free device.
    #[serde(default)]
    pub device: Option<DiskDevice>,
    /// Bytes of a new VDI.
    #[serde(default)]
    pub size: Option<VdiSize>,
    /// A VDI that is there; instead of `size`.
    #[serde(default)]
    pub vdi: Option<Reference>,
    #[serde(default)]
    pub access: DiskAccess,
    /// Where a new VDI is made; without one, in the local SR of the VM's host.
    #[serde(default)]
    pub sr: Option<Reference>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNic {
    pub network: Reference,
    /// Without one, a free address of Xen's block.
    #[serde(default)]
    pub mac: Option<MacAddr>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmRef {
    pub vm: Reference,
}

/// Only the fields that are given change. What a running VM can take is applied at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateVm {
    pub vm: Reference,
    #[serde(default)]
    pub name: Option<VmName>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub tags: Option<BTreeSet<String>>,
    #[serde(default)]
    pub vcpus: Option<VcpuSpec>,
    #[serde(default)]
    pub memory: Option<MemorySpec>,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub graphics: Option<Graphics>,
    #[serde(default)]
    pub on_crash: Option<CrashAction>,
    #[serde(default)]
    pub on_reboot: Option<RebootAction>,
    #[serde(default)]
    pub autostart: Option<Autostart>,
    /// Turns autostart off.
    #[serde(default)]
    pub no_autostart: bool,
    /// Replaces all of it.
    #[serde(default)]
    pub hardware: Option<NewHardware>,
    #[serde(default)]
    pub protection: Option<Protection>,
    /// Replaces all of them.
    #[serde(default)]
    pub custom: Option<BTreeMap<String, String>>,
    /// Replaces all that the caller sees; heeded when the VM is placed the next time.
    #[serde(default)]
    pub apart_from: Option<Vec<Reference>>,
    /// As `apart_from`.
    #[serde(default)]
    pub together_with: Option<Vec<Reference>>,
}

/// Puts an ISO into a VM's CD drive.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CdInsertion {
    pub vm: Reference,
    /// A VDI; it may be in several drives.
    pub iso: Reference,
}

/// A new VM like another, with disks of its own and other MAC addresses.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneVm {
    pub vm: Reference,
    pub name: VmName,
    #[serde(default)]
    pub description: Option<String>,
    /// Start it when it is made.
    #[serde(default)]
    pub start: bool,
}

/// Moves a VM to another host of its pool: a running one with its memory, a stopped one by its definition. Disks that the
/// other host does not reach are copied there, where that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrateVm {
    pub vm: Reference,
    /// Without one, the best host that is not the one it is on.
    #[serde(default)]
    pub host: Option<Reference>,
    /// Copy the disks that the other host does not reach.
    #[serde(default)]
    pub move_disks: bool,
    /// The SR of the other host that they go to, which says that they are to go; without one, its local SR.
    #[serde(default)]
    pub sr: Option<Reference>,
    /// Of their copies: bytes per second; 0 for no limit. What the VM has to stand for goes without one.
    #[serde(default)]
    pub bandwidth: u64,
}

/// The same for many VMs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkVms {
    /// Names or ids.
    #[serde(default)]
    pub vms: Vec<Reference>,
    /// Those that this lets through; beside or instead of `vms`.
    #[serde(default)]
    pub filter: String,
    pub action: BulkAction,
    /// Of a shutdown or reboot: how long a guest may take; 0 stands for 120.
    #[serde(default)]
    pub deadline_s: u32,
    /// Of a shutdown or reboot: power off who did not answer in time.
    #[serde(default)]
    pub force: bool,
    /// Of a power-off: those that are suspended too, whose saved memory is lost.
    #[serde(default)]
    pub discard_memory: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BulkAction {
    Start,
    Shutdown,
    Reboot,
    PowerOff,
    Pause,
    Unpause,
    Suspend,
    Resume,
    Delete,
}

/// What came of it for one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BulkResult {
    /// As it was named, or its id.
    pub vm: Reference,
    pub name: Option<String>,
    /// What works on it now.
    pub task: Option<TaskId>,
    /// Why it was left alone.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartVm {
    pub vm: Reference,
}

/// Asks the guest to shut down or reboot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownVm {
    pub vm: Reference,
    /// How long the guest may take; 0 stands for 120.
    #[serde(default)]
    pub deadline_s: u32,
    /// Power it off when it did not answer in time.
    #[serde(default)]
    pub force: bool,
}

/// Ends a VM at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerOffVm {
    pub vm: Reference,
    /// Also one that is suspended: the memory that was saved of it is lost. Without this, it is refused.
    #[serde(default)]
    pub discard_memory: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteVm {
    pub vm: Reference,
    /// Keep its VDIs.
    #[serde(default)]
    pub keep_disks: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskAttachment {
    pub vm: Reference,
    pub disk: NewDisk,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskDetachment {
    pub vm: Reference,
    pub device: DiskDevice,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NicAttachment {
    pub vm: Reference,
    pub nic: NewNic,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NicDetachment {
    pub vm: Reference,
    pub mac: MacAddr,
}

/// How many VMs a filter lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmCount {
    pub total: u64,
    pub running: u64,
}

/// A filter that is being typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteFilter {
    /// What stands before the cursor.
    pub text: String,
}

/// What could be typed next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Completion {
    /// From this byte of the text on, a candidate replaces it.
    pub from: u32,
    pub candidates: Vec<CompletionCandidate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompletionCandidate {
    /// What to insert, quoted where needed.
    pub text: String,
    /// What it means, or how many VMs have it.
    pub hint: String,
}

/// Why which host: the answer to `vm.place`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    pub host: Option<HostId>,
    /// Best first, those that cannot take it last.
    pub candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    pub host: HostId,
    pub name: String,
    /// Higher is better; `None` when it cannot take the VM.
    pub score: Option<i64>,
    /// Each part of the score, or what rules the host out.
    pub reasons: Vec<String>,
}

/// Asks where a VM would go.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceVm {
    pub memory: MemoryMiB,
    pub vcpus: u32,
    #[serde(default)]
    pub pool: Option<Reference>,
    #[serde(default)]
    pub networks: Vec<Reference>,
    /// The VM goes where all of their SRs are reached.
    #[serde(default)]
    pub vdis: Vec<VdiId>,
    #[serde(default)]
    pub apart_from: Vec<Reference>,
    #[serde(default)]
    pub together_with: Vec<Reference>,
}
