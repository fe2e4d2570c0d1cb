//! What is kept: of backups by the job's rules, of runs for a year and a bit.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use xenith_common_ids::RepositoryId;
use xenith_orchestrator_saga::Meta;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::backup::{BackupRun, JobSettings, RunStatus, RunVm};

use super::WHO;
use super::odd::Odd;
use super::own::own_disk;
use crate::app::App;
use crate::catalogue;
use crate::sagas::repository_act::{Act, Params, RepositoryAct};

/// VMs in one command. Each command marks what the whole repository needs, so it is worth taking many along; the
/// bound keeps a saga's parameters small.
const AT_ONCE: usize = 500;
/// Backups of a VM whose disks' names are looked at; older names come up again as these go.
const LOOKED_AT: usize = 1000;
/// How long runs can be looked up: a year, and what one needs to look at the last one.
const RUNS_KEPT: time::Duration = time::Duration::days(400);
/// Runs that are looked at for that in one go.
const RUNS_AT_ONCE: usize = 50;

/// A task for each repository applies the rules to each VM by itself.
pub(super) async fn prune(app: &App, run: &BackupRun, settings: &JobSettings, odd: &Odd) {
    if run.orchestrator.as_ref().is_some_and(|part| part.status == RunStatus::Done) {
        for repository in &settings.repositories {
            begin(app, (*repository, vec![vec![own_disk(app)]]), settings).await;
        }
    }
    let judged = |vm: &&RunVm| vm.status == RunStatus::Done && !odd.contains_key(&vm.vm);
    let vms: Vec<&RunVm> = run.vms.iter().filter(judged).collect();
    for vms in vms.chunks(AT_ONCE) {
        // By repository, the names of each VM's disks.
        let mut of: BTreeMap<RepositoryId, Vec<Vec<String>>> = BTreeMap::new();
        for vm in vms {
            match catalogue::of_vm(&app.db, vm.vm, &settings.repositories, LOOKED_AT).await {
                Ok(backups) => {
                    let mut disks: BTreeMap<RepositoryId, BTreeSet<String>> = BTreeMap::new();
                    for backup in backups {
                        let names = backup.facts.disks.into_iter().map(|disk| disk.name);
                        disks.entry(backup.repository).or_default().extend(names);
                    }
                    for (repository, names) in disks {
                        of.entry(repository).or_default().push(names.into_iter().collect());
                    }
                }
                Err(error) => tracing::warn!(%error, vm = vm.name, "its backups are pruned by the next run"),
            }
        }
        for (repository, disks) in of {
            begin(app, (repository, disks), settings).await;
        }
    }
}

async fn begin(app: &App, (repository, vms): (RepositoryId, Vec<Vec<String>>), settings: &JobSettings) {
    let Ok(Some(record)) = app.db.repositories.get(&repository).await else { return };
    let Ok(host) = app.any_host(record.value.host) else { return };
    let meta = Meta {
        title: format!("Apply the rules of {} to what was backed up", settings.name),
        who: WHO.to_owned(),
        subjects: vec![format!("repository/{repository}")],
        labels: [("method".to_owned(), "backup_job.run".to_owned())].into(),
    };
    let params = Params { repository, host, act: Act::Prune { vms, keep: settings.keep } };
    if let Err(error) = app.engine.start::<RepositoryAct>(&params, meta).await {
        tracing::warn!(%error, "backups could not be pruned; the next run does it");
    }
}

/// Forgets the oldest runs.
pub(super) async fn forget_runs(app: &App, now: OffsetDateTime) -> Result<(), StoreError> {
    let runs = &app.db.backup_runs;
    let oldest = runs.page(None, RUNS_AT_ONCE).await?;
    let mut gone = Transaction::new();
    for run in &oldest.records {
        if run.value.ended.is_some_and(|ended| now - ended > RUNS_KEPT) {
            gone = runs.delete_in(gone, &run.key);
        }
    }
    if gone.is_empty() { Ok(()) } else { app.db.store.commit(gone).await.map(drop) }
}
