//! Keeps alarms: who is watched, what is written, who has to be told.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use xenith_common_ids::{AlarmRuleId, PoolId};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_inventory::{Inventory, Noun, Revision, Scope};
use xenith_orchestrator_metrics::{AlarmState, Entity, Turn};
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::metrics::Measured;

use super::{Turned, Watch, Watched, Watching, condition, deliver, ha, own};
use crate::app::{App, parse_filter};
use crate::events::Happened;
use crate::metering;
use crate::model::{AlarmRecord, AlarmRuleRecord, AlarmSilenceRecord};

/// How often it is read again whom rules watch, at most: filters are about things that change all the time.
const AGAIN: Duration = Duration::from_secs(15);
/// After a start hosts are not heard yet, and filters about what is observed find nobody.
const SETTLED: Duration = Duration::from_secs(90);

/// Starts it, and what tells people.
pub fn start(app: &Arc<App>, tasks: &TaskSet) {
    let (token, kept) = (tasks.token(), Arc::clone(app));
    tasks.spawn("alarm-keeper", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = keep(&kept) => {}
        }
    });
    let (token, own) = (tasks.token(), Arc::clone(app));
    tasks.spawn("own-alarm", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = own::watch(&own) => {}
        }
    });
    let (token, hosts) = (tasks.token(), Arc::clone(app));
    tasks.spawn("ha-alarms", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = ha::watch(&hosts) => {}
        }
    });
    let (token, told) = (tasks.token(), Arc::clone(app));
    tasks.spawn("alarm-teller", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = deliver::deliver_all(&told) => {}
        }
    });
}

/// Whether filters about what is observed can find anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hosts {
    /// The start was so short ago that some may not be heard yet.
    Awaited,
    Heard,
}

/// What the inventories were like when it was read whom rules watch.
type Seen = (Revision, Revision, Hosts);

async fn keep(app: &App) {
    let began = Instant::now();
    let (mut seen, mut looked): (Option<Seen>, Instant) = (None, Instant::now());
    if let Err(error) = remember(app).await {
        tracing::error!(%error, "it cannot be read which alarms were raised; they are raised anew");
    }
    loop {
        let hosts = if began.elapsed() >= SETTLED { Hosts::Heard } else { Hosts::Awaited };
        let now = (app.views.vms.revision(), app.views.hosts.revision(), hosts);
        if seen != Some(now) && (seen.is_none() || looked.elapsed() >= AGAIN) {
            match watch(app, hosts).await {
                Ok(()) => seen = Some(now),
                Err(error) => tracing::warn!(%error, "it cannot be read whom alarm rules watch"),
            }
            looked = Instant::now();
        }
        settle(app).await;
        if let Err(error) = tell(app).await {
            tracing::warn!(%error, "it cannot be written who has to be told of alarms; trying again");
        }
        let alarms = &app.metering.alarms;
        tokio::select! {
            () = alarms.news.notified() => {}
            () = alarms.changed.notified() => seen = None,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// After a start: what was raised is raised.
async fn remember(app: &App) -> Result<(), StoreError> {
    let (alarms, _) = app.db.alarms.all().await?;
    let mut states = app.metering.alarms.states();
    for record in alarms {
        let (rule, subject) = record.key;
        if let Ok(entity) = subject.parse::<Entity>() {
            let since = u64::try_from(record.value.since.unix_timestamp()).unwrap_or(0);
            states.insert((rule, entity), AlarmState::Raised { since });
        }
    }
    Ok(())
}

/// Finds out whom rules watch. What is raised of others clears. Where the rule is there still, that takes that its filter
/// can be read and that the host is heard: of one that is not, nothing that is observed lets anybody through.
async fn watch(app: &App, hosts: Hosts) -> Result<(), ApiError> {
    let (rules, _) = app.db.alarm_rules.all().await.map_err(ApiError::internal)?;
    let mut watched = Watched::default();
    let (mut there, mut unread) = (HashSet::new(), HashSet::new());
    for record in rules {
        let (rule, value) = (record.key, record.value);
        if !value.enabled {
            continue;
        }
        there.insert(rule);
        let entities = match value.of {
            Measured::Vm => entities(app, &app.views.vms, &value.filter).await,
            Measured::Host => entities(app, &app.views.hosts, &value.filter).await,
        };
        let entities = match entities {
            Ok(entities) => entities,
            Err(error) => {
                tracing::warn!(rule = value.name, %error, "an alarm rule's filter cannot be read");
                unread.insert(rule);
                continue;
            }
        };
        let place = u32::try_from(watched.rules.len()).unwrap_or(u32::MAX);
        watched.rules.push(Watching { rule, metric: value.metric, condition: condition(&value) });
        for entity in entities {
            watched.of.entry(entity).or_default().push(place);
        }
    }
    let alarms = &app.metering.alarms;
    let over = |(rule, entity): &Watch| {
        let watches = |place: &u32| watched.rules.get(*place as usize).is_some_and(|one| one.rule == *rule);
        let still = watched.of.get(entity).is_some_and(|places| places.iter().any(watches));
        let is_left = || hosts == Hosts::Heard && !unread.contains(rule) && !is_silent(app, *entity);
        !still && (!there.contains(rule) || is_left())
    };
    let gone: Vec<(Watch, AlarmState)> = alarms
        .states()
        .iter()
        .filter(|(watch, _)| over(watch))
        .map(|(watch, state)| (*watch, *state))
        .collect();
    *alarms.watched.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(watched);
    for (watch, state) in gone {
        alarms.states().remove(&watch);
        if let AlarmState::Raised { .. } = state {
            let turned = Turned { turn: Turn::Cleared, value: None, at: metering::now() };
            alarms.turned().insert(watch, turned);
        }
    }
    Ok(())
}

/// Whether it exists, and its host is not heard.
fn is_silent(app: &App, entity: Entity) -> bool {
    let host = match entity {
        Entity::Host(host) => app.views.host(host).map(|_| host),
        Entity::Vm(vm) | Entity::Disk(vm, _) | Entity::Nic(vm, _) => app.views.vm(vm).map(|known| known.host),
    };
    host.is_some_and(|host| !app.fleet.state(host).is_some_and(|state| state.is_heard()))
}

/// All at one moment: of pages, one could be between two as its name changes, and its alarm would clear.
async fn entities<N: Noun>(app: &App, inventory: &Inventory<N>, filter: &str) -> Result<Vec<Entity>, ApiError>
where
    Entity: From<N::Id>,
{
    let (inventory, filter) = (inventory.clone(), parse_filter::<N>(filter)?);
    let ids = app.readers.run(move || inventory.ids(&filter, &Scope::everything())).await?;
    Ok(ids.into_iter().map(Entity::from).collect())
}

/// Writes the turns. What cannot be written is tried again.
async fn settle(app: &App) {
    let alarms = &app.metering.alarms;
    let turned: HashMap<Watch, Turned> = std::mem::take(&mut *alarms.turned());
    for (watch, turned) in turned {
        if let Err(error) = settle_one(app, watch, turned).await {
            tracing::warn!(%error, "an alarm cannot be written; trying again");
            // One that came since counts more.
            alarms.turned().entry(watch).or_insert(turned);
        }
    }
}

async fn settle_one(app: &App, (rule, entity): Watch, turned: Turned) -> Result<(), StoreError> {
    let key = (rule, entity.to_string());
    let known = app.db.alarms.get(&key).await?;
    let settings = app.db.alarm_rules.get(&rule).await?.map(|record| record.value);
    match (turned.turn, known) {
        (Turn::Raised, Some(_)) => Ok(()),
        (Turn::Raised, None) => {
            let Some(settings) = settings else { return Ok(()) };
            let (name, pool) = named(app, entity);
            let since = i64::try_from(turned.at).unwrap_or(i64::MAX);
            let record = AlarmRecord {
                rule_name: settings.name.clone(),
                severity: settings.severity,
                metric: Some(settings.metric),
                message: None,
                threshold: settings.threshold,
                name,
                value: turned.value,
                since: OffsetDateTime::from_unix_timestamp(since).unwrap_or(OffsetDateTime::UNIX_EPOCH),
                told: false,
            };
            let message = deliver::sentence(&record, settings.when, Turn::Raised);
            let happened = happened(&record, "alarm.raised", (key.1.as_str(), message), pool);
            let commit = app.db.alarms.put_in(Transaction::new(), &key, &record);
            app.events.note_in(commit, happened).await.map(drop)
        }
        (Turn::Cleared, None) => Ok(()),
        (Turn::Cleared, Some(known)) => {
            let record = AlarmRecord { value: turned.value, ..known.value.clone() };
            let when = settings.as_ref().map(|settings| settings.when).unwrap_or_default();
            let message = deliver::sentence(&record, when, Turn::Cleared);
            let calm = AlarmRecord { severity: Severity::Info, ..record.clone() };
            let happened = happened(&calm, "alarm.cleared", (key.1.as_str(), message), named(app, entity).1);
            let mut commit = app.db.alarms.delete_in(Transaction::new(), &key);
            if let Some(settings) = settings.filter(|_| record.told) {
                commit = deliver::owe_in(app, commit, (&settings, &key), (&record, Turn::Cleared));
            }
            app.events.note_in(commit, happened).await?;
            app.metering.alarms.owed.notify_one();
            Ok(())
        }
    }
}

fn happened(
    record: &AlarmRecord,
    kind: &'static str,
    (subject, message): (&str, String),
    pool: Option<PoolId>,
) -> Happened {
    Happened { severity: record.severity, kind, subject: subject.to_owned(), message, pool }
}

fn named(app: &App, entity: Entity) -> (String, Option<PoolId>) {
    match entity {
        Entity::Host(host) => app
            .views
            .host(host)
            .map_or_else(|| (host.to_string(), None), |host| (host.name.clone(), Some(host.pool))),
        Entity::Vm(vm) | Entity::Disk(vm, _) | Entity::Nic(vm, _) => {
            match (app.views.vm(vm), app.fleet.vm(vm)) {
                (Some(record), _) => (record.name.to_string(), Some(record.pool)),
                (None, Some((_, observed))) => (observed.name.clone(), None),
                (None, None) => (vm.to_string(), None),
            }
        }
    }
}

/// Whether nobody is to be told now.
pub fn is_silenced(silences: &[AlarmSilenceRecord], rule: Option<AlarmRuleId>, subject: &str) -> bool {
    let now = OffsetDateTime::now_utc();
    silences.iter().any(|silence| {
        let of_rule = silence.rule.is_none_or(|of| Some(of) == rule);
        let of_subject = silence.subject.as_deref().is_none_or(|of| of == subject);
        silence.until > now && of_rule && of_subject
    })
}

/// Of alarms that nobody was told of yet, and that are not silenced: notes who has to be. Silences that are over are
/// forgotten.
async fn tell(app: &App) -> Result<(), StoreError> {
    let (alarms, _) = app.db.alarms.all().await?;
    let untold: Vec<_> = alarms.into_iter().filter(|record| !record.value.told).collect();
    let (silences, _) = app.db.alarm_silences.all().await?;
    let now = OffsetDateTime::now_utc();
    for old in silences.iter().filter(|silence| silence.value.until <= now) {
        let delete = app.db.alarm_silences.delete_in(Transaction::new(), &old.key);
        app.db.store.commit(delete).await?;
    }
    let silences: Vec<AlarmSilenceRecord> = silences.into_iter().map(|record| record.value).collect();
    let mut rules: HashMap<AlarmRuleId, Option<AlarmRuleRecord>> = HashMap::new();
    for alarm in untold {
        let (rule, subject) = &alarm.key;
        if is_silenced(&silences, Some(*rule), subject) {
            continue;
        }
        if !rules.contains_key(rule) {
            let settings = app.db.alarm_rules.get(rule).await?.map(|record| record.value);
            rules.insert(*rule, settings);
        }
        let Some(Some(settings)) = rules.get(rule) else { continue };
        let told = AlarmRecord { told: true, ..alarm.value.clone() };
        let commit = app.db.alarms.update_in(Transaction::new(), &alarm, &told);
        let commit = deliver::owe_in(app, commit, (settings, &alarm.key), (&told, Turn::Raised));
        app.db.store.commit(commit).await?;
        app.metering.alarms.owed.notify_one();
    }
    Ok(())
}
