//! Walks one saga through its steps. See the state machine in the crate's documentation.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::Instrument;
use xenith_common_tasks::Backoff;

use super::live::Live;
use super::{Inner, Resumed, parked_as_is};
use crate::hooks::Inject;
use crate::record::cancelled_by;
use crate::registry::{StepInfo, Try, UndoKind};
use crate::step::{ProgressSink, Undoing};
use crate::{EventKind, Outcome, Phase, RetryPolicy, SagaError, SagaRecord, StepError, StepProgress};

/// Runs until the saga has ended or parked, or the engine shuts down (then it is dropped where it is).
pub(super) async fn run(inner: Arc<Inner>, live: Arc<Live>, resumed: Resumed) {
    let token = inner.tasks.token();
    let span = tracing::info_span!("saga", id = %live.id);
    let walk = async {
        // Fails only when the semaphore is closed, which nobody does.
        let Ok(_slot) = inner.slots.acquire().await else { return };
        Runner { inner: &inner, live: &live }.walk(resumed).await;
    };
    tokio::select! {
        biased;
        () = token.cancelled() => {}
        () = walk.instrument(span) => {}
    }
    inner.forget(&live);
}

struct Runner<'a> {
    inner: &'a Arc<Inner>,
    live: &'a Arc<Live>,
}

impl Runner<'_> {
    async fn walk(&self, resumed: Resumed) {
        let mut record = self.live.record().await;
        self.emit(&record, EventKind::Started { resumed: resumed == Resumed::Yes });
        loop {
            let next = match &record.phase {
                Phase::Running { step } => self.run_step(&record, *step).await,
                Phase::Unwinding { step, reason } => self.undo_step(&record, *step, reason).await,
                Phase::Parked { .. } | Phase::Ended { .. } => break,
            };
            record = match next {
                Ok(next) => next,
                Err(error) => return self.give_up(&record, &error).await,
            };
        }
        if let Some(outcome) = record.phase.outcome() {
            // First out of the map, then the word: who waits and asks again reads the record.
            self.inner.forget(self.live);
            self.emit(&record, EventKind::Ended { outcome: outcome.clone() });
            tracing::info!(kind = record.kind, ?outcome, "saga ended");
            self.live.announce(outcome);
        }
    }

    /// The log refused a write. Fenced or failed, the saga is not ours to go on with; a record that became too
    /// large parks, as its steps would only fail again.
    async fn give_up(&self, record: &SagaRecord, error: &SagaError) {
        tracing::error!(kind = record.kind, %error, "the saga stops here");
        if let SagaError::TooLarge { .. } = error {
            let reason = "a step's output is too large to be stored".to_owned();
            let park = |record: &mut SagaRecord| {
                record.phase = parked_as_is(&record.phase, reason.clone());
                Ok(())
            };
            if let Ok(record) = self.live.update(self.inner, park).await {
                self.inner.forget(self.live);
                self.emit(&record, EventKind::Ended { outcome: Outcome::Parked { reason: reason.clone() } });
                self.live.announce(Outcome::Parked { reason });
            }
        }
    }

    fn emit(&self, record: &SagaRecord, what: EventKind) {
        self.inner.emit(self.live.id, &record.kind, what);
    }

    async fn run_step(&self, record: &Arc<SagaRecord>, step: usize) -> Result<Arc<SagaRecord>, SagaError> {
        let count = record.steps.len();
        let Some(info) = self.live.plan.steps().get(step) else {
            // A saga without steps.
            return self.advance(|record| record.end(Outcome::Done)).await;
        };
        if record.cancel.is_some() && self.live.point_of_no_return(step).is_none() {
            return self.unwind(record, step, StepError::Cancelled).await;
        }
        let name = &info.name;
        self.emit(record, EventKind::StepStarted { index: step, count, step: name.clone() });
        match self.execute(record, step, Undoing::No).await {
            Ok(output) => {
                let no_return = self.live.point_of_no_return(step).is_some();
                let next = self
                    .advance(|record| {
                        record.started.get_or_insert_with(OffsetDateTime::now_utc);
                        record.outputs.insert(name.clone(), output);
                        match &record.cancel {
                            Some(cancel) if !no_return => {
                                let reason = cancelled_by(&cancel.by);
                                record.phase = Phase::Unwinding { step, reason };
                            }
                            _ if step + 1 == count => record.end(Outcome::Done),
                            _ => record.phase = Phase::Running { step: step + 1 },
                        }
                    })
                    .await?;
                self.emit(&next, EventKind::StepDone { index: step, count, step: name.clone() });
                if let Phase::Unwinding { reason, .. } = &next.phase {
                    self.emit(&next, EventKind::Unwinding { index: step, reason: reason.clone() });
                }
                Ok(next)
            }
            Err(error) => self.unwind(record, step, error).await,
        }
    }

    /// The step will not succeed: undo, or park where there is no undo any more.
    async fn unwind(
        &self,
        record: &SagaRecord,
        step: usize,
        error: StepError,
    ) -> Result<Arc<SagaRecord>, SagaError> {
        let name = &record.steps[step];
        let failed = format!("{name}: {}", error.chain());
        let no_return = self.live.point_of_no_return(step);
        let first = match &error {
            StepError::Untouched { .. } => step.checked_sub(1),
            _ => Some(step),
        };
        let next = self
            .advance(|record| {
                let reason = match (&record.cancel, &error) {
                    (Some(cancel), StepError::Cancelled) => cancelled_by(&cancel.by),
                    _ => failed,
                };
                match (no_return, first) {
                    (None, Some(step)) => record.phase = Phase::Unwinding { step, reason },
                    (None, None) => record.end(Outcome::RolledBack { reason }),
                    (Some(passed), _) => {
                        let reason = format!("{reason} (cannot be rolled back since the step {passed:?})");
                        record.phase = parked_as_is(&record.phase, reason);
                    }
                }
            })
            .await?;
        if let Phase::Unwinding { reason, .. } = &next.phase {
            tracing::warn!(kind = next.kind, reason, "saga unwinds");
            self.emit(&next, EventKind::Unwinding { index: step, reason: reason.clone() });
        }
        Ok(next)
    }

    async fn undo_step(
        &self,
        record: &Arc<SagaRecord>,
        step: usize,
        reason: &str,
    ) -> Result<Arc<SagaRecord>, SagaError> {
        let steps = self.live.plan.steps();
        // What has nothing to undo is passed over without a commit.
        let wanted = steps.iter().take(step + 1).rposition(|info| info.undo != UndoKind::Nothing);
        let Some(step) = wanted else {
            let reason = reason.to_owned();
            return self.advance(|record| record.end(Outcome::RolledBack { reason })).await;
        };
        let name = steps[step].name.clone();
        let outcome = match &steps[step].undo {
            UndoKind::Forbidden(why) => Err(StepError::permanent(why.clone())),
            UndoKind::Nothing | UndoKind::Action => {
                self.emit(record, EventKind::UndoStarted { index: step, step: name.clone() });
                self.execute(record, step, Undoing::Yes).await
            }
        };
        let why = reason.to_owned();
        match outcome {
            Ok(_) => {
                let next = self
                    .advance(|record| match step.checked_sub(1) {
                        Some(before) => record.phase = Phase::Unwinding { step: before, reason: why },
                        None => record.end(Outcome::RolledBack { reason: why }),
                    })
                    .await?;
                self.emit(&next, EventKind::UndoDone { index: step, step: name });
                Ok(next)
            }
            Err(error) => {
                let reason = format!("undo of {name}: {} (undoing because of: {why})", error.chain());
                tracing::error!(reason, "saga parks");
                self.advance(|record| {
                    record.phase = parked_as_is(&Phase::Unwinding { step, reason: why }, reason);
                })
                .await
            }
        }
    }

    async fn advance(
        &self,
        change: impl FnOnce(&mut SagaRecord) + Send,
    ) -> Result<Arc<SagaRecord>, SagaError> {
        self.live.set_progress(StepProgress::default());
        self.live
            .update(self.inner, |record| {
                change(record);
                Ok(())
            })
            .await
    }

    /// All tries of one step or undo, within its deadline.
    async fn execute(
        &self,
        record: &Arc<SagaRecord>,
        index: usize,
        undoing: Undoing,
    ) -> Result<Value, StepError> {
        let info = &self.live.plan.steps()[index];
        let policy = match undoing {
            Undoing::No => info.retry,
            Undoing::Yes => info.undo_retry,
        };
        let mut failed_last = None;
        let tries = self.tries(record, index, (undoing, policy), &mut failed_last);
        let outcome = tokio::time::timeout_at(Instant::now() + info.deadline, tries).await;
        outcome.unwrap_or_else(|_| Err(overdue(info, failed_last)))
    }

    async fn tries(
        &self,
        record: &Arc<SagaRecord>,
        index: usize,
        (undoing, policy): (Undoing, RetryPolicy),
        failed_last: &mut Option<String>,
    ) -> Result<Value, StepError> {
        let seed = u64::from_le_bytes(self.live.id.as_bytes()[8..].try_into().expect("an id has 16 bytes"));
        let mut backoff = Backoff::new(policy.first, policy.most, seed);
        let mut attempt = 1;
        loop {
            let error = match self.try_once(record, index, (undoing, attempt)).await {
                Err(error @ StepError::Retryable { .. }) if attempt < policy.attempts => error,
                outcome => return outcome,
            };
            let delay = self.inner.hooks.delay(backoff.next_delay());
            attempt += 1;
            let error = error.chain();
            *failed_last = Some(error.clone());
            self.emit(record, EventKind::Retrying { index, attempt, error, delay });
            let wait = tokio::time::sleep(delay);
            match undoing {
                Undoing::Yes => wait.await,
                Undoing::No => tokio::select! {
                    () = self.live.cancel.cancelled() => return Err(StepError::Cancelled),
                    () = wait => {}
                },
            }
        }
    }

    async fn try_once(
        &self,
        record: &Arc<SagaRecord>,
        index: usize,
        (undoing, attempt): (Undoing, u32),
    ) -> Result<Value, StepError> {
        let run = || {
            let attempt = Try {
                id: self.live.id,
                index,
                undoing,
                attempt,
                record: Arc::clone(record),
                cancel: match undoing {
                    Undoing::No => self.live.cancel.clone(),
                    Undoing::Yes => Default::default(),
                },
                progress: self.progress_sink(record, index),
            };
            run_caught(self.live.plan.run(attempt))
        };
        match self.inner.hooks.before(self.live.id, index, undoing) {
            Inject::Nothing => run().await,
            Inject::Twice => {
                run().await?;
                run().await
            }
            Inject::FailBefore(error) => Err(error),
            Inject::FailAfter(error) => run().await.and(Err(error)),
        }
    }

    fn progress_sink(&self, record: &Arc<SagaRecord>, index: usize) -> ProgressSink {
        let (inner, live, record) = (Arc::clone(self.inner), Arc::clone(self.live), Arc::clone(record));
        Arc::new(move |percent, message| {
            live.set_progress(StepProgress { percent, message: message.clone() });
            inner.emit(live.id, &record.kind, EventKind::Progress { index, percent, message });
        })
    }
}

impl SagaRecord {
    fn end(&mut self, outcome: Outcome) {
        self.ended = Some(OffsetDateTime::now_utc());
        self.phase = Phase::Ended { outcome };
    }
}

/// A step that panics fails; it must not take the saga's runner with it.
async fn run_caught(step: impl Future<Output = Result<Value, StepError>>) -> Result<Value, StepError> {
    match AssertUnwindSafe(step).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(StepError::permanent(format!("the step panicked ({text}); this is a bug")))
        }
    }
}

/// Says also why the last try that ended did not do: mostly that is why there was no time left.
fn overdue(info: &StepInfo, failed_last: Option<String>) -> StepError {
    let failed = failed_last.map(|error| format!("; what failed last: {error}")).unwrap_or_default();
    StepError::permanent(format!("not finished within {:?}{failed}", info.deadline))
}
