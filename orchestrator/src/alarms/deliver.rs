//! Telling people and programs of alarms: by e-mail, by HTTP, by syslog.
//!
//! What is owed is a record, written in the commit of what it is about, and taken out when it was delivered or given
//! up: a restart loses none; a crash between the delivery and that delivers it twice. What is due for one address goes
//! together, so a thousand alarms at once are some letters and not a thousand.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use reqwest::Client;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::UdpSocket;
use xenith_common_ids::{AlarmRuleId, EventId};
use xenith_orchestrator_metrics::Turn;
use xenith_orchestrator_store::{Record, StoreError, Transaction};
use xenith_orchestrator_types::alarm::AlarmWhen;
use xenith_orchestrator_types::event::Severity;

use crate::app::App;
use crate::events::Happened;
use crate::mail::{self, Letter};
use crate::model::{AlarmRecord, AlarmRuleRecord, NoticeRecord, NoticeWay};
use crate::outbox;

const AT_ONCE: usize = 4;
/// Notices of one letter or request, and of one transaction.
const TOGETHER: usize = 100;
const IDLE: Duration = Duration::from_secs(60);
/// What syslog servers take of one message at least (RFC 5424, 6.1).
const LONGEST: usize = 2048;

type Key = (AlarmRuleId, String);
pub(super) type Owed = Record<Key, NoticeRecord>;

/// For people: what is wrong, or not any more.
pub fn sentence(alarm: &AlarmRecord, when: AlarmWhen, turn: Turn) -> String {
    let AlarmRecord { name, rule_name, message, .. } = alarm;
    if let Some(message) = message {
        return format!("{name}: {message}");
    }
    let Some(metric) = alarm.metric else { return format!("{name}: {rule_name}") };
    let unit = metric.unit();
    let (when, threshold) = (when.as_str(), unit.show(alarm.threshold));
    match (turn, alarm.value) {
        (Turn::Raised, Some(value)) => {
            format!("{name}: {metric} is {}, {when} {threshold} ({rule_name})", unit.show(value))
        }
        (Turn::Cleared, Some(value)) => {
            format!("{name}: {metric} is {}, no longer {when} {threshold} ({rule_name})", unit.show(value))
        }
        (_, None) => format!("{name}: {rule_name} watches its {metric} no more"),
    }
}

/// Adds to a commit: who has to be told.
pub fn owe_in(
    app: &App,
    mut commit: Transaction,
    (rule, (id, subject)): (&AlarmRuleRecord, &Key),
    (alarm, turn): (&AlarmRecord, Turn),
) -> Transaction {
    for notice in notices(rule, (alarm, turn)) {
        commit = app.db.alarm_notices.put_in(commit, &key(*id, subject, &notice), &notice);
    }
    commit
}

pub(super) fn key(rule: AlarmRuleId, subject: &str, notice: &NoticeRecord) -> Key {
    (rule, format!("{subject} {} {}", notice.way.as_str(), notice.at.unix_timestamp_nanos()))
}

/// What everybody is told whom a rule names.
pub(super) fn notices(rule: &AlarmRuleRecord, (alarm, turn): (&AlarmRecord, Turn)) -> Vec<NoticeRecord> {
    let now = OffsetDateTime::now_utc();
    let ways = [
        (NoticeWay::Mail, rule.mail_to.join("\n")),
        (NoticeWay::Webhook, rule.webhook.clone()),
        (NoticeWay::Syslog, rule.syslog.clone()),
    ];
    let notice = |(way, to)| NoticeRecord {
        way,
        to,
        raised: turn == Turn::Raised,
        at: now,
        when: rule.when,
        alarm: alarm.clone(),
        tries: 0,
        next: now,
    };
    ways.into_iter().filter(|(_, to)| !to.is_empty()).map(notice).collect()
}

/// Delivers what is owed, until it is dropped.
pub(super) async fn deliver_all(app: &App) {
    let mut client = None;
    loop {
        let mut wait = IDLE;
        match app.db.alarm_notices.all().await {
            Ok((owed, _)) => {
                let now = OffsetDateTime::now_utc();
                let (due, later): (Vec<Owed>, Vec<Owed>) =
                    owed.into_iter().partition(|notice| notice.value.next <= now);
                let next = later.iter().map(|notice| notice.value.next - now).min();
                wait = next.and_then(|next| Duration::try_from(next).ok()).unwrap_or(IDLE).min(IDLE);
                if !due.is_empty() && client.is_none() {
                    client = outbox::new_client().await;
                }
                let client = client.as_ref();
                futures::stream::iter(together(due))
                    .for_each_concurrent(
                        AT_ONCE,
                        |notices| async move { deliver(app, client, &notices).await },
                    )
                    .await;
            }
            Err(error) => {
                tracing::warn!(%error, "it cannot be read who has to be told of alarms; trying again")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = app.metering.alarms.owed.notified() => {}
        }
    }
}

/// By address, the oldest first.
fn together(due: Vec<Owed>) -> Vec<Vec<Owed>> {
    let mut by_address: BTreeMap<(NoticeWay, String), Vec<Owed>> = BTreeMap::new();
    for notice in due {
        by_address.entry((notice.value.way, notice.value.to.clone())).or_default().push(notice);
    }
    let mut parcels = Vec::new();
    for mut notices in by_address.into_values() {
        notices.sort_by_key(|notice| notice.value.at);
        parcels.extend(notices.chunks(TOGETHER).map(<[Owed]>::to_vec));
    }
    parcels
}

/// All of one address.
async fn deliver(app: &App, client: Option<&Client>, notices: &[Owed]) {
    let settled = match send(app, client, notices).await {
        Ok(()) => {
            let delete = |commit, notice: &Owed| app.db.alarm_notices.delete_in(commit, &notice.key);
            app.db.store.commit(notices.iter().fold(Transaction::new(), delete)).await.map(drop)
        }
        Err(why) => again(app, notices, &why).await,
    };
    if let Err(error) = settled {
        tracing::warn!(%error, "what became of a notice cannot be written; it may be sent again");
    }
}

/// Sends all of one address. `Err`: why not.
pub(super) async fn send(app: &App, client: Option<&Client>, notices: &[Owed]) -> Result<(), String> {
    let Some(first) = notices.first().map(|notice| &notice.value) else { return Ok(()) };
    match (first.way, client) {
        (NoticeWay::Mail, _) => send_mail(app, &first.to, notices).await,
        (NoticeWay::Webhook, Some(client)) => outbox::post(client, &first.to, &body(notices)).await,
        (NoticeWay::Webhook, None) => {
            Err("this machine cannot make HTTP requests; its log says why".to_owned())
        }
        (NoticeWay::Syslog, _) => send_syslog(&first.to, notices).await,
    }
}

/// Notes when the next try is, or that there is none. The first failure and the last are told.
async fn again(app: &App, notices: &[Owed], why: &str) -> Result<(), StoreError> {
    let mut commit = Transaction::new();
    let mut tell = None;
    for notice in notices {
        let tries = notice.value.tries + 1;
        match outbox::AGAIN.get(notice.value.tries as usize) {
            Some(minutes) => {
                let next = OffsetDateTime::now_utc() + time::Duration::minutes(*minutes);
                let value = NoticeRecord { tries, next, ..notice.value.clone() };
                commit = app.db.alarm_notices.put_in(commit, &notice.key, &value);
                if tries == 1 {
                    tell = tell.or(Some("it is tried again for a day"));
                }
            }
            None => {
                commit = app.db.alarm_notices.delete_in(commit, &notice.key);
                tell = Some("it was given up");
            }
        }
    }
    let (Some(after), Some(first)) = (tell, notices.first()) else {
        return app.db.store.commit(commit).await.map(drop);
    };
    let to = outbox::shown(&first.value.to);
    let happened = Happened {
        severity: Severity::Warning,
        kind: "alarm.undelivered",
        subject: format!("alarm_rule/{}", first.key.0),
        message: format!("{to} was not told of an alarm: {why}; {after}"),
        pool: None,
    };
    app.events.note_in(commit, happened).await.map(drop)
}

fn turn(notice: &NoticeRecord) -> Turn {
    if notice.raised { Turn::Raised } else { Turn::Cleared }
}

fn line(notice: &NoticeRecord) -> String {
    sentence(&notice.alarm, notice.when, turn(notice))
}

/// What a webhook is sent.
fn body(notices: &[Owed]) -> Value {
    let alarm = |notice: &Owed| {
        let NoticeRecord { alarm, at, .. } = &notice.value;
        let subject = notice.key.1.split(' ').next().unwrap_or_default();
        json!({
            "turn": if notice.value.raised { "raised" } else { "cleared" },
            "at": at.format(&Rfc3339).unwrap_or_default(),
            // What is not measured is by no rule: its rule is the one that names who is told.
            "rule": alarm.metric.map(|_| notice.key.0),
            "rule_name": alarm.rule_name,
            "severity": alarm.severity,
            "subject": subject,
            "name": alarm.name,
            "metric": alarm.metric,
            "value": alarm.value,
            "threshold": alarm.threshold,
            "since": alarm.since.format(&Rfc3339).unwrap_or_default(),
            "message": line(&notice.value),
        })
    };
    json!({ "alarms": notices.iter().map(alarm).collect::<Vec<_>>() })
}

async fn send_mail(app: &App, to: &str, notices: &[Owed]) -> Result<(), String> {
    let to = to.split('\n').map(mail::parse_address).collect::<Result<_, _>>();
    let to = to.map_err(|error| error.to_string())?;
    let subject = match notices {
        [only] => {
            let word = if only.value.raised { "alarm" } else { "cleared" };
            let AlarmRecord { name, metric, rule_name, .. } = &only.value.alarm;
            let what = metric.map_or_else(|| rule_name.clone(), |metric| metric.as_str().to_owned());
            format!("[Xenith] {word}: {name} {what}")
        }
        many => format!("[Xenith] {} alarms", many.len()),
    };
    let mut text = String::new();
    for notice in notices {
        let at = notice.value.at.format(&Rfc3339).unwrap_or_default();
        let word = if notice.value.raised { "raised " } else { "cleared" };
        text += &format!("{at}  {word}  {}\n", line(&notice.value));
    }
    let letter = Letter { id: format!("alarm.{}", EventId::new()), to, subject: &subject, text };
    mail::send(&app.db, &app.vault, letter).await.map_err(|error| error.to_string())
}

/// One datagram each; nobody says whether it arrived.
async fn send_syslog(to: &str, notices: &[Owed]) -> Result<(), String> {
    let address = to.strip_prefix("udp://").ok_or("its address does not begin with udp://")?;
    let addresses = tokio::net::lookup_host(address).await.map_err(|error| error.to_string())?;
    let address = addresses.into_iter().next().ok_or("its name has no address")?;
    let ours = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(ours).await.map_err(|error| error.to_string())?;
    for notice in notices {
        let message = syslog(&notice.value);
        socket.send_to(message.as_bytes(), address).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// RFC 5424, facility local0.
fn syslog(notice: &NoticeRecord) -> String {
    const LOCAL0: u8 = 16;
    let (severity, id) = match (notice.raised, notice.alarm.severity) {
        (true, Severity::Error) => (3, "alarm.raised"),
        (true, Severity::Warning) => (4, "alarm.raised"),
        (true, Severity::Info) => (6, "alarm.raised"),
        (false, _) => (6, "alarm.cleared"),
    };
    // A second has six digits at most there (RFC 5424, 6).
    let at = notice.at.replace_nanosecond(notice.at.microsecond() * 1000).unwrap_or(notice.at);
    let at = at.format(&Rfc3339).unwrap_or_else(|_| "-".to_owned());
    let text: String = line(notice).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut message = format!("<{}>1 {at} - xenith - {id} - {text}", LOCAL0 * 8 + severity);
    let end = message.floor_char_boundary(LONGEST);
    message.truncate(end);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;
    use xenith_orchestrator_types::metrics::Metric;

    fn notice(raised: bool) -> NoticeRecord {
        let alarm = AlarmRecord {
            rule_name: "busy".into(),
            severity: Severity::Error,
            metric: Some(Metric::Cpu),
            message: None,
            threshold: 90.0,
            name: "web-1\n<13>1 forged".into(),
            value: Some(95.3),
            since: datetime!(2026-11-23 08:00:00 UTC),
            told: true,
        };
        let at = datetime!(2026-11-23 08:01:00.5 UTC);
        let (way, to) = (NoticeWay::Syslog, "udp://log:514".into());
        NoticeRecord { way, to, raised, at, when: AlarmWhen::Above, alarm, tries: 0, next: at }
    }

    #[test]
    fn sentences() {
        let mut alarm = AlarmRecord { name: "web-1".into(), ..notice(true).alarm };
        for (value, turn, expected) in [
            (Some(95.3), Turn::Raised, "web-1: cpu is 95.3 %, above 90.0 % (busy)"),
            (Some(5.0), Turn::Cleared, "web-1: cpu is 5.0 %, no longer above 90.0 % (busy)"),
            (None, Turn::Cleared, "web-1: busy watches its cpu no more"),
        ] {
            alarm.value = value;
            assert_eq!(sentence(&alarm, AlarmWhen::Above, turn), expected);
        }
    }

    #[test]
    fn a_syslog_message_is_one_line_of_ours() {
        assert_eq!(
            syslog(&notice(true)),
            "<131>1 2026-11-23T08:01:00.5Z - xenith - alarm.raised - \
             web-1 <13>1 forged: cpu is 95.3 %, above 90.0 % (busy)"
        );
        assert!(syslog(&notice(false)).starts_with("<134>1 "));
        let mut exact = notice(true);
        exact.at += time::Duration::nanoseconds(123_456_789);
        assert!(syslog(&exact).starts_with("<131>1 2026-11-23T08:01:00.623456Z - "), "{}", syslog(&exact));
        let mut long = notice(true);
        long.alarm.name = "ä".repeat(3000);
        assert!(syslog(&long).len() <= LONGEST);
    }
}
