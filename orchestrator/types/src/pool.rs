//! Hosts that share networks and storage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{PoolId, TaskId};

use crate::Reference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    pub id: PoolId,
    pub name: String,
    #[serde(default)]
    pub description: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePool {
    pub name: String,
    #[serde(default)]
    pub description: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolRef {
    pub pool: Reference,
}

/// What the hosts of a pool get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HostUpdate {
    /// A new system, of a folder as `host.upgrade` takes it. For hosts that were installed from the medium.
    Image { url: String },
    /// What their package sources have by now, and a reboot where that needs one. For all other hosts.
    Packages,
    /// A reboot alone.
    Reboot,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePool {
    pub pool: Reference,
    pub what: HostUpdate,
    /// These hosts of it; none stands for all.
    #[serde(default)]
    pub hosts: Vec<Reference>,
    /// How many at the same time; 0 stands for 1.
    #[serde(default)]
    pub at_once: u32,
    /// VMs that had to leave a host stay where they went to, and do not come back.
    #[serde(default)]
    pub vms_stay: bool,
    /// VMs with disks that no other host reaches leave, too, and take those along, there and back.
    #[serde(default)]
    pub move_disks: bool,
}

/// How the update of a pool is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolUpdateStatus {
    pub pool: PoolId,
    /// What updates it; its message says how far it is.
    pub task: Option<TaskId>,
    /// No further host is begun.
    pub paused: bool,
}
