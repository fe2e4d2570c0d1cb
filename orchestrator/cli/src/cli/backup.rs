//! Repositories, jobs, runs, backups.

use std::num::NonZeroU16;

use clap::{Args, Subcommand};
use humantime::Duration;
use xenith_common_ids::BackupRunId;
use xenith_hypervisor_agent_types::{Quiesce, VmName};

use super::{Columns, Confirm, Keyed, Listing, OnOff, Planned, Tasked};

#[derive(Debug, Subcommand)]
pub enum RepositoryCommand {
    /// List repositories.
    List(Listing),
    /// Show one repository.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "REPOSITORY")]
        repository: String,
    },
    /// Add a repository: make it in an empty place, or open one that is there.
    ///
    /// S3 keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the passphrase or key of a repository that is there
    /// from XENITH_PASSPHRASE or XENITH_KEY. Without either a key is made: put `xenith repository key` on paper.
    Create(Box<RepositoryPlace>),
    /// Change how many backups write to a repository at a time, and how fast; what is not named stays.
    Update {
        #[arg(value_name = "REPOSITORY")]
        repository: String,
        #[command(flatten)]
        limits: RepositoryLimits,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Open a repository again and read its list of backups.
    Test {
        #[arg(value_name = "REPOSITORY")]
        repository: String,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Check what a repository holds.
    Verify {
        #[arg(value_name = "REPOSITORY")]
        repository: String,
        /// Decrypt and name every chunk, too.
        #[arg(long)]
        deep: bool,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Show what opens a repository without the orchestrator: keep it on paper.
    Key {
        #[arg(value_name = "REPOSITORY")]
        repository: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Forget a repository; what it holds stays.
    Delete {
        #[arg(value_name = "REPOSITORY")]
        repository: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct RepositoryLimits {
    /// Backups that write to it at a time, whichever jobs they are of; 0 for no limit.
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// MiB per second that all who write to it share; 0 for no limit.
    #[arg(long, value_name = "MIB")]
    pub bandwidth: Option<u64>,
}

#[derive(Debug, Args)]
pub struct RepositoryPlace {
    #[arg(value_name = "NAME")]
    pub name: String,
    /// A folder, as the hosts see it, or s3://bucket/prefix.
    #[arg(value_name = "PLACE")]
    pub place: String,
    /// The S3 server; without one, AWS.
    #[arg(long = "endpoint", value_name = "URL", default_value = "", hide_default_value = true)]
    pub s3_endpoint: String,
    #[arg(long, default_value = "", hide_default_value = true)]
    pub region: String,
    /// Give hosts a key that adds backups and opens none, and seal what they store to a public key.
    ///
    /// Only a host that restores, checks or prunes gets the repository's own key.
    #[arg(long)]
    pub sealed: bool,
    /// Who probes it; without one, any host that is connected.
    #[arg(long)]
    pub host: Option<String>,
    #[command(flatten)]
    pub limits: RepositoryLimits,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", hide = true, hide_env_values = true, default_value = "")]
    pub access_key: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide = true, hide_env_values = true, default_value = "")]
    pub secret_key: String,
    #[arg(long, env = "XENITH_PASSPHRASE", hide = true, hide_env_values = true, default_value = "")]
    pub passphrase: String,
    #[arg(long, env = "XENITH_KEY", hide = true, hide_env_values = true, default_value = "")]
    pub key: String,
    #[command(flatten)]
    pub tasked: Tasked,
}

#[derive(Debug, Subcommand)]
pub enum BackupJobCommand {
    /// List backup jobs.
    List(Listing),
    /// Show one backup job.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Create a backup job.
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        settings: JobFlags,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Change a backup job; what is not named stays.
    Update {
        #[arg(value_name = "JOB")]
        job: String,
        /// Whether its schedule counts.
        #[arg(long, value_enum)]
        enabled: Option<OnOff>,
        #[command(flatten)]
        settings: JobFlags,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Delete a backup job; its backups stay.
    Delete {
        #[arg(value_name = "JOB")]
        job: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Begin a run now; follow it with `xenith backup-run get`.
    Run {
        #[arg(value_name = "JOB")]
        job: String,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct JobFlags {
    /// A VM to back up; may be repeated.
    #[arg(long = "vm", value_name = "VM")]
    pub vms: Vec<String>,
    /// And every VM that this filter lets through when a run begins, such as tag:prod.
    #[arg(long)]
    pub filter: Option<String>,
    /// Where to; may be repeated.
    #[arg(long = "repository", value_name = "REPOSITORY")]
    pub repositories: Vec<String>,
    /// Cron, five fields: '30 2 * * *'. Empty for runs by hand.
    #[arg(long, value_name = "CRON")]
    pub schedule: Option<String>,
    /// The time zone of the schedule, such as Europe/Berlin; UTC without one.
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// Begin when a run of this other job has ended; empty for none.
    #[arg(long, value_name = "JOB")]
    pub after: Option<String>,
    /// What to keep, such as last=3,daily=7,weekly=4,monthly=12,yearly=2; without it, everything.
    #[arg(long, value_name = "RULES", value_parser = keep)]
    pub keep: Option<xenith_hypervisor_agent_types::backup::KeepPolicy>,
    /// VMs at a time.
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// MiB per second and VM at most; 0 for no limit.
    #[arg(long, value_name = "MIB")]
    pub bandwidth: Option<u64>,
    /// A run that takes longer is cancelled; 0s for no limit.
    #[arg(long, value_name = "DURATION")]
    pub window: Option<Duration>,
    /// How often a VM that failed is tried again.
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// A disk to leave out, as DEVICE or VM:DEVICE; may be repeated.
    #[arg(long = "exclude-disk", value_name = "DISK")]
    pub exclude_disks: Vec<String>,
    /// Only this disk, as DEVICE or VM:DEVICE; may be repeated. Without one, all.
    #[arg(long = "include-disk", value_name = "DISK")]
    pub include_disks: Vec<String>,
    /// Warn about a VM without a good backup for longer than this; 0s for never.
    #[arg(long, value_name = "DURATION")]
    pub rpo: Option<Duration>,
    /// Gets the report of each run by POST.
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// Whether the orchestrator itself is backed up, too, when the VMs were.
    #[arg(long, value_enum)]
    pub orchestrator: Option<OnOff>,
    /// Gets the report of each run by e-mail; may be repeated. The server is set with `xenith mail set`.
    #[arg(long = "mail", value_name = "ADDRESS")]
    pub mail_to: Vec<String>,
    /// Mail about every run, or only about those with problems.
    #[arg(long, value_enum)]
    pub mail_on: Option<MailWhen>,
    /// After each run, prove so many of its VMs, those first whose proof is oldest; 0 for none.
    #[arg(long, value_name = "N")]
    pub prove: Option<u32>,
    /// Whether running guests hold their filesystems still for the snapshot: never; try, and back up without it where it
    /// cannot be had; demand, and fail there. Without this, try.
    #[arg(long, value_name = "never|try|demand")]
    pub quiesce: Option<Quiesce>,
    /// TCP ports that have to answer in a proof, such as 22,443, over IPv6; none: it is enough that the guest says
    /// something.
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    pub prove_ports: Option<Ports>,
}

/// TCP ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports(pub Vec<NonZeroU16>);

fn ports(text: &str) -> Result<Ports, String> {
    if text == "none" {
        return Ok(Ports::default());
    }
    let port = |port: &str| {
        port.trim().parse::<NonZeroU16>().map_err(|_| format!("{port:?} is not a TCP port, 1 to 65535"))
    };
    text.split(',').map(port).collect::<Result<_, _>>().map(Ports)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MailWhen {
    Always,
    Problems,
}

fn keep(text: &str) -> Result<xenith_hypervisor_agent_types::backup::KeepPolicy, String> {
    let mut policy = xenith_hypervisor_agent_types::backup::KeepPolicy::default();
    for rule in text.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
        let (name, count) =
            rule.split_once('=').ok_or_else(|| format!("{rule:?} is not of the form daily=7"))?;
        let count: u32 = count.parse().map_err(|_| format!("{count:?} is not a number"))?;
        let slot = match name {
            "last" => &mut policy.last,
            "hourly" => &mut policy.hourly,
            "daily" => &mut policy.daily,
            "weekly" => &mut policy.weekly,
            "monthly" => &mut policy.monthly,
            "yearly" => &mut policy.yearly,
            _ => return Err(format!("{name:?} is none of last, hourly, daily, weekly, monthly, yearly")),
        };
        *slot = count;
    }
    Ok(policy)
}

#[derive(Debug, Subcommand)]
pub enum BackupRunCommand {
    /// List runs, newest first unless another order is asked for: -f status:failed.
    List {
        /// Only those of this job.
        #[arg(long)]
        job: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one run, VM by VM.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "RUN")]
        run: BackupRunId,
    },
    /// End a run: VMs that wait are left out, those being read are given up on.
    Cancel {
        #[arg(value_name = "RUN")]
        run: BackupRunId,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct WhichBackup {
    /// Its id, the first digits of it, or VM@latest.
    #[arg(value_name = "BACKUP")]
    pub backup: String,
    /// When it is in several.
    #[arg(long)]
    pub repository: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// List backups, newest first unless another order is asked for: -f "age:<7d held:yes".
    List {
        /// Only those of this VM, also one that is gone.
        #[arg(long)]
        vm: Option<String>,
        /// Only those in this repository.
        #[arg(long)]
        repository: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one backup.
    #[command(visible_alias = "show")]
    Get {
        #[command(flatten)]
        which: WhichBackup,
    },
    /// List VMs that no job covers or that have no backup; the tag no-backup says that this is meant.
    Unprotected {
        /// Also those whose newest backup is older, such as 26h.
        #[arg(long, value_name = "AGE")]
        older_than: Option<humantime::Duration>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Back up a VM now, outside any job.
    Create {
        #[arg(value_name = "VM")]
        vm: String,
        /// Where to; may be repeated.
        #[arg(long = "repository", value_name = "REPOSITORY", required = true)]
        repositories: Vec<String>,
        /// A disk to leave out, by its device; may be repeated.
        #[arg(long = "exclude-disk", value_name = "DEVICE")]
        exclude_disks: Vec<String>,
        /// Whether a running guest holds its filesystems still for the snapshot: never; try, and back up without it where
        /// it cannot be had; demand, and fail there.
        #[arg(long, value_name = "never|try|demand", default_value = "try")]
        quiesce: Quiesce,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Keep a backup whatever the rules say, or no longer.
    Hold {
        #[command(flatten)]
        which: WhichBackup,
        /// Whether it is kept whatever the rules say.
        #[arg(value_enum, default_value = "on")]
        held: OnOff,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Delete a backup; what others need stays.
    Delete {
        #[command(flatten)]
        which: WhichBackup,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        planned: Planned,
    },
    /// List the volumes of a backup's disk, or a folder of one.
    Files {
        #[command(flatten)]
        which: WhichBackup,
        /// Such as 1:/etc; without it the volumes are listed.
        #[arg(value_name = "VOLUME:PATH")]
        at: Option<String>,
        /// The disk, by its name in the backup, where it has several.
        #[arg(long)]
        disk: Option<String>,
        #[command(flatten)]
        columns: Columns,
    },
    /// Fetch a file or folder of a backup as an archive, straight from the host that reads it.
    Download {
        #[command(flatten)]
        which: WhichBackup,
        /// Such as 1:/etc.
        #[arg(value_name = "VOLUME:PATH")]
        at: String,
        /// A .zip or .tar file, which must not be there yet.
        #[arg(value_name = "FILE", required_unless_present = "ticket")]
        to: Option<std::path::PathBuf>,
        /// Only print the ticket, for a program that fetches it; it opens a zip once.
        #[arg(long, conflicts_with = "to")]
        ticket: bool,
        /// The disk, by its name in the backup, where it has several.
        #[arg(long)]
        disk: Option<String>,
    },
    /// Restore a VM for a moment, apart from every network, to see whether it boots and says something.
    Prove {
        #[command(flatten)]
        which: WhichBackup,
        /// How long the guest may take; 10m without it.
        #[arg(long = "within", value_name = "DURATION")]
        within: Option<humantime::Duration>,
        /// TCP ports that have to answer, such as 22,443, over IPv6, on a network that nothing else is on.
        #[arg(long, value_name = "PORTS", value_parser = ports)]
        ports: Option<Ports>,
        /// Without one, the host where the VM was, or any.
        #[arg(long)]
        host: Option<String>,
        #[command(flatten)]
        tasked: Tasked,
    },
    /// Bring a VM back as a new one with new MAC addresses, in place, or only its disks.
    Restore(RestoreFlags),
}

#[derive(Debug, Args)]
pub struct RestoreFlags {
    #[command(flatten)]
    pub which: WhichBackup,
    /// The new VM's name; without one, the old one with the time of the backup.
    #[arg(long, conflicts_with_all = ["in_place", "disks_only"])]
    pub name: Option<VmName>,
    /// Into the stopped VM that it is of: what its disks hold now is lost.
    #[arg(long, conflicts_with_all = ["disks_only", "host"])]
    pub in_place: bool,
    /// New disks that no VM has.
    #[arg(long, conflicts_with = "start")]
    pub disks_only: bool,
    /// Only this disk, by its name in the backup; may be repeated.
    #[arg(long = "disk", value_name = "DISK")]
    pub disks: Vec<String>,
    /// Without one, the host where the VM was, or any.
    #[arg(long)]
    pub host: Option<String>,
    /// An SR of that host; without one, its local SR.
    #[arg(long, conflicts_with = "in_place")]
    pub sr: Option<String>,
    /// For a network that the VM had another, as NETWORK=OTHER; nothing after the = leaves the card out. May be repeated.
    #[arg(long = "network", value_name = "FROM=TO", value_parser = super::standby::pair, conflicts_with_all = ["in_place", "disks_only"])]
    pub networks: Vec<(String, String)>,
    /// Start it when it is there.
    #[arg(long)]
    pub start: bool,
    /// Start a new VM at once, with its disks coming in behind; the task ends when all of them are there.
    #[arg(long, conflicts_with_all = ["in_place", "disks_only"])]
    pub instant: bool,
    /// MiB per second that come in behind at most.
    #[arg(long, value_name = "MIB", requires = "instant")]
    pub bandwidth: Option<u64>,
    #[command(flatten)]
    pub confirm: Confirm,
    #[command(flatten)]
    pub planned: Planned,
}
