//! What happens on a host without the agent's doing: guests that end by themselves, an administrator with
//! `xl`, and what tests look at from outside.

use std::sync::atomic::Ordering;

use xenith_common_ids::DomId;
use xenith_common_units::{MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_backend::{DomainEventKind, HypervisorError, Result};
use xenith_hypervisor_agent_types::{
    Bridge, DeathReason, DomainDisk, DomainHardware, DomainNic, GuestFacts, MemorySpec, PlatformKind,
    VcpuSpec,
};

use crate::world::{Domain, Run};
use crate::{FaultRule, GuestAgentManners, Manners, Operation, SimHypervisor};

/// A domain that somebody else makes.
#[derive(Debug, Clone)]
pub struct Foreign {
    pub name: String,
    pub kind: PlatformKind,
    pub memory: MemoryMiB,
    pub vcpus: VcpuCount,
}

impl Foreign {
    /// A small PV domain.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: PlatformKind::Pv,
            memory: MemoryMiB::from_bytes_floor(128 << 20),
            vcpus: VcpuCount::ONE,
        }
    }
}

/// What is plugged into a domain now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    pub disks: Vec<DomainDisk>,
    pub nics: Vec<DomainNic>,
}

impl SimHypervisor {
    /// The guest ends by itself: `PowerOff` and `Reboot` as if an administrator had asked inside, `Crash` as
    /// a kernel's panic, `Watchdog` as its own.
    pub fn end_guest(&self, domid: DomId, reason: DeathReason) -> Result<()> {
        self.inner.with(|world, at| {
            world.get(domid)?;
            world.end(domid, reason, at);
            Ok(())
        })
    }

    pub fn crash(&self, domid: DomId) -> Result<()> {
        self.end_guest(domid, DeathReason::Crash)
    }

    /// From now on the guest behaves like this.
    pub fn set_manners(&self, domid: DomId, manners: Manners) -> Result<()> {
        self.inner.with(|world, _| {
            world.get_mut(domid)?.manners = manners;
            world.facts_changed();
            Ok(())
        })
    }

    /// From now on the guest agent behaves like this. Nothing where the domain has no channel to one.
    pub fn set_guest_agent(&self, domid: DomId, manners: GuestAgentManners) -> Result<()> {
        self.inner.with(|world, _| {
            if let Some(agent) = &world.get(domid)?.guest_agent {
                agent.behave(manners);
            }
            Ok(())
        })
    }

    /// Whether the guest's filesystems are frozen.
    #[must_use]
    pub fn is_frozen(&self, domid: DomId) -> bool {
        let agent = self.inner.with(|world, _| world.get(domid).ok()?.guest_agent.clone());
        agent.is_some_and(|agent| agent.is_frozen())
    }

    /// How often the guest's filesystems were frozen.
    #[must_use]
    pub fn freezes(&self, domid: DomId) -> u64 {
        let agent = self.inner.with(|world, _| world.get(domid).ok()?.guest_agent.clone());
        agent.map_or(0, |agent| agent.freezes())
    }

    /// `xl create`: a running domain without identity.
    pub fn make_foreign(&self, foreign: &Foreign) -> Result<DomId> {
        self.inner.with(|world, at| {
            let taken = world.domains.iter().find(|(_, domain)| *domain.name == *foreign.name);
            if let Some((&domid, _)) = taken {
                return Err(HypervisorError::NameTaken { name: foreign.name.clone(), domid });
            }
            let free = world.free();
            if foreign.memory > free {
                return Err(HypervisorError::NoMemory { needed: foreign.memory, free });
            }
            let memory = MemorySpec { target: foreign.memory, max: foreign.memory };
            let vcpus = VcpuSpec { online: foreign.vcpus, max: foreign.vcpus };
            let domain = Domain::foreign(&foreign.name, foreign.kind, memory, vcpus, at);
            Ok(world.enlist(domain))
        })
    }

    /// `xl destroy`: gone at once, whoever's it was.
    pub fn destroy_from_outside(&self, domid: DomId) -> Result<()> {
        self.inner.with(|world, _| world.remove(domid))
    }

    /// xenstored loses all that it knew: domains run on, and have neither their marks nor their names. What Xen itself keeps
    /// stays.
    pub fn lose_xenstore(&self) {
        self.inner.with(|world, _| {
            for (domid, domain) in &mut world.domains {
                domain.identity = None;
                domain.name = format!("domain {domid}").into();
            }
        });
    }

    /// The host loses power and comes back: every domain is gone, ids start anew, nobody is told but by
    /// [`DomainEventKind::Resync`].
    pub fn reboot_host(&self) {
        self.inner.with(|world, _| {
            world.reset();
            world.events.send(DomId::DOM0, DomainEventKind::Resync);
            world.facts_changed();
        });
    }

    /// Adds a rule while the host runs; it counts from now.
    pub fn inject(&self, rule: FaultRule) {
        self.inner.with(|world, _| world.faults.add(rule));
    }

    pub fn clear_faults(&self) {
        self.inner.with(|world, _| world.faults.clear());
    }

    /// Calls that are under way take no longer, hung ones included: a test that has seen what it wanted goes on, and
    /// however slow its machine is, not before.
    pub fn hurry(&self) {
        self.inner.with(|world, _| world.hurried += 1);
        self.inner.hurry.notify_waiters();
    }

    /// From now on a suspend that waits breaks off when its caller is gone, and its stream ends, as when a process is
    /// killed with the libxl in it. Otherwise it goes on, and whoever reads the stream waits for it.
    pub fn streams_die_with_caller(&self) {
        self.inner.streams_die.store(true, Ordering::Relaxed);
    }

    /// How often a call was made, failed ones included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.inner.with(|world, _| world.calls[operation as usize])
    }

    /// What the guest says of itself now; `None` when there is no such domain.
    #[must_use]
    pub fn guest_facts(&self, domid: DomId) -> Option<GuestFacts> {
        self.inner.with(|world, _| world.guest_facts(domid))
    }

    /// Whether the guest has booted and lives.
    #[must_use]
    pub fn is_up(&self, domid: DomId) -> bool {
        self.inner.with(|world, _| {
            world
                .get(domid)
                .is_ok_and(|domain| domain.is_up() && matches!(domain.run, Run::Running | Run::Paused))
        })
    }

    pub fn devices(&self, domid: DomId) -> Result<Devices> {
        self.inner.with(|world, _| {
            let domain = world.get(domid)?;
            Ok(Devices { disks: domain.disks.clone(), nics: domain.nics.clone() })
        })
    }

    /// What the domain has besides, as it is now.
    pub fn hardware_of(&self, domid: DomId) -> Result<DomainHardware> {
        self.inner.with(|world, _| Ok(world.get(domid)?.hardware.as_deref().cloned().unwrap_or_default()))
    }

    /// Makes a bridge, as the agent's network code does on a real host. Replaces one of the same name.
    pub fn add_bridge(&self, bridge: Bridge) {
        self.inner.with(|world, _| {
            world.bridges.retain(|known| known.name != bridge.name);
            world.bridges.push(bridge);
        });
    }

    pub fn remove_bridge(&self, name: &str) {
        self.inner.with(|world, _| {
            world.bridges.retain(|known| known.name != name);
            world.net_bridges.remove(name);
            world.net.links.retain(|link| link.name != name);
        });
    }
}
