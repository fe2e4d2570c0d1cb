//! The orchestrator's own alarm: it cannot write, because its disk is full or its store has failed.
//!
//! Such an alarm cannot be a record, nor can any other be raised or told meanwhile. So it is held in memory and listed
//! from there, and everybody is told who is told of anything: whoever relies on alarms has to know that none can come.
//! It ends by itself; the events of both turns are written then, and who was told is told.
//!
//! After a crash within it, it is raised and told anew.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use reqwest::Client;
use time::OffsetDateTime;
use tokio::sync::watch::Receiver;
use xenith_common_ids::AlarmRuleId;
use xenith_orchestrator_metrics::Turn;
use xenith_orchestrator_store::{Health, Record, Revision, StoreError, Transaction};
use xenith_orchestrator_types::event::Severity;

use super::deliver::{self, Owed};
use crate::app::App;
use crate::events::Happened;
use crate::model::{AlarmRecord, NoticeRecord, NoticeWay};
use crate::outbox;
use crate::pieces::Pieces;

/// Before its end is written again, where that failed.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct OwnAlarm {
    pub since: OffsetDateTime,
    pub message: String,
}

impl OwnAlarm {
    /// What it is called where others have the name of their rule.
    pub const RULE: &'static str = "store-read-only";
    /// What it is of.
    pub const SUBJECT: &'static str = "orchestrator";
}

/// One address, and whether it was told.
struct Told {
    rule: AlarmRuleId,
    notice: NoticeRecord,
    done: AtomicBool,
}

/// Raises and ends it, until it is dropped.
pub(super) async fn watch(app: &App) {
    let mut health = app.db.store.health();
    loop {
        let Some(own) = wrong(&mut health).await else { return };
        app.metering.alarms.set_own(Some(own.clone()));
        let told = addresses(app, &own).await;
        tokio::select! {
            () = tell(app, &told) => {}
            () = writable(&mut health) => {}
        }
        loop {
            writable(&mut health).await;
            match end(app, &own, &told).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "that the store writes again cannot be written yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        app.metering.alarms.set_own(None);
    }
}

/// Waits until nothing can be written. `None`: the store is closed.
async fn wrong(health: &mut Receiver<Health>) -> Option<OwnAlarm> {
    let health = health.wait_for(|health| *health != Health::Writable).await.ok()?;
    let Health::ReadOnly { reason, since, .. } = &*health else { return None };
    Some(OwnAlarm { since: (*since).into(), message: format!("the store is read-only: {reason}") })
}

async fn writable(health: &mut Receiver<Health>) {
    if health.wait_for(|health| *health == Health::Writable).await.is_err() {
        // The store is closed, and whoever waits is about to be dropped.
        std::future::pending().await
    }
}

fn record(own: &OwnAlarm, message: String) -> AlarmRecord {
    AlarmRecord {
        rule_name: OwnAlarm::RULE.to_owned(),
        severity: Severity::Error,
        metric: None,
        message: Some(message),
        threshold: 0.0,
        name: OwnAlarm::SUBJECT.to_owned(),
        value: None,
        since: own.since,
        told: true,
    }
}

/// All addresses of all rules, each once.
async fn addresses(app: &App, own: &OwnAlarm) -> Vec<Told> {
    let rules = match app.db.alarm_rules.all().await {
        Ok((rules, _)) => rules,
        Err(error) => {
            tracing::warn!(%error, "it cannot be read who is told that the store is read-only");
            return Vec::new();
        }
    };
    let alarm = record(own, own.message.clone());
    let mut addresses: BTreeMap<(NoticeWay, String), Told> = BTreeMap::new();
    for rule in rules.into_iter().filter(|rule| rule.value.enabled) {
        for notice in deliver::notices(&rule.value, (&alarm, Turn::Raised)) {
            let told = Told { rule: rule.key, notice: notice.clone(), done: AtomicBool::new(false) };
            addresses.entry((notice.way, notice.to)).or_insert(told);
        }
    }
    addresses.into_values().collect()
}

/// Returns when everybody was told, or was tried for a day.
async fn tell(app: &App, told: &[Told]) {
    let client = outbox::new_client().await;
    for minutes in outbox::AGAIN.iter().copied().chain([0]) {
        let untold = told.iter().filter(|told| !told.done.load(Ordering::Relaxed));
        join_all(untold.map(|told| tell_one(app, client.as_ref(), told))).await;
        if told.iter().all(|told| told.done.load(Ordering::Relaxed)) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(60 * minutes.unsigned_abs())).await;
    }
}

async fn tell_one(app: &App, client: Option<&Client>, told: &Told) {
    let key = deliver::key(told.rule, OwnAlarm::SUBJECT, &told.notice);
    let owed: Owed = Record { key, value: told.notice.clone(), revision: Revision(0) };
    match deliver::send(app, client, &[owed]).await {
        Ok(()) => told.done.store(true, Ordering::Relaxed),
        Err(why) => {
            let to = outbox::shown(&told.notice.to);
            tracing::warn!(to, why, "somebody cannot be told that the store is read-only; trying again");
        }
    }
}

/// Writes what happened, and who has to be told that it is over.
async fn end(app: &App, own: &OwnAlarm, told: &[Told]) -> Result<(), StoreError> {
    let seconds = (OffsetDateTime::now_utc() - own.since).whole_seconds();
    let over = format!("the store writes again; for {seconds} s: {}", own.message);
    let alarm = record(own, over.clone());
    let mut pieces = Pieces::new(&app.db).sparing(4);
    for told in told.iter().filter(|told| told.done.load(Ordering::Relaxed)) {
        let at = OffsetDateTime::now_utc();
        let notice =
            NoticeRecord { raised: false, at, next: at, alarm: alarm.clone(), ..told.notice.clone() };
        let key = deliver::key(told.rule, OwnAlarm::SUBJECT, &notice);
        pieces.add(app.db.alarm_notices.put_in(Transaction::new(), &key, &notice)).await?;
    }
    let happened = |severity, kind, message| Happened {
        severity,
        kind,
        subject: OwnAlarm::SUBJECT.to_owned(),
        message,
        pool: None,
    };
    let raised = happened(Severity::Error, "alarm.raised", own.message.clone());
    app.events.note_in(Transaction::new(), raised).await?;
    let cleared = happened(Severity::Info, "alarm.cleared", over);
    app.events.note_in(pieces.into_last(), cleared).await?;
    app.metering.alarms.owed.notify_one();
    Ok(())
}
