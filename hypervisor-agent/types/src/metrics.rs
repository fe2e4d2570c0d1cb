//! What a host counts: CPU time, memory, disks, cards and energy, as they stand at one moment.
//!
//! Counters stay counters all the way: whoever wants a rate takes the difference of two samples. A value that a
//! host cannot tell is absent, never 0.

use std::collections::HashMap;

use xenith_common_ids::{DomId, VmId};
use xenith_common_units::MemoryMiB;

use crate::{DiskDevice, DomainInfo};

/// The machine and its domains at one moment, as the hypervisor counts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineUsage {
    /// Physical CPUs (threads) that are online.
    pub cpus: u32,
    pub memory_total: MemoryMiB,
    pub memory_free: MemoryMiB,
    pub dom0_memory: MemoryMiB,
    /// Nanoseconds that the control domain ran, summed over its virtual CPUs, since the host's start.
    pub dom0_cpu_time_ns: u64,
    /// All others, in the order of their ids.
    pub domains: Vec<DomainInfo>,
}

/// Of one disk, or of several together, since the device was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskCounters {
    pub read_ops: u64,
    pub write_ops: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// How often a request had to wait because the back-end had no room for it.
    pub queue_full: u64,
}

/// Of one card, as the guest sees it, or of several together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NicCounters {
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub received_packets: u64,
    pub sent_packets: u64,
    pub dropped: u64,
}

/// The disks and cards of one domain that the control domain's kernel counts. A disk that is served by a program
/// (QEMU's emulated disks, `tap`) is not among them: nobody counts it where it could be read cheaply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceReadings {
    pub disks: Vec<(DiskDevice, DiskCounters)>,
    /// With the number of the card: 0 is the first that the VM has.
    pub nics: Vec<(u16, NicCounters)>,
}

/// What the kernel of the control domain counts, at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KernelReadings {
    /// Of the last minute, as `/proc/loadavg` has it.
    pub load: Option<f64>,
    /// Memory that the control domain's programs could still have.
    pub dom0_memory_available: Option<MemoryMiB>,
    /// Microjoules, by RAPL; begins anywhere, only grows.
    pub energy_uj: Option<u64>,
    /// All physical disks together.
    pub disk: Option<DiskCounters>,
    /// All physical cards together.
    pub nic: Option<NicCounters>,
    pub devices: HashMap<DomId, DeviceReadings>,
}

/// One sample of a host. `number` counts the samples of one run of the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub number: u64,
    /// Milliseconds of the host's steady clock, which begins anywhere: differences count.
    pub clock_ms: u64,
    pub host: HostSample,
    pub vms: Vec<VmSample>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HostSample {
    pub cpus: u32,
    /// Nanoseconds that physical CPUs were busy, dom0 included, since the agent's start.
    pub busy_ns: u64,
    pub dom0_cpu_time_ns: u64,
    pub memory_total: MemoryMiB,
    pub memory_free: MemoryMiB,
    pub dom0_memory: MemoryMiB,
    pub dom0_memory_available: Option<MemoryMiB>,
    pub load: Option<f64>,
    pub energy_uj: Option<u64>,
    pub disk: Option<DiskCounters>,
    pub nic: Option<NicCounters>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSample {
    pub vm: VmId,
    /// Another one than in the sample before: all counters began anew.
    pub domid: DomId,
    pub cpu_time_ns: u64,
    pub vcpus_online: u32,
    pub memory: MemoryMiB,
    pub devices: DeviceReadings,
}
