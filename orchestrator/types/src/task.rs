//! The progress of what takes longer than a call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{TaskId, UserId};

use crate::Reference;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskStatus {
    Running,
    /// Being undone.
    RollingBack,
    Done,
    RolledBack,
    /// Waits for a person: retry or abandon it.
    Parked,
    /// A person said: leave it as it is.
    Abandoned,
}

impl TaskStatus {
    /// It will not change by itself.
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Running | Self::RollingBack)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::RollingBack => "rolling-back",
            Self::Done => "done",
            Self::RolledBack => "rolled-back",
            Self::Parked => "parked",
            Self::Abandoned => "abandoned",
        }
    }
}

/// One step of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStep {
    pub name: String,
    pub status: StepStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    Waiting,
    Running,
    Done,
    Undone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    pub id: TaskId,
    /// The method that began it: `vm.start`.
    pub method: String,
    /// A sentence: "Start web-1".
    pub title: String,
    /// Ids of the objects that it works on, as `vm/…`, `host/…`.
    pub subjects: Vec<String>,
    pub user: Option<UserId>,
    /// Who began it, by the name that they had then; `user:` in filters means this. `backup schedule` is nobody's.
    #[serde(default)]
    pub user_name: String,
    pub status: TaskStatus,
    /// 0 to 100.
    pub percent: u8,
    /// What is going on, or why it ended as it did.
    pub message: Option<String>,
    pub steps: Vec<TaskStep>,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub ended: Option<OffsetDateTime>,
}

/// What a long method answers at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStarted {
    pub task: TaskId,
    /// The id of what the task makes or changes, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskRef {
    pub task: TaskId,
}

/// Newest first, unless `sort` says otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListTasks {
    /// The filter language: `status:parked user:anna age:<1d`. Empty: everything.
    pub filter: String,
    /// A column, with `-` in front for descending. Empty: newest first.
    pub sort: String,
    /// Only those that work on this VM.
    pub vm: Option<Reference>,
    /// Only those that are not over.
    pub active: bool,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
    pub cursor: Option<String>,
}
