//! A run's beginning: which VMs it is of, and of each what goes where.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use xenith_common_ids::{BackupJobId, BackupRunId, RepositoryId, VdiId, VmId};
use xenith_orchestrator_inventory::{PageRequest, Scope};
use xenith_orchestrator_store::{Record, StoreError, Transaction};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::backup::{
    BackupRun, Consistency, JobSettings, Quiesce, RunOrchestrator, RunStatus, RunVm,
};
use xenith_orchestrator_types::event::Severity;

use super::note;
use crate::app::{App, vm_filter};
use crate::catalogue::Definition;
use crate::errors::{query_error, store_error};
use crate::model::JobRecord;
use crate::sagas::backup_vm::{Disk, Params};

/// Whether a run of this job is not over.
pub async fn is_running(app: &App, job: BackupJobId) -> Result<bool, StoreError> {
    Ok(app.db.live_runs.get(&job).await?.is_some())
}

/// By the clock, or after another job. One whose run before is not over is left out, and that is told.
pub(super) async fn begin_scheduled(
    app: &App,
    job: &Record<BackupJobId, JobRecord>,
    running: Option<&BackupRunId>,
    at: OffsetDateTime,
) -> Result<(), ApiError> {
    if running.is_none() {
        return begin(app, job, at).await.map(drop);
    }
    let record = JobRecord { last_run: Some(at), ..job.value.clone() };
    app.db.backup_jobs.update(job, &record).await.map_err(|e| store_error(&e))?;
    let name = &job.value.settings.name;
    let message = format!("{name} was not begun: its run before is not over");
    note(app, (Severity::Warning, "backup.skipped"), format!("backup_job/{}", job.key), message).await;
    Ok(())
}

/// Writes down a new run. A conflict: somebody else began one, or changed the job.
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
        consistency: Consistency::default(),
        orchestrator: settings.orchestrator.then(RunOrchestrator::new),
        notes: Vec::new(),
        cancelled_by: None,
        proofs: vec![],
    };
    let record = JobRecord { last_run: Some(at), ..job.value.clone() };
    let mut commit = app.db.backup_jobs.update_in(Transaction::new(), job, &record);
    commit = app.db.backup_runs.insert_in(commit, &id, &run);
    commit = app.db.live_runs.insert_in(commit, &job.key, &id);
    app.db.store.commit(commit).await.map_err(|e| store_error(&e))?;
    Ok(id)
}

/// The VMs of a job, by name. Of those that stand by, the ones that they stand by for.
pub fn vms(app: &App, settings: &JobSettings) -> Result<Vec<(VmId, String)>, ApiError> {
    let mut found: BTreeMap<VmId, String> = settings
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
    let mut found: Vec<(VmId, String)> = instead_of_standbys(app, found).into_iter().collect();
    found.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(found)
}

/// A VM that stands by is as its backup is. What is meant is the VM that it stands by for: after a fail-over, a job that
/// names the one that ran before backs up the one that took over.
fn instead_of_standbys(app: &App, found: BTreeMap<VmId, String>) -> BTreeMap<VmId, String> {
    let stands_for = |(vm, name): (VmId, String)| {
        let known = app.views.vm(vm)?;
        match known.standby_of() {
            None => Some((vm, name)),
            Some(of) => app.views.vm(of).map(|record| (of, record.name.to_string())),
        }
    };
    found.into_iter().filter_map(stands_for).collect()
}

/// What of a VM goes where.
pub struct What<'a> {
    pub repositories: &'a [RepositoryId],
    pub exclude_disks: &'a [String],
    /// Empty for all.
    pub include_disks: &'a [String],
    /// Bytes per second, 0 for no limit.
    pub bandwidth: u64,
    pub tags: Vec<String>,
    pub quiesce: Quiesce,
}

/// Whether a disk is among those named as `VM:device` or `device`.
fn is_named(named: &[String], (vm, name): (VmId, &str), device: &str) -> bool {
    named.iter().any(|named| match named.split_once(':') {
        Some((of, disk)) => disk == device && (of == name || of == vm.to_string()),
        None => named == device,
    })
}

impl What<'_> {
    fn has(&self, vm: (VmId, &str), device: &str) -> bool {
        let included = self.include_disks.is_empty() || is_named(self.include_disks, vm, device);
        included && !is_named(self.exclude_disks, vm, device)
    }
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
        if !what.has((vm, name), &disk.device.to_string()) {
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
            quiesced: None,
        },
        bandwidth: what.bandwidth,
        tags: what.tags.clone(),
        quiesce: what.quiesce,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_disks_are_backed_up() {
        let vm = VmId::new();
        let texts = |names: &[&str]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
        let by_id = format!("{vm}:xvda");
        for (what, include, exclude, expected) in [
            ("all", vec![], vec![], ["xvda", "xvdb"].as_slice()),
            ("without one", vec![], vec!["xvdb"], &["xvda"]),
            ("without another VM's", vec![], vec!["db:xvdb"], &["xvda", "xvdb"]),
            ("without this VM's", vec![], vec!["web:xvdb"], &["xvda"]),
            ("only one", vec!["xvdb"], vec![], &["xvdb"]),
            ("only by id", vec![by_id.as_str()], vec![], &["xvda"]),
            ("left out wins", vec!["xvda", "xvdb"], vec!["xvda"], &["xvdb"]),
            ("none", vec!["xvdc"], vec![], &[]),
        ] {
            let (include, exclude) = (texts(&include), texts(&exclude));
            let rule = What {
                repositories: &[],
                exclude_disks: &exclude,
                include_disks: &include,
                bandwidth: 0,
                tags: vec![],
                quiesce: Quiesce::Never,
            };
            let has = |device: &&str| rule.has((vm, "web"), device);
            let found: Vec<&str> = ["xvda", "xvdb"].into_iter().filter(|device| has(device)).collect();
            assert_eq!(found, expected, "{what}");
        }
    }
}
