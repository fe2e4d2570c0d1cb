//! What a VM has besides the usual, what it is protected against, and many VMs at once.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use humantime::Duration;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::{CpuSet, PciAddress};

use super::{Confirm, Keyed, OnOff};

#[derive(Debug, Args)]
#[command(next_help_heading = "Devices")]
pub struct Devices {
    /// hvm: a CD drive, with this ISO in it (--cd=NAME), or empty (--cd).
    #[arg(long, value_name = "ISO", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub cd: Option<String>,
    /// Takes the CD drive away.
    #[arg(long, conflicts_with = "cd")]
    pub no_cd: bool,
    /// hvm with graphics: the video card, std or cirrus.
    #[arg(long, value_name = "ADAPTER", value_parser = ["std", "cirrus"])]
    pub video: Option<String>,
    /// hvm with graphics: its memory, 16MiB to 256MiB for std, 8MiB or 16MiB for cirrus.
    #[arg(long, value_name = "SIZE")]
    pub video_memory: Option<MemoryMiB>,
    /// Share of the CPUs when there is too little for all: 1 to 65535, others have 256.
    #[arg(long, value_name = "N")]
    pub cpu_weight: Option<u16>,
    /// At most so many hundredths of a CPU: 150 are one and a half; 0 takes the limit away.
    #[arg(long, value_name = "N")]
    pub cpu_cap: Option<u16>,
    /// The host's CPUs that it may run on, such as 0-3,8; `all` takes the limit away.
    #[arg(long, value_name = "CPUS")]
    pub cpu_pin: Option<PinFlag>,
    /// A PCI device of the host (`host hardware` lists them); may be given more than once and replaces all.
    #[arg(long, value_name = "ADDRESS")]
    pub pci: Vec<PciAddress>,
    /// Takes all PCI devices away.
    #[arg(long, conflicts_with = "pci")]
    pub no_pci: bool,
    /// A channel to the QEMU guest agent in the guest, which backups ask to hold filesystems still; from the next start on.
    #[arg(long, value_enum)]
    pub guest_agent: Option<OnOff>,
    /// Not offered by Xen; says what to do instead.
    #[arg(long, value_name = "DEVICE")]
    pub usb: Vec<String>,
    /// Not offered by Xen; says why.
    #[arg(long)]
    pub tpm: bool,
    /// Not offered by Xen; says why.
    #[arg(long)]
    pub secure_boot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinFlag {
    All,
    To(CpuSet),
}

impl FromStr for PinFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.parse()
            .map(Self::To)
            .map_err(|error: xenith_hypervisor_agent_types::ParseCpuSetError| error.to_string())
    }
}

/// What is kept with it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Notes and protection")]
pub struct Kept {
    /// Refuse this until it is allowed again: delete, start or migration. More than once.
    #[arg(long, value_name = "WHAT", value_enum)]
    pub protect: Vec<Against>,
    /// Allow this again. More than once.
    #[arg(long, value_name = "WHAT", value_enum)]
    pub unprotect: Vec<Against>,
    /// A custom field, KEY=VALUE; KEY= takes it away. More than once.
    #[arg(long, value_name = "KEY=VALUE")]
    pub custom: Vec<KeyValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Against {
    Delete,
    Start,
    Migration,
}

/// A value under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: String,
}

impl FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("{text:?} is not KEY=VALUE")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BulkVerb {
    Start,
    Shutdown,
    Reboot,
    PowerOff,
    Pause,
    Unpause,
    Suspend,
    Resume,
    Delete,
}

/// xenith vm bulk shutdown --filter "tag:test power:running"
#[derive(Debug, Args)]
pub struct BulkArgs {
    /// What is done with each.
    #[arg(value_enum, value_name = "ACTION")]
    pub action: BulkVerb,
    /// Names or ids.
    #[arg(value_name = "VM")]
    pub vms: Vec<String>,
    /// Those that this filter lets through, too.
    #[arg(short, long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    pub filter: String,
    /// shutdown and reboot: how long a guest may take.
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub deadline: Duration,
    /// shutdown and reboot: power off who did not answer in time.
    #[arg(long)]
    pub force: bool,
    /// power-off: those that are suspended too, whose saved memory is lost.
    #[arg(long)]
    pub discard_memory: bool,
    #[command(flatten)]
    pub confirm: Confirm,
    #[command(flatten)]
    pub keyed: Keyed,
}

/// xenith vm export web-1 web-1.xva
#[derive(Debug, Args)]
pub struct VmExportArgs {
    #[arg(value_name = "VM")]
    pub vm: String,
    /// What it is written to.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// As it was at this snapshot: also while the VM runs.
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Without one, by the ending of FILE.
    #[arg(long, value_enum)]
    pub format: Option<VmFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VmFormat {
    /// XenServer and XCP-ng.
    Xva,
    /// VMware, VirtualBox and others.
    Ova,
}

impl VmFormat {
    pub fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "xva" => Some(Self::Xva),
            "ova" => Some(Self::Ova),
            _ => None,
        }
    }
}
