//! Waves: many VMs that are taken from one source, so many at a time.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{ImportId, ImportPlanId, ImportSourceId};

use crate::Reference;
use crate::import::{NetworkMapping, StorageMapping, VmAssessment};

/// How many move at a time; 0 stands for the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WaveCaps {
    /// Of all.
    pub overall: u32,
    /// From one host of the source: above ten, an ESXi host runs out of the memory it sets aside for transfers.
    pub per_host: u32,
    /// From one datastore.
    pub per_datastore: u32,
    /// To one host here.
    pub per_target: u32,
    /// To one SR here.
    pub per_sr: u32,
}

impl Default for WaveCaps {
    fn default() -> Self {
        Self { overall: 20, per_host: 4, per_datastore: 8, per_target: 8, per_sr: 8 }
    }
}

impl WaveCaps {
    /// With the defaults where it has zeros.
    #[must_use]
    pub fn or_default(self) -> Self {
        let or = |mine: u32, default: u32| if mine == 0 { default } else { mine };
        let other = Self::default();
        Self {
            overall: or(self.overall, other.overall),
            per_host: or(self.per_host, other.per_host),
            per_datastore: or(self.per_datastore, other.per_datastore),
            per_target: or(self.per_target, other.per_target),
            per_sr: or(self.per_sr, other.per_sr),
        }
    }
}

/// A plan to be made; nothing changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanImports {
    pub source: Reference,
    /// Names or ids; none stands for all.
    #[serde(default)]
    pub vms: Vec<String>,
    /// With any, a NIC in a network without one is a finding.
    #[serde(default)]
    pub networks: Vec<NetworkMapping>,
    /// With any, a disk on a datastore without one is a finding, and so is an SR with too little room.
    #[serde(default)]
    pub storage: Vec<StorageMapping>,
    #[serde(default)]
    pub caps: WaveCaps,
    /// Hours of a migration window; 0 stands for 8.
    #[serde(default)]
    pub window_hours: u32,
    /// Of a wave; 0 stands for 100.
    #[serde(default)]
    pub max_vms: u32,
    /// MiB per second of the whole line; 0 stands for 800. Measure it.
    #[serde(default)]
    pub line_mib_s: u32,
    /// 0 least, 9 most: the less critical move first. By name.
    #[serde(default)]
    pub criticality: BTreeMap<String, u8>,
    /// Names of VMs that have to move in the same wave as this one. By name.
    #[serde(default)]
    pub depends_on: BTreeMap<String, Vec<String>>,
}

/// A wave as it is proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedWave {
    pub number: u32,
    /// Names, dependencies first.
    pub vms: Vec<String>,
    pub criticality: u8,
    pub transfer_mib: u64,
    /// At the rates given, and with what rates vary.
    pub seconds: u64,
    pub best_seconds: u64,
    pub worst_seconds: u64,
    /// What limits it: `line`, `host NAME`, `datastore NAME`, `target NAME`, `vm NAME`.
    pub narrowest: String,
    /// More than a window even alone.
    pub exceeds_window: bool,
}

/// Hosts of the source that nobody needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FreedHosts {
    /// 0: before anything moves.
    pub after_wave: u32,
    /// Since the start of the first wave, one after the other.
    pub after_seconds: u64,
    pub hosts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportPlan {
    pub vms: Vec<VmAssessment>,
    pub waves: Vec<PlannedWave>,
    /// VMs that cannot move as they are.
    pub blocked: Vec<String>,
    pub freed: Vec<FreedHosts>,
    pub total_mib: u64,
    pub notes: Vec<String>,
}

/// What all VMs of a wave have in common; as in `import.start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WaveOptions {
    pub networks: Vec<NetworkMapping>,
    pub storage: Vec<StorageMapping>,
    pub pool: Option<Reference>,
    /// Without one, the best host is chosen for each VM.
    pub host: Option<Reference>,
    pub tags: std::collections::BTreeSet<String>,
    /// When the sources are shut down. Without it, each follows its source until `import.cut_over`.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub cut_over_at: Option<OffsetDateTime>,
    /// Seconds: each cuts over as soon as what changes between two passes is copied in so short a time.
    pub downtime_s: Option<u32>,
    pub interval_s: u32,
    pub shutdown_s: u32,
    pub force: bool,
    pub verify: bool,
    pub track: bool,
    pub no_prepare: bool,
    /// Start them here at the end.
    pub start: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWave {
    pub name: String,
    pub source: Reference,
    /// Names or ids at the source, in the order in which they begin.
    pub vms: Vec<String>,
    #[serde(default)]
    pub options: WaveOptions,
    #[serde(default)]
    pub caps: WaveCaps,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaveRef {
    /// The wave's id or name.
    pub wave: Reference,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WaveStatus {
    /// Not started.
    Planned,
    Running,
    /// Nothing more begins; what has begun goes on.
    Paused,
    /// Every VM has moved, was rolled back, or could not begin.
    Done,
}

impl WaveStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WaveStep {
    /// For its turn.
    Waiting,
    /// It is being copied, cut over or prepared.
    Moving,
    /// Copied; it follows its source until the cut-over, and leaves its place to the next.
    Following,
    /// For a person: `import.get` says why.
    Stuck,
    Moved,
    #[serde(rename = "rolled-back")]
    RolledBack,
    /// It could not begin; starting the wave again tries again.
    Refused,
}

impl WaveStep {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Moving => "moving",
            Self::Following => "following",
            Self::Stuck => "stuck",
            Self::Moved => "moved",
            Self::RolledBack => "rolled-back",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaveMember {
    /// Its id at the source.
    pub vm: String,
    pub name: String,
    pub transfer_mib: u64,
    pub step: WaveStep,
    /// Once it has begun.
    pub import: Option<ImportId>,
    /// Why it could not begin, or what it waits for.
    pub message: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wave {
    pub id: ImportPlanId,
    pub name: String,
    pub source: ImportSourceId,
    pub status: WaveStatus,
    pub options: WaveOptions,
    pub caps: WaveCaps,
    pub members: Vec<WaveMember>,
    /// Of all members, and of those that have moved.
    pub total_mib: u64,
    pub moved_mib: u64,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub ended: Option<OffsetDateTime>,
}
