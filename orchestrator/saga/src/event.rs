//! What happens to sagas, live. The records are the truth; events are for those who want to see it move.
//!
//! The channel is bounded and never holds a saga up: a receiver that lags is told so (`Lagged`) and reads the
//! records with [`crate::SagaEngine::get`] and [`crate::SagaEngine::active`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::SagaId;

use crate::Outcome;

/// Something that happened to a saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SagaEvent {
    pub saga: SagaId,
    pub kind: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub what: EventKind,
}

/// `index` counts from 0 within `count` steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// Logged; waits for its turn.
    Queued,
    /// Running, or taken up again after a restart.
    Started {
        resumed: bool,
    },
    StepStarted {
        index: usize,
        count: usize,
        step: String,
    },
    /// Within a step.
    Progress {
        index: usize,
        percent: u8,
        message: String,
    },
    StepDone {
        index: usize,
        count: usize,
        step: String,
    },
    /// A step or an undo failed and will be tried again.
    Retrying {
        index: usize,
        attempt: u32,
        error: String,
        delay: Duration,
    },
    CancelRequested {
        by: String,
    },
    /// From here on steps are undone, beginning with this one.
    Unwinding {
        index: usize,
        reason: String,
    },
    UndoStarted {
        index: usize,
        step: String,
    },
    UndoDone {
        index: usize,
        step: String,
    },
    Ended {
        outcome: Outcome,
    },
}
