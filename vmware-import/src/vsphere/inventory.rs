//! The live inventory, in the shape of the plan. A page of VMs is read, turned into the plan's types and
//! dropped, so that thousands of VMs fit into a few megabytes. Networks, hosts and clusters are called by their names:
//! what a VM says of a distributed port group is only its key.

use std::collections::HashMap;

use super::client::{MoRef, Object, Vim};
use super::soap::Node;
use crate::error::Result;
use crate::plan::inventory::{Bus, Datastore, DiskMode, Host, Inventory, Power, Tools, Vm, VmDisk, VmNic};

const VM_PATHS: &[&str] = &[
    "name",
    "config.template",
    "config.uuid",
    "config.version",
    "config.firmware",
    "config.guestFullName",
    "config.annotation",
    "config.changeTrackingEnabled",
    "config.hardware",
    "config.bootOptions",
    "config.latencySensitivity",
    "config.keyId",
    "config.nestedHVEnabled",
    "config.cpuHotAddEnabled",
    "config.memoryHotAddEnabled",
    "config.cpuAllocation",
    "config.memoryAllocation",
    "runtime.powerState",
    "runtime.host",
    "runtime.consolidationNeeded",
    "runtime.faultToleranceState",
    "snapshot",
    "guest.toolsStatus",
    "guest.hostName",
    "guest.net",
    "guest.disk",
    "summary.storage.committed",
];

/// A VM by its reference.
pub struct LiveVm {
    pub reference: MoRef,
    pub vm: Vm,
}

/// Reads everything the plan wants to know.
pub fn read(vim: &Vim) -> Result<Inventory> {
    let mut inventory = Inventory::default();
    let clusters = names(vim, "ComputeResource")?;
    let mut hosts = HashMap::new();
    vim.list("HostSystem", &["name", "summary.hardware", "parent"], |object| {
        hosts.insert(object.reference.id.clone(), object.text("name").to_owned());
        let hardware = object.get("summary.hardware").cloned().unwrap_or_default();
        inventory.hosts.push(Host {
            name: object.text("name").to_owned(),
            cluster: named(&clusters, object.text("parent")),
            cores: hardware.number_at("numCpuCores").unwrap_or(0) as u32,
            memory_mib: hardware.number_at("memorySize").unwrap_or(0) >> 20,
            ..Host::default()
        });
    })?;
    vim.list("Datastore", &["name", "summary"], |object| {
        let summary = object.get("summary").cloned().unwrap_or_default();
        inventory.datastores.push(Datastore {
            name: object.text("name").to_owned(),
            kind: summary.text_at("type").to_owned(),
            capacity_mib: summary.number_at("capacity").unwrap_or(0) >> 20,
            free_mib: summary.number_at("freeSpace").unwrap_or(0) >> 20,
        });
    })?;
    inventory.vms = vms(vim)?
        .into_iter()
        .map(|live| Vm { host: hosts.get(&live.vm.host).cloned().unwrap_or_default(), ..live.vm })
        .collect();
    let clusters: HashMap<&str, &str> =
        inventory.hosts.iter().map(|host| (host.name.as_str(), host.cluster.as_str())).collect();
    for vm in &mut inventory.vms {
        vm.cluster = clusters.get(vm.host.as_str()).copied().unwrap_or_default().to_owned();
    }
    Ok(inventory)
}

/// All VMs, with the reference of their host in `host`.
pub fn vms(vim: &Vim) -> Result<Vec<LiveVm>> {
    let networks = names(vim, "Network")?;
    let mut found = Vec::new();
    vim.list("VirtualMachine", VM_PATHS, |object| {
        let mut vm = vm(&object);
        vm.nics.iter_mut().for_each(|nic| nic.network = named(&networks, &nic.network));
        found.push(LiveVm { reference: object.reference, vm });
    })?;
    Ok(found)
}

/// One VM, with the names of its host and its networks.
pub fn live_vm(vim: &Vim, reference: &MoRef) -> Result<Vm> {
    let mut found = vm(&vim.properties(reference, VM_PATHS)?);
    let networks = names(vim, "Network")?;
    found.nics.iter_mut().for_each(|nic| nic.network = named(&networks, &nic.network));
    if found.host.is_empty() {
        return Ok(found);
    }
    let host = vim.properties(&MoRef::new("HostSystem", &found.host), &["name"])?;
    Ok(Vm { host: host.text("name").to_owned(), ..found })
}

/// Names of all objects of a kind by their ids.
fn names(vim: &Vim, kind: &str) -> Result<HashMap<String, String>> {
    let mut found = HashMap::new();
    vim.list(kind, &["name"], |object| {
        found.insert(object.reference.id.clone(), object.text("name").to_owned());
    })?;
    Ok(found)
}

/// The name of what `id` stands for; itself where it is a name already.
fn named(names: &HashMap<String, String>, id: &str) -> String {
    names.get(id).map_or_else(|| id.to_owned(), Clone::clone)
}

fn is_true(object: &Object, path: &str) -> bool {
    object.text(path) == "true"
}

fn vm(object: &Object) -> Vm {
    let hardware = object.get("config.hardware").cloned().unwrap_or_default();
    let devices: Vec<&Node> = hardware.all("device").collect();
    let count = |kind: &str| devices.iter().filter(|device| device.kind.contains(kind)).count() as u32;
    let snapshots = object.get("snapshot").map_or(0, |node| count_snapshots(node, "rootSnapshotList"));
    let maybe = |path: &str| object.get(path).map(|node| node.text == "true");
    let reserved = |path: &str| object.get(path).and_then(|a| a.number_at("reservation")).unwrap_or(0);
    let tracked = maybe("config.changeTrackingEnabled");
    let ft = object.text("runtime.faultToleranceState");
    Vm {
        name: object.text("name").to_owned(),
        id: object.reference.id.clone(),
        uuid: object.text("config.uuid").to_owned(),
        power: match object.text("runtime.powerState") {
            "poweredOn" => Power::On,
            "suspended" => Power::Suspended,
            _ => Power::Off,
        },
        template: is_true(object, "config.template"),
        host: object.text("runtime.host").to_owned(),
        annotation: object.text("config.annotation").to_owned(),
        os: object.text("config.guestFullName").to_owned(),
        hostname: object.text("guest.hostName").to_owned(),
        vcpus: hardware.number_at("numCPU").unwrap_or(0) as u32,
        memory_mib: hardware.number_at("memoryMB").unwrap_or(0),
        hardware: object.text("config.version").trim_start_matches("vmx-").parse().unwrap_or(0),
        efi: object.text("config.firmware") == "efi",
        encrypted: Some(object.get("config.keyId").is_some()),
        nested_hypervisor: is_true(object, "config.nestedHVEnabled"),
        hot_add: is_true(object, "config.cpuHotAddEnabled") || is_true(object, "config.memoryHotAddEnabled"),
        memory_reservation_mib: reserved("config.memoryAllocation"),
        cpu_reservation_mhz: reserved("config.cpuAllocation"),
        filesystems: filesystems(object),
        secure_boot: object.get("config.bootOptions").and_then(|boot| boot.bool_at("efiSecureBootEnabled")),
        vtpm: Some(count("VirtualTPM") > 0),
        cbt: tracked,
        snapshots,
        consolidation_needed: is_true(object, "runtime.consolidationNeeded"),
        fault_tolerant: !matches!(ft, "" | "notConfigured"),
        latency_sensitive: object
            .get("config.latencySensitivity")
            .is_some_and(|l| l.text_at("level") == "high"),
        tools: match object.text("guest.toolsStatus") {
            "toolsOk" => Tools::Running,
            "toolsOld" => Tools::Old,
            "toolsNotRunning" => Tools::NotRunning,
            "toolsNotInstalled" => Tools::NotInstalled,
            _ => Tools::Unknown,
        },
        usb_devices: devices.iter().filter(|device| device.kind == "VirtualUSB").count() as u32,
        passthrough: count("VirtualPCIPassthrough"),
        vgpu: devices.iter().any(|d| d.child("backing").is_some_and(|b| b.kind.contains("Vmiop"))),
        floppy_connected: devices
            .iter()
            .any(|d| d.kind == "VirtualFloppy" && d.bool_at("connectable.connected") == Some(true)),
        serial_ports: count("VirtualSerialPort"),
        cd_connected: devices
            .iter()
            .any(|d| d.kind == "VirtualCdrom" && d.bool_at("connectable.connected") == Some(true)),
        disks: devices
            .iter()
            .filter(|d| d.kind == "VirtualDisk")
            .map(|d| disk(d, &devices, tracked))
            .collect(),
        nics: devices
            .iter()
            .filter(|d| d.child("macAddress").is_some())
            .map(|d| nic(d, object.get("guest.net")))
            .collect(),
        used_mib: object.text("summary.storage.committed").parse::<u64>().ok().map(|bytes| bytes >> 20),
        ..Vm::default()
    }
}

fn count_snapshots(node: &Node, list: &str) -> u32 {
    node.all(list).map(|child| 1 + count_snapshots(child, "childSnapshotList")).sum()
}

/// As the guest's tools tell.
fn filesystems(object: &Object) -> Vec<String> {
    let disks = object.get("guest.disk").into_iter().flat_map(|disks| &disks.children);
    let mut kinds: Vec<String> = disks.map(|disk| disk.text_at("filesystemType").to_owned()).collect();
    kinds.retain(|kind| !kind.is_empty());
    kinds.sort();
    kinds.dedup();
    kinds
}

fn disk(device: &Node, devices: &[&Node], tracked: Option<bool>) -> VmDisk {
    let backing = device.child("backing").cloned().unwrap_or_default();
    let key = device.text_at("controllerKey");
    let controller = devices.iter().find(|other| other.text_at("key") == key).map_or("", |c| c.kind.as_str());
    let bytes =
        device.number_at("capacityInBytes").or_else(|| device.number_at("capacityInKB").map(|kb| kb << 10));
    let bus_shared = devices
        .iter()
        .find(|other| other.text_at("key") == key)
        .is_some_and(|c| !matches!(c.text_at("sharedBus"), "" | "noSharing"));
    VmDisk {
        label: device.text_at("deviceInfo.label").to_owned(),
        path: backing.text_at("fileName").to_owned(),
        capacity_mib: bytes.unwrap_or(0) >> 20,
        used_mib: None,
        mode: match backing.text_at("diskMode") {
            "" | "persistent" => DiskMode::Persistent,
            "independent_persistent" => DiskMode::IndependentPersistent,
            "independent_nonpersistent" | "nonpersistent" => DiskMode::IndependentNonpersistent,
            _ => DiskMode::Other,
        },
        rdm_physical: backing
            .kind
            .contains("RawDiskMapping")
            .then(|| backing.text_at("compatibilityMode").contains("physical")),
        shared: bus_shared || backing.text_at("sharing") == "sharingMultiWriter",
        bus: match controller {
            c if c.contains("NVME") => Bus::Nvme,
            c if c.contains("IDE") => Bus::Ide,
            c if c.contains("AHCI") || c.contains("SATA") => Bus::Sata,
            c if c.contains("SCSI") || c.contains("Logic") => Bus::Scsi,
            _ => Bus::Unknown,
        },
        encrypted: backing.child("keyId").is_some(),
        thin: backing.bool_at("thinProvisioned").unwrap_or(false),
        // A disk that is tracked has an id of its state; where nothing is tracked, one rule says it for all.
        cbt: (tracked == Some(true)).then(|| backing.child("changeId").is_some()),
    }
}

fn nic(device: &Node, told: Option<&Node>) -> VmNic {
    let backing = device.child("backing").cloned().unwrap_or_default();
    let network = [
        backing.text_at("deviceName"),
        backing.text_at("port.portgroupKey"),
        backing.text_at("opaqueNetworkId"),
    ];
    let mac = device.text_at("macAddress").to_ascii_lowercase();
    let told = told.into_iter().flat_map(|nics| &nics.children);
    let same = told.filter(|nic| nic.text_at("macAddress").eq_ignore_ascii_case(&mac));
    let addresses = same.flat_map(|nic| nic.all("ipAddress").map(|address| address.text.clone())).collect();
    VmNic {
        label: device.text_at("deviceInfo.label").to_owned(),
        network: network.into_iter().find(|n| !n.is_empty()).unwrap_or_default().to_owned(),
        mac,
        adapter: device.kind.clone(),
        connected: device.bool_at("connectable.connected").unwrap_or(false),
        static_mac: Some(device.text_at("addressType").eq_ignore_ascii_case("manual")),
        addresses,
        sriov: device.kind.contains("Sriov"),
        direct_path: false,
    }
}
