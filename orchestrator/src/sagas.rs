//! What takes more than one step, one file per operation. A file lists its steps; what they share is here.
//!
//! A VM or a host is *held* by the saga that works on it: `held_by` is set in the transaction that starts the saga and
//! cleared by its last step, or by the undo of its first. So two operations never work on one VM, whatever
//! process dies when. That last step cannot be undone: behind it the VM may be somebody else's already.

mod backup_parts;
pub mod backup_proof;
pub mod backup_restore;
pub mod backup_self;
pub mod backup_vm;
mod cpu_level;
mod disk_parts;
pub mod host_management;
pub mod host_restart;
pub mod host_steps;
pub mod host_upgrade;
pub mod import;
mod leases;
pub mod mirror;
pub mod pool_balance;
pub mod pool_update;
pub mod repository_act;
mod seed;
pub mod snapshot_create;
pub mod snapshot_delete;
mod snapshot_parts;
pub mod snapshot_revert;
pub mod sr_attach;
pub mod sr_detach;
mod sr_parts;
pub mod standby_act;
pub mod standby_follow;
pub mod standby_switch;
pub mod template_create;
pub mod template_delete;
#[cfg(test)]
mod told;
pub mod vdi_copy;
pub mod vdi_create;
pub mod vdi_delete;
pub mod vdi_import;
pub mod vdi_move;
pub mod vdi_resize;
pub mod vdi_upload;
pub mod vm_act;
pub mod vm_create;
pub mod vm_delete;
pub mod vm_migrate;
pub mod vm_update;
mod writers;

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use xenith_common_ids::{HostId, IncarnationId, OperationId, SagaId, SrId, TaskId, VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope, StorageCommand, VmAction};
use xenith_hypervisor_agent_client::{AgentClientError, Wish};
use xenith_hypervisor_agent_types::{Fault, FaultReason, ObservedVm, ValidVmSpec, VdiSize, VmSpec};
use xenith_orchestrator_saga::{RetryPolicy, Saga, SagaRecord, SagaRegistry, StepCtx, StepError};
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::vdi::Vdi;

use crate::db::Db;
use crate::events::{Events, Happened};
use crate::fleet::Fleet;
use crate::imports::LiveImports;
use crate::networking::{Networking, NotFiltered};
use crate::secret::Vault;
pub use seed::Seed;

/// Why a VM's release is the commit point of a saga.
const RELEASED: &str = "the VM is free for the next operation";

/// What hosts tell comes a moment after what they did. One that says nothing is not waited for.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// Tries again over about a minute (44 to 88 s of pauses), within the step's deadline. What was asked of a guest goes
/// on without its agent. One that was killed outright takes longer to be back on a slow host than one that is
/// restarted: it is started after a pause, adopts every domain before it answers, and a connection to it that hangs
/// is given up after 5 s. Given up by the engine's default, after 15 s, a shutdown that was under way was rolled back
/// as "cannot be reached" while the guest obeyed.
const AGENT_RETURNS: RetryPolicy =
    RetryPolicy { attempts: 15, first: Duration::from_millis(500), most: Duration::from_secs(8) };

/// How often a long command is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Before, nobody knows how fast it goes.
const ESTIMATED_FROM: Duration = Duration::from_secs(5);

/// What the steps work with.
pub struct Deps {
    pub db: Db,
    pub imports: Arc<LiveImports>,
    writers: Arc<writers::Writers>,
    fleet: OnceLock<Arc<Fleet>>,
    vault: OnceLock<Arc<Vault>>,
    events: OnceLock<Events>,
    networking: OnceLock<Arc<Networking>>,
    /// The application, which has us through its engine: kept by us it would never end.
    mover: OnceLock<Weak<dyn pool_balance::Mover>>,
    /// The same, for the VMs of hosts that go down.
    guests: OnceLock<Weak<dyn host_steps::Guests>>,
    /// The same, for the hosts of a pool that is updated.
    host_updates: OnceLock<Weak<dyn pool_update::HostUpdates>>,
}

/// Every operation that this version knows.
#[must_use]
pub fn registry(deps: &Arc<Deps>) -> SagaRegistry {
    let mut registry = SagaRegistry::new();
    registry.register(vm_create::VmCreate(Arc::clone(deps)));
    registry.register(vm_act::VmAct(Arc::clone(deps)));
    registry.register(vm_update::VmUpdate(Arc::clone(deps)));
    registry.register(vm_delete::VmDelete(Arc::clone(deps)));
    registry.register(vm_migrate::VmMigrate(Arc::clone(deps)));
    registry.register(pool_balance::PoolBalance(Arc::clone(deps)));
    registry.register(pool_update::PoolUpdate(Arc::clone(deps)));
    registry.register(vdi_create::VdiCreate(Arc::clone(deps)));
    registry.register(vdi_copy::VdiCopy(Arc::clone(deps)));
    registry.register(vdi_move::VdiMove(Arc::clone(deps)));
    registry.register(vdi_upload::VdiUpload(Arc::clone(deps)));
    registry.register(vdi_delete::VdiDelete(Arc::clone(deps)));
    registry.register(import::ImportUpload(Arc::clone(deps)));
    registry.register(vdi_resize::VdiResize(Arc::clone(deps)));
    registry.register(vdi_import::VdiImport(Arc::clone(deps)));
    registry.register(sr_attach::SrAttach(Arc::clone(deps)));
    registry.register(sr_detach::SrDetach(Arc::clone(deps)));
    registry.register(template_create::TemplateCreate(Arc::clone(deps)));
    registry.register(template_delete::TemplateDelete(Arc::clone(deps)));
    registry.register(snapshot_create::SnapshotCreate(Arc::clone(deps)));
    registry.register(snapshot_revert::SnapshotRevert(Arc::clone(deps)));
    registry.register(snapshot_delete::SnapshotDelete(Arc::clone(deps)));
    registry.register(import::ImportVsphere(Arc::clone(deps)));
    registry.register(repository_act::RepositoryAct(Arc::clone(deps)));
    registry.register(backup_vm::BackupVm(Arc::clone(deps)));
    registry.register(backup_self::BackupSelf(Arc::clone(deps)));
    registry.register(backup_restore::BackupRestore(Arc::clone(deps)));
    registry.register(standby_act::StandbyAct(Arc::clone(deps)));
    registry.register(host_upgrade::HostUpgrade(Arc::clone(deps)));
    registry.register(host_restart::HostRestart(Arc::clone(deps)));
    registry.register(host_management::HostManagement(Arc::clone(deps)));
    registry
}

/// A VDI that a saga makes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewVdi {
    pub vdi: VdiId,
    pub sr: SrId,
    pub size: VdiSize,
    pub name: String,
    /// The VDI or snapshot in the same SR whose contents it begins with.
    #[serde(default)]
    pub from: Option<VdiId>,
    /// Files for cloud-init, which make it the small disk that they are on.
    #[serde(default)]
    pub seed: Option<Seed>,
}

/// What a step has to tell people of how its saga ended: the text of a task that is done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    pub said: String,
}

impl Said {
    /// Of the last step that said something.
    #[must_use]
    pub(crate) fn of(record: &SagaRecord) -> Option<String> {
        let mut outputs = record.steps.iter().rev().filter_map(|step| record.outputs.get(step));
        outputs
            .find_map(|output| <Self as serde::Deserialize>::deserialize(output).ok())
            .map(|said| said.said)
    }
}

/// The action of a step that is there for its undo: what it stands for is done in the transaction that starts the saga.
async fn nothing<S: Saga>(_: &S, _: &StepCtx<S>) -> Result<(), StepError> {
    Ok(())
}

fn step_error(error: &AgentClientError) -> StepError {
    let passing = match error {
        AgentClientError::Unreachable { .. } => true,
        // "No" is an answer; only "not yet" is worth waiting for.
        AgentClientError::Refused(fault) => fault.reason == FaultReason::NotReady,
        _ => false,
    };
    if passing { StepError::retryable(error.to_string()) } else { StepError::permanent(error.to_string()) }
}

/// Of a start. A VM that runs already, or that the host does something else with, was not touched by it: what runs there is
/// another run, which no undo of this one may end. Nor was one whose name a domain has that is none of ours. One whose domain
/// ended under the start was: it is taken back.
fn start_error(error: &AgentClientError) -> StepError {
    let AgentClientError::Refused(fault) = error else { return step_error(error) };
    match fault.reason {
        FaultReason::WrongState => StepError::untouched(error.to_string()),
        FaultReason::NameTaken => StepError::untouched(format!("the VM was not started: {error}")),
        FaultReason::WrongStatus => StepError::permanent(format!(
            "the VM's domain was ended or changed by somebody else while it was started: {error}"
        )),
        _ => step_error(error),
    }
}

/// Of a start of a VM that the saga has made: every run of it is the saga's to end.
fn touched(error: StepError) -> StepError {
    match error {
        StepError::Untouched { message, source } => StepError::Permanent { message, source },
        other => other,
    }
}

impl Deps {
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self {
            db,
            imports: Arc::default(),
            writers: Arc::default(),
            fleet: OnceLock::new(),
            vault: OnceLock::new(),
            events: OnceLock::new(),
            networking: OnceLock::new(),
            mover: OnceLock::new(),
            guests: OnceLock::new(),
            host_updates: OnceLock::new(),
        }
    }

    /// Before any saga runs. Without it no host is told of rules before a VM.
    pub fn set_networking(&self, networking: &Arc<Networking>) {
        let _set_before = self.networking.set(Arc::clone(networking));
    }

    /// Who begins moves for others. Until then those wait.
    pub fn set_mover(&self, mover: Weak<dyn pool_balance::Mover>) {
        let _set_before = self.mover.set(mover);
    }

    /// Before any saga runs: the fleet needs the engine's epoch, so it comes later.
    pub fn set_fleet(&self, fleet: &Arc<Fleet>) {
        let _set_before = self.fleet.set(Arc::clone(fleet));
    }

    /// Before any saga runs.
    pub fn set_vault(&self, vault: &Arc<Vault>) {
        let _set_before = self.vault.set(Arc::clone(vault));
    }

    /// Before any saga runs. Without it nothing is told.
    pub fn set_events(&self, events: &Events) {
        let _set_before = self.events.set(events.clone());
    }

    async fn tell(&self, happened: Happened) {
        if let Some(events) = self.events.get() {
            events.note(happened).await;
        }
    }

    fn vault(&self) -> Result<&Vault, StepError> {
        let vault = self.vault.get().map(|vault| &**vault);
        vault.ok_or_else(|| StepError::retryable("the orchestrator is starting"))
    }

    fn fleet(&self) -> Result<&Fleet, StepError> {
        self.fleet
            .get()
            .map(|fleet| &**fleet)
            .ok_or_else(|| StepError::retryable("the orchestrator is starting"))
    }

    /// Sends a command under the step's own operation id: a step that runs again repeats it, not the work.
    async fn send<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        command: Command,
    ) -> Result<CommandResult, StepError> {
        self.send_as(ctx, ctx.operation_id(), host, command)
            .await
            .map_err(|error| error.map_or_else(|| host_removed(host), |error| step_error(&error)))
    }

    /// `Err(None)`: the host is not one of ours any more.
    async fn send_as<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        operation: OperationId,
        host: HostId,
        command: Command,
    ) -> Result<CommandResult, Option<AgentClientError>> {
        let client = self.fleet.get().and_then(|fleet| fleet.client(host)).ok_or(None)?;
        client.execute(&Envelope { operation, epoch: ctx.epoch(), command }).await.map_err(Some)
    }

    /// As [`Self::send`], for a command that takes long: tells how far it is, and has it stopped when the saga is.
    async fn send_long<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        command: Command,
    ) -> Result<CommandResult, StepError> {
        self.send_long_as(ctx, ctx.operation_id(), (host, command)).await
    }

    async fn send_long_as<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        operation: OperationId,
        (host, command): (HostId, Command),
    ) -> Result<CommandResult, StepError> {
        let client =
            self.fleet.get().and_then(|fleet| fleet.client(host)).ok_or_else(|| host_removed(host))?;
        let envelope = Envelope { operation, epoch: ctx.epoch(), command };
        let mut work = std::pin::pin!(client.execute(&envelope));
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut first = None;
        loop {
            tokio::select! {
                result = &mut work => {
                    return match result {
                        Err(_) if ctx.cancelled().is_cancelled() => Err(StepError::Cancelled),
                        result => result.map_err(|error| step_error(&error)),
                    };
                }
                _ = look.tick() => {
                    let wish = if ctx.cancelled().is_cancelled() { Wish::Stop } else { Wish::GoOn };
                    // An answer that is missing is no reason to give up: the command's own will say.
                    if let Ok(Some((done, total))) = client.progress(operation, ctx.epoch(), wish).await {
                        let percent = done.saturating_mul(100) / total.max(1);
                        let (before, at) = *first.get_or_insert_with(|| (done, Instant::now()));
                        let text = in_mib((done, total), (before, at.elapsed()));
                        ctx.progress(u8::try_from(percent.min(100)).unwrap_or(100), text);
                    }
                }
            }
        }
    }

    async fn tell_vm<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        vm: VmId,
        action: VmAction,
    ) -> Result<CommandResult, StepError> {
        self.send(ctx, host, Command::Vm { vm, action }).await
    }

    async fn define<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, vm): (HostId, VmId),
        definition: u64,
        spec: &VmSpec,
    ) -> Result<(), StepError> {
        let spec =
            ValidVmSpec::try_from(spec.clone()).map_err(|error| StepError::permanent(error.to_string()))?;
        let action = VmAction::Define { definition, spec: Box::new(spec) };
        self.tell_vm(ctx, host, vm, action).await.map(|_| ())
    }

    /// Before a VM runs on a host: the host has its rules. Not where a step is taken back: that never fails because a host
    /// cannot filter.
    async fn rules_first(&self, host: HostId, vm: VmId) -> Result<(), StepError> {
        let Some(networking) = self.networking.get() else { return Ok(()) };
        networking.before_start(host, vm).await.map_err(|error| match error {
            NotFiltered::Cannot { .. } => StepError::permanent(error.to_string()),
            NotFiltered::Untold { .. } => StepError::retryable(error.to_string()),
            NotFiltered::Store(error) => error.into(),
        })
    }

    /// Starts a VM that is defined on a host. Who waited for the task and then looks sees it run, unless its guest has gone
    /// on meanwhile.
    async fn start<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, vm): (HostId, VmId),
        incarnation: IncarnationId,
    ) -> Result<(), StepError> {
        self.rules_first(host, vm).await?;
        let cpu_level = self.cpu_level(host).await?;
        let command = Command::Vm { vm, action: VmAction::Start { incarnation, cpu_level } };
        let started = self.send_as(ctx, ctx.operation_id(), host, command).await;
        started.map_err(|error| error.map_or_else(|| host_removed(host), |error| start_error(&error)))?;
        let runs = |seen: Option<&ObservedVm>| seen.is_some_and(|seen| seen.incarnation == Some(incarnation));
        let _told_later = self.fleet()?.wait_for(vm, TOLD_WITHIN, runs).await;
        Ok(())
    }

    /// As [`Self::start`], of a VM that the saga has made. Its host may have started it by itself since it was defined, and
    /// forgets none that runs: what takes the step back ends that run, too, or nothing behind it could be taken back.
    async fn start_made<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        at: (HostId, VmId),
        incarnation: IncarnationId,
    ) -> Result<(), StepError> {
        self.start(ctx, at, incarnation).await.map_err(touched)
    }

    async fn ensure_vdi<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        vdi: &NewVdi,
    ) -> Result<(), StepError> {
        let command = match (vdi.from, &vdi.seed) {
            (None, None) => Command::EnsureVdi { vdi: vdi.vdi, sr: vdi.sr, size: vdi.size },
            (None, Some(seed)) => {
                let files = seed.files(self.vault()?)?;
                Command::Storage(StorageCommand::Seed { vdi: vdi.vdi, sr: vdi.sr, files })
            }
            (Some(from), _) => Command::Storage(StorageCommand::Clone { from, to: vdi.vdi, sr: vdi.sr }),
        };
        self.send(ctx, host, command).await?;
        if vdi.from.is_none() {
            return Ok(());
        }
        // A clone is as large as its source; asked for more, it grows.
        let operation = OperationId::from_uuid(ctx.derived_uuid("grow the clone"));
        let grow = Command::Storage(StorageCommand::Grow { vdi: vdi.vdi, sr: vdi.sr, size: vdi.size });
        let grown = self.send_as(ctx, operation, host, grow).await;
        grown.map_err(|error| error.map_or_else(|| host_removed(host), |error| step_error(&error)))?;
        Ok(())
    }

    /// Ends the hold of the saga that made a VDI which no VM has. Said again after a crash, it is another's hold by then,
    /// and stays: who takes a disk from a VM of another host relies on it.
    async fn vdi_is_whole(&self, vdi: VdiId, saga: SagaId) -> Result<(), StepError> {
        let ours = TaskId::from(saga);
        let release = |record: &mut Vdi| record.held_by = record.held_by.filter(|by| *by != ours);
        self.db.vdis.modify(&vdi, release).await?;
        Ok(())
    }

    async fn delete_vdi<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        (vdi, sr): (VdiId, SrId),
    ) -> Result<(), StepError> {
        let deleted = self.send_as(ctx, ctx.operation_id(), host, Command::DeleteVdi { vdi, sr }).await;
        let Err(error) = deleted else { return Ok(()) };
        let not_found = |fault: &Fault| fault.reason == FaultReason::NotFound;
        let unknown = matches!(&error, Some(AgentClientError::Refused(fault)) if not_found(fault));
        // What was in an SR that nobody has any more went with it; otherwise its VM could not be deleted either.
        if unknown && self.is_out_of_reach(sr).await? {
            return Ok(());
        }
        Err(error.map_or_else(|| host_removed(host), |error| step_error(&error)))
    }

    /// Lets go of a VM, unless another saga has it by now.
    pub async fn release(&self, vm: VmId, saga: SagaId) -> Result<(), StoreError> {
        self.release_with(vm, saga, |_| ()).await
    }

    async fn release_with(
        &self,
        vm: VmId,
        saga: SagaId,
        change: impl Fn(&mut crate::model::VmRecord) + Send + Sync,
    ) -> Result<(), StoreError> {
        let release = |record: &mut crate::model::VmRecord| {
            if record.held_by == Some(saga) {
                record.held_by = None;
                change(record);
            }
        };
        self.db.vms.modify(&vm, release).await.map(|_| ())
    }
}

/// For people; empty where the parts are too small to be bytes of anything. `since`: how much was done when that was asked
/// first, and how long ago.
fn in_mib((done, total): (u64, u64), (before, took): (u64, Duration)) -> String {
    const MIB: u64 = 1 << 20;
    if total < MIB {
        return String::new();
    }
    let text = format!("{} of {} MiB", done / MIB, total / MIB);
    match left((done, total), (done.saturating_sub(before), took)) {
        Some(left) => format!("{text}, about {left} left"),
        None => text,
    }
}

/// By how fast it went so far; nothing while that says little, and where more was done than there seemed to be.
fn left((done, total): (u64, u64), (moved, took): (u64, Duration)) -> Option<String> {
    let rest = total.checked_sub(done).filter(|rest| *rest > 0)?;
    if took < ESTIMATED_FROM || moved == 0 {
        return None;
    }
    let seconds = u128::from(rest) * took.as_millis() / (u128::from(moved) * 1000);
    Some(match seconds {
        0..120 => format!("{} s", seconds.max(1)),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    })
}

fn host_removed(host: HostId) -> StepError {
    StepError::permanent(format!("host {host} was removed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_another_began_is_ended_only_where_the_vm_itself_is_the_sagas() {
        for (reason, is_anothers) in [
            (FaultReason::WrongState, true),
            (FaultReason::NameTaken, true),
            (FaultReason::WrongStatus, false),
            (FaultReason::NoMemory, false),
        ] {
            let refused = || start_error(&AgentClientError::Refused(Fault::new(reason, "it runs already")));
            assert_eq!(matches!(refused(), StepError::Untouched { .. }), is_anothers, "{reason:?}");
            let of_ours = touched(refused());
            assert!(matches!(of_ours, StepError::Permanent { .. }), "{of_ours:?}");
            assert_eq!(of_ours.to_string(), refused().to_string());
        }
    }

    #[test]
    fn how_long_it_still_takes_is_told_once_it_is_known() {
        const MIB: u64 = 1 << 20;
        let seconds = Duration::from_secs;
        for (case, done, total, since, said) in [
            ("too small", 1, 2, (0, seconds(60)), ""),
            ("just begun", MIB, 8 * MIB, (0, seconds(2)), "1 of 8 MiB"),
            ("nothing moves", 2 * MIB, 8 * MIB, (2 * MIB, seconds(60)), "2 of 8 MiB"),
            ("seconds", 2 * MIB, 8 * MIB, (0, seconds(10)), "2 of 8 MiB, about 30 s left"),
            ("a moment", 1024 * MIB, 1025 * MIB, (0, seconds(10)), "1024 of 1025 MiB, about 1 s left"),
            ("minutes", 100 * MIB, 1000 * MIB, (0, seconds(60)), "100 of 1000 MiB, about 9 min left"),
            ("hours", 100 * MIB, 100_100 * MIB, (0, seconds(60)), "100 of 100100 MiB, about 16 h left"),
            (
                "what an earlier try did counts not",
                60 * MIB,
                70 * MIB,
                (50 * MIB, seconds(10)),
                "60 of 70 MiB, about 10 s left",
            ),
            ("a guest that writes is read again", 9 * MIB, 8 * MIB, (0, seconds(10)), "9 of 8 MiB"),
        ] {
            assert_eq!(in_mib((done, total), since), said, "{case}");
        }
    }
}
