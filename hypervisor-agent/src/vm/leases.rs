//! The leases of what a VM's domain writes: taken before it is let run, handed over with its memory, given up when it is gone.
//!
//! When a domain is built, [`Resolver`](crate::vm::domain_spec::Resolver) takes them. The rest is here. What is written in
//! them when a VM moves, and why that lets one host write at most, is in `docs/adr/0087-one-writer.md`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use xenith_common_ids::{DomId, VdiId};
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_storage::Taking;
use xenith_hypervisor_agent_types::{
    DeathReason, DiskAccess, DiskSpec, DomainStatus, Fault, FaultReason, LeasedTo,
};

use crate::journal::{Phase, VmRecord};
use crate::vm::domain_spec::{leased_to, written};
use crate::vm::driver::{Driver, Finished, set_phase};
use crate::vm::snapshot::blocking;
use crate::vm::state::{Mode, Settled, Up};

/// An SR that does not answer holds up the end of a VM no longer: its leases are given up when it does. Nor a guest that
/// stands for no reason.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// Where the memory of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Here,
    /// All of it is on another host too.
    Sent,
}

impl Driver {
    /// Of all that the run writes.
    pub(super) async fn take_leases(&self, record: &VmRecord, memory: Memory) -> Result<(), Fault> {
        let Some(run) = &record.run else { return Ok(()) };
        let vdis = written(&run.applied);
        if vdis.is_empty() {
            return Ok(());
        }
        let to = leased_to(record.vm, record.spec.get(), run.incarnation);
        let to = LeasedTo { sent: memory == Memory::Sent, ..to };
        let storage = self.resolver.storage.clone();
        blocking(move || storage.take_leases(&to, &vdis, Taking::ToRun)).await
    }

    /// Before a guest is let run that the journal calls running, and that stands: the agent was killed while it paused it,
    /// perhaps because a lease was lost, and was away since. The same of one that is suspended and has to run on, and before
    /// the memory of one is saved. `false`: it cannot be told now, and nobody waits for that; of a VM that runs, the next look
    /// at the leases finds it.
    pub(super) async fn leases_are_ours(&self, record: &VmRecord) -> Result<bool, Fault> {
        match timeout(ANSWERED_WITHIN, self.take_leases(record, Memory::Here)).await {
            Ok(Err(fault)) if fault.reason == FaultReason::LeasedElsewhere => return Err(fault),
            Ok(Err(fault)) => {
                tracing::warn!(vm = %record.vm, %fault, "whether a VM has its leases is not known now")
            }
            Err(_) => {
                tracing::warn!(vm = %record.vm, "an SR does not answer; it is gone on without its leases")
            }
            Ok(Ok(())) => return Ok(record.run.is_some()),
        }
        Ok(false)
    }

    /// Of a disk that is plugged in.
    pub(super) async fn take_lease(&self, record: &VmRecord, disk: &DiskSpec) -> Result<(), Fault> {
        let (Some(run), DiskAccess::ReadWrite) = (&record.run, disk.access) else { return Ok(()) };
        let to = leased_to(record.vm, record.spec.get(), run.incarnation);
        let (storage, vdi) = (self.resolver.storage.clone(), disk.vdi);
        blocking(move || storage.take_leases(&to, &[vdi], Taking::ToRun)).await
    }

    /// Of a disk that saved memory goes with from now on: as long as it is saved, the disk has to stay as it is.
    pub async fn take_lease_of_saved(&self, record: &VmRecord, disk: &DiskSpec) -> Result<(), Fault> {
        let (Some(saved), DiskAccess::ReadWrite) = (&record.saved, disk.access) else { return Ok(()) };
        let to = leased_to(record.vm, record.spec.get(), saved.run);
        let (storage, vdi) = (self.resolver.storage.clone(), disk.vdi);
        let taken =
            timeout(ANSWERED_WITHIN, blocking(move || storage.take_leases(&to, &[vdi], Taking::ToRun)));
        taken.await.unwrap_or_else(|_| {
            let message =
                format_args!("the SR of VDI {vdi} does not answer; see whether its server is there");
            Err(Fault::new(FaultReason::NotReady, message))
        })
    }

    /// Of what the VM has no more.
    pub async fn give_up_leases(&self, vdis: Vec<VdiId>) {
        let storage = self.resolver.storage.clone();
        if !storage.may_be_leased(&vdis) {
            return;
        }
        let given_up = tokio::task::spawn_blocking(move || storage.give_up_leases(&vdis));
        if timeout(ANSWERED_WITHIN, given_up).await.is_err() {
            tracing::warn!("an SR does not answer; leases in it are given up when it does");
        }
    }

    /// Also one that stands because it was not let run on.
    pub(super) async fn unpause(&self, domid: DomId) -> Result<(), HypervisorError> {
        let unpaused = self.hypervisor.unpause(domid).await;
        if matches!(unpaused, Err(HypervisorError::WrongStatus { .. })) && self.is_suspended(domid).await {
            return self.hypervisor.cancel_suspend(domid).await;
        }
        unpaused
    }

    pub(super) async fn is_suspended(&self, domid: DomId) -> bool {
        let suspended = DomainStatus::Dead(DeathReason::Suspend);
        self.hypervisor.domain(domid).await.is_ok_and(|info| info.status == suspended)
    }

    /// Of a VM that was not sent after all, while another host has taken its leases: which of the two is right, somebody has to
    /// see, and let it run. One that is not suspended yet is paused by the next look at the leases.
    pub(super) async fn stands_after_all(
        &self,
        record: &mut VmRecord,
        up: Up,
        fault: Fault,
    ) -> (Settled, Fault) {
        if !self.is_suspended(up.domid).await {
            return (Settled::Up(up), fault);
        }
        set_phase(record, Phase::Paused);
        let fault = self.also_saving(record, fault).await;
        (Settled::Up(Up { mode: Mode::Paused, ..up }), fault)
    }

    /// Stops a VM that writes what another host may write by now. What is wrong is the result.
    pub async fn stand(self: Arc<Self>, record: VmRecord, up: Up, fault: Fault) -> Finished {
        let paused = self.set_mode(record, up, Mode::Paused).await;
        let fault = match paused.result {
            Ok(_) => Fault { message: format!("the VM was paused: {fault}"), ..fault },
            Err(also) => {
                Fault { message: format!("{fault}; and the VM could not be paused: {also}"), ..fault }
            }
        };
        Finished { result: Err(fault), ..paused }
    }
}
