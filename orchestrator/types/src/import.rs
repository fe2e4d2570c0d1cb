//! VMs on their way to us: uploaded from a file, or taken from ESXi or vCenter.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{HostId, ImportId, ImportSourceId, TaskId, VdiId, VmId};

use crate::Reference;
use crate::vm::CreateVm;

/// Where an import stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImportPhase {
    /// Disks are made.
    Preparing,
    /// Waits for who has the file to send it.
    Uploading,
    /// The first copy, while the VM may run at its source.
    Copying,
    /// What changes at the source is brought along, until the cut-over.
    Following,
    /// The source is shut down, the rest copied.
    CuttingOver,
    /// The source has not shut down in time: cut over again with `force`, or roll back.
    WaitingForShutdown,
    /// Disks are whole; the guest is made ready to boot here.
    PreparingGuest,
    /// The guest could not be made ready, the disks are as copied: `import.prepare` tries again or goes on without.
    NotPrepared,
    /// The VM is made.
    Finishing,
    Done,
    /// Undone: the source is as it was.
    RolledBack,
}

impl ImportPhase {
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Uploading => "uploading",
            Self::Copying => "copying",
            Self::Following => "following",
            Self::CuttingOver => "cutting-over",
            Self::WaitingForShutdown => "waiting-for-shutdown",
            Self::PreparingGuest => "preparing-guest",
            Self::NotPrepared => "not-prepared",
            Self::Finishing => "finishing",
            Self::Done => "done",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// Where a VM comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ImportOrigin {
    /// A file that somebody sends.
    Upload { file: String },
    /// A VM of an import source.
    Vsphere { source: ImportSourceId, source_name: String, vm: String, vm_name: String },
}

/// One disk on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportDisk {
    /// As the source calls it.
    pub name: String,
    pub vdi: VdiId,
    /// Bytes of the source's disk.
    pub capacity: u64,
    /// Bytes of the disk that are behind us, in this pass.
    pub done: u64,
}

/// What one pass did with one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportPass {
    pub disk: String,
    /// `allocated`, `everything`, `changed`, `compared`, or `exported` where ranges are refused.
    pub method: String,
    /// Why not less was read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    pub read: u64,
    pub written: u64,
    pub milliseconds: u64,
}

/// What was done to a guest so that it boots here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestPreparation {
    /// `prepared`, `unchanged`, `skipped`, `failed` (the disks are as copied), `half-written` (try again) or `declined`.
    pub outcome: String,
    /// What the guest says it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub os: String,
    #[serde(default)]
    pub changes: Vec<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What the helper VM said.
    #[serde(default)]
    pub log: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Import {
    pub id: ImportId,
    /// Of the VM here.
    pub name: String,
    pub vm: VmId,
    pub host: HostId,
    pub task: TaskId,
    pub origin: ImportOrigin,
    pub phase: ImportPhase,
    /// What it waits for, or why it ended.
    pub message: Option<String>,
    pub disks: Vec<ImportDisk>,
    /// The newest of each disk, newest last.
    pub passes: Vec<ImportPass>,
    /// Of the guest, once it was tried.
    pub preparation: Option<GuestPreparation>,
    /// When the cut-over begins, where that is decided.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub cut_over_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub ended: Option<OffsetDateTime>,
    pub archived: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRef {
    /// The import's id, or the name of its VM.
    pub import: Reference,
}

/// Newest first unless another order is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListImports {
    /// Those that were archived, too.
    pub archived: bool,
    /// The filter language: `phase:following host:xen1`. Empty: everything.
    pub filter: String,
    /// A column, with `-` in front for descending. Empty: `-created`.
    pub sort: String,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
    pub cursor: Option<String>,
}

/// A VM whose disks somebody will send.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadVm {
    /// The VM to make; `start` starts it when its disks are whole.
    pub vm: CreateVm,
    /// What comes, in the order of `vm.disks`, which have to be new ones.
    pub disks: Vec<UploadDisk>,
    /// The file it comes from, for people.
    pub file: String,
    /// Leave the guest as it is: it has Xen's drivers already, or is prepared by hand.
    #[serde(default)]
    pub no_prepare: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadDisk {
    pub name: String,
    /// Bytes, at most the size of the VDI.
    pub capacity: u64,
}

/// The right to send disks to a host. It opens each disk until that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadTicket {
    /// Shown this once; a new one replaces it.
    pub ticket: String,
    /// `host:port` of the host that takes them.
    pub address: String,
    /// The name in the host's certificate.
    pub server_name: String,
    /// Who signed that certificate (PEM).
    pub authority_pem: String,
    pub disks: Vec<ImportDisk>,
}

/// An ESXi host or vCenter that VMs are taken from. Its password is kept sealed and never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportSource {
    pub id: ImportSourceId,
    pub name: String,
    pub address: String,
    pub user: String,
    /// SHA-256 of its certificate: no other is talked to.
    pub fingerprint: String,
    /// What it says it is.
    pub about: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectSource {
    /// The name of one that is known, with its address, gives it a new password and certificate.
    pub name: String,
    /// host or host:port
    pub address: String,
    pub user: String,
    pub password: String,
    /// SHA-256 of its certificate. Without it, nothing is sent but a handshake, and the error shows what was found.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

impl std::fmt::Debug for ConnectSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectSource({} at {} as {})", self.name, self.address, self.user)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceRef {
    pub source: Reference,
}

/// Which VMs of a source.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookAtSource {
    pub source: Reference,
    /// Names or ids; none stands for all.
    #[serde(default)]
    pub vms: Vec<String>,
}

/// A VM at its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceVm {
    pub id: String,
    pub name: String,
    /// `on`, `off` or `suspended`.
    pub power: String,
    pub host: String,
    pub os: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub disks: u32,
    /// MiB that have to be moved, as far as known.
    pub transfer_mib: u64,
    pub networks: Vec<String>,
    pub template: bool,
}

/// What speaks against a VM's move, or should be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportFinding {
    pub code: String,
    /// `note`, `attention` or `blocks`.
    pub severity: String,
    pub reason: String,
    pub fix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmAssessment {
    pub id: String,
    pub name: String,
    pub transfer_mib: u64,
    /// What will be read: changed blocks, whole disks, or those of a VM that is off.
    pub method: String,
    /// Nothing speaks against it that has to be put right first.
    pub movable: bool,
    pub findings: Vec<ImportFinding>,
}

/// Our network for one of the source's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkMapping {
    /// The source's name; `*` stands for all others.
    pub from: String,
    /// Ours; `None` leaves such NICs out.
    pub to: Option<Reference>,
}

/// Our SR for one of the source's datastores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageMapping {
    /// The source's name; `*` stands for all others.
    pub from: String,
    /// Ours.
    pub to: Reference,
}

/// Takes one VM from a source.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartImport {
    pub source: Reference,
    /// Its name or id there.
    pub vm: String,
    /// Without one, as there.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub networks: Vec<NetworkMapping>,
    /// With any, a disk on a datastore without one is an error; without, all disks go to the local SR of the host.
    #[serde(default)]
    pub storage: Vec<StorageMapping>,
    #[serde(default)]
    pub pool: Option<Reference>,
    /// Without one, the best host is chosen.
    #[serde(default)]
    pub host: Option<Reference>,
    #[serde(default)]
    pub tags: std::collections::BTreeSet<String>,
    /// When the source is shut down. Without it, the import follows the source until `import.cut_over`.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub cut_over_at: Option<OffsetDateTime>,
    /// Seconds: cut over as soon as what changes between two passes is copied in so short a time.
    #[serde(default)]
    pub downtime_s: Option<u32>,
    /// Seconds between two passes while it follows; 0 stands for 600.
    #[serde(default)]
    pub interval_s: u32,
    /// Seconds that the guest may take to shut down; 0 stands for 300.
    #[serde(default)]
    pub shutdown_s: u32,
    /// Power the source off when its guest does not shut down in time.
    #[serde(default)]
    pub force: bool,
    /// Compare all of both sides before the VM here is made.
    #[serde(default)]
    pub verify: bool,
    /// Switch changed-block tracking on at the source where it is off; a roll-back switches it off again.
    #[serde(default)]
    pub track: bool,
    /// Leave the guest as it is: it has Xen's drivers already, or is prepared by hand.
    #[serde(default)]
    pub no_prepare: bool,
    /// Start it here at the end.
    #[serde(default)]
    pub start: bool,
}

/// Decides about a guest that could not be prepared.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrepareImport {
    pub import: Reference,
    /// Go on with the disks as they were copied, instead of trying again.
    #[serde(default)]
    pub without: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutOverImport {
    pub import: Reference,
    /// Without it, now.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub at: Option<OffsetDateTime>,
    /// Power the source off when its guest does not shut down in time.
    #[serde(default)]
    pub force: bool,
}
