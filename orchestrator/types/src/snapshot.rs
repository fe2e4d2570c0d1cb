//! Points in time of VMs, on their hosts. (A backup lives elsewhere.)

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, SnapshotId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_types::{Consistency, DiskDevice, KeptMemory, Quiesce, VdiSize, VmName, VmSpec};

use crate::Reference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub name: String,
    pub description: String,
    pub vm: VmId,
    /// Where its disks are.
    pub host: HostId,
    /// The snapshot that the VM came from when this was taken: a tree.
    pub parent: Option<SnapshotId>,
    /// The VM goes on from this one.
    pub current: bool,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
    /// What the VM was then.
    pub spec: VmSpec,
    pub disks: Vec<SnapshotDisk>,
    /// Its memory of the same instant; `None`: that was not kept.
    #[serde(default)]
    pub memory: Option<SnapshotMemory>,
    /// How long the VM stood for it, in milliseconds; 0 when it did not run, `None` while it is being taken.
    pub paused_ms: Option<u32>,
    /// In which state its disks are; `None` while it is being taken, and where nobody wrote that down.
    pub consistency: Option<Consistency>,
    /// Why the guest was not quiesced although that was tried.
    pub not_quiesced_because: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotDisk {
    pub device: DiskDevice,
    /// The disk that it is a snapshot of.
    pub vdi: VdiId,
    /// What its contents are kept as.
    pub snapshot: VdiId,
    pub sr: SrId,
    pub size: VdiSize,
}

/// Where the memory is kept, beside the disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotMemory {
    pub vdi: VdiId,
    pub sr: SrId,
    /// `None` while it is being taken.
    pub kept: Option<KeptMemory>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSnapshots {
    /// Of this VM only.
    #[serde(default)]
    pub vm: Option<Reference>,
    /// The filter language. Empty: everything.
    #[serde(default)]
    pub filter: String,
    /// A column, with `-` in front for descending. Empty: oldest first.
    #[serde(default)]
    pub sort: String,
    /// 1 to 1000; 0 stands for 100.
    #[serde(default)]
    pub limit: u32,
    /// `next` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    pub vm: Reference,
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Whether a running guest is asked to hold its filesystems still.
    #[serde(default)]
    pub quiesce: Quiesce,
    /// Keep the memory of a running VM too, so that it can go on from this instant. Its guest is not quiesced then: it
    /// would come back as it stood.
    #[serde(default)]
    pub memory: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRef {
    pub snapshot: Reference,
    /// Of this VM: several may have a snapshot of one name.
    #[serde(default)]
    pub vm: Option<Reference>,
}

/// Back to a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertSnapshot {
    pub snapshot: Reference,
    /// Of this VM: several may have a snapshot of one name.
    #[serde(default)]
    pub vm: Option<Reference>,
    /// Revert the disks of a snapshot with memory and leave the VM off.
    #[serde(default)]
    pub disks_only: bool,
}

/// A new VM from a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneSnapshot {
    pub snapshot: Reference,
    #[serde(default)]
    pub vm: Option<Reference>,
    /// Of the new VM.
    pub name: VmName,
    /// Start it when it is made.
    #[serde(default)]
    pub start: bool,
}
