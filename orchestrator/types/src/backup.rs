//! Backups: where they go, what makes them, what was made.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{BackupJobId, BackupRunId, RepositoryId, TaskId, VmId};
use xenith_hypervisor_agent_types::VmName;
use xenith_hypervisor_agent_types::backup::{
    ArchiveKind, BackupDiskFacts, BackupFile, BackupVolume, KeepPolicy,
};

use crate::Reference;

/// Where backups are kept. Its secrets are never shown here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repository {
    pub id: RepositoryId,
    pub name: String,
    pub place: Place,
    /// The id inside the repository, once it was opened.
    pub repository: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub checked: Option<OffsetDateTime>,
    /// Why the last check failed, when it did.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
pub enum Place {
    /// A folder under the same path on every host that backs up to it, such as an NFS mount.
    Folder { path: String },
    S3 {
        bucket: String,
        #[serde(default)]
        prefix: String,
        /// Empty for AWS's own.
        #[serde(default)]
        endpoint: String,
        #[serde(default)]
        region: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRepository {
    pub name: String,
    pub place: Place,
    /// For S3.
    #[serde(default)]
    pub access_key: String,
    #[serde(default)]
    pub secret_key: String,
    /// Opens a repository that is there. Without it and without `key`, a new key is made; `repository.key` shows it.
    #[serde(default)]
    pub passphrase: String,
    /// 64 hex digits.
    #[serde(default)]
    pub key: String,
    /// Who probes it; without one, any host that is connected.
    #[serde(default)]
    pub host: Option<Reference>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryRef {
    pub repository: Reference,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRepository {
    pub repository: Reference,
    /// Decrypt and name every chunk, too.
    #[serde(default)]
    pub deep: bool,
}

/// What opens a repository without the orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepositorySecret {
    /// `passphrase` or `key file`.
    pub kind: String,
    pub secret: String,
}

/// Which VMs, when, where to, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupJob {
    pub id: BackupJobId,
    #[serde(flatten)]
    pub settings: JobSettings,
    /// Of the newest run.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_run: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next_run: Option<OffsetDateTime>,
}

/// Which runs a mail tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailOn {
    /// Every one: silence means that something is wrong with the mail, or with the schedule.
    #[default]
    Always,
    /// Only those in which not every VM was backed up.
    Problems,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSettings {
    pub name: String,
    pub enabled: bool,
    /// VMs by id.
    #[serde(default)]
    pub vms: BTreeSet<VmId>,
    /// And those that this filter lets through when a run begins, such as `tag:prod`.
    #[serde(default)]
    pub filter: String,
    pub repositories: Vec<RepositoryId>,
    /// Cron, five fields, such as `30 2 * * *`; empty for runs by hand only.
    #[serde(default)]
    pub schedule: String,
    /// IANA's name of the time zone that the schedule is in.
    #[serde(default)]
    pub timezone: String,
    /// The job whose runs this one's follow, besides the schedule or instead of it: it begins when one of them has ended,
    /// however it ended.
    #[serde(default)]
    pub after: Option<BackupJobId>,
    #[serde(default)]
    pub keep: KeepPolicy,
    /// VMs at a time.
    pub concurrency: u32,
    /// Bytes per second and VM; 0 for no limit.
    #[serde(default)]
    pub bandwidth: u64,
    /// A run that takes longer than this many minutes is cancelled; 0 for no limit.
    #[serde(default)]
    pub window_minutes: u32,
    /// How often a VM whose backup failed is tried again in a run.
    #[serde(default)]
    pub retries: u32,
    /// Disks left out, as `VM:device` or `device`.
    #[serde(default)]
    pub exclude_disks: Vec<String>,
    /// Only these disks, in the same form; empty for all.
    #[serde(default)]
    pub include_disks: Vec<String>,
    /// A VM of this job that has no good backup for longer than this many minutes raises a warning; 0 for never.
    #[serde(default)]
    pub rpo_minutes: u32,
    /// Gets the report of each run as JSON by POST; empty for nobody.
    #[serde(default)]
    pub webhook: String,
    /// The orchestrator itself is backed up, too, when the VMs were.
    #[serde(default)]
    pub orchestrator: bool,
    /// Gets the report of each run by e-mail; the server is set with `mail.set`.
    #[serde(default)]
    pub mail_to: Vec<String>,
    /// Which runs are worth a mail.
    #[serde(default)]
    pub mail_on: MailOn,
    /// After each run, so many of the job's VMs are proved, those first whose proof is oldest; 0 for none.
    #[serde(default)]
    pub prove: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBackupJob {
    pub name: String,
    #[serde(default)]
    pub vms: Vec<Reference>,
    #[serde(default)]
    pub filter: String,
    pub repositories: Vec<Reference>,
    #[serde(default)]
    pub schedule: String,
    #[serde(default)]
    pub timezone: String,
    #[serde(default)]
    pub after: Option<Reference>,
    #[serde(default)]
    pub keep: KeepPolicy,
    /// 0 stands for 2.
    #[serde(default)]
    pub concurrency: u32,
    #[serde(default)]
    pub bandwidth: u64,
    #[serde(default)]
    pub window_minutes: u32,
    #[serde(default)]
    pub retries: u32,
    #[serde(default)]
    pub exclude_disks: Vec<String>,
    #[serde(default)]
    pub include_disks: Vec<String>,
    #[serde(default)]
    pub rpo_minutes: u32,
    #[serde(default)]
    pub webhook: String,
    #[serde(default)]
    pub orchestrator: bool,
    #[serde(default)]
    pub mail_to: Vec<String>,
    #[serde(default)]
    pub mail_on: MailOn,
    /// After each run, so many VMs are restored for a moment to see whether they boot.
    #[serde(default)]
    pub prove: u32,
}

/// Only the fields that are given change.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateBackupJob {
    pub job: Reference,
    #[serde(default)]
    pub enabled: Option<bool>,
    #[serde(default)]
    pub vms: Option<Vec<Reference>>,
    #[serde(default)]
    pub filter: Option<String>,
    #[serde(default)]
    pub repositories: Option<Vec<Reference>>,
    #[serde(default)]
    pub schedule: Option<String>,
    #[serde(default)]
    pub timezone: Option<String>,
    /// Empty for none.
    #[serde(default)]
    pub after: Option<Reference>,
    #[serde(default)]
    pub keep: Option<KeepPolicy>,
    #[serde(default)]
    pub concurrency: Option<u32>,
    #[serde(default)]
    pub bandwidth: Option<u64>,
    #[serde(default)]
    pub window_minutes: Option<u32>,
    #[serde(default)]
    pub retries: Option<u32>,
    #[serde(default)]
    pub exclude_disks: Option<Vec<String>>,
    #[serde(default)]
    pub include_disks: Option<Vec<String>>,
    #[serde(default)]
    pub rpo_minutes: Option<u32>,
    #[serde(default)]
    pub webhook: Option<String>,
    #[serde(default)]
    pub orchestrator: Option<bool>,
    #[serde(default)]
    pub mail_to: Option<Vec<String>>,
    #[serde(default)]
    pub mail_on: Option<MailOn>,
    #[serde(default)]
    pub prove: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupJobRef {
    pub job: Reference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl RunStatus {
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// In which state a guest's disks are in its backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// As after a power cut: what a running guest had not written yet is missing. Guests are not quiesced.
    #[default]
    CrashConsistent,
}

impl Consistency {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CrashConsistent => "crash-consistent",
        }
    }
}

/// One time that a job did its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupRun {
    pub id: BackupRunId,
    pub job: BackupJobId,
    pub job_name: String,
    pub status: RunStatus,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub ended: Option<OffsetDateTime>,
    pub vms: Vec<RunVm>,
    #[serde(default)]
    pub consistency: Consistency,
    /// The orchestrator itself, where the job has it.
    #[serde(default)]
    pub orchestrator: Option<RunOrchestrator>,
    /// What else there is to say: a report that nobody took.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Who ended it, or what.
    #[serde(default)]
    pub cancelled_by: Option<String>,
}

/// One VM of a run. Bytes are those of all repositories together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunVm {
    pub vm: VmId,
    pub name: String,
    pub status: RunStatus,
    /// Of the newest try.
    pub task: Option<TaskId>,
    pub tries: u32,
    pub message: Option<String>,
    /// Size of its disks.
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub read: u64,
    #[serde(default)]
    pub new_bytes: u64,
    #[serde(default)]
    pub stored: u64,
    /// Milliseconds that reading, packing and storing took.
    #[serde(default)]
    pub millis: u64,
    /// Why whole disks were read, when they were.
    #[serde(default)]
    pub whole_because: Vec<String>,
}

/// The orchestrator's own part in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunOrchestrator {
    pub status: RunStatus,
    /// Of the newest try.
    pub task: Option<TaskId>,
    pub tries: u32,
    pub message: Option<String>,
    /// Of its store and key. Bytes, as those below.
    pub size: u64,
    /// That the repositories did not have.
    pub new_bytes: u64,
    /// What those take there.
    pub stored: u64,
}

impl RunOrchestrator {
    /// One that waits.
    #[must_use]
    pub const fn new() -> Self {
        let status = RunStatus::Waiting;
        Self { status, task: None, tries: 0, message: None, size: 0, new_bytes: 0, stored: 0 }
    }
}

impl Default for RunOrchestrator {
    fn default() -> Self {
        Self::new()
    }
}

impl RunVm {
    /// One that waits.
    #[must_use]
    pub const fn new(vm: VmId, name: String) -> Self {
        Self {
            vm,
            name,
            status: RunStatus::Waiting,
            task: None,
            tries: 0,
            message: None,
            size: 0,
            read: 0,
            new_bytes: 0,
            stored: 0,
            millis: 0,
            whole_because: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRunRef {
    pub run: BackupRunId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    pub run: BackupRunId,
}

/// Newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListBackupRuns {
    pub job: Option<Reference>,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListUnprotected {
    /// Also those whose newest backup is older; 0: only those without a job or a backup.
    pub older_than_minutes: u32,
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
}

/// Restores a VM for a moment, without a network, to see whether it boots.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProveBackup {
    pub backup: String,
    #[serde(default)]
    pub repository: Option<Reference>,
    #[serde(default)]
    pub host: Option<Reference>,
    /// How long the guest may take to say something; 0 stands for 10.
    #[serde(default)]
    pub minutes: u32,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListBackups {
    pub repository: Option<Reference>,
    /// A VM's name or id, also of one that is gone.
    pub vm: Option<String>,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
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
