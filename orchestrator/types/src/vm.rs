//! Virtual machines.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, PoolId, VdiId, VmId};
use xenith_common_units::{MacAddr, MemoryMiB};
use xenith_hypervisor_agent_types::{
    Autostart, CrashAction, DiskAccess, DiskDevice, Graphics, MemorySpec, ObservedVm, Platform, Power,
    RebootAction, VcpuSpec, VdiSize, VmName, VmSpec,
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
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>")]
    pub created: Option<OffsetDateTime>,
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
    /// Names or ids of VMs that it should not share a host with.
    #[serde(default)]
    pub apart_from: Vec<Reference>,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// A VDI binds the VM to the host that has it.
    #[serde(default)]
    pub vdis: Vec<VdiId>,
    #[serde(default)]
    pub apart_from: Vec<Reference>,
}
