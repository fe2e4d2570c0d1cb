//! From VM to VM until a run is over, and what follows from its verdict.
//!
//! ```text
//! a VM of a run: waiting -> running -> done
//!                   ^          |-----> waiting   (failed, and may be tried again)
//!                   |          '-----> failed
//!                   '--------------> cancelled   (by somebody, or the window is over)
//! ```
//!
//! The run's end is one commit: its verdict, that it is not live any more, the reports that are owed, and the time that
//! jobs after it go by. What follows (rules, proofs) is lost in a crash behind it, and done by the next run.

use time::OffsetDateTime;
use xenith_common_ids::{BackupJobId, BackupRunId, SagaId, TaskId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_types::backup::BackupFacts;
use xenith_hypervisor_agent_types::{Consistency, Quiesced};
use xenith_orchestrator_saga::{Meta, Outcome, SagaRecord};
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::backup::{BackupRun, JobSettings, RunStatus, RunVm};
use xenith_orchestrator_types::event::Severity;

use super::begin::{What, params};
use super::{WHO, note, odd, own, proofs, prune, report, room};
use crate::app::App;
use crate::errors::store_error;
use crate::model::JobRecord;
use crate::sagas::backup_vm::{BackupVm, SNAPSHOT};

type Run = Record<BackupRunId, BackupRun>;
type Job = Record<BackupJobId, JobRecord>;

/// What a look at a run showed.
pub(super) enum News {
    Nothing,
    /// A VM has a new backup.
    BackedUp,
}

/// What a run may do next.
pub(super) async fn advance(
    app: &App,
    (job, id): (BackupJobId, BackupRunId),
    now: OffsetDateTime,
) -> Result<News, ApiError> {
    let Some(found) = app.db.backup_runs.get(&id).await.map_err(|e| store_error(&e))? else {
        // Nothing deletes a run that is not over.
        let gone = app.db.live_runs.delete_in(Transaction::new(), &job);
        app.db.store.commit(gone).await.map_err(|e| store_error(&e))?;
        return Ok(News::Nothing);
    };
    let job = app.db.backup_jobs.get(&job).await.map_err(|e| store_error(&e))?;
    let mut run = found.value.clone();
    let retries = job.as_ref().map_or(0, |job| job.value.settings.retries);
    for vm in run.vms.iter_mut().filter(|vm| vm.status == RunStatus::Running) {
        look(app, vm, retries).await;
    }
    let were_done = found.value.vms.iter().map(|vm| vm.status == RunStatus::Done);
    let is_new = were_done.zip(&run.vms).any(|(was, vm)| !was && vm.status == RunStatus::Done);
    let news = if is_new { News::BackedUp } else { News::Nothing };
    go_on(app, (&found, run), job.as_ref(), now).await.map(|()| news)
}

async fn go_on(
    app: &App,
    (found, mut run): (&Run, BackupRun),
    job: Option<&Job>,
    now: OffsetDateTime,
) -> Result<(), ApiError> {
    let settings = job.map(|job| &job.value.settings);
    if let Some(part) = &mut run.orchestrator {
        own::look(app, part, settings.map_or(0, |settings| settings.retries)).await;
    }
    if run.cancelled_by.is_none() {
        run.cancelled_by = ended_by(&run, settings, now);
    }
    if let Some(by) = run.cancelled_by.clone() {
        cancel(app, &mut run, &by).await;
    }
    if let Some(settings) = settings
        && run.cancelled_by.is_none()
    {
        let running = run.vms.iter().filter(|vm| vm.status == RunStatus::Running).count();
        let waiting = run.vms.iter().position(|vm| vm.status == RunStatus::Waiting);
        if let Some(at) = waiting.filter(|_| running < settings.concurrency as usize) {
            match room::taken_up(app, &settings.repositories).await? {
                // One a round: each begins in a transaction of its own with the run.
                None => return begin_vm(app, (found, run, at), settings).await,
                Some(why) => run.vms[at].message = Some(why),
            }
        }
        if own::is_due(&run) {
            match room::taken_up(app, &settings.repositories).await? {
                None => return own::begin(app, (found, run), settings).await,
                why => own::wait(&mut run, why),
            }
        }
    }
    let own_is_over = run.orchestrator.as_ref().is_none_or(|part| part.status.is_over());
    if own_is_over && run.vms.iter().all(|vm| vm.status.is_over()) {
        return finish(app, (found, run), job).await;
    }
    if run != found.value {
        app.db.backup_runs.update(found, &run).await.map_err(|e| store_error(&e))?;
    }
    Ok(())
}

/// Who or what ends a run that nobody cancelled.
fn ended_by(run: &BackupRun, settings: Option<&JobSettings>, now: OffsetDateTime) -> Option<String> {
    let Some(settings) = settings else { return Some("the job was deleted".to_owned()) };
    let minutes = settings.window_minutes;
    let over = minutes > 0 && now - run.started > time::Duration::minutes(i64::from(minutes));
    over.then(|| format!("its window of {} is over", counted(minutes, "minute")))
}

/// What became of a VM's task. How far a running one is, is not kept: who asks is told by [`progress`].
async fn look(app: &App, vm: &mut RunVm, retries: u32) {
    let Some(task) = vm.task else { return };
    match see(app, task).await {
        Seen::Running => {}
        Seen::Done(record) => {
            vm.status = RunStatus::Done;
            vm.message = None;
            count(vm, &record);
        }
        Seen::Failed(why) => {
            vm.message = Some(why);
            vm.status = if vm.tries <= retries { RunStatus::Waiting } else { RunStatus::Failed };
        }
        Seen::Gone(why) => {
            vm.message = Some(why);
            vm.status = RunStatus::Failed;
        }
    }
}

/// Where a task of a run stands.
pub(super) enum Seen {
    Running,
    Done(Box<SagaRecord>),
    Failed(String),
    /// Nobody knows what became of it.
    Gone(String),
}

pub(super) async fn see(app: &App, task: TaskId) -> Seen {
    let record = match app.engine.get(SagaId::from(task)).await {
        Ok(record) => record,
        Err(error) => return Seen::Gone(format!("its task is gone ({error})")),
    };
    match record.phase.outcome() {
        None => Seen::Running,
        Some(Outcome::Done) => Seen::Done(Box::new(record)),
        Some(Outcome::RolledBack { reason } | Outcome::Parked { reason } | Outcome::Abandoned { reason }) => {
            Seen::Failed(reason)
        }
    }
}

/// Says of the VMs of a run that is not over how far they are.
pub fn progress(app: &App, run: &mut BackupRun) {
    for vm in run.vms.iter_mut().filter(|vm| vm.status == RunStatus::Running) {
        let progress = vm.task.and_then(|task| app.engine.progress(SagaId::from(task)));
        vm.message = progress.map(|progress| progress.message).or(vm.message.take());
    }
}

fn count(vm: &mut RunVm, record: &SagaRecord) {
    let made = record.outputs.iter().find(|(step, _)| *step == SNAPSHOT);
    let quiesced = made.and_then(|(_, value)| serde_json::from_value::<Quiesced>(value.clone()).ok());
    if let Some(Quiesced { consistency, because }) = quiesced {
        (vm.consistency, vm.not_quiesced_because) = (Some(consistency), because);
    }
    let made = record.outputs.iter().filter(|(step, _)| step.starts_with("transfer:"));
    for facts in made.filter_map(|(_, value)| serde_json::from_value::<BackupFacts>(value.clone()).ok()) {
        vm.size = facts.disks.iter().map(|disk| disk.size).sum();
        for disk in facts.disks {
            vm.read += disk.read;
            vm.new_bytes += disk.new_bytes;
            vm.stored += disk.stored;
            vm.millis += disk.millis;
            vm.whole_because.extend(disk.whole_because.map(|why| format!("{}: {why}", disk.name)));
        }
    }
}

async fn cancel(app: &App, run: &mut BackupRun, by: &str) {
    for vm in &mut run.vms {
        match (vm.status, vm.task) {
            (RunStatus::Waiting, _) => {
                vm.status = RunStatus::Cancelled;
                vm.message = Some(format!("cancelled: {by}"));
            }
            (RunStatus::Running, Some(task)) if vm.tries != u32::MAX => {
                vm.tries = u32::MAX;
                // Over by itself meanwhile, or cancelled before.
                let _over = app.engine.cancel(SagaId::from(task), by).await;
            }
            _ => {}
        }
    }
    if let Some(part) = &mut run.orchestrator {
        own::cancel(app, part, by).await;
    }
}

/// Begins the backup of one VM, and notes it in the run, in one transaction.
async fn begin_vm(
    app: &App,
    (found, mut run, at): (&Run, BackupRun, usize),
    settings: &JobSettings,
) -> Result<(), ApiError> {
    let saga = SagaId::new();
    let what = What {
        repositories: &settings.repositories,
        exclude_disks: &settings.exclude_disks,
        include_disks: &settings.include_disks,
        bandwidth: settings.bandwidth,
        tags: vec![format!("job:{}", settings.name)],
        quiesce: settings.quiesce,
    };
    let begun = params(app, (run.vms[at].vm, &run.vms[at].name), &what).await?;
    // Whatever came of it, the next VM may begin at once.
    app.runner.notify_one();
    let params = match begun {
        Ok(params) => params,
        Err(why) => {
            run.vms[at].status = RunStatus::Failed;
            run.vms[at].message = Some(why);
            app.db.backup_runs.update(found, &run).await.map_err(|e| store_error(&e))?;
            return Ok(());
        }
    };
    let vm = &mut run.vms[at];
    if vm.tries == 0 {
        // That it waited; why an earlier try failed stays until this one has something to say.
        vm.message = None;
    }
    vm.status = RunStatus::Running;
    vm.task = Some(TaskId::from(saga));
    vm.tries = vm.tries.saturating_add(1);
    let meta = Meta {
        title: format!("Back up {}", vm.name),
        who: WHO.to_owned(),
        subjects: vec![
            format!("vm/{}", vm.vm),
            format!("host/{}", params.host),
            format!("backup_run/{}", run.id),
        ],
        labels: [("method".to_owned(), "backup_job.run".to_owned())].into(),
    };
    let commit = app.db.backup_runs.update_in(Transaction::new(), found, &run);
    let started = app.engine.start_with::<BackupVm>(saga, &params, meta, commit).await;
    started.map(drop).map_err(|error| crate::errors::saga_error(&error))
}

fn verdict(run: &mut BackupRun) {
    if run.cancelled_by.is_some() {
        for vm in run.vms.iter_mut().filter(|vm| vm.status == RunStatus::Failed) {
            vm.status = RunStatus::Cancelled;
        }
    }
    if let Some(part) = &mut run.orchestrator {
        if run.cancelled_by.is_some() && part.status == RunStatus::Failed {
            part.status = RunStatus::Cancelled;
        }
        if part.tries == u32::MAX {
            part.tries = 1;
        }
    }
    let own = run.orchestrator.as_ref().map(|part| part.status);
    let any = |status| own == Some(status) || run.vms.iter().any(|vm| vm.status == status);
    run.status = if any(RunStatus::Failed) {
        RunStatus::Failed
    } else if any(RunStatus::Cancelled) {
        RunStatus::Cancelled
    } else {
        RunStatus::Done
    };
    for vm in run.vms.iter_mut().filter(|vm| vm.tries == u32::MAX) {
        vm.tries = 1;
    }
    run.consistency = weakest(run);
}

/// What can be said of every backup of a run.
fn weakest(run: &BackupRun) -> Consistency {
    let done = run.vms.iter().filter(|vm| vm.status == RunStatus::Done);
    let known: Vec<Consistency> = done.map(|vm| vm.consistency.unwrap_or_default()).collect();
    let any = |consistency| known.contains(&consistency);
    if known.is_empty() || any(Consistency::CrashConsistent) {
        Consistency::CrashConsistent
    } else if any(Consistency::FilesystemConsistent) {
        Consistency::FilesystemConsistent
    } else {
        Consistency::Offline
    }
}

/// What a run came to, in a sentence.
pub(super) fn summary(run: &BackupRun) -> String {
    let failed: Vec<&RunVm> = run.vms.iter().filter(|vm| vm.status != RunStatus::Done).collect();
    let own = run.orchestrator.as_ref();
    let own = match own.map(|part| part.status) {
        None => "",
        Some(RunStatus::Done) => "; the orchestrator was backed up",
        Some(_) => "; the orchestrator was not backed up",
    };
    if failed.is_empty() {
        let stored: u64 = run.vms.iter().map(|vm| vm.stored).sum();
        return format!(
            "{}: {} backed up, {} MiB stored{own}",
            run.job_name,
            counted(run.vms.len(), "VM"),
            stored >> 20
        );
    }
    let names: Vec<&str> = failed.iter().map(|vm| vm.name.as_str()).take(20).collect();
    let of = format!("{} of {} not backed up", failed.len(), counted(run.vms.len(), "VM"));
    format!("{}: {of}: {}{own}", run.job_name, names.join(", "))
}

/// Ends a run: its verdict, the rules on what to keep, the proofs.
async fn finish(app: &App, (found, mut run): (&Run, BackupRun), job: Option<&Job>) -> Result<(), ApiError> {
    verdict(&mut run);
    let ended = OffsetDateTime::now_utc();
    run.ended = Some(ended);
    let mut commit = app.db.backup_runs.update_in(Transaction::new(), found, &run);
    commit = app.db.live_runs.delete_in(commit, &run.job);
    if let Some(job) = job {
        let record = JobRecord { last_over: Some(ended), ..job.value.clone() };
        commit = app.db.backup_jobs.update_in(commit, job, &record);
        commit = report::owe_in(app, commit, &run, &job.value.settings);
    }
    app.db.store.commit(commit).await.map_err(|e| store_error(&e))?;
    let (severity, kind) = match run.status {
        RunStatus::Done => (Severity::Info, "backup.done"),
        _ => (Severity::Error, "backup.failed"),
    };
    note(app, (severity, kind), format!("backup_run/{}", run.id), summary(&run)).await;
    if let Some(settings) = job.map(|job| &job.value.settings) {
        let odd = odd::odd_changes(app, &run, settings).await;
        if let Err(error) = odd::keep(app, &run, &odd).await {
            tracing::warn!(%error, "whose backups changed oddly much cannot be written; the events say it");
        }
        if !settings.keep.is_everything() {
            prune::prune(app, &run, settings, &odd).await;
        }
        if settings.prove > 0 {
            proofs::prove(app, &run, settings).await;
        }
    }
    Ok(())
}
