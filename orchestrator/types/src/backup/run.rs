//! What jobs did.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{BackupJobId, BackupRunId, TaskId, VmId};
use xenith_hypervisor_agent_types::Consistency;

use super::BackupProof;
use crate::Reference;

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
    /// All of them, as they are written.
    pub const NAMES: &'static [&'static str] = &["waiting", "running", "done", "failed", "cancelled"];

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
    /// Of its VMs' disks, all together: the weakest.
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
    /// Of its backups, those that were proved after it.
    #[serde(default)]
    pub proofs: Vec<RunProof>,
}

/// A VM whose backup is proved after a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunProof {
    pub vm: VmId,
    pub name: String,
    /// That proves it.
    pub task: Option<TaskId>,
    /// Why no proof was begun.
    pub message: Option<String>,
    /// `None` while it goes on, and where its task ended without a verdict.
    pub proof: Option<BackupProof>,
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
    /// In which state its disks are in the backup.
    #[serde(default)]
    pub consistency: Option<Consistency>,
    /// Why the guest was not quiesced although that was tried.
    #[serde(default)]
    pub not_quiesced_because: Option<String>,
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
            consistency: None,
            not_quiesced_because: None,
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

/// Newest first, unless `sort` says otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListBackupRuns {
    /// Of this job only.
    pub job: Option<Reference>,
    /// The filter language: `status:failed started:>2026-01-31`. Empty: everything.
    pub filter: String,
    /// A column, with `-` in front for descending. Empty: newest first.
    pub sort: String,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
    /// `next` of the page before.
    pub cursor: Option<String>,
}
