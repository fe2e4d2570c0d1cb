//! Snapshots of a VM's disks at one instant.
//!
//! A running VM is paused for it. Its record goes on saying `Running`, so that an agent that dies meanwhile lets it
//! run when it is back ([`adopt`](super::adopt)); the snapshot is then not there, and the command made again takes a
//! new one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_hypervisor_agent_api::Snapshotted;
use xenith_hypervisor_agent_types::{Fault, FaultReason, SnapshotOf};

use crate::disk::PendingSnapshots;
use crate::fault::from_hypervisor;
use crate::journal::{Phase, VmRecord};
use crate::vm::driver::{Done, Driver, Finished, set_phase};
use crate::vm::state::{Mode, Settled, Up};

/// How long a guest stands at most where an SR has to copy. Sharing blocks takes milliseconds.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// What the guest was left as.
enum Stood {
    /// As it was before.
    AsBefore(Duration),
    Paused(Fault),
}

impl Driver {
    /// Keeps the contents of `disks`, all of which are the VM's, as they are at one instant.
    pub async fn snapshot(
        self: Arc<Self>,
        record: VmRecord,
        settled: Settled,
        disks: Vec<SnapshotOf>,
    ) -> Finished {
        let running = match settled {
            Settled::Up(up) if up.mode == Mode::Running => Some(up),
            _ => None,
        };
        let pending = match self.prepare(&record, disks).await {
            Ok(pending) => pending,
            Err(fault) => return Finished { record, settled, result: Err(fault) },
        };
        let Some(up) = running else {
            let result = self.take(pending, None).await.and_then(|(pending, taken)| taken.map(|()| pending));
            return self.keep(record, settled, result, Duration::ZERO).await;
        };
        let (pending, stood) = self.take_paused(pending, up).await;
        match stood {
            Stood::AsBefore(paused) => self.keep(record, settled, pending, paused).await,
            // The snapshot would be good, but who asked must hear of the guest first.
            Stood::Paused(fault) => self.left_standing(record, up, fault).await,
        }
    }

    async fn prepare(&self, record: &VmRecord, disks: Vec<SnapshotOf>) -> Result<PendingSnapshots, Fault> {
        let applied = record.run.iter().flat_map(|run| &run.applied.disks);
        let ours: Vec<_> = record.spec.get().disks.iter().chain(applied).map(|disk| disk.vdi).collect();
        if let Some((index, of)) = disks.iter().enumerate().find(|(_, of)| !ours.contains(&of.vdi)) {
            let problem = format!("VDI {} is not a disk of this VM", of.vdi);
            return Err(Fault::invalid(format!("disks[{index}].vdi"), problem));
        }
        let storage = self.resolver.storage.clone();
        blocking(move || storage.prepare_snapshots(&disks)).await
    }

    async fn take(
        &self,
        mut pending: PendingSnapshots,
        deadline: Option<Instant>,
    ) -> Result<(PendingSnapshots, Result<(), Fault>), Fault> {
        blocking(move || {
            let taken = pending.take(deadline);
            Ok((pending, taken))
        })
        .await
    }

    /// Takes it with the guest standing. Whatever comes of it, the guest is let run again.
    async fn take_paused(
        &self,
        pending: PendingSnapshots,
        up: Up,
    ) -> (Result<PendingSnapshots, Fault>, Stood) {
        let began = Instant::now();
        let paused = self.hypervisor.pause(up.domid).await.map_err(|error| from_hypervisor(&error));
        let taken = match paused {
            Ok(()) => self.take(pending, Some(Instant::now() + LONGEST_PAUSE)).await,
            Err(fault) => Err(fault),
        };
        let result = taken.and_then(|(pending, taken)| taken.map(|()| pending));
        // Also after a pause that failed: its answer may have been lost.
        match self.let_run(up.domid).await {
            Ok(()) => (result, Stood::AsBefore(began.elapsed())),
            Err(fault) => (result, Stood::Paused(fault)),
        }
    }

    async fn keep(
        &self,
        record: VmRecord,
        settled: Settled,
        pending: Result<PendingSnapshots, Fault>,
        paused: Duration,
    ) -> Finished {
        let result = match pending {
            Ok(pending) => blocking(move || pending.commit()).await,
            Err(fault) => Err(fault),
        };
        let result = result.map(|snapshots| Done::Snapshotted(Snapshotted { snapshots, paused }));
        Finished { record, settled, result }
    }

    async fn left_standing(&self, mut record: VmRecord, up: Up, fault: Fault) -> Finished {
        set_phase(&mut record, Phase::Paused);
        let fault =
            Fault { message: format!("the VM was paused for a snapshot and stays so: {fault}"), ..fault };
        let fault = self.also_saving(&record, fault).await;
        Finished { record, settled: Settled::Up(Up { mode: Mode::Paused, ..up }), result: Err(fault) }
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Fault::new(FaultReason::Internal, error))?
}
