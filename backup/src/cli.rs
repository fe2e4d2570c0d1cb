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
        /// zstd's level.
        #[arg(long, default_value_t = 3)]
        level: i32,
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
        /// Overwrite a file or device that exists.
        #[arg(long)]
        overwrite: bool,
    },
    /// Check a repository: footers, maps and checksums.
    Verify {
        repo: String,
        /// Decrypt and name every chunk, too.
        #[arg(long, conflicts_with = "quick")]
        deep: bool,
        /// Only footers, index and maps.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
}
