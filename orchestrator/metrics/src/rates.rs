//! From the counters of one host to values on the grid of slots.
//!
//! What always holds: a rate is the difference of two samples of one run of the agent over the time between them by
//! the host's own clock. A counter that went back, or that belongs to another domain than before, began anew at 0. A
//! VM that was not in the sample before began in between. What has no sample before it has no rate.
//!
//! **Slots.** Samples come every 5 seconds, a little early or late; rounding each on its own would leave a slot empty
//! now and then and fill another twice. So the slots of a host go on from its last one by what its own clock says,
//! and are set anew only when they are two away from the time of day.

mod counted;

use xenith_common_ids::HostId;
use xenith_hypervisor_agent_types::metrics::{DiskCounters, HostSample, NicCounters, Sample, VmSample};
use xenith_orchestrator_types::metrics::Metric;

use crate::{Entity, SLOT};
use counted::Counted;

const SLOT_MS: u64 = SLOT as u64 * 1000;
/// How much the clocks of a host and of this machine may drift apart between two samples (ms).
const DRIFT_MS: i64 = 2;
/// Further off than a sample can be late, a clock was set.
const CLOCK_SET_MS: i64 = 120_000;

/// The values of one entity in one slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub entity: Entity,
    /// Seconds since 1970, divided by [`SLOT`].
    pub slot: u32,
    pub values: Vec<(Metric, f64)>,
}

/// What was heard of one host last.
#[derive(Debug)]
pub struct HostRates {
    host: HostId,
    instance: String,
    last: Option<Last>,
    grid: Option<Grid>,
}

#[derive(Debug)]
struct Last {
    clock_ms: u64,
    host: HostSample,
    vms: Counted,
}

/// Where the samples of a run lie in time.
#[derive(Debug, Clone, Copy)]
struct Grid {
    /// From the host's clock to ours (ms).
    offset: i64,
    /// When the slot went on last, by the host's clock.
    since_ms: u64,
    slot: u64,
}

impl HostRates {
    #[must_use]
    pub const fn new(host: HostId) -> Self {
        Self { host, instance: String::new(), last: None, grid: None }
    }

    /// `received_ms`: when it came, in milliseconds since 1970. Samples come in the order of their numbers.
    pub fn take(&mut self, instance: &str, sample: Sample, received_ms: u64) -> Vec<Reading> {
        if self.instance != instance {
            *self = Self { instance: instance.to_owned(), ..Self::new(self.host) };
        }
        let slot = self.slot(sample.clock_ms, received_ms);
        let last = self.last.as_ref().filter(|last| last.clock_ms < sample.clock_ms);
        let readings = readings(self.host, slot, last, &sample);
        let vms = Counted::of(sample.vms);
        self.last = Some(Last { clock_ms: sample.clock_ms, host: sample.host, vms });
        readings
    }

    fn slot(&mut self, clock_ms: u64, received_ms: u64) -> u32 {
        let away = received_ms.cast_signed().saturating_sub(clock_ms.cast_signed());
        let at =
            |offset: i64| u64::try_from(clock_ms.cast_signed().saturating_add(offset)).unwrap_or(0) / SLOT_MS;
        let grid = match self.grid {
            Some(grid) if (away - grid.offset).abs() < CLOCK_SET_MS => {
                // A sample that was under way for longer says less about the clock.
                let offset = away.min(grid.offset + DRIFT_MS);
                let passed = (clock_ms.saturating_sub(grid.since_ms) + SLOT_MS / 2) / SLOT_MS;
                let (slot, expected) = (grid.slot + passed, at(offset));
                match slot.abs_diff(expected) {
                    0 | 1 if passed == 0 => Grid { offset, ..grid },
                    0 | 1 => Grid { offset, since_ms: clock_ms, slot },
                    _ => Grid { offset, since_ms: clock_ms, slot: expected },
                }
            }
            _ => Grid { offset: away, since_ms: clock_ms, slot: at(away) },
        };
        self.grid = Some(grid);
        u32::try_from(grid.slot).unwrap_or(u32::MAX)
    }
}

fn readings(host: HostId, slot: u32, last: Option<&Last>, sample: &Sample) -> Vec<Reading> {
    let since = last.map(|last| Since { last, seconds: (sample.clock_ms - last.clock_ms) as f64 / 1000.0 });
    let since = since.as_ref();
    let mut readings = Vec::with_capacity(sample.vms.len() + 1);
    let (values, joules_a_cpu_second) = of_host(since, &sample.host);
    readings.push(Reading { entity: host.into(), slot, values });
    for vm in &sample.vms {
        let values = of_vm(since, vm, joules_a_cpu_second);
        readings.push(Reading { entity: vm.vm.into(), slot, values });
        of_devices(since, vm, slot, &mut readings);
    }
    readings
}

/// The sample before, and how long ago it was taken.
struct Since<'a> {
    last: &'a Last,
    seconds: f64,
}

impl Since<'_> {
    fn rate(&self, before: u64, now: u64) -> f64 {
        grown(before, now) as f64 / self.seconds
    }
}

/// What went back began anew.
const fn grown(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

fn of_host(since: Option<&Since<'_>>, now: &HostSample) -> (Vec<(Metric, f64)>, Option<f64>) {
    let used = now.memory_total.bytes().saturating_sub(now.memory_free.bytes());
    let mut values = vec![(Metric::Memory, used as f64)];
    values.extend(now.load.map(|load| (Metric::Load, load)));
    if let Some(available) = now.dom0_memory_available {
        let used = now.dom0_memory.bytes().saturating_sub(available.bytes());
        values.push((Metric::Dom0Memory, used as f64));
    }
    let Some(since) = since else { return (values, None) };
    let before = &since.last.host;
    let cpus = since.rate(before.busy_ns, now.busy_ns) / 1e9;
    values.push((Metric::Cpu, percent(cpus, now.cpus)));
    let dom0 = since.rate(before.dom0_cpu_time_ns, now.dom0_cpu_time_ns) / 1e9;
    values.push((Metric::Dom0Cpu, dom0 * 100.0));
    if let (Some(before), Some(now)) = (before.disk, now.disk) {
        disk_values(since, &[(before, now)], &mut values);
    }
    // Nothing counts that for a host's own disks.
    values.retain(|(metric, _)| *metric != Metric::DiskQueueFull);
    if let (Some(before), Some(now)) = (before.nic, now.nic) {
        nic_values(since, &[(before, now)], &mut values);
    }
    let (Some(from), Some(to)) = (before.energy_uj, now.energy_uj) else { return (values, None) };
    let watts = since.rate(from, to) / 1e6;
    values.push((Metric::Power, watts));
    (values, (cpus > 0.0).then(|| watts / cpus))
}

/// `cpus`: how many were busy, of `all`.
fn percent(cpus: f64, all: u32) -> f64 {
    (cpus * 100.0 / f64::from(all.max(1))).min(100.0)
}

fn of_vm(since: Option<&Since<'_>>, now: &VmSample, joules: Option<f64>) -> Vec<(Metric, f64)> {
    let mut values = vec![(Metric::Memory, now.memory.bytes() as f64)];
    let Some(since) = since else { return values };
    // Another domain, or none before: it began in between, at 0.
    let before = since.last.vms.before(now.vm, now.domid).unwrap_or_default();
    let cpus = since.rate(before.cpu_time_ns, now.cpu_time_ns) / 1e9;
    values.push((Metric::Cpu, percent(cpus, now.vcpus_online)));
    values.extend(joules.map(|joules| (Metric::Power, joules * cpus)));
    let pairs = paired(before.disks, &now.devices.disks);
    disk_values(since, &pairs, &mut values);
    let pairs = paired(before.nics, &now.devices.nics);
    nic_values(since, &pairs, &mut values);
    values
}

/// Of each disk and NIC, where there are several of a kind.
fn of_devices(since: Option<&Since<'_>>, now: &VmSample, slot: u32, readings: &mut Vec<Reading>) {
    let (disks, nics) = (&now.devices.disks, &now.devices.nics);
    let Some(since) = since.filter(|_| disks.len() > 1 || nics.len() > 1) else { return };
    let before = since.last.vms.before(now.vm, now.domid).unwrap_or_default();
    let mut push = |entity, values| readings.push(Reading { entity, slot, values });
    if disks.len() > 1 {
        for ((device, _), pair) in disks.iter().zip(paired(before.disks, disks)) {
            let mut values = Vec::with_capacity(5);
            disk_values(since, &[pair], &mut values);
            push(Entity::Disk(now.vm, device.index()), values);
        }
    }
    if nics.len() > 1 {
        for ((number, _), pair) in nics.iter().zip(paired(before.nics, nics)) {
            let Some(number) = u8::try_from(*number).ok().filter(|number| *number < Entity::NICS) else {
                continue;
            };
            let mut values = Vec::with_capacity(5);
            nic_values(since, &[pair], &mut values);
            push(Entity::Nic(now.vm, number), values);
        }
    }
}

/// Each device with itself in the sample before; a new one with zeroes.
fn paired<K: PartialEq, C: Copy + Default>(before: &[(K, C)], now: &[(K, C)]) -> Vec<(C, C)> {
    let known = |key: &K| before.iter().find(|(known, _)| known == key).map(|(_, counters)| *counters);
    now.iter().map(|(key, counters)| (known(key).unwrap_or_default(), *counters)).collect()
}

/// Of all devices together; of none, nothing.
fn sums<C>(
    since: &Since<'_>,
    pairs: &[(C, C)],
    metrics: &[(Metric, fn(&C) -> u64)],
    values: &mut Vec<(Metric, f64)>,
) {
    if pairs.is_empty() {
        return;
    }
    for (metric, of) in metrics {
        let sum = pairs.iter().map(|(before, now)| since.rate(of(before), of(now))).sum();
        values.push((*metric, sum));
    }
}

fn disk_values(since: &Since<'_>, pairs: &[(DiskCounters, DiskCounters)], values: &mut Vec<(Metric, f64)>) {
    let metrics: [(Metric, fn(&DiskCounters) -> u64); 5] = [
        (Metric::DiskRead, |disk| disk.read_bytes),
        (Metric::DiskWrite, |disk| disk.written_bytes),
        (Metric::DiskReadOps, |disk| disk.read_ops),
        (Metric::DiskWriteOps, |disk| disk.write_ops),
        (Metric::DiskQueueFull, |disk| disk.queue_full),
    ];
    sums(since, pairs, &metrics, values);
}

fn nic_values(since: &Since<'_>, pairs: &[(NicCounters, NicCounters)], values: &mut Vec<(Metric, f64)>) {
    let metrics: [(Metric, fn(&NicCounters) -> u64); 5] = [
        (Metric::NetReceived, |nic| nic.received_bytes),
        (Metric::NetSent, |nic| nic.sent_bytes),
        (Metric::NetReceivedPackets, |nic| nic.received_packets),
        (Metric::NetSentPackets, |nic| nic.sent_packets),
        (Metric::NetDropped, |nic| nic.dropped),
    ];
    sums(since, pairs, &metrics, values);
}

#[cfg(test)]
mod tests;
