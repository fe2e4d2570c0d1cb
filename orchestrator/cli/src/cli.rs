//! The command line: this file and those below `cli/` are the only ones that know clap.
//!
//! A method `noun.some_verb` of the API is the command `noun some-verb`; a test fails for a method without one.
//! Nothing here decides anything: the types are read by `run/`, noun by noun.

mod access;
mod alarm;
mod args;
mod backup;
mod console;
mod devices;
mod document;
mod fragment;
mod ha;
mod host;
mod import;
mod mail;
mod metrics;
mod network;
mod orphan;
mod pool;
mod record;
mod session;
mod snapshot;
mod sr;
mod standby;
mod storage;
mod template;
mod vm;
mod wave;

use clap::{FromArgMatches, Parser, Subcommand};

pub use access::{GrantScope, RoleCommand, RoleGrant, TokenCommand, UserCommand};
pub use alarm::{
    AlarmCommand, AlarmRuleCommand, CreateRuleArgs, Routes, SeverityFlag, SilenceArgs, UpdateRuleArgs,
};
pub use args::{Columns, Confirm, Format, Global, Keyed, Limited, Listing, Planned, Tasked, WhenColor};
pub use backup::{
    BackupCommand, BackupJobCommand, BackupRunCommand, JobFlags, MailWhen, RepositoryCommand,
    RepositoryPlace, RestoreFlags, WhichBackup,
};
pub use console::ConsoleCommand;
pub use devices::{Against, BulkArgs, BulkVerb, Devices, Kept, PinFlag, VmExportArgs, VmFormat};
pub use document::{Shell, completions, full_help, man_pages};
pub use fragment::FragmentCommand;
pub use ha::{EnableHaArgs, HaCommand, PriorityFlag};
pub use host::{
    BondFlag, ControlFlag, GuestsFlags, HostCommand, OnOff, PowerControlArgs, PowerFlag, SetManagementArgs,
};
pub use import::{FileArgs, ImportCommand, LookArgs, MoveArgs, StartArgs, UploadArgs};
pub use mail::{MailCommand, MailPrivacy, MailServer};
pub use metrics::{MeasuredFlag, MetricsArgs, MetricsCommand};
pub use network::{
    BondModeFlag, CreateNetworkArgs, EncryptionFlag, LinkFlag, LockFlag, NetworkCommand,
    SecurityGroupCommand, SetNicArgs,
};
pub use orphan::OrphanCommand;
pub use pool::{GoalFlag, ModeFlag, PoolCommand, SetBalanceArgs, UpdatePoolArgs};
pub use record::{AuditCommand, EventCommand, EventListing, FilterCommand, SystemCommand, TaskCommand};
pub use session::{ContextCommand, Login, RawCall};
pub use snapshot::SnapshotCommand;
pub use sr::{CreateSrArgs, IsoCommand, SrCommand, SrHost, SrPlace};
pub use standby::{CreateStandbyArgs, StandbyCommand};
pub use storage::{ExportArgs, ExportFormat, VdiCommand, VdiUploadArgs};
pub use template::{DeployArgs, ImportArgs, TemplateCommand};
pub use vm::{
    Boot, CreateArgs, DeviceFlag, DiskFlag, Hardware, Kind, NicFlag, One, PlaceArgs, Shutdown, UpdateArgs,
    VmCommand,
};
pub use wave::{CapArgs, PlanArgs, WaveArgs, WaveCommand};

/// Manages Xen hosts and their virtual machines through a Xenith orchestrator.
///
/// Begin with `xenith login URL`. Objects are named by name or id. Lists take the filter language:
/// power:running host:xen1 tag:prod memory:>8GiB name:/^db/
#[derive(Debug, Parser)]
#[command(name = "xenith", version, after_help = EXIT_CODES, max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or request, 3 not found or ambiguous, 4 not signed in or forbidden,
5 conflict, wrong state or no placement, 6 orchestrator or host not reachable or not trusted, 7 the task was rolled
back, parked or abandoned, 8 the task runs on after --timeout, 130 interrupted (a task runs on).";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in to an orchestrator and remember it as a context.
    Login(Login),
    /// End the session of the current context.
    Logout,
    /// Show who is signed in and what roles they have.
    Whoami,
    /// Change one's own password; other sessions end.
    ChangePassword,
    /// The orchestrators that this machine knows.
    #[command(subcommand)]
    Context(ContextCommand),
    /// Virtual machines.
    #[command(subcommand)]
    Vm(VmCommand),
    /// Physical machines.
    #[command(subcommand)]
    Host(HostCommand),
    /// Hosts that share networks and storage.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// VMs of hosts that died run elsewhere.
    #[command(subcommand)]
    Ha(HaCommand),
    /// What NICs plug into.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Who may talk with the VMs that have a tag.
    #[command(subcommand)]
    SecurityGroup(SecurityGroupCommand),
    /// Virtual disk images.
    #[command(subcommand)]
    Vdi(VdiCommand),
    /// VMs on their way from other hypervisors, or from a file.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Many VMs that are taken from one source, so many at a time.
    #[command(subcommand)]
    Wave(WaveCommand),
    /// Consoles of guests and hosts.
    #[command(subcommand)]
    Console(ConsoleCommand),
    /// Storage repositories.
    #[command(subcommand)]
    Sr(SrCommand),
    /// Images for CD drives.
    #[command(subcommand)]
    Iso(IsoCommand),
    /// What VMs are made from.
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Parts of cloud-init's user data, kept under a name.
    #[command(subcommand)]
    Fragment(FragmentCommand),
    /// Points in time of VMs, on their hosts.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Where backups are kept.
    #[command(subcommand)]
    Repository(RepositoryCommand),
    /// What makes backups again and again.
    #[command(subcommand)]
    BackupJob(BackupJobCommand),
    /// What jobs did.
    #[command(subcommand)]
    BackupRun(BackupRunCommand),
    /// Backups that are there.
    #[command(subcommand)]
    Backup(BackupCommand),
    /// The filter language of lists.
    #[command(subcommand)]
    Filter(FilterCommand),
    /// VMs that stand by for others.
    #[command(subcommand)]
    Standby(StandbyCommand),
    /// The progress of what takes longer than a call.
    #[command(subcommand)]
    Task(TaskCommand),
    /// What hosts and records do not agree on.
    #[command(subcommand)]
    Orphan(OrphanCommand),
    /// What happened.
    #[command(subcommand)]
    Event(EventCommand),
    /// The same as `event list`.
    Events(EventListing),
    /// What hosts and VMs use, measured every five seconds.
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// What is wrong, by rules about metrics.
    #[command(subcommand)]
    Alarm(AlarmCommand),
    /// What raises alarms.
    #[command(subcommand)]
    AlarmRule(AlarmRuleCommand),
    /// Who asked for what.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// People and programs that may sign in.
    #[command(subcommand)]
    User(UserCommand),
    /// API tokens, for programs.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Roles.
    #[command(subcommand)]
    Role(RoleCommand),
    /// The server that takes the orchestrator's e-mail.
    #[command(subcommand)]
    Mail(MailCommand),
    /// The orchestrator itself.
    #[command(subcommand)]
    System(SystemCommand),
    /// Call a method of the API by name and print its answer.
    Rpc(RawCall),
    /// Print shell completions: `source <(xenith completion bash)`.
    Completion {
        /// Whose completions.
        shell: Shell,
    },
    /// Write the manual pages into a folder.
    Man {
        /// The folder; it is made when it is not there.
        #[arg(long, value_name = "FOLDER")]
        dir: std::path::PathBuf,
    },
}

/// Reads this process' arguments. Ends the process with code 2 after a wrong one, 0 after --help.
#[must_use]
pub fn parse() -> Cli {
    let matches = document::program().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut document::program()).exit())
}
