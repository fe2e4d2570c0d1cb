//! A VM as XAPI's records, and back.

use serde::{Deserialize, Serialize};

use super::value::{Plain, Value, parse as parse_value};

/// What an XVA says of its VM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct XvaVm {
    pub name: String,
    pub description: String,
    /// In XAPI's form; an importer makes its own where it is empty.
    pub uuid: String,
    pub vcpus: u32,
    pub vcpus_max: u32,
    /// Bytes.
    pub memory: u64,
    pub memory_max: u64,
    pub uefi: bool,
    /// PV: XAPI's own boot loader starts such a guest.
    pub paravirtual: bool,
    pub disks: Vec<XvaDisk>,
    pub nics: Vec<XvaNic>,
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct XvaDisk {
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// 0 for xvda.
    pub position: u32,
    pub bootable: bool,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct XvaNic {
    pub mac: String,
    pub network: String,
}

const NONE: &str = "OpaqueRef:NULL";
const EPOCH: &str = "19700101T00:00:00Z";

/// Members of a record, in the order in which they are added.
#[derive(Default)]
struct Record<'a>(Vec<(&'a str, String)>);

impl<'a> Record<'a> {
    fn texts(mut self, pairs: &[(&'a str, &str)]) -> Self {
        self.0.extend(pairs.iter().map(|(name, text)| (*name, Plain::Text(text).xml())));
        self
    }

    fn with(mut self, name: &'a str, value: Plain<'_>) -> Self {
        self.0.push((name, value.xml()));
        self
    }

    fn flags(mut self, flags: &[(&'a str, bool)]) -> Self {
        self.0.extend(flags.iter().map(|(name, flag)| (*name, Plain::Bool(*flag).xml())));
        self
    }

    fn empty_sets(mut self, names: &[&'a str]) -> Self {
        self.0.extend(names.iter().map(|name| (*name, Plain::NoItems.xml())));
        self
    }

    fn empty_maps(mut self, names: &[&'a str]) -> Self {
        self.0.extend(names.iter().map(|name| (*name, Plain::NoMembers.xml())));
        self
    }

    fn references(mut self, name: &'a str, references: &[String]) -> Self {
        let items = references.iter().map(|reference| Plain::Text(reference).xml()).collect();
        self.0.push((name, Plain::Items(items).xml()));
        self
    }

    fn object(self, class: &str, id: &str) -> String {
        let snapshot = Plain::Members(self.0).xml();
        let members =
            vec![("class", Plain::Text(class).xml()), ("id", Plain::Text(id).xml()), ("snapshot", snapshot)];
        Plain::Members(members).xml()
    }
}

/// A uuid made of what it is for: the same VM is written the same.
fn uuid_of(vm: &XvaVm, what: &str) -> String {
    let hash = blake3::hash(format!("{}/{}/{what}", vm.uuid, vm.name).as_bytes()).to_hex();
    format!("{}-{}-4{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

/// `ova.xml`, and the references under which the contents of the disks are.
pub fn describe(vm: &XvaVm) -> (String, Vec<String>) {
    let mut next = 0;
    let mut reference = || {
        next += 1;
        format!("Ref:{}", next - 1)
    };
    let vm_ref = reference();
    let sr_ref = reference();
    let disks: Vec<(String, String)> = vm.disks.iter().map(|_| (reference(), reference())).collect();
    let nics: Vec<(String, String)> = vm.nics.iter().map(|_| (reference(), reference())).collect();
    let (vdi_refs, vbd_refs): (Vec<_>, Vec<_>) = disks.iter().cloned().unzip();
    let (vif_refs, _): (Vec<_>, Vec<_>) = nics.iter().cloned().unzip();
    let mut objects = vec![machine(vm, (&vbd_refs, &vif_refs)).object("VM", &vm_ref)];
    let sr = Record::default()
        .texts(&[("uuid", &uuid_of(vm, "sr")), ("name_label", "xenith"), ("name_description", "")])
        .texts(&[("type", "ext"), ("content_type", "user")])
        .references("VDIs", &vdi_refs);
    objects.push(sr.object("SR", &sr_ref));
    for (number, (disk, (vdi_ref, vbd_ref))) in vm.disks.iter().zip(&disks).enumerate() {
        objects.push(vdi(vm, (number, disk), (&sr_ref, vbd_ref)).object("VDI", vdi_ref));
        objects.push(vbd(vm, (number, disk), (&vm_ref, vdi_ref)).object("VBD", vbd_ref));
    }
    for (number, (nic, (vif_ref, network_ref))) in vm.nics.iter().zip(&nics).enumerate() {
        let network = Record::default()
            .texts(&[
                ("uuid", &uuid_of(vm, &format!("network {}", nic.network))),
                ("name_label", &nic.network),
            ])
            .texts(&[("name_description", ""), ("bridge", ""), ("MTU", "1500")])
            .references("VIFs", std::slice::from_ref(vif_ref))
            .empty_sets(&["PIFs", "tags", "allowed_operations"])
            .empty_maps(&["other_config", "current_operations", "blobs"]);
        objects.push(vif(vm, (number, nic), (&vm_ref, network_ref)).object("VIF", vif_ref));
        objects.push(network.object("network", network_ref));
    }
    let version = Record::default()
        .texts(&[("hostname", "localhost"), ("date", "2022-01-01"), ("product_version", "8.2.1")])
        .texts(&[("product_brand", "XCP-ng"), ("build_number", "xenith"), ("xapi_major", "1")])
        .texts(&[("xapi_minor", "20"), ("export_vsn", "2")]);
    let document =
        vec![("version", Plain::Members(version.0).xml()), ("objects", Plain::Items(objects).xml())];
    (Plain::Members(document).xml(), vdi_refs)
}

fn machine<'a>(vm: &XvaVm, (vbds, vifs): (&[String], &[String])) -> Record<'a> {
    let number = |value: u64| value.to_string();
    let (least, most) = (number(vm.memory), number(vm.memory_max.max(vm.memory)));
    let uuid = if vm.uuid.is_empty() { uuid_of(vm, "vm") } else { vm.uuid.clone() };
    let firmware = if vm.uefi { "uefi" } else { "bios" };
    let boot = vec![("firmware", Plain::Text(firmware).xml()), ("order", Plain::Text("cdn").xml())];
    let platform = [("acpi", "1"), ("apic", "true"), ("hpet", "true"), ("nx", "true"), ("pae", "true")]
        .into_iter()
        .chain([("viridian", "false"), ("device-model", "qemu-upstream-compat"), ("timeoffset", "0")])
        .map(|(name, text)| (name, Plain::Text(text).xml()))
        .collect();
    let other = vec![("mac_seed", Plain::Text(&uuid_of(vm, "macs")).xml())];
    let (kind, policy) = if vm.paravirtual { ("pv", "") } else { ("hvm", "BIOS order") };
    let loader = if vm.paravirtual { "pygrub" } else { "" };
    Record::default()
        .texts(&[("uuid", &uuid), ("name_label", &vm.name), ("name_description", &vm.description)])
        .texts(&[("power_state", "Halted"), ("domain_type", kind), ("user_version", "1"), ("version", "0")])
        .texts(&[("memory_static_min", &least), ("memory_static_max", &most), ("memory_overhead", "0")])
        .texts(&[("memory_dynamic_min", &least), ("memory_dynamic_max", &least), ("memory_target", "0")])
        .texts(&[("VCPUs_max", &vm.vcpus_max.max(vm.vcpus).to_string())])
        .texts(&[("VCPUs_at_startup", &vm.vcpus.to_string()), ("order", "0"), ("start_delay", "0")])
        .texts(&[("actions_after_shutdown", "destroy"), ("actions_after_reboot", "restart")])
        .texts(&[
            ("actions_after_crash", "restart"),
            ("shutdown_delay", "0"),
            ("domid", "-1"),
            ("domarch", ""),
        ])
        .texts(&[("HVM_boot_policy", policy), ("HVM_shadow_multiplier", "1"), ("PV_bootloader", loader)])
        .texts(&[("PV_kernel", ""), ("PV_ramdisk", ""), ("PV_args", ""), ("PV_bootloader_args", "")])
        .texts(&[
            ("PV_legacy_args", ""),
            ("PCI_bus", ""),
            ("recommendations", ""),
            ("last_booted_record", ""),
        ])
        .texts(&[("ha_restart_priority", ""), ("transportable_snapshot_id", ""), ("snapshot_metadata", "")])
        .texts(&[("generation_id", ""), ("hardware_platform_version", "0"), ("reference_label", "")])
        .texts(&[("affinity", NONE), ("resident_on", NONE), ("suspend_VDI", NONE), ("suspend_SR", NONE)])
        .texts(&[("parent", NONE), ("snapshot_of", NONE), ("guest_metrics", NONE), ("metrics", NONE)])
        .with("snapshot_time", Plain::Date(EPOCH))
        .with("HVM_boot_params", Plain::Members(boot))
        .with("platform", Plain::Members(platform))
        .with("other_config", Plain::Members(other))
        .flags(&[("is_a_template", false), ("is_default_template", false), ("is_control_domain", false)])
        .flags(&[("ha_always_run", false), ("is_a_snapshot", false), ("is_snapshot_from_vmpp", false)])
        .flags(&[("is_vmss_snapshot", false), ("has_vendor_device", false), ("requires_reboot", false)])
        .references("VBDs", vbds)
        .references("VIFs", vifs)
        .references("tags", &vm.tags)
        .empty_sets(&["allowed_operations", "snapshots", "children", "consoles", "crash_dumps", "VTPMs"])
        .empty_sets(&["VGPUs", "VUSBs", "attached_PCIs"])
        .empty_maps(&["current_operations", "VCPUs_params", "xenstore_data", "blobs", "blocked_operations"])
        .empty_maps(&["snapshot_info", "last_boot_CPU_flags", "bios_strings", "NVRAM"])
}

fn vdi<'a>(vm: &XvaVm, (number, disk): (usize, &XvaDisk), (sr, vbd): (&str, &String)) -> Record<'a> {
    Record::default()
        .texts(&[("uuid", &uuid_of(vm, &format!("vdi {number}"))), ("name_label", &disk.name)])
        .texts(&[("name_description", ""), ("SR", sr), ("virtual_size", &disk.size.to_string())])
        .texts(&[("physical_utilisation", "0"), ("type", "user"), ("on_boot", "persist"), ("location", "")])
        .texts(&[("parent", NONE), ("snapshot_of", NONE), ("metadata_of_pool", NONE)])
        .with("snapshot_time", Plain::Date(EPOCH))
        .references("VBDs", std::slice::from_ref(vbd))
        .flags(&[("sharable", false), ("read_only", false), ("storage_lock", false), ("managed", true)])
        .flags(&[("missing", false), ("is_a_snapshot", false), ("allow_caching", false)])
        .flags(&[("metadata_latest", false), ("is_tools_iso", false), ("cbt_enabled", false)])
        .empty_sets(&["allowed_operations", "snapshots", "crash_dumps", "tags"])
        .empty_maps(&["current_operations", "other_config", "xenstore_data", "sm_config"])
}

fn vbd<'a>(vm: &XvaVm, (number, disk): (usize, &XvaDisk), (of, vdi): (&str, &str)) -> Record<'a> {
    let letter = char::from(b'a' + u8::try_from(disk.position.min(25)).unwrap_or(25));
    let mode = if disk.read_only { "RO" } else { "RW" };
    Record::default()
        .texts(&[("uuid", &uuid_of(vm, &format!("vbd {number}"))), ("VM", of), ("VDI", vdi)])
        .texts(&[("device", &format!("xvd{letter}")), ("userdevice", &disk.position.to_string())])
        .texts(&[("mode", mode), ("type", "Disk"), ("status_code", "0"), ("status_detail", "")])
        .texts(&[("qos_algorithm_type", ""), ("metrics", NONE)])
        .flags(&[
            ("bootable", disk.bootable),
            ("unpluggable", true),
            ("storage_lock", false),
            ("empty", false),
        ])
        .flags(&[("currently_attached", false)])
        .empty_sets(&["allowed_operations", "qos_supported_algorithms"])
        .empty_maps(&["current_operations", "other_config", "runtime_properties", "qos_algorithm_params"])
}

fn vif<'a>(vm: &XvaVm, (number, nic): (usize, &XvaNic), (of, network): (&str, &str)) -> Record<'a> {
    Record::default()
        .texts(&[("uuid", &uuid_of(vm, &format!("vif {number}"))), ("VM", of), ("network", network)])
        .texts(&[("device", &number.to_string()), ("MAC", &nic.mac), ("MTU", "1500"), ("status_code", "0")])
        .texts(&[("status_detail", ""), ("qos_algorithm_type", ""), ("metrics", NONE)])
        .texts(&[("locking_mode", "network_default"), ("ipv4_configuration_mode", "None")])
        .texts(&[("ipv6_configuration_mode", "None"), ("ipv4_gateway", ""), ("ipv6_gateway", "")])
        .flags(&[("currently_attached", false), ("MAC_autogenerated", false)])
        .empty_sets(&["allowed_operations", "qos_supported_algorithms", "ipv4_allowed", "ipv6_allowed"])
        .empty_sets(&["ipv4_addresses", "ipv6_addresses"])
        .empty_maps(&["current_operations", "other_config", "runtime_properties", "qos_algorithm_params"])
}

/// The VM of a description, and the references under which the contents of its disks are.
pub fn parse(text: &str) -> Result<(XvaVm, Vec<String>), String> {
    let document = parse_value(text)?;
    let objects = document.get("objects").ok_or("its description lists no objects")?.items();
    let of_class = |class: &'static str| objects.iter().filter(move |object| object.of("class") == class);
    let find = |id: &str| {
        objects.iter().find(|object| object.of("id") == id).and_then(|object| object.get("snapshot"))
    };
    // Snapshots of the VM are VMs, too.
    let ours = |object: &&Value| {
        object.get("snapshot").is_some_and(|vm| {
            !matches!(vm.of("is_a_snapshot"), "1" | "true")
                && !matches!(vm.of("is_control_domain"), "1" | "true")
        })
    };
    let mut vms = of_class("VM").filter(ours);
    let object = vms.next().ok_or("its description has no VM")?;
    if vms.next().is_some() {
        return Err("it holds several VMs; export them one by one".to_owned());
    }
    let record = object.get("snapshot").ok_or("its VM has no record")?;
    let number =
        |name: &str| record.of(name).trim().parse::<u64>().map_err(|_| format!("{name} is no number"));
    let small = |name: &str| -> Result<u32, String> {
        u32::try_from(number(name)?).map_err(|error| error.to_string())
    };
    let kind = record.of("domain_type");
    let paravirtual = kind == "pv" || (kind.is_empty() && record.of("HVM_boot_policy").is_empty());
    let uefi = record.get("HVM_boot_params").is_some_and(|boot| boot.of("firmware") == "uefi");
    let mut vm = XvaVm {
        name: record.of("name_label").to_owned(),
        description: record.of("name_description").to_owned(),
        uuid: record.of("uuid").to_owned(),
        vcpus: small("VCPUs_at_startup")?,
        vcpus_max: small("VCPUs_max")?,
        memory: number("memory_dynamic_max").or_else(|_| number("memory_static_max"))?,
        memory_max: number("memory_static_max")?,
        uefi,
        paravirtual,
        disks: Vec::new(),
        nics: Vec::new(),
        tags: tags(record),
    };
    let mut disks = Vec::new();
    for vbd in of_class("VBD").filter_map(|object| object.get("snapshot")) {
        if vbd.of("VM") != object.of("id") || vbd.of("type") != "Disk" {
            continue;
        }
        let Some(vdi) = find(vbd.of("VDI")) else { continue };
        let size = vdi.of("virtual_size").trim().parse().map_err(|_| "a disk has no size".to_owned())?;
        let disk = XvaDisk {
            name: vdi.of("name_label").to_owned(),
            size,
            position: position(vbd.of("userdevice")).ok_or("a disk has no place")?,
            bootable: matches!(vbd.of("bootable"), "1" | "true"),
            read_only: vbd.of("mode").eq_ignore_ascii_case("RO"),
        };
        disks.push((disk, vbd.of("VDI").to_owned()));
    }
    disks.sort_by_key(|(disk, _)| disk.position);
    let mut nics: Vec<(u64, XvaNic)> = Vec::new();
    for vif in of_class("VIF").filter_map(|object| object.get("snapshot")) {
        if vif.of("VM") == object.of("id") {
            let network = find(vif.of("network")).map(|network| network.of("name_label").to_owned());
            let nic = XvaNic { mac: vif.of("MAC").to_owned(), network: network.unwrap_or_default() };
            nics.push((vif.of("device").trim().parse().unwrap_or(u64::MAX), nic));
        }
    }
    nics.sort_by_key(|(place, _)| *place);
    vm.nics = nics.into_iter().map(|(_, nic)| nic).collect();
    let references;
    (vm.disks, references) = disks.into_iter().unzip();
    Ok((vm, references))
}

fn tags(record: &Value) -> Vec<String> {
    let text = |tag: &Value| match tag {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    record.get("tags").map(|tags| tags.items().iter().filter_map(text).collect()).unwrap_or_default()
}

/// A number, or a name such as `xvda` or `hda`.
fn position(device: &str) -> Option<u32> {
    if let Ok(number) = device.trim().parse() {
        return Some(number);
    }
    match device.as_bytes() {
        [.., letter @ b'a'..=b'z'] => Some(u32::from(letter - b'a')),
        _ => None,
    }
}
