//! Back up the orchestrator itself, into each repository, and note it in the catalogue.
//!
//! The commit point is the manifest in the repository. A step that runs again finds what it made by its operation id; a
//! crash leaves a checkpoint that the next start deletes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_backup::BackupError;
use xenith_backup::ingest::Progress;
use xenith_backup::store::Pace;
use xenith_common_ids::RepositoryId;
use xenith_common_text::chain;
use xenith_hypervisor_agent_types::backup::BackupFacts;
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, LOOK_EVERY};
use crate::catalogue;
use crate::own_backup::{self, OwnBackupError, What};

#[derive(Clone)]
pub struct BackupSelf(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub repositories: Vec<RepositoryId>,
    /// See [`own_backup::disk_name`].
    pub disk: String,
    pub bandwidth: u64,
    pub tags: Vec<String>,
}

const PATIENT: RetryPolicy =
    RetryPolicy { attempts: 120, first: Duration::from_millis(500), most: Duration::from_secs(30) };

impl Saga for BackupSelf {
    const KIND: &'static str = "backup_self";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let day = Duration::from_secs(86_400);
        let mut steps = Vec::new();
        for repository in &params.repositories {
            let item = repository.to_string();
            steps.push(Step::new("transfer", transfer).for_item(&item).retry(PATIENT).deadline(day));
        }
        steps.push(Step::new("record", record).cannot_be_undone("the backup is in the catalogue"));
        steps
    }
}

fn step_error(error: &OwnBackupError) -> StepError {
    let text = chain(error);
    match error {
        OwnBackupError::Backup(BackupError::Cancelled) => StepError::Cancelled,
        OwnBackupError::Backup(error) if error.is_retryable() => StepError::retryable(text),
        OwnBackupError::Backup(BackupError::NotFound { .. }) => StepError::permanent(format!(
            "{text}; the orchestrator writes its own backup itself: a folder has to be there on its machine, too"
        )),
        // A full disk may have room again.
        OwnBackupError::Checkpoint(_) => StepError::retryable(text),
        _ => StepError::permanent(text),
    }
}

async fn transfer(saga: &BackupSelf, ctx: &StepCtx<BackupSelf>) -> Result<BackupFacts, StepError> {
    let params = ctx.params();
    let item = ctx.item().unwrap_or_default();
    let repository = item.parse().map_err(|_| StepError::permanent("the step names no repository"))?;
    let access = saga.0.access(repository).await?;
    let checkpoints = saga.0.db.checkpoints.clone();
    let checkpoints = checkpoints
        .ok_or_else(|| StepError::permanent("this orchestrator's store is not on a disk of its own"))?;
    let what = What {
        disk: params.disk.clone(),
        operation: ctx.operation_id().to_string(),
        tags: params.tags.clone(),
    };
    let progress = Arc::new(Progress::default());
    let writer = saga.0.writers.enter(repository, params.bandwidth);
    writer.writes();
    let pace = Arc::new(Pace::new(writer.share(saga.0.bandwidth_of(repository).await?)));
    let (counters, kept) = (Arc::clone(&progress), Arc::clone(&pace));
    let mut work = tokio::task::spawn_blocking(move || {
        let repo = own_backup::open_paced(&access, &kept, &counters)?;
        own_backup::back_up(&checkpoints, &repo, &what, &counters)
    });
    // Also when the step is dropped: the thread must not go on for nobody.
    let _stopped = StopWhenDropped(Arc::clone(&progress));
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            made = &mut work => {
                let made = made.map_err(|error| StepError::retryable(error.to_string()))?;
                return made.map_err(|error| step_error(&error));
            }
            () = ctx.cancelled().cancelled(), if !progress.cancelled.load(Ordering::Relaxed) => {
                progress.cancelled.store(true, Ordering::Relaxed);
            }
            _ = look.tick() => {
                // What held before stands until the record can be read.
                if let Ok(limit) = saga.0.bandwidth_of(repository).await {
                    pace.set(writer.share(limit));
                }
                let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                let (done, total) = (get(&progress.done), get(&progress.total));
                let percent = u8::try_from((done.saturating_mul(100) / total.max(1)).min(100)).unwrap_or(100);
                let stored = get(&progress.stored) >> 20;
                ctx.progress(percent, format!("{} of {} MiB, {stored} MiB stored", done >> 20, total >> 20));
            }
        }
    }
}

struct StopWhenDropped(Arc<Progress>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }
}

async fn record(saga: &BackupSelf, ctx: &StepCtx<BackupSelf>) -> Result<(), StepError> {
    let db = &saga.0.db;
    let mut commit = Transaction::new();
    for repository in &ctx.params().repositories {
        let made: BackupFacts = ctx.output(&format!("transfer:{repository}"))?;
        commit = catalogue::put_in(db, commit, *repository, &made);
    }
    db.store.commit(commit).await?;
    Ok(())
}
