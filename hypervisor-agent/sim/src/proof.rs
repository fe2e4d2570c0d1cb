//! The bridges of proofs on a simulated host: guests that have booted answer the ports that the configuration says.

use std::net::Ipv6Addr;
use std::num::NonZeroU16;

use async_trait::async_trait;
use xenith_hypervisor_agent_backend::{HypervisorError, ProofNetworks, Result};
use xenith_hypervisor_agent_types::{Bridge, ProofBridge, link_local};

use crate::SimHypervisor;
use crate::world::Run;

#[async_trait]
impl ProofNetworks for SimHypervisor {
    async fn ensure(&self, bridge: &ProofBridge) -> Result<()> {
        self.add_bridge(Bridge { name: bridge.to_string(), uplinks: vec![], mtu: 1500 });
        Ok(())
    }

    async fn remove(&self, bridge: &ProofBridge) -> Result<()> {
        self.remove_bridge(bridge.as_str());
        Ok(())
    }

    async fn ask(
        &self,
        bridge: &ProofBridge,
        known: &[Ipv6Addr],
        ports: &[NonZeroU16],
    ) -> Result<Vec<NonZeroU16>> {
        self.inner.with(|world, _| {
            if !world.bridges.iter().any(|there| there.name == bridge.as_str()) {
                let detail = "there is no such bridge".to_owned();
                return Err(HypervisorError::Device { device: bridge.to_string(), detail });
            }
            let answers = world.domains.values().any(|domain| {
                let there = domain.nics.iter().filter(|nic| nic.bridge == bridge.as_str());
                let known = there.map(|nic| link_local(nic.mac)).any(|address| known.contains(&address));
                known && domain.run == Run::Running && domain.is_up()
            });
            let open = &world.config.guest.ports;
            Ok(ports.iter().copied().filter(|port| answers && open.contains(port)).collect())
        })
    }
}

impl SimHypervisor {
    /// The bridges of proofs that are there now: they go away with their proof.
    #[must_use]
    pub fn proof_bridges(&self) -> Vec<String> {
        self.inner.with(|world, _| {
            let names = world.bridges.iter().map(|bridge| &bridge.name);
            names.filter(|name| ProofBridge::is_one(name)).cloned().collect()
        })
    }
}
