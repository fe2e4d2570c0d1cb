//! The activities of a VM: every call that can block or fail.
//!
//! An activity takes the VM's record and gives it back, so that only one can have it. It writes the journal
//! before and after each step that a crash could cut; the commit points are named where they are. An error
//! leaves the VM as the returned [`Settled`] says, with nothing half built.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::Semaphore;
use xenith_common_ids::{DomId, IncarnationId, OperationId, VdiId, VmId};
use xenith_hypervisor_agent_api::Snapshotted;
use xenith_hypervisor_agent_backend::{Hypervisor, HypervisorError, Start};
use xenith_hypervisor_agent_storage::Taking;
use xenith_hypervisor_agent_types::{DeathReason, DomainSpec, DomainStatus, Fault, FaultReason, VmSpec};

use crate::fault::{from_hypervisor, from_journal};
use crate::guest_agent::GuestAgents;
use crate::journal::{By, Journal, JournalError, Phase, Reaching, Run, VmRecord};
use crate::migration::StreamCount;
use crate::vm::domain_spec::Resolver;
use crate::vm::leases::Memory;
use crate::vm::snapshot::blocking;
use crate::vm::state::{AfterDeath, Ended, Mode, Settled, Up};

/// The hands of all owners.
pub struct Driver {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub journal: Journal,
    pub resolver: Resolver,
    pub guests: GuestAgents,
    /// Who sends its VM's memory to another host now: each alone would fill most networks.
    pub sends: Semaphore,
    /// The most connections that one memory goes over.
    pub streams: StreamCount,
}

/// VMs that are sent at once; the others wait for their turn and run meanwhile.
pub const SENDS_AT_ONCE: usize = 2;

/// Who wants a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Command(OperationId),
    /// Autostart, or a restart after a reboot or crash.
    Agent,
}

impl Wanted {
    const fn by(self) -> By {
        match self {
            Self::Command(_) => By::Orchestrator,
            Self::Agent => By::Agent,
        }
    }

    const fn operation(self) -> Option<OperationId> {
        match self {
            Self::Command(operation) => Some(operation),
            Self::Agent => None,
        }
    }
}

/// How an activity ended.
#[derive(Debug)]
pub struct Finished {
    pub record: VmRecord,
    pub settled: Settled,
    pub result: Result<Done, Fault>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    Plain,
    Applied { after_restart: Vec<String> },
    Snapshotted(Snapshotted),
}

impl Finished {
    pub(super) fn new(record: VmRecord, settled: Settled, result: Result<(), Fault>) -> Self {
        Self { record, settled, result: result.map(|()| Done::Plain) }
    }
}

pub(super) fn stopped(record: &VmRecord) -> Settled {
    Settled::Stopped { last: record.last.map(|(run, reason)| Ended { run, reason }) }
}

impl Driver {
    pub(super) async fn in_journal<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, Fault> {
        let journal = self.journal.clone();
        tokio::task::spawn_blocking(move || call(&journal))
            .await
            .map_err(|error| Fault::new(FaultReason::Internal, error))?
            .map_err(|error| from_journal(&error))
    }

    pub async fn save(&self, record: &VmRecord) -> Result<(), Fault> {
        let record = record.clone();
        self.in_journal(move |journal| journal.save(&record)).await
    }

    /// Whoever gets its disks may run on another host, which nobody here hears of: what they hold is not known from now on.
    pub async fn forget(&self, record: &VmRecord) -> Result<(), Fault> {
        let vdis: Vec<VdiId> = record.spec.get().disks.iter().map(|disk| disk.vdi).collect();
        let storage = self.resolver.storage.clone();
        blocking(move || vdis.into_iter().try_for_each(|vdi| storage.forget_mark(vdi))).await?;
        let vm = record.vm;
        self.in_journal(move |journal| journal.remove(vm)).await
    }

    /// Builds the domain and lets it run. Commit point: the journal says `Running` while the virtual CPUs
    /// still stand; a crash before that loses a domain that never ran.
    pub async fn start(self: Arc<Self>, mut record: VmRecord, run: IncarnationId, by: Wanted) -> Finished {
        let fault = match self.build(&mut record, run, by).await {
            Ok(domid) => {
                let up = Up { domid, run, mode: Mode::Running };
                match self.let_run(domid).await {
                    Ok(()) => return Finished::new(record, Settled::Up(up), Ok(())),
                    // It has not run: nothing is lost by starting again from the beginning.
                    Err(fault) => match self.release(domid).await {
                        Ok(()) => fault,
                        Err(_) => {
                            note_failed(&mut record, by, &fault);
                            return self.left_paused(record, up, fault).await;
                        }
                    },
                }
            }
            Err(fault) => fault,
        };
        record.run = None;
        record.not_reached(run, Reaching::Starting);
        note_failed(&mut record, by, &fault);
        let fault = self.also_saving(&record, fault).await;
        let settled = stopped(&record);
        Finished::new(record, settled, Err(fault))
    }

    /// A complete domain whose virtual CPUs could not be let go.
    pub(super) async fn left_paused(&self, mut record: VmRecord, up: Up, fault: Fault) -> Finished {
        set_phase(&mut record, Phase::Paused);
        let fault = self.also_saving(&record, fault).await;
        Finished::new(record, Settled::Up(Up { mode: Mode::Paused, ..up }), Err(fault))
    }

    async fn build(&self, record: &mut VmRecord, run: IncarnationId, by: Wanted) -> Result<DomId, Fault> {
        let spec = record.spec.get().clone();
        let level = self.level_here(record.cpu_level.as_ref()).await?;
        let cpu_given = level.map(|level| *level.given());
        record.run = Some(Run { cpu_given, ..begun(run, Phase::Building, spec.clone(), by.by()) });
        record.saved = None;
        record.away = None;
        self.save(record).await?;
        let mut domain = self.resolve(record.vm, run, (spec, Taking::ToRun)).await?;
        domain.hardware.cpu_level = level;
        self.guests.boots(record.vm).await;
        let domid = self.make(&domain, Source::Boot).await?;
        self.commit_build(record, domid, by.operation()).await?;
        Ok(domid)
    }

    pub(super) async fn resolve(
        &self,
        vm: VmId,
        run: IncarnationId,
        (spec, taking): (VmSpec, Taking),
    ) -> Result<DomainSpec, Fault> {
        let resolver = self.resolver.clone();
        tokio::task::spawn_blocking(move || resolver.domain_spec(vm, run, &spec, taking))
            .await
            .map_err(|error| Fault::new(FaultReason::Internal, error))?
    }

    /// Makes the domain, paused. What a failed call left behind (one that timed out, a release that did not
    /// work) is taken away; if that was in the way, it is tried again.
    async fn make(&self, domain: &DomainSpec, source: Source) -> Result<DomId, Fault> {
        let mut retried = false;
        loop {
            let made = match source {
                Source::Boot => self.hypervisor.create(domain, Start::Paused).await,
                Source::Image => {
                    let vm = domain.identity.vm;
                    let image = self.in_journal(move |journal| journal.open_image(vm)).await?;
                    self.hypervisor.resume(domain, OwnedFd::from(image), Start::Paused).await
                }
            };
            let error = match made {
                Ok(domid) => return Ok(domid),
                Err(error) => error,
            };
            let cleared = self.clear_left_overs(domain.identity.vm).await;
            let in_the_way =
                matches!(error, HypervisorError::NameTaken { .. } | HypervisorError::VmTaken { .. });
            if !in_the_way || cleared == 0 || retried {
                return Err(from_hypervisor(&error));
            }
            retried = true;
        }
    }

    /// Releases the domains of a VM that is not up. One that has run and lives is left alone: then we are wrong.
    pub(super) async fn clear_left_overs(&self, vm: VmId) -> usize {
        let domains = match self.hypervisor.domains().await {
            Ok(domains) => domains,
            Err(error) => {
                tracing::warn!(%vm, %error, "what a failed call left behind cannot be found");
                return 0;
            }
        };
        let mut cleared = 0;
        for info in domains {
            if !info.is_of(vm) || (info.is_alive() && info.has_run()) {
                continue;
            }
            match self.release(info.domid).await {
                Ok(()) => cleared += 1,
                Err(fault) => tracing::warn!(%vm, domid = %info.domid, %fault, "a left-over stays"),
            }
        }
        cleared
    }

    /// Writes `Running` and the operation that wanted it, or takes the domain down again when that cannot be
    /// written.
    pub(super) async fn commit_build(
        &self,
        record: &mut VmRecord,
        domid: DomId,
        wanted: Option<OperationId>,
    ) -> Result<(), Fault> {
        let mut built = record.clone();
        set_built(&mut built, domid, Phase::Running);
        built.saved = None;
        if let (Some(operation), Some(run)) = (wanted, &record.run) {
            built.note_reached(operation, run.incarnation, Reaching::Starting);
        }
        if let Err(fault) = self.save(&built).await {
            self.release(domid).await?;
            return Err(fault);
        }
        *record = built;
        Ok(())
    }

    pub(super) async fn let_run(&self, domid: DomId) -> Result<(), Fault> {
        let Err(error) = self.hypervisor.unpause(domid).await else { return Ok(()) };
        // An answer that was lost: whether it runs (or has run and died) is what counts.
        match self.hypervisor.domain(domid).await {
            Ok(info) if info.status != DomainStatus::Paused => Ok(()),
            _ => Err(from_hypervisor(&error)),
        }
    }

    /// Destroys a domain; one that is gone is as good.
    pub async fn release(&self, domid: DomId) -> Result<(), Fault> {
        match self.hypervisor.destroy(domid).await {
            Ok(()) | Err(HypervisorError::NoSuchDomain(_)) => Ok(()),
            Err(error) => Err(from_hypervisor(&error)),
        }
    }

    /// Saves a record while something else has failed already; both are told when both failed.
    pub(super) async fn also_saving(&self, record: &VmRecord, fault: Fault) -> Fault {
        match self.save(record).await {
            Ok(()) => fault,
            Err(also) => Fault { message: format!("{fault}; besides, {also}"), ..fault },
        }
    }

    /// Builds the domain from its saved memory, as what it was when that was saved. Commit point as in
    /// [`Self::start`]: from there the record calls the image a leftover, so it is never resumed twice.
    pub async fn resume(
        self: Arc<Self>,
        mut record: VmRecord,
        run: IncarnationId,
        by: OperationId,
    ) -> Finished {
        let domid = match self.rebuild(&mut record, run, by).await {
            Ok(domid) => domid,
            Err(fault) => {
                record.run = None;
                let fault = self.also_saving(&record, fault).await;
                return Finished::new(record, Settled::Suspended, Err(fault));
            }
        };
        let vm = record.vm;
        if let Err(fault) = self.in_journal(move |journal| journal.remove_image(vm)).await {
            tracing::warn!(%vm, %fault, "an image that was resumed stays until the next suspend or start");
        }
        let up = Up { domid, run, mode: Mode::Running };
        match self.let_run(domid).await {
            Ok(()) => Finished::new(record, Settled::Up(up), Ok(())),
            // Its memory is in the domain and nowhere else.
            Err(fault) => self.left_paused(record, up, fault).await,
        }
    }

    async fn rebuild(
        &self,
        record: &mut VmRecord,
        run: IncarnationId,
        by: OperationId,
    ) -> Result<DomId, Fault> {
        let (spec, cpu_given, taking) = match &record.saved {
            Some(saved) => {
                let taking = if saved.leased { Taking::ToResume } else { Taking::ToRun };
                (saved.spec.clone(), saved.cpu_given, taking)
            }
            None => return Err(Fault::new(FaultReason::Internal, "the journal knows of no saved memory")),
        };
        let begun = begun(run, Phase::Resuming, spec.clone(), By::Orchestrator);
        record.run = Some(Run { cpu_given, ..begun });
        self.save(record).await?;
        let domain = self.resolve(record.vm, run, (spec, taking)).await?;
        let domid = self.make(&domain, Source::Image).await?;
        self.commit_build(record, domid, Some(by)).await?;
        Ok(domid)
    }

    pub async fn destroy(self: Arc<Self>, mut record: VmRecord, up: Up) -> Finished {
        if let Err(fault) = self.release(up.domid).await {
            return Finished::new(record, Settled::Up(up), Err(fault));
        }
        let result = self.note_end(&mut record, up.run, DeathReason::PowerOff).await;
        let settled = stopped(&record);
        Finished::new(record, settled, result)
    }

    async fn note_end(
        &self,
        record: &mut VmRecord,
        run: IncarnationId,
        reason: DeathReason,
    ) -> Result<(), Fault> {
        record.end(run, reason);
        self.save(record).await
    }

    /// Pauses or unpauses.
    pub async fn set_mode(self: Arc<Self>, mut record: VmRecord, up: Up, mode: Mode) -> Finished {
        // Also what came from another host and is to run here.
        let phase = record.run.as_ref().map(|run| run.phase);
        let leases = match (mode, phase) {
            (Mode::Running, Some(Phase::Paused)) => self.take_leases(&record, Memory::Here).await,
            (Mode::Running, _) => self.leases_are_ours(&record).await.map(drop),
            (Mode::Paused | Mode::Preserved | Mode::Sent, _) => Ok(()),
        };
        if let Err(mut fault) = leases {
            // It stands until a person lets it run: the next agent may start while its SR does not answer.
            if up.mode == Mode::Paused && phase != Some(Phase::Paused) {
                set_phase(&mut record, Phase::Paused);
                fault = self.also_saving(&record, fault).await;
            }
            return Finished::new(record, Settled::Up(up), Err(fault));
        }
        let done = match mode {
            Mode::Running => self.unpause(up.domid).await,
            Mode::Paused | Mode::Preserved | Mode::Sent => self.hypervisor.pause(up.domid).await,
        };
        if let Err(error) = done {
            return Finished::new(record, Settled::Up(up), Err(from_hypervisor(&error)));
        }
        set_phase(&mut record, if mode == Mode::Running { Phase::Running } else { Phase::Paused });
        let result = self.save(&record).await;
        Finished::new(record, Settled::Up(Up { mode, ..up }), result)
    }

    /// Saves the memory and frees it. Commit point: the rename of the image; before it the guest runs on. A VM that has lost a
    /// lease is not suspended: what it has in memory goes with a disk that another host may write.
    pub async fn suspend(self: Arc<Self>, mut record: VmRecord, up: Up) -> Finished {
        let leased = match self.leases_are_ours(&record).await {
            Ok(leased) => leased,
            Err(fault) => return Finished::new(record, Settled::Up(up), Err(fault)),
        };
        if let Some(run) = &mut record.run {
            run.leased = leased;
        }
        if let Err(fault) = self.write_image(&mut record, up).await {
            let (settled, fault) = self.run_on(&mut record, up, fault).await;
            return Finished::new(record, settled, Err(fault));
        }
        record.suspended(up.run);
        let released = self.release(up.domid).await;
        let saved = self.save(&record).await;
        Finished::new(record, Settled::Suspended, released.and(saved))
    }

    async fn write_image(&self, record: &mut VmRecord, up: Up) -> Result<(), Fault> {
        let vm = record.vm;
        // From here an image is the one of this suspend.
        self.in_journal(move |journal| journal.remove_image(vm)).await?;
        set_phase(record, Phase::Suspending);
        self.save(record).await?;
        let image = self.in_journal(move |journal| journal.create_image(vm)).await?;
        self.hypervisor.suspend(up.domid, OwnedFd::from(image)).await.map_err(|e| from_hypervisor(&e))?;
        self.in_journal(move |journal| journal.commit_image(vm)).await
    }

    /// The way back from a suspend that could not be kept: what the VM is then, and why. A guest that the hypervisor does not let
    /// run on keeps its phase, and is tried again. One whose lease another host has by now stands.
    pub async fn run_on(&self, record: &mut VmRecord, up: Up, fault: Fault) -> (Settled, Fault) {
        let vm = record.vm;
        let (settled, mut fault) = self.let_run_on(record, up, fault).await;
        if let Err(also) = self.in_journal(move |journal| journal.remove_partial_image(vm)).await {
            fault.message = format!("{fault}; besides, {also}");
        }
        (settled, fault)
    }

    async fn let_run_on(&self, record: &mut VmRecord, up: Up, mut fault: Fault) -> (Settled, Fault) {
        let (vm, phase) = (record.vm, record.run.as_ref().map(|run| run.phase));
        // By a commit that failed behind its rename, it may have its name: memory that grows older than the disks.
        if phase == Some(Phase::Suspending)
            && let Err(also) = self.in_journal(move |journal| journal.remove_image(vm)).await
        {
            fault.message = format!("{fault}; besides, {also}");
        }
        // Where that cannot be told it runs on: nobody lets it run elsewhere, because the journal does not say that it was sent.
        if let Err(also) = self.leases_are_ours(record).await {
            fault.message = format!("{fault}; and the guest is not let run on: {also}");
            return self.stands_after_all(record, up, fault).await;
        }
        match self.hypervisor.cancel_suspend(up.domid).await {
            // Not suspended yet (the stream broke before the end): it runs, and this says so.
            Ok(()) | Err(HypervisorError::WrongStatus { .. }) => set_phase(record, Phase::Running),
            Err(error) => {
                fault.message = format!("{fault}; and the guest could not be let run on: {error}");
            }
        }
        (Settled::Up(up), self.also_saving(record, fault).await)
    }

    /// Drops the saved memory.
    pub async fn discard(self: Arc<Self>, mut record: VmRecord) -> Finished {
        let vm = record.vm;
        let before = record.clone();
        record.run = None;
        record.saved = None;
        if let Err(fault) = self.save(&record).await {
            return Finished::new(before, Settled::Suspended, Err(fault));
        }
        let result = self.in_journal(move |journal| journal.remove_image(vm)).await;
        let settled = stopped(&record);
        Finished::new(record, settled, result)
    }

    /// Releases a dead domain, and starts anew where that is wanted. What follows is written first, so that
    /// a crash between the two does not forget it.
    pub async fn clean_up(self: Arc<Self>, mut record: VmRecord, up: Up, then: AfterDeath) -> Finished {
        let (AfterDeath::Stop(reason) | AfterDeath::Restart(reason)) = then else {
            return Finished::new(record, Settled::Up(Up { mode: Mode::Preserved, ..up }), Ok(()));
        };
        let run_before = record.run.clone();
        record.end(up.run, reason);
        let next = IncarnationId::new();
        if matches!(then, AfterDeath::Restart(_)) {
            record.run = Some(begun(next, Phase::Building, record.spec.get().clone(), By::Agent));
        }
        let noted = self.save(&record).await;
        if let Err(fault) = self.release(up.domid).await {
            record.run = run_before;
            return Finished::new(record, Settled::Up(up), Err(fault));
        }
        if matches!(then, AfterDeath::Restart(_)) && noted.is_ok() {
            return self.start(record, next, Wanted::Agent).await;
        }
        record.run = None;
        if let (AfterDeath::Restart(_), Err(fault)) = (then, &noted) {
            record.note_not_started_again(fault);
        }
        let settled = stopped(&record);
        Finished::new(record, settled, noted)
    }
}

/// What a new domain is made from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Boot,
    Image,
}

pub(super) fn begun(incarnation: IncarnationId, phase: Phase, applied: VmSpec, by: By) -> Run {
    Run {
        incarnation,
        phase,
        domid: None,
        applied,
        by,
        started: OffsetDateTime::now_utc(),
        asked: None,
        attaching: None,
        cpu_given: None,
        leased: false,
    }
}

/// A start by a command answers that command; one by the agent, whoever asked the guest of the run before.
fn note_failed(record: &mut VmRecord, by: Wanted, fault: &Fault) {
    if by == Wanted::Agent {
        record.note_not_started_again(fault);
    }
}

/// Its domain is complete.
pub(super) fn set_built(record: &mut VmRecord, domid: DomId, phase: Phase) {
    if let Some(run) = &mut record.run {
        run.domid = Some(domid);
        run.phase = phase;
    }
}

pub(super) fn set_phase(record: &mut VmRecord, phase: Phase) {
    if let Some(run) = &mut record.run {
        run.phase = phase;
    }
}
