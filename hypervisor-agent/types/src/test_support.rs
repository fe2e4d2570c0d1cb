//! What tests begin with, so that a new field of a specification is written once.
#![allow(clippy::unwrap_used, reason = "a test harness, compiled for tests only")]

use crate::{DirectBoot, MemorySpec, Platform, VcpuSpec, VmSpec};

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
