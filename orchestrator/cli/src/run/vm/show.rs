//! One VM, and where one would go, for people.

use xenith_hypervisor_agent_types::{DiskSpec, Hardware, ObservedVm, Platform, VmSpec};
use xenith_orchestrator_types::vm::{Placement, Vm};

use super::power;
use crate::output::clean;
use crate::table::{Names, Paint, Row, Sheet, Tone};
use crate::words;

impl Row for Vm {
    fn columns() -> Vec<crate::table::Column<Self>> {
        Vec::new()
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// What was asked for, then what is.
pub fn sheet(vm: &Vm, names: &Names) -> Sheet {
    let mut sheet = Sheet::new()
        .line("name", &vm.name)
        .line("id", vm.id.to_string())
        .cell("power", power(vm.power))
        .maybe("description", Some(&vm.description))
        .maybe("tags", Some(vm.tags.iter().cloned().collect::<Vec<_>>().join(", ")))
        .line("pool", names.pool(vm.pool))
        .line("host", vm.host.map_or_else(|| "not placed yet".to_owned(), |host| names.host(host)));
    if !vm.managed {
        sheet = sheet.line("managed", "no: a domain that Xenith did not make; it can be looked at only");
    }
    if let Some(spec) = &vm.spec {
        sheet = defined(sheet, spec);
    }
    if let Some(observed) = &vm.observed {
        sheet = seen(sheet, observed);
    }
    let protection = [
        (vm.protection.delete, "delete"),
        (vm.protection.start, "start"),
        (vm.protection.migration, "migration"),
    ];
    let protected: Vec<_> = protection.into_iter().filter(|(on, _)| *on).map(|(_, what)| what).collect();
    sheet
        .maybe("protected against", (!protected.is_empty()).then(|| protected.join(", ")))
        .each("apart from", vm.apart_from.iter().map(ToString::to_string))
        .each("together with", vm.together_with.iter().map(ToString::to_string))
        .each("custom", vm.custom.iter().map(|(key, value)| format!("{key}={value}")))
        .each("waits for restart", vm.pending_restart.iter().cloned())
        .maybe("created", vm.created.map(words::at))
}

fn defined(sheet: Sheet, spec: &VmSpec) -> Sheet {
    let memory = match spec.memory {
        memory if memory.max == memory.target => memory.target.to_string(),
        memory => format!("{}, at most {}", memory.target, memory.max),
    };
    let vcpus = match spec.vcpus {
        vcpus if vcpus.max == vcpus.online => vcpus.online.get().to_string(),
        vcpus => format!("{}, at most {}", vcpus.online.get(), vcpus.max.get()),
    };
    let sheet = sheet.line("kind", spec.platform.kind().as_str()).line("memory", memory).line("vcpus", vcpus);
    let sheet = match &spec.platform {
        Platform::Pv { boot } | Platform::Pvh { boot } => sheet
            .line("kernel", &boot.kernel)
            .maybe("ramdisk", boot.ramdisk.as_ref())
            .maybe("cmdline", Some(&boot.cmdline)),
        Platform::Hvm { firmware, boot_order } => {
            let order: Vec<_> =
                boot_order.iter().map(|device| format!("{device:?}").to_lowercase()).collect();
            sheet
                .line("firmware", format!("{firmware:?}").to_lowercase())
                .maybe("boot", Some(order.join(", ")))
        }
    };
    let disk = |disk: &DiskSpec| format!("{} {} {:?}", disk.device, disk.vdi, disk.access);
    let autostart = spec.autostart.map(|start| format!("order {}, then {} s", start.order, start.delay_s));
    hardware(sheet, &spec.hardware)
        .each("disks", spec.disks.iter().map(disk))
        .each("nics", spec.nics.iter().map(|nic| format!("{} on {}", nic.mac, nic.bridge)))
        .maybe("autostart", autostart)
}

fn hardware(sheet: Sheet, hardware: &Hardware) -> Sheet {
    let cd = hardware.cd.map(|cd| cd.vdi.map_or_else(|| "empty".to_owned(), |vdi| vdi.to_string()));
    let video =
        hardware.video.map(|video| format!("{:?} with {}", video.adapter, video.memory).to_lowercase());
    let cpu = &hardware.cpu;
    sheet
        .maybe("cd", cd)
        .maybe("video", video)
        .maybe("cpu weight", cpu.weight.map(|weight| weight.to_string()))
        .maybe("cpu cap", cpu.cap.map(|cap| format!("{cap} hundredths of a CPU")))
        .maybe("cpus", cpu.pin.as_ref().map(ToString::to_string))
        .each("pci", hardware.pci.iter().map(ToString::to_string))
        .maybe("guest agent", hardware.guest_agent.then_some("has a channel"))
}

fn seen(sheet: Sheet, observed: &ObservedVm) -> Sheet {
    let guest = &observed.guest;
    sheet
        .maybe("domain", observed.domid.map(|domid| domid.to_string()))
        .maybe("cpu level", observed.cpu_given.as_ref().map(ToString::to_string))
        .maybe("started", observed.started.map(|at| format!("{} ({})", words::at(at), words::ago(at))))
        .each("addresses", guest.addresses.iter().map(ToString::to_string))
        .maybe("os", guest.os.as_ref())
        .maybe("pv drivers", guest.pv_drivers.as_ref())
        .maybe("memory free", guest.memory_free.map(|memory| memory.to_string()))
        .maybe(
            "last failure",
            observed
                .failure
                .as_ref()
                .map(|failure| format!("{}: {}", words::at(failure.at), failure.message)),
        )
}

/// Host by host, best first.
pub fn placement(placement: &Placement, paint: Paint) -> String {
    let mut text = match placement.host {
        Some(_) => String::new(),
        None => format!("{}\n", paint.tone(Tone::Bad, "No host can take it.")),
    };
    for candidate in &placement.candidates {
        let chosen = placement.host == Some(candidate.host);
        let (mark, tone) = match candidate.score {
            _ if chosen => ("✓", Tone::Good),
            Some(_) => (" ", Tone::Plain),
            None => ("✗", Tone::Bad),
        };
        let score = candidate.score.map_or_else(String::new, |score| format!("  score {score}"));
        text.push_str(&format!(
            "{} {}{score}\n",
            paint.tone(tone, mark),
            paint.bold(&clean(&candidate.name))
        ));
        for reason in &candidate.reasons {
            text.push_str(&format!("    {}\n", clean(reason)));
        }
    }
    text
}
