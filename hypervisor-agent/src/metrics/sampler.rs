//! One sample of the host after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use xenith_common_ids::DomId;
use xenith_common_tasks::CancellationToken;
use xenith_hypervisor_agent_backend::{Hypervisor, Meters};
use xenith_hypervisor_agent_types::metrics::{HostSample, KernelReadings, MachineUsage, Sample, VmSample};

use super::Recorder;
use crate::vm::registry::known_as;

pub struct Sampler {
    hypervisor: Arc<dyn Hypervisor>,
    meters: Arc<dyn Meters>,
    recorder: Arc<Recorder>,
    began: Instant,
    number: u64,
    busy: Busy,
}

impl Sampler {
    #[must_use]
    pub fn new(hypervisor: Arc<dyn Hypervisor>, meters: Arc<dyn Meters>, recorder: Arc<Recorder>) -> Self {
        Self { hypervisor, meters, recorder, began: Instant::now(), number: 0, busy: Busy::default() }
    }

    /// Samples `every` so often until `stopping`. A sample that comes late moves those behind it: two at once would
    /// tell nothing twice.
    pub async fn run(mut self, every: Duration, stopping: CancellationToken) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = self.sample() => {}
            }
        }
    }

    async fn sample(&mut self) {
        let usage = match self.hypervisor.usage().await {
            Ok(usage) => usage,
            Err(error) => return tracing::warn!(%error, "what the host uses cannot be read"),
        };
        let clock_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let meters = Arc::clone(&self.meters);
        let domids: Vec<DomId> = usage.domains.iter().map(|info| info.domid).collect();
        let Ok(readings) = tokio::task::spawn_blocking(move || meters.read(&domids)).await else { return };
        self.number += 1;
        let busy_ns = self.busy.count(&usage);
        self.recorder.record(sample((self.number, clock_ms), busy_ns, usage, readings));
    }
}

fn sample(
    (number, clock_ms): (u64, u64),
    busy_ns: u64,
    usage: MachineUsage,
    mut readings: KernelReadings,
) -> Sample {
    let vms = usage.domains.iter().map(|info| VmSample {
        vm: known_as(info),
        domid: info.domid,
        cpu_time_ns: info.cpu_time_ns,
        vcpus_online: info.vcpus_online,
        memory: info.memory,
        devices: readings.devices.remove(&info.domid).unwrap_or_default(),
    });
    let vms = vms.collect();
    let host = HostSample {
        cpus: usage.cpus,
        busy_ns,
        dom0_cpu_time_ns: usage.dom0_cpu_time_ns,
        memory_total: usage.memory_total,
        memory_free: usage.memory_free,
        dom0_memory: usage.dom0_memory,
        dom0_memory_available: readings.dom0_memory_available,
        load: readings.load,
        energy_uj: readings.energy_uj,
        disk: readings.disk,
        nic: readings.nic,
    };
    Sample { number, clock_ms, host, vms }
}

/// The machine's own CPU time, which Xen does not count: that of all domains together. A domain that ends takes
/// its count with it, so the sum is kept here and only grows.
#[derive(Debug, Default)]
struct Busy {
    total: u64,
    last: Option<HashMap<DomId, u64>>,
}

impl Busy {
    fn count(&mut self, usage: &MachineUsage) -> u64 {
        let dom0 = (DomId::DOM0, usage.dom0_cpu_time_ns);
        let guests = usage.domains.iter().map(|info| (info.domid, info.cpu_time_ns));
        let now: HashMap<DomId, u64> = guests.chain([dom0]).collect();
        if let Some(last) = &self.last {
            for (domid, ns) in &now {
                // Less than before: the number was given to another domain, which began at 0. So did a new one.
                let before = last.get(domid).copied().filter(|before| before <= ns).unwrap_or(0);
                self.total += ns - before;
            }
        }
        self.last = Some(now);
        self.total
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::DomainUuid;
    use xenith_hypervisor_agent_types::{DomainInfo, DomainStatus, PlatformKind};

    use super::*;

    fn usage(dom0_cpu_time_ns: u64, guests: &[(u32, u64)]) -> MachineUsage {
        let info = |(domid, cpu_time_ns): &(u32, u64)| DomainInfo {
            domid: DomId(*domid),
            uuid: DomainUuid::new(),
            name: "g".into(),
            identity: None,
            status: DomainStatus::Running,
            kind: PlatformKind::Pv,
            memory: Default::default(),
            memory_max: Default::default(),
            vcpus_online: 1,
            cpu_time_ns: *cpu_time_ns,
            created: None,
        };
        MachineUsage {
            cpus: 2,
            memory_total: Default::default(),
            memory_free: Default::default(),
            dom0_memory: Default::default(),
            dom0_cpu_time_ns,
            domains: guests.iter().map(info).collect(),
        }
    }

    #[test]
    fn busy_time_only_grows_whatever_domains_do() {
        let mut busy = Busy::default();
        for (name, dom0, guests, expected) in [
            ("what was before the agent is not counted", 100, vec![(1, 1000)], 0),
            ("both ran", 110, vec![(1, 1050)], 60),
            ("a domain came", 110, vec![(1, 1050), (2, 7)], 67),
            ("one went", 111, vec![(2, 8)], 69),
            ("its number was reused", 111, vec![(2, 3)], 72),
            ("nothing ran", 111, vec![(2, 3)], 72),
        ] {
            assert_eq!(busy.count(&usage(dom0, &guests)), expected, "{name}");
        }
    }
}
