//! What happened: found out, not asked for (that is the audit log's).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::EventId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub id: EventId,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: OffsetDateTime,
    pub severity: Severity,
    /// Stable: `host.lost`, `vm.crashed`.
    pub kind: String,
    /// `vm/…`, `host/…`.
    pub subject: String,
    pub message: String,
}

/// Newest first, unless `sort` says otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListEvents {
    /// The filter language: `severity:error kind:host age:<1d`. Empty: everything.
    pub filter: String,
    /// A column, with `-` in front for descending. Empty: newest first.
    pub sort: String,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
    pub cursor: Option<String>,
}
