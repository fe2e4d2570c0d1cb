//! Pools, and how they are balanced.

use clap::{Args, Subcommand, ValueEnum};
use humantime::Duration;
use xenith_hypervisor_agent_types::ParseCpuFeaturesError;
use xenith_orchestrator_types::cpu_level::CpuLevelMode;

use super::{Confirm, Keyed, Listing, OnOff, Planned};

fn parse_cpu_level(text: &str) -> Result<CpuLevelMode, ParseCpuFeaturesError> {
    Ok(match text {
        "auto" => CpuLevelMode::Auto,
        "off" => CpuLevelMode::Off,
        features => CpuLevelMode::Set { features: features.parse()? },
    })
}

#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// List pools.
    List(Listing),
    /// Create a pool.
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Delete an empty pool.
    Delete {
        #[arg(value_name = "POOL")]
        pool: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Move VMs to where they should be: those of the fullest hosts to emptier ones, or all off hosts that can be spared.
    Balance {
        #[arg(value_name = "POOL")]
        pool: String,
        /// What to reach; without it, what the pool is set to.
        #[arg(long, value_enum)]
        goal: Option<GoalFlag>,
        #[command(flatten)]
        planned: Planned,
    },
    /// Show how a pool is balanced, what is proposed, and what moves.
    BalanceStatus {
        #[arg(value_name = "POOL")]
        pool: String,
    },
    /// Change how a pool is balanced; what is not given stays.
    SetBalance(Box<SetBalanceArgs>),
    /// Show what VMs that start in a pool are given of the processors' features, and what its hosts have.
    CpuLevel {
        #[arg(value_name = "POOL")]
        pool: String,
    },
    /// Set what VMs that start from now on are given of the processors' features, so that they can move between unlike hosts.
    SetCpuLevel {
        #[arg(value_name = "POOL")]
        pool: String,
        /// `auto`: what all hosts of the pool have. `off`: all that the VM's host has. Or features, as `xenith host get` shows
        /// them.
        #[arg(value_name = "LEVEL", value_parser = parse_cpu_level)]
        level: CpuLevelMode,
        /// Show what would change, and which VMs have more until they are shut down and started; nothing changes.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Update the hosts of a pool, one after the other: VMs leave, the host is updated and starts anew, VMs come back.
    Update(Box<UpdatePoolArgs>),
    /// Show what updates a pool, and whether it is paused.
    UpdateStatus {
        #[arg(value_name = "POOL")]
        pool: String,
    },
    /// Begin no further host of an update; the one that has begun is brought to its end.
    PauseUpdate {
        #[arg(value_name = "POOL")]
        pool: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Go on with an update that was paused.
    ResumeUpdate {
        #[arg(value_name = "POOL")]
        pool: String,
        #[command(flatten)]
        keyed: Keyed,
    },
}

/// xenith pool set-balance default --mode automatic --threshold 15 --per-hour 20
///
/// xenith pool set-balance default --mode propose --goal density --ceiling 75
#[derive(Debug, Args)]
pub struct SetBalanceArgs {
    #[arg(value_name = "POOL")]
    pub pool: String,
    /// Who decides.
    #[arg(long, value_enum)]
    pub mode: Option<ModeFlag>,
    /// What plans are to reach.
    #[arg(long, value_enum)]
    pub goal: Option<GoalFlag>,
    /// For performance: a host so much above the mean gives VMs away, 1 to 100.
    #[arg(long, value_name = "PERCENT")]
    pub threshold: Option<u8>,
    /// For performance: a host that would not become less full by so much keeps its VMs, 0 to 100.
    #[arg(long, value_name = "PERCENT")]
    pub min_gain: Option<u8>,
    /// No host is filled further, 1 to 100.
    #[arg(long, value_name = "PERCENT")]
    pub ceiling: Option<u8>,
    /// Moves of one plan, 1 to 500.
    #[arg(long, value_name = "N")]
    pub moves: Option<u32>,
    /// Moves at the same time, 1 to 100.
    #[arg(long, value_name = "N")]
    pub at_once: Option<u32>,
    /// Of these, to or from one host, 1 to 100.
    #[arg(long, value_name = "N")]
    pub per_host: Option<u32>,
    /// Moves that begin within an hour, 1 to 1000.
    #[arg(long, value_name = "N")]
    pub per_hour: Option<u32>,
    /// How long a VM that was moved stays where it is: 0s to 7d.
    #[arg(long, value_name = "DURATION")]
    pub cool_down: Option<Duration>,
    /// For density and automatic: switch hosts off that others do without, and on again when there is too little room. Only
    /// hosts with power control.
    #[arg(long, value_enum)]
    pub power_hosts: Option<OnOff>,
    /// So many hosts stay on, 1 to 1000.
    #[arg(long, value_name = "N")]
    pub hosts_on: Option<u32>,
    /// After a host was switched, none is switched off for so long: 0s to 7d.
    #[arg(long, value_name = "DURATION")]
    pub power_cool_down: Option<Duration>,
    #[command(flatten)]
    pub keyed: Keyed,
}

/// xenith pool update default --image https://example.org/live --dry-run
///
/// xenith pool update default --packages --host xen1 --host xen2
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["image", "packages", "reboot"])))]
pub struct UpdatePoolArgs {
    #[arg(value_name = "POOL")]
    pub pool: String,
    /// A new system from this folder of a web server, for hosts that were installed from the medium.
    #[arg(long, value_name = "URL")]
    pub image: Option<String>,
    /// Up-to-date packages, and a reboot where they need one, for all other hosts.
    #[arg(long)]
    pub packages: bool,
    /// A reboot alone.
    #[arg(long)]
    pub reboot: bool,
    /// Only this host; may be given several times.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Hosts at the same time.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub at_once: u32,
    /// Leave VMs where they went to.
    #[arg(long)]
    pub vms_stay: bool,
    /// VMs with disks that no other host reaches leave, too, and take those along, there and back.
    #[arg(long)]
    pub move_disks: bool,
    #[command(flatten)]
    pub planned: Planned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GoalFlag {
    /// No host is much fuller than the others.
    Performance,
    /// As few hosts as can be.
    Density,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeFlag {
    /// Somebody asks for a plan.
    Off,
    /// Plans are made and shown.
    Propose,
    /// Plans are made and carried out.
    Automatic,
}
