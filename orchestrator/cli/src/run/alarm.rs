//! Alarms: rules, what they raised, and silence.

use xenith_orchestrator_api::{alarm, alarm_rule};
use xenith_orchestrator_types::Empty;
use xenith_orchestrator_types::alarm::{
    Alarm, AlarmRule, AlarmRuleRef, AlarmSilence, AlarmSilenceRef, AlarmWhen, CreateAlarmRule, SilenceAlarms,
    UpdateAlarmRule,
};
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::metrics::Metric;

use crate::app::App;
use crate::ask;
use crate::cli::{
    AlarmCommand, AlarmRuleCommand, CreateRuleArgs, OnOff, Routes, SeverityFlag, SilenceArgs, UpdateRuleArgs,
};
use crate::error::CliError;
use crate::run::event::severity as severity_cell;
use crate::run::metrics::measured;
use crate::run::{list, print, said};
use crate::table::{Cell, Column, Row, Sheet};
use crate::words;

impl Row for Alarm {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("severity", |alarm, _| severity_cell(alarm.severity)),
            Column::new("name", |alarm, _| Cell::new(&alarm.name)),
            Column::new("metric", |alarm, _| Cell::maybe(alarm.metric.map(Metric::as_str))),
            Column::new("value", |alarm, _| Cell::maybe(shown(alarm, alarm.value))),
            Column::new("threshold", |alarm, _| Cell::maybe(shown(alarm, alarm.threshold))),
            Column::new("since", |alarm, _| Cell::new(words::ago(alarm.since))),
            Column::new("rule", |alarm, _| Cell::new(&alarm.rule_name)),
            Column::new("silenced", |alarm, _| Cell::maybe(alarm.silenced.then_some("yes"))),
            Column::new("message", |alarm, _| Cell::maybe(alarm.message.as_ref())),
            Column::on_request("of", |alarm, _| Cell::new(alarm.of.as_str())),
            Column::on_request("id", |alarm, _| Cell::new(&alarm.id)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

fn shown(alarm: &Alarm, value: Option<f64>) -> Option<String> {
    Some(alarm.metric?.unit().show(value?))
}

fn seconds(seconds: u32) -> String {
    words::roughly(std::time::Duration::from_secs(seconds.into()))
}

fn limit(rule: &AlarmRule, value: f64) -> String {
    rule.metric.unit().show(value)
}

impl Row for AlarmRule {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |rule, _| Cell::new(&rule.name)),
            Column::new("severity", |rule, _| severity_cell(rule.severity)),
            Column::new("of", |rule, _| Cell::new(rule.of.as_str())),
            Column::new("filter", |rule, _| {
                Cell::maybe(Some(&rule.filter).filter(|filter| !filter.is_empty()))
            }),
            Column::new("metric", |rule, _| Cell::new(rule.metric.as_str())),
            Column::new("threshold", |rule, _| {
                Cell::new(format!("{} {}", rule.when.as_str(), limit(rule, rule.threshold)))
            }),
            Column::new("for", |rule, _| Cell::new(seconds(rule.for_s))),
            Column::new("enabled", |rule, _| Cell::new(if rule.enabled { "yes" } else { "no" })),
            Column::on_request("id", |rule, _| Cell::new(rule.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for AlarmSilence {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("id", |silence, _| Cell::new(silence.id.to_string())),
            Column::new("rule", |silence, _| Cell::maybe(silence.rule.map(|rule| rule.to_string()))),
            Column::new("subject", |silence, _| Cell::maybe(silence.subject.as_ref())),
            Column::new("until", |silence, _| Cell::new(words::at(silence.until))),
            Column::new("user", |silence, _| Cell::new(&silence.user)),
            Column::new("comment", |silence, _| Cell::new(&silence.comment)),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn sheet(rule: &AlarmRule) -> Sheet {
    Sheet::new()
        .line("id", rule.id.to_string())
        .line("name", &rule.name)
        .line("enabled", if rule.enabled { "yes" } else { "no" })
        .line("of", rule.of.as_str())
        .line("filter", if rule.filter.is_empty() { "all" } else { &rule.filter })
        .line("metric", rule.metric.as_str())
        .line("threshold", format!("{} {}", rule.when.as_str(), limit(rule, rule.threshold)))
        .line("clear", limit(rule, rule.clear))
        .line("for", seconds(rule.for_s))
        .cell("severity", severity_cell(rule.severity))
        .each("mail_to", rule.mail_to.iter().cloned())
        .maybe("webhook", Some(&rule.webhook))
        .maybe("syslog", Some(&rule.syslog))
}

const fn severity(flag: SeverityFlag) -> Severity {
    match flag {
        SeverityFlag::Info => Severity::Info,
        SeverityFlag::Warning => Severity::Warning,
        SeverityFlag::Error => Severity::Error,
    }
}

/// `""` alone is nobody.
fn addresses(routes: &Routes) -> Vec<String> {
    routes.mail_to.iter().filter(|address| !address.is_empty()).cloned().collect()
}

fn duration(duration: humantime::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn created(arguments: CreateRuleArgs) -> CreateAlarmRule {
    let mail_to = addresses(&arguments.routes);
    let (when, threshold) = match (arguments.above, arguments.below) {
        (None, Some(below)) => (AlarmWhen::Below, below),
        (above, _) => (AlarmWhen::Above, above.unwrap_or_default()),
    };
    CreateAlarmRule {
        name: arguments.name,
        of: measured(arguments.of),
        filter: arguments.filter,
        metric: arguments.metric,
        when,
        threshold,
        clear: arguments.clear,
        for_s: arguments.duration.map_or(0, duration),
        severity: severity(arguments.severity),
        mail_to,
        webhook: arguments.routes.webhook.unwrap_or_default(),
        syslog: arguments.routes.syslog.unwrap_or_default(),
    }
}

fn updated(arguments: UpdateRuleArgs) -> UpdateAlarmRule {
    let given = !arguments.routes.mail_to.is_empty();
    let mail_to = given.then(|| addresses(&arguments.routes));
    UpdateAlarmRule {
        rule: arguments.rule,
        enabled: arguments.enabled.map(|enabled| enabled == OnOff::On),
        filter: arguments.filter,
        threshold: arguments.threshold,
        clear: arguments.clear,
        for_s: arguments.duration.map(duration),
        severity: arguments.severity.map(severity),
        mail_to,
        webhook: arguments.routes.webhook,
        syslog: arguments.routes.syslog,
    }
}

async fn silence(app: &App, arguments: SilenceArgs) -> Result<(), CliError> {
    let keyed = arguments.keyed.clone();
    let request = SilenceAlarms {
        rule: arguments.rule,
        of: measured(arguments.of),
        object: arguments.object,
        seconds: duration(arguments.duration),
        comment: arguments.comment,
    };
    let made = app.change::<alarm::Silence>(&request, &keyed).await?;
    let sentence = format!(
        "Nobody is told until {}; end it with: xenith alarm unsilence {}",
        words::at(made.until),
        made.id
    );
    app.out.result(&made, &made.id.to_string(), &sentence)
}

pub async fn run(app: &App, command: AlarmCommand) -> Result<(), CliError> {
    match command {
        AlarmCommand::List(listing) => list::<alarm::List, Alarm>(app, &listing).await,
        AlarmCommand::Silences(columns) => {
            print(app, &app.call::<alarm::Silences>(&Empty {}).await?, &columns).await
        }
        AlarmCommand::Silence(arguments) => silence(app, arguments).await,
        AlarmCommand::Unsilence { silence, keyed } => {
            app.change::<alarm::Unsilence>(&AlarmSilenceRef { silence }, &keyed).await?;
            said(app, "The silence is over");
            Ok(())
        }
    }
}

pub async fn rule(app: &App, command: AlarmRuleCommand) -> Result<(), CliError> {
    let shown = match command {
        AlarmRuleCommand::List(columns) => {
            return print(app, &app.call::<alarm_rule::List>(&Empty {}).await?, &columns).await;
        }
        AlarmRuleCommand::Get { rule } => app.call::<alarm_rule::Get>(&AlarmRuleRef { rule }).await?,
        AlarmRuleCommand::Create(arguments) => {
            let keyed = arguments.keyed.clone();
            app.change::<alarm_rule::Create>(&created(*arguments), &keyed).await?
        }
        AlarmRuleCommand::Update(arguments) => {
            let keyed = arguments.keyed.clone();
            app.change::<alarm_rule::Update>(&updated(*arguments), &keyed).await?
        }
        AlarmRuleCommand::Delete { rule, confirm, keyed } => {
            ask::confirm(&format!("Delete the alarm rule {rule}? Its alarms end."), confirm)?;
            app.change::<alarm_rule::Delete>(&AlarmRuleRef { rule: rule.clone() }, &keyed).await?;
            said(app, &format!("The alarm rule {rule} is gone"));
            return Ok(());
        }
    };
    app.out.object(&shown, || sheet(&shown))
}
