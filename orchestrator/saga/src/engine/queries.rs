//! What callers ask of the engine about sagas that are there: read, wait, cancel, retry, abandon, prune.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::broadcast;
use xenith_common_ids::SagaId;
use xenith_orchestrator_store::{Bytes, Record, Transaction};

use super::live::Live;
use super::{Resumed, SagaEngine};
use crate::record::{CancelRequest, Identified};
use crate::{EventKind, Outcome, Phase, SagaError, SagaEvent, SagaRecord, StepProgress};

impl SagaEngine {
    /// Everything that happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<SagaEvent> {
        self.inner.events.subscribe()
    }

    /// The saga, running, parked or ended.
    pub async fn get(&self, id: SagaId) -> Result<SagaRecord, SagaError> {
        if let Some(live) = self.inner.find(id) {
            return Ok((*live.record().await).clone());
        }
        if let Some(record) = self.inner.active.get(&id).await? {
            return Ok(record.value);
        }
        let ended = self.inner.ended.get(&id).await?;
        ended.map(|record| record.value).ok_or(SagaError::NotFound(id))
    }

    /// How far the running step is; `None` if the saga does not run here.
    #[must_use]
    pub fn progress(&self, id: SagaId) -> Option<StepProgress> {
        self.inner.find(id).map(|live| live.progress())
    }

    /// A page of the sagas that have not ended (parked ones too), oldest first.
    pub async fn active(
        &self,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<(Vec<Identified>, Option<Bytes>), SagaError> {
        let page = self.inner.active.page(after, limit).await?;
        Ok((page.records.into_iter().map(|r| (r.key, r.value)).collect(), page.next))
    }

    /// A page of the sagas that have ended, newest first.
    pub async fn ended(
        &self,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<(Vec<Identified>, Option<Bytes>), SagaError> {
        let page = self.inner.ended.page_descending(after, limit).await?;
        Ok((page.records.into_iter().map(|r| (r.key, r.value)).collect(), page.next))
    }

    /// Waits until the saga has ended or parked. `None`: the engine shut down first.
    pub async fn wait(&self, id: SagaId) -> Result<Option<Outcome>, SagaError> {
        if let Some(live) = self.inner.find(id) {
            let mut outcome = live.subscribe();
            drop(live);
            if let Ok(outcome) = outcome.wait_for(Option::is_some).await {
                return Ok(outcome.clone());
            }
        }
        Ok(self.get(id).await?.phase.outcome())
    }

    /// Asks the saga to stop and undo what it did. Durable when it returns; the end comes later. A saga that is
    /// unwinding already is left to it.
    pub async fn cancel(&self, id: SagaId, by: &str) -> Result<(), SagaError> {
        let Some(live) = self.inner.find(id) else {
            let state = self.get(id).await?.phase.name();
            return Err(SagaError::WrongState { id, state, asked: "cancelled" });
        };
        let (engine, by) = (self.clone(), by.to_owned());
        self.unhurried("saga cancel", async move { engine.log_cancel(&live, by).await }).await
    }

    async fn log_cancel(&self, live: &Live, by: String) -> Result<(), SagaError> {
        let id = live.id;
        let request = CancelRequest { by: by.clone() };
        let record = live
            .update(&self.inner, |record| match &record.phase {
                Phase::Running { step } => match live.point_of_no_return(*step) {
                    Some(step) => Err(SagaError::PointOfNoReturn { id, step }),
                    None => {
                        record.cancel.get_or_insert(request);
                        Ok(())
                    }
                },
                Phase::Unwinding { .. } => Ok(()),
                phase @ (Phase::Parked { .. } | Phase::Ended { .. }) => {
                    Err(SagaError::WrongState { id, state: phase.name(), asked: "cancelled" })
                }
            })
            .await?;
        live.cancel.cancel();
        self.inner.emit(id, &record.kind, EventKind::CancelRequested { by });
        Ok(())
    }

    /// Goes on with a parked saga at the step or undo where it stopped.
    pub async fn retry(&self, id: SagaId) -> Result<(), SagaError> {
        let found = self.parked(id, "retried").await?;
        let plan = self
            .plan_of(&found.value)
            .map_err(|_| SagaError::UnknownKind { kind: found.value.kind.clone() })?;
        let mut record = found.value.clone();
        let Phase::Parked { parked } = &found.value.phase else { unreachable!("parked() checked it") };
        record.epoch = self.inner.epoch;
        record.phase = match parked.unwinding.clone() {
            Some(reason) => Phase::Unwinding { step: parked.step, reason },
            None => {
                record.cancel = None;
                Phase::Running { step: parked.step }
            }
        };
        let engine = self.clone();
        self.unhurried("saga retry", async move {
            let revision = engine.inner.active.update(&found, &record).await?;
            engine.run_live(Record { key: id, value: record, revision }, plan, Resumed::Yes);
            Ok(())
        })
        .await
    }

    /// Ends a parked saga as it is. What it did stays; somebody has looked.
    pub async fn abandon(&self, id: SagaId, by: &str) -> Result<(), SagaError> {
        let found = self.parked(id, "abandoned").await?;
        let Phase::Parked { parked } = &found.value.phase else { unreachable!("parked() checked it") };
        let outcome =
            Outcome::Abandoned { reason: format!("abandoned by {by}; was parked: {}", parked.reason) };
        let mut record = found.value.clone();
        record.ended = Some(OffsetDateTime::now_utc());
        record.phase = Phase::Ended { outcome: outcome.clone() };
        let active = &self.inner.active;
        let expect = xenith_orchestrator_store::Expect::At(found.revision);
        let transaction = active.require_in(Transaction::new(), &id, expect);
        let transaction = active.delete_in(transaction, &id);
        self.inner.store.commit(self.inner.ended.put_in(transaction, &id, &record)).await?;
        self.inner.emit(id, &record.kind, EventKind::Ended { outcome });
        Ok(())
    }

    async fn parked(&self, id: SagaId, asked: &'static str) -> Result<Record<SagaId, SagaRecord>, SagaError> {
        let found = self.inner.active.get(&id).await?;
        match found {
            Some(found) if matches!(found.value.phase, Phase::Parked { .. }) => Ok(found),
            Some(found) => Err(SagaError::WrongState { id, state: found.value.phase.name(), asked }),
            None => match self.inner.ended.get(&id).await? {
                Some(_) => Err(SagaError::WrongState { id, state: "ended", asked }),
                None => Err(SagaError::NotFound(id)),
            },
        }
    }

    /// Deletes ended sagas that were created before `before`, at most `limit`, oldest first. Returns how many.
    pub async fn prune_ended(&self, before: OffsetDateTime, limit: usize) -> Result<usize, SagaError> {
        let page = self.inner.ended.page(None, limit).await?;
        let old: Vec<_> = page.records.iter().take_while(|record| record.value.created < before).collect();
        for chunk in old.chunks(100) {
            let transaction = chunk.iter().fold(Transaction::new(), |transaction, record| {
                self.inner.ended.delete_in(transaction, &record.key)
            });
            self.inner.store.commit(transaction).await?;
        }
        Ok(old.len())
    }

    /// Deletes the records of sagas that have ended; others, and those that are not there, are left alone.
    pub async fn delete_ended(&self, sagas: &[SagaId]) -> Result<(), SagaError> {
        for chunk in sagas.chunks(100) {
            let transaction = chunk
                .iter()
                .fold(Transaction::new(), |transaction, saga| self.inner.ended.delete_in(transaction, saga));
            self.inner.store.commit(transaction).await?;
        }
        Ok(())
    }

    /// How many sagas run or wait for their turn here.
    #[must_use]
    pub fn running(&self) -> usize {
        self.inner.live().len()
    }

    #[doc(hidden)]
    #[must_use]
    pub fn store(&self) -> &Arc<dyn xenith_orchestrator_store::StateStore> {
        &self.inner.store
    }
}
