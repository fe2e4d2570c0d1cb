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
    /// Its memory is in the image. Without this an image is a leftover: memory that is older than the disks,
    /// which would ruin them if it were resumed.
    #[serde(default)]
    pub saved: Option<Saved>,
}

/// What a suspended VM was, to be resumed as just that whatever its definition says by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    pub run: IncarnationId,
    pub spec: VmSpec,
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
    /// The run has ended.
    pub fn end(&mut self, run: IncarnationId, reason: DeathReason) {
        self.run = None;
        self.last = Some((run, reason));
    }

    /// The run's memory is in the image.
    pub fn suspended(&mut self, run: IncarnationId) {
        let spec = self.run.take().map_or_else(|| self.spec.get().clone(), |run| run.applied);
        self.saved = Some(Saved { run, spec });
        self.last = Some((run, DeathReason::Suspend));
    }

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
            saved: None,
        }
    }
}
