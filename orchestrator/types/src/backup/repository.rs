//! Where backups are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::RepositoryId;

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
    /// Backups of jobs that write to it at a time, whichever jobs they are of; 0 for no limit.
    #[serde(default)]
    pub concurrency: u32,
    /// Bytes per second that all who write to it share; 0 for no limit.
    #[serde(default)]
    pub bandwidth: u64,
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
    /// Hosts get a key that only adds backups, and what they store is sealed to a public key. Only of a repository that is
    /// made now, or was made sealed.
    #[serde(default)]
    pub sealed: bool,
    /// Who probes it; without one, any host that is connected.
    #[serde(default)]
    pub host: Option<Reference>,
    /// Backups of jobs that write to it at a time, whichever jobs they are of; 0 for no limit.
    #[serde(default)]
    pub concurrency: u32,
    /// Bytes per second that all who write to it share; 0 for no limit.
    #[serde(default)]
    pub bandwidth: u64,
}

/// Only the fields that are given change.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRepository {
    pub repository: Reference,
    /// Holds for backups that begin from now on; 0 for no limit.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Bytes per second; holds from now on, also for backups that run. 0 for no limit.
    #[serde(default)]
    pub bandwidth: Option<u64>,
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
