//! The level of a pool: what its guests are given of the processors' features, so that they can run on, on any of its
//! hosts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, PoolId};
use xenith_hypervisor_agent_types::CpuFeatures;

use crate::Reference;

/// Where the level comes from. It counts for VMs that start from now on; one that runs keeps what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CpuLevelMode {
    /// There is none: each guest is given all that its host has.
    #[default]
    Off,
    /// What all hosts of the pool have, those of one maker among themselves.
    Auto,
    /// These and no more, also where hosts have more; those of a host that is to come, for example.
    Set { features: CpuFeatures },
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetCpuLevel {
    pub pool: Reference,
    pub mode: CpuLevelMode,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CpuLevelStatus {
    pub pool: PoolId,
    pub mode: CpuLevelMode,
    /// What guests are given at most, for each maker of processors that the pool has; none where there is no level.
    pub levels: Vec<CpuFeatures>,
    pub hosts: Vec<HostCpu>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostCpu {
    pub host: HostId,
    pub name: String,
    /// As it was heard last; `None`: it has not told.
    pub features: Option<CpuFeatures>,
    /// What it has beyond the level, by name, which its guests are not given.
    pub hidden: Vec<String>,
    /// What it has not of the level, by name: guests that other hosts started do not run on here.
    pub lacking: Vec<String>,
}
