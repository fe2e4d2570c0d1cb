//! What tests begin with, so that a new field of a specification, or of what is observed, is written once.
#![allow(clippy::unwrap_used, reason = "a test harness, compiled for tests only")]

use xenith_common_ids::VmId;

use crate::{
    DirectBoot, GuestFacts, MemorySpec, ObservedVm, Platform, PlatformKind, Power, VcpuSpec, VmSpec,
};

/// A PVH guest with one of at most four virtual CPUs and 256 of at most 512 MiB, and nothing besides.
#[must_use]
pub fn small(name: &str) -> VmSpec {
    let boot = DirectBoot { kernel: "vmlinuz".to_owned(), ramdisk: None, cmdline: String::new() };
    VmSpec {
        name: name.parse().unwrap(),
        platform: Platform::Pvh { boot },
        vcpus: VcpuSpec { online: 1.try_into().unwrap(), max: 4.try_into().unwrap() },
        memory: MemorySpec { target: 256.try_into().unwrap(), max: 512.try_into().unwrap() },
        disks: vec![],
        nics: vec![],
        graphics: Default::default(),
        on_crash: Default::default(),
        on_reboot: Default::default(),
        autostart: None,
        hardware: Default::default(),
    }
}

/// A VM as its host tells of it: it has worked for 7 ns, and nothing is known of its domain and its guest.
#[must_use]
pub fn observed(vm: VmId, power: Power) -> ObservedVm {
    ObservedVm {
        vm,
        name: "web-1".to_owned(),
        power,
        kind: PlatformKind::Pvh,
        managed: true,
        definition: 1,
        incarnation: None,
        domid: None,
        memory: 1024.try_into().unwrap(),
        vcpus_online: 1,
        cpu_time_ns: 7,
        started: None,
        last_death: None,
        failure: None,
        guest: GuestFacts::default(),
        cpu_given: None,
    }
}
