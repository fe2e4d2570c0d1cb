//! Snapshots of a VM's disks at one instant.
//!
//! A running VM is paused for it. Its record goes on saying `Running`, so that an agent that dies meanwhile lets it
//! run when it is back ([`adopt`](super::adopt)); the snapshot is then not there, and the command made again takes a
//! new one.
//!
//! Where it is asked for, the guest holds its filesystems still around the pause ([`guest_agent`](crate::guest_agent)),
//! from before it to after the guest runs again: one that stands cannot be told to thaw. Whether it stood still all the
//! time is known only then, so what was demanded and failed there is dropped before it is committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_common_ids::VmId;
use xenith_hypervisor_agent_api::Snapshotted;
use xenith_hypervisor_agent_types::{Fault, FaultReason, Quiesce, Quiesced, SnapshotOf};

use crate::disk::PendingSnapshots;
use crate::fault::from_hypervisor;
use crate::guest_agent::{Frozen, QuiesceError};
use crate::journal::{Phase, VmRecord};
use crate::vm::driver::{Done, Driver, Finished, set_phase};
use crate::vm::state::{Mode, Settled, Up};

/// How long a guest stands at most where an SR has to copy. Sharing blocks takes milliseconds.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// What there is, and whether it is all.
pub(super) type Taken = Result<(PendingSnapshots, Result<(), Fault>), Fault>;

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
        quiesce: Quiesce,
    ) -> Finished {
        let running = match settled {
            Settled::Up(up) if up.mode == Mode::Running => Some(up),
            _ => None,
        };
        let pending = match self.prepare(&record, disks).await {
            Ok(pending) => pending,
            Err(fault) => return Finished { record, settled, result: Err(fault) },
        };
        let known = made_before(&pending, quiesce);
        let Some(up) = running else {
            let quiesced = match known.map_or_else(|| standing(&settled, quiesce), Ok) {
                Ok(quiesced) => quiesced,
                Err(fault) => return Finished { record, settled, result: Err(fault) },
            };
            let result = whole(self.take(pending, None).await).await;
            return self.keep(record, settled, result, (Duration::ZERO, quiesced)).await;
        };
        let held = match known {
            Some(quiesced) => Err(quiesced),
            None => match self.freeze(record.vm, up, quiesce).await {
                Ok(held) => held,
                Err(fault) => return Finished { record, settled, result: Err(fault) },
            },
        };
        let (pending, stood) = self.take_paused(pending, up).await;
        let paused = match stood {
            Stood::AsBefore(paused) => paused,
            // The snapshot would be good, but who asked must hear of the guest first. It thaws when it is let run.
            Stood::Paused(fault) => {
                drop(held);
                return self.left_standing(record, up, fault).await;
            }
        };
        match thaw(held, quiesce).await {
            Ok(quiesced) => self.keep(record, settled, pending, (paused, quiesced)).await,
            Err(fault) => {
                let result = match pending {
                    Ok(pending) => cleared(pending, fault).await,
                    Err(earlier) => Err(earlier),
                };
                Finished { record, settled, result }
            }
        }
    }

    /// The guest held still, or what there is to say about one that is not.
    async fn freeze(&self, vm: VmId, up: Up, quiesce: Quiesce) -> Result<Result<Frozen, Quiesced>, Fault> {
        if quiesce == Quiesce::Never {
            return Ok(Err(Quiesced::default()));
        }
        match self.guests.freeze(vm, up.domid).await {
            Ok(frozen) => Ok(Ok(frozen)),
            Err(why) => not_quiesced(&why, quiesce).map(Err),
        }
    }

    pub(super) async fn prepare(
        &self,
        record: &VmRecord,
        disks: Vec<SnapshotOf>,
    ) -> Result<PendingSnapshots, Fault> {
        let applied = record.run.iter().flat_map(|run| &run.applied.disks);
        let ours: Vec<_> = record.spec.get().disks.iter().chain(applied).map(|disk| disk.vdi).collect();
        if let Some((index, of)) = disks.iter().enumerate().find(|(_, of)| !ours.contains(&of.vdi)) {
            let problem = format!("VDI {} is not a disk of this VM", of.vdi);
            return Err(Fault::invalid(format!("disks[{index}].vdi"), problem));
        }
        let storage = self.resolver.storage.clone();
        blocking(move || storage.prepare_snapshots(&disks)).await
    }

    pub(super) async fn take(&self, mut pending: PendingSnapshots, deadline: Option<Instant>) -> Taken {
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
        // Also after a pause that failed: its answer may have been lost.
        let runs = self.let_run(up.domid).await;
        let paused = began.elapsed();
        let result = whole(taken).await;
        match runs {
            Ok(()) => (result, Stood::AsBefore(paused)),
            Err(fault) => (result, Stood::Paused(fault)),
        }
    }

    async fn keep(
        &self,
        record: VmRecord,
        settled: Settled,
        pending: Result<PendingSnapshots, Fault>,
        (paused, quiesced): (Duration, Quiesced),
    ) -> Finished {
        let result = match pending {
            Ok(pending) => blocking(move || pending.commit()).await,
            Err(fault) => Err(fault),
        };
        let made = |snapshots| Snapshotted { snapshots, paused, quiesced, memory: None };
        let result = result.map(|snapshots| Done::Snapshotted(made(snapshots)));
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

/// What was taken, if it is all. Who has a guest standing lets it run first: clearing away the rest takes as long as it takes.
pub(super) async fn whole(taken: Taken) -> Result<PendingSnapshots, Fault> {
    let (pending, taken) = taken?;
    match taken {
        Ok(()) => Ok(pending),
        Err(fault) => cleared(pending, fault).await,
    }
}

/// Nothing is left of it, for a reason. An SR removes volumes, or has a server that is away.
async fn cleared<T: Send + 'static>(pending: PendingSnapshots, fault: Fault) -> Result<T, Fault> {
    blocking(move || {
        drop(pending);
        Err(fault)
    })
    .await
}

/// What there is to say when the same call made the snapshot before and its answer was lost. One that was demanded to be
/// whole was committed only because it was.
fn made_before(pending: &PendingSnapshots, quiesce: Quiesce) -> Option<Quiesced> {
    let lost =
        "the snapshot was there when the agent restarted; whether the guest stood still for it is not known";
    match quiesce {
        _ if !pending.was_there() => None,
        Quiesce::Never => Some(Quiesced::default()),
        Quiesce::Try => Some(Quiesced::not(lost)),
        Quiesce::Demand => Some(Quiesced::FROZEN),
    }
}

/// A VM that is off needs no quiescing. One that was halted in the middle cannot be asked.
fn standing(settled: &Settled, quiesce: Quiesce) -> Result<Quiesced, Fault> {
    match (settled, quiesce) {
        (Settled::Stopped { .. }, _) => Ok(Quiesced::OFFLINE),
        (_, Quiesce::Never) => Ok(Quiesced::default()),
        (_, Quiesce::Try) => Ok(Quiesced::not("the VM is paused or suspended; its guest cannot be asked")),
        (_, Quiesce::Demand) => {
            let why =
                "the VM is paused or suspended; let it run, or shut it down, for its guest to be quiesced";
            Err(Fault::new(FaultReason::WrongState, why))
        }
    }
}

fn not_quiesced(why: &QuiesceError, quiesce: Quiesce) -> Result<Quiesced, Fault> {
    if quiesce == Quiesce::Demand { Err(why.fault()) } else { Ok(Quiesced::not(why)) }
}

async fn thaw(held: Result<Frozen, Quiesced>, quiesce: Quiesce) -> Result<Quiesced, Fault> {
    match held {
        Ok(frozen) => match frozen.thaw().await {
            Ok(()) => Ok(Quiesced::FROZEN),
            Err(why) => not_quiesced(&why, quiesce),
        },
        Err(quiesced) => Ok(quiesced),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Fault::new(FaultReason::Internal, error))?
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    use xenith_hypervisor_agent_storage as storage;
    use xenith_hypervisor_agent_types::VdiFacts;

    use super::*;

    /// Tells which thread clears it away.
    struct Part(mpsc::Sender<ThreadId>);

    impl storage::PendingSnapshot for Part {
        fn take(&mut self, _: Option<Instant>) -> storage::Result<()> {
            Ok(())
        }

        fn commit(self: Box<Self>) -> storage::Result<Vec<VdiFacts>> {
            Ok(Vec::new())
        }
    }

    impl Drop for Part {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_not_whole_is_cleared_away_where_that_may_take_long() {
        let (tells, told) = mpsc::channel();
        let pending = || PendingSnapshots::new(vec![Box::new(Part(tells.clone()))], Vec::new());
        let fault = Fault::new(FaultReason::NotReady, "it took too long");
        assert_eq!(whole(Ok((pending(), Err(fault.clone())))).await.err(), Some(fault));
        assert_ne!(told.recv().unwrap(), thread::current().id());
        let all = whole(Ok((pending(), Ok(())))).await;
        assert!(all.is_ok() && told.try_recv().is_err(), "nothing is cleared away");
    }
}
