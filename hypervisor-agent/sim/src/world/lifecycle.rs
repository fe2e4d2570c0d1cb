//! How simulated domains begin and end.

use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::{
    AskedBy, DomainEventKind, HypervisorError, Result, ShutdownRequest, Start,
};
use xenith_hypervisor_agent_types::{DeathReason, DomainSpec, GuestFacts};

use super::{Domain, Run, Stage, Timer, World};
use crate::stream::SavedGuest;
use crate::{Manners, Operation, UnknownBridges};

impl World {
    /// Checks a spec, takes its memory and lists the domain as being built.
    pub(crate) fn admit(&mut self, spec: &DomainSpec, at: Duration) -> Result<DomId> {
        for (index, disk) in spec.disks.iter().enumerate() {
            if spec.disks[..index].iter().any(|other| other.device == disk.device) {
                return Err(invalid(
                    format!("disks[{index}].device"),
                    format!("{} is used twice", disk.device),
                ));
            }
        }
        for (index, nic) in spec.nics.iter().enumerate() {
            self.check_bridge(&format!("nics[{index}].bridge"), &nic.bridge)?;
            if spec.nics[..index].iter().any(|other| other.mac == nic.mac) {
                return Err(invalid(format!("nics[{index}].mac"), format!("{} is used twice", nic.mac)));
            }
        }
        self.check_cpu_share(&spec.hardware.cpu)?;
        if let Some(address) = spec.hardware.pci.first() {
            let problem = format!("{address}: a simulated host has no PCI devices");
            return Err(invalid("hardware.pci[0]".to_owned(), problem));
        }
        let same_vm = self.domains.iter().find(|(_, domain)| domain.has_run_as(spec.identity.vm, at));
        if let Some((&domid, _)) = same_vm {
            return Err(HypervisorError::VmTaken { domid });
        }
        let taken = self.domains.iter().find(|(_, domain)| *domain.name == *spec.name.as_str());
        if let Some((&domid, domain)) = taken {
            return Err(HypervisorError::NameTaken { name: domain.name.to_string(), domid });
        }
        let free = self.free();
        if spec.memory.target > free {
            return Err(HypervisorError::NoMemory { needed: spec.memory.target, free });
        }
        let manners = self.config.guest.manners_of(spec.name.as_str());
        Ok(self.enlist(Domain::building(spec, manners, at)))
    }

    pub(crate) fn check_bridge(&self, field: &str, bridge: &str) -> Result<()> {
        let known = self.bridges.iter().any(|known| known.name == bridge);
        if known || self.config.host.unknown_bridges == UnknownBridges::Accept {
            return Ok(());
        }
        Err(invalid(field.to_owned(), format!("{bridge:?} is not a bridge of this host")))
    }

    /// Gives a domain its id and tells the world.
    pub(crate) fn enlist(&mut self, domain: Domain) -> DomId {
        let domid = DomId(self.next_domid);
        self.next_domid += 1;
        self.domains.insert(domid, domain);
        self.emit(domid, DomainEventKind::Appeared);
        domid
    }

    /// The build is done: the guest boots, or runs on from where `saved` left it.
    pub(crate) fn built(
        &mut self,
        domid: DomId,
        saved: Option<&SavedGuest>,
        start: Start,
        at: Duration,
    ) -> Result<()> {
        let boot = self.config.guest.boot.sample(&mut self.dice);
        let load_permille = self.dice.u16(20..400);
        let domain = self.in_status(domid, Operation::Create, "being built", |run| run == Run::Building)?;
        domain.load_permille = load_permille;
        if let Some(saved) = saved {
            domain.stage = Stage::Up;
            domain.load_permille = saved.load_permille;
            domain.vcpus.online = saved.vcpus_online.min(domain.vcpus.max);
        } else {
            self.arm(domid, boot, at);
        }
        let run = match start {
            Start::Running => Run::Running,
            Start::Paused => Run::Paused,
        };
        self.set_run(domid, run, at);
        self.facts_changed();
        self.settle(at);
        Ok(())
    }

    /// Takes a domain off the list and gives its memory back.
    pub(crate) fn remove(&mut self, domid: DomId) -> Result<()> {
        let domain = self.get(domid)?;
        if let Timer::Due(due) = domain.timer {
            self.agenda.remove(&(due, domid));
        }
        self.emit(domid, DomainEventKind::Gone);
        self.domains.remove(&domid);
        self.facts_changed();
        Ok(())
    }

    /// The domain is dead and keeps what it holds. Nothing happens to one that is dead already.
    pub(crate) fn end(&mut self, domid: DomId, reason: DeathReason, at: Duration) {
        if self.domains.get(&domid).is_some_and(Domain::is_alive) {
            self.set_run(domid, Run::Dead(reason), at);
            self.emit(domid, DomainEventKind::Died(reason));
            self.facts_changed();
        }
    }

    pub(crate) fn pause(&mut self, domid: DomId, at: Duration) -> Result<()> {
        let fits = |run| matches!(run, Run::Running | Run::Paused);
        self.in_status(domid, Operation::Pause, "running", fits)?;
        self.set_run(domid, Run::Paused, at);
        Ok(())
    }

    pub(crate) fn unpause(&mut self, domid: DomId, at: Duration) -> Result<()> {
        let fits = |run| matches!(run, Run::Running | Run::Paused);
        self.in_status(domid, Operation::Unpause, "paused", fits)?;
        self.set_run(domid, Run::Running, at);
        self.settle(at);
        Ok(())
    }

    /// The guest hears the request when it is up, or never.
    pub(crate) fn shutdown(
        &mut self,
        domid: DomId,
        request: ShutdownRequest,
        at: Duration,
    ) -> Result<AskedBy> {
        let reason = match request {
            ShutdownRequest::PowerOff => DeathReason::PowerOff,
            ShutdownRequest::Reboot => DeathReason::Reboot,
        };
        let domain = self.running(domid, Operation::Shutdown)?;
        let asked = match domain.manners {
            Manners::NoDrivers => AskedBy::PowerButton,
            _ => AskedBy::ControlNode,
        };
        match (domain.manners, domain.stage) {
            (Manners::Deaf, _) => {}
            (_, Stage::Booting) => domain.pending = Some(reason),
            // The last word counts; the shutdown under way is not begun again.
            (_, Stage::Leaving(_)) => domain.stage = Stage::Leaving(reason),
            (_, Stage::Up) => self.leave(domid, reason, at),
        }
        Ok(asked)
    }

    /// A guest that boots has the request before it, a deaf one for ever.
    pub(crate) fn has_taken_up(&self, domid: DomId) -> Result<bool> {
        let domain = self.get(domid)?;
        Ok(domain.manners != Manners::Deaf && domain.stage != Stage::Booting)
    }

    /// The state that goes into a stream. The virtual CPUs stand still until the suspend ends either way.
    pub(crate) fn begin_suspend(&mut self, domid: DomId, at: Duration) -> Result<SavedGuest> {
        self.running(domid, Operation::Suspend)?;
        self.set_run(domid, Run::Suspending, at);
        let domain = self.get(domid)?;
        Ok(SavedGuest {
            vm: domain.identity.map(|identity| identity.vm),
            memory: domain.memory,
            vcpus_online: domain.vcpus.online,
            load_permille: domain.load_permille,
        })
    }

    /// The stream is complete.
    pub(crate) fn suspended(&mut self, domid: DomId, at: Duration) -> Result<()> {
        self.in_status(domid, Operation::Suspend, "being suspended", |run| run == Run::Suspending)?;
        self.end(domid, DeathReason::Suspend, at);
        Ok(())
    }

    /// The stream could not be written: the guest runs on. A domain that died meanwhile stays dead.
    pub(crate) fn not_suspended(&mut self, domid: DomId, at: Duration) {
        if self.domains.get(&domid).is_some_and(|domain| domain.run == Run::Suspending) {
            self.set_run(domid, Run::Running, at);
            self.settle(at);
        }
    }

    pub(crate) fn cancel_suspend(&mut self, domid: DomId, at: Duration) -> Result<()> {
        let fits = |run| run == Run::Dead(DeathReason::Suspend);
        self.in_status(domid, Operation::CancelSuspend, "suspended", fits)?;
        self.set_run(domid, Run::Running, at);
        self.facts_changed();
        Ok(())
    }

    pub(crate) fn guest_facts(&self, domid: DomId) -> Option<GuestFacts> {
        self.domains.get(&domid).map(|domain| domain.facts(&self.config.guest))
    }
}

pub(super) fn invalid(field: String, problem: String) -> HypervisorError {
    HypervisorError::InvalidSpec { field, problem }
}
