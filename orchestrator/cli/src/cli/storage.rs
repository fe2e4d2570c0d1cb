//! Disks.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use xenith_hypervisor_agent_types::VdiSize;

use super::{Confirm, FileArgs, Keyed, Listing, Planned, Tasked};

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
        /// Of the image, beginning with https:// or http://.
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
    /// Make a new VDI with the contents of one in any SR of any host; of a running VM, as they are now.
    Copy {
        #[arg(value_name = "VDI")]
        vdi: String,
        /// Of the new VDI.
        #[arg(value_name = "NAME")]
        name: String,
        /// Without one, the host that it is on.
        #[arg(long)]
        host: Option<String>,
        /// Without one, the local SR of the host.
        #[arg(long)]
        sr: Option<String>,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Move a VDI to another SR or host. It gets a new id. That of a running VM goes to another SR of its host, and the VM
    /// stands for a while at the end: `--dry-run` says for what.
    Migrate {
        #[arg(value_name = "VDI")]
        vdi: String,
        /// Without one, the host that it is on.
        #[arg(long)]
        host: Option<String>,
        /// Without one, the local SR of the host.
        #[arg(long)]
        sr: Option<String>,
        /// MiB per second at most. What a VM has to stand for goes without a limit.
        #[arg(long, value_name = "MIB")]
        bandwidth: Option<u64>,
        #[command(flatten)]
        planned: Planned,
    },
    /// Make a VDI from a disk image of this machine: raw, ISO, qcow2, VHD or VMDK.
    Upload(Box<VdiUploadArgs>),
    /// Send the contents of an upload that was begun, from where it is.
    Send {
        #[arg(value_name = "VDI")]
        vdi: String,
        #[command(flatten)]
        from: FileArgs,
    },
    /// Get the right to send the contents of a VDI; an earlier ticket ends.
    UploadTicket {
        #[arg(value_name = "VDI")]
        vdi: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Write a VDI into a file of this machine. The same command goes on where it was interrupted.
    Export(ExportArgs),
    /// Take the lease of a VDI in a shared SR from a host that is dead for good, so that another host may write it.
    ///
    /// A host that is alive lets go by itself when its VM is stopped, and one that is fenced loses its leases. Make sure that
    /// the host is off: if it still writes, the disk is ruined.
    BreakLease {
        #[arg(value_name = "VDI")]
        vdi: String,
        /// The host that is dead, by its name or id; without it, the one that has the lease.
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// Say who has it and what to make sure of; nothing changes.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Delete a VDI that no VM has.
    Delete {
        #[arg(value_name = "VDI")]
        vdi: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        planned: Planned,
    },
}

/// xenith vdi upload data disk.qcow2 --host xen1
#[derive(Debug, Args)]
pub struct VdiUploadArgs {
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub from: FileArgs,
    /// In the local storage of this host.
    #[arg(long)]
    pub host: String,
    /// An SR of the host, instead of its local one.
    #[arg(long)]
    pub sr: Option<String>,
    /// Only make the VDI; `vdi send` sends its contents later, `vdi upload-ticket` lets somebody else do it.
    #[arg(long)]
    pub no_send: bool,
    #[command(flatten)]
    pub tasked: Tasked,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[arg(value_name = "VDI")]
    pub vdi: String,
    /// What it is written to.
    #[arg(value_name = "FILE", required_unless_present = "ticket")]
    pub file: Option<PathBuf>,
    /// Without one, by the ending of FILE; raw for any other.
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// What this snapshot of its VM holds of it, instead of what it holds now: also while the VM runs.
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Only print the ticket, for a program that reads https://HOST/v1/images/VDI/raw
    #[arg(long)]
    pub ticket: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    Raw,
    Qcow2,
    Vhd,
    Vmdk,
}

impl ExportFormat {
    /// By the ending of a name; raw for any other.
    pub fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("qcow2") => Self::Qcow2,
            Some("vhd" | "vpc") => Self::Vhd,
            Some("vmdk") => Self::Vmdk,
            _ => Self::Raw,
        }
    }
}
