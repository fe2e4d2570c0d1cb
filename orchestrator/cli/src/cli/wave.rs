//! Waves of imports.

use clap::{Args, Subcommand};
use humantime::Duration;

use super::import::MoveArgs;
use super::{Confirm, Keyed, Listing};

#[derive(Debug, Subcommand)]
pub enum WaveCommand {
    /// List waves.
    List(Listing),
    /// Report on one wave: where each of its VMs is.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "WAVE")]
        wave: String,
    },
    /// Put VMs of a source together; nothing begins yet.
    Create(Box<WaveArgs>),
    /// Let a wave run, or run on; VMs that could not begin are tried again.
    #[command(visible_alias = "resume")]
    Start {
        #[arg(value_name = "WAVE")]
        wave: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Begin no more VMs of a wave; those on their way go on.
    Pause {
        #[arg(value_name = "WAVE")]
        wave: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Forget a wave of which nothing is on its way.
    Delete {
        #[arg(value_name = "WAVE")]
        wave: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}

/// xenith wave create friday vcenter web-1 web-2 db-1 --network "VM Network=lan" --downtime 1m --start
#[derive(Debug, Args)]
pub struct WaveArgs {
    #[arg(value_name = "NAME")]
    pub name: String,
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Names or ids at the source, in the order in which they begin.
    #[arg(value_name = "VM", required = true)]
    pub vms: Vec<String>,
    #[command(flatten)]
    pub how: MoveArgs,
    #[command(flatten)]
    pub caps: CapArgs,
    #[command(flatten)]
    pub keyed: Keyed,
}

/// How many move at a time.
#[derive(Debug, Clone, Copy, Args)]
pub struct CapArgs {
    /// VMs that move at a time.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub parallel: u32,
    /// From one host of the source.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub per_host: u32,
    /// From one datastore.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub per_datastore: u32,
    /// To one host here.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub per_target: u32,
    /// To one SR here.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub per_sr: u32,
}

/// xenith import plan vcenter --window 6h --line 400
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Names or ids; all without one.
    #[arg(value_name = "VM")]
    pub vms: Vec<String>,
    /// Our network for one of theirs, as in `import start`: with any, one without is a finding. More than once.
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// Our SR for one of their datastores, as in `import start`: with any, one without, or too little room, is a finding.
    #[arg(long = "storage", value_name = "SR")]
    pub storage: Vec<String>,
    /// Of a migration.
    #[arg(long, value_name = "DURATION", default_value = "8h")]
    pub window: Duration,
    /// VMs in a wave.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_vms: u32,
    /// What the line carries, as measured, in MiB per second.
    #[arg(long, value_name = "MIB", default_value_t = 800)]
    pub line: u32,
    /// NAME=0..9; the less critical move first. More than once.
    #[arg(long = "criticality", value_name = "VM=N", value_parser = criticality)]
    pub criticality: Vec<(String, u8)>,
    /// NAME=OTHER: both move in one wave. More than once.
    #[arg(long = "with", value_name = "VM=VM", value_parser = pair)]
    pub with: Vec<(String, String)>,
    #[command(flatten)]
    pub caps: CapArgs,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.rsplit_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn criticality(text: &str) -> Result<(String, u8), String> {
    let (name, value) = pair(text)?;
    let value = value.parse().ok().filter(|value| *value <= 9);
    Ok((name, value.ok_or_else(|| format!("{text:?} is not NAME=0 to NAME=9"))?))
}
