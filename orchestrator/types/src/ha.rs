//! High availability: a host that died is proved to run nothing, and its VMs run elsewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use xenith_common_ha::duty::RestartPriority;
use xenith_common_ids::{HostId, PoolId, SrId, VmId};

use crate::Reference;

/// How high availability is in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolHa {
    pub pool: PoolId,
    /// `None`: it is off.
    pub armed: Option<HaSettings>,
    pub hosts: Vec<HaHost>,
    /// VMs that have another priority than `medium`.
    pub priorities: Vec<HaVm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HaSettings {
    /// Where the leases of the hosts are.
    pub sr: SrId,
    /// Seconds after which a host is reset that has neither the orchestrator nor its lease.
    pub lease_s: u16,
    /// Seconds after which its watchdog bites.
    pub watchdog_s: u16,
    /// Seconds between two tries of either.
    pub beat_s: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HaHostState {
    /// Its VMs are not restarted elsewhere.
    Unarmed,
    Armed,
    /// Armed, and not heard; whether it runs its VMs is not known.
    Suspected,
    /// It was proved to run nothing, and has not come back.
    Fenced,
}

impl HaHostState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unarmed => "unarmed",
            Self::Armed => "armed",
            Self::Suspected => "suspected",
            Self::Fenced => "fenced",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HaHost {
    pub host: HostId,
    pub name: String,
    pub state: HaHostState,
    /// Why it is not as it should be.
    pub problem: Option<String>,
    /// VMs that went down with it and do not run again yet.
    pub waiting: Vec<VmId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HaVm {
    pub vm: VmId,
    pub name: String,
    pub priority: RestartPriority,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableHa {
    pub pool: Reference,
    /// A shared SR that every host of the pool has attached.
    pub sr: Reference,
    /// See [`HaSettings`]; 0 stands for 60.
    #[serde(default)]
    pub lease_s: u16,
    /// 0 stands for 10.
    #[serde(default)]
    pub watchdog_s: u16,
    /// 0 stands for 5.
    #[serde(default)]
    pub beat_s: u16,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaRef {
    pub pool: Reference,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRestartPriority {
    pub vm: Reference,
    pub priority: RestartPriority,
}
