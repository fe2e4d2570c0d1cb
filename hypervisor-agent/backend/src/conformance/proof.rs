//! What every kind of network for proofs does, with nobody on it.

use std::num::NonZeroU16;

use xenith_common_ids::VmId;
use xenith_hypervisor_agent_types::ProofBridge;

use crate::{HypervisorError, ProofNetworks};

/// Panics where a promise is broken.
pub async fn proof_networks(networks: &dyn ProofNetworks) {
    let bridge = ProofBridge::of(VmId::new());
    let ports = [NonZeroU16::MIN];
    let asked = networks.ask(&bridge, &[], &ports).await;
    assert!(matches!(asked, Err(HypervisorError::Device { .. })), "none was made: {asked:?}");
    for _ in 0..2 {
        assert_eq!(networks.ensure(&bridge).await, Ok(()));
        assert_eq!(networks.ask(&bridge, &[], &ports).await, Ok(vec![]), "nobody is there");
    }
    for _ in 0..2 {
        assert_eq!(networks.remove(&bridge).await, Ok(()));
    }
    let asked = networks.ask(&bridge, &[], &ports).await;
    assert!(matches!(asked, Err(HypervisorError::Device { .. })), "it is gone: {asked:?}");
}
