//! From our typed spec to libxl's configuration, as JSON.
//!
//! The field names are those of `libxl_types.idl`. libxl fills in what is left out; what is written here is
//! what we mean on purpose:
//!
//! * the domain's uuid is the VM's id, so that a domain can be told from a later one with the same number, and its VM when
//!   xenstore has lost its mark;
//! * the identity is in `xsdata`, which libxl writes in the transaction that makes the domain's directory: no
//!   domain of ours is ever in the store without its mark (`/local/domain/N/xenith`);
//! * `on_*` is `preserve`: the agent sees the death, takes what it needs, and destroys the domain itself. libxl
//!   ignores these fields, but an `xl` that somebody attaches to the domain does not;
//! * `claim_mode`: Xen sets the memory of the domain aside before it is populated, or fails at once;
//! * disks are block devices (`phy`): see [`crate::disk`]; they and NICs name their [`Hotplug`] script;
//! * a [`crate::cpu`] policy hides what the level of the pool lacks, where there is one;
//! * graphics listen on the loopback only;
//! * a [`channel`] to the guest agent is there only where it is asked for: it needs a QEMU, which PV and PVH guests have
//!   not otherwise.

use std::path::Path;

use serde_json::{Value, json};
use xenith_hypervisor_agent_types::network::guest_interface;
use xenith_hypervisor_agent_types::{
    BootDevice, CdDrive, CpuShare, DiskAccess, DomainDisk, DomainNic, DomainSpec, Firmware, Graphics,
    PciAddress, PlatformKind, ProofBridge, VideoAdapter,
};

use crate::channel::channel;
use crate::hotplug::Hotplug;

/// libxl's spelling of its three-valued boolean.
const TRUE: &str = "True";
const FALSE: &str = "False";

/// `libxl_domain_config`. `disks` are the block devices of the spec's disks, in their order.
pub fn domain(spec: &DomainSpec, disks: &[&Path], hotplug: &Hotplug) -> Value {
    let identity = &spec.identity;
    let mut config = json!({
        "c_info": {
            "type": spec.kind.as_str(),
            "name": spec.name.as_str(),
            "uuid": identity.vm.to_string(),
            "xsdata": {
                "xenith/vm": identity.vm.to_string(),
                "xenith/incarnation": identity.incarnation.to_string(),
            },
        },
        "b_info": build(spec),
        "disks": all_disks(spec, disks, hotplug),
        "nics": indexed(spec.nics.iter().map(|nic| self::nic(nic, spec.kind, hotplug))),
        "on_poweroff": "preserve",
        "on_reboot": "preserve",
        "on_watchdog": "preserve",
        "on_crash": "preserve",
        "on_soft_reset": "preserve",
    });
    if !spec.hardware.pci.is_empty() {
        config["pcidevs"] = spec.hardware.pci.iter().copied().map(pci).collect();
    }
    if spec.hardware.guest_agent {
        config["channels"] = json!([channel(identity.vm)]);
    }
    if spec.kind != PlatformKind::Hvm && spec.graphics == Graphics::Vnc {
        config["vfbs"] = json!([{ "devid": 0, "vnc": vnc() }]);
        config["vkbs"] = json!([{ "devid": 0 }]);
    }
    config
}

/// The spec's disks, and its CD drive. While their devices are not known (`disks` is empty) there are none.
fn all_disks(spec: &DomainSpec, disks: &[&Path], hotplug: &Hotplug) -> Vec<Value> {
    let mut all: Vec<Value> =
        spec.disks.iter().zip(disks).map(|(disk, path)| self::disk(disk, path, hotplug)).collect();
    all.extend(spec.hardware.cd.as_ref().map(|drive| cd(drive.path.as_deref())));
    all
}

/// The CD drive. QEMU opens the image itself (`qdisk`): a block device could not be changed under it. It follows a link that
/// was put in the image's place after we looked. Guests write to no SR, and what is uploaded gets a name of ours; who else can
/// write there is a server of files or another client of it, and a mount of ours follows no link (`disk/attached.rs` of the
/// agent). In a folder of this host only its own administrator can.
pub fn cd(image: Option<&Path>) -> Value {
    let mut cd = json!({
        "vdev": CdDrive::VDEV, "backend": "qdisk", "removable": 1, "readwrite": 0, "is_cdrom": 1,
    });
    match image {
        Some(image) => {
            cd["pdev_path"] = json!(image);
            cd["format"] = json!("raw");
        }
        None => cd["format"] = json!("empty"),
    }
    cd
}

/// `libxl_device_pci`. libxl takes the device from the host's driver and gives it back afterwards (`seize`).
fn pci(address: PciAddress) -> Value {
    json!({
        "func": address.function, "dev": address.device, "bus": address.bus, "domain": address.domain,
        "seize": true,
    })
}

/// `libxl_domain_sched_params`.
pub fn scheduling(share: &CpuShare) -> Value {
    json!({ "weight": share.weight.unwrap_or(CpuShare::WEIGHT), "cap": share.cap.unwrap_or(0) })
}

/// `libxl_domain_build_info`.
fn build(spec: &DomainSpec) -> Value {
    let mut build = json!({
        "max_vcpus": spec.vcpus.max.get(),
        "avail_vcpus": (0..spec.vcpus.online.get()).collect::<Vec<_>>(),
        "max_memkb": spec.memory.max.kib(),
        "target_memkb": spec.memory.target.kib(),
        "claim_mode": TRUE,
    });
    if let Some(boot) = &spec.direct_boot {
        build["kernel"] = json!(boot.kernel);
        build["cmdline"] = json!(boot.cmdline);
        if let Some(ramdisk) = &boot.ramdisk {
            build["ramdisk"] = json!(ramdisk);
        }
    }
    let share = &spec.hardware.cpu;
    if share.weight.or(share.cap).is_some() {
        build["sched_params"] = scheduling(share);
    }
    if let Some(level) = &spec.hardware.cpu_level {
        build["cpuid"] = crate::cpu::policy(level);
    }
    if let Some(pin) = &share.pin {
        let cpus: Vec<u16> = pin.iter().collect();
        build["vcpu_hard_affinity"] = (0..spec.vcpus.max.get()).map(|_| json!(cpus)).collect();
        // libxl would look for a node by itself.
        build["numa_placement"] = json!(FALSE);
    }
    match spec.kind {
        PlatformKind::Pv => build["type.pv"] = json!({}),
        PlatformKind::Pvh => build["type.pvh"] = json!({}),
        PlatformKind::Hvm => {
            build["type.hvm"] = hvm(spec);
            if let Some(video) = spec.hardware.video.filter(|_| spec.graphics == Graphics::Vnc) {
                build["video_memkb"] = json!(video.memory.kib());
            }
        }
    }
    build
}

fn hvm(spec: &DomainSpec) -> Value {
    let with_graphics = spec.graphics == Graphics::Vnc;
    let mut hvm = json!({
        "bios": match spec.firmware {
            Firmware::Bios => "seabios",
            Firmware::Uefi => "ovmf",
        },
        "boot": boot_order(&spec.boot_order),
        "serial": "pty",
        "vga": { "kind": if with_graphics { "std" } else { "none" } },
        "vnc": if with_graphics { vnc() } else { json!({ "enable": FALSE }) },
        "sdl": { "enable": FALSE },
        "spice": { "enable": FALSE },
    });
    if let Some(video) = spec.hardware.video.filter(|_| with_graphics) {
        let kind = match video.adapter {
            VideoAdapter::Std => "std",
            VideoAdapter::Cirrus => "cirrus",
        };
        hvm["vga"] = json!({ "kind": kind });
    }
    if with_graphics {
        // Without an absolute pointer the cursor of the guest and that of the browser drift apart.
        hvm["usb"] = json!(TRUE);
        hvm["usbdevice_list"] = json!(["tablet"]);
    } else {
        hvm["nographic"] = json!(TRUE);
    }
    hvm
}

/// One letter per device, as QEMU's `-boot order` has it.
fn boot_order(order: &[BootDevice]) -> String {
    let letter = |device: &BootDevice| match device {
        BootDevice::Disk => 'c',
        BootDevice::Cdrom => 'd',
        BootDevice::Network => 'n',
    };
    if order.is_empty() { "cd".to_owned() } else { order.iter().map(letter).collect() }
}

/// A password is not set: nobody but root of this host reaches the loopback, and the agent's console
/// tickets stand before it.
fn vnc() -> Value {
    json!({ "enable": TRUE, "listen": "127.0.0.1", "findunused": TRUE })
}

/// `libxl_device_disk`; `path` is its block device.
pub fn disk(disk: &DomainDisk, path: &Path, hotplug: &Hotplug) -> Value {
    let mut json = json!({
        "pdev_path": path,
        "vdev": disk.device.to_string(),
        "format": "raw",
        "backend": "phy",
        "readwrite": i32::from(disk.access == DiskAccess::ReadWrite),
    });
    hotplug.name(&mut json);
    json
}

/// `libxl_device_nic`. HVM guests get an emulated card beside the PV one, for as long as they have no drivers. The
/// interface is named after the MAC, by which the packet filter knows it before it is there; on a proof's bridge nothing
/// is filtered, and its guest is told by Xen's own name.
pub fn nic(nic: &DomainNic, kind: PlatformKind, hotplug: &Hotplug) -> Value {
    let mut json = json!({ "mac": nic.mac.to_string(), "bridge": nic.bridge });
    hotplug.name(&mut json);
    if !ProofBridge::is_one(&nic.bridge) {
        json["ifname"] = json!(guest_interface(nic.mac));
    }
    if kind == PlatformKind::Hvm {
        json["nictype"] = json!("vif_ioemu");
        json["model"] = json!("e1000");
    } else {
        json["nictype"] = json!("vif");
    }
    json
}

fn indexed(devices: impl Iterator<Item = Value>) -> Vec<Value> {
    devices
        .enumerate()
        .map(|(index, mut device)| {
            device["devid"] = json!(index);
            device
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::spec;

    #[test]
    fn the_identity_is_made_with_the_domain() {
        let spec = spec(PlatformKind::Pvh);
        let config = domain(&spec, &[], &Hotplug::Xens);
        assert_eq!(config["c_info"]["uuid"], spec.identity.vm.to_string());
        assert_eq!(config["c_info"]["xsdata"]["xenith/incarnation"], spec.identity.incarnation.to_string());
    }

    #[test]
    fn hardware_beyond_the_usual() {
        let mut spec = spec(PlatformKind::Hvm);
        spec.hardware = crate::fixtures::hardware();
        let config = domain(&spec, &[Path::new("/dev/loop7")], &Hotplug::Xens);
        for (pointer, expected) in [
            ("/disks/1/vdev", json!("hdd")),
            ("/disks/1/pdev_path", json!("/var/lib/debian 12.iso")),
            ("/disks/1/format", json!("raw")),
            ("/disks/1/backend", json!("qdisk")),
            ("/b_info/type.hvm/vga/kind", json!("cirrus")),
            ("/b_info/video_memkb", json!(8192)),
            ("/b_info/sched_params/weight", json!(512)),
            ("/b_info/sched_params/cap", json!(150)),
            ("/b_info/vcpu_hard_affinity/3", json!([0, 2, 3])),
            ("/b_info/numa_placement", json!("False")),
            ("/channels/0/name", json!("org.qemu.guest_agent.0")),
            ("/channels/0/devid", json!(1)),
            ("/pcidevs/0/bus", json!(3)),
            ("/pcidevs/0/func", json!(1)),
        ] {
            assert_eq!(config.pointer(pointer), Some(&expected), "{pointer}");
        }
        assert_eq!(cd(None)["format"], "empty");
        assert_eq!(cd(None).get("pdev_path"), None);
    }

    #[test]
    fn disks_and_nics_name_our_script() {
        let spec = spec(PlatformKind::Hvm);
        let own = Hotplug::Own("/var/lib/xenith/hotplug".into());
        for (hotplug, expected) in [(own, Some("/var/lib/xenith/hotplug")), (Hotplug::Xens, None)] {
            let config = domain(&spec, &[Path::new("/dev/loop7")], &hotplug);
            for pointer in ["/disks/0/script", "/nics/0/script"] {
                assert_eq!(config.pointer(pointer).and_then(Value::as_str), expected, "{pointer}");
            }
        }
    }

    #[test]
    fn what_each_kind_gets() {
        for (kind, graphics, pointer, expected) in [
            (PlatformKind::Pv, Graphics::None, "/b_info/type.pv", Some(json!({}))),
            (PlatformKind::Pvh, Graphics::None, "/vfbs", None),
            (PlatformKind::Pvh, Graphics::None, "/channels", None),
            (PlatformKind::Pvh, Graphics::Vnc, "/vfbs/0/vnc/listen", Some(json!("127.0.0.1"))),
            (PlatformKind::Hvm, Graphics::Vnc, "/b_info/type.hvm/vnc/listen", Some(json!("127.0.0.1"))),
            (PlatformKind::Hvm, Graphics::None, "/b_info/type.hvm/vnc/enable", Some(json!("False"))),
            (PlatformKind::Hvm, Graphics::Vnc, "/vfbs", None),
            (PlatformKind::Hvm, Graphics::None, "/b_info/type.hvm/boot", Some(json!("dc"))),
            (PlatformKind::Hvm, Graphics::None, "/b_info/kernel", None),
            (PlatformKind::Hvm, Graphics::None, "/nics/0/nictype", Some(json!("vif_ioemu"))),
            (PlatformKind::Pv, Graphics::None, "/nics/0/nictype", Some(json!("vif"))),
            (PlatformKind::Pv, Graphics::None, "/nics/0/ifname", Some(json!("x002OV00001"))),
            (PlatformKind::Pv, Graphics::None, "/b_info/claim_mode", Some(json!("True"))),
            (PlatformKind::Pv, Graphics::None, "/disks/0/backend", Some(json!("phy"))),
            (PlatformKind::Pv, Graphics::None, "/disks/0/pdev_path", Some(json!("/dev/loop7"))),
            (PlatformKind::Pv, Graphics::None, "/disks/0/readwrite", Some(json!(1))),
        ] {
            let mut spec = spec(kind);
            spec.graphics = graphics;
            assert_eq!(
                domain(&spec, &[Path::new("/dev/loop7")], &Hotplug::Xens).pointer(pointer),
                expected.as_ref(),
                "{kind} {graphics:?} {pointer}"
            );
        }
    }

    #[test]
    fn what_an_hvm_guest_boots_by() {
        use BootDevice::{Cdrom, Disk, Network};
        for (firmware, order, bios, letters) in [
            (Firmware::Bios, vec![], "seabios", "cd"),
            (Firmware::Bios, vec![Cdrom, Disk], "seabios", "dc"),
            (Firmware::Uefi, vec![Disk], "ovmf", "c"),
            (Firmware::Uefi, vec![Network, Disk, Cdrom], "ovmf", "ncd"),
        ] {
            let spec = DomainSpec { firmware, boot_order: order, ..spec(PlatformKind::Hvm) };
            let config = domain(&spec, &[Path::new("/dev/loop7")], &Hotplug::Xens);
            let seen = ["bios", "boot"].map(|key| config["b_info"]["type.hvm"][key].as_str());
            assert_eq!(seen, [Some(bios), Some(letters)]);
        }
        // Nothing of it is said of a guest whose kernel the toolstack loads.
        let config = domain(&spec(PlatformKind::Pvh), &[Path::new("/dev/loop7")], &Hotplug::Xens);
        assert_eq!(config.pointer("/b_info/type.hvm"), None);
    }
}
