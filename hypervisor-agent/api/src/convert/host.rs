//! [`HostFacts`].

use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::{Bridge, CpuTopology, HostFacts, XenVersion};

use super::fields::optional_id;
use crate::{WireError, wire};

impl From<&HostFacts> for wire::HostFacts {
    fn from(host: &HostFacts) -> Self {
        Self {
            hostname: host.hostname.clone(),
            xen_major: host.xen.major,
            xen_minor: host.xen.minor,
            xen_extra: host.xen.extra.clone(),
            cpu_model: host.cpu_model.clone(),
            cpu_features: host.cpu_features.map(|features| features.to_string()).unwrap_or_default(),
            cpus: host.topology.cpus,
            cores_per_socket: host.topology.cores_per_socket,
            threads_per_core: host.topology.threads_per_core,
            numa_nodes: host.topology.nodes,
            cpu_khz: host.topology.khz,
            memory_total_mib: host.memory_total.mib(),
            memory_free_mib: host.memory_free.mib(),
            memory_dom0_mib: host.memory_dom0.mib(),
            scheduler: host.scheduler.clone(),
            capabilities: host.capabilities.clone(),
            bridges: host
                .bridges
                .iter()
                .map(|bridge| wire::Bridge {
                    name: bridge.name.clone(),
                    uplinks: bridge.uplinks.clone(),
                    mtu: bridge.mtu,
                })
                .collect(),
        }
    }
}

impl TryFrom<wire::HostFacts> for HostFacts {
    type Error = WireError;

    fn try_from(host: wire::HostFacts) -> Result<Self, WireError> {
        let memory = |field: &str, mib| MemoryMiB::new(mib).map_err(|error| WireError::new(field, error));
        Ok(Self {
            hostname: host.hostname,
            xen: XenVersion { major: host.xen_major, minor: host.xen_minor, extra: host.xen_extra },
            cpu_model: host.cpu_model,
            cpu_features: optional_id("cpu_features", &host.cpu_features)?,
            topology: CpuTopology {
                cpus: host.cpus,
                cores_per_socket: host.cores_per_socket,
                threads_per_core: host.threads_per_core,
                nodes: host.numa_nodes,
                khz: host.cpu_khz,
            },
            memory_total: memory("memory_total_mib", host.memory_total_mib)?,
            memory_free: memory("memory_free_mib", host.memory_free_mib)?,
            memory_dom0: memory("memory_dom0_mib", host.memory_dom0_mib)?,
            scheduler: host.scheduler,
            capabilities: host.capabilities,
            bridges: host
                .bridges
                .into_iter()
                .map(|bridge| Bridge { name: bridge.name, uplinks: bridge.uplinks, mtu: bridge.mtu })
                .collect(),
        })
    }
}
