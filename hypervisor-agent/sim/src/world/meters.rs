//! Counters of a simulated host: pure functions of how long its guests ran and of what they are called, so that
//! the same fleet counts the same, a guest at rest costs nothing, and no counter goes back while a domain lives.

use std::time::Duration;

use time::OffsetDateTime;
use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::metrics::{
    DeviceReadings, DiskCounters, KernelReadings, MachineUsage, NicCounters,
};

use super::{Domain, World};

/// How busy dom0 is, of one CPU.
const DOM0_PERMILLE: u64 = 50;
/// Watts of a host that does nothing, and of each CPU that works.
const IDLE_WATTS: u64 = 40;
const WATTS_A_CPU: u64 = 8;
const BLOCK: u64 = 16 << 10;
const PACKET: u64 = 900;

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl World {
    pub(crate) fn usage(&self, at: Duration, epoch: OffsetDateTime) -> MachineUsage {
        let facts = self.host();
        MachineUsage {
            cpus: facts.topology.cpus,
            memory_total: facts.memory_total,
            memory_free: facts.memory_free,
            dom0_memory: facts.memory_dom0,
            dom0_cpu_time_ns: dom0_ns(at),
            domains: self.domains.iter().map(|(domid, domain)| domain.info(*domid, at, epoch)).collect(),
        }
    }

    /// Of a domain that is not there, nothing.
    pub(crate) fn readings(&self, domids: &[DomId], at: Duration) -> KernelReadings {
        let here = domids.iter().filter_map(|domid| Some((*domid, self.domains.get(domid)?.devices(at))));
        let devices: std::collections::HashMap<_, _> = here.collect();
        let busy: u64 = self.domains.values().map(|domain| domain.cpu_time_ns(at)).sum();
        let working = (busy.saturating_add(dom0_ns(at)) / 1000).saturating_mul(WATTS_A_CPU);
        let (mut disk, mut nic) = (DiskCounters::default(), NicCounters::default());
        for (_, one) in devices.values().flat_map(|devices| &devices.disks) {
            disk.read_ops += one.read_ops;
            disk.write_ops += one.write_ops;
            disk.read_bytes += one.read_bytes;
            disk.written_bytes += one.written_bytes;
        }
        for (_, one) in devices.values().flat_map(|devices| &devices.nics) {
            // What a guest receives left the host's own card the other way round.
            nic.received_bytes += one.received_bytes;
            nic.sent_bytes += one.sent_bytes;
            nic.received_packets += one.received_packets;
            nic.sent_packets += one.sent_packets;
        }
        let dom0 = self.config.host.dom0_memory;
        KernelReadings {
            load: Some(0.05 + devices.len() as f64 / 100.0),
            dom0_memory_available: Some(MemoryMiB::from_bytes_floor(dom0.bytes() / 2)),
            energy_uj: Some((nanoseconds(at) / 1000).saturating_mul(IDLE_WATTS).saturating_add(working)),
            disk: Some(disk),
            nic: Some(nic),
            devices,
        }
    }
}

fn dom0_ns(at: Duration) -> u64 {
    nanoseconds(at) / 1000 * DOM0_PERMILLE
}

impl Domain {
    /// From 5 to 500 a second of CPU time, by the name of the guest and of the device.
    fn pace(&self, salt: u64) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ salt;
        for byte in self.name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        5 + (hash >> 32) % 496
    }

    fn devices(&self, at: Duration) -> DeviceReadings {
        let ran_ms = self.cpu_time_ns(at) / 1_000_000;
        let ops = |salt: u64| ran_ms.saturating_mul(self.pace(salt)) / 1000;
        let disk = |salt: u64| {
            let (read_ops, write_ops) = (ops(salt), ops(salt + 100));
            DiskCounters {
                read_ops,
                write_ops,
                read_bytes: read_ops * BLOCK,
                written_bytes: write_ops * BLOCK,
                queue_full: write_ops / 1000,
            }
        };
        let nic = |salt: u64| {
            let (received_packets, sent_packets) = (ops(salt), ops(salt + 100));
            NicCounters {
                received_bytes: received_packets * PACKET,
                sent_bytes: sent_packets * PACKET,
                received_packets,
                sent_packets,
                dropped: 0,
            }
        };
        let disks = self.disks.iter().map(|one| (one.device, disk(u64::from(one.device.index())))).collect();
        DeviceReadings {
            disks,
            nics: (0..).zip(&self.nics).map(|(n, _)| (n, nic(200 + u64::from(n)))).collect(),
        }
    }
}
