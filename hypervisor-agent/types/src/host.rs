//! What a host is and has, as its agent reports it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_units::MemoryMiB;

use crate::CpuFeatures;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct XenVersion {
    pub major: u32,
    pub minor: u32,
    /// `.7` and the like; may name the distribution.
    pub extra: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CpuTopology {
    pub cpus: u32,
    pub cores_per_socket: u32,
    pub threads_per_core: u32,
    pub nodes: u32,
    pub khz: u64,
}

/// A bridge that NICs can plug into.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Bridge {
    pub name: String,
    /// Interfaces of the host in it (PIFs, bonds, VLANs), guests' interfaces left out.
    pub uplinks: Vec<String>,
    pub mtu: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostFacts {
    pub hostname: String,
    pub xen: XenVersion,
    pub cpu_model: String,
    /// `None`: this host does not tell.
    #[serde(default)]
    pub cpu_features: Option<CpuFeatures>,
    pub topology: CpuTopology,
    pub memory_total: MemoryMiB,
    pub memory_free: MemoryMiB,
    pub memory_dom0: MemoryMiB,
    pub scheduler: String,
    /// Xen's word for what guests it can run: `pv`, `hvm`, `hap`, …
    pub capabilities: Vec<String>,
    pub bridges: Vec<Bridge>,
}
