//! Alarms: rules about metrics, what they raised, and silence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{AlarmRuleId, AlarmSilenceId};

use crate::Reference;
use crate::event::Severity;
use crate::metrics::{Measured, Metric};

/// On which side of the threshold it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlarmWhen {
    #[default]
    Above,
    Below,
}

impl AlarmWhen {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::Below => "below",
        }
    }
}

/// What is watched, and who is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmRule {
    pub id: AlarmRuleId,
    pub name: String,
    pub enabled: bool,
    pub of: Measured,
    /// Which of them, in the filter language; empty: all. Read again as they change.
    pub filter: String,
    pub metric: Metric,
    pub when: AlarmWhen,
    /// In the metric's unit.
    pub threshold: f64,
    /// Where it must be back for the alarm to clear: the threshold, or on the good side of it.
    pub clear: f64,
    /// For how many seconds every value must be beyond the threshold.
    pub for_s: u32,
    pub severity: Severity,
    /// Who is told by e-mail; nobody where it is empty.
    pub mail_to: Vec<String>,
    /// What is told by HTTP; nothing where it is empty.
    pub webhook: String,
    /// `udp://host:514` of a syslog server; none where it is empty.
    pub syslog: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAlarmRule {
    pub name: String,
    #[serde(default)]
    pub of: Measured,
    #[serde(default)]
    pub filter: String,
    pub metric: Metric,
    #[serde(default)]
    pub when: AlarmWhen,
    pub threshold: f64,
    /// Left out: the threshold.
    #[serde(default)]
    pub clear: Option<f64>,
    /// Up to a day.
    #[serde(default)]
    pub for_s: u32,
    #[serde(default = "warning")]
    pub severity: Severity,
    #[serde(default)]
    pub mail_to: Vec<String>,
    #[serde(default)]
    pub webhook: String,
    #[serde(default)]
    pub syslog: String,
}

const fn warning() -> Severity {
    Severity::Warning
}

/// What is left out stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateAlarmRule {
    pub rule: Reference,
    pub enabled: Option<bool>,
    pub filter: Option<String>,
    pub threshold: Option<f64>,
    pub clear: Option<f64>,
    pub for_s: Option<u32>,
    pub severity: Option<Severity>,
    pub mail_to: Option<Vec<String>>,
    pub webhook: Option<String>,
    pub syslog: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmRuleRef {
    pub rule: Reference,
}

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlarmOf {
    Vm,
    Host,
    /// The orchestrator itself, by no rule: `store-read-only`, while it cannot write (its disk is full).
    Orchestrator,
}

impl AlarmOf {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Host => "host",
            Self::Orchestrator => "orchestrator",
        }
    }
}

impl From<Measured> for AlarmOf {
    fn from(of: Measured) -> Self {
        match of {
            Measured::Vm => Self::Vm,
            Measured::Host => Self::Host,
        }
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alarm {
    /// `null` for one that is by no rule: the orchestrator's own, and those about backups (`backup-overdue`,
    /// `backup-unprotected`, `backup-odd-change`).
    pub rule: Option<AlarmRuleId>,
    pub rule_name: String,
    pub severity: Severity,
    pub of: AlarmOf,
    /// Of the VM or host; `orchestrator`.
    pub id: String,
    pub name: String,
    /// `null`, as value and threshold, for what is not measured.
    pub metric: Option<Metric>,
    /// The newest; as it was raised, where nothing newer is known.
    pub value: Option<f64>,
    pub threshold: Option<f64>,
    /// What is wrong, in words, where it is not measured.
    pub message: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: OffsetDateTime,
    /// Nobody is told of it while that is so.
    pub silenced: bool,
}

/// Which alarms nobody is told of, and until when. They are raised and listed all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmSilence {
    pub id: AlarmSilenceId,
    /// Of this rule; of all, where there is none.
    pub rule: Option<AlarmRuleId>,
    /// `vm/…` or `host/…`; of all, where there is none.
    pub subject: Option<String>,
    pub comment: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub until: OffsetDateTime,
    /// Who wanted it.
    pub user: String,
}

/// At least one of `rule` and `object`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SilenceAlarms {
    pub rule: Option<Reference>,
    /// What `object` is.
    pub of: Measured,
    pub object: Option<Reference>,
    /// For how long, from now; up to 30 days.
    pub seconds: u32,
    pub comment: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlarmSilenceRef {
    pub silence: AlarmSilenceId,
}
