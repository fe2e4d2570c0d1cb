//! The activities of a VM that goes to another host, or comes from one. [`crate::migration`] has their order.

use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_api::SendVm;
use xenith_hypervisor_agent_backend::{HypervisorError, Start};
use xenith_hypervisor_agent_storage::Taking;
use xenith_hypervisor_agent_types::{Fault, FaultReason, Hardware, ValidVmSpec, VmSpec};

use crate::fault::from_hypervisor;
use crate::journal::{By, Phase, Run, VmRecord};
use crate::migration::Preamble;
use crate::migration::arrive::Arriving;
use crate::migration::send::Way;
use crate::progress::Progress;
use crate::vm::driver::{Driver, Finished, begun, set_built, set_phase, stopped};
use crate::vm::leases::Memory;
use crate::vm::state::{Mode, Settled, Up};

/// How often a VM that waits for its turn is looked at for whether it is still to go.
const LOOK: Duration = Duration::from_millis(500);

fn internal(error: &dyn Display) -> Fault {
    Fault::new(FaultReason::Internal, error)
}

impl Driver {
    /// Sends the memory to another host. Commit point: the journal says `Sent`, when the other host has said that it has
    /// everything. Before that the guest runs on here.
    pub async fn send(
        self: Arc<Self>,
        mut record: VmRecord,
        up: Up,
        (order, progress): (SendVm, Arc<Progress>),
    ) -> Finished {
        match self.send_memory(&mut record, up, (order, progress)).await {
            Ok(()) => Finished::new(record, Settled::Up(Up { mode: Mode::Sent, ..up }), Ok(())),
            Err(fault) => {
                let (settled, fault) = self.run_on(&mut record, up, fault).await;
                Finished::new(record, settled, Err(fault))
            }
        }
    }

    async fn send_memory(
        &self,
        record: &mut VmRecord,
        up: Up,
        (order, progress): (SendVm, Arc<Progress>),
    ) -> Result<(), Fault> {
        let (vm, mut preamble) = (record.vm, preamble(record)?);
        let total = preamble.applied.memory.target.bytes();
        let _turn = self.turn(&progress).await?;
        let (storage, disks) = (self.resolver.storage.clone(), preamble.applied.disks.clone());
        let streams = self.streams.for_memory(total);
        for disk in &mut preamble.applied.disks {
            if let Some(exchanged) = order.exchanged.iter().find(|exchanged| exchanged.from == disk.vdi) {
                disk.vdi = exchanged.to;
            }
        }
        let look = move || {
            // Its contents are in this host's server and in the backup: another host would read what is not there yet.
            if let Some(disk) = disks.iter().find(|disk| storage.is_served(disk.vdi)) {
                let message = format_args!(
                    "{} came in from its backup while the VM ran; shut the VM down and start it once before it moves",
                    disk.device
                );
                return Err(Fault::new(FaultReason::WrongState, message));
            }
            Way::find(vm, &order, streams)
        };
        let way = tokio::task::spawn_blocking(look).await;
        let way = way.map_err(|error| internal(&error))??;
        set_phase(record, Phase::Sending);
        self.save(record).await?;
        let (reader, writer) = io::pipe().map_err(|error| internal(&error))?;
        let sending = tokio::task::spawn_blocking(move || way.send(&preamble, reader, (&progress, total)));
        let suspended = self.hypervisor.suspend_live(up.domid, OwnedFd::from(writer)).await;
        let sent = sending.await.map_err(|error| internal(&error))?;
        match (suspended, sent) {
            (Ok(()), sent) => sent?,
            // The receiver went away, which the guest is not to blame for.
            (Err(error), Err(fault)) if is_consequence(&error) => return Err(fault),
            (Err(error), _) => return Err(from_hypervisor(&error)),
        }
        // Before the journal says so: from then on this host does not write, and the other one may take the leases.
        self.take_leases(record, Memory::Sent).await?;
        let mut gone = record.clone();
        gone.sent(up.run);
        self.save(&gone).await?;
        *record = gone;
        Ok(())
    }

    async fn turn(&self, progress: &Progress) -> Result<SemaphorePermit<'_>, Fault> {
        loop {
            if progress.check().is_err() {
                return Err(Fault::new(FaultReason::WrongState, "the migration was cancelled"));
            }
            if let Ok(turn) = timeout(LOOK, self.sends.acquire()).await {
                return turn.map_err(|error| internal(&error));
            }
        }
    }

    /// Builds the domain from memory that comes from another host, and leaves it paused. Commit point: the journal says
    /// `Paused`; a crash before that loses a domain that never ran here. `before` is one that came completely, and whose
    /// sender runs it again.
    pub async fn receive(
        self: Arc<Self>,
        mut record: VmRecord,
        before: Option<Up>,
        arriving: Arriving,
    ) -> Finished {
        if let Some(up) = before
            && let Err(fault) = self.release(up.domid).await
        {
            return Finished::new(record, Settled::Up(up), Err(fault));
        }
        let run = arriving.preamble.incarnation;
        match self.take_in(&mut record, arriving).await {
            Ok(domid) => {
                let up = Up { domid, run, mode: Mode::Paused };
                Finished::new(record, Settled::Up(up), Ok(()))
            }
            Err(fault) => {
                record.run = None;
                let fault = self.also_saving(&record, fault).await;
                let settled = stopped(&record);
                Finished::new(record, settled, Err(fault))
            }
        }
    }

    async fn take_in(&self, record: &mut VmRecord, arriving: Arriving) -> Result<DomId, Fault> {
        let Preamble { incarnation, applied, started, cpu_given } = arriving.preamble;
        let applied = ValidVmSpec::try_from(applied).map_err(|error| Fault::invalid("preamble", error))?;
        let applied = applied.into_inner();
        if let Some(more) = beyond(&applied, record.spec.get()) {
            let message = format_args!(
                "the VM runs with {more}, which its definition has not; restart it, so that they agree, and move it then"
            );
            return Err(Fault::new(FaultReason::WrongState, message));
        }
        if let Some(given) = &cpu_given {
            self.has_features(given).await?;
        }
        let run = begun(incarnation, Phase::Resuming, applied.clone(), By::Orchestrator);
        record.run = Some(Run { started, cpu_given, ..run });
        record.saved = None;
        record.away = None;
        // Starts that the agent makes by itself give the guest no more than it has.
        record.cpu_level = cpu_given;
        self.save(record).await?;
        let domain = self.resolve(record.vm, incarnation, (applied, Taking::ToArrive)).await?;
        let domid = match self.hypervisor.resume(&domain, arriving.memory, Start::Paused).await {
            Ok(domid) => domid,
            Err(error) => {
                self.clear_left_overs(record.vm).await;
                return Err(from_hypervisor(&error));
            }
        };
        let mut built = record.clone();
        set_built(&mut built, domid, Phase::Paused);
        if let Err(fault) = self.save(&built).await {
            self.release(domid).await?;
            return Err(fault);
        }
        *record = built;
        Ok(domid)
    }

    /// Lets a VM that was sent run on here. Where the other host runs it, it has the leases.
    pub async fn take_back(self: Arc<Self>, mut record: VmRecord, up: Up) -> Finished {
        if let Err(fault) = self.take_leases(&record, Memory::Here).await {
            return Finished::new(record, Settled::Up(up), Err(fault));
        }
        match self.hypervisor.cancel_suspend(up.domid).await {
            // It runs already: an agent that was killed in the middle of this.
            Ok(()) | Err(HypervisorError::WrongStatus { .. }) => {}
            Err(error) => return Finished::new(record, Settled::Up(up), Err(from_hypervisor(&error))),
        }
        record.away = None;
        set_phase(&mut record, Phase::Running);
        let result = self.save(&record).await;
        Finished::new(record, Settled::Up(Up { mode: Mode::Running, ..up }), result)
    }
}

/// What the sender would have us give the guest that the orchestrator has not defined: a host that was taken over must
/// not reach other VMs' disks, or our devices, through us.
fn beyond(applied: &VmSpec, definition: &VmSpec) -> Option<String> {
    if let Some(disk) = applied.disks.iter().find(|disk| !definition.disks.contains(disk)) {
        return Some(format!("the disk {}", disk.device));
    }
    if let Some(nic) = applied.nics.iter().find(|nic| !definition.nics.contains(nic)) {
        return Some(format!("the NIC {}", nic.mac));
    }
    let (has, may) = (&applied.hardware, &definition.hardware);
    if let Some(pci) = has.pci.iter().find(|pci| !may.pci.contains(pci)) {
        return Some(format!("the PCI device {pci}"));
    }
    let medium = |hardware: &Hardware| hardware.cd.and_then(|cd| cd.vdi);
    (medium(has).is_some() && medium(has) != medium(may)).then(|| "another CD".to_owned())
}

fn preamble(record: &VmRecord) -> Result<Preamble, Fault> {
    let refuse = |why: &str| Err(Fault::new(FaultReason::WrongState, why));
    let Some(run) = &record.run else {
        return refuse("what this VM was built from is not known any more; shut it down, and start it again");
    };
    if run.attaching.is_some() {
        return refuse(
            "a device is being plugged in, and it is not known whether the guest has it; try again",
        );
    }
    Ok(Preamble {
        incarnation: run.incarnation,
        applied: run.applied.clone(),
        started: run.started,
        cpu_given: run.cpu_given,
    })
}

/// Of a stream that nobody reads.
fn is_consequence(error: &HypervisorError) -> bool {
    matches!(error, HypervisorError::Failed { log, .. } if log.contains("Broken pipe"))
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::VdiId;
    use xenith_hypervisor_agent_types::test_support::small;
    use xenith_hypervisor_agent_types::{DiskAccess, DiskDevice, DiskSpec, MemorySpec};

    use super::*;

    fn spec(disks: Vec<DiskSpec>) -> VmSpec {
        VmSpec { disks, ..small("v") }
    }

    #[test]
    fn a_sender_gives_its_guest_no_more_than_its_definition_does() {
        let device = DiskDevice::nth(0).unwrap();
        let disk = DiskSpec { device, vdi: VdiId::new(), access: DiskAccess::ReadWrite };
        let read_only = DiskSpec { access: DiskAccess::ReadOnly, ..disk.clone() };
        let others = DiskSpec { vdi: VdiId::new(), ..disk.clone() };
        let definition = spec(vec![disk.clone()]);
        assert_eq!(beyond(&definition, &definition), None);
        assert_eq!(beyond(&spec(vec![]), &definition), None, "a disk that waits for the next start");
        for (case, more) in [("another VM's", others), ("not this way", read_only)] {
            assert_eq!(beyond(&spec(vec![more]), &definition).as_deref(), Some("the disk xvda"), "{case}");
        }
        let mut pci = definition.clone();
        pci.hardware.pci = vec!["0000:03:00.0".parse().unwrap()];
        assert!(beyond(&pci, &definition).unwrap().contains("03:00.0"));
        let changed = VmSpec {
            memory: MemorySpec { target: 64.try_into().unwrap(), ..pci.memory },
            ..definition.clone()
        };
        assert_eq!(beyond(&changed, &definition), None, "what the memory was made for");
    }
}
