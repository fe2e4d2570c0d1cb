//! What is done to the log while no engine runs on it: after a store was restored from a backup.

use std::sync::Arc;

use time::OffsetDateTime;
use xenith_common_ids::{Epoch, SagaId};
use xenith_orchestrator_store::{Collection, StateStore, StoreError, Transaction};

use crate::engine::EngineRecord;
use crate::record::{ACTIVE, ENDED, ENGINE};
use crate::{Outcome, Phase, SagaRecord};

/// Ends every saga that has not ended, parked ones too, as it is: nothing of it is resumed or undone. Returns how many.
pub async fn abandon_all(store: &Arc<dyn StateStore>, reason: &str) -> Result<usize, StoreError> {
    let active: Collection<SagaId, SagaRecord> = Collection::new(Arc::clone(store), ACTIVE);
    let ended: Collection<SagaId, SagaRecord> = Collection::new(Arc::clone(store), ENDED);
    let (found, _) = active.all().await?;
    for saga in &found {
        let mut record = saga.value.clone();
        record.ended = Some(OffsetDateTime::now_utc());
        record.phase = Phase::Ended { outcome: Outcome::Abandoned { reason: reason.to_owned() } };
        let commit = active.delete_in(Transaction::new(), &saga.key);
        store.commit(ended.put_in(commit, &saga.key, &record)).await?;
    }
    Ok(found.len())
}

/// Lets the next engine take an epoch that is higher by `by`, so that it is ahead of engines that this log does not know.
pub async fn raise_epoch(store: &Arc<dyn StateStore>, by: u64) -> Result<Epoch, StoreError> {
    let engine: Collection<(), EngineRecord> = Collection::new(Arc::clone(store), ENGINE);
    let before = engine.get(&()).await?.map_or(0, |record| record.value.epoch.0);
    let epoch = Epoch(before.saturating_add(by));
    engine.put(&(), &EngineRecord { epoch }).await?;
    Ok(epoch)
}
