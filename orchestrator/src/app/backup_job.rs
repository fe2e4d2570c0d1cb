//! Backup jobs and their runs. What a run does is decided in [`crate::backup_runner`].

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::{BackupJobId, BackupRunId, RepositoryId, VmId};
use xenith_orchestrator_api::backup_job::BackupJobApi;
use xenith_orchestrator_api::backup_run::BackupRunApi;
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::backup::{
    BackupJob, BackupJobRef, BackupRun, BackupRunRef, CreateBackupJob, JobSettings, ListBackupRuns,
    RunStarted, UpdateBackupJob,
};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::backup_proof::checked_ports;
use super::listings::backups::{BackupJobRow, RunRow};
use super::listings::filtered;
use super::{App, vm_filter};
use crate::backup_runner;
use crate::errors::store_error;
use crate::model::JobRecord;
use crate::outbox;
use crate::schedule::Schedule;

/// VMs at a time of who names no number.
const CONCURRENCY: u32 = 2;

fn view(id: BackupJobId, record: &JobRecord) -> BackupJob {
    let settings = record.settings.clone();
    BackupJob { id, settings, last_run: record.last_run, next_run: backup_runner::next_run(record) }
}

fn checked(mut settings: JobSettings) -> Result<JobSettings, ApiError> {
    if settings.name.is_empty() || settings.name.len() > 128 {
        return Err(ApiError::invalid("name", "use 1 to 128 characters"));
    }
    if settings.repositories.is_empty() {
        return Err(ApiError::invalid("repositories", "name at least one"));
    }
    if settings.vms.is_empty() && settings.filter.trim().is_empty() && !settings.orchestrator {
        let text = "name VMs, give a filter such as tag:prod, or let it back up the orchestrator";
        return Err(ApiError::invalid("vms", text));
    }
    vm_filter(&settings.filter)?;
    Schedule::parse(&settings.schedule, &settings.timezone)
        .map_err(|(field, problem)| ApiError::invalid(field, problem))?;
    if settings.concurrency == 0 {
        settings.concurrency = CONCURRENCY;
    }
    if settings.concurrency > 64 || settings.retries > 20 {
        return Err(ApiError::invalid("concurrency", "at most 64 VMs at a time, and at most 20 retries"));
    }
    let url = &settings.webhook;
    if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(ApiError::invalid("webhook", "give a URL that begins with https:// or http://"));
    }
    if settings.mail_to.len() > 20 {
        return Err(ApiError::invalid("mail_to", "at most 20 addresses; make a list on your mail server"));
    }
    for address in &settings.mail_to {
        crate::mail::parse_address(address).map_err(|error| ApiError::invalid("mail_to", error))?;
    }
    settings.prove_ports = checked_ports("prove_ports", settings.prove_ports)?;
    Ok(settings)
}

/// Whether a job reaches nothing but what the caller administers: it names its VMs, each in their scope. A filter finds
/// what there is when a run begins, wherever that is, and the orchestrator is everybody's.
fn administers_job(app: &App, call: &Call, settings: &JobSettings) -> Result<(), ApiError> {
    let sight = call.caller.sight(Permission::Administer);
    // One that is gone is backed up by nobody.
    let covered: Vec<bool> = settings
        .vms
        .iter()
        .filter_map(|vm| app.views.vm(*vm))
        .map(|vm| sight.covers(Some(vm.pool), &*vm.tags))
        .collect();
    let named = settings.filter.trim().is_empty() && !settings.orchestrator && !covered.is_empty();
    if sight == Sight::All || (named && covered.into_iter().all(|covered| covered)) {
        return Ok(());
    }
    let message = format_args!(
        "{} may not do this with a backup job that is not of their own VMs alone: it must name them, without a filter \
         and without the orchestrator",
        call.caller.name
    );
    Err(ApiError::new(Reason::Forbidden, message))
}

impl App {
    async fn find_job(&self, reference: &str) -> Result<Record<BackupJobId, JobRecord>, ApiError> {
        let (jobs, _) = self.db.backup_jobs.all().await.map_err(|e| store_error(&e))?;
        let id = reference.parse::<BackupJobId>().ok();
        jobs.into_iter()
            .find(|job| Some(job.key) == id || job.value.settings.name == reference)
            .ok_or_else(|| ApiError::not_found("backup job", reference))
    }

    /// The job that `of` is to follow, which must not follow `of` itself, over however many others.
    async fn job_before(
        &self,
        of: Option<BackupJobId>,
        reference: Option<&str>,
    ) -> Result<Option<BackupJobId>, ApiError> {
        let Some(reference) = reference.filter(|reference| !reference.is_empty()) else { return Ok(None) };
        let first = self.find_job(reference).await?;
        let (jobs, _) = self.db.backup_jobs.all().await.map_err(|e| store_error(&e))?;
        let before: BTreeMap<_, _> = jobs.iter().map(|job| (job.key, job.value.settings.after)).collect();
        let mut at = Some(first.key);
        // No longer than there are jobs: two changes at one moment may have made a circle before.
        for _ in 0..=before.len() {
            let Some(id) = at else { break };
            if Some(id) == of {
                return Err(ApiError::invalid(
                    "after",
                    "that job follows this one already; a circle never begins",
                ));
            }
            at = before.get(&id).copied().flatten();
        }
        Ok(Some(first.key))
    }

    async fn vm_ids(
        &self,
        call: &Call,
        references: &[String],
    ) -> Result<std::collections::BTreeSet<xenith_common_ids::VmId>, ApiError> {
        let mut ids = std::collections::BTreeSet::new();
        for reference in references {
            ids.insert(self.find_vm(call, reference, Permission::View).await?.key);
        }
        Ok(ids)
    }

    async fn repository_ids(
        &self,
        references: &[String],
    ) -> Result<Vec<xenith_common_ids::RepositoryId>, ApiError> {
        let mut ids = Vec::new();
        for reference in references {
            let id = self.find_repository(reference).await?.key;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    async fn find_run(&self, run: BackupRunId) -> Result<Record<BackupRunId, BackupRun>, ApiError> {
        let found = self.db.backup_runs.get(&run).await.map_err(|e| store_error(&e))?;
        found.ok_or_else(|| ApiError::not_found("backup run", &run.to_string()))
    }
}

/// A job as the caller may see it. To who may not change it, it names the VMs that they see, and of a webhook the host: its
/// address is often all that it takes to write there.
fn visible_job(app: &App, call: &Call, id: BackupJobId, record: &JobRecord) -> BackupJob {
    let mut job = view(id, record);
    if administers_job(app, call, &record.settings).is_ok() {
        return job;
    }
    let sight = call.caller.sight(Permission::View);
    job.settings.vms.retain(|vm| match app.views.vm(*vm) {
        Some(vm) => sight.covers(Some(vm.pool), &*vm.tags),
        None => sight == Sight::All,
    });
    job.settings.webhook = outbox::shown(&job.settings.webhook);
    job
}

/// A run as the caller may see it: the VMs that they see.
fn visible(app: &App, call: &Call, mut run: BackupRun) -> BackupRun {
    let sight = call.caller.sight(Permission::View);
    let sees = |vm: VmId| match app.views.vm(vm) {
        Some(record) => sight.covers(Some(record.pool), &*record.tags),
        None => sight == Sight::All,
    };
    run.vms.retain(|vm| sees(vm.vm));
    run.proofs.retain(|proof| sees(proof.vm));
    if !run.status.is_over() {
        backup_runner::progress(app, &mut run);
    }
    run
}

#[async_trait]
impl BackupJobApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<BackupJob>, ApiError> {
        let (jobs, _) = self.db.backup_jobs.all().await.map_err(|e| store_error(&e))?;
        let (repositories, _) = self.db.repositories.all().await.map_err(|e| store_error(&e))?;
        let names: HashMap<RepositoryId, String> =
            repositories.into_iter().map(|record| (record.key, record.value.repository.name)).collect();
        let row = |job: BackupJob| BackupJobRow {
            repositories: job.settings.repositories.iter().filter_map(|id| names.get(id).cloned()).collect(),
            job,
        };
        let rows = jobs.iter().map(|job| row(visible_job(self, call, job.key, &job.value))).collect();
        Ok(filtered(rows, &request)?.map(|row: BackupJobRow| row.job))
    }

    async fn get(&self, call: &Call, request: BackupJobRef) -> Result<BackupJob, ApiError> {
        let found = self.find_job(&request.job).await?;
        Ok(visible_job(self, call, found.key, &found.value))
    }

    async fn create(&self, call: &Call, request: CreateBackupJob) -> Result<BackupJob, ApiError> {
        let _alone = self.name_changes.lock().await;
        if self.find_job(&request.name).await.is_ok() {
            let message = format_args!("there is a backup job {:?} already", request.name);
            return Err(ApiError::new(Reason::Conflict, message));
        }
        let settings = checked(JobSettings {
            name: request.name,
            enabled: true,
            vms: self.vm_ids(call, &request.vms).await?,
            filter: request.filter,
            repositories: self.repository_ids(&request.repositories).await?,
            schedule: request.schedule,
            timezone: request.timezone,
            after: self.job_before(None, request.after.as_deref()).await?,
            keep: request.keep,
            concurrency: request.concurrency,
            bandwidth: request.bandwidth,
            window_minutes: request.window_minutes,
            retries: request.retries,
            exclude_disks: request.exclude_disks,
            include_disks: request.include_disks,
            rpo_minutes: request.rpo_minutes,
            webhook: request.webhook,
            orchestrator: request.orchestrator,
            mail_to: request.mail_to,
            mail_on: request.mail_on,
            prove: request.prove,
            prove_ports: request.prove_ports,
            quiesce: request.quiesce,
        })?;
        administers_job(self, call, &settings)?;
        let (id, created) = (BackupJobId::new(), OffsetDateTime::now_utc());
        let record = JobRecord {
            settings,
            created,
            last_run: None,
            warned: Default::default(),
            last_over: None,
            overdue: Default::default(),
            odd: Default::default(),
        };
        self.db.backup_jobs.insert(&id, &record).await.map_err(|e| store_error(&e))?;
        Ok(view(id, &record))
    }

    async fn update(&self, call: &Call, request: UpdateBackupJob) -> Result<BackupJob, ApiError> {
        let found = self.find_job(&request.job).await?;
        administers_job(self, call, &found.value.settings)?;
        let mut record = found.value.clone();
        let settings = &mut record.settings;
        macro_rules! take {
            ($($field:ident),*) => { $(if let Some(value) = request.$field { settings.$field = value; })* };
        }
        let rescheduled = request.schedule.is_some()
            || request.timezone.is_some()
            || request.enabled.is_some()
            || request.after.is_some();
        take!(enabled, filter, schedule, timezone, keep, concurrency, bandwidth, window_minutes, retries);
        take!(
            exclude_disks,
            include_disks,
            rpo_minutes,
            webhook,
            orchestrator,
            mail_to,
            mail_on,
            prove,
            prove_ports,
            quiesce
        );
        if let Some(vms) = &request.vms {
            settings.vms = self.vm_ids(call, vms).await?;
        }
        if let Some(repositories) = &request.repositories {
            settings.repositories = self.repository_ids(repositories).await?;
        }
        if let Some(after) = &request.after {
            record.settings.after = self.job_before(Some(found.key), Some(after)).await?;
        }
        record.settings = checked(record.settings)?;
        administers_job(self, call, &record.settings)?;
        if rescheduled {
            // The new schedule counts from now: nothing is made up for.
            record.created = OffsetDateTime::now_utc();
            record.last_run = record.last_run.map(|last| last.max(record.created));
        }
        self.db.backup_jobs.update(&found, &record).await.map_err(|e| store_error(&e))?;
        Ok(view(found.key, &record))
    }

    async fn delete(&self, call: &Call, request: BackupJobRef) -> Result<Empty, ApiError> {
        let found = self.find_job(&request.job).await?;
        administers_job(self, call, &found.value.settings)?;
        let (jobs, _) = self.db.backup_jobs.all().await.map_err(|e| store_error(&e))?;
        if let Some(after) = jobs.iter().find(|job| job.value.settings.after == Some(found.key)) {
            let name = &after.value.settings.name;
            let refusal = format_args!("the job {name} follows it; give that another schedule first");
            return Err(ApiError::new(Reason::WrongState, refusal));
        }
        self.db.backup_jobs.delete(&found).await.map_err(|e| store_error(&e))?;
        Ok(Empty {})
    }

    async fn run(&self, call: &Call, request: BackupJobRef) -> Result<RunStarted, ApiError> {
        let found = self.find_job(&request.job).await?;
        administers_job(self, call, &found.value.settings)?;
        if backup_runner::is_running(self, found.key).await.map_err(|e| store_error(&e))? {
            let name = &found.value.settings.name;
            let message = format_args!("{name} is running; wait for it, or cancel the run");
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let run = backup_runner::begin(self, &found, OffsetDateTime::now_utc()).await?;
        Ok(RunStarted { run })
    }
}

#[async_trait]
impl BackupRunApi for App {
    async fn list(&self, call: &Call, request: ListBackupRuns) -> Result<Page<BackupRun>, ApiError> {
        let ListBackupRuns { job, filter, sort, limit, cursor } = request;
        let job = match &job {
            Some(reference) => Some(self.find_job(reference).await?.key),
            None => None,
        };
        let runs = self.runs.all(&self.db).await.map_err(|e| store_error(&e))?;
        let rows = runs.into_iter().filter(|run| job.is_none_or(|job| run.job == job)).map(RunRow).collect();
        let found = filtered(rows, &ListRequest { filter, sort, limit, cursor })?;
        let mut items = Vec::with_capacity(found.items.len());
        for RunRow(run) in found.items {
            // One that was forgotten meanwhile is left out.
            let record = self.db.backup_runs.get(&run.id).await.map_err(|e| store_error(&e))?;
            items.extend(record.map(|record| visible(self, call, record.value)));
        }
        Ok(Page { items, total: found.total, next: found.next, revision: None })
    }

    async fn get(&self, call: &Call, request: BackupRunRef) -> Result<BackupRun, ApiError> {
        Ok(visible(self, call, self.find_run(request.run).await?.value))
    }

    async fn cancel(&self, call: &Call, request: BackupRunRef) -> Result<BackupRun, ApiError> {
        let found = self.find_run(request.run).await?;
        match self.db.backup_jobs.get(&found.value.job).await.map_err(|e| store_error(&e))? {
            Some(job) => administers_job(self, call, &job.value.settings)?,
            None if call.caller.everywhere(Permission::Administer) => {}
            None => return Err(call.caller.forbidden(Permission::System)),
        }
        if found.value.status.is_over() {
            let message = format_args!("this run is {}", found.value.status.as_str());
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let by = call.caller.name.clone();
        let change = |run: &mut BackupRun| run.cancelled_by = Some(by.clone());
        self.db.backup_runs.modify(&request.run, change).await.map_err(|e| store_error(&e))?;
        self.runner.notify_one();
        Ok(visible(self, call, self.find_run(request.run).await?.value))
    }
}
