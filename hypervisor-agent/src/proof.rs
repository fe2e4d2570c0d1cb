//! Ports of a VM that is proved: waits until they answer, on a bridge that only this VM is on.
//!
//! What always holds: only the bridge named after the VM is asked, made or removed. A wait ends when every port has
//! answered, when its time is up, when the VM has no domain any more, when somebody cancels it, and when the agent
//! stops; what has answered until then is the answer. Nothing is kept: after a crash the orchestrator asks again, and a
//! bridge that was left is removed by it, or by the next boot of the host.

mod kernel;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_common_ids::VmId;
use xenith_common_tasks::CancellationToken;
use xenith_hypervisor_agent_backend::ProofNetworks;
use xenith_hypervisor_agent_types::backup::BackupReply;
use xenith_hypervisor_agent_types::{Fault, FaultReason, PortQuestion, ProofBridge, link_local};

use crate::fault::from_hypervisor;
use crate::vm::publisher::Publisher;

pub use kernel::KernelNetworks;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub struct Proofs {
    networks: Arc<dyn ProofNetworks>,
    publisher: Arc<Publisher>,
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proofs").finish_non_exhaustive()
    }
}

/// Why a wait is given up.
pub struct GivenUp<C: Fn() -> bool> {
    /// Whether somebody cancelled it.
    pub cancelled: C,
    pub stopping: CancellationToken,
}

impl Proofs {
    #[must_use]
    pub fn new(networks: Arc<dyn ProofNetworks>, publisher: Arc<Publisher>) -> Self {
        Self { networks, publisher }
    }

    pub async fn ensure(&self, vm: VmId) -> Result<BackupReply, Fault> {
        let made = self.networks.ensure(&ProofBridge::of(vm)).await;
        made.map(|()| BackupReply::ProofNetwork).map_err(|error| from_hypervisor(&error))
    }

    pub async fn remove(&self, vm: VmId) -> Result<BackupReply, Fault> {
        let removed = self.networks.remove(&ProofBridge::of(vm)).await;
        removed.map(|()| BackupReply::ProofNetwork).map_err(|error| from_hypervisor(&error))
    }

    pub async fn ask<C: Fn() -> bool>(
        &self,
        question: PortQuestion,
        given_up: GivenUp<C>,
    ) -> Result<BackupReply, Fault> {
        check(&question)?;
        let bridge = ProofBridge::of(question.vm);
        let (mut answered, began) = (Vec::new(), Instant::now());
        while self.lives(question.vm) {
            let open = question.ports.iter().copied().filter(|port| !answered.contains(port));
            let open: Vec<NonZeroU16> = open.collect();
            let found = self.networks.ask(&bridge, &self.addresses(&question), &open).await;
            answered.extend(found.map_err(|error| from_hypervisor(&error))?);
            let time_is_up = began.elapsed() >= Duration::from_secs(question.seconds.into());
            if time_is_up || question.ports.iter().all(|port| answered.contains(port)) {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = given_up.stopping.cancelled() => {
                    return Err(Fault::new(FaultReason::NotReady, "the agent is stopping"));
                }
            }
            if (given_up.cancelled)() {
                return Err(Fault::new(FaultReason::Invalid, "it was cancelled"));
            }
        }
        let in_order = question.ports.into_iter().filter(|port| answered.contains(port)).collect();
        Ok(BackupReply::Ports { answered: in_order })
    }

    fn lives(&self, vm: VmId) -> bool {
        self.publisher.vm(vm).is_some_and(|seen| seen.power.has_domain())
    }

    /// That of its MAC, and the link-local ones that the guest tells of.
    fn addresses(&self, question: &PortQuestion) -> Vec<Ipv6Addr> {
        let seen = self.publisher.vm(question.vm);
        let told = seen.iter().flat_map(|seen| &seen.guest.addresses).filter_map(|address| match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(*address),
            _ => None,
        });
        std::iter::once(link_local(question.mac)).chain(told).collect()
    }
}

fn check(question: &PortQuestion) -> Result<(), Fault> {
    if question.ports.is_empty() || question.ports.len() > PortQuestion::MOST_PORTS {
        return Err(Fault::invalid("ports", format!("give 1 to {}", PortQuestion::MOST_PORTS)));
    }
    if question.seconds > PortQuestion::MOST_SECONDS {
        return Err(Fault::invalid("seconds", format!("at most {}", PortQuestion::MOST_SECONDS)));
    }
    Ok(())
}
