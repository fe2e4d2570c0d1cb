//! Where tests reach into the engine. In production there is one hook, which does nothing.

use std::time::Duration;

use xenith_common_ids::SagaId;

use crate::StepError;
use crate::step::Undoing;

/// What is done to one try of a step.
#[derive(Debug)]
#[cfg_attr(not(feature = "test-support"), allow(dead_code, reason = "only the harness injects"))]
pub(crate) enum Inject {
    Nothing,
    /// The step runs twice; the second result counts.
    Twice,
    /// The step does not run and fails so.
    FailBefore(StepError),
    /// The step runs, and its success becomes this failure.
    FailAfter(StepError),
}

pub(crate) trait Hooks: Send + Sync {
    fn before(&self, saga: SagaId, index: usize, undoing: Undoing) -> Inject;

    /// The pause before a retry; the harness does not wait.
    fn delay(&self, delay: Duration) -> Duration {
        delay
    }
}

pub(crate) struct NoHooks;

impl Hooks for NoHooks {
    fn before(&self, _: SagaId, _: usize, _: Undoing) -> Inject {
        Inject::Nothing
    }
}
