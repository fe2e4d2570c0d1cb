//! The seam to the networks that backups are proved on.

use std::net::Ipv6Addr;
use std::num::NonZeroU16;

use async_trait::async_trait;
use xenith_hypervisor_agent_types::ProofBridge;

use crate::Result;

/// Bridges that nothing but one guest is on (the kernel's on a real host). Every call may be repeated.
#[async_trait]
pub trait ProofNetworks: Send + Sync + 'static {
    /// Makes the bridge, without an uplink.
    async fn ensure(&self, bridge: &ProofBridge) -> Result<()>;

    /// Takes it away. One that is gone is no error.
    async fn remove(&self, bridge: &ProofBridge) -> Result<()>;

    /// Tries each TCP port of the guest once, and answers within a few seconds which took the connection. `known` are
    /// the addresses that are known of it. Nothing but a guest on this bridge is connected to, and nothing is sent.
    async fn ask(
        &self,
        bridge: &ProofBridge,
        known: &[Ipv6Addr],
        ports: &[NonZeroU16],
    ) -> Result<Vec<NonZeroU16>>;
}
