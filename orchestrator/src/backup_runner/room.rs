//! How many backups write to a repository at a time, whichever jobs they are of.
//!
//! Counted are the sagas that have not ended and still have to write there. So the count is the same after a restart, and
//! backups by hand are in it. Those begin at once all the same: somebody waits for them. No host is asked to begin what has
//! to wait, so that nothing is snapshotted before its time.

use std::collections::BTreeSet;

use xenith_common_ids::RepositoryId;
use xenith_orchestrator_saga::{Phase, SagaRecord};
use xenith_orchestrator_types::ApiError;

use crate::app::App;
use crate::errors::{saga_error, store_error};

/// Sagas read at a time.
const PAGE: usize = 500;

/// Why nothing may begin to write to these repositories, when one of them is taken up. Costs nothing but a look at their
/// records where none has a limit.
pub(super) async fn taken_up(app: &App, repositories: &[RepositoryId]) -> Result<Option<String>, ApiError> {
    let mut limited = Vec::new();
    for id in repositories.iter().collect::<BTreeSet<_>>() {
        let found = app.db.repositories.get(id).await.map_err(|e| store_error(&e))?;
        limited.extend(found.map(|record| record.value.repository).filter(|found| found.concurrency > 0));
    }
    if limited.is_empty() {
        return Ok(None);
    }
    let (mut writing, mut after) = (vec![0; limited.len()], None);
    loop {
        let (sagas, next) = app.engine.active(after, PAGE).await.map_err(|e| saga_error(&e))?;
        for (_, record) in &sagas {
            for (count, repository) in writing.iter_mut().zip(&limited) {
                *count += u32::from(writes_to(record, repository.id));
            }
        }
        match next {
            Some(more) => after = Some(more),
            None => break,
        }
    }
    let full = limited.iter().zip(writing).find(|(repository, count)| *count >= repository.concurrency);
    Ok(full.map(|(repository, _)| {
        format!("waits for its turn: {} takes {} at a time", repository.name, repository.concurrency)
    }))
}

/// Whether it still has to write there. One that is being taken back writes nothing any more, and neither does one that
/// waits for a person.
fn writes_to(record: &SagaRecord, repository: RepositoryId) -> bool {
    let step = format!("transfer:{repository}");
    matches!(record.phase, Phase::Running { .. })
        && record.steps.contains(&step)
        && !record.outputs.contains_key(&step)
}
