//! The orchestrator itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemInfo {
    pub version: String,
    /// SHA-256 of the installation's authority.
    pub authority: String,
    /// The authority's certificate (PEM). Who trusts it trusts this orchestrator and its hosts.
    #[serde(default)]
    pub authority_pem: String,
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub authority_expires: Option<OffsetDateTime>,
    /// What browsers and the command line are shown.
    #[serde(default)]
    pub certificate: Option<ShownCertificate>,
}

/// A certificate that the orchestrator shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShownCertificate {
    /// SHA-256 of it.
    pub fingerprint: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires: OffsetDateTime,
    /// From files of an administrator, who renews it. Otherwise it is the authority's, and renews itself.
    pub from_files: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemHealth {
    pub hosts: u64,
    pub hosts_unknown: u64,
    pub vms: u64,
    pub vms_running: u64,
    pub tasks_active: u64,
    /// Changes of VMs that hosts told since the orchestrator started.
    pub changes_heard: u64,
    /// The store refuses writes (its disk is full): the reason.
    pub read_only: Option<String>,
}
