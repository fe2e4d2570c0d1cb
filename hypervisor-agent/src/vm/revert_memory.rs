//! Back to a snapshot with memory: the disks of a VM that is off get what it holds, and the VM goes on from its memory.
//!
//! What always holds: memory meets no disks but those of its instant. Both are one command to the owner of the VM, which
//! lets nobody else start it in between, and the memory says itself which snapshots it belongs to. Before the first disk
//! is touched everything is looked at that can be.
//!
//! Commit point: as in [`Driver::resume`], the journal says `Running` while the virtual CPUs still stand. A crash before
//! that leaves a VM that is off, with some disks reverted: the same command made again reverts all of them. One that was
//! let run is never brought back by the same operation ([`VmRecord::reached`]). The memory stays for the next time.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use xenith_common_ids::{DomId, IncarnationId, OperationId};
use xenith_hypervisor_agent_backend::{HypervisorError, Start};
use xenith_hypervisor_agent_storage::Taking;
use xenith_hypervisor_agent_types::{DomainSpec, Fault, FaultReason, MemoryOf, SnapshotOf, VmSpec};

use crate::disk::MemoryImage;
use crate::fault::from_hypervisor;
use crate::journal::{By, Phase, VmRecord};
use crate::progress::Progress;
use crate::vm::driver::{Driver, Finished, begun, stopped};
use crate::vm::keep_memory::same;
use crate::vm::snapshot::blocking;
use crate::vm::state::{Mode, Settled, Up};

/// What a VM goes back to.
pub struct Revert {
    pub run: IncarnationId,
    pub by: OperationId,
    pub disks: Vec<SnapshotOf>,
    pub memory: MemoryOf,
}

fn instead(reason: FaultReason, why: impl std::fmt::Display) -> Fault {
    let message =
        format_args!("the VM cannot go on from the memory of this snapshot: {why}; revert its disks only");
    Fault::new(reason, message)
}

impl Driver {
    /// Makes sure that all of it can be done, as far as that can be known. Nothing is changed.
    pub async fn check_revert(
        self: Arc<Self>,
        record: VmRecord,
        order: Revert,
        progress: Arc<Progress>,
    ) -> Finished {
        let result = self.look_at_all(&record, &order, progress).await;
        let settled = stopped(&record);
        Finished::new(record, settled, result)
    }

    async fn look_at_all(
        &self,
        record: &VmRecord,
        order: &Revert,
        progress: Arc<Progress>,
    ) -> Result<(), Fault> {
        let image = self.fitting(record, order).await?;
        let (vdi, total) = (order.memory.vdi, image.header.kept.bytes);
        blocking(move || {
            image.verify(vdi, |done| {
                progress.set(done, total);
                progress.check()
            })
        })
        .await
    }

    /// The memory, when it belongs to these disks, and this VM can go on from it here and now.
    async fn fitting(&self, record: &VmRecord, order: &Revert) -> Result<MemoryImage, Fault> {
        let (storage, memory) = (self.resolver.storage.clone(), order.memory);
        let image = blocking(move || storage.open_memory(memory)).await?;
        let image = image.ok_or_else(|| instead(FaultReason::NotFound, "it is not there as a whole"))?;
        let header = &image.header;
        if header.vm != record.vm || !same(&header.disks, &order.disks) {
            return Err(instead(
                FaultReason::Invalid,
                "it is of another VM, or of another instant than the disks",
            ));
        }
        let unlike = header.applied.unlike(record.spec.get());
        if !unlike.is_empty() {
            let why = format!(
                "{} of the VM are not what they were; make them so again, and try again",
                unlike.join(", ")
            );
            return Err(instead(FaultReason::WrongState, why));
        }
        let host = self.hypervisor.host().await.map_err(|error| from_hypervisor(&error))?;
        if let Some(why) = header.kept.unlike(&host.cpu_model, (host.xen.major, host.xen.minor)) {
            return Err(instead(FaultReason::Unsupported, why));
        }
        let (needed, free) = (header.applied.memory.target, host.memory_free);
        if free < needed {
            return Err(from_hypervisor(&HypervisorError::NoMemory { needed, free }));
        }
        Ok(image)
    }

    pub async fn revert_with_memory(self: Arc<Self>, mut record: VmRecord, order: Revert) -> Finished {
        let image = match self.fitting(&record, &order).await {
            Ok(image) => image,
            Err(fault) => {
                let settled = stopped(&record);
                return Finished::new(record, settled, Err(fault));
            }
        };
        let run = order.run;
        let domid = match self.go_back(&mut record, order, image).await {
            Ok(domid) => domid,
            Err(fault) => {
                record.run = None;
                let fault = self.also_saving(&record, fault).await;
                let settled = stopped(&record);
                return Finished::new(record, settled, Err(fault));
            }
        };
        let up = Up { domid, run, mode: Mode::Running };
        match self.let_run(domid).await {
            Ok(()) => Finished::new(record, Settled::Up(up), Ok(())),
            Err(fault) => self.left_paused(record, up, fault).await,
        }
    }

    async fn go_back(
        &self,
        record: &mut VmRecord,
        Revert { run, by, disks, .. }: Revert,
        image: MemoryImage,
    ) -> Result<DomId, Fault> {
        // It may have another name by now, which is no matter of the guest's.
        let name = record.spec.get().name.clone();
        let applied = VmSpec { name, ..image.header.applied.clone() };
        record.run = Some(begun(run, Phase::Resuming, applied.clone(), By::Orchestrator));
        record.saved = None;
        record.away = None;
        self.save(record).await?;
        let (vm, storage) = (record.vm, self.resolver.storage.clone());
        blocking(move || disks.iter().try_for_each(|of| storage.revert_of(vm, *of).map(drop))).await?;
        let domain = self.resolve(vm, run, (applied, Taking::ToRun)).await?;
        // What it was frozen for is long over.
        self.guests.boots(vm).await;
        let domid = self.build_from(&domain, image).await?;
        self.commit_build(record, domid, Some(by)).await?;
        Ok(domid)
    }

    /// Makes the domain, paused.
    async fn build_from(&self, domain: &DomainSpec, image: MemoryImage) -> Result<DomId, Fault> {
        let (from, to) = io::pipe().map_err(|error| Fault::new(FaultReason::Internal, error))?;
        let pouring = tokio::task::spawn_blocking(move || image.pour(to));
        let built = self.hypervisor.resume(domain, OwnedFd::from(from), Start::Paused).await;
        let poured = pouring.await.map_err(|error| Fault::new(FaultReason::Internal, error))?;
        match (built, poured) {
            (Ok(domid), _) => Ok(domid),
            (Err(error), poured) => {
                self.clear_left_overs(domain.identity.vm).await;
                // What could not be read is why nothing could be built.
                Err(poured.err().unwrap_or_else(|| from_hypervisor(&error)))
            }
        }
    }
}
