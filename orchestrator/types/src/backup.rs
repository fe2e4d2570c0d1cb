//! Backups: where they go, what makes them, what was made.

mod job;
mod repository;
mod run;

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{NetworkId, RepositoryId, VmId};
use xenith_hypervisor_agent_types::VmName;
use xenith_hypervisor_agent_types::backup::{ArchiveKind, BackupDiskFacts, BackupFile, BackupVolume};

use crate::Reference;

pub use xenith_hypervisor_agent_types::{Consistency, Quiesce};

pub use job::{BackupJob, BackupJobRef, CreateBackupJob, JobSettings, MailOn, UpdateBackupJob};
pub use repository::{
    CreateRepository, Place, Repository, RepositoryRef, RepositorySecret, UpdateRepository, VerifyRepository,
};
pub use run::{
    BackupRun, BackupRunRef, ListBackupRuns, RunOrchestrator, RunProof, RunStarted, RunStatus, RunVm,
};

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListUnprotected {
    /// Also those whose newest backup is older; 0: only those without a job or a backup.
    pub older_than_minutes: u32,
    /// The filter language: `why:no_job vm:web`. Empty: everything.
    pub filter: String,
    /// A column, with `-` in front for descending. Empty: by name.
    pub sort: String,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhyUnprotected {
    /// No enabled job with a schedule covers it.
    NoJob,
    /// A job covers it, and no backup is there yet.
    NoBackup,
    TooOld,
}

impl WhyUnprotected {
    /// All of them, as they are written.
    pub const NAMES: &'static [&'static str] = &["no_job", "no_backup", "too_old"];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoJob => "no_job",
            Self::NoBackup => "no_backup",
            Self::TooOld => "too_old",
        }
    }
}

/// A VM whose disks nobody would bring back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnprotectedVm {
    pub vm: VmId,
    pub name: String,
    pub why: WhyUnprotected,
    /// Its newest backup.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub newest: Option<OffsetDateTime>,
}

/// A backup of a VM in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    /// The repository's own: what `xenith-backup` calls it, too.
    pub id: String,
    pub repository: RepositoryId,
    pub repository_name: String,
    /// `None`: not made by Xenith, or its VM's definition cannot be read.
    pub vm: Option<VmId>,
    pub vm_name: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
    pub disks: Vec<BackupDiskFacts>,
    /// Rules do not touch it.
    pub held: bool,
    /// Of the last time that it was tried.
    pub proof: Option<BackupProof>,
    /// That the VM was on, in the order of its network cards.
    #[serde(default)]
    pub networks: Vec<NetworkId>,
    /// In which state its disks are; `None`: nobody wrote that down.
    pub consistency: Option<Consistency>,
    /// Why the guest was not quiesced although that was tried.
    pub not_quiesced_because: Option<String>,
}

/// Whether a VM that was restored from it for a moment booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupProof {
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: OffsetDateTime,
    pub answered: bool,
    /// What the guest said, or that it did not.
    pub said: String,
    /// Until it answered, or was given up.
    pub seconds: u32,
    /// Those that had to answer.
    #[serde(default)]
    pub ports: Vec<PortProof>,
}

/// A TCP port of a guest that was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortProof {
    pub port: NonZeroU16,
    pub answered: bool,
}

/// Restores a VM for a moment, without a network or on one that nothing else is on, to see whether it boots.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProveBackup {
    pub backup: String,
    #[serde(default)]
    pub repository: Option<Reference>,
    #[serde(default)]
    pub host: Option<Reference>,
    /// How long the guest may take to say something, or its ports to answer; 0 stands for 10.
    #[serde(default)]
    pub minutes: u32,
    /// TCP ports that have to answer, over IPv6; without any it is enough that the guest says something. 16 at most.
    #[serde(default)]
    pub ports: Vec<NonZeroU16>,
}

/// Newest first, unless `sort` says otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListBackups {
    /// In this repository only.
    pub repository: Option<Reference>,
    /// Of this VM only: its name or its id, also of one that is gone.
    pub vm: Option<String>,
    /// The filter language: `repository:main held:yes age:<7d`. Empty: everything.
    pub filter: String,
    /// A column, with `-` in front for descending. Empty: newest first.
    pub sort: String,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Backs up a VM now, outside any job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBackup {
    pub vm: Reference,
    pub repositories: Vec<Reference>,
    /// By device.
    #[serde(default)]
    pub exclude_disks: Vec<String>,
    /// Whether a running guest is asked to hold its filesystems still.
    #[serde(default)]
    pub quiesce: Quiesce,
}

/// By its id, or the first digits of it; `VM@latest` is the newest of a VM.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRef {
    pub backup: String,
    /// When it is in several.
    #[serde(default)]
    pub repository: Option<Reference>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldBackup {
    pub backup: String,
    #[serde(default)]
    pub repository: Option<Reference>,
    /// `false` lets the rules at it again.
    #[serde(default = "yes")]
    pub held: bool,
}

const fn yes() -> bool {
    true
}

/// What is in a disk of a backup.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListBackupFiles {
    pub backup: String,
    pub repository: Option<Reference>,
    /// By its name in the backup; its only disk without one.
    pub disk: Option<String>,
    /// `VOLUME:PATH`, such as `1:/etc`; without it the disk's volumes are listed.
    pub at: Option<String>,
    /// Only entries whose names come after this one.
    pub after: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupFiles {
    pub disk: String,
    pub volumes: Vec<BackupVolume>,
    /// By name.
    pub entries: Vec<BackupFile>,
    /// There are more; ask again with the last name in `after`.
    pub more: bool,
}

/// A file or folder of a backup, to be fetched from the host that reads it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadFiles {
    pub backup: String,
    #[serde(default)]
    pub repository: Option<Reference>,
    /// By its name in the backup; its only disk without one.
    #[serde(default)]
    pub disk: Option<String>,
    /// `VOLUME:PATH`, such as `1:/etc`.
    pub at: String,
    #[serde(default)]
    pub archive: ArchiveKind,
}

/// The right to fetch it once, within ten minutes: `GET https://ADDRESS/v1/files` with the ticket as bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DownloadTicket {
    pub ticket: String,
    /// `host:port` of the host that hands it out.
    pub address: String,
    /// The name in the host's certificate.
    pub server_name: String,
    /// Who signed that certificate (PEM).
    pub authority_pem: String,
}

/// Brings a VM, or some of its disks, back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreBackup {
    pub backup: String,
    #[serde(default)]
    pub repository: Option<Reference>,
    #[serde(default)]
    pub target: RestoreTarget,
    /// Only these disks, by their names in the backup; all of them without any.
    #[serde(default)]
    pub disks: Vec<String>,
    /// For a new VM or disks; without one, the host where the VM was, or the best one.
    #[serde(default)]
    pub host: Option<Reference>,
    /// For a new VM or disks: an SR that the host has; without one, its local SR.
    #[serde(default)]
    pub sr: Option<Reference>,
    /// Of a new VM, for networks that the VM had, others; empty: without that network card. One that is not named stays in the
    /// same pool; in another it is the network of the same name.
    #[serde(default)]
    pub networks: BTreeMap<Reference, Reference>,
    /// Start it when it is there.
    #[serde(default)]
    pub start: bool,
    /// Start a new VM at once: it reads from the backup what is not there yet, and its disks come in behind.
    #[serde(default)]
    pub instant: bool,
    /// Of an instant restore: bytes per second that come in behind; 0 for no limit.
    #[serde(default)]
    pub bandwidth: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub enum RestoreTarget {
    /// A new VM with new MAC addresses; without a name, the old one with the time of the backup.
    NewVm {
        #[serde(default)]
        name: Option<VmName>,
    },
    /// Into the stopped VM that it is of: what its disks hold now is lost.
    InPlace,
    /// New VDIs that no VM has.
    Disks,
}

impl Default for RestoreTarget {
    fn default() -> Self {
        Self::NewVm { name: None }
    }
}
