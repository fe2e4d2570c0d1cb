//! The record of one VM.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{DomId, IncarnationId, OperationId, VmId};
use xenith_hypervisor_agent_api::ShutdownKind;
use xenith_hypervisor_agent_types::{
    CpuFeatures, DeathReason, DiskSpec, Fault, NicSpec, ValidVmSpec, VmSpec,
};

use super::Journal;

/// One command runs for a VM at a time; a few more are those whose callers gave up and may come back.
const REACHED_KEPT: usize = 8;

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
    /// Which run the last operations reached that must not be done to another one; see [`crate::operations`].
    #[serde(default)]
    pub reached: Vec<Reached>,
    /// The run whose memory was sent to another host, which may run it now: the agent starts nothing here by itself, also
    /// when this host was down meanwhile. Until it is taken back, started by a command, or forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<IncarnationId>,
    /// What the last command to start it said; starts that the agent makes by itself keep to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_level: Option<CpuFeatures>,
}

/// A start reaches the run that it lets run, a shutdown the run whose guest it asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    pub operation: OperationId,
    pub run: IncarnationId,
    pub by: Reaching,
    /// Why the agent could not start the VM again when that run had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_started_again: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaching {
    Starting,
    Asking,
}

/// What a suspended VM was, to be resumed as just that whatever its definition says by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    pub run: IncarnationId,
    pub spec: VmSpec,
    /// See [`Run::cpu_given`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_given: Option<CpuFeatures>,
    /// See [`Run::leased`]: it is resumed only while this host has them still. Not of what an earlier agent has saved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leased: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub incarnation: IncarnationId,
    pub phase: Phase,
    /// The run's domain, from the moment that it is complete: by this and its UUID it is known when xenstore has lost its
    /// mark. The number alone is worth nothing, as Xen uses it again. Not of what an earlier agent has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domid: Option<DomId>,
    /// What the domain was built from and has been changed to since; the definition may be newer.
    pub applied: VmSpec,
    pub by: By,
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// What the guest was asked for and has not answered: its death is the answer, also to an agent that was
    /// killed meanwhile.
    #[serde(default)]
    pub asked: Option<Asked>,
    /// Being plugged in: whether the domain has it is not known. Nothing else is changed before it is.
    #[serde(default)]
    pub attaching: Option<Attaching>,
    /// What its guest was given of the processors' features when it booted; `None`: it was started without a level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_given: Option<CpuFeatures>,
    /// When it was last begun to save its memory, this host had the leases of all that it writes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leased: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attaching {
    Disk(DiskSpec),
    Nic(NicSpec),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Asked {
    PowerOff,
    Reboot,
}

impl From<ShutdownKind> for Asked {
    fn from(kind: ShutdownKind) -> Self {
        match kind {
            ShutdownKind::PowerOff => Self::PowerOff,
            ShutdownKind::Reboot => Self::Reboot,
        }
    }
}

impl From<Asked> for ShutdownKind {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::PowerOff => Self::PowerOff,
            Asked::Reboot => Self::Reboot,
        }
    }
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
    /// Its memory goes to another host, which does not run it before this one is `Sent`.
    Sending,
    /// All of its memory is on another host, which may run it: the commit point of a move, as far as this host goes.
    Sent,
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
        let before = self.run.take();
        let cpu_given = before.as_ref().and_then(|run| run.cpu_given);
        let leased = before.as_ref().is_some_and(|run| run.leased);
        let spec = before.map_or_else(|| self.spec.get().clone(), |run| run.applied);
        self.saved = Some(Saved { run, spec, cpu_given, leased });
        self.last = Some((run, DeathReason::Suspend));
    }

    /// All of the run's memory is on another host.
    pub fn sent(&mut self, run: IncarnationId) {
        if let Some(run) = &mut self.run {
            run.phase = Phase::Sent;
        }
        self.away = Some(run);
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
            reached: Vec::new(),
            away: None,
            cpu_level: None,
        }
    }

    /// The run that an operation reached, if it is one of the last, and what came of it.
    #[must_use]
    pub fn reached(&self, operation: OperationId) -> Option<&Reached> {
        self.reached.iter().find(|reached| reached.operation == operation)
    }

    pub fn note_reached(&mut self, operation: OperationId, run: IncarnationId, by: Reaching) {
        self.reached.retain(|reached| reached.operation != operation);
        self.reached.push(Reached { operation, run, by, not_started_again: None });
        let surplus = self.reached.len().saturating_sub(REACHED_KEPT);
        self.reached.drain(..surplus);
    }

    /// The run has not run after all, or its guest did not do what it was asked for.
    pub fn not_reached(&mut self, run: IncarnationId, by: Reaching) {
        self.reached.retain(|reached| reached.run != run || reached.by != by);
    }

    /// The agent itself was to start the next run, and could not: who asked the guest of the last one is told so whenever
    /// they ask again.
    pub fn note_not_started_again(&mut self, fault: &Fault) {
        let Some((ended, _)) = self.last else { return };
        let asked = |reached: &&mut Reached| reached.run == ended && reached.by == Reaching::Asking;
        for reached in self.reached.iter_mut().filter(asked) {
            reached.not_started_again = Some(fault.clone());
        }
    }

    /// What the guest of `run` was asked for.
    #[must_use]
    pub fn asked(&self, run: IncarnationId) -> Option<ShutdownKind> {
        let of = self.run.as_ref().filter(|of| of.incarnation == run)?;
        of.asked.map(Into::into)
    }
}
