//! The orchestrator's own part in a run: its turn comes when every VM's has ended, so that what it keeps of them is in it.

use xenith_common_ids::{BackupRunId, SagaId, TaskId};
use xenith_hypervisor_agent_types::backup::BackupFacts;
use xenith_orchestrator_saga::Meta;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::backup::{BackupRun, JobSettings, RunOrchestrator, RunStatus};

use super::WHO;
use super::advance::{Seen, see};
use crate::app::App;
use crate::own_backup::{TAG, disk_name};
use crate::sagas::backup_self::{BackupSelf, Params};

/// The name of our disk in repositories.
pub(super) fn own_disk(app: &App) -> String {
    disk_name(&app.certificates.authority().fingerprint().to_string())
}

/// What became of its task.
pub(super) async fn look(app: &App, part: &mut RunOrchestrator, retries: u32) {
    let (RunStatus::Running, Some(task)) = (part.status, part.task) else { return };
    match see(app, task).await {
        Seen::Running => {}
        Seen::Done(record) => {
            part.status = RunStatus::Done;
            part.message = None;
            let made = record.outputs.iter().filter(|(step, _)| step.starts_with("transfer:"));
            for facts in
                made.filter_map(|(_, value)| serde_json::from_value::<BackupFacts>(value.clone()).ok())
            {
                part.size = facts.disks.iter().map(|disk| disk.size).sum();
                part.new_bytes += facts.disks.iter().map(|disk| disk.new_bytes).sum::<u64>();
                part.stored += facts.disks.iter().map(|disk| disk.stored).sum::<u64>();
            }
        }
        Seen::Failed(why) => {
            part.message = Some(why);
            part.status = if part.tries <= retries { RunStatus::Waiting } else { RunStatus::Failed };
        }
        Seen::Gone(why) => {
            part.message = Some(why);
            part.status = RunStatus::Failed;
        }
    }
}

pub(super) async fn cancel(app: &App, part: &mut RunOrchestrator, by: &str) {
    match (part.status, part.task) {
        (RunStatus::Waiting, _) => {
            part.status = RunStatus::Cancelled;
            part.message = Some(format!("cancelled: {by}"));
        }
        (RunStatus::Running, Some(task)) if part.tries != u32::MAX => {
            part.tries = u32::MAX;
            // Over by itself meanwhile, or cancelled before.
            let _over = app.engine.cancel(SagaId::from(task), by).await;
        }
        _ => {}
    }
}

/// Whether it is its turn.
pub(super) fn is_due(run: &BackupRun) -> bool {
    run.vms.iter().all(|vm| vm.status.is_over())
        && run.orchestrator.as_ref().is_some_and(|part| part.status == RunStatus::Waiting)
}

/// Says what it waits for.
pub(super) fn wait(run: &mut BackupRun, why: Option<String>) {
    if let Some(part) = &mut run.orchestrator {
        part.message = why;
    }
}

/// Begins it, and notes it in the run, in one transaction.
pub(super) async fn begin(
    app: &App,
    (found, mut run): (&Record<BackupRunId, BackupRun>, BackupRun),
    settings: &JobSettings,
) -> Result<(), ApiError> {
    let saga = SagaId::new();
    let Some(part) = &mut run.orchestrator else { return Ok(()) };
    if part.tries == 0 {
        part.message = None;
    }
    part.status = RunStatus::Running;
    part.task = Some(TaskId::from(saga));
    part.tries = part.tries.saturating_add(1);
    let params = Params {
        repositories: settings.repositories.clone(),
        disk: own_disk(app),
        bandwidth: settings.bandwidth,
        tags: vec![TAG.to_owned(), format!("job:{}", settings.name)],
    };
    let meta = Meta {
        title: "Back up the orchestrator".to_owned(),
        who: WHO.to_owned(),
        subjects: vec!["system".to_owned(), format!("backup_run/{}", run.id)],
        labels: [("method".to_owned(), "backup_job.run".to_owned())].into(),
    };
    let commit = app.db.backup_runs.update_in(Transaction::new(), found, &run);
    let started = app.engine.start_with::<BackupSelf>(saga, &params, meta, commit).await;
    started.map(drop).map_err(|error| crate::errors::saga_error(&error))
}
