//! From flags and files to what `vm.create` and `vm.update` take.
//!
//! A file may say things shorter than the API: `memory = "1GiB"`, `vcpus = 2`, `disks = ["10GiB"]`,
//! `nics = ["default"]`. Flags win over it, field by field; lists are replaced as a whole. What the values may be is
//! for the orchestrator to judge.

mod devices;

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use xenith_common_units::{MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_types::{
    Autostart, BootDevice, DirectBoot, DiskAccess, Firmware, MemorySpec, Platform, PlatformKind, VcpuSpec,
    VdiSize, VmSpec,
};
use xenith_orchestrator_types::vm::{CreateVm, NewDisk, NewNic, UpdateVm, Vm};

use crate::cli::{Boot, CreateArgs, DeviceFlag, DiskFlag, Hardware, Kind, NicFlag, UpdateArgs};
use crate::error::CliError;
use crate::words;

/// More than any spec needs.
const MAX_FILE: u64 = 1 << 20;

pub fn create(args: &CreateArgs) -> Result<CreateVm, CliError> {
    let mut fields = match &args.file {
        Some(path) => read_file(path)?,
        None => Map::new(),
    };
    shorten(&mut fields)?;
    set(&mut fields, "name", args.name.as_ref());
    let base = part::<Platform>(&fields, "platform")?;
    set(&mut fields, "platform", Some(platform(&args.boot, base.as_ref())?));
    let memory = memory(&args.hardware, part(&fields, "memory")?);
    set(&mut fields, "memory", memory);
    let vcpus = vcpus(&args.hardware, part(&fields, "vcpus")?)
        .unwrap_or(VcpuSpec { online: VcpuCount::ONE, max: VcpuCount::ONE });
    set(&mut fields, "vcpus", Some(vcpus));
    common(&mut fields, &args.hardware);
    devices::devices(&mut fields, &args.devices, None)?;
    devices::kept(&mut fields, &args.kept, None)?;
    set_list(&mut fields, "disks", args.disks.iter().map(new_disk).collect());
    set_list(&mut fields, "nics", args.nics.iter().map(new_nic).collect());
    set_list(&mut fields, "tags", args.tags.clone());
    set_list(&mut fields, "apart_from", args.apart_from.clone());
    set_list(&mut fields, "together_with", args.together_with.clone());
    set(&mut fields, "pool", args.pool.as_ref());
    set(&mut fields, "host", args.host.as_ref());
    set(&mut fields, "start", args.start.then_some(true));
    for (field, flag) in [("name", "NAME"), ("memory", "--memory")] {
        if !fields.contains_key(field) {
            return Err(CliError::usage(format!("a VM needs {field}: give {flag}, or {field} in a file")));
        }
    }
    typed(fields)
}

/// Whether the change can only be said with what the VM is now.
pub fn needs_current(args: &UpdateArgs) -> bool {
    let Hardware { memory, max_memory, vcpus, max_vcpus, .. } = &args.hardware;
    let hardware = memory.or(*max_memory).is_some() || vcpus.or(*max_vcpus).is_some();
    let more = devices::any_device(&args.devices) || devices::any_kept(&args.kept);
    hardware || more || any_boot(&args.boot) || !args.add_tags.is_empty() || !args.remove_tags.is_empty()
}

pub fn update(args: &UpdateArgs, current: Option<&Vm>) -> Result<UpdateVm, CliError> {
    let mut fields = match &args.file {
        Some(path) => read_file(path)?,
        None => Map::new(),
    };
    shorten(&mut fields)?;
    let spec = current.and_then(|vm| vm.spec.as_ref());
    set(&mut fields, "vm", Some(&args.vm));
    set(&mut fields, "name", args.new_name.as_ref());
    if any_boot(&args.boot) {
        set(&mut fields, "platform", Some(platform(&args.boot, spec.map(|spec| &spec.platform))?));
    }
    hardware_changes(&mut fields, &args.hardware, spec)?;
    common(&mut fields, &args.hardware);
    devices::devices(&mut fields, &args.devices, spec.map(|spec| &spec.hardware))?;
    devices::kept(&mut fields, &args.kept, current)?;
    set(&mut fields, "no_autostart", args.no_autostart.then_some(true));
    set_list(&mut fields, "tags", args.tags.clone());
    set_list(&mut fields, "apart_from", args.apart_from.clone());
    set_list(&mut fields, "together_with", args.together_with.clone());
    for company in ["apart_from", "together_with"] {
        set(&mut fields, company, args.no_company.then(Vec::<String>::new));
    }
    if !args.add_tags.is_empty() || !args.remove_tags.is_empty() {
        let mut tags = current.map(|vm| vm.tags.clone()).unwrap_or_default();
        tags.retain(|tag| !args.remove_tags.contains(tag));
        tags.extend(args.add_tags.iter().cloned());
        set(&mut fields, "tags", Some(tags));
    }
    if fields.len() == 1 {
        return Err(CliError::usage("nothing to change was given"));
    }
    typed(fields)
}

fn hardware_changes(
    fields: &mut Map<String, Value>,
    hardware: &Hardware,
    spec: Option<&VmSpec>,
) -> Result<(), CliError> {
    if hardware.memory.or(hardware.max_memory).is_some() {
        let base = part(fields, "memory")?.or(spec.map(|spec| spec.memory));
        set(fields, "memory", memory(hardware, base));
    }
    if hardware.vcpus.or(hardware.max_vcpus).is_some() {
        let base = part(fields, "vcpus")?.or(spec.map(|spec| spec.vcpus));
        set(fields, "vcpus", vcpus(hardware, base));
    }
    Ok(())
}

fn common(fields: &mut Map<String, Value>, hardware: &Hardware) {
    set(fields, "graphics", hardware.graphics.as_ref());
    set(fields, "on_crash", hardware.on_crash.as_ref());
    set(fields, "on_reboot", hardware.on_reboot.as_ref());
    set(fields, "description", hardware.description.as_ref());
    let autostart = hardware.autostart.map(|flag| Autostart { order: flag.order, delay_s: flag.delay_s });
    set(fields, "autostart", autostart);
}

/// A flag that was not given changes nothing.
fn set(fields: &mut Map<String, Value>, name: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        let value = serde_json::to_value(value).expect("our own types are plain data");
        fields.insert(name.to_owned(), value);
    }
}

fn set_list(fields: &mut Map<String, Value>, name: &str, values: Vec<impl Serialize>) {
    set(fields, name, (!values.is_empty()).then_some(values));
}

fn part<T: DeserializeOwned>(fields: &Map<String, Value>, name: &str) -> Result<Option<T>, CliError> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    serde_json::from_value(value.clone())
        .map(Some)
        .map_err(|error| CliError::usage(format!("{name} in the file: {error}")))
}

fn typed<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, CliError> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| CliError::usage(error.to_string()))
}

fn any_boot(boot: &Boot) -> bool {
    let Boot { kind, kernel, ramdisk, cmdline, firmware, boot } = boot;
    let direct = kernel.is_some() || ramdisk.is_some() || cmdline.is_some();
    kind.is_some() || direct || firmware.is_some() || !boot.is_empty()
}

fn platform(boot: &Boot, base: Option<&Platform>) -> Result<Platform, CliError> {
    let direct_given = boot.kernel.is_some() || boot.ramdisk.is_some() || boot.cmdline.is_some();
    let emulated_given = boot.firmware.is_some() || !boot.boot.is_empty();
    let kind = match (boot.kind, base) {
        (Some(Kind::Pv), _) => PlatformKind::Pv,
        (Some(Kind::Pvh), _) => PlatformKind::Pvh,
        (Some(Kind::Hvm), _) => PlatformKind::Hvm,
        (None, Some(base)) => base.kind(),
        (None, None) if direct_given => PlatformKind::Pvh,
        (None, None) => PlatformKind::Hvm,
    };
    match kind {
        PlatformKind::Hvm if direct_given => Err(CliError::usage(
            "--kernel, --ramdisk and --cmdline are for pv and pvh; an hvm guest boots itself",
        )),
        PlatformKind::Pv | PlatformKind::Pvh if emulated_given => Err(CliError::usage(format!(
            "--firmware and --boot are for hvm; a {kind} guest boots its --kernel"
        ))),
        PlatformKind::Hvm => Ok(emulated(boot, base)),
        PlatformKind::Pv => Ok(Platform::Pv { boot: direct(kind, boot, base)? }),
        PlatformKind::Pvh => Ok(Platform::Pvh { boot: direct(kind, boot, base)? }),
    }
}

fn emulated(boot: &Boot, base: Option<&Platform>) -> Platform {
    let (mut firmware, mut boot_order) = match base {
        Some(Platform::Hvm { firmware, boot_order }) => (*firmware, boot_order.clone()),
        _ => (Firmware::default(), Vec::new()),
    };
    match boot.firmware.as_deref() {
        Some("uefi") => firmware = Firmware::Uefi,
        Some(_) => firmware = Firmware::Bios,
        None => {}
    }
    if !boot.boot.is_empty() {
        let device = |name: &String| match name.as_str() {
            "cdrom" => BootDevice::Cdrom,
            "network" => BootDevice::Network,
            _ => BootDevice::Disk,
        };
        boot_order = boot.boot.iter().map(device).collect();
    }
    Platform::Hvm { firmware, boot_order }
}

fn direct(kind: PlatformKind, boot: &Boot, base: Option<&Platform>) -> Result<DirectBoot, CliError> {
    let base = base.and_then(Platform::direct_boot);
    let kernel = boot.kernel.clone().or_else(|| base.map(|base| base.kernel.clone()));
    let Some(kernel) = kernel else {
        return Err(CliError::usage(format!("a {kind} guest needs a kernel: give --kernel")));
    };
    Ok(DirectBoot {
        kernel,
        ramdisk: boot.ramdisk.clone().or_else(|| base.and_then(|base| base.ramdisk.clone())),
        cmdline: boot.cmdline.clone().or_else(|| base.map(|base| base.cmdline.clone())).unwrap_or_default(),
    })
}

/// More than the maximum raises the maximum.
fn memory(hardware: &Hardware, base: Option<MemorySpec>) -> Option<MemorySpec> {
    let target = hardware.memory.or(base.map(|base| base.target)).or(hardware.max_memory)?;
    let max = hardware.max_memory.unwrap_or_else(|| base.map_or(target, |base| base.max.max(target)));
    Some(MemorySpec { target, max })
}

fn vcpus(hardware: &Hardware, base: Option<VcpuSpec>) -> Option<VcpuSpec> {
    let online = hardware.vcpus.or(base.map(|base| base.online)).or(hardware.max_vcpus)?;
    let max = hardware.max_vcpus.unwrap_or_else(|| base.map_or(online, |base| base.max.max(online)));
    Some(VcpuSpec { online, max })
}

pub fn new_disk(flag: &DiskFlag) -> NewDisk {
    let (size, vdi) = match &flag.source {
        DeviceFlag::New(size) => (Some(*size), None),
        DeviceFlag::Vdi(vdi) => (None, Some(vdi.clone())),
    };
    let access = if flag.read_only { DiskAccess::ReadOnly } else { DiskAccess::ReadWrite };
    NewDisk { device: flag.device, size, vdi, access, sr: flag.sr.clone() }
}

pub fn new_nic(flag: &NicFlag) -> NewNic {
    NewNic { network: flag.network.clone(), mac: flag.mac }
}

fn read_file(path: &Path) -> Result<Map<String, Value>, CliError> {
    let failed = |source| CliError::File { what: "read", path: path.to_owned(), source };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_FILE).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).map_err(failed)?.take(MAX_FILE).read_to_string(&mut text)
    };
    if read.map_err(failed)? as u64 == MAX_FILE {
        return Err(CliError::usage(format!("{} is larger than {}", path.display(), words::bytes(MAX_FILE))));
    }
    let kind = path.extension().and_then(|extension| extension.to_str());
    let parsed = parse(&text, kind);
    parsed.map_err(|problem| CliError::usage(format!("{}: {problem}", path.display())))
}

fn parse(text: &str, kind: Option<&str>) -> Result<Map<String, Value>, String> {
    let json = || serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    let toml = || toml::from_str::<Value>(text).map_err(|error| error.to_string());
    let yaml = || serde_saphyr::from_str::<Value>(text).map_err(|error| error.to_string());
    let value = match kind {
        Some("json") => json()?,
        Some("toml") => toml()?,
        Some("yaml" | "yml") => yaml()?,
        _ if text.trim_start().starts_with('{') => json()?,
        _ => toml().or_else(|_| yaml()).map_err(|_| "is neither TOML nor YAML nor JSON".to_owned())?,
    };
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err("holds no fields".to_owned()),
    }
}

/// The short ways to say things, made long.
fn shorten(fields: &mut Map<String, Value>) -> Result<(), CliError> {
    let wrong = |name: &str, problem: String| CliError::usage(format!("{name} in the file: {problem}"));
    if let Some(value) = fields.get_mut("memory") {
        match value {
            Value::Object(parts) => {
                for part in parts.values_mut() {
                    *part = json!(memory_value(part).map_err(|problem| wrong("memory", problem))?);
                }
            }
            plain => {
                let memory = memory_value(plain).map_err(|problem| wrong("memory", problem))?;
                *plain = json!({ "target": memory, "max": memory });
            }
        }
    }
    if let Some(value @ Value::Number(_)) = fields.get_mut("vcpus") {
        *value = json!({ "online": value.clone(), "max": value.clone() });
    }
    for disk in fields.get_mut("disks").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(text) = disk {
            let flag: DiskFlag = text.parse().map_err(|problem| wrong("disks", problem))?;
            *disk = json!(new_disk(&flag));
        } else if let Some(Value::String(size)) = disk.get("size") {
            let size: VdiSize = size.parse().map_err(|problem| wrong("disks", format!("{problem}")))?;
            disk["size"] = json!(size);
        }
    }
    for nic in fields.get_mut("nics").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(text) = nic {
            let flag: NicFlag = text.parse().map_err(|problem| wrong("nics", problem))?;
            *nic = json!(new_nic(&flag));
        }
    }
    Ok(())
}

fn memory_value(value: &Value) -> Result<MemoryMiB, String> {
    match value {
        Value::String(text) => text.parse().map_err(|error| format!("{error}")),
        other => serde_json::from_value(other.clone()).map_err(|error| error.to_string()),
    }
}
