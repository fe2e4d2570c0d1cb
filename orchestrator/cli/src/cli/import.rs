//! Imports.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use humantime::Duration;
use xenith_common_units::{MemoryMiB, VcpuCount};

use super::vm::vcpus;
use super::wave::PlanArgs;
use super::{Columns, Confirm, Keyed, Listing, Planned, Tasked};

#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// List imports, newest first: -f phase:following.
    List {
        /// Those that were archived, too.
        #[arg(long)]
        archived: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one import: how far each disk is, and what it waits for.
    #[command(visible_alias = "show")]
    Get {
        /// The id of an import, or the name of its VM.
        #[arg(value_name = "IMPORT")]
        import: String,
    },
    /// Make a VM from an OVA, XVA, OVF, .vmx, VMDK, qcow2, VHD or raw file, and send its disks to its host.
    Upload(Box<UploadArgs>),
    /// Send the disks of an upload that was begun, from where it is.
    Send {
        #[arg(value_name = "IMPORT")]
        import: String,
        #[command(flatten)]
        from: FileArgs,
    },
    /// Get the right to send the disks of an upload; an earlier ticket ends.
    Ticket {
        #[arg(value_name = "IMPORT")]
        import: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Make an ESXi host or vCenter known. Its certificate is shown and asked about, its password read without echo. Again,
    /// with the name and address of one that is known: for its new password or certificate.
    Connect {
        /// What it is called here.
        #[arg(value_name = "NAME")]
        name: String,
        /// host or host:port
        #[arg(long)]
        address: String,
        #[arg(long)]
        user: String,
        /// SHA-256 of its certificate; without it, it is shown and asked about.
        #[arg(long, value_name = "SHA256")]
        certificate: Option<String>,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// List the hosts and vCenters that VMs are taken from.
    Sources {
        #[command(flatten)]
        columns: Columns,
    },
    /// Forget a source and its password; nothing there changes.
    Disconnect {
        #[arg(value_name = "SOURCE")]
        source: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// List the VMs of a source, as they are now.
    Inventory {
        #[command(flatten)]
        look: LookArgs,
        #[command(flatten)]
        columns: Columns,
    },
    /// Tell what speaks against the move of VMs, and what to do about it.
    Assess {
        #[command(flatten)]
        look: LookArgs,
        #[command(flatten)]
        columns: Columns,
    },
    /// Plan a move: findings, waves, times, and which hosts of the source come free.
    Plan(Box<PlanArgs>),
    /// Begin to take a VM from a source: copied while it runs there, then followed until the cut-over.
    Start(Box<StartArgs>),
    /// Set when the source is shut down and the VM made here: now, or at a time.
    CutOver {
        #[arg(value_name = "IMPORT")]
        import: String,
        /// Such as 2026-12-24T22:00:00Z; without it, now.
        #[arg(long, value_name = "TIME", value_parser = time_of)]
        at: Option<time::OffsetDateTime>,
        /// Power the source off when its guest does not shut down in time.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Try again to make a guest ready to boot here, or go on without.
    Prepare {
        #[arg(value_name = "IMPORT")]
        import: String,
        /// Go on with the disks as they were copied.
        #[arg(long)]
        without: bool,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Undo an import: the VM here goes, the source is as it was.
    RollBack {
        #[arg(value_name = "IMPORT")]
        import: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Take an import that is over out of the list.
    Archive {
        #[arg(value_name = "IMPORT")]
        import: String,
        #[command(flatten)]
        keyed: Keyed,
    },
}

/// Which VMs of which source.
#[derive(Debug, Args)]
pub struct LookArgs {
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Names or ids; all without one.
    #[arg(value_name = "VM")]
    pub vms: Vec<String>,
}

/// How VMs move that run elsewhere: one, or each of a wave.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// Our network for one of theirs, or for all: THEIRS=OURS or OURS. THEIRS=none leaves NICs out. More than once.
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// Our SR for one of their datastores, or for all: THEIRS=OURS or OURS; without one, the host's local SR. More than once.
    #[arg(long = "storage", value_name = "SR")]
    pub storage: Vec<String>,
    #[arg(long)]
    pub pool: Option<String>,
    #[arg(long)]
    pub host: Option<String>,
    /// More than once.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Cut over at this time; without it, at `import cut-over`.
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    pub cut_over_at: Option<time::OffsetDateTime>,
    /// Cut over as soon as what changes between two passes is copied within this time.
    #[arg(long, value_name = "DURATION")]
    pub downtime: Option<Duration>,
    /// Between two passes.
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub interval: Duration,
    /// How long the guest may take to shut down.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub shutdown: Duration,
    /// Power the source off when its guest does not shut down in time.
    #[arg(long)]
    pub force: bool,
    /// Compare all of both sides before the VM here is made.
    #[arg(long)]
    pub verify: bool,
    /// Switch changed-block tracking on at the source where it is off; a roll-back switches it off again.
    #[arg(long)]
    pub track: bool,
    /// Leave the guest as it is.
    #[arg(long)]
    pub no_prepare: bool,
    /// Start it here at the end.
    #[arg(long)]
    pub start: bool,
}

/// xenith import start vcenter web-1 --network "VM Network=lan" --cut-over-at 2026-12-24T22:00:00Z
#[derive(Debug, Args)]
pub struct StartArgs {
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Its name or id there.
    #[arg(value_name = "VM")]
    pub vm: String,
    /// What it is called here; without it, as there.
    #[arg(long)]
    pub name: Option<String>,
    /// Cut over as soon as it is copied.
    #[arg(long, conflicts_with = "cut_over_at")]
    pub now: bool,
    #[command(flatten)]
    pub how: MoveArgs,
    #[command(flatten)]
    pub planned: Planned,
}

pub(super) fn time_of(text: &str) -> Result<time::OffsetDateTime, String> {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .map_err(|_| format!("{text:?} is not a time; write it like 2026-12-24T22:00:00Z"))
}

/// What is read.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// An OVA, XVA, OVF, .vmx or disk image. Its other files are looked up beside it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The file is a raw disk, whatever its name or its first bytes say.
    #[arg(long)]
    pub raw: bool,
    /// Which VM of a package with several.
    #[arg(long, value_name = "NAME")]
    pub vm: Option<String>,
    /// Do not compare the files of a package with its manifest first.
    #[arg(long)]
    pub no_manifest: bool,
}

/// xenith import upload web-1.ova --network "VM Network=lan" --start
#[derive(Debug, Args)]
pub struct UploadArgs {
    #[command(flatten)]
    pub from: FileArgs,
    /// Instead of the name in the file.
    #[arg(long)]
    pub name: Option<String>,
    /// Instead of what the file says, such as 4GiB.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<MemoryMiB>,
    /// Instead of what the file says.
    #[arg(long, value_name = "N", value_parser = vcpus)]
    pub vcpus: Option<VcpuCount>,
    /// Instead of what the file says: bios or uefi.
    #[arg(long, value_parser = ["bios", "uefi"])]
    pub firmware: Option<String>,
    /// Our network for one of the file's, or for all: THEIRS=OURS or OURS. THEIRS=none leaves NICs out. More than once.
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// New MAC addresses, not those of the file.
    #[arg(long)]
    pub new_macs: bool,
    /// More than once.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Without one, the pool `default`.
    #[arg(long)]
    pub pool: Option<String>,
    /// Without one, the best host is chosen.
    #[arg(long)]
    pub host: Option<String>,
    /// Leave the guest as it is: it has Xen's drivers already, or is prepared by hand.
    #[arg(long)]
    pub no_prepare: bool,
    /// Start it when its disks are whole.
    #[arg(long)]
    pub start: bool,
    /// Begin only, and print the import's id; send later: xenith import send ID FILE
    #[arg(long, conflicts_with = "dry_run")]
    pub no_send: bool,
    /// Check everything and show what would be done; nothing changes.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub tasked: Tasked,
}
