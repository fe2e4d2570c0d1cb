//! What is known of a VMware site, from a live inventory or from an export, in one shape.
//!
//! A field that the origin does not give is `None` and never a guess: rules say "not known" where it matters.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    On,
    #[default]
    Off,
    Suspended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tools {
    Running,
    Old,
    NotRunning,
    NotInstalled,
    #[default]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskMode {
    #[default]
    Persistent,
    IndependentPersistent,
    IndependentNonpersistent,
    /// Any other: undoable, append.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bus {
    #[default]
    Scsi,
    Ide,
    Sata,
    Nvme,
    Unknown,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VmDisk {
    pub label: String,
    /// `[datastore] folder/file.vmdk`; two VMs with one path share the disk.
    pub path: String,
    pub capacity_mib: u64,
    /// What is in use, where the origin tells.
    pub used_mib: Option<u64>,
    pub mode: DiskMode,
    /// A raw device mapping: `Some(true)` in physical mode.
    pub rdm_physical: Option<bool>,
    pub shared: bool,
    pub bus: Bus,
    pub encrypted: bool,
    pub thin: bool,
    /// Changed-block tracking of this disk, where known.
    pub cbt: Option<bool>,
}

impl VmDisk {
    /// The datastore's name in `path`.
    #[must_use]
    pub fn datastore(&self) -> &str {
        self.path.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VmNic {
    pub label: String,
    pub network: String,
    pub mac: String,
    pub adapter: String,
    pub connected: bool,
    pub static_mac: Option<bool>,
    pub addresses: Vec<String>,
    pub sriov: bool,
    pub direct_path: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Vm {
    pub name: String,
    /// The server's id of it (`vm-42`), else its UUID, else its name.
    pub id: String,
    pub uuid: String,
    pub power: Power,
    pub template: bool,
    pub datacenter: String,
    pub cluster: String,
    pub host: String,
    pub resource_pool: String,
    pub folder: String,
    pub annotation: String,
    pub os: String,
    pub hostname: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub hardware: u32,
    pub efi: bool,
    pub secure_boot: Option<bool>,
    pub vtpm: Option<bool>,
    pub encrypted: Option<bool>,
    pub cbt: Option<bool>,
    pub snapshots: u32,
    pub consolidation_needed: bool,
    pub fault_tolerant: bool,
    pub latency_sensitive: bool,
    pub tools: Tools,
    pub usb_devices: u32,
    pub passthrough: u32,
    pub vgpu: bool,
    pub serial_ports: u32,
    pub cd_connected: bool,
    pub floppy_connected: bool,
    pub nested_hypervisor: bool,
    pub hot_add: bool,
    pub memory_reservation_mib: u64,
    pub cpu_reservation_mhz: u64,
    pub disks: Vec<VmDisk>,
    pub nics: Vec<VmNic>,
    /// Guest volumes with BitLocker or hibernation, where the origin looked.
    pub bitlocker: Option<bool>,
    pub hibernated: Option<bool>,
    pub filesystems: Vec<String>,
    pub used_mib: Option<u64>,
    pub provisioned_mib: u64,
}

impl Vm {
    /// Bytes to be moved as far as known: in use, else provisioned.
    #[must_use]
    pub fn transfer_mib(&self) -> u64 {
        let disks: u64 = self.disks.iter().map(|d| d.used_mib.unwrap_or(d.capacity_mib)).sum();
        let capacity: u64 = self.disks.iter().map(|d| d.capacity_mib).sum();
        match self.used_mib {
            Some(used) if used > 0 => used.min(capacity.max(1)),
            _ => disks,
        }
    }

    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.os.to_ascii_lowercase().contains("windows")
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    pub name: String,
    pub cluster: String,
    pub datacenter: String,
    pub cores: u32,
    pub memory_mib: u64,
    pub version: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Datastore {
    pub name: String,
    pub kind: String,
    pub capacity_mib: u64,
    pub free_mib: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Inventory {
    pub vms: Vec<Vm>,
    pub hosts: Vec<Host>,
    pub datastores: Vec<Datastore>,
}
