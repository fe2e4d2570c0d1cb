//! Alarms of high availability: what is wrong with a host that no metric says, and that people have to know at night.
//!
//! They have no rule and are no records: they follow from what high availability itself keeps, are looked for every
//! [`EVERY`], and everybody is told who is told of anything, unless the host is silenced. What passes within a moment (an
//! orchestrator that starts has heard nobody yet) is not told. After a restart what is still wrong is raised and told anew.
//!
//! What always holds: that one was raised or has cleared is an event, written behind who has to be told; where that cannot
//! be written, it is tried again with the next look.

use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use xenith_common_ids::{AlarmRuleId, HostId, PoolId};
use xenith_orchestrator_metrics::Turn;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::event::Severity;

use super::{deliver, is_silenced};
use crate::app::App;
use crate::events::Happened;
use crate::model::{AlarmRecord, NoticeRecord, NoticeWay};
use crate::pieces::Pieces;

const EVERY: Duration = Duration::from_secs(5);

/// What can be wrong with a host of a pool in which high availability is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Nothing is heard of it.
    Lost,
    /// And nothing proves for long that it runs nothing.
    NotFenced,
    /// It was proved to run nothing, and is not back.
    Fenced,
    /// VMs that went down with it do not run again.
    NotRestarted,
    /// It would not be protected if it died now.
    NotArmed,
}

impl Trouble {
    /// What it is called where others have the name of their rule.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Lost => "ha-host-lost",
            Self::NotFenced => "ha-not-fenced",
            Self::Fenced => "ha-host-fenced",
            Self::NotRestarted => "ha-not-restarted",
            Self::NotArmed => "ha-not-armed",
        }
    }

    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::NotArmed => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// How long it has to be so. A proof by lease takes a minute, a start of a large VM as long.
    const fn lasts(self) -> Duration {
        match self {
            Self::Lost | Self::Fenced => Duration::from_secs(15),
            Self::NotArmed => Duration::from_secs(120),
            Self::NotFenced | Self::NotRestarted => Duration::from_secs(180),
        }
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub trouble: Trouble,
    pub host: HostId,
    pub name: String,
    pub pool: PoolId,
    pub message: String,
}

/// An alarm.
#[derive(Debug, Clone)]
pub struct HaAlarm {
    pub wrong: Wrong,
    pub since: OffsetDateTime,
}

impl HaAlarm {
    #[must_use]
    pub fn subject(&self) -> String {
        format!("host/{}", self.wrong.host)
    }
}

/// What was wrong at the last look.
#[derive(Debug)]
struct Seen {
    alarm: HaAlarm,
    first: Instant,
    /// It is an alarm, and was told.
    raised: bool,
}

type All = BTreeMap<(Trouble, HostId), Seen>;

/// Raises and ends them, until it is dropped.
pub(super) async fn watch(app: &App) {
    let mut all = All::new();
    let mut last: Vec<Wrong> = Vec::new();
    loop {
        tokio::time::sleep(EVERY).await;
        match app.ha_wrongs().await {
            Ok(wrongs) => {
                // Before it is an alarm: who looks at high availability sees it now.
                if wrongs != last {
                    app.changes.note_noun("ha");
                    last.clone_from(&wrongs);
                }
                note(&mut all, wrongs, (Instant::now(), OffsetDateTime::now_utc()));
            }
            Err(error) => {
                tracing::debug!(%error, "it cannot be read what is wrong with hosts");
                continue;
            }
        }
        for (watch, turn) in due(&all, Instant::now()) {
            let Some(seen) = all.get_mut(&watch) else { continue };
            if let Err(error) = write(app, &seen.alarm, turn).await {
                tracing::warn!(%error, "an alarm of high availability cannot be written yet");
                continue;
            }
            seen.raised = turn == Turn::Raised;
        }
        all.retain(|_, seen| seen.raised || !is_over(seen));
        let raised = all.values().filter(|seen| seen.raised).map(|seen| seen.alarm.clone());
        app.metering.alarms.set_ha(raised.collect());
    }
}

/// Nothing is wrong any more: the message is what says so until it is told.
fn is_over(seen: &Seen) -> bool {
    seen.alarm.wrong.message.is_empty()
}

/// Takes up what is wrong now.
fn note(all: &mut All, wrongs: Vec<Wrong>, (now, at): (Instant, OffsetDateTime)) {
    for seen in all.values_mut() {
        seen.alarm.wrong.message.clear();
    }
    for wrong in wrongs {
        let watch = (wrong.trouble, wrong.host);
        match all.get_mut(&watch) {
            Some(seen) => seen.alarm.wrong = wrong,
            None => {
                all.insert(watch, Seen { alarm: HaAlarm { wrong, since: at }, first: now, raised: false });
            }
        }
    }
}

/// What has lasted long enough, and what is over.
fn due(all: &All, now: Instant) -> Vec<((Trouble, HostId), Turn)> {
    let turn = |(watch, seen): (&(Trouble, HostId), &Seen)| match (seen.raised, is_over(seen)) {
        (true, true) => Some((*watch, Turn::Cleared)),
        (false, false) if now.duration_since(seen.first) >= watch.0.lasts() => Some((*watch, Turn::Raised)),
        _ => None,
    };
    all.iter().filter_map(turn).collect()
}

/// Writes what happened, and who has to be told.
async fn write(app: &App, alarm: &HaAlarm, turn: Turn) -> Result<(), StoreError> {
    let HaAlarm { wrong, since } = alarm;
    let message = match turn {
        Turn::Raised => wrong.message.clone(),
        Turn::Cleared => format!("{} is over", wrong.trouble.rule()),
    };
    let record = AlarmRecord {
        rule_name: wrong.trouble.rule().to_owned(),
        severity: wrong.trouble.severity(),
        metric: None,
        message: Some(message.clone()),
        threshold: 0.0,
        name: wrong.name.clone(),
        value: None,
        since: *since,
        told: true,
    };
    let subject = alarm.subject();
    let mut pieces = Pieces::new(&app.db).sparing(4);
    for (rule, notice) in addresses(app, &subject, (&record, turn)).await? {
        let key = deliver::key(rule, &subject, &notice);
        pieces.add(app.db.alarm_notices.put_in(Transaction::new(), &key, &notice)).await?;
    }
    let (severity, kind) = match turn {
        Turn::Raised => (wrong.trouble.severity(), "alarm.raised"),
        Turn::Cleared => (Severity::Info, "alarm.cleared"),
    };
    let message = format!("{}: {message}", wrong.name);
    let happened = Happened { severity, kind, subject, message, pool: Some(wrong.pool) };
    app.events.note_in(pieces.into_last(), happened).await?;
    app.metering.alarms.owed.notify_one();
    Ok(())
}

/// All addresses of all rules that are not silenced for the host, each once.
async fn addresses(
    app: &App,
    subject: &str,
    (alarm, turn): (&AlarmRecord, Turn),
) -> Result<Vec<(AlarmRuleId, NoticeRecord)>, StoreError> {
    let (rules, _) = app.db.alarm_rules.all().await?;
    let (silences, _) = app.db.alarm_silences.all().await?;
    let silences: Vec<_> = silences.into_iter().map(|record| record.value).collect();
    let told = rules.into_iter().filter(|rule| rule.value.enabled);
    let mut addresses: BTreeMap<(NoticeWay, String), (AlarmRuleId, NoticeRecord)> = BTreeMap::new();
    for rule in told.filter(|rule| !is_silenced(&silences, Some(rule.key), subject)) {
        for notice in deliver::notices(&rule.value, (alarm, turn)) {
            addresses.entry((notice.way, notice.to.clone())).or_insert((rule.key, notice));
        }
    }
    Ok(addresses.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(trouble: Trouble) -> Wrong {
        let (host, pool) = (HostId::from_bytes([1; 16]), PoolId::from_bytes([2; 16]));
        Wrong { trouble, host, name: "xen1".into(), pool, message: "nothing is heard of it".into() }
    }

    #[test]
    fn what_lasts_is_raised_once_and_cleared_once() {
        let (began, at) = (Instant::now(), OffsetDateTime::UNIX_EPOCH);
        let watch = (Trouble::Lost, HostId::from_bytes([1; 16]));
        let mut all = All::new();
        let mut look = |wrongs: Vec<Wrong>, seconds: u64| {
            let now = began + Duration::from_secs(seconds);
            note(&mut all, wrongs, (now, at));
            let turns = due(&all, now);
            for (watch, turn) in &turns {
                all.get_mut(watch).unwrap().raised = *turn == Turn::Raised;
            }
            all.retain(|_, seen| seen.raised || !is_over(seen));
            turns
        };
        let lost = || vec![wrong(Trouble::Lost)];
        assert!(look(lost(), 0).is_empty());
        // It passes: the time begins anew.
        assert!(look(vec![], 5).is_empty());
        assert!(look(lost(), 10).is_empty());
        assert!(look(lost(), 20).is_empty());
        assert_eq!(look(lost(), 25), [(watch, Turn::Raised)]);
        assert!(look(lost(), 30).is_empty());
        assert_eq!(look(vec![], 35), [(watch, Turn::Cleared)]);
        assert!(look(vec![], 40).is_empty());
    }
}
