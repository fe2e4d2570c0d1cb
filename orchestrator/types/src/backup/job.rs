//! What makes backups again and again.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{BackupJobId, RepositoryId, VmId};
use xenith_hypervisor_agent_types::Quiesce;
use xenith_hypervisor_agent_types::backup::KeepPolicy;

use crate::Reference;

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
    /// TCP ports that have to answer in a proof; without any it is enough that the guest says something.
    #[serde(default)]
    pub prove_ports: Vec<NonZeroU16>,
    /// Whether running guests are asked to hold their filesystems still for the snapshot.
    #[serde(default)]
    pub quiesce: Quiesce,
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
    /// TCP ports that have to answer in a proof, over IPv6 on a network that nothing else is on; 16 at most.
    #[serde(default)]
    pub prove_ports: Vec<NonZeroU16>,
    #[serde(default)]
    pub quiesce: Quiesce,
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
    #[serde(default)]
    pub prove_ports: Option<Vec<NonZeroU16>>,
    #[serde(default)]
    pub quiesce: Option<Quiesce>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupJobRef {
    pub job: Reference,
}
