//! What is stored of a saga. Fields may be added with a default; never renamed without a migration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use xenith_common_ids::{Epoch, SagaId};
use xenith_orchestrator_store::Keyspace;

/// Sagas that have not ended, and parked ones: what a start must look at.
pub(crate) const ACTIVE: Keyspace = Keyspace::new("saga.active");
/// Sagas that have ended; pruned by the owner of the store.
pub(crate) const ENDED: Keyspace = Keyspace::new("saga.ended");
/// The newest engine's epoch.
pub(crate) const ENGINE: Keyspace = Keyspace::new("saga.engine");

/// To be declared in the store's schema.
pub const KEYSPACES: &[Keyspace] = &[ACTIVE, ENDED, ENGINE];

/// About the saga, for people and for the task layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Such as "Start VM web-1".
    pub title: String,
    /// Who asked, as the audit log names them; "system" for the orchestrator itself.
    pub who: String,
    /// Whom it is about, as `noun/id`.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Whatever the caller wants to find again (a task id, an idempotency key).
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Where a saga stands. Steps count from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Steps before `step` are done; `step` may have begun.
    Running { step: usize },
    /// `step` is being undone, those before it wait; those behind it are undone or never began.
    Unwinding { step: usize, reason: String },
    /// A person must look.
    Parked { parked: Parked },
    /// For ever.
    Ended { outcome: Outcome },
}

/// Where a parked saga stopped, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    pub reason: String,
    pub step: usize,
    /// Set when it was unwinding: the reason for that. Unset: the action itself can be retried.
    #[serde(default)]
    pub unwinding: Option<String>,
}

/// How a saga ended, or that it waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Done,
    RolledBack {
        reason: String,
    },
    Parked {
        reason: String,
    },
    /// A person decided that a parked saga is left as it is, or the log was restored from a backup.
    Abandoned {
        reason: String,
    },
}

impl Phase {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Running { .. } => "running",
            Self::Unwinding { .. } => "unwinding",
            Self::Parked { .. } => "parked",
            Self::Ended { .. } => "ended",
        }
    }

    /// The outcome, if it has ended or is parked.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Running { .. } | Self::Unwinding { .. } => None,
            Self::Parked { parked } => Some(Outcome::Parked { reason: parked.reason.clone() }),
            Self::Ended { outcome } => Some(outcome.clone()),
        }
    }
}

/// A request to cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CancelRequest {
    pub by: String,
}

/// The reason of a rollback that somebody asked for.
pub(crate) fn cancelled_by(who: &str) -> String {
    format!("cancelled by {who}")
}

/// One saga, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SagaRecord {
    pub kind: String,
    pub version: u32,
    pub params: Value,
    /// The names of the steps, fixed at the start.
    pub steps: Vec<String>,
    #[serde(flatten)]
    pub phase: Phase,
    /// By name of step.
    #[serde(default)]
    pub outputs: BTreeMap<String, Value>,
    #[serde(default)]
    pub meta: Meta,
    /// Of the engine that runs it.
    pub epoch: Epoch,
    #[serde(default)]
    pub(crate) cancel: Option<CancelRequest>,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub started: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub ended: Option<OffsetDateTime>,
}

impl SagaRecord {
    /// Who asked to cancel it, if somebody did.
    #[must_use]
    pub fn cancel_requested_by(&self) -> Option<&str> {
        self.cancel.as_ref().map(|cancel| cancel.by.as_str())
    }

    /// Whether it was rolled back because somebody asked for that, and not for a failure that came first.
    #[must_use]
    pub fn was_cancelled(&self) -> bool {
        match (&self.phase, &self.cancel) {
            (Phase::Ended { outcome: Outcome::RolledBack { reason } }, Some(cancel)) => {
                *reason == cancelled_by(&cancel.by)
            }
            _ => false,
        }
    }

    /// How many steps are done, of all.
    #[must_use]
    pub fn done(&self) -> (usize, usize) {
        let done = match &self.phase {
            Phase::Running { step } => *step,
            Phase::Unwinding { step, .. } => *step,
            Phase::Parked { parked } => parked.step,
            Phase::Ended { outcome: Outcome::Done } => self.steps.len(),
            Phase::Ended { .. } => 0,
        };
        (done, self.steps.len())
    }
}

/// How far the running step says it is; lives in memory only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepProgress {
    pub percent: u8,
    pub message: String,
}

/// A saga with its identity.
pub(crate) type Identified = (SagaId, SagaRecord);
