//! Virtual machines: the largest noun.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use humantime::Duration;
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_types::{DiskDevice, VdiSize, VmName};

use super::{BulkArgs, Columns, Confirm, Devices, Kept, Listing, Planned, SetNicArgs, VmExportArgs};

#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// List VMs.
    List {
        /// Follow the list until Ctrl-C.
        #[arg(short, long, conflicts_with_all = ["sort", "limit", "all"])]
        watch: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Count VMs.
    Count {
        /// Only those that this filter lets through.
        #[arg(short, long, value_name = "FILTER", default_value = "", hide_default_value = true)]
        filter: String,
    },
    /// Tell what could be typed next in a filter.
    Complete {
        /// What was typed so far.
        #[arg(value_name = "FILTER", default_value = "", hide_default_value = true)]
        text: String,
    },
    /// Show one VM.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "VM")]
        vm: String,
    },
    /// Tell where a VM would be placed, and why.
    Place(PlaceArgs),
    /// Create a VM and its disks on the best host.
    Create(Box<CreateArgs>),
    /// Change a VM; a running one gets what it can take at once.
    Update(Box<UpdateArgs>),
    /// Delete a stopped VM and its disks.
    Delete {
        #[arg(value_name = "VM")]
        vm: String,
        /// Keep its VDIs.
        #[arg(long)]
        keep_disks: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        planned: Planned,
    },
    /// Start a VM.
    Start {
        #[arg(value_name = "VM")]
        vm: String,
        #[command(flatten)]
        planned: Planned,
    },
    /// Ask the guest to shut down.
    Shutdown(Shutdown),
    /// Ask the guest to reboot.
    Reboot(Shutdown),
    /// End a VM at once, like pulling its plug.
    PowerOff {
        #[arg(value_name = "VM")]
        vm: String,
        /// Also when it is suspended: the memory that was saved of it is lost.
        #[arg(long)]
        discard_memory: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        planned: Planned,
    },
    /// Stop a VM's virtual CPUs.
    Pause(One),
    /// Let a paused VM run.
    Unpause(One),
    /// Save a VM's memory to its host's disk and free it.
    Suspend(One),
    /// Bring a suspended VM back.
    Resume(One),
    /// Move a VM to another host that reaches its disks, as it runs.
    Migrate {
        #[arg(value_name = "VM")]
        vm: String,
        /// Without one, the best host that is not the one it is on.
        #[arg(long)]
        host: Option<String>,
        /// Copy the disks that the other host does not reach.
        #[arg(long)]
        move_disks: bool,
        /// Copy them to this SR of the other host, instead of its local one.
        #[arg(long)]
        sr: Option<String>,
        /// Of these copies: MiB per second at most. What the VM has to stand for goes without a limit.
        #[arg(long, value_name = "MIB")]
        bandwidth: Option<u64>,
        #[command(flatten)]
        planned: Planned,
    },
    /// Attach a disk: a new one, or a VDI that is there.
    AttachDisk {
        #[arg(value_name = "VM")]
        vm: String,
        /// SIZE, or size=20GiB or vdi=NAME, with device=xvdb and access=ro after commas.
        #[arg(value_name = "DISK")]
        disk: DiskFlag,
        #[command(flatten)]
        planned: Planned,
    },
    /// Detach a disk; its VDI stays.
    DetachDisk {
        #[arg(value_name = "VM")]
        vm: String,
        /// Such as xvdb.
        #[arg(value_name = "DEVICE")]
        device: DiskDevice,
        #[command(flatten)]
        planned: Planned,
    },
    /// Put an ISO into the CD drive of an hvm guest.
    InsertCd {
        #[arg(value_name = "VM")]
        vm: String,
        /// A VDI; it may be in several drives.
        #[arg(value_name = "ISO")]
        iso: String,
        #[command(flatten)]
        planned: Planned,
    },
    /// Take out what is in the CD drive; the drive stays.
    EjectCd(One),
    /// Make a new VM like another, running or not, with disks of its own.
    Clone {
        #[arg(value_name = "VM")]
        vm: String,
        /// Of the new VM.
        #[arg(value_name = "NAME")]
        name: VmName,
        /// Without one, as the other's.
        #[arg(long)]
        description: Option<String>,
        /// Start it when it is made.
        #[arg(long)]
        start: bool,
        #[command(flatten)]
        planned: Planned,
    },
    /// Write a whole VM into a file of this machine: an XVA for XenServer and XCP-ng, or an OVA. It is off, or a snapshot
    /// is named.
    Export(VmExportArgs),
    /// Do the same with many VMs, and tell of each what came of it.
    Bulk(BulkArgs),
    /// Add a NIC.
    AttachNic {
        #[arg(value_name = "VM")]
        vm: String,
        /// NETWORK, with mac=00:16:3e:12:34:56 after a comma.
        #[arg(value_name = "NIC")]
        nic: NicFlag,
        #[command(flatten)]
        planned: Planned,
    },
    /// Show what may pass a VM's NICs.
    Nics {
        #[arg(value_name = "VM")]
        vm: String,
        #[command(flatten)]
        columns: Columns,
    },
    /// Change what may pass a NIC, of a running VM too: addresses that are its own, a rate, its link.
    SetNic(SetNicArgs),
    /// Remove a NIC.
    DetachNic {
        #[arg(value_name = "VM")]
        vm: String,
        /// Of the NIC; `vm nics` lists them.
        #[arg(value_name = "MAC")]
        mac: MacAddr,
        #[command(flatten)]
        planned: Planned,
    },
}

/// One VM and a task.
#[derive(Debug, Args)]
pub struct One {
    #[arg(value_name = "VM")]
    pub vm: String,
    #[command(flatten)]
    pub planned: Planned,
}

#[derive(Debug, Args)]
pub struct Shutdown {
    #[arg(value_name = "VM")]
    pub vm: String,
    /// How long the guest may take.
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub deadline: Duration,
    /// Power it off when it did not answer in time.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub planned: Planned,
}

#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Such as 4GiB.
    #[arg(long)]
    pub memory: MemoryMiB,
    #[arg(long, default_value = "1")]
    pub vcpus: u32,
    #[arg(long)]
    pub pool: Option<String>,
    /// A network that the host must have; may be given more than once.
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// The id of a VDI that the host must reach; may be given more than once.
    #[arg(long = "vdi", value_name = "ID")]
    pub vdis: Vec<xenith_common_ids::VdiId>,
    /// A VM that it should not share a host with; may be given more than once.
    #[arg(long, value_name = "VM")]
    pub apart_from: Vec<String>,
    /// A VM that it should share a host with; may be given more than once.
    #[arg(long, value_name = "VM")]
    pub together_with: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Paravirtualised: needs no hardware support.
    Pv,
    /// Hardware-assisted without emulated devices: the default with --kernel.
    Pvh,
    /// A whole emulated machine: the default without --kernel.
    Hvm,
}

/// How it boots.
#[derive(Debug, Args)]
#[command(next_help_heading = "Boot")]
pub struct Boot {
    /// How the guest is virtualised.
    #[arg(long, value_enum)]
    pub kind: Option<Kind>,
    /// pv and pvh: the kernel, a file in the host's boot folder.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<String>,
    /// pv and pvh: the initial ramdisk, a file in the host's boot folder.
    #[arg(long, value_name = "FILE")]
    pub ramdisk: Option<String>,
    /// pv and pvh: the kernel's command line.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub cmdline: Option<String>,
    /// hvm: bios or uefi.
    #[arg(long, value_parser = ["bios", "uefi"])]
    pub firmware: Option<String>,
    /// hvm: what to boot from, in this order: disk,cdrom,network.
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', value_parser = ["disk", "cdrom", "network"])]
    pub boot: Vec<String>,
}

/// What it has and does.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hardware")]
pub struct Hardware {
    /// Such as 256MiB or 4GiB.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<MemoryMiB>,
    /// How far memory can be raised while it runs; without it, as --memory.
    #[arg(long, value_name = "SIZE")]
    pub max_memory: Option<MemoryMiB>,
    /// Virtual CPUs.
    #[arg(long, value_name = "N", value_parser = vcpus)]
    pub vcpus: Option<VcpuCount>,
    /// How many it can be given while it runs; without it, as --vcpus.
    #[arg(long, value_name = "N", value_parser = vcpus)]
    pub max_vcpus: Option<VcpuCount>,
    /// A framebuffer over VNC: none or vnc.
    #[arg(long, value_parser = ["none", "vnc"])]
    pub graphics: Option<String>,
    /// When it crashes: restart, stop or preserve.
    #[arg(long, value_name = "ACTION", value_parser = ["restart", "stop", "preserve"])]
    pub on_crash: Option<String>,
    /// When it reboots by itself: restart or stop.
    #[arg(long, value_name = "ACTION", value_parser = ["restart", "stop"])]
    pub on_reboot: Option<String>,
    /// Start it when its host boots, in this order; seconds to wait after it follow a colon: 10:30.
    #[arg(long, value_name = "ORDER[:SECONDS]")]
    pub autostart: Option<AutostartFlag>,
    #[arg(long)]
    pub description: Option<String>,
}

/// xenith vm create web-1 --kernel vmlinuz --ramdisk initrd.img --memory 1GiB --disk 10GiB --nic default --start
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// May be left out when the file has it.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// A file with what vm.create takes, as TOML, YAML or JSON; `-` reads standard input. Flags win over it.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub boot: Boot,
    #[command(flatten)]
    pub hardware: Hardware,
    #[command(flatten)]
    pub devices: Devices,
    #[command(flatten)]
    pub kept: Kept,
    /// A disk: 10GiB, or size=10GiB or vdi=NAME with sr=SR, device=xvdb, access=ro after commas. More than once.
    #[arg(long = "disk", value_name = "DISK", help_heading = "Hardware")]
    pub disks: Vec<DiskFlag>,
    /// A NIC in this network, with mac=00:16:3e:12:34:56 after a comma. More than once.
    #[arg(long = "nic", value_name = "NETWORK", help_heading = "Hardware")]
    pub nics: Vec<NicFlag>,
    /// More than once.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Without one, the pool `default`.
    #[arg(long)]
    pub pool: Option<String>,
    /// Without one, the best host is chosen.
    #[arg(long)]
    pub host: Option<String>,
    /// A VM that it should not share a host with; more than once.
    #[arg(long, value_name = "VM")]
    pub apart_from: Vec<String>,
    /// A VM that it should share a host with; more than once.
    #[arg(long, value_name = "VM")]
    pub together_with: Vec<String>,
    /// Start it when it is made.
    #[arg(long)]
    pub start: bool,
    #[command(flatten)]
    pub planned: Planned,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[arg(value_name = "VM")]
    pub vm: String,
    /// A new name.
    #[arg(long = "name", value_name = "NAME")]
    pub new_name: Option<String>,
    /// A file with what vm.update takes, as TOML, YAML or JSON; `-` reads standard input. Flags win over it.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub boot: Boot,
    #[command(flatten)]
    pub hardware: Hardware,
    #[command(flatten)]
    pub devices: Devices,
    #[command(flatten)]
    pub kept: Kept,
    /// Turns autostart off.
    #[arg(long, conflicts_with = "autostart")]
    pub no_autostart: bool,
    /// Replaces all tags. More than once.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Adds a tag. More than once.
    #[arg(long = "add-tag", value_name = "TAG", conflicts_with = "tags")]
    pub add_tags: Vec<String>,
    /// Takes a tag away. More than once.
    #[arg(long = "remove-tag", value_name = "TAG", conflicts_with = "tags")]
    pub remove_tags: Vec<String>,
    /// Replaces the VMs that it should not share a host with. More than once.
    #[arg(long, value_name = "VM")]
    pub apart_from: Vec<String>,
    /// Replaces the VMs that it should share a host with. More than once.
    #[arg(long, value_name = "VM")]
    pub together_with: Vec<String>,
    /// Takes it out of the company of all VMs: neither apart nor together.
    #[arg(long, conflicts_with_all = ["apart_from", "together_with"])]
    pub no_company: bool,
    #[command(flatten)]
    pub planned: Planned,
}

pub(super) fn vcpus(text: &str) -> Result<VcpuCount, String> {
    let count: u32 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    VcpuCount::new(count).map_err(|error| error.to_string())
}

/// `ORDER[:SECONDS]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutostartFlag {
    pub order: u16,
    pub delay_s: u16,
}

impl FromStr for AutostartFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (order, delay) = text.split_once(':').unwrap_or((text, "0"));
        let number = |part: &str| part.parse().map_err(|_| format!("{text:?} is not ORDER or ORDER:SECONDS"));
        Ok(Self { order: number(order)?, delay_s: number(delay)? })
    }
}

/// Where a disk comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceFlag {
    New(VdiSize),
    Vdi(String),
}

/// `10GiB`, `size=10GiB,device=xvdb`, `vdi=NAME,access=ro`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFlag {
    pub source: DeviceFlag,
    pub device: Option<DiskDevice>,
    pub read_only: bool,
    /// Where a new one is made.
    pub sr: Option<String>,
}

impl FromStr for DiskFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut source, mut device, mut read_only, mut sr) = (None, None, false, None);
        for part in text.split(',') {
            let (key, value) = part.split_once('=').unwrap_or(("size", part));
            let size = || {
                value.parse().map_err(|error: xenith_hypervisor_agent_types::VdiSizeError| error.to_string())
            };
            let twice = match (key, value) {
                ("size", _) => source.replace(DeviceFlag::New(size()?)).is_some(),
                ("vdi", _) if !value.is_empty() => {
                    source.replace(DeviceFlag::Vdi(value.to_owned())).is_some()
                }
                ("sr", _) if !value.is_empty() => sr.replace(value.to_owned()).is_some(),
                ("device", _) => {
                    let parsed = value.parse::<DiskDevice>().map_err(|error| error.to_string())?;
                    device.replace(parsed).is_some()
                }
                ("access", "rw" | "read-write") => false,
                ("access", "ro" | "read-only") => std::mem::replace(&mut read_only, true),
                _ => {
                    return Err(format!(
                        "{part:?}: use size=SIZE or vdi=NAME, sr=SR, device=xvdX, access=ro|rw"
                    ));
                }
            };
            if twice {
                return Err(format!("{part:?}: said twice; size and vdi exclude each other"));
            }
        }
        let source = source.ok_or_else(|| format!("{text:?} has neither size=SIZE nor vdi=NAME"))?;
        if sr.is_some() && matches!(source, DeviceFlag::Vdi(_)) {
            return Err(format!("{text:?}: a VDI is in its SR already"));
        }
        Ok(Self { source, device, read_only, sr })
    }
}

/// `NETWORK[,mac=ADDRESS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicFlag {
    pub network: String,
    pub mac: Option<MacAddr>,
}

impl FromStr for NicFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (network, rest) = match text.split_once(',') {
            Some((network, rest)) => (network, Some(rest)),
            None => (text, None),
        };
        let network = network.strip_prefix("network=").unwrap_or(network);
        if network.is_empty() || network.contains('=') {
            return Err(format!("{text:?} names no network; write NETWORK or NETWORK,mac=00:16:3e:12:34:56"));
        }
        let mac = match rest {
            None => None,
            Some(rest) => {
                let mac = rest
                    .strip_prefix("mac=")
                    .ok_or_else(|| format!("{rest:?}: only mac=ADDRESS may follow"))?;
                Some(mac.parse().map_err(|error: xenith_common_units::ParseMacError| error.to_string())?)
            }
        };
        Ok(Self { network: network.to_owned(), mac })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks() {
        let gib = |n: u64| DeviceFlag::New(VdiSize::from_bytes(n << 30).unwrap());
        for (text, expected) in [
            ("1GiB", Some((gib(1), None, false))),
            ("size=2GiB,access=ro", Some((gib(2), None, true))),
            ("vdi=root,device=xvdb", Some((DeviceFlag::Vdi("root".into()), Some("xvdb"), false))),
            ("3GiB,sr=fast", Some((gib(3), None, false))),
            ("vdi=root,sr=fast", None),
            ("1GiB,vdi=root", None),
            ("device=xvda", None),
            ("1GiB,access=maybe", None),
            ("1GB?", None),
            ("1GiB,1GiB", None),
            ("", None),
        ] {
            let expected = expected.map(|(source, device, read_only)| DiskFlag {
                source,
                device: device.map(|device| device.parse().unwrap()),
                read_only,
                sr: text.contains("sr=").then(|| "fast".to_owned()),
            });
            assert_eq!(text.parse::<DiskFlag>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn nics() {
        for (text, network, mac) in [
            ("default", Some("default"), None),
            ("network=lan,mac=00:16:3e:00:00:01", Some("lan"), Some("00:16:3e:00:00:01")),
            ("lan,mac=nonsense", None, None),
            ("lan,vlan=3", None, None),
            ("", None, None),
        ] {
            let parsed = text.parse::<NicFlag>().ok();
            assert_eq!(parsed.as_ref().map(|nic| nic.network.as_str()), network, "{text}");
            assert_eq!(parsed.and_then(|nic| nic.mac), mac.map(|mac| mac.parse().unwrap()), "{text}");
        }
    }
}
