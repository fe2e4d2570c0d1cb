//! Storage repositories.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, PoolId, SrId, VdiId};
use xenith_hypervisor_agent_types::{DamagedVdi, LeftOver, SrSpace, SrSpec, VdiFacts};

use crate::Reference;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sr {
    pub id: SrId,
    pub name: String,
    pub pool: PoolId,
    /// `None`: the local SR that every host has.
    pub spec: Option<SrSpec>,
    #[serde(default)]
    pub content: SrContent,
    /// Where it is attached.
    pub hosts: Vec<HostId>,
    /// VDIs that are known in it.
    pub vdis: u64,
    /// Snapshots and clones share blocks: at once, whatever the size. Otherwise they are copies. `None`: not heard.
    pub copy_on_write: Option<bool>,
    /// As a host said last.
    pub space: Option<SrSpace>,
    /// Why it cannot be used where it is attached.
    pub problem: Option<String>,
}

/// What an SR is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SrContent {
    /// Disks of VMs, and anything else.
    #[default]
    Vms,
    /// A library of images for CD drives.
    Iso,
}

/// Makes an SR, or attaches one that is there.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSr {
    pub name: String,
    /// The first host to attach it.
    pub host: Reference,
    pub spec: SrSpec,
    #[serde(default)]
    pub content: SrContent,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SrOnHost {
    pub sr: Reference,
    pub host: Reference,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SrRef {
    pub sr: Reference,
}

/// What is in an SR, held against what is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SrScan {
    pub sr: SrId,
    pub host: HostId,
    pub copy_on_write: bool,
    pub space: SrSpace,
    /// VDIs that are there and known.
    pub known: u64,
    /// There, and nobody's: of a lost record, or left by something that failed.
    pub orphans: Vec<VdiFacts>,
    /// Known, and not there.
    pub missing: Vec<VdiId>,
    pub left_overs: Vec<LeftOver>,
    pub damaged: Vec<DamagedVdi>,
}

/// Makes an orphan a VDI again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptVdi {
    pub sr: Reference,
    pub vdi: VdiId,
    pub name: String,
}
