//! Standby VMs follow: whoever stands by for a VM that has a newer backup is brought to that.
//!
//! A look compares what each holds with the newest backup in its repository, so nothing is missed, whoever made the backup
//! and whatever died since. It is taken when a VM of a run is backed up, and now and then.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use xenith_common_ids::VmId;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::{ApiError, Reason};

use super::{WHO, note};
use crate::app::App;
use crate::catalogue;
use crate::errors::store_error;
use crate::model::{BackupRecord, HeldBackup, StandbyRecord};

/// After a try that failed, the same backup is not tried again for so long.
const AGAIN: Duration = Duration::from_secs(600);

/// What was tried last, and what was told. Lost in a restart: then it is tried and told once more.
#[derive(Debug, Default)]
pub struct Tried {
    last: HashMap<VmId, (String, Instant)>,
    /// Those that run.
    running: BTreeSet<VmId>,
}

impl Tried {
    fn is_fresh(&self, vm: VmId, backup: &str) -> bool {
        self.last.get(&vm).is_some_and(|(tried, at)| tried == backup && at.elapsed() < AGAIN)
    }
}

/// The backup that it should be brought to now.
async fn due(app: &App, record: &StandbyRecord) -> Result<Option<String>, ApiError> {
    let newest = if record.automatic { app.newest_for(record).await? } else { None };
    let now = OffsetDateTime::now_utc();
    let is_newer = |newest: &BackupRecord| is_newer(record.holds.as_ref(), newest, now);
    Ok(newest.filter(is_newer).map(|newest| newest.facts.id))
}

/// What is held may be dated ahead, by a clock that was: then any other is newer.
fn is_newer(held: Option<&HeldBackup>, newest: &BackupRecord, now: OffsetDateTime) -> bool {
    held.is_none_or(|held| {
        newest.created > held.created
            || (newest.facts.id != held.backup && !catalogue::is_past(held.created, now))
    })
}

/// Tells of one that runs, which none should: its host started it by itself when it came back, or it was replaced by force.
async fn look_at_power(app: &App, tried: &mut Tried, vm: VmId) {
    if !app.fleet.vm(vm).is_some_and(|(_, seen)| seen.power.has_domain()) {
        tried.running.remove(&vm);
        return;
    }
    if tried.running.insert(vm) {
        let name = app.views.vm(vm).map(|known| known.name.to_string()).unwrap_or_default();
        let message = format!("{name} runs, though another VM has taken its place; power it off");
        note(app, (Severity::Warning, "backup.standby"), format!("vm/{vm}"), message).await;
    }
}

/// Begins what is due.
pub(super) async fn follow(app: &App, tried: &mut Tried) -> Result<(), ApiError> {
    let (standbys, _) = app.db.standbys.all().await.map_err(|e| store_error(&e))?;
    let is_there = |vm: &VmId| standbys.iter().any(|standby| standby.key == *vm);
    tried.last.retain(|vm, _| is_there(vm));
    tried.running.retain(is_there);
    for standby in standbys {
        let is_busy = app.views.vm(standby.key).is_none_or(|vm| vm.held_by().is_some());
        if is_busy {
            continue;
        }
        look_at_power(app, tried, standby.key).await;
        let Some(backup) = due(app, &standby.value).await? else { continue };
        if tried.is_fresh(standby.key, &backup) {
            continue;
        }
        match app.follow_for(WHO, standby.key).await {
            Ok(_) => {
                tried.last.insert(standby.key, (backup, Instant::now()));
            }
            // It is up, its host is away, another operation has it: the next look may find it otherwise.
            Err(error) if matches!(error.reason(), Reason::WrongState | Reason::Conflict) => {
                tracing::debug!(vm = %standby.key, %error, "a standby cannot follow now");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::RepositoryId;
    use xenith_hypervisor_agent_types::backup::BackupFacts;

    use super::*;

    #[test]
    fn a_standby_that_holds_a_backup_of_tomorrow_follows_that_of_today() {
        let at = |day: i64| OffsetDateTime::UNIX_EPOCH + time::Duration::days(day);
        let newest = |day: i64| BackupRecord {
            repository: RepositoryId::new(),
            created: at(day),
            definition: None,
            facts: BackupFacts {
                id: day.to_string(),
                created: 0,
                host: String::new(),
                tags: vec![],
                disks: vec![],
                attachments: vec![],
                held: false,
            },
        };
        let held = |day: i64| HeldBackup { backup: day.to_string(), created: at(day), disks: vec![] };
        for (name, holds, found, expected) in [
            ("nothing is held", None, 10, true),
            ("the same", Some(10), 10, false),
            ("a newer one", Some(9), 10, true),
            ("an older one, after a prune", Some(10), 9, false),
            ("one of a year ahead", Some(400), 10, true),
        ] {
            let holds = holds.map(held);
            assert_eq!(is_newer(holds.as_ref(), &newest(found), at(11)), expected, "{name}");
        }
    }
}
