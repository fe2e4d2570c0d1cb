//! Disks.

use clap::Subcommand;
use xenith_hypervisor_agent_types::VdiSize;

use super::{Confirm, Listing, Tasked};

#[derive(Debug, Subcommand)]
pub enum VdiCommand {
    /// List VDIs.
    List {
        /// Follow the list until Ctrl-C.
        #[arg(short, long, conflicts_with_all = ["sort", "limit", "all"])]
        watch: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Create an empty VDI.
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// Such as 20GiB.
        #[arg(long)]
        size: VdiSize,
        /// In the local storage of this host.
        #[arg(long)]
        host: String,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Delete a VDI that no VM has.
    Delete {
        #[arg(value_name = "VDI")]
        vdi: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        tasked: Tasked,
    },
}
