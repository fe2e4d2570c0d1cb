//! Points in time of VMs.

use clap::Subcommand;
use xenith_hypervisor_agent_types::{Quiesce, VmName};

use super::{Confirm, Listing, Planned, Tasked};

#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// List snapshots, as a tree unless another order is asked for: -f "age:>30d".
    List {
        /// Of this VM only.
        #[arg(long)]
        vm: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one snapshot.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// Of this VM, where several have a snapshot of that name.
        #[arg(long)]
        vm: Option<String>,
    },
    /// Keep the contents of a VM's disks at one instant; a running VM stands for under a second. With --memory, its memory too.
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// Of this VM.
        #[arg(long)]
        vm: String,
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// Whether a running guest holds its filesystems still for it: never; try, and take it without where that cannot be
        /// had; demand, and fail there.
        #[arg(long, value_name = "never|try|demand", default_value = "try")]
        quiesce: Quiesce,
        /// Keep the memory of a running VM too, so that it can go on from this instant. It runs while most of that is
        /// written, and stands for the rest; --dry-run says more. Its guest is not quiesced then.
        #[arg(long)]
        memory: bool,
        #[command(flatten)]
        planned: Planned,
    },
    /// Give a stopped VM's disks the contents of a snapshot; what they hold now is lost. With memory, it runs from that
    /// instant.
    Revert {
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// Of this VM, where several have a snapshot of that name.
        #[arg(long)]
        vm: Option<String>,
        /// Leave the memory of the snapshot out, and the VM off.
        #[arg(long)]
        disks_only: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        planned: Planned,
    },
    /// Delete a snapshot; others stay as they are.
    Delete {
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// Of this VM, where several have a snapshot of that name.
        #[arg(long)]
        vm: Option<String>,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Make a new VM from a snapshot, with new MAC addresses.
    Clone {
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
        /// Of the new VM.
        #[arg(value_name = "NAME")]
        name: VmName,
        /// Of this VM, where several have a snapshot of that name.
        #[arg(long)]
        vm: Option<String>,
        /// Start it when it is made.
        #[arg(long)]
        start: bool,
        #[command(flatten)]
        planned: Planned,
    },
}
