//! A snapshot of a running VM's disks together with its memory, of one instant.
//!
//! ```text
//!  runs ──────────────────────────────────┐ stands ──────────────────────────┐ runs on, as the same domain
//!  disks prepared, memory is written ─────┴─ the last of it, disks are taken ┴─ memory commits, disks commit
//! ```
//!
//! Xen suspends the guest when all but the last of its memory is written; for a guest whose changes it cannot follow
//! (PV), before the first of it. The disks are taken while it is suspended, then it is let run on in place. libxl offers
//! nothing better that is sound: a suspended guest cannot be copied within the host, and one that runs changes what was
//! not written yet.
//!
//! What always holds: the record goes on saying `Running`. An agent that dies at any moment finds a domain that runs, or
//! one that is suspended and that [`adopt`](super::adopt) lets run on. The memory commits before the disks do: all disks
//! there without memory is none of these snapshots, and what is there in part is dropped by the same call made again.
//! Whatever fails, the guest runs on and nothing is left.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_api::Snapshotted;
use xenith_hypervisor_agent_backend::{DomainEventKind, DomainEvents, HypervisorError};
use xenith_hypervisor_agent_types::{
    DeathReason, Fault, FaultReason, KeptMemory, MemoryOf, Quiesced, SnapshotOf, VmSpec, WrittenWhile,
};

use crate::disk::{MemoryHeader, MemoryWriter, PendingSnapshots};
use crate::fault::from_hypervisor;
use crate::journal::VmRecord;
use crate::progress::Progress;
use crate::vm::driver::{Done, Driver, Finished};
use crate::vm::snapshot::{LONGEST_PAUSE, blocking, whole};
use crate::vm::state::{Settled, Up};

/// A guest that was suspended and cannot be let run on is tried again for some ten minutes: nothing else helps it.
const TRIES: u32 = 120;
const BETWEEN: Duration = Duration::from_millis(200);
const MOST_BETWEEN: Duration = Duration::from_secs(5);

/// The guest is suspended.
struct Suspended {
    writer: MemoryWriter,
    since: Instant,
    written_while: WrittenWhile,
}

impl Driver {
    pub async fn snapshot_with_memory(
        self: Arc<Self>,
        record: VmRecord,
        up: Up,
        (disks, memory): (Vec<SnapshotOf>, MemoryOf),
        progress: Arc<Progress>,
    ) -> Finished {
        let result = self.keep_with_memory(&record, up, (disks, memory), &progress).await;
        Finished { record, settled: Settled::Up(up), result: result.map(Done::Snapshotted) }
    }

    async fn keep_with_memory(
        &self,
        record: &VmRecord,
        up: Up,
        (disks, memory): (Vec<SnapshotOf>, MemoryOf),
        progress: &Arc<Progress>,
    ) -> Result<Snapshotted, Fault> {
        let applied = keepable(record)?;
        let pending = self.prepare(record, disks.clone()).await?;
        let storage = self.resolver.storage.clone();
        if pending.was_there() {
            let found = blocking(move || storage.open_memory(memory)).await?;
            return match found.map(|image| image.header) {
                Some(header) if header.vm == record.vm && same(&header.disks, &disks) => {
                    made(pending, header).await
                }
                _ => Err(Fault::new(
                    FaultReason::WrongState,
                    "the disks of this snapshot are there and its memory is not; delete it, and take a new one",
                )),
            };
        }
        let host = self.hypervisor.host().await.map_err(|error| from_hypervisor(&error))?;
        let total = applied.memory.target.bytes();
        let writer = blocking(move || storage.create_memory(memory, total)).await?;
        let suspended = self.write_memory(up.domid, writer, (progress, total)).await;
        let taken = match suspended {
            Ok(suspended) => {
                let taken = self.take(pending, Some(Instant::now() + LONGEST_PAUSE)).await;
                taken.map(|taken| (taken, suspended))
            }
            Err(fault) => Err(fault),
        };
        // Whatever came of it, also of a suspend whose answer was lost.
        let runs_on = self.go_on(up.domid).await;
        let taken = match taken {
            Ok((taken, suspended)) => whole(Ok(taken)).await.map(|pending| (pending, suspended)),
            Err(fault) => Err(fault),
        };
        let kept = match (taken, runs_on) {
            (Ok((pending, suspended)), Ok(())) => {
                let kept = KeptMemory {
                    bytes: suspended.writer.bytes(),
                    written_while: suspended.written_while,
                    cpu_model: host.cpu_model,
                    xen_major: host.xen.major,
                    xen_minor: host.xen.minor,
                };
                let paused_ms = u64::try_from(suspended.since.elapsed().as_millis()).unwrap_or(u64::MAX);
                let (vm, digest) = (record.vm, String::new());
                let header = MemoryHeader { vm, disks, applied, kept, paused_ms, digest };
                commit(pending, suspended.writer, header).await
            }
            (Ok(_), Err(fault)) | (Err(fault), Ok(())) => Err(fault),
            (Err(fault), Err(also)) => Err(Fault { message: format!("{fault}; and {also}"), ..fault }),
        };
        match kept {
            Ok(made) => Ok(made),
            Err(fault) => Err(self.without_memory(memory, fault).await),
        }
    }

    /// Nothing of the memory is left of a snapshot that failed.
    async fn without_memory(&self, memory: MemoryOf, fault: Fault) -> Fault {
        let storage = self.resolver.storage.clone();
        match blocking(move || storage.delete(memory.sr, memory.vdi)).await {
            Ok(()) => fault,
            Err(also) => Fault {
                message: format!("{fault}; besides, what was written of its memory stays: {also}"),
                ..fault
            },
        }
    }

    /// When this is `Ok` the guest is suspended, with all of its memory in the image.
    async fn write_memory(
        &self,
        domid: DomId,
        writer: MemoryWriter,
        (progress, total): (&Arc<Progress>, u64),
    ) -> Result<Suspended, Fault> {
        let live = self.write_as(domid, writer, WrittenWhile::Running, (progress, total)).await?;
        match live {
            (Err(HypervisorError::Unsupported { .. }), mut writer, _) => {
                writer.begin_again();
                let way = WrittenWhile::Standing;
                let (suspended, writer, since) = self.write_as(domid, writer, way, (progress, total)).await?;
                suspended.map_err(|error| from_hypervisor(&error))?;
                Ok(Suspended { writer, since, written_while: way })
            }
            (suspended, writer, since) => {
                suspended.map_err(|error| from_hypervisor(&error))?;
                Ok(Suspended { writer, since, written_while: WrittenWhile::Running })
            }
        }
    }

    /// An error of the image's is told rather than the one that it makes of the suspend.
    async fn write_as(
        &self,
        domid: DomId,
        mut writer: MemoryWriter,
        way: WrittenWhile,
        (progress, total): (&Arc<Progress>, u64),
    ) -> Result<(Result<(), HypervisorError>, MemoryWriter, Instant), Fault> {
        let internal = |error: &dyn std::fmt::Display| Fault::new(FaultReason::Internal, error);
        let (from, to) = io::pipe().map_err(|error| internal(&error))?;
        let shown = Arc::clone(progress);
        let writing = tokio::task::spawn_blocking(move || {
            // A guest that changes its memory is read more than once.
            let taken = writer.take_in(from, |done| {
                shown.set(done.min(total), total);
                shown.check()
            });
            (taken, writer)
        });
        let (suspended, since) = self.suspend_as(domid, way, OwnedFd::from(to)).await;
        let (taken, writer) = writing.await.map_err(|error| internal(&error))?;
        match taken {
            Ok(()) => Ok((suspended, writer, since)),
            Err(fault) => {
                let message = format!("the snapshot with memory was given up, and the VM runs on: {fault}");
                Err(Fault { message, ..fault })
            }
        }
    }

    /// And since when it stands, as near as it can be told; never too late.
    async fn suspend_as(
        &self,
        domid: DomId,
        way: WrittenWhile,
        to: OwnedFd,
    ) -> (Result<(), HypervisorError>, Instant) {
        let mut events = self.hypervisor.events();
        let mut since = Instant::now();
        let suspend = async {
            match way {
                WrittenWhile::Running => self.hypervisor.suspend_live(domid, to).await,
                WrittenWhile::Standing => self.hypervisor.suspend(domid, to).await,
            }
        };
        let mut suspend = std::pin::pin!(suspend);
        let stands = async {
            until_it_stands(&mut events, domid).await;
            Instant::now()
        };
        let mut stands = std::pin::pin!(stands.fuse());
        loop {
            tokio::select! {
                // Its event comes no later than the answer.
                biased;
                at = &mut stands => since = at,
                result = &mut suspend => return (result, since),
            }
        }
    }

    /// Lets a guest that was suspended run on; one that was not does.
    async fn go_on(&self, domid: DomId) -> Result<(), Fault> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.hypervisor.cancel_suspend(domid).await {
                Ok(()) | Err(HypervisorError::WrongStatus { .. } | HypervisorError::NoSuchDomain(_)) => {
                    return Ok(());
                }
                Err(error) if tries >= TRIES => {
                    let fault = from_hypervisor(&error);
                    let message = format!(
                        "the VM is suspended and could not be let run on; see what is wrong with Xen, then restart \
                         xenith-agent on its host, which lets it run: {fault}"
                    );
                    return Err(Fault { message, ..fault });
                }
                Err(_) => tokio::time::sleep((BETWEEN * tries).min(MOST_BETWEEN)).await,
            }
        }
    }
}

/// Returns when the guest is suspended, or when that is not heard any more.
async fn until_it_stands(events: &mut DomainEvents, domid: DomId) {
    while let Some(event) = events.next().await {
        if event.domid == domid && event.kind == DomainEventKind::Died(DeathReason::Suspend) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// The memory first, then the disks: their commit is the snapshot's.
async fn commit(
    pending: PendingSnapshots,
    writer: MemoryWriter,
    header: MemoryHeader,
) -> Result<Snapshotted, Fault> {
    let written = header.clone();
    blocking(move || writer.commit(written)).await?;
    made(pending, header).await
}

async fn made(pending: PendingSnapshots, header: MemoryHeader) -> Result<Snapshotted, Fault> {
    let snapshots = blocking(move || pending.commit()).await?;
    let paused = Duration::from_millis(header.paused_ms);
    // The disks alone are as after a power cut; with the memory, they are what the guest knows of them.
    Ok(Snapshotted { snapshots, paused, quiesced: Quiesced::default(), memory: Some(header.kept) })
}

pub(super) fn same(some: &[SnapshotOf], others: &[SnapshotOf]) -> bool {
    some.len() == others.len() && some.iter().all(|of| others.contains(of))
}

/// What the domain is, where a guest could find all of it again.
fn keepable(record: &VmRecord) -> Result<VmSpec, Fault> {
    let refuse =
        |reason, why: &str| Err(Fault::new(reason, format_args!("its memory cannot be kept: {why}")));
    let Some(run) = &record.run else {
        let why = "what it was built from is not known any more; shut it down, and start it again";
        return refuse(FaultReason::WrongState, why);
    };
    if run.attaching.is_some() {
        let why = "a device is being plugged in, and it is not known whether the guest has it; try again";
        return refuse(FaultReason::WrongState, why);
    }
    if !run.applied.hardware.pci.is_empty() {
        let why = "it has a PCI device of the host, whose state nobody can read; snapshot its disks only";
        return refuse(FaultReason::Unsupported, why);
    }
    let unlike = run.applied.unlike(record.spec.get());
    if !unlike.is_empty() {
        let why = format!(
            "it runs with other settings than it is defined with ({}); restart it, or snapshot its disks only",
            unlike.join(", ")
        );
        return refuse(FaultReason::WrongState, &why);
    }
    Ok(run.applied.clone())
}
