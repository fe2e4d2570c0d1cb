//! Lifts what restores that were given up still hold of their backups.
//!
//! A host holds a backup for as long as it reads a disk out of it, and lets go at the end, whatever that is. One that is
//! killed meanwhile lets go when it is asked for the same restore again; a task that was rolled back or abandoned never asks,
//! and no rule would forget the backup any more. So the holds of such tasks are lifted here.
//!
//! What always holds: nothing is lifted that a task which is not over works on, and nothing from which a VM still runs, as
//! after an instant restore that was abandoned. What was lifted is kept in memory only: an orchestrator that was started anew
//! lifts again what is not there, which is no error.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use xenith_common_ids::SagaId;
use xenith_hypervisor_agent_types::backup::BackupCommand;
use xenith_orchestrator_saga::{Outcome, Phase, Saga, SagaError, SagaRecord};
use xenith_orchestrator_types::ApiError;

use super::App;
use crate::background::orphans::worked_on;
use crate::errors::{saga_error, store_error};
use crate::sagas::backup_restore::{BackupRestore, Params};

/// How long one that could not be lifted rests: its repository may be away, its host of an earlier version.
const AGAIN: Duration = Duration::from_secs(3600);

/// The restores that were looked after; those that have to be tried again, with when.
#[derive(Debug, Default)]
pub struct RestoreHolds(HashMap<SagaId, Option<Instant>>);

enum Looked {
    Lifted,
    NotNow,
}

impl RestoreHolds {
    fn is_due(&self, saga: SagaId) -> bool {
        self.0.get(&saga).is_none_or(|again| again.is_some_and(|at| at <= Instant::now()))
    }
}

/// Of a task that began to read backups and will not go on.
fn given_up(record: &SagaRecord) -> bool {
    let over = matches!(
        record.phase,
        Phase::Ended { outcome: Outcome::RolledBack { .. } | Outcome::Abandoned { .. } }
    );
    over && record.kind == BackupRestore::KIND
}

impl App {
    /// One look at all of them.
    pub async fn lift_restore_holds(&self, holds: &mut RestoreHolds) {
        let known: HashSet<SagaId> = self.tasks.restores_given_up().into_iter().collect();
        holds.0.retain(|saga, _| known.contains(saga));
        let due: Vec<SagaId> = known.into_iter().filter(|saga| holds.is_due(*saga)).collect();
        if due.is_empty() {
            return;
        }
        let busy = match worked_on(self).await {
            Ok(busy) => busy,
            Err(error) => return tracing::warn!(%error, "tasks cannot be read; holds are lifted later"),
        };
        for saga in due {
            match self.lift_holds_of(saga, &busy).await {
                Ok(Looked::Lifted) => _ = holds.0.insert(saga, None),
                Ok(Looked::NotNow) => {}
                Err(error) => {
                    tracing::warn!(%error, %saga, "what a restore holds of its backup cannot be lifted yet");
                    holds.0.insert(saga, Some(Instant::now() + AGAIN));
                }
            }
        }
    }

    async fn lift_holds_of(&self, saga: SagaId, busy: &HashSet<String>) -> Result<Looked, ApiError> {
        let record = match self.engine.get(saga).await {
            Ok(record) if given_up(&record) => record,
            Ok(_) | Err(SagaError::NotFound(_)) => return Ok(Looked::Lifted),
            Err(error) => return Err(saga_error(&error)),
        };
        let params: Params = serde_json::from_value(record.params).map_err(ApiError::internal)?;
        let repository = self.db.repositories.get(&params.repository).await.map_err(|e| store_error(&e))?;
        // Of one that was taken out nobody has the key any more.
        let Some(repository) = repository else { return Ok(Looked::Lifted) };
        let Ok(host) = self.any_host(Some(params.host)) else { return Ok(Looked::NotNow) };
        for (_, vdi) in params.disks {
            if busy.contains(&vdi.to_string()) {
                return Ok(Looked::NotNow);
            }
            if params.instant && self.db.vdis.get(&vdi).await.map_err(|e| store_error(&e))?.is_some() {
                continue;
            }
            let access = self.access_to(&repository.value)?.for_reading();
            let command = BackupCommand::LiftRestore { access, backup: params.backup.clone(), vdi };
            self.tell_host(host, command).await?;
        }
        Ok(Looked::Lifted)
    }
}
