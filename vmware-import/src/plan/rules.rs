//! The rules of the assessment: a table, a line or a few per rule.
//!
//! A rule sees one VM and what is known of the rest, and gives a reason, or nothing. It never changes anything.
//! Codes are stable: scripts and tickets name them.

use serde::Serialize;
use xenith_common_text::counted;

use super::Context;
use super::inventory::{Bus, DiskMode, Power, Tools, Vm, VmDisk};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Somebody should decide or do something; the move can go on.
    Attention,
    /// The VM cannot be moved as it is.
    Blocks,
}

/// What a rule has to say about a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: &'static str,
    pub severity: Severity,
    pub reason: String,
    pub fix: &'static str,
}

pub struct Rule {
    pub code: &'static str,
    pub severity: Severity,
    pub fix: &'static str,
    /// The reason when the rule applies.
    pub applies: fn(&Vm, &Context<'_>) -> Option<String>,
}

fn when(condition: bool, reason: impl FnOnce() -> String) -> Option<String> {
    condition.then(reason)
}

fn says(condition: bool, reason: &str) -> Option<String> {
    condition.then(|| reason.to_owned())
}

/// The labels of the disks that `pick` chooses, as a reason.
fn disks(vm: &Vm, word: &str, pick: fn(&VmDisk) -> bool) -> Option<String> {
    let labels: Vec<&str> =
        vm.disks.iter().filter(|disk| pick(disk)).map(|disk| disk.label.as_str()).collect();
    when(!labels.is_empty(), || format!("{word}: {}", labels.join(", ")))
}

fn os_is(vm: &Vm, words: &[&str]) -> bool {
    let os = vm.os.to_ascii_lowercase();
    words.iter().any(|word| os.contains(word))
}

const MIB_PER_TIB: u64 = 1 << 20;

use Severity::{Attention, Blocks, Note};

macro_rules! rules {
    ($($code:literal $severity:ident $fix:literal $applies:expr;)*) => {
        /// All rules, in the order they are shown.
        pub const RULES: &[Rule] = &[$(Rule { code: $code, severity: $severity, fix: $fix, applies: $applies },)*];
    };
}

rules! {
    "disk-rdm-physical" Blocks "present the LUN to the new host, or convert the mapping to a VMDK"
        |vm, _| disks(vm, "raw device mapping in physical mode", |d| d.rdm_physical == Some(true));
    "disk-rdm-virtual" Attention "it is copied as a disk; the LUN itself stays where it is"
        |vm, _| disks(vm, "raw device mapping in virtual mode", |d| d.rdm_physical == Some(false));
    "disk-independent-running" Blocks "shut the VM down for the copy, or make the disk dependent: such a disk is in no snapshot"
        |vm, _| disks(vm, "independent disk of a VM that runs", |d| d.mode == DiskMode::IndependentPersistent).filter(|_| vm.power == Power::On);
    "disk-independent-persistent" Attention "such a disk is in no snapshot: it is read whole and compared in each pass"
        |vm, _| disks(vm, "independent disk", |d| d.mode == DiskMode::IndependentPersistent);
    "disk-nonpersistent" Blocks "make the disk persistent, or decide that its contents are not needed"
        |vm, _| disks(vm, "non-persistent disk", |d| d.mode == DiskMode::IndependentNonpersistent);
    "disk-mode-unknown" Attention "look at the disk's mode in the settings of the VM"
        |vm, _| disks(vm, "unusual disk mode", |d| d.mode == DiskMode::Other);
    "disk-shared" Blocks "move the cluster's VMs together with a shared disk made on the target, or split them"
        |vm, _| disks(vm, "shared between VMs", |d| d.shared);
    "disk-same-file" Blocks "find out which VM owns the disk; both would get a copy of their own"
        |vm, c| when(vm.disks.iter().any(|d| c.disk_users(&d.path) > 1), || "another VM has the same disk file".into());
    "disk-encrypted" Blocks "decrypt it on the source: the key stays with the key server"
        |vm, _| disks(vm, "encrypted disk", |d| d.encrypted);
    "disk-nvme" Note "it comes along as a normal disk; device names change, use UUIDs in fstab"
        |vm, _| disks(vm, "NVMe controller", |d| d.bus == Bus::Nvme);
    "disk-ide" Note "it comes along; boot loaders that name hda need a look"
        |vm, _| disks(vm, "IDE controller", |d| d.bus == Bus::Ide);
    "disk-bus-unknown" Attention "look at the controller: what is not known cannot be promised"
        |vm, _| disks(vm, "unknown controller", |d| d.bus == Bus::Unknown);
    "disk-none" Attention "a VM without disks is only its settings"
        |vm, _| says(vm.disks.is_empty(), "no disk is listed");
    "disk-many" Attention "at most 60 disks are attached; merge some inside the guest"
        |vm, _| when(vm.disks.len() > 60, || format!("{} disks", vm.disks.len()));
    "disk-large" Attention "plan the first copy over several nights; VHD targets end at 2 TiB, use raw or qcow2"
        |vm, _| disks(vm, "larger than 2 TiB", |d| d.capacity_mib > 2 * MIB_PER_TIB);
    "disk-too-large" Blocks "split the volume inside the guest"
        |vm, _| disks(vm, "larger than 64 TiB", |d| d.capacity_mib > 64 * MIB_PER_TIB);
    "disk-zero-size" Attention "look at the disk on the host: the inventory gives it no size"
        |vm, _| disks(vm, "size 0", |d| d.capacity_mib == 0);
    "disk-path-missing" Attention "reload the VM on the host so that its disk paths are listed"
        |vm, _| disks(vm, "no path", |d| d.path.is_empty());
    "cbt-off" Attention "switch changed-block tracking on (a snapshot activates it), else each pass reads everything"
        |vm, _| says(vm.cbt == Some(false) && vm.power == Power::On, "changed-block tracking is off");
    "cbt-unknown" Note "ask the live server; an export does not say"
        |vm, _| says(vm.cbt.is_none() && vm.power == Power::On, "changed-block tracking is not known");
    "cbt-disk-off" Attention "switch ctkEnabled on for each disk; a disk without it is read whole in each pass"
        |vm, _| disks(vm, "no changed-block tracking", |d| d.cbt == Some(false));
    "cbt-hardware" Blocks "upgrade the virtual hardware to 7 or later, or move the VM switched off"
        |vm, _| when(vm.hardware > 0 && vm.hardware < 7 && vm.power == Power::On, || format!("hardware version {}", vm.hardware));
    "snapshots" Attention "remove old snapshots first: beside one the first pass reads everything, and they hold space"
        |vm, _| when(vm.snapshots > 0, || counted(vm.snapshots, "snapshot"));
    "snapshots-many" Blocks "remove snapshots: at 32 no further one can be taken, and the copy needs one"
        |vm, _| when(vm.snapshots >= 28, || format!("{} snapshots", vm.snapshots));
    "consolidation" Blocks "consolidate the disks on the host, then assess again"
        |vm, _| says(vm.consolidation_needed, "the disks need consolidation");
    "firmware-uefi" Note "its boot entries stay behind: here firmware starts the loader at EFI/BOOT, which is put there where there is none"
        |vm, _| says(vm.efi, "UEFI firmware");
    "secure-boot" Attention "it is not to be had here: the firmware of Xen's guests keeps no keys; try the guest without it first"
        |vm, _| says(vm.secure_boot == Some(true), "Secure Boot is on");
    "vtpm" Blocks "its state cannot leave the vendor: decrypt what it holds the keys of (manage-bde -off), remove the vTPM"
        |vm, _| says(vm.vtpm == Some(true), "a virtual TPM");
    "vm-encrypted" Blocks "decrypt the VM on the source"
        |vm, _| says(vm.encrypted == Some(true), "the VM is encrypted");
    "bitlocker" Blocks "decrypt the volume for the move (manage-bde -off), encrypt it again here: one that is only suspended cannot be prepared either"
        |vm, _| says(vm.bitlocker == Some(true), "a BitLocker volume");
    "hibernated" Blocks "start Windows, switch fast startup off, shut it down fully"
        |vm, _| says(vm.hibernated == Some(true), "a hibernated Windows volume cannot be written");
    "suspended" Blocks "resume and shut down the VM: its memory image cannot move"
        |vm, _| says(vm.power == Power::Suspended, "the VM is suspended");
    "fault-tolerance" Blocks "switch fault tolerance off for the move"
        |vm, _| says(vm.fault_tolerant, "fault tolerance");
    "latency-sensitive" Attention "pin vCPUs on the target, and measure before going live"
        |vm, _| says(vm.latency_sensitive, "latency sensitivity is high");
    "usb" Blocks "move the USB device to a network USB server or to the new host"
        |vm, _| when(vm.usb_devices > 0, || format!("{} USB devices of a host", vm.usb_devices));
    "passthrough" Blocks "plan the device on the target and remove it from the VM"
        |vm, _| when(vm.passthrough > 0, || format!("{} passthrough devices", vm.passthrough));
    "vgpu" Blocks "plan a GPU on the target and remove it from the VM"
        |vm, _| says(vm.vgpu, "a shared GPU");
    "sriov" Blocks "give the VM a normal NIC first"
        |vm, _| says(vm.nics.iter().any(|nic| nic.sriov), "an SR-IOV NIC");
    "directpath" Attention "DirectPath I/O is lost; a normal virtual NIC takes its place"
        |vm, _| says(vm.nics.iter().any(|nic| nic.direct_path), "DirectPath I/O is in use");
    "serial" Attention "serial ports do not come along; the text console does"
        |vm, _| when(vm.serial_ports > 0, || format!("{} serial ports", vm.serial_ports));
    "cd" Note "the medium is taken out: it lies on the source's datastore"
        |vm, _| says(vm.cd_connected, "a CD is connected");
    "floppy" Note "the medium is taken out: there is no floppy drive on the target"
        |vm, _| says(vm.floppy_connected, "a floppy is connected");
    "nested" Attention "nested virtualisation has to be allowed on the target, and is not for production"
        |vm, _| says(vm.nested_hypervisor, "the guest runs a hypervisor");
    "hot-add" Note "what can be added while running differs on the target"
        |vm, _| says(vm.hot_add, "CPU or memory hot-add is on");
    "reservation" Note "reservations become weights and limits of the target, see the plan"
        |vm, _| says(vm.memory_reservation_mib > 0 || vm.cpu_reservation_mhz > 0, "CPU or memory is reserved");
    "tools-missing" Attention "without tools the guest cannot be shut down for the cut-over: somebody has to do it"
        |vm, _| says(vm.tools == Tools::NotInstalled, "VMware Tools are not installed");
    "tools-stopped" Attention "start VMware Tools, or plan who shuts the guest down"
        |vm, _| says(vm.tools == Tools::NotRunning && vm.power == Power::On, "VMware Tools do not run");
    "tools-old" Note "old tools may fail to quiesce; the snapshot is then crash-consistent"
        |vm, _| says(vm.tools == Tools::Old, "VMware Tools are old");
    "nic-static-mac" Note "the address is kept"
        |vm, _| says(vm.nics.iter().any(|nic| nic.static_mac == Some(true)), "a MAC was set by hand");
    "nic-mac-missing" Attention "note the guest's MAC: licences and DHCP reservations hang on it"
        |vm, _| says(vm.nics.iter().any(|nic| nic.mac.is_empty()), "a NIC without a known MAC");
    "nic-mac-clash" Blocks "give one of the two another address before they meet on one network"
        |vm, c| when(vm.nics.iter().any(|nic| c.mac_users(&nic.mac) > 1), || "another VM has the same MAC".into());
    "nic-network-unmapped" Blocks "map the network in the settings of the plan"
        |vm, c| {
            let names: Vec<&str> = vm.nics.iter().map(|n| n.network.as_str()).filter(|n| !c.network_known(n)).collect();
            when(!names.is_empty(), || format!("no target network for {}", names.join(", ")))
        };
    "nic-many" Blocks "at most 7 NICs are attached; join some with VLANs in the guest"
        |vm, _| when(vm.nics.len() > 7, || format!("{} NICs", vm.nics.len()));
    "nic-disconnected" Note "it comes along, and is connected here: leave its network out of the move where it must not be"
        |vm, _| says(vm.nics.iter().any(|nic| !nic.connected), "a NIC is not connected");
    "nic-ipv6-only" Note "name services have to answer over IPv6 on the target too"
        |vm, _| says(vm.nics.iter().any(|n| !n.addresses.is_empty() && n.addresses.iter().all(|a| a.contains(':'))), "IPv6 only");
    "storage-unmapped" Blocks "map the datastore in the settings of the plan"
        |vm, c| {
            let names: Vec<&str> = vm.disks.iter().map(VmDisk::datastore).filter(|n| !c.storage_known(n)).collect();
            when(!names.is_empty(), || format!("no target storage for {}", names.join(", ")))
        };
    "storage-space" Blocks "free or add space on the target, or move fewer VMs to it"
        |vm, c| when(c.too_large_for_target(vm), || "the disks do not fit into the free space of the target".into());
    "target-memory" Blocks "give the VM less memory, or add a larger host"
        |vm, c| when(c.max_host_memory_mib().is_some_and(|max| vm.memory_mib > max), || format!("{} MiB fit on no target host", vm.memory_mib));
    "vcpus-many" Attention "more vCPUs than the largest target host has cores will wait for each other"
        |vm, c| when(c.max_host_cores().is_some_and(|max| vm.vcpus > max), || format!("{} vCPUs", vm.vcpus));
    "name-clash" Blocks "rename one of them: names are how people tell VMs apart"
        |vm, c| when(c.name_users(&vm.name) > 1 || c.name_taken(&vm.name), || format!("{:?} is there twice", vm.name));
    "name-long" Attention "rename the VM to at most 128 characters"
        |vm, _| when(vm.name.chars().count() > 128, || "the name is longer than 128 characters".into());
    "name-control" Attention "rename the VM: control characters and slashes get lost on the way"
        |vm, _| says(vm.name.chars().any(|c| c.is_control() || c == '/' || c == '%'), "the name has odd characters");
    "template" Attention "convert it to a VM, or make a new template on the target"
        |vm, _| says(vm.template, "it is a template");
    "os-unknown" Attention "set the guest OS, so that the right preparation is chosen"
        |vm, _| says(vm.os.is_empty() || os_is(vm, &["other"]), "the guest OS is not known");
    "os-windows" Note "PV drivers come from the ISO you provide"
        |vm, _| says(vm.is_windows(), "Windows");
    "os-windows-unseen" Attention "switch it off and assess it again, or look in the guest: no BitLocker (manage-bde -status), no fast startup"
        |vm, _| says(vm.is_windows() && (vm.bitlocker.is_none() || vm.hibernated.is_none()), "its disks were not looked at");
    "os-windows-old" Attention "there are no supported PV drivers: it runs on emulated devices"
        |vm, _| says(vm.is_windows() && os_is(vm, &["2003", "2008", "xp", "vista", "windows 7", "2000"]), "an old Windows");
    "os-linux-old" Attention "kernels before 3.0 may lack Xen front-ends: it runs on emulated devices"
        |vm, _| says(os_is(vm, &["linux 2.4", "linux 4 ", "linux 5 ", "enterprise linux 4", "enterprise linux 5"]), "an old Linux");
    "os-macos" Blocks "its licence and its drivers do not allow it"
        |vm, _| says(os_is(vm, &["mac os", "macos", "darwin"]), "macOS");
    "os-appliance" Attention "ask the vendor for an image for Xen or KVM; appliances of VMware itself stay behind"
        |vm, _| says(os_is(vm, &["photon", "vmkernel", "esxi"]), "an appliance or product of VMware");
    "fs-btrfs" Note "subvolumes are kept; the boot entry is checked"
        |vm, _| says(vm.filesystems.iter().any(|fs| fs.eq_ignore_ascii_case("btrfs")), "a btrfs volume");
    "hostname-missing" Note "without tools the guest's own name is not known"
        |vm, _| says(vm.hostname.is_empty() && vm.power == Power::On, "the host name is not known");
}

/// What the rules have to say about `vm`.
#[must_use]
pub fn assess(vm: &Vm, context: &Context<'_>) -> Vec<Finding> {
    let finding = |rule: &Rule| {
        let reason = (rule.applies)(vm, context)?;
        Some(Finding { code: rule.code, severity: rule.severity, reason, fix: rule.fix })
    };
    RULES.iter().filter_map(finding).collect()
}
