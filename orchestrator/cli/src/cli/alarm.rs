//! Alarms.

use clap::{Args, Subcommand, ValueEnum};
use humantime::Duration;
use xenith_common_ids::AlarmSilenceId;
use xenith_orchestrator_types::metrics::Metric;

use super::{Columns, Confirm, Keyed, Listing, MeasuredFlag, OnOff};

#[derive(Debug, Subcommand)]
pub enum AlarmCommand {
    /// List what is wrong now.
    List(Listing),
    /// Tell nobody of some alarms for a while; they are raised and listed all the same.
    Silence(SilenceArgs),
    /// List the silences that run.
    Silences(Columns),
    /// End a silence.
    Unsilence {
        /// Its id.
        #[arg(value_name = "SILENCE")]
        silence: AlarmSilenceId,
        #[command(flatten)]
        keyed: Keyed,
    },
}

/// xenith alarm silence --rule busy --for 2h --comment "load test"
///
/// xenith alarm silence --object web-1 --for 1d
#[derive(Debug, Args)]
pub struct SilenceArgs {
    /// Those of this rule.
    #[arg(long, value_name = "RULE", required_unless_present = "object")]
    pub rule: Option<String>,
    /// Those of this VM or host.
    #[arg(long, value_name = "NAME")]
    pub object: Option<String>,
    #[arg(long, value_enum, default_value = "vm")]
    pub of: MeasuredFlag,
    /// For so long, from now; up to 30 days.
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Duration,
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub comment: String,
    #[command(flatten)]
    pub keyed: Keyed,
}

#[derive(Debug, Subcommand)]
pub enum AlarmRuleCommand {
    /// List the rules.
    List(Columns),
    /// Show one rule.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "RULE")]
        rule: String,
    },
    /// Make a rule.
    Create(Box<CreateRuleArgs>),
    /// Change a rule; what is not given stays.
    Update(Box<UpdateRuleArgs>),
    /// Delete a rule; its alarms end.
    Delete {
        #[arg(value_name = "RULE")]
        rule: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}

/// xenith alarm-rule create busy --metric cpu --above 90 --clear 80 --for 10m --filter tag:prod --mail-to ops@example.org
#[derive(Debug, Args)]
pub struct CreateRuleArgs {
    /// What is wrong then.
    #[arg(value_name = "NAME")]
    pub name: String,
    #[arg(long, value_enum, default_value = "vm")]
    pub of: MeasuredFlag,
    /// Which of them; without it, all: tag:prod power:running
    #[arg(short, long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// `xenith metrics list` shows them.
    #[arg(long, value_name = "METRIC")]
    pub metric: Metric,
    /// It is wrong above this, in the metric's unit.
    #[arg(long, value_name = "VALUE", required_unless_present = "below", conflicts_with = "below")]
    pub above: Option<f64>,
    /// It is wrong below this.
    #[arg(long, value_name = "VALUE")]
    pub below: Option<f64>,
    /// Where it must be back for the alarm to clear; without it, at the threshold.
    #[arg(long, value_name = "VALUE")]
    pub clear: Option<f64>,
    /// For so long every value must be beyond the threshold; without it, once.
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<Duration>,
    #[arg(long, value_enum, default_value = "warning")]
    pub severity: SeverityFlag,
    #[command(flatten)]
    pub routes: Routes,
    #[command(flatten)]
    pub keyed: Keyed,
}

#[derive(Debug, Args)]
pub struct UpdateRuleArgs {
    #[arg(value_name = "RULE")]
    pub rule: String,
    #[arg(long, value_enum, value_name = "ON|OFF")]
    pub enabled: Option<OnOff>,
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Option<String>,
    #[arg(long, value_name = "VALUE")]
    pub threshold: Option<f64>,
    #[arg(long, value_name = "VALUE")]
    pub clear: Option<f64>,
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<Duration>,
    #[arg(long, value_enum)]
    pub severity: Option<SeverityFlag>,
    #[command(flatten)]
    pub routes: Routes,
    #[command(flatten)]
    pub keyed: Keyed,
}

/// Who is told.
#[derive(Debug, Clone, Args)]
pub struct Routes {
    /// E-mail; more than once, "" for nobody.
    #[arg(long, value_name = "ADDRESS")]
    pub mail_to: Vec<String>,
    /// A URL that is sent JSON; "" for none.
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// A syslog server, such as udp://log.example.org:514; "" for none.
    #[arg(long, value_name = "ADDRESS")]
    pub syslog: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SeverityFlag {
    Info,
    Warning,
    Error,
}
