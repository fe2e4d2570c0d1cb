//! What hosts count, on its way into series and past the rules of alarms.
//!
//! The series are in a store of their own beside the orchestrator's: losing it loses no intended state, backups of
//! the orchestrator do not carry it, and a store that is damaged is put aside and begun anew. One task writes what
//! is in memory, a part every few seconds and all of it within a minute, and what is left when the orchestrator stops.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;
use xenith_common_ids::VmId;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_api::Samples;
use xenith_orchestrator_metrics::{Entity, HostRates, Metrics, PARTS, schema};
use xenith_orchestrator_store::{RocksOptions, RocksStore, StateStore, StoreError};

use crate::alarms::Alarms;
use crate::app::App;

/// Seconds behind the minute at which it is written: samples are under way for a moment.
const BEHIND: u64 = 6;

/// Shared by those who hear hosts and those who ask.
#[derive(Debug)]
pub struct Metering {
    pub series: Metrics,
    pub alarms: Alarms,
}

impl Metering {
    /// Opens the store in `folder`, which is made when it is not there.
    pub async fn open(folder: &Path) -> Result<Arc<Self>, StoreError> {
        let folder = folder.to_owned();
        let store = tokio::task::spawn_blocking(move || open(&folder)).await;
        let store = store.map_err(|_| StoreError::Closed)??;
        Self::over(store).await
    }

    pub async fn over(store: Arc<dyn StateStore>) -> Result<Arc<Self>, StoreError> {
        Ok(Arc::new(Self { series: Metrics::open(store, now()).await?, alarms: Alarms::default() }))
    }

    /// Takes what a host told. A VM that another host has is that one's to tell of: it waits here for its memory, or it
    /// was sent from here, and what it does not use would stand for what it uses there.
    pub fn take(&self, rates: &mut HostRates, samples: Samples, is_elsewhere: impl Fn(VmId) -> bool) {
        let received = unix_ms();
        for sample in samples.samples {
            for reading in rates.take(&samples.instance, sample, received) {
                if reading.entity.vm().is_some_and(&is_elsewhere) {
                    continue;
                }
                self.series.record(&reading);
                self.alarms.look(&reading);
            }
        }
    }
}

/// One that is damaged is kept beside the new one, for whoever wants to look.
fn open(folder: &Path) -> Result<Arc<dyn StateStore>, StoreError> {
    // Nobody watches it, and what is looked at is a page of an hour now and then. A fleet of 250,000 VMs writes some 35 MiB a
    // minute, evenly: buffers of 32 MiB would be full of it at any time.
    let options = || RocksOptions {
        history_bytes: 0,
        block_cache_bytes: 16 << 20,
        write_buffer_bytes: 8 << 20,
        ..RocksOptions::default()
    };
    match RocksStore::open_with(folder, schema(), options()) {
        Err(error @ StoreError::Corrupt { .. }) => {
            let aside = folder.with_extension(format!("damaged-{}", now()));
            tracing::error!(%error, aside = %aside.display(), "the metrics are damaged and begun anew");
            if let Err(error) = std::fs::rename(folder, &aside) {
                tracing::error!(%error, "they cannot be put aside");
            }
            Ok(Arc::new(RocksStore::open_with(folder, schema(), options())?))
        }
        opened => Ok(Arc::new(opened?)),
    }
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    unix_ms() / 1000
}

/// Writes part after part until `tasks` end, and then what is left.
pub fn start(app: &Arc<App>, tasks: &TaskSet) {
    let (token, app) = (tasks.token(), Arc::clone(app));
    tasks.spawn("metrics-keeper", async move {
        for part in (0..PARTS).cycle() {
            tokio::select! {
                () = token.cancelled() => break,
                () = sleep(Duration::from_secs(60) / u32::from(PARTS)) => keep(&app, part).await,
            }
        }
        // With the minute under way.
        told(app.metering.series.save(now() + 60).await);
    });
}

async fn keep(app: &App, part: u16) {
    let series = &app.metering.series;
    let exists = |entity: Entity| match entity {
        Entity::Host(host) => app.views.host(host).is_some(),
        Entity::Vm(vm) | Entity::Disk(vm, _) | Entity::Nic(vm, _) => {
            app.views.vm(vm).is_some() || app.fleet.vm(vm).is_some()
        }
    };
    told(series.flush_part(part, now() - BEHIND).await);
    told(series.expire(now(), exists).await);
}

fn told(outcome: Result<(), StoreError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "what was measured in the last minute cannot be written; trying again in a minute");
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::{DomId, HostId};
    use xenith_common_units::MemoryMiB;
    use xenith_hypervisor_agent_types::metrics::{DeviceReadings, HostSample, Sample, VmSample};
    use xenith_orchestrator_store::MemoryStore;
    use xenith_orchestrator_types::metrics::Metric;

    use super::*;

    fn samples(vm: VmId, memory: u64) -> Samples {
        let host = HostSample {
            cpus: 1,
            busy_ns: 0,
            dom0_cpu_time_ns: 0,
            memory_total: MemoryMiB::default(),
            memory_free: MemoryMiB::default(),
            dom0_memory: MemoryMiB::default(),
            dom0_memory_available: None,
            load: None,
            energy_uj: None,
            disk: None,
            nic: None,
        };
        let vm = VmSample {
            vm,
            domid: DomId(1),
            cpu_time_ns: 0,
            vcpus_online: 1,
            memory: MemoryMiB::from_bytes_floor(memory),
            devices: DeviceReadings::default(),
        };
        Samples {
            instance: "a".to_owned(),
            samples: vec![Sample { number: 1, clock_ms: 5000, host, vms: vec![vm] }],
        }
    }

    #[tokio::test]
    async fn of_a_vm_on_two_hosts_the_one_tells_that_has_it() {
        let metering = Metering::over(Arc::new(MemoryStore::new(&schema()))).await.unwrap();
        let (here, there, vm) = (HostId::new(), HostId::new(), VmId::new());
        metering.take(&mut HostRates::new(here), samples(vm, 1 << 30), |_| false);
        metering.take(&mut HostRates::new(there), samples(vm, 1 << 20), |_| true);
        let memory = |entity: Entity| {
            let (_, values) = metering.series.latest(entity)?;
            values.into_iter().find(|(metric, _)| *metric == Metric::Memory).map(|(_, value)| value)
        };
        let of_vm = memory(vm.into()).unwrap();
        assert!((of_vm / f64::from(1 << 30) - 1.0).abs() < 0.001, "{of_vm}");
        assert!(memory(there.into()).is_some(), "the host tells of itself all the same");
    }
}
