//! Whose last good backup is too old.
//!
//! A VM that was found to be fine is fine until a time that is known then: its newest backup's, plus what is allowed.
//! Until then it is not looked at again, unless a backup was taken out of the catalogue meanwhile. So a look costs the
//! job's filter, which is answered from memory, and the VMs that are near their limit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use time::OffsetDateTime;
use xenith_common_ids::{BackupJobId, RepositoryId, VmId};
use xenith_common_text::counted;
use xenith_orchestrator_metrics::Turn;
use xenith_orchestrator_store::{CollectionWatch, Record, RecordEvent};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::event::Severity;

use super::begin::vms;
use super::note;
use crate::alarms::backups;
use crate::app::App;
use crate::catalogue;
use crate::db::Db;
use crate::errors::store_error;
use crate::model::{BackupAlarm, BackupRecord, JobRecord};

pub struct Rpo {
    /// Until when a VM of a job cannot be late.
    fine: HashMap<BackupJobId, HashMap<VmId, OffsetDateTime>>,
    catalogue: CollectionWatch<(RepositoryId, String), BackupRecord>,
}

impl Rpo {
    pub fn new(db: &Db) -> Self {
        Self { fine: HashMap::new(), catalogue: db.backups.watch(db.store.revision()) }
    }

    /// Hears of backups that are gone. Returns when there is nothing to hear any more, which is never: to be dropped.
    pub async fn watch(&mut self) {
        loop {
            let any_is_gone = match self.catalogue.next().await {
                Ok(RecordEvent::Changes(changes)) => changes.iter().any(|change| change.value.is_none()),
                Ok(RecordEvent::Compacted { .. }) | Err(_) => true,
            };
            if any_is_gone {
                self.fine.clear();
            }
        }
    }

    /// Of jobs that were changed: other repositories, another limit.
    pub fn forget_jobs(&mut self, changed: &BTreeSet<BackupJobId>) {
        for job in changed {
            self.fine.remove(job);
        }
    }

    /// Warns once about each VM whose newest backup is too old, and takes it back when there is a new one.
    pub async fn check(
        &mut self,
        app: &App,
        job: &Record<BackupJobId, JobRecord>,
        now: OffsetDateTime,
    ) -> Result<(), ApiError> {
        let settings = &job.value.settings;
        if !settings.enabled || settings.rpo_minutes == 0 {
            self.fine.remove(&job.key);
            return Ok(());
        }
        let allowed = time::Duration::minutes(i64::from(settings.rpo_minutes));
        let fine = self.fine.remove(&job.key).unwrap_or_default();
        // Only of VMs that the job still has.
        let mut still: HashMap<VmId, OffsetDateTime> = HashMap::with_capacity(fine.len());
        let (mut warned, mut overdue) = (BTreeSet::new(), BTreeMap::new());
        for (vm, name) in vms(app, settings)? {
            if let Some(until) = fine.get(&vm).filter(|until| **until >= now) {
                still.insert(vm, *until);
                continue;
            }
            let newest = catalogue::newest(&app.db, vm, &settings.repositories, now).await;
            let newest = newest.map_err(|e| store_error(&e))?;
            let born = app.views.vm(vm).map_or(now, |record| record.created).max(job.value.created);
            let until = newest.unwrap_or(born) + allowed;
            if now <= until {
                still.insert(vm, until);
                continue;
            }
            warned.insert(vm);
            let last = newest.map_or_else(|| "there is none".to_owned(), |at| format!("the last is of {at}"));
            let most = counted(settings.rpo_minutes, "minute");
            let message = format!("no backup newer than {most}: {last}");
            let new = || BackupAlarm { since: now, severity: Severity::Warning, message: message.clone() };
            let alarm = job.value.overdue.get(&vm).cloned().unwrap_or_else(new);
            if !job.value.warned.contains(&vm) {
                let told = format!("{name} has {message}");
                note(app, (Severity::Warning, "backup.overdue"), format!("vm/{vm}"), told).await;
                let about = ((vm, backups::OVERDUE), name.as_str());
                backups::tell(app, about, &alarm, Turn::Raised).await.map_err(|e| store_error(&e))?;
            }
            overdue.insert(vm, alarm);
        }
        for (vm, alarm) in job.value.overdue.iter().filter(|(vm, _)| !overdue.contains_key(*vm)) {
            // Of one that was deleted nobody has to hear that it is well.
            let Some(known) = app.views.vm(*vm) else { continue };
            let over = BackupAlarm {
                message: "its backups are as new as they have to be".to_owned(),
                ..alarm.clone()
            };
            let about = ((*vm, backups::OVERDUE), &*known.name);
            backups::tell(app, about, &over, Turn::Cleared).await.map_err(|e| store_error(&e))?;
        }
        if warned != job.value.warned || overdue != job.value.overdue {
            let record = JobRecord { warned, overdue, ..job.value.clone() };
            app.db.backup_jobs.update(job, &record).await.map_err(|e| store_error(&e))?;
        }
        self.fine.insert(job.key, still);
        Ok(())
    }
}
