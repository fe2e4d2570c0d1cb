//! VMs that stand by for others.

use clap::{Args, Subcommand};
use humantime::Duration;
use xenith_hypervisor_agent_types::VmName;

use super::{Confirm, Keyed, Listing, Planned, Tasked};

#[derive(Debug, Subcommand)]
pub enum StandbyCommand {
    /// List standbys: -f status:incomplete.
    List(Listing),
    /// Show one standby.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "STANDBY")]
        standby: String,
    },
    /// Make a VM elsewhere that stands by for another, and follows its backups.
    Create(CreateStandbyArgs),
    /// Bring a standby to the newest backup. After a fail-over, what the original wrote since its last backup is gone then.
    Follow {
        #[arg(value_name = "STANDBY")]
        standby: String,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Start a standby in its VM's place, with what that was when it was backed up last.
    FailOver {
        #[arg(value_name = "STANDBY")]
        standby: String,
        /// Also while the VM runs, or nobody knows whether it does.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        planned: Planned,
    },
    /// Shut a VM down, back it up, bring its standby to that and start it: the way back, or a planned move.
    FailBack {
        #[arg(value_name = "STANDBY")]
        standby: String,
        /// How long the guest may take to shut down; 2m without it.
        #[arg(long, value_name = "DURATION")]
        deadline: Option<Duration>,
        /// Power it off when it does not.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Make a standby a VM like any other.
    Release {
        #[arg(value_name = "STANDBY")]
        standby: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Delete a standby and its disks.
    Delete {
        #[arg(value_name = "STANDBY")]
        standby: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        tasked: Tasked,
    },
}

#[derive(Debug, Args)]
pub struct CreateStandbyArgs {
    /// The VM to stand by for.
    #[arg(value_name = "VM")]
    pub vm: String,
    /// Where to, in any pool.
    #[arg(long)]
    pub host: String,
    /// Whose backups of it are followed.
    #[arg(long)]
    pub repository: String,
    /// Without one, the VM's name with -standby.
    #[arg(long)]
    pub name: Option<VmName>,
    /// One that the host has; without one, its local SR.
    #[arg(long)]
    pub sr: Option<String>,
    /// The standby's network for one of the VM's, as VM-NETWORK=NETWORK; nothing after the = leaves the card out. May be
    /// repeated.
    #[arg(long = "network", value_name = "FROM=TO", value_parser = pair)]
    pub networks: Vec<(String, String)>,
    /// A fail-over takes the VM's MAC addresses along.
    #[arg(long)]
    pub keep_macs: bool,
    #[command(flatten)]
    pub tasked: Tasked,
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (from, to) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form FROM=TO"))?;
    Ok((from.to_owned(), to.to_owned()))
}
