//! [`ValidVmSpec`] and what it is made of.

use xenith_common_units::{MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_types::{
    Autostart, BootDevice, CrashAction, DirectBoot, DiskAccess, DiskSpec, Firmware, Graphics, MemorySpec,
    NicSpec, Platform, RebootAction, ValidVmSpec, VcpuSpec, VmSpec,
};

use super::fields::{asked, enums, id, required, under};
use crate::{WireError, wire};

enums! {
    fn firmware_to_wire, firmware: Firmware <-> Firmware { Bios = Firmware::Bios, Uefi = Firmware::Uefi, }
    fn boot_device_to_wire, boot_device: BootDevice <-> BootDevice {
        Disk = BootDevice::Disk, Cdrom = BootDevice::Cdrom, Network = BootDevice::Network,
    }
    fn graphics_to_wire, graphics: Graphics <-> Graphics { None = Graphics::None, Vnc = Graphics::Vnc, }
    fn crash_to_wire, crash: CrashAction <-> CrashAction {
        Restart = CrashAction::Restart, Stop = CrashAction::Stop, Preserve = CrashAction::Preserve,
    }
    fn reboot_to_wire, reboot: RebootAction <-> RebootAction {
        Restart = RebootAction::Restart, Stop = RebootAction::Stop,
    }
}

impl From<&ValidVmSpec> for wire::VmSpec {
    fn from(spec: &ValidVmSpec) -> Self {
        let spec = spec.get();
        Self {
            name: spec.name.to_string(),
            platform: Some((&spec.platform).into()),
            vcpus_online: spec.vcpus.online.get(),
            vcpus_max: spec.vcpus.max.get(),
            memory_target_mib: spec.memory.target.mib(),
            memory_max_mib: spec.memory.max.mib(),
            disks: spec.disks.iter().map(Into::into).collect(),
            nics: spec.nics.iter().map(Into::into).collect(),
            graphics: graphics_to_wire(spec.graphics),
            on_crash: crash_to_wire(spec.on_crash),
            on_reboot: reboot_to_wire(spec.on_reboot),
            autostart: spec.autostart.map(|autostart| wire::Autostart {
                order: autostart.order.into(),
                delay_s: autostart.delay_s.into(),
            }),
            hardware: (!spec.hardware.is_plain()).then(|| (&spec.hardware).into()),
        }
    }
}

impl TryFrom<wire::VmSpec> for ValidVmSpec {
    type Error = WireError;

    fn try_from(spec: wire::VmSpec) -> Result<Self, WireError> {
        let memory = |field: &str, mib| MemoryMiB::new(mib).map_err(|error| WireError::new(field, error));
        let vcpus = |field: &str, count| VcpuCount::new(count).map_err(|error| WireError::new(field, error));
        let platform = required("platform", spec.platform)?;
        let spec = VmSpec {
            name: id("name", &spec.name)?,
            platform: under("platform", platform.try_into())?,
            vcpus: VcpuSpec {
                online: vcpus("vcpus_online", spec.vcpus_online)?,
                max: vcpus("vcpus_max", spec.vcpus_max)?,
            },
            memory: MemorySpec {
                target: memory("memory_target_mib", spec.memory_target_mib)?,
                max: memory("memory_max_mib", spec.memory_max_mib)?,
            },
            disks: each("disks", spec.disks)?,
            nics: each("nics", spec.nics)?,
            graphics: graphics("graphics", spec.graphics)?,
            on_crash: crash("on_crash", spec.on_crash)?,
            on_reboot: reboot("on_reboot", spec.on_reboot)?,
            autostart: spec
                .autostart
                .map(|autostart| under("autostart", autostart.try_into()))
                .transpose()?,
            hardware: under("hardware", spec.hardware.unwrap_or_default().try_into())?,
        };
        Self::try_from(spec).map_err(|errors| {
            let field = errors.0.first().map(|error| error.field.clone()).unwrap_or_default();
            WireError::new(field, errors)
        })
    }
}

/// Converts a list; an error names the item.
fn each<W, D: TryFrom<W, Error = WireError>>(field: &str, items: Vec<W>) -> Result<Vec<D>, WireError> {
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| under(format_args!("{field}[{index}]"), item.try_into()))
        .collect()
}

impl TryFrom<wire::Autostart> for Autostart {
    type Error = WireError;

    fn try_from(autostart: wire::Autostart) -> Result<Self, WireError> {
        let small = |field, value: u32| u16::try_from(value).map_err(|error| WireError::new(field, error));
        Ok(Self { order: small("order", autostart.order)?, delay_s: small("delay_s", autostart.delay_s)? })
    }
}

impl From<&Platform> for wire::Platform {
    fn from(platform: &Platform) -> Self {
        use wire::platform::Kind;
        let kind = match platform {
            Platform::Pv { boot } => Kind::Pv(boot.into()),
            Platform::Pvh { boot } => Kind::Pvh(boot.into()),
            Platform::Hvm { firmware, boot_order } => Kind::Hvm(wire::Hvm {
                firmware: firmware_to_wire(*firmware),
                boot_order: boot_order.iter().copied().map(boot_device_to_wire).collect(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::Platform> for Platform {
    type Error = WireError;

    fn try_from(platform: wire::Platform) -> Result<Self, WireError> {
        use wire::platform::Kind;
        Ok(match asked("kind", "kind of guest", platform.kind)? {
            Kind::Pv(boot) => Self::Pv { boot: boot.into() },
            Kind::Pvh(boot) => Self::Pvh { boot: boot.into() },
            Kind::Hvm(hvm) => Self::Hvm {
                firmware: firmware("hvm.firmware", hvm.firmware)?,
                boot_order: hvm
                    .boot_order
                    .into_iter()
                    .map(|device| boot_device("hvm.boot_order", device))
                    .collect::<Result<_, _>>()?,
            },
        })
    }
}

impl From<&DirectBoot> for wire::DirectBoot {
    fn from(boot: &DirectBoot) -> Self {
        Self {
            kernel: boot.kernel.clone(),
            ramdisk: boot.ramdisk.clone().unwrap_or_default(),
            cmdline: boot.cmdline.clone(),
        }
    }
}

impl From<wire::DirectBoot> for DirectBoot {
    fn from(boot: wire::DirectBoot) -> Self {
        let ramdisk = Some(boot.ramdisk).filter(|ramdisk| !ramdisk.is_empty());
        Self { kernel: boot.kernel, ramdisk, cmdline: boot.cmdline }
    }
}

impl From<&DiskSpec> for wire::Disk {
    fn from(disk: &DiskSpec) -> Self {
        Self {
            device: disk.device.to_string(),
            vdi_id: disk.vdi.to_string(),
            read_only: disk.access == DiskAccess::ReadOnly,
        }
    }
}

impl TryFrom<wire::Disk> for DiskSpec {
    type Error = WireError;

    fn try_from(disk: wire::Disk) -> Result<Self, WireError> {
        Ok(Self {
            device: id("device", &disk.device)?,
            vdi: id("vdi_id", &disk.vdi_id)?,
            access: if disk.read_only { DiskAccess::ReadOnly } else { DiskAccess::ReadWrite },
        })
    }
}

impl From<&NicSpec> for wire::Nic {
    fn from(nic: &NicSpec) -> Self {
        Self { mac: nic.mac.to_string(), network_id: nic.network.to_string(), bridge: nic.bridge.clone() }
    }
}

impl TryFrom<wire::Nic> for NicSpec {
    type Error = WireError;

    fn try_from(nic: wire::Nic) -> Result<Self, WireError> {
        Ok(Self {
            mac: id("mac", &nic.mac)?,
            network: id("network_id", &nic.network_id)?,
            bridge: nic.bridge,
        })
    }
}
