//! Specs for tests.

use std::path::PathBuf;

use xenith_common_ids::{IncarnationId, VmId};
use xenith_common_units::{MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_types::{
    BootDevice, CpuShare, DirectBoot, DiskAccess, DiskDevice, DomainCd, DomainDisk, DomainHardware,
    DomainIdentity, DomainNic, DomainSpec, Firmware, Graphics, MemorySpec, PlatformKind, VcpuSpec, Video,
    VideoAdapter,
};

/// A spec with everything that the kind can have.
pub fn spec(kind: PlatformKind) -> DomainSpec {
    let boot = DirectBoot {
        kernel: "/boot/vmlinuz".to_owned(),
        ramdisk: Some("/boot/initrd.img".to_owned()),
        cmdline: "console=hvc0 \"quoted\" \\ ö".to_owned(),
    };
    DomainSpec {
        identity: DomainIdentity { vm: VmId::new(), incarnation: IncarnationId::new() },
        name: "web-1".parse().unwrap(),
        kind,
        direct_boot: (kind != PlatformKind::Hvm).then_some(boot),
        firmware: Firmware::Bios,
        boot_order: vec![BootDevice::Cdrom, BootDevice::Disk],
        vcpus: VcpuSpec { online: VcpuCount::ONE, max: VcpuCount::new(4).unwrap() },
        memory: MemorySpec { target: MemoryMiB::new(256).unwrap(), max: MemoryMiB::new(512).unwrap() },
        disks: vec![DomainDisk {
            device: DiskDevice::nth(0).unwrap(),
            path: PathBuf::from("/var/lib/disk 1.img"),
            access: DiskAccess::ReadWrite,
        }],
        nics: vec![DomainNic { mac: "00:16:3e:00:00:01".parse().unwrap(), bridge: "xenbr0".to_owned() }],
        graphics: Graphics::Vnc,
        hardware: Default::default(),
    }
}

/// One of everything.
pub fn hardware() -> DomainHardware {
    DomainHardware {
        cd: Some(DomainCd { path: Some(PathBuf::from("/var/lib/debian 12.iso")) }),
        video: Some(Video { adapter: VideoAdapter::Cirrus, memory: MemoryMiB::new(8).unwrap() }),
        cpu: CpuShare { weight: Some(512), cap: Some(150), pin: Some("0,2-3".parse().unwrap()) },
        pci: vec!["03:00.1".parse().unwrap()],
        guest_agent: true,
        cpu_level: None,
    }
}
