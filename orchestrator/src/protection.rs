//! Which VMs nobody would bring back, and saying so.
//!
//! A VM is unprotected when no enabled job with a schedule covers it, or when it has no backup. Its owner can say that
//! this is meant, with the tag [`NO_BACKUP`]. An event tells of each once, and again only after it was protected meanwhile; what was told
//! is in the store, so that a restart repeats nothing.

use std::collections::{BTreeSet, HashSet};

use time::{Duration, OffsetDateTime};
use xenith_common_ids::VmId;
use xenith_orchestrator_metrics::Turn;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::backup::{UnprotectedVm, WhyUnprotected};
use xenith_orchestrator_types::event::Severity;

use crate::alarms::backups;
use crate::app::App;
use crate::backup_runner;
use crate::catalogue;
use crate::errors::store_error;
use crate::model::{BackupAlarm, VmRecord};

/// On a VM that is to have no backups.
pub const NO_BACKUP: &str = "no-backup";
/// A VM that was just made is not warned of: its job may come.
const GRACE: Duration = Duration::hours(1);

/// Records that are looked at before others get a turn.
const AT_ONCE: usize = 64;

/// What is known of a VM.
#[derive(Debug, Clone, Copy)]
struct Known {
    covered: bool,
    newest: Option<OffsetDateTime>,
}

fn judge(known: Known, older_than: Option<Duration>, now: OffsetDateTime) -> Option<WhyUnprotected> {
    match known {
        Known { covered: false, .. } => Some(WhyUnprotected::NoJob),
        Known { newest: None, .. } => Some(WhyUnprotected::NoBackup),
        Known { newest: Some(newest), .. } => {
            older_than.filter(|most| now - newest > *most).map(|_| WhyUnprotected::TooOld)
        }
    }
}

/// All of them.
pub async fn unprotected(app: &App, older_than: Option<Duration>) -> Result<Vec<UnprotectedVm>, ApiError> {
    let now = OffsetDateTime::now_utc();
    let (jobs, _) = app.db.backup_jobs.all().await.map_err(|e| store_error(&e))?;
    let mut covered = BTreeSet::new();
    for job in &jobs {
        let settings = &job.value.settings;
        let begins = !settings.schedule.trim().is_empty() || settings.after.is_some();
        if settings.enabled && begins {
            covered.extend(backup_runner::vms(app, settings)?.into_iter().map(|(vm, _)| vm));
        }
    }
    let mut found = Vec::new();
    // Without a disk there is nothing to bring back, and one that stands by is what its VM's backups are.
    let wanted =
        |vm: &VmRecord| !vm.spec.disks.is_empty() && !vm.tags.contains(NO_BACKUP) && vm.standby_of.is_none();
    let mut after = None;
    loop {
        let page = app.db.vms.page(after, AT_ONCE).await.map_err(|e| store_error(&e))?;
        for vm in page.records.into_iter().filter(|vm| wanted(&vm.value)) {
            let newest = catalogue::newest(&app.db, vm.key, &[], now).await.map_err(|e| store_error(&e))?;
            if let Some(why) = judge(Known { covered: covered.contains(&vm.key), newest }, older_than, now) {
                found.push(UnprotectedVm { vm: vm.key, name: vm.value.spec.name.to_string(), why, newest });
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
        // All VMs of a large fleet take seconds.
        tokio::task::yield_now().await;
    }
    Ok(found)
}

/// Tells of those that were not told of.
pub async fn warn(app: &App) -> Result<(), ApiError> {
    let now = OffsetDateTime::now_utc();
    let found = unprotected(app, None).await?;
    let (told, _) = app.db.unprotected.all().await.map_err(|e| store_error(&e))?;
    let unprotected: HashSet<VmId> = found.iter().map(|vm| vm.vm).collect();
    let known: HashSet<VmId> = told.iter().map(|record| record.key).collect();
    for record in told.iter().filter(|record| !unprotected.contains(&record.key)) {
        // Of one that was deleted nobody has to hear that it is well.
        if let Some(known) = app.views.vm(record.key) {
            let message = "a backup job covers it, and it has a backup".to_owned();
            let over = BackupAlarm { message, ..backups::unprotected_since(record.value) };
            let about = ((record.key, backups::UNPROTECTED), &*known.name);
            backups::tell(app, about, &over, Turn::Cleared).await.map_err(|e| store_error(&e))?;
        }
        app.db.unprotected.delete(record).await.map_err(|e| store_error(&e))?;
    }
    for vm in found {
        let fresh = app.views.vm(vm.vm).is_none_or(|record| now - record.created < GRACE);
        if fresh || known.contains(&vm.vm) {
            continue;
        }
        // First: an event too few is better than one a minute.
        app.db.unprotected.insert(&vm.vm, &now).await.map_err(|e| store_error(&e))?;
        let why = match vm.why {
            WhyUnprotected::NoJob => "no backup job with a schedule covers it",
            WhyUnprotected::NoBackup => "it has no backup yet",
            WhyUnprotected::TooOld => "its newest backup is old",
        };
        let message = format!(
            "{} is not protected: {why}; add it to a job, or give it the tag {NO_BACKUP} if that is meant",
            vm.name
        );
        let about = (Severity::Warning, "backup.unprotected");
        backup_runner::note(app, about, format!("vm/{}", vm.vm), message).await;
        let about = ((vm.vm, backups::UNPROTECTED), vm.name.as_str());
        let alarm = BackupAlarm { message: why.to_owned(), ..backups::unprotected_since(now) };
        backups::tell(app, about, &alarm, Turn::Raised).await.map_err(|e| store_error(&e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_unprotected() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(100);
        let ago = |hours| Some(now - Duration::hours(hours));
        let day = Some(Duration::hours(24));
        for (name, covered, newest, older_than, expected) in [
            ("nothing", false, None, None, Some(WhyUnprotected::NoJob)),
            ("by hand only", false, ago(1), None, Some(WhyUnprotected::NoJob)),
            ("job, not run yet", true, None, None, Some(WhyUnprotected::NoBackup)),
            ("fine", true, ago(23), day, None),
            ("old, nobody asks", true, ago(1000), None, None),
            ("old", true, ago(25), day, Some(WhyUnprotected::TooOld)),
        ] {
            assert_eq!(judge(Known { covered, newest }, older_than, now), expected, "{name}");
        }
    }
}
