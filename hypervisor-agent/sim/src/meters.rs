//! What the kernel of a simulated host counts.

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::Meters;
use xenith_hypervisor_agent_types::metrics::KernelReadings;

use crate::SimHypervisor;

impl Meters for SimHypervisor {
    fn read(&self, domids: &[DomId]) -> KernelReadings {
        self.inner.with(|world, at| world.readings(domids, at))
    }
}
