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
        /// An SR of the host, instead of its local one.
        #[arg(long)]
        sr: Option<String>,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Make a VDI from an image that a web server has: raw, ISO, qcow2, VHD, VHDX or VMDK.
    Import {
        #[arg(value_name = "NAME")]
        name: String,
        #[arg(value_name = "URL")]
        url: String,
        /// Of the file; checked where it is given.
        #[arg(long, value_name = "HEX", default_value = "", hide_default_value = true)]
        sha256: String,
        /// In the local storage of this host.
        #[arg(long)]
        host: String,
        /// An SR of the host, instead of its local one.
        #[arg(long)]
        sr: Option<String>,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Show one VDI.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "VDI")]
        vdi: String,
    },
    /// Make a VDI larger; a running guest sees it at once.
    Resize {
        #[arg(value_name = "VDI")]
        vdi: String,
        /// Such as 40GiB.
        #[arg(value_name = "SIZE")]
        size: VdiSize,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Make a new VDI with the contents of one that no running VM has.
    Clone {
        #[arg(value_name = "VDI")]
        vdi: String,
        /// Of the new VDI.
        #[arg(value_name = "NAME")]
        name: String,
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
