//! Tasks, events, filters, the audit log, the system.

use clap::{Args, Subcommand};
use humantime::Duration;
use xenith_common_ids::TaskId;

use super::{Confirm, Keyed, Listing};

#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// List tasks, newest first: -f status:parked, -f "user:anna age:<1d".
    List {
        /// Only those that work on this VM.
        #[arg(long)]
        vm: Option<String>,
        /// Only those that are not over.
        #[arg(long)]
        active: bool,
        /// Follow the tasks that pass the filter until Ctrl-C.
        #[arg(short, long, conflicts_with_all = ["vm", "sort", "limit", "all"])]
        watch: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one task and its steps.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "TASK")]
        task: TaskId,
    },
    /// Wait for a task and end as it ends.
    Wait {
        #[arg(value_name = "TASK")]
        task: TaskId,
        /// Stop waiting after this long (90s, 5m); the task runs on.
        #[arg(long, value_name = "DURATION")]
        timeout: Option<Duration>,
    },
    /// Ask a task to stop and undo what it did.
    Cancel {
        #[arg(value_name = "TASK")]
        task: TaskId,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Let a parked task try again.
    Retry {
        #[arg(value_name = "TASK")]
        task: TaskId,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Leave a parked task as it is.
    Abandon {
        #[arg(value_name = "TASK")]
        task: TaskId,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct EventListing {
    /// Print events as they happen, until Ctrl-C.
    #[arg(short, long, conflicts_with_all = ["sort", "limit", "all"])]
    pub watch: bool,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// List events, newest first: -f severity:error, -f "kind:host age:<1d".
    List(EventListing),
}

#[derive(Debug, Subcommand)]
pub enum FilterCommand {
    /// Tell what could be typed next in the filter of a list; without a filter, the columns that it knows.
    Complete {
        /// Whose list: vm, host, network and so on.
        #[arg(value_name = "NOUN")]
        noun: String,
        /// What was typed so far.
        #[arg(value_name = "FILTER", default_value = "", hide_default_value = true)]
        text: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List audit records, newest first (--sort sequence: oldest first): -f "user:anna method:vm. phase:failed".
    List(Listing),
    /// Read the whole chain and check every hash; fails when one does not fit.
    Verify,
}

#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Show version and identity; works without signing in.
    Info,
    /// Show how the installation is.
    Health,
}
