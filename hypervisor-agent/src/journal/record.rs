//! The record of one VM.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{IncarnationId, VmId};
use xenith_hypervisor_agent_types::{DeathReason, ValidVmSpec, VmSpec};

use super::Journal;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmRecord {
    pub format: u32,
    pub vm: VmId,
    pub definition: u64,
    pub spec: ValidVmSpec,
    /// The run that is on, or was when the agent last wrote.
    pub run: Option<Run>,
    /// How the last run ended.
    pub last: Option<(IncarnationId, DeathReason)>,
    /// When it crashed lately, in seconds since 1970; the oldest are dropped.
    #[serde(default)]
    pub crashes: Vec<i64>,
    /// The boot of the host for which it was autostarted: once each, also when the agent dies meanwhile.
    #[serde(default)]
    pub autostarted: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub incarnation: IncarnationId,
    pub phase: Phase,
    /// What the domain was built from and has been changed to since; the definition may be newer.
    pub applied: VmSpec,
    pub by: By,
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
}

/// How far a run is. Written before the step that it names, except `Running`, which is written when the
/// domain is complete and before its virtual CPUs are let go: the commit point of a start and of a resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Building,
    Resuming,
    Running,
    Paused,
    Suspending,
}

/// Who wanted this run: after a crash of the agent, a start that nobody asks for again is finished here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    Orchestrator,
    /// Autostart, or a restart after a reboot or crash.
    Agent,
}

impl VmRecord {
    #[must_use]
    pub const fn new(vm: VmId, definition: u64, spec: ValidVmSpec) -> Self {
        Self {
            format: Journal::FORMAT,
            vm,
            definition,
            spec,
            run: None,
            last: None,
            crashes: Vec::new(),
            autostarted: None,
        }
    }
}
