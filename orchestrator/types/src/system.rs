//! The orchestrator itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemInfo {
    pub version: String,
    /// SHA-256 of the installation's authority.
    pub authority: String,
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
