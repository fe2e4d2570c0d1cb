//! Storage repositories.

use clap::{Args, Subcommand};

use super::{Confirm, Keyed, Listing, Tasked};

#[derive(Debug, Subcommand)]
pub enum SrCommand {
    /// List SRs: -f kind:nfs, -f "free:<10GiB".
    List(Listing),
    /// Show one SR.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "SR")]
        sr: String,
    },
    /// Make an SR in a folder of a host or on an NFS server, and attach it.
    Create(Box<CreateSrArgs>),
    /// Attach an SR to one more host.
    Attach(SrHost),
    /// Detach an SR from a host; what is in it stays.
    Detach(SrHost),
    /// Forget an SR that no host has attached; what is in it stays.
    Forget {
        #[arg(value_name = "SR")]
        sr: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Read what is in an SR: orphans, what is missing, left-overs.
    Scan {
        #[arg(value_name = "SR")]
        sr: String,
    },
    /// Make an orphan a VDI again.
    Adopt {
        #[arg(value_name = "SR")]
        sr: String,
        /// The id that `sr scan` shows.
        #[arg(value_name = "VDI")]
        vdi: String,
        /// What it is called from now on.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct CreateSrArgs {
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The host that makes and attaches it.
    #[arg(long)]
    pub host: String,
    #[command(flatten)]
    pub place: SrPlace,
    /// For `mount -o`, such as vers=4.2.
    #[arg(long, value_name = "OPTIONS", default_value = "", hide_default_value = true, requires = "nfs")]
    pub nfs_options: String,
    /// A library of ISO images, for CD drives; otherwise for disks.
    #[arg(long)]
    pub iso: bool,
    #[command(flatten)]
    pub tasked: Tasked,
}

/// What an SR is made of.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SrPlace {
    /// A folder of the host, by its absolute path; an XFS with reflink or a btrfs makes snapshots at once.
    #[arg(long, value_name = "PATH")]
    pub folder: Option<String>,
    /// SERVER:/EXPORT; the host mounts it.
    #[arg(long, value_name = "SERVER:EXPORT")]
    pub nfs: Option<String>,
    /// An empty disk of the host, by its path under /dev; given again for each: LVM makes a thin pool of them.
    #[arg(long = "disk", value_name = "PATH")]
    pub disks: Vec<String>,
    /// A thin pool of LVM that the host has, as GROUP/POOL; what else is in it stays.
    #[arg(long, value_name = "GROUP/POOL")]
    pub thin_pool: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum IsoCommand {
    /// List the images in ISO libraries. `vdi import --sr LIBRARY` adds one.
    List(Listing),
}

#[derive(Debug, Args)]
pub struct SrHost {
    #[arg(value_name = "SR")]
    pub sr: String,
    #[arg(value_name = "HOST")]
    pub host: String,
    #[command(flatten)]
    pub tasked: Tasked,
}
