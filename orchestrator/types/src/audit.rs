//! Who asked for what. Each record holds the hash of the one before it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{AuditId, UserId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditPhase {
    /// Written before the call has any effect.
    Asked,
    /// The call began a task. Each task of it has a record of its own when it has ended.
    Begun,
    Done,
    /// Of a task: it failed, and what it had done was undone as far as that goes.
    Failed,
    /// Of a task: somebody cancelled it.
    Cancelled,
    /// Refused before anything was done.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    pub id: AuditId,
    pub sequence: u64,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: OffsetDateTime,
    pub phase: AuditPhase,
    /// The record that this one completes.
    pub of: Option<u64>,
    pub user: Option<UserId>,
    pub user_name: String,
    /// The caller's address.
    pub from: String,
    pub method: String,
    /// The parameters, secrets left out.
    pub params: serde_json::Value,
    pub outcome: Option<String>,
    /// Hexadecimal BLAKE3 of the record before, and of this one.
    pub previous: String,
    pub hash: String,
}

/// Newest first. The log is read from its end on, as far as the page needs: `total` counts all its records, whatever the
/// filter, and a page may hold fewer than `limit` and still have a next one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListAudit {
    /// The filter language: `user:anna method:vm. phase:failed`. Empty: everything.
    pub filter: String,
    /// `-sequence`, or empty: newest first. `sequence`: oldest first.
    pub sort: String,
    /// 1 to 1000; 0 stands for 100.
    pub limit: u32,
    pub cursor: Option<String>,
}

/// The result of reading the whole chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerified {
    pub records: u64,
    /// The first record that does not fit, and why.
    pub broken_at: Option<u64>,
    pub problem: Option<String>,
    /// The newest hash: write it down elsewhere to prove later that nothing was cut off.
    pub head: String,
}
