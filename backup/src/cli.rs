//! The command line: the only file that knows clap.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Backs up disks so that every restore point is a full and nothing is ever merged.
///
/// REPO is a folder or s3://bucket/prefix. The passphrase comes from XENITH_PASSPHRASE, or give --key-file.
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damage found, 4 wrong key, 5 not found.
#[derive(Debug, Parser)]
#[command(name = "xenith-backup", version)]
pub struct Cli {
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// The command line, or its error printed and the process ended.
pub fn parse() -> Cli {
    Cli::parse()
}

#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The passphrase.
    #[arg(long, env = "XENITH_PASSPHRASE", hide_env_values = true, hide = true, global = true)]
    pub passphrase: Option<String>,
    /// A file of 64 hex digits, instead of a passphrase.
    #[arg(long, env = "XENITH_KEY_FILE", global = true)]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// How to print.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChunkMode {
    /// Cuts where the data says so, 16 to 256 KiB.
    Content,
    /// A grid of 128 KiB.
    Fixed,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a repository.
    Init {
        repo: String,
        /// How disks are cut into chunks; cannot be changed later.
        #[arg(long, value_enum, default_value = "content")]
        chunks: ChunkMode,
        /// Seal what is stored to a public key, so that `key add --write-only` can make keys that add backups and read
        /// none; cannot be changed later.
        #[arg(long)]
        sealed: bool,
        #[command(flatten)]
        lock: LockArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Extend the locks of what is needed, where a repository locks what it stores.
    ///
    /// `backup`, `prune` and `gc` do that, too. This is for a repository that nobody writes to any more, for one that is to
    /// lock from now on, or for another number of days: --immutable changes that, and --all brings every object up to it.
    Lock {
        repo: String,
        #[command(flatten)]
        lock: LockArgs,
        /// Ask the store about each object, instead of counting on what earlier runs extended.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Take a folder's objects away from who writes them (as root, from a timer).
    ///
    /// Folders and objects become the owner's; who writes, as a member of the folder's group, can then add and read, but
    /// neither change nor delete. Run `prune` and `gc` as root.
    Keep {
        folder: PathBuf,
        /// The user that gets them; nobody should work as that.
        #[arg(long, value_name = "USER")]
        owner: String,
        /// The group of the writers, instead of the one that the folder has.
        #[arg(long)]
        group: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Back up disks (files or devices), as one backup.
    Backup {
        repo: String,
        /// Disks as NAME=PATH.
        #[arg(required = true, value_name = "NAME=PATH")]
        disks: Vec<String>,
        /// Lines `offset length` in bytes that changed since the newest backup of the (one) disk.
        #[arg(long, value_name = "FILE")]
        changed_ranges: Option<PathBuf>,
        /// zstd's level. Without it 3, and up to 9 while the store is what the run waits for.
        #[arg(long, value_parser = clap::value_parser!(i32).range(1..=19))]
        level: Option<i32>,
        /// Threads that read, hash and compress.
        #[arg(long)]
        workers: Option<usize>,
        #[arg(long = "tag")]
        tags: Vec<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// List backups, oldest first.
    List {
        repo: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Write a disk to a new file, or to a device.
    Restore {
        repo: String,
        /// NAME for the newest, or NAME@ID.
        what: String,
        dst: PathBuf,
        /// What to write; else the ending of DST decides, and raw is the rest. An OVA takes all disks of the backup.
        #[arg(long, value_enum)]
        format: Option<ImageFormat>,
        #[command(flatten)]
        machine: MachineArgs,
        /// Overwrite a file or device that exists.
        #[arg(long)]
        overwrite: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check a repository: footers, maps and checksums.
    Verify {
        repo: String,
        #[command(flatten)]
        depth: DepthArgs,
        /// Let nobody count on packs that are found damaged: who backs up a disk whole stores what is in them again. Nothing
        /// is deleted that a backup needs.
        #[arg(long)]
        set_aside: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show all about one backup.
    Show {
        repo: String,
        /// NAME for the newest, or NAME@ID.
        what: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print what differs between two backups as lines `offset length`.
    Diff {
        repo: String,
        /// NAME or NAME@ID.
        old: String,
        new: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Forget backups by rules, and free what then nobody needs.
    Prune {
        repo: String,
        #[command(flatten)]
        keep: KeepArgs,
        /// Only backups of this name (several disks: joined by commas).
        #[arg(long)]
        name: Option<String>,
        /// Print what would be done, change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        collect: CollectArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Forget these backups, with all their disks, and free what then nobody needs.
    Forget {
        repo: String,
        /// NAME@ID; or the whole ID alone, for a backup that cannot be read any more.
        #[arg(required = true)]
        what: Vec<String>,
        /// Print what would be freed, change nothing.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        collect: CollectArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Free what no backup needs: carry out plans that are due, repack, publish the next plan.
    Gc {
        repo: String,
        /// Move what is needed out of packs of which less than this percentage is; 0 turns it off.
        #[arg(long, default_value_t = 30)]
        repack_below: u64,
        #[command(flatten)]
        collect: CollectArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Protect a backup from retention.
    Hold {
        repo: String,
        /// NAME or NAME@ID.
        what: String,
        /// Lift the hold.
        #[arg(long)]
        lift: bool,
    },
    /// Copy backups to another repository; what it has already is neither read nor sent.
    Copy {
        from: String,
        /// Its passphrase comes from XENITH_NEW_PASSPHRASE or --new-key-file, or is the same.
        to: String,
        #[command(flatten)]
        new: NewKeyArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Keep a mirror of a repository: packs that it lacks are moved as they are, neither read nor packed anew.
    ///
    /// A mirror is made from its repository with --init, has keys of its own, and is used, pruned and restored from like any.
    /// What the repository forgets stays in it until its own `prune`. Between any other two use `copy`.
    Mirror {
        from: String,
        /// Its passphrase comes from XENITH_NEW_PASSPHRASE or --new-key-file, or is the same.
        to: String,
        /// Make the mirror, in an empty place.
        #[arg(long)]
        init: bool,
        /// Look at all of every backup, and bring again what the mirror lost; after `verify` found damage in it.
        #[arg(long)]
        whole: bool,
        #[command(flatten)]
        lock: LockArgs,
        #[command(flatten)]
        new: NewKeyArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Look into a disk and take files out, without its own system.
    ///
    /// Reads GPT, MBR, LVM (linear, RAID 1), ext2 to ext4, XFS and NTFS. Without VOLUME:PATH it lists the volumes.
    Files {
        repo: String,
        /// NAME for the newest, or NAME@ID.
        what: String,
        /// Where to look: the volume's name and a path in it, such as `1:/etc`.
        #[arg(value_name = "VOLUME:PATH")]
        at: Option<String>,
        /// Take what is there out: into a .zip or .tar, into a new file for one file, or - for a tar to the output.
        #[arg(long, value_name = "FILE", requires = "at")]
        to: Option<PathBuf>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Import the history of a Xen Orchestra repository (its folder, mounted). It is read only.
    ImportXo {
        repo: String,
        /// The folder that holds xo-vm-backups.
        source: PathBuf,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Measure how fast this machine backs up, adds and restores, in memory or in a folder.
    Bench {
        /// A folder to put a repository in, which is removed again; in memory otherwise.
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// MiB of disk.
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(8..=65536))]
        size: u64,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print what is needed to restore with nothing but the repository and the key.
    PaperKit {
        repo: String,
        /// Print the key as well: whoever finds the paper can then open the repository.
        #[arg(long)]
        with_key: bool,
    },
    /// Make the disks of all backups appear as read-only files below a folder, until interrupted (needs FUSE).
    Mount { repo: String, folder: PathBuf },
    /// Serve a disk as a network block device, until interrupted.
    ServeNbd {
        repo: String,
        /// NAME for the newest, or NAME@ID.
        what: String,
        /// Address to listen on; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:10809")]
        listen: String,
        /// Listen on a Unix socket instead.
        #[arg(long)]
        socket: Option<PathBuf>,
        /// Allow writes, kept in this file (and FILE.map); the backup stays as it is.
        #[arg(long, value_name = "FILE")]
        overlay: Option<PathBuf>,
        /// Read ahead what this file says that an earlier boot read; where it is not there, write it.
        #[arg(long, value_name = "FILE")]
        boot_trace: Option<PathBuf>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Keys: who can open the repository.
    Key {
        #[command(subcommand)]
        action: KeyAction,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImageFormat {
    Raw,
    Qcow2,
    Vhd,
    Vmdk,
    Ova,
}

/// What an OVA says of the machine, which a backup of disks does not know.
#[derive(Debug, clap::Args)]
pub struct MachineArgs {
    /// CPUs of the machine in an OVA.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub vcpus: u32,
    /// Its memory.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub memory_mib: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LockModeArg {
    Governance,
    Compliance,
}

#[derive(Debug, clap::Args)]
pub struct LockArgs {
    /// Lock what is stored for DAYS days (S3, in a bucket with object lock): until then nobody can delete it. What backups
    /// need is locked anew before that is over.
    #[arg(long, value_name = "DAYS")]
    pub immutable: Option<u32>,
    /// Who may lift a lock: nobody (compliance), or whoever has s3:BypassGovernanceRetention (governance).
    #[arg(long, value_enum, default_value = "compliance", requires = "immutable")]
    pub lock_mode: LockModeArg,
}

#[derive(Debug, clap::Args)]
pub struct DepthArgs {
    /// Decrypt and name every chunk, too.
    #[arg(long, conflicts_with = "quick")]
    pub deep: bool,
    /// Only footers, index and maps.
    #[arg(long)]
    pub quick: bool,
    /// Read only packs stored in the last DAYS days; of the others footers, index and maps.
    #[arg(long, value_name = "DAYS", conflicts_with = "quick")]
    pub newer_than: Option<u64>,
    /// Read only the Kth of N parts, such as 3/30 on the third of the month; of the others footers, index and maps.
    #[arg(long, value_name = "K/N", conflicts_with = "quick")]
    pub part: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct CollectArgs {
    /// Seconds a plan rests before it is carried out, besides waiting for running backups.
    #[arg(long, value_name = "SECONDS")]
    pub grace: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub struct KeepArgs {
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub keep_last: u32,
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub keep_hourly: u32,
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub keep_daily: u32,
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub keep_weekly: u32,
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub keep_monthly: u32,
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub keep_yearly: u32,
    #[arg(long, value_name = "TAG")]
    pub keep_tag: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct NewKeyArgs {
    /// The new passphrase.
    #[arg(long, env = "XENITH_NEW_PASSPHRASE", hide_env_values = true, hide = true)]
    pub new_passphrase: Option<String>,
    /// A file of 64 hex digits, instead of XENITH_NEW_PASSPHRASE.
    #[arg(long)]
    pub new_key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum KeyAction {
    /// Write a new key file; it opens nothing until it is added.
    Generate { file: PathBuf },
    /// List the slots.
    List {
        repo: String,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Let another passphrase (XENITH_NEW_PASSPHRASE) or key file open the repository.
    Add {
        repo: String,
        /// It adds backups, and neither reads what they hold nor forgets any (of a repository made with `init --sealed`).
        #[arg(long)]
        write_only: bool,
        #[command(flatten)]
        new: NewKeyArgs,
    },
    /// Start new keys: all slots but one with the new (or the same) passphrase are dropped. No data is rewritten.
    Rotate {
        repo: String,
        #[command(flatten)]
        new: NewKeyArgs,
    },
}
