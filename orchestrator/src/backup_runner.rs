//! Runs of backup jobs: begun by the clock or by hand, carried on VM by VM.
//!
//! A reconciler: it reads jobs, runs and tasks from the store and does the next thing. A saga begins in the transaction
//! that notes it in the run, so that a run goes on after a restart where it was, and no VM is backed up twice for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use xenith_common_ids::{BackupJobId, BackupRunId, RepositoryId, SagaId, TaskId, VdiId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_types::backup::BackupFacts;
use xenith_orchestrator_inventory::{PageRequest, Scope};
use xenith_orchestrator_saga::{Meta, Outcome, Phase, SagaRecord};
use xenith_orchestrator_store::{Record, StoreError, Transaction};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::backup::{BackupRun, JobSettings, RunStatus, RunVm};
use xenith_orchestrator_types::event::Severity;

use crate::app::{App, vm_filter};
use crate::catalogue::{self, Definition};
use crate::errors::{query_error, store_error};
use crate::events::Happened;
use crate::model::{BackupRecord, JobRecord};
use crate::odd_change::{self, Odd};
use crate::sagas::backup_vm::{BackupVm, Disk, Params};
use crate::sagas::repository_act::{Act, Params as ActParams, RepositoryAct};
use crate::schedule::Schedule;

/// How often everything is looked at; a run begun by hand wakes it.
const TICK: Duration = Duration::from_secs(2);
/// Rounds between two looks at which VMs nothing protects: ten minutes.
const UNPROTECTED_EVERY: u64 = 300;
/// Runs that are not over are among the newest.
const NEWEST: usize = 200;
const WHO: &str = "backup schedule";

/// Starts it.
pub fn start(app: &Arc<App>, tasks: &TaskSet) {
    let (token, app) = (tasks.token(), Arc::clone(app));
    tasks.spawn("backup-runner", async move {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = 0u64;
        // What a restart falls between is told by the backup itself.
        let mut told = OffsetDateTime::now_utc();
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                _ = tick.tick() => {}
                () = app.runner.notified() => {}
            }
            // A conflict means that somebody changed a record meanwhile: the next round sees it.
            if let Err(error) = round(&app, rounds).await {
                tracing::warn!(%error, "a round of the backup runner failed; the next one tries again");
            }
            let now = OffsetDateTime::now_utc();
            match tell_proofs(&app, told).await {
                Ok(()) => told = now,
                Err(error) => tracing::warn!(%error, "verdicts on backups are told later"),
            }
            rounds += 1;
        }
    });
}

async fn round(app: &App, number: u64) -> Result<(), ApiError> {
    let now = OffsetDateTime::now_utc();
    let (jobs, _) = app.db.backup_jobs.all().await.map_err(|e| store_error(&e))?;
    for job in &jobs {
        if let Some(due) = due(&job.value, now) {
            begin_scheduled(app, job, due).await?;
        }
        if number.is_multiple_of(30) && job.value.settings.enabled && job.value.settings.rpo_minutes > 0 {
            check_rpo(app, job, now).await?;
        }
    }
    if number % UNPROTECTED_EVERY == 1 {
        crate::protection::warn(app).await?;
        app.forget_proofs().await?;
    }
    for run in active(app).await.map_err(|e| store_error(&e))? {
        advance(app, run, now).await?;
    }
    Ok(())
}

/// The newest point of the schedule that has passed and was not begun.
fn due(job: &JobRecord, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let settings = &job.settings;
    let schedule = Schedule::parse(&settings.schedule, &settings.timezone).ok()??;
    if !settings.enabled {
        return None;
    }
    let next = schedule.next(job.last_run.unwrap_or(job.created))?;
    // After a night without an orchestrator one run makes up for all that were missed.
    (next <= now).then_some(now)
}

async fn active(app: &App) -> Result<Vec<Record<BackupRunId, BackupRun>>, StoreError> {
    let page = app.db.backup_runs.page_descending(None, NEWEST).await?;
    Ok(page.records.into_iter().filter(|run| !run.value.status.is_over()).collect())
}

/// Whether a run of this job is not over.
pub async fn is_running(app: &App, job: BackupJobId) -> Result<bool, StoreError> {
    Ok(active(app).await?.iter().any(|run| run.value.job == job))
}

async fn begin_scheduled(
    app: &App,
    job: &Record<BackupJobId, JobRecord>,
    at: OffsetDateTime,
) -> Result<(), ApiError> {
    if !is_running(app, job.key).await.map_err(|e| store_error(&e))? {
        begin(app, job, at).await?;
        return Ok(());
    }
    let record = JobRecord { last_run: Some(at), ..job.value.clone() };
    app.db.backup_jobs.update(job, &record).await.map_err(|e| store_error(&e))?;
    let name = &job.value.settings.name;
    let message = format!("{name} was not begun: its run before is not over");
    note(app, (Severity::Warning, "backup.skipped"), format!("backup_job/{}", job.key), message).await;
    Ok(())
}

/// Writes down a new run.
pub async fn begin(
    app: &App,
    job: &Record<BackupJobId, JobRecord>,
    at: OffsetDateTime,
) -> Result<BackupRunId, ApiError> {
    let settings = &job.value.settings;
    let vms = vms(app, settings)?.into_iter().map(|(vm, name)| RunVm::new(vm, name)).collect();
    let id = BackupRunId::new();
    let run = BackupRun {
        id,
        job: job.key,
        job_name: settings.name.clone(),
        status: RunStatus::Running,
        started: OffsetDateTime::now_utc(),
        ended: None,
        vms,
        notes: Vec::new(),
        cancelled_by: None,
    };
    let record = JobRecord { last_run: Some(at), ..job.value.clone() };
    let mut commit = app.db.backup_jobs.update_in(Transaction::new(), job, &record);
    commit = app.db.backup_runs.insert_in(commit, &id, &run);
    app.db.store.commit(commit).await.map_err(|e| store_error(&e))?;
    Ok(id)
}

/// The VMs of a job, by name.
pub fn vms(app: &App, settings: &JobSettings) -> Result<Vec<(VmId, String)>, ApiError> {
    let mut found: std::collections::BTreeMap<VmId, String> = settings
        .vms
        .iter()
        .filter_map(|vm| app.views.vm(*vm).map(|record| (*vm, record.name.to_string())))
        .collect();
    if !settings.filter.trim().is_empty() {
        let mut page = PageRequest::first(vm_filter(&settings.filter)?, Scope::everything(), 1000);
        loop {
            let rows = app.views.vms.page(&page).map_err(|error| query_error(&error))?;
            let managed = rows.rows.into_iter().filter(|row| row.managed.as_str() == "yes");
            let meant =
                |id| app.views.vm(id).is_some_and(|vm| vm.tags.contains(crate::protection::NO_BACKUP));
            found.extend(managed.filter(|row| !meant(row.id)).map(|row| (row.id, row.name)));
            page.cursor = rows.next;
            if page.cursor.is_none() {
                break;
            }
        }
    }
    let mut found: Vec<(VmId, String)> = found.into_iter().collect();
    found.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(found)
}

/// What a run may do next.
async fn advance(
    app: &App,
    found: Record<BackupRunId, BackupRun>,
    now: OffsetDateTime,
) -> Result<(), ApiError> {
    let job = app.db.backup_jobs.get(&found.value.job).await.map_err(|e| store_error(&e))?;
    let settings = job.map(|job| job.value.settings);
    let mut run = found.value.clone();
    for vm in run.vms.iter_mut().filter(|vm| vm.status == RunStatus::Running) {
        look(app, vm, settings.as_ref().map_or(0, |settings| settings.retries)).await;
    }
    if run.cancelled_by.is_none() {
        let minutes = settings.as_ref().map_or(0, |settings| settings.window_minutes);
        let over = minutes > 0 && now - run.started > time::Duration::minutes(i64::from(minutes));
        if settings.is_none() {
            run.cancelled_by = Some("the job was deleted".to_owned());
        } else if over {
            run.cancelled_by = Some(format!("its window of {minutes} minutes is over"));
        }
    }
    if let Some(by) = run.cancelled_by.clone() {
        cancel(app, &mut run, &by).await;
    }
    if let Some(settings) = &settings
        && run.cancelled_by.is_none()
    {
        let running = run.vms.iter().filter(|vm| vm.status == RunStatus::Running).count();
        let room = (settings.concurrency as usize).saturating_sub(running);
        let waiting: Vec<usize> =
            (0..run.vms.len()).filter(|at| run.vms[*at].status == RunStatus::Waiting).take(room).collect();
        if let Some(at) = waiting.first() {
            // One a round: each begins in a transaction of its own with the run.
            return begin_vm(app, (&found, run, *at), settings).await;
        }
    }
    if run.vms.iter().all(|vm| vm.status.is_over()) {
        return finish(app, (&found, run), settings.as_ref()).await;
    }
    if run != found.value {
        app.db.backup_runs.update(&found, &run).await.map_err(|e| store_error(&e))?;
    }
    Ok(())
}

fn saga_of(task: TaskId) -> SagaId {
    SagaId::from_bytes(*task.as_bytes())
}

/// What became of a VM's task.
async fn look(app: &App, vm: &mut RunVm, retries: u32) {
    let Some(task) = vm.task else { return };
    let record = match app.engine.get(saga_of(task)).await {
        Ok(record) => record,
        Err(error) => {
            vm.status = RunStatus::Failed;
            vm.message = Some(format!("its task is gone ({error})"));
            return;
        }
    };
    let failed = match &record.phase {
        Phase::Running { .. } | Phase::Unwinding { .. } => {
            vm.message = app.engine.progress(saga_of(task)).map(|progress| progress.message);
            return;
        }
        Phase::Ended { outcome: Outcome::Done } => {
            vm.status = RunStatus::Done;
            vm.message = None;
            count(vm, &record);
            return;
        }
        Phase::Parked { parked } => parked.reason.clone(),
        Phase::Ended { outcome } => match outcome {
            Outcome::RolledBack { reason } | Outcome::Parked { reason } | Outcome::Abandoned { reason } => {
                reason.clone()
            }
            Outcome::Done => String::new(),
        },
    };
    vm.message = Some(failed);
    vm.status = if vm.tries <= retries { RunStatus::Waiting } else { RunStatus::Failed };
}

fn count(vm: &mut RunVm, record: &SagaRecord) {
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
            (RunStatus::Running, Some(task)) => {
                vm.tries = u32::MAX;
                // Over by itself meanwhile, or cancelled before.
                let _over = app.engine.cancel(saga_of(task), by).await;
            }
            _ => {}
        }
    }
}

/// Begins the backup of one VM, and notes it in the run, in one transaction.
async fn begin_vm(
    app: &App,
    (found, mut run, at): (&Record<BackupRunId, BackupRun>, BackupRun, usize),
    settings: &JobSettings,
) -> Result<(), ApiError> {
    let saga = SagaId::new();
    let what = What {
        repositories: &settings.repositories,
        exclude_disks: &settings.exclude_disks,
        bandwidth: settings.bandwidth,
        tags: vec![format!("job:{}", settings.name)],
    };
    let params = match params(app, (run.vms[at].vm, &run.vms[at].name), &what).await? {
        Ok(params) => params,
        Err(why) => {
            run.vms[at].status = RunStatus::Failed;
            run.vms[at].message = Some(why);
            app.db.backup_runs.update(found, &run).await.map_err(|e| store_error(&e))?;
            return Ok(());
        }
    };
    let vm = &mut run.vms[at];
    vm.status = RunStatus::Running;
    vm.task = Some(TaskId::from_bytes(*saga.as_bytes()));
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
    started.map_err(|error| crate::errors::saga_error(&error))?;
    app.runner.notify_one();
    Ok(())
}

/// What of a VM goes where.
pub struct What<'a> {
    pub repositories: &'a [RepositoryId],
    pub exclude_disks: &'a [String],
    /// Bytes per second, 0 for no limit.
    pub bandwidth: u64,
    pub tags: Vec<String>,
}

fn is_excluded(excluded: &[String], (vm, name): (VmId, &str), device: &str) -> bool {
    excluded.iter().any(|excluded| match excluded.split_once(':') {
        Some((of, disk)) => disk == device && (of == name || of == vm.to_string()),
        None => excluded == device,
    })
}

/// What to do for one VM, or why it cannot be done.
pub async fn params(
    app: &App,
    (vm, name): (VmId, &str),
    what: &What<'_>,
) -> Result<Result<Params, String>, ApiError> {
    let Some(record) = app.db.vms.get(&vm).await.map_err(|e| store_error(&e))? else {
        return Ok(Err("the VM was deleted".to_owned()));
    };
    let record = record.value;
    let mut disks = Vec::new();
    for disk in &record.spec.disks {
        if is_excluded(what.exclude_disks, (vm, name), &disk.device.to_string()) {
            continue;
        }
        let Some(vdi) = app.db.vdis.get(&disk.vdi).await.map_err(|e| store_error(&e))? else {
            return Ok(Err(format!("VDI {} is not known", disk.vdi)));
        };
        disks.push(Disk { device: disk.device, vdi: disk.vdi, sr: vdi.value.sr, snapshot: VdiId::new() });
    }
    if disks.is_empty() {
        return Ok(Err("it has no disks to back up".to_owned()));
    }
    Ok(Ok(Params {
        vm,
        host: record.host,
        disks,
        repositories: what.repositories.to_vec(),
        definition: Definition {
            vm,
            spec: record.spec,
            description: record.description,
            tags: record.tags,
            disks: Vec::new(),
        },
        bandwidth: what.bandwidth,
        tags: what.tags.clone(),
    }))
}

/// Ends a run: its verdict, the rules on what to keep, the report.
async fn finish(
    app: &App,
    (found, mut run): (&Record<BackupRunId, BackupRun>, BackupRun),
    settings: Option<&JobSettings>,
) -> Result<(), ApiError> {
    if run.cancelled_by.is_some() {
        for vm in run.vms.iter_mut().filter(|vm| vm.status == RunStatus::Failed) {
            vm.status = RunStatus::Cancelled;
        }
    }
    let any = |status| run.vms.iter().any(|vm| vm.status == status);
    run.status = if any(RunStatus::Failed) {
        RunStatus::Failed
    } else if any(RunStatus::Cancelled) {
        RunStatus::Cancelled
    } else {
        RunStatus::Done
    };
    run.ended = Some(OffsetDateTime::now_utc());
    for vm in run.vms.iter_mut().filter(|vm| vm.tries == u32::MAX) {
        vm.tries = 1;
    }
    app.db.backup_runs.update(found, &run).await.map_err(|e| store_error(&e))?;
    // From here on the run is over; what is lost in a crash now is the pruning, which the next run does too.
    let failed: Vec<&RunVm> = run.vms.iter().filter(|vm| vm.status != RunStatus::Done).collect();
    let (severity, kind, message) = if failed.is_empty() {
        let stored: u64 = run.vms.iter().map(|vm| vm.stored).sum();
        let message =
            format!("{}: {} VMs backed up, {} MiB stored", run.job_name, run.vms.len(), stored >> 20);
        (Severity::Info, "backup.done", message)
    } else {
        let names: Vec<&str> = failed.iter().map(|vm| vm.name.as_str()).take(20).collect();
        let message =
            format!("{} of {} VMs were not backed up: {}", failed.len(), run.vms.len(), names.join(", "));
        (Severity::Error, "backup.failed", format!("{}: {message}", run.job_name))
    };
    note(app, (severity, kind), format!("backup_run/{}", run.id), message).await;
    if let Some(settings) = settings {
        let odd = odd_changes(app, &run, settings).await;
        if !settings.keep.is_everything() {
            prune(app, &run, settings, &odd).await;
        }
        if settings.prove > 0 {
            prove(app, &run, settings).await;
        }
        if !settings.webhook.is_empty() {
            report(app, &run, &settings.webhook).await;
        }
    }
    Ok(())
}

/// Begins the proofs that are due: of the VMs that were proved longest ago, or never.
async fn prove(app: &App, run: &BackupRun, settings: &JobSettings) {
    let (Ok(backups), Ok((proofs, _))) = (catalogue::all(&app.db, None).await, app.db.proofs.all().await)
    else {
        return;
    };
    let ours = |backup: &&BackupRecord| settings.repositories.contains(&backup.repository);
    let mut due = Vec::new();
    for vm in run.vms.iter().filter(|vm| vm.status == RunStatus::Done) {
        let is_of = |backup: &&BackupRecord| backup.definition.as_ref().is_some_and(|d| d.vm == vm.vm);
        let of_vm: Vec<&BackupRecord> = backups.iter().filter(ours).filter(is_of).collect();
        let proved = proofs.iter().filter(|proof| {
            of_vm.iter().any(|backup| (backup.repository, &backup.facts.id) == (proof.key.0, &proof.key.1))
        });
        let last = proved.map(|proof| proof.value.at).max();
        if let Some(newest) = of_vm.into_iter().max_by_key(|backup| backup.created) {
            due.push((last, newest));
        }
    }
    // Never comes before any time.
    due.sort_by_key(|(last, _)| *last);
    for (_, backup) in due.into_iter().take(settings.prove as usize) {
        if let Err(error) = app.prove_for(WHO, backup).await {
            let name = backup.definition.as_ref().map_or_else(String::new, |d| d.spec.name.to_string());
            let message = format!("the backup of {name} could not be proved: {error}");
            note(app, (Severity::Warning, "backup.proof"), format!("backup_run/{}", run.id), message).await;
        }
    }
}

/// Tells of verdicts that nobody was told of: those since the round before.
async fn tell_proofs(app: &App, since: OffsetDateTime) -> Result<(), ApiError> {
    let (proofs, _) = app.db.proofs.all().await.map_err(|e| store_error(&e))?;
    for proof in proofs.into_iter().filter(|proof| proof.value.at > since) {
        let Some(backup) = app.db.backups.get(&proof.key).await.map_err(|e| store_error(&e))? else {
            continue;
        };
        let Some(definition) = backup.value.definition else { continue };
        let (name, said) = (&definition.spec.name, &proof.value.said);
        let (severity, message) = if proof.value.answered {
            (Severity::Info, format!("the backup of {name} boots: {said}"))
        } else {
            (Severity::Error, format!("the backup of {name} was not seen to boot: {said}"))
        };
        note(app, (severity, "backup.proof"), format!("vm/{}", definition.vm), message).await;
    }
    Ok(())
}

/// The VMs whose newest backup changed oddly much, each told of.
async fn odd_changes(app: &App, run: &BackupRun, settings: &JobSettings) -> BTreeSet<VmId> {
    let mut odd = BTreeSet::new();
    for repository in &settings.repositories {
        let Ok(mut backups) = catalogue::all(&app.db, Some(*repository)).await else { continue };
        backups.sort_by_key(|backup| std::cmp::Reverse(backup.created));
        for vm in run.vms.iter().filter(|vm| vm.status == RunStatus::Done) {
            let of_vm = backups.iter().filter(|b| b.definition.as_ref().is_some_and(|d| d.vm == vm.vm));
            let facts: Vec<&BackupFacts> = of_vm.map(|backup| &backup.facts).collect();
            let Some(found) = odd_change::judge(&facts) else { continue };
            if !odd.insert(vm.vm) {
                continue;
            }
            let (severity, what) = match found {
                Odd::Much => (Severity::Warning, "changed far more than it does as a rule"),
                Odd::LooksEncrypted => (
                    Severity::Error,
                    "changed far more than it does as a rule, and what is new cannot be compressed, as if it were \
                     encrypted",
                ),
            };
            let message = format!(
                "{} {what}; look at it, and hold its earlier backups if in doubt. What is kept of it is not thinned \
                 out by this run",
                vm.name
            );
            note(app, (severity, "backup.odd_change"), format!("vm/{}", vm.vm), message).await;
        }
    }
    odd
}

/// One task per VM and repository.
async fn prune(app: &App, run: &BackupRun, settings: &JobSettings, odd: &BTreeSet<VmId>) {
    for repository in &settings.repositories {
        let Ok(Some(record)) = app.db.repositories.get(repository).await else { continue };
        let Ok(host) = app.any_host(record.value.host) else { continue };
        let Ok(backups) = catalogue::all(&app.db, Some(*repository)).await else { continue };
        let judged = |vm: &&RunVm| vm.status == RunStatus::Done && !odd.contains(&vm.vm);
        for vm in run.vms.iter().filter(judged) {
            let of_vm = backups.iter().filter(|b| b.definition.as_ref().is_some_and(|d| d.vm == vm.vm));
            let mut disks: Vec<String> =
                of_vm.flat_map(|backup| backup.facts.disks.iter().map(|disk| disk.name.clone())).collect();
            disks.sort();
            disks.dedup();
            let act = Act::Prune { disks, keep: settings.keep };
            let meta = Meta {
                title: format!("Apply the rules to the backups of {}", vm.name),
                who: WHO.to_owned(),
                subjects: vec![format!("vm/{}", vm.vm), format!("repository/{repository}")],
                labels: [("method".to_owned(), "backup_job.run".to_owned())].into(),
            };
            let params = ActParams { repository: *repository, host, act };
            if let Err(error) = app.engine.start::<RepositoryAct>(&params, meta).await {
                tracing::warn!(%error, "backups could not be pruned; the next run does it");
            }
        }
    }
}

/// The run as JSON to whoever wants it. Nobody there is noted in the run and costs it nothing.
async fn report(app: &App, run: &BackupRun, url: &str) {
    let (body, to) = (serde_json::to_string(run).unwrap_or_default(), url.to_owned());
    let sent = tokio::task::spawn_blocking(move || -> Result<(), String> {
        let client = reqwest::blocking::Client::builder().timeout(Duration::from_secs(20)).build();
        let client = client.map_err(|error| error.to_string())?;
        let request = client.post(&to).header("content-type", "application/json").body(body);
        let answer = request.send().map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    })
    .await
    .unwrap_or_else(|error| Err(error.to_string()));
    if let Err(why) = sent {
        let text = format!("the report was not taken by {url}: {why}");
        note(app, (Severity::Warning, "backup.report"), format!("backup_run/{}", run.id), text.clone()).await;
        let add = |run: &mut BackupRun| run.notes.push(text.clone());
        let _next_report = app.db.backup_runs.modify(&run.id, add).await;
    }
}

/// Warns once about each VM whose newest backup is too old, and takes it back when there is a new one.
async fn check_rpo(
    app: &App,
    job: &Record<BackupJobId, JobRecord>,
    now: OffsetDateTime,
) -> Result<(), ApiError> {
    let settings = &job.value.settings;
    let allowed = time::Duration::minutes(i64::from(settings.rpo_minutes));
    let backups = catalogue::all(&app.db, None).await.map_err(|e| store_error(&e))?;
    let mut warned = job.value.warned.clone();
    for (vm, name) in vms(app, settings)? {
        let of_vm = backups.iter().filter(|b| settings.repositories.contains(&b.repository));
        let of_vm = of_vm.filter(|backup| backup.definition.as_ref().is_some_and(|d| d.vm == vm));
        let newest = of_vm.map(|backup| backup.created).max();
        let born = app.views.vm(vm).map_or(now, |record| record.created).max(job.value.created);
        if now - newest.unwrap_or(born) <= allowed {
            warned.remove(&vm);
        } else if warned.insert(vm) {
            let since =
                newest.map_or_else(|| "there is none".to_owned(), |at| format!("the last is of {at}"));
            let message =
                format!("{name} has no backup newer than {} minutes: {since}", settings.rpo_minutes);
            note(app, (Severity::Warning, "backup.overdue"), format!("vm/{vm}"), message).await;
        }
    }
    if warned != job.value.warned {
        let record = JobRecord { warned, ..job.value.clone() };
        app.db.backup_jobs.update(job, &record).await.map_err(|e| store_error(&e))?;
    }
    Ok(())
}

pub async fn note(app: &App, (severity, kind): (Severity, &'static str), subject: String, message: String) {
    let vm = subject.strip_prefix("vm/").and_then(|vm| vm.parse().ok()).and_then(|vm| app.views.vm(vm));
    let pool = vm.map(|record| record.pool);
    app.events.note(Happened { severity, kind, subject, message, pool }).await;
}
