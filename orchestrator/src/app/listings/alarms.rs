//! What is wrong now.

use xenith_orchestrator_inventory::listing::{Cells, Listing, YES_NO};
use xenith_orchestrator_inventory::{ColumnKind, Schema, Unit};
use xenith_orchestrator_types::alarm::Alarm;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::metrics::Metric;

use super::{of, text, whole};

pub struct AlarmRow(pub Alarm);

pub static ALARM: Schema = Schema {
    noun: "alarm",
    default_sort: "-since",
    columns: &[
        text("name", "a part of the name of what it is about"),
        of("of", ColumnKind::Choice(&["vm", "host", "orchestrator"]), "what it is about"),
        of("severity", ColumnKind::Choice(&["info", "warning", "error"]), "how bad it is"),
        whole("metric", "the metric, such as cpu; none: it is not measured"),
        whole("rule", "the name of the rule"),
        of("silenced", ColumnKind::Choice(YES_NO), "whether nobody is told of it"),
        of("since", ColumnKind::Number(Unit::Time), "when it began"),
        of("age", ColumnKind::Age("since"), "time since then, such as <1h"),
        text("message", "a part of what is wrong, where it is not measured"),
    ],
};

impl Listing for AlarmRow {
    const SCHEMA: &'static Schema = &ALARM;

    /// Of what makes it unique: the rule and what it is about.
    fn id(&self) -> [u8; 16] {
        let Alarm { rule, rule_name, of, id, .. } = &self.0;
        let mut hasher = blake3::Hasher::new();
        match rule {
            Some(rule) => hasher.update(rule.as_bytes()),
            None => hasher.update(rule_name.as_bytes()),
        };
        hasher.update(of.as_str().as_bytes()).update(id.as_bytes());
        let (mut id, hash) = ([0; 16], hasher.finalize());
        id.copy_from_slice(&hash.as_bytes()[..16]);
        id
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Alarm { name, of, severity, metric, rule_name, silenced, since, message, .. } = &self.0;
        let severity = match severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        cells.text(name).text(of.as_str()).text(severity).text(metric.map_or("", Metric::as_str));
        cells.text(rule_name).yes_no((*silenced).into()).time(Some(*since));
        cells.text(message.as_deref().unwrap_or_default());
    }
}
