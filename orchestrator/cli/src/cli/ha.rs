//! High availability.

use clap::{Args, Subcommand, ValueEnum};

use super::{Confirm, Keyed};

#[derive(Debug, Subcommand)]
pub enum HaCommand {
    /// Show how high availability is in a pool, host by host.
    Show {
        #[arg(value_name = "POOL")]
        pool: String,
    },
    /// Turn it on: hosts keep leases on a shared SR, and reset themselves when they are cut off.
    Enable(EnableHaArgs),
    /// Turn it off: nothing is restarted any more, and the hosts let go of their watchdogs.
    Disable {
        #[arg(value_name = "POOL")]
        pool: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Say when a VM is restarted after its host has died.
    SetPriority {
        #[arg(value_name = "VM")]
        vm: String,
        /// When it is restarted after its host has failed.
        #[arg(value_enum)]
        priority: PriorityFlag,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct EnableHaArgs {
    #[arg(value_name = "POOL")]
    pub pool: String,
    /// A shared SR that every host of the pool has attached.
    #[arg(long, value_name = "SR")]
    pub sr: String,
    /// A host that has neither the orchestrator nor its lease for so long is reset; 60 where nothing is given.
    #[arg(long, value_name = "SECONDS", default_value = "0", hide_default_value = true)]
    pub lease: u16,
    /// When its watchdog bites; 10 where nothing is given.
    #[arg(long, value_name = "SECONDS", default_value = "0", hide_default_value = true)]
    pub watchdog: u16,
    /// How often contact and lease are renewed; 5 where nothing is given.
    #[arg(long, value_name = "SECONDS", default_value = "0", hide_default_value = true)]
    pub beat: u16,
    #[command(flatten)]
    pub keyed: Keyed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PriorityFlag {
    /// Before all others.
    High,
    Medium,
    /// After all others.
    Low,
    /// Not: it waits for its host.
    Off,
}
