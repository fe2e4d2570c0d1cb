//! Alarms about the backups of VMs. They are by no rule: nobody has to have thought of one before backups are missing.
//!
//! What is wrong is in the records of those that find it (`JobRecord`, `Db::unprotected`), and listed from there. Everybody is
//! told who is told of anything, as of the orchestrator's own alarm. Telling is not written in the commit of what it is about:
//! it comes before, so that a crash between the two tells twice and never not at all.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use xenith_common_ids::{AlarmRuleId, VmId};
use xenith_orchestrator_metrics::Turn;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::event::Severity;

use super::{deliver, is_silenced};
use crate::app::App;
use crate::model::{AlarmRecord, AlarmSilenceRecord, BackupAlarm, JobRecord, NoticeRecord, NoticeWay};

/// What these alarms are called where others have the name of their rule.
pub const OVERDUE: &str = "backup-overdue";
pub const UNPROTECTED: &str = "backup-unprotected";
pub const ODD: &str = "backup-odd-change";

/// Whose backups something is wrong with, and what.
pub type About = (VmId, &'static str);

/// All that is wrong now, one of a kind for each VM.
pub async fn all(app: &App) -> Result<BTreeMap<About, BackupAlarm>, StoreError> {
    let mut wrong = BTreeMap::new();
    let (jobs, _) = app.db.backup_jobs.all().await?;
    for job in jobs {
        let JobRecord { settings, overdue, odd, .. } = job.value;
        if settings.enabled && settings.rpo_minutes > 0 {
            overdue.into_iter().for_each(|(vm, alarm)| {
                wrong.entry((vm, OVERDUE)).or_insert(alarm);
            });
        }
        odd.into_iter().for_each(|(vm, alarm)| {
            wrong.entry((vm, ODD)).or_insert(alarm);
        });
    }
    let (unprotected, _) = app.db.unprotected.all().await?;
    for record in unprotected {
        wrong.insert((record.key, UNPROTECTED), unprotected_since(record.value));
    }
    Ok(wrong)
}

/// The alarm of a VM that nothing protects.
pub fn unprotected_since(since: OffsetDateTime) -> BackupAlarm {
    let message = "no backup job with a schedule covers it, or it has no backup yet".to_owned();
    BackupAlarm { since, severity: Severity::Warning, message }
}

/// Sees to it that everybody is told, unless the VM is silenced.
pub async fn tell(
    app: &App,
    ((vm, rule_name), name): (About, &str),
    alarm: &BackupAlarm,
    turn: Turn,
) -> Result<(), StoreError> {
    let subject = format!("vm/{vm}");
    let (silences, _) = app.db.alarm_silences.all().await?;
    let silences: Vec<AlarmSilenceRecord> = silences.into_iter().map(|record| record.value).collect();
    if is_silenced(&silences, None, &subject) {
        return Ok(());
    }
    let record = AlarmRecord {
        rule_name: rule_name.to_owned(),
        severity: alarm.severity,
        metric: None,
        message: Some(alarm.message.clone()),
        threshold: 0.0,
        name: name.to_owned(),
        value: None,
        since: alarm.since,
        told: true,
    };
    let (rules, _) = app.db.alarm_rules.all().await?;
    let mut addresses: BTreeMap<(NoticeWay, String), (AlarmRuleId, NoticeRecord)> = BTreeMap::new();
    for rule in rules.into_iter().filter(|rule| rule.value.enabled) {
        for notice in deliver::notices(&rule.value, (&record, turn)) {
            addresses.entry((notice.way, notice.to.clone())).or_insert((rule.key, notice));
        }
    }
    if addresses.is_empty() {
        return Ok(());
    }
    let owe = |commit, (rule, notice): (AlarmRuleId, NoticeRecord)| {
        app.db.alarm_notices.put_in(commit, &deliver::key(rule, &subject, &notice), &notice)
    };
    app.db.store.commit(addresses.into_values().fold(Transaction::new(), owe)).await?;
    app.metering.alarms.owed.notify_one();
    Ok(())
}
