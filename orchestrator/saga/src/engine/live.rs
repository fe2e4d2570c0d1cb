//! The record of a running saga, and the only way to change it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xenith_common_ids::SagaId;
use xenith_common_tasks::Backoff;
use xenith_orchestrator_store::{Expect, Record, Revision, StoreError, Transaction};

use super::Inner;
use crate::registry::{Plan, UndoKind};
use crate::{Outcome, Phase, SagaError, SagaRecord, StepProgress};

struct Log {
    record: Arc<SagaRecord>,
    revision: Revision,
}

/// A saga that this engine runs.
pub(super) struct Live {
    pub id: SagaId,
    pub plan: Arc<dyn Plan>,
    /// Asks the running step to end early. Cancelled only after the request is in the log.
    pub cancel: CancellationToken,
    log: tokio::sync::Mutex<Log>,
    progress: Mutex<StepProgress>,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Live {
    pub fn new(record: Record<SagaId, SagaRecord>, plan: Arc<dyn Plan>) -> Self {
        let cancel = CancellationToken::new();
        if record.value.cancel.is_some() {
            cancel.cancel();
        }
        Self {
            id: record.key,
            plan,
            cancel,
            log: tokio::sync::Mutex::new(Log { record: Arc::new(record.value), revision: record.revision }),
            progress: Mutex::default(),
            outcome: watch::Sender::new(None),
        }
    }

    pub fn subscribe(&self) -> watch::Receiver<Option<Outcome>> {
        self.outcome.subscribe()
    }

    pub fn announce(&self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }

    pub async fn record(&self) -> Arc<SagaRecord> {
        Arc::clone(&self.log.lock().await.record)
    }

    pub fn progress(&self) -> StepProgress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_progress(&self, progress: StepProgress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// The step, begun or about to, from which on the saga cannot be rolled back; `None` while it can.
    pub fn point_of_no_return(&self, step: usize) -> Option<String> {
        let begun = self.plan.steps().iter().take(step + 1);
        begun
            .into_iter()
            .find(|info| matches!(info.undo, UndoKind::Forbidden(_)))
            .map(|info| info.name.clone())
    }

    /// Changes the record in the log; durable when it returns. `change` sees the newest record and may refuse.
    pub async fn update(
        &self,
        inner: &Inner,
        change: impl FnOnce(&mut SagaRecord) -> Result<(), SagaError> + Send,
    ) -> Result<Arc<SagaRecord>, SagaError> {
        let mut log = self.log.lock().await;
        let mut record = (*log.record).clone();
        change(&mut record)?;
        if record == *log.record {
            return Ok(Arc::clone(&log.record));
        }
        let revision = self.write(inner, log.revision, &record).await?;
        *log = Log { record: Arc::new(record), revision };
        Ok(Arc::clone(&log.record))
    }

    /// Writes until it is known that the record is there. A full disk is waited for: the saga stands still.
    async fn write(&self, inner: &Inner, at: Revision, record: &SagaRecord) -> Result<Revision, SagaError> {
        let seed = u64::from_le_bytes(self.id.as_bytes()[8..].try_into().expect("an id has 16 bytes"));
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2), seed);
        loop {
            let error = match inner.store.commit(self.transaction(inner, at, record)).await {
                Ok(revision) => return Ok(revision),
                Err(error) => error,
            };
            match error {
                // Ours, from a try whose outcome was not known? Then it is exactly what we wanted to write.
                StoreError::Conflict { .. } => match self.written(inner, record).await? {
                    Some(revision) => return Ok(revision),
                    None => return Err(SagaError::Fenced { id: self.id }),
                },
                source @ StoreError::TooLarge { .. } => {
                    return Err(SagaError::TooLarge { id: self.id, source });
                }
                error if error.is_retryable() => {
                    tracing::warn!(saga = %self.id, %error, "the saga waits for the store");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                error => return Err(error.into()),
            }
        }
    }

    fn transaction(&self, inner: &Inner, at: Revision, record: &SagaRecord) -> Transaction {
        let transaction = inner.active.require_in(Transaction::new(), &self.id, Expect::At(at));
        match record.phase {
            Phase::Ended { .. } => {
                let transaction = inner.active.delete_in(transaction, &self.id);
                inner.ended.put_in(transaction, &self.id, record)
            }
            Phase::Running { .. } | Phase::Unwinding { .. } | Phase::Parked { .. } => {
                inner.active.put_in(transaction, &self.id, record)
            }
        }
    }

    async fn written(&self, inner: &Inner, record: &SagaRecord) -> Result<Option<Revision>, SagaError> {
        let place = match record.phase {
            Phase::Ended { .. } => &inner.ended,
            Phase::Running { .. } | Phase::Unwinding { .. } | Phase::Parked { .. } => &inner.active,
        };
        let found = place.get(&self.id).await?;
        Ok(found.filter(|found| found.value == *record).map(|found| found.revision))
    }
}
