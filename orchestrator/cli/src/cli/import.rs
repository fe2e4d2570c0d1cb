//! Imports.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use xenith_common_units::{MemoryMiB, VcpuCount};

use super::vm::vcpus;
use super::{Columns, Confirm, Keyed, Limited, Tasked};

#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// List imports, newest first.
    List {
        /// Those that were archived, too.
        #[arg(long)]
        archived: bool,
        #[command(flatten)]
        limited: Limited,
        #[command(flatten)]
        columns: Columns,
    },
    /// Show one import: how far each disk is, and what it waits for.
    #[command(visible_alias = "show")]
    Get {
        /// The id of an import, or the name of its VM.
        #[arg(value_name = "IMPORT")]
        import: String,
    },
    /// Make a VM from an OVA, OVF, .vmx, VMDK, qcow2, VHD or raw file, and send its disks to its host.
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

/// What is read.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// An OVA, OVF, .vmx or disk image. Its other files are looked up beside it.
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
