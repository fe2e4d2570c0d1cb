//! How tasks ended, in the audit log: a record of each task that a call began, which says which call that was.
//!
//! What always holds: a task of a call is noted as open in the commit that begins it, and is taken off that list in the
//! commit of its last record. So it has one such record, whenever the program ends, and the record is in the chain like
//! any other. It comes after the end of the task, not with it: after a crash, or while the disk is full, as late as the
//! next start or the next byte of room. It may stand before the record that says that the call has begun the task.
//! A task whose own record is dropped in between (after 30 days) gets one that says that its end is not known.
//!
//! A parked task has not ended: somebody goes on with it or leaves it as it is, and that is the end that is written. Tasks
//! that nobody called for (of a backup's schedule) have no record here.
//!
//! Cost: those that end while a commit is under way share the next one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use xenith_common_ids::{AuditId, SagaId};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_saga::{EventKind, Outcome, Phase, SagaEngine, SagaError, SagaEvent, SagaRecord};
use xenith_orchestrator_store::{Expect, Health, StoreError, Transaction};
use xenith_orchestrator_types::audit::{AuditPhase, AuditRecord};

use super::{Audit, PAGE, address};
use crate::app::App;
use crate::model::AuditedTask;

/// Ends in one commit. Each takes four operations of the 128 that a commit may have.
const BATCH: usize = 30;
/// After a failure that is not a full disk, which is waited for.
const PAUSE: Duration = Duration::from_secs(5);
/// Characters of a reason that are kept.
const REASON: usize = 2000;

#[derive(Debug, thiserror::Error)]
enum EndsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Saga(#[from] SagaError),
}

/// Writes the ends of tasks from now on, and those that were missed.
pub fn start(app: &Arc<App>, tasks: &TaskSet) {
    let events = app.engine.subscribe();
    let (token, app) = (tasks.token(), Arc::clone(app));
    tasks.spawn("task-auditor", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = app.audit.follow(&app.engine, events) => {}
        }
    });
}

impl Audit {
    /// Adds to the transaction that begins a task that its end is to be written, as of the call with the number `of`. The
    /// call has an end with that, whatever becomes of its own.
    pub fn expect_end_in(
        &self,
        transaction: Transaction,
        task: SagaId,
        caller: &Caller,
        (method, of): (&str, u64),
    ) -> Transaction {
        let open = AuditedTask {
            of,
            user: caller.user,
            user_name: caller.name.clone(),
            from: address(caller),
            method: method.to_owned(),
        };
        let transaction = self.db.audit_asked.delete_in(transaction, &of);
        self.db.audit_open.put_in(transaction, &task, &open)
    }

    async fn follow(&self, engine: &SagaEngine, mut events: broadcast::Receiver<SagaEvent>) {
        let mut health = self.db.store.health();
        loop {
            // An error: the store is closing, and so are we.
            drop(health.wait_for(|health| *health == Health::Writable).await);
            let error = match self.catch_up(engine).await {
                Ok(()) => self.listen(engine, &mut events).await,
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                tracing::warn!(%error, "the ends of tasks could not be written to the audit log; tried again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Until something failed, or (`None`) was missed.
    async fn listen(
        &self,
        engine: &SagaEngine,
        events: &mut broadcast::Receiver<SagaEvent>,
    ) -> Option<EndsError> {
        loop {
            let ended = ended(events).await?;
            if let Err(error) = self.write_ends(engine, &ended).await {
                return Some(error);
            }
        }
    }

    /// All that have ended, of those that are open, and calls that an earlier start left without an end.
    async fn catch_up(&self, engine: &SagaEngine) -> Result<(), EndsError> {
        self.close_missed().await?;
        let mut after = None;
        loop {
            let page = self.db.audit_open.page(after, PAGE).await?;
            let sagas: BTreeSet<SagaId> = page.records.iter().map(|record| record.key).collect();
            self.write_ends(engine, &sagas).await?;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn write_ends(&self, engine: &SagaEngine, sagas: &BTreeSet<SagaId>) -> Result<(), EndsError> {
        let (mut commit, mut records) = (Transaction::new(), Vec::new());
        for saga in sagas {
            let Some(open) = self.db.audit_open.get(saga).await? else { continue };
            let how = match engine.get(*saga).await {
                Ok(record) => how(*saga, &record),
                Err(SagaError::NotFound(_)) => {
                    let outcome =
                        format!("how task {saga} ended is not known: its record was dropped before");
                    Some((AuditPhase::Failed, outcome))
                }
                Err(error) => return Err(error.into()),
            };
            let Some((phase, outcome)) = how else { continue };
            records.push(end(&open.value, phase, &outcome));
            commit = self.db.audit_open.require_in(commit, saga, Expect::At(open.revision));
            commit = self.db.audit_open.delete_in(commit, saga);
            if records.len() == BATCH {
                self.append_in(std::mem::take(&mut commit), &std::mem::take(&mut records)).await?;
            }
        }
        if !records.is_empty() {
            self.append_in(commit, &records).await?;
        }
        Ok(())
    }
}

/// Waits for the next that ended, and takes what has ended by now with it. `None`: some were missed.
async fn ended(events: &mut broadcast::Receiver<SagaEvent>) -> Option<BTreeSet<SagaId>> {
    let mut ended = BTreeSet::new();
    let mut hear = |event: &SagaEvent| {
        if matches!(&event.what, EventKind::Ended { outcome } if !matches!(outcome, Outcome::Parked { .. })) {
            ended.insert(event.saga);
        }
        !ended.is_empty()
    };
    loop {
        match events.recv().await {
            Ok(event) if hear(&event) => break,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return None,
            // The engine is stopping, and so are we.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
    loop {
        match events.try_recv() {
            Ok(event) => {
                hear(&event);
            }
            Err(TryRecvError::Lagged(_)) => return None,
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(ended),
        }
    }
}

/// How a saga ended; `None`: it has not.
fn how(id: SagaId, record: &SagaRecord) -> Option<(AuditPhase, String)> {
    let Phase::Ended { outcome } = &record.phase else { return None };
    Some(match outcome {
        Outcome::Done => (AuditPhase::Done, format!("task {id} is done")),
        Outcome::RolledBack { .. } if record.was_cancelled() => {
            let by = record.cancel_requested_by().unwrap_or_default();
            (AuditPhase::Cancelled, format!("task {id} was cancelled by {by}, and rolled back"))
        }
        Outcome::RolledBack { reason } => {
            (AuditPhase::Failed, format!("task {id} was rolled back: {reason}"))
        }
        Outcome::Abandoned { reason } | Outcome::Parked { reason } => {
            (AuditPhase::Failed, format!("task {id} was left as it is: {reason}"))
        }
    })
}

/// The last record of a call or of a task of it.
pub(super) fn end(task: &AuditedTask, phase: AuditPhase, outcome: &str) -> AuditRecord {
    AuditRecord {
        id: AuditId::new(),
        sequence: 0,
        at: OffsetDateTime::now_utc(),
        phase,
        of: Some(task.of),
        user: task.user,
        user_name: task.user_name.clone(),
        from: task.from.clone(),
        method: task.method.clone(),
        params: Value::Null,
        outcome: Some(outcome.chars().take(REASON).collect()),
        previous: String::new(),
        hash: String::new(),
    }
}
