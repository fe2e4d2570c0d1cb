//! What a VM has besides the usual, from flags over what it has now.

use serde_json::{Map, Value};
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::{Hardware, Video, VideoAdapter};
use xenith_orchestrator_types::vm::{NewCd, NewHardware, Protection, Vm};

use super::{part, set};
use crate::cli::{Against, Devices, Kept, OnOff, PinFlag};
use crate::error::CliError;

pub fn any_device(devices: &Devices) -> bool {
    let Devices { cd, no_cd, video, video_memory, cpu_weight, cpu_cap, cpu_pin, pci, no_pci, usb, .. } =
        devices;
    let cpu = cpu_weight.or(*cpu_cap).is_some() || cpu_pin.is_some();
    let refused = !usb.is_empty() || devices.tpm || devices.secure_boot;
    cd.is_some()
        || *no_cd
        || video.is_some()
        || video_memory.is_some()
        || cpu
        || !pci.is_empty()
        || *no_pci
        || devices.guest_agent.is_some()
        || refused
}

pub fn any_kept(kept: &Kept) -> bool {
    !kept.protect.is_empty() || !kept.unprotect.is_empty() || !kept.custom.is_empty()
}

/// As the API takes it.
fn named(hardware: &Hardware) -> NewHardware {
    NewHardware {
        cd: hardware.cd.map(|cd| NewCd { iso: cd.vdi.map(|vdi| vdi.to_string()) }),
        video: hardware.video,
        cpu: hardware.cpu.clone(),
        pci: hardware.pci.clone(),
        guest_agent: hardware.guest_agent,
        ..NewHardware::default()
    }
}

pub fn devices(
    fields: &mut Map<String, Value>,
    flags: &Devices,
    now: Option<&Hardware>,
) -> Result<(), CliError> {
    if !any_device(flags) {
        return Ok(());
    }
    let from_file: Option<NewHardware> = part(fields, "hardware")?;
    let mut hardware = from_file.or_else(|| now.map(named)).unwrap_or_default();
    if let Some(iso) = &flags.cd {
        hardware.cd = Some(NewCd { iso: Some(iso.clone()).filter(|iso| !iso.is_empty()) });
    } else if flags.no_cd {
        hardware.cd = None;
    }
    if flags.video.is_some() || flags.video_memory.is_some() {
        hardware.video = Some(video(flags, hardware.video)?);
    }
    let cpu = &mut hardware.cpu;
    cpu.weight = flags.cpu_weight.or(cpu.weight);
    match flags.cpu_cap {
        Some(0) => cpu.cap = None,
        Some(cap) => cpu.cap = Some(cap),
        None => {}
    }
    match &flags.cpu_pin {
        Some(PinFlag::All) => cpu.pin = None,
        Some(PinFlag::To(cpus)) => cpu.pin = Some(cpus.clone()),
        None => {}
    }
    if flags.no_pci || !flags.pci.is_empty() {
        hardware.pci.clone_from(&flags.pci);
    }
    if let Some(wanted) = flags.guest_agent {
        hardware.guest_agent = wanted == OnOff::On;
    }
    hardware.usb.clone_from(&flags.usb);
    hardware.tpm = flags.tpm;
    hardware.secure_boot = flags.secure_boot;
    set(fields, "hardware", Some(hardware));
    Ok(())
}

fn video(flags: &Devices, base: Option<Video>) -> Result<Video, CliError> {
    let adapter = match flags.video.as_deref() {
        Some("cirrus") => VideoAdapter::Cirrus,
        Some(_) => VideoAdapter::Std,
        None => base.map_or(VideoAdapter::Std, |video| video.adapter),
    };
    // Another adapter has other limits: its least is what Xen would choose.
    let (least, _) = Video::range(adapter);
    let kept = base.filter(|video| video.adapter == adapter).map(|video| video.memory);
    let least = MemoryMiB::new(least).map_err(|error| CliError::usage(error.to_string()))?;
    Ok(Video { adapter, memory: flags.video_memory.or(kept).unwrap_or(least) })
}

pub fn kept(fields: &mut Map<String, Value>, flags: &Kept, now: Option<&Vm>) -> Result<(), CliError> {
    if !flags.protect.is_empty() || !flags.unprotect.is_empty() {
        let from_file: Option<Protection> = part(fields, "protection")?;
        let mut protection = from_file.or_else(|| now.map(|vm| vm.protection)).unwrap_or_default();
        let both = flags.protect.iter().map(|what| (what, true));
        for (what, on) in both.chain(flags.unprotect.iter().map(|what| (what, false))) {
            match what {
                Against::Delete => protection.delete = on,
                Against::Start => protection.start = on,
                Against::Migration => protection.migration = on,
            }
        }
        set(fields, "protection", Some(protection));
    }
    if !flags.custom.is_empty() {
        let from_file = part(fields, "custom")?;
        let mut custom = from_file.or_else(|| now.map(|vm| vm.custom.clone())).unwrap_or_default();
        for flag in &flags.custom {
            if flag.value.is_empty() {
                custom.remove(&flag.key);
            } else {
                custom.insert(flag.key.clone(), flag.value.clone());
            }
        }
        set(fields, "custom", Some(custom));
    }
    Ok(())
}
