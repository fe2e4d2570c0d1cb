//! Alarms: rules, what they raised, and silence.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::{AlarmRuleId, AlarmSilenceId};
use xenith_orchestrator_api::alarm::AlarmApi;
use xenith_orchestrator_api::alarm_rule::AlarmRuleApi;
use xenith_orchestrator_api::{Call, Sight};
use xenith_orchestrator_inventory::host::Hosts;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_metrics::Entity;
use xenith_orchestrator_store::{Record, Transaction};
use xenith_orchestrator_types::alarm::{
    Alarm, AlarmOf, AlarmRule, AlarmRuleRef, AlarmSilence, AlarmSilenceRef, AlarmWhen, CreateAlarmRule,
    SilenceAlarms, UpdateAlarmRule,
};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::metrics::Measured;
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Permission, Reason};

use super::listings::alarms::AlarmRow;
use super::listings::filtered;
use super::{App, parse_filter};
use crate::alarms::backups::{self, About};
use crate::alarms::{HaAlarm, OwnAlarm, is_silenced};
use crate::errors::store_error;
use crate::model::{AlarmRecord, AlarmRuleRecord, AlarmSilenceRecord, BackupAlarm};

/// Each is held against every sample of what it watches.
const MOST_RULES: usize = 200;
const MOST_ADDRESSES: usize = 20;
const LONGEST_NAME: usize = 64;
const LONGEST_COMMENT: usize = 500;
const LONGEST_DURATION: u32 = 86_400;
const LONGEST_SILENCE: u32 = 30 * 86_400;

fn check(rule: &AlarmRuleRecord) -> Result<(), ApiError> {
    let length = rule.name.chars().count();
    if length == 0 || length > LONGEST_NAME || rule.name.chars().any(char::is_control) {
        return Err(ApiError::invalid("name", "give 1 to 64 characters that say what is wrong then"));
    }
    match rule.of {
        Measured::Vm => parse_filter::<Vms>(&rule.filter).map(drop)?,
        Measured::Host => parse_filter::<Hosts>(&rule.filter).map(drop)?,
    }
    if !rule.metric.of().contains(&rule.of) {
        return Err(ApiError::invalid("metric", format!("a {} has no metric {}", rule.of, rule.metric)));
    }
    if !rule.threshold.is_finite() || rule.threshold < 0.0 {
        return Err(ApiError::invalid("threshold", "give a number that is not negative"));
    }
    let good = match rule.when {
        AlarmWhen::Above => rule.clear <= rule.threshold,
        AlarmWhen::Below => rule.clear >= rule.threshold,
    };
    if !rule.clear.is_finite() || !good {
        return Err(ApiError::invalid("clear", "it must be the threshold or on the good side of it"));
    }
    if rule.for_s > LONGEST_DURATION {
        return Err(ApiError::invalid("for_s", "give at most a day"));
    }
    check_routes(rule)
}

fn check_routes(rule: &AlarmRuleRecord) -> Result<(), ApiError> {
    if rule.mail_to.len() > MOST_ADDRESSES {
        return Err(ApiError::invalid("mail_to", "at most 20 addresses; make a list on your mail server"));
    }
    for address in &rule.mail_to {
        crate::mail::parse_address(address).map_err(|error| ApiError::invalid("mail_to", error))?;
    }
    let url = &rule.webhook;
    if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(ApiError::invalid("webhook", "give a URL that begins with https:// or http://"));
    }
    let syslog = &rule.syslog;
    let address = syslog.strip_prefix("udp://").and_then(|address| address.rsplit_once(':'));
    let there = address.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !syslog.is_empty() && !there {
        return Err(ApiError::invalid("syslog", "give an address such as udp://log.example.org:514"));
    }
    Ok(())
}

fn rule_to_api(id: AlarmRuleId, rule: AlarmRuleRecord) -> AlarmRule {
    let AlarmRuleRecord { name, enabled, of, filter, metric, when, threshold, clear, for_s, .. } = rule;
    let AlarmRuleRecord { severity, mail_to, webhook, syslog, .. } = rule;
    AlarmRule {
        id,
        name,
        enabled,
        of,
        filter,
        metric,
        when,
        threshold,
        clear,
        for_s,
        severity,
        mail_to,
        webhook,
        syslog,
    }
}

fn silence_to_api(id: AlarmSilenceId, silence: AlarmSilenceRecord) -> AlarmSilence {
    let AlarmSilenceRecord { rule, subject, comment, until, user } = silence;
    AlarmSilence { id, rule, subject, comment, until, user }
}

impl App {
    async fn find_alarm_rule(
        &self,
        reference: &str,
    ) -> Result<Record<AlarmRuleId, AlarmRuleRecord>, ApiError> {
        let (rules, _) = self.db.alarm_rules.all().await.map_err(|e| store_error(&e))?;
        let named = |record: &Record<AlarmRuleId, AlarmRuleRecord>| {
            record.value.name == reference || record.key.to_string() == reference
        };
        rules.into_iter().find(named).ok_or_else(|| ApiError::not_found("alarm rule", reference))
    }

    /// As the caller may see it, if at all.
    fn alarm(
        &self,
        sight: &Sight,
        (rule, subject): (AlarmRuleId, &str),
        record: AlarmRecord,
    ) -> Option<Alarm> {
        let entity: Entity = subject.parse().ok()?;
        let visible = match entity {
            Entity::Host(host) => sight.covers(self.views.host(host).map(|host| host.pool), []),
            Entity::Vm(vm) | Entity::Disk(vm, _) | Entity::Nic(vm, _) => {
                let vm = self.views.vm(vm);
                sight.covers(vm.as_ref().map(|vm| vm.pool), vm.iter().flat_map(|vm| &*vm.tags))
            }
        };
        if !visible {
            return None;
        }
        let newest = self.metering.series.latest(entity).map(|(_, values)| values).unwrap_or_default();
        let newest =
            newest.into_iter().find(|(metric, _)| Some(*metric) == record.metric).map(|(_, value)| value);
        Some(Alarm {
            rule: Some(rule),
            message: record.message,
            rule_name: record.rule_name,
            severity: record.severity,
            of: entity.kind().into(),
            id: match entity {
                Entity::Host(host) => host.to_string(),
                Entity::Vm(vm) | Entity::Disk(vm, _) | Entity::Nic(vm, _) => vm.to_string(),
            },
            name: record.name,
            metric: record.metric,
            value: newest.or(record.value),
            threshold: Some(record.threshold),
            since: record.since,
            silenced: false,
        })
    }
}

impl App {
    /// As the caller may see it, if at all.
    fn backup_alarm(&self, sight: &Sight, (vm, rule_name): About, alarm: BackupAlarm) -> Option<Alarm> {
        let known = self.views.vm(vm).filter(|known| sight.covers(Some(known.pool), &*known.tags))?;
        Some(Alarm {
            rule: None,
            rule_name: rule_name.to_owned(),
            severity: alarm.severity,
            of: AlarmOf::Vm,
            id: vm.to_string(),
            name: known.name.to_string(),
            metric: None,
            value: None,
            threshold: None,
            message: Some(alarm.message),
            since: alarm.since,
            silenced: false,
        })
    }
}

/// Silenced where its host is; there is no rule that could be.
fn ha_to_api(alarm: HaAlarm, silences: &[AlarmSilenceRecord]) -> Alarm {
    let silenced = is_silenced(silences, None, &alarm.subject());
    let HaAlarm { wrong, since } = alarm;
    Alarm {
        rule: None,
        rule_name: wrong.trouble.rule().to_owned(),
        severity: wrong.trouble.severity(),
        of: AlarmOf::Host,
        id: wrong.host.to_string(),
        name: wrong.name,
        metric: None,
        value: None,
        threshold: None,
        message: Some(wrong.message),
        since,
        silenced,
    }
}

fn own_to_api(own: OwnAlarm) -> Alarm {
    Alarm {
        rule: None,
        rule_name: OwnAlarm::RULE.to_owned(),
        severity: Severity::Error,
        of: AlarmOf::Orchestrator,
        id: OwnAlarm::SUBJECT.to_owned(),
        name: OwnAlarm::SUBJECT.to_owned(),
        metric: None,
        value: None,
        threshold: None,
        message: Some(own.message),
        since: own.since,
        silenced: false,
    }
}

#[async_trait]
impl AlarmRuleApi for App {
    async fn list(&self, _: &Call, _: Empty) -> Result<Vec<AlarmRule>, ApiError> {
        let (rules, _) = self.db.alarm_rules.all().await.map_err(|e| store_error(&e))?;
        let mut rules: Vec<AlarmRule> =
            rules.into_iter().map(|record| rule_to_api(record.key, record.value)).collect();
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rules)
    }

    async fn get(&self, _: &Call, request: AlarmRuleRef) -> Result<AlarmRule, ApiError> {
        let found = self.find_alarm_rule(&request.rule).await?;
        Ok(rule_to_api(found.key, found.value))
    }

    async fn create(&self, _: &Call, request: CreateAlarmRule) -> Result<AlarmRule, ApiError> {
        let record = AlarmRuleRecord {
            name: request.name,
            enabled: true,
            of: request.of,
            filter: request.filter,
            metric: request.metric,
            when: request.when,
            threshold: request.threshold,
            clear: request.clear.unwrap_or(request.threshold),
            for_s: request.for_s,
            severity: request.severity,
            mail_to: request.mail_to,
            webhook: request.webhook,
            syslog: request.syslog,
        };
        check(&record)?;
        let (rules, _) = self.db.alarm_rules.all().await.map_err(|e| store_error(&e))?;
        if rules.iter().any(|rule| rule.value.name == record.name) {
            let text = format!("there is an alarm rule named {:?} already", record.name);
            return Err(ApiError::new(Reason::Conflict, text));
        }
        if rules.len() >= MOST_RULES {
            return Err(ApiError::new(Reason::WrongState, "there are 200 alarm rules; delete one first"));
        }
        let id = AlarmRuleId::new();
        self.db.alarm_rules.insert(&id, &record).await.map_err(|e| store_error(&e))?;
        self.metering.alarms.changed();
        Ok(rule_to_api(id, record))
    }

    async fn update(&self, _: &Call, request: UpdateAlarmRule) -> Result<AlarmRule, ApiError> {
        let found = self.find_alarm_rule(&request.rule).await?;
        let mut record = found.value.clone();
        // A threshold that moves takes the place where the alarm clears along, where that was the same.
        if let (Some(threshold), None) = (request.threshold, request.clear)
            && record.clear == record.threshold
        {
            record.clear = threshold;
        }
        macro_rules! take {
            ($($field:ident),*) => { $(if let Some(value) = request.$field { record.$field = value; })* };
        }
        take!(enabled, filter, threshold, clear, for_s, severity, mail_to, webhook, syslog);
        check(&record)?;
        self.db.alarm_rules.update(&found, &record).await.map_err(|e| store_error(&e))?;
        self.metering.alarms.changed();
        Ok(rule_to_api(found.key, record))
    }

    async fn delete(&self, _: &Call, request: AlarmRuleRef) -> Result<Empty, ApiError> {
        let found = self.find_alarm_rule(&request.rule).await?;
        self.db.alarm_rules.delete(&found).await.map_err(|e| store_error(&e))?;
        self.metering.alarms.changed();
        Ok(Empty {})
    }
}

impl App {
    /// A silence of one object is for its admins; one of a whole rule, for those of everything.
    fn administers_silence(&self, call: &Call, subject: Option<&str>) -> bool {
        let sight = call.caller.sight(Permission::Administer);
        let covered = subject.and_then(|subject| self.covers_subject(&sight, subject));
        sight == Sight::All || covered == Some(true)
    }
}

#[async_trait]
impl AlarmApi for App {
    async fn list(&self, call: &Call, request: ListRequest) -> Result<Page<Alarm>, ApiError> {
        let sight = call.caller.sight(Permission::View);
        let (alarms, _) = self.db.alarms.all().await.map_err(|e| store_error(&e))?;
        let (silences, _) = self.db.alarm_silences.all().await.map_err(|e| store_error(&e))?;
        let of_backups = backups::all(self).await.map_err(|e| store_error(&e))?;
        let silences: Vec<AlarmSilenceRecord> = silences.into_iter().map(|record| record.value).collect();
        let shown = alarms.into_iter().filter_map(|record| {
            let (rule, subject) = record.key;
            let silenced = is_silenced(&silences, Some(rule), &subject);
            let alarm = self.alarm(&sight, (rule, &subject), record.value)?;
            Some(Alarm { silenced, ..alarm })
        });
        let own = self.metering.alarms.own().filter(|_| sight == Sight::All).map(own_to_api);
        let of_backups = of_backups.into_iter().filter_map(|(about, alarm)| {
            let silenced = is_silenced(&silences, None, &format!("vm/{}", about.0));
            Some(Alarm { silenced, ..self.backup_alarm(&sight, about, alarm)? })
        });
        let ha = self.metering.alarms.ha().into_iter();
        let ha = ha.filter(|alarm| sight.covers(Some(alarm.wrong.pool), []));
        let ha = ha.map(|alarm| ha_to_api(alarm, &silences));
        let rows = shown.chain(own).chain(ha).chain(of_backups).map(AlarmRow).collect();
        Ok(filtered(rows, &request)?.map(|AlarmRow(alarm)| alarm))
    }

    async fn silence(&self, call: &Call, request: SilenceAlarms) -> Result<AlarmSilence, ApiError> {
        let rule = match &request.rule {
            Some(rule) => Some(self.find_alarm_rule(rule).await?.key),
            None => None,
        };
        let subject = match (&request.object, request.of) {
            (None, _) => None,
            (Some(vm), Measured::Vm) => {
                Some(Entity::Vm(self.find_vm(call, vm, Permission::View).await?.key).to_string())
            }
            (Some(host), Measured::Host) => {
                Some(Entity::Host(self.find_host(call, host).await?.key).to_string())
            }
        };
        if rule.is_none() && subject.is_none() {
            return Err(ApiError::invalid("rule", "say of which rule or of what object"));
        }
        if !self.administers_silence(call, subject.as_deref()) {
            let message = format_args!(
                "{} may silence what is about their own VMs and hosts: name one of them (object)",
                call.caller.name
            );
            return Err(ApiError::new(Reason::Forbidden, message));
        }
        if !(1..=LONGEST_SILENCE).contains(&request.seconds) {
            return Err(ApiError::invalid("seconds", "give a second to 30 days"));
        }
        if request.comment.chars().count() > LONGEST_COMMENT {
            return Err(ApiError::invalid("comment", "give at most 500 characters"));
        }
        let record = AlarmSilenceRecord {
            rule,
            subject,
            comment: request.comment,
            until: OffsetDateTime::now_utc() + Duration::from_secs(request.seconds.into()),
            user: call.caller.name.clone(),
        };
        let id = AlarmSilenceId::new();
        self.db.alarm_silences.insert(&id, &record).await.map_err(|e| store_error(&e))?;
        Ok(silence_to_api(id, record))
    }

    async fn silences(&self, call: &Call, _: Empty) -> Result<Vec<AlarmSilence>, ApiError> {
        let (silences, _) = self.db.alarm_silences.all().await.map_err(|e| store_error(&e))?;
        let now = OffsetDateTime::now_utc();
        let running = silences.into_iter().filter(|record| {
            record.value.until > now && self.administers_silence(call, record.value.subject.as_deref())
        });
        Ok(running.map(|record| silence_to_api(record.key, record.value)).collect())
    }

    async fn unsilence(&self, call: &Call, request: AlarmSilenceRef) -> Result<Empty, ApiError> {
        let found = self.db.alarm_silences.get(&request.silence).await.map_err(|e| store_error(&e))?;
        // One that is not shown is not there.
        let found = found.filter(|record| self.administers_silence(call, record.value.subject.as_deref()));
        let found = found.ok_or_else(|| ApiError::not_found("silence", &request.silence.to_string()))?;
        let delete = self.db.alarm_silences.delete_in(Transaction::new(), &found.key);
        self.db.store.commit(delete).await.map_err(|e| store_error(&e))?;
        self.metering.alarms.changed();
        Ok(Empty {})
    }
}

#[cfg(test)]
mod tests {
    use xenith_orchestrator_types::metrics::Metric;

    use super::*;

    fn rule() -> AlarmRuleRecord {
        AlarmRuleRecord {
            name: "busy".into(),
            enabled: true,
            of: Measured::Vm,
            filter: "tag:prod".into(),
            metric: Metric::Cpu,
            when: AlarmWhen::Above,
            threshold: 90.0,
            clear: 80.0,
            for_s: 300,
            severity: Severity::Warning,
            mail_to: vec!["ops@example.org".into()],
            webhook: "https://example.org/hook".into(),
            syslog: "udp://[::1]:514".into(),
        }
    }

    #[test]
    fn rules_that_can_be() {
        check(&rule()).unwrap();
        let below = AlarmRuleRecord { when: AlarmWhen::Below, threshold: 5.0, clear: 10.0, ..rule() };
        check(&below).unwrap();
        let spoil = |spoil: fn(&mut AlarmRuleRecord)| {
            let mut rule = rule();
            spoil(&mut rule);
            check(&rule).unwrap_err().data.field.unwrap()
        };
        for (field, named) in [
            (spoil(|rule| rule.name.clear()), "name"),
            (spoil(|rule| rule.filter = "colour:red".into()), "filter"),
            (spoil(|rule| rule.metric = Metric::Load), "metric"),
            (spoil(|rule| rule.threshold = f64::NAN), "threshold"),
            (spoil(|rule| rule.clear = 91.0), "clear"),
            (spoil(|rule| rule.when = AlarmWhen::Below), "clear"),
            (spoil(|rule| rule.for_s = 86_401), "for_s"),
            (spoil(|rule| rule.mail_to = vec!["nobody".into()]), "mail_to"),
            (spoil(|rule| rule.webhook = "ftp://example.org".into()), "webhook"),
            (spoil(|rule| rule.syslog = "log.example.org:514".into()), "syslog"),
            (spoil(|rule| rule.syslog = "udp://log.example.org".into()), "syslog"),
        ] {
            assert_eq!(field, named);
        }
    }
}
