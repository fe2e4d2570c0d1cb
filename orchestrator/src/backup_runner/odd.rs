//! Whose newest backup changed oddly much; what that means is judged in [`crate::odd_change`].

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use xenith_common_ids::VmId;
use xenith_hypervisor_agent_types::backup::BackupFacts;
use xenith_orchestrator_metrics::Turn;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::backup::{BackupRun, JobSettings, RunStatus};
use xenith_orchestrator_types::event::Severity;

use super::note;
use crate::alarms::backups;
use crate::app::App;
use crate::catalogue;
use crate::errors::store_error;
use crate::model::{BackupAlarm, JobRecord};
use crate::odd_change;

/// VMs whose newest backup changed oddly much.
pub(super) type Odd = BTreeMap<VmId, BackupAlarm>;

/// Those of a run, each told of as an event.
pub(super) async fn odd_changes(app: &App, run: &BackupRun, settings: &JobSettings) -> Odd {
    let mut odd = Odd::new();
    for vm in run.vms.iter().filter(|vm| vm.status == RunStatus::Done) {
        for repository in &settings.repositories {
            let of_vm = catalogue::of_vm(&app.db, vm.vm, &[*repository], odd_change::LOOKED_AT).await;
            let Ok(of_vm) = of_vm else { continue };
            let facts: Vec<&BackupFacts> = of_vm.iter().map(|backup| &backup.facts).collect();
            let Some(found) = odd_change::judge(&facts) else { continue };
            let (severity, what) = match found {
                odd_change::Odd::Much => (Severity::Warning, "changed far more than it does as a rule"),
                odd_change::Odd::LooksEncrypted => (
                    Severity::Error,
                    "changed far more than it does as a rule, and what is new cannot be compressed, as if it were \
                     encrypted",
                ),
            };
            let message = format!(
                "{what}; look at it, and hold its earlier backups if in doubt. What is kept of it is not thinned out \
                 by this run"
            );
            let told = format!("{} {message}", vm.name);
            note(app, (severity, "backup.odd_change"), format!("vm/{}", vm.vm), told).await;
            odd.insert(vm.vm, BackupAlarm { since: OffsetDateTime::now_utc(), severity, message });
            break;
        }
    }
    odd
}

/// Raises the alarms of those, and clears those of VMs whose newest backup is as usual again.
pub(super) async fn keep(app: &App, run: &BackupRun, odd: &Odd) -> Result<(), ApiError> {
    let Some(job) = app.db.backup_jobs.get(&run.job).await.map_err(|e| store_error(&e))? else {
        return Ok(());
    };
    let done = run.vms.iter().filter(|vm| vm.status == RunStatus::Done);
    let names: BTreeMap<VmId, &str> = done.map(|vm| (vm.vm, vm.name.as_str())).collect();
    let was = &job.value.odd;
    for (vm, name) in &names {
        let about = ((*vm, backups::ODD), *name);
        let told = match (was.get(vm), odd.get(vm)) {
            (None, Some(alarm)) => backups::tell(app, about, alarm, Turn::Raised).await,
            (Some(before), None) => {
                let message = "its newest backup changed as much as it does as a rule".to_owned();
                let over = BackupAlarm { message, ..before.clone() };
                backups::tell(app, about, &over, Turn::Cleared).await
            }
            (None, None) | (Some(_), Some(_)) => Ok(()),
        };
        told.map_err(|e| store_error(&e))?;
    }
    let looked_at: BTreeSet<VmId> = names.into_keys().collect();
    let change = |record: &mut JobRecord| {
        let before = std::mem::take(&mut record.odd);
        for (vm, alarm) in odd {
            let since = before.get(vm).map_or(alarm.since, |alarm| alarm.since);
            record.odd.insert(*vm, BackupAlarm { since, ..alarm.clone() });
        }
        record.odd.extend(before.into_iter().filter(|(vm, _)| !looked_at.contains(vm)));
    };
    if !odd.is_empty() || was.keys().any(|vm| looked_at.contains(vm)) {
        app.db.backup_jobs.modify(&run.job, change).await.map_err(|e| store_error(&e))?;
    }
    Ok(())
}
