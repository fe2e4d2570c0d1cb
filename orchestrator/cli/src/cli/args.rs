//! What many commands take.

use clap::{Args, ValueEnum};
use humantime::Duration;
use xenith_common_pki::Fingerprint;
use xenith_orchestrator_client::Endpoint;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The orchestrator to talk to: a name of `xenith context list`.
    #[arg(long, global = true, value_name = "NAME", env = "XENITH_CONTEXT", hide_env_values = true)]
    pub context: Option<String>,
    /// Talk to this orchestrator instead, whatever the contexts say.
    #[arg(long = "url", global = true, value_name = "URL", env = "XENITH_URL", hide_env_values = true)]
    pub endpoint: Option<Endpoint>,
    /// SHA-256 of the certificate, or authority, that the orchestrator must have.
    #[arg(
        long = "fingerprint",
        global = true,
        value_name = "SHA256",
        env = "XENITH_FINGERPRINT",
        hide_env_values = true
    )]
    pub pin: Option<Fingerprint>,
    /// How to print: `table` for people; the others for programs.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    /// Colours; `auto` is only on a terminal, and not where NO_COLOR is set.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: WhenColor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns and sentences.
    Table,
    /// What the API answers, as JSON.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names only, one a line.
    Name,
    /// Ids only, one a line.
    Id,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhenColor {
    Auto,
    Always,
    Never,
}

/// Which columns a table has.
#[derive(Debug, Clone, Default, Args)]
pub struct Columns {
    /// The columns, in this order; `all` for all that there are.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub columns: Vec<String>,
}

/// A list that the orchestrator filters, sorts and pages.
#[derive(Debug, Clone, Args)]
pub struct Listing {
    /// Only what this filter lets through: power:running host:xen1 tag:prod memory:>8GiB name:/^db/
    #[arg(short, long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// Sort by this column; -COLUMN for descending.
    #[arg(
        short,
        long,
        value_name = "COLUMN",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub sort: String,
    #[command(flatten)]
    pub limited: Limited,
    #[command(flatten)]
    pub columns: Columns,
}

/// How much of a list.
#[derive(Debug, Clone, Args)]
pub struct Limited {
    /// At most this many.
    #[arg(long, value_name = "N", default_value = "100", conflicts_with = "all")]
    pub limit: u32,
    /// All of them, however many.
    #[arg(long)]
    pub all: bool,
}

/// A mutation.
#[derive(Debug, Clone, Default, Args)]
pub struct Keyed {
    /// The same key again within a day gets the first answer and changes nothing.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// A mutation that begins a task.
#[derive(Debug, Clone, Args)]
pub struct Tasked {
    /// Wait for the task and fail when it fails. The default on a terminal.
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
    /// Do not wait; print the task's id. The default where no person watches, and with -o other than table.
    #[arg(long)]
    pub no_wait: bool,
    /// Stop waiting after this long (90s, 5m); the task runs on.
    #[arg(long, value_name = "DURATION", conflicts_with = "no_wait")]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub keyed: Keyed,
}

/// A mutation that can be planned.
#[derive(Debug, Clone, Args)]
pub struct Planned {
    /// Check everything and show what would be done; nothing changes.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub tasked: Tasked,
}

/// Something that cannot be undone.
#[derive(Debug, Clone, Copy, Args)]
pub struct Confirm {
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}
