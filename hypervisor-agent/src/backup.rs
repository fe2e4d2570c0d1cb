//! The agent's part in backups: it reads snapshots and writes to repositories itself, and back.
//!
//! What always holds: bulk data never passes the orchestrator. A command that is repeated under its operation id joins
//! the one that runs ([`crate::operations`]); one that is repeated after the agent died finds its committed backup by
//! the operation id that is kept with it, or goes on with the chunks that are there. At most [`AT_ONCE`] work at a
//! time, because each may take 250 MiB of memory.
//!
//! The agent stopping cancels what runs, at the next chunk, and waits for no repository that is away: the answer is "not
//! ready", and the orchestrator asks again.

pub mod files;
mod follow;
pub(crate) mod repository;
mod restore;
mod run;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Semaphore;
use xenith_backup::ingest;
use xenith_backup::restore::RestoreProgress;
use xenith_backup::store::Pace;
use xenith_backup::verify::Level;
use xenith_common_ids::OperationId;
use xenith_common_tasks::CancellationToken;
use xenith_hypervisor_agent_types::backup::{
    ArchiveKind, BackupCommand, BackupProgress, BackupReply, DiskOf, InstantDisk, InstantUntil,
};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use self::repository::Access;
use crate::disk::{Point, Storage};
use crate::instant::{Expected, Origin};
use crate::proof::{GivenUp, Proofs};

/// Backups and restores that run at a time.
const AT_ONCE: usize = 2;
/// How often the server of a disk is asked how far it is.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// The counters of one command.
#[derive(Debug, Default)]
struct Running {
    backup: ingest::Progress,
    restore: RestoreProgress,
    restore_total: std::sync::atomic::AtomicU64,
    /// Of what is written to the repository.
    pace: Arc<Pace>,
    /// Also of those that wait for their turn.
    cancelled: AtomicBool,
}

impl Running {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.backup.cancelled.store(true, Ordering::Relaxed);
        self.restore.cancelled.store(true, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn progress(&self) -> BackupProgress {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        BackupProgress {
            done: get(&self.backup.done) + get(&self.restore.done),
            total: get(&self.backup.total) + get(&self.restore_total),
            read: get(&self.backup.read),
            new_bytes: get(&self.backup.new_bytes),
            stored: get(&self.backup.stored) + get(&self.restore.written),
        }
    }
}

/// All that runs.
#[derive(Debug)]
pub struct Backups {
    storage: Storage,
    proofs: Proofs,
    running: Mutex<HashMap<OperationId, Arc<Running>>>,
    turns: Semaphore,
    pub downloads: files::Downloads,
    /// Of the listener that hands them out, or why there is none.
    pub port: OnceLock<Result<u16, String>>,
    stopping: CancellationToken,
}

impl Backups {
    #[must_use]
    pub fn new(storage: Storage, proofs: Proofs, stopping: CancellationToken) -> Self {
        Self {
            storage,
            proofs,
            running: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            downloads: Default::default(),
            port: OnceLock::new(),
            stopping,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OperationId, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing runs under an id that is not known.
    pub fn progress(&self, operation: OperationId) -> BackupProgress {
        self.lock().get(&operation).map(|running| running.progress()).unwrap_or_default()
    }

    pub fn cancel(&self, operation: OperationId) {
        if let Some(running) = self.lock().get(&operation) {
            running.cancel();
        }
    }

    /// From now on so many bytes per second into the repository; 0 for no limit. Says whether anything runs under this id.
    pub fn set_pace(&self, operation: OperationId, bandwidth: u64) -> bool {
        let running = self.lock().get(&operation).cloned();
        if let Some(running) = &running {
            running.pace.set(bandwidth);
        }
        running.is_some()
    }

    pub async fn execute(
        &self,
        operation: OperationId,
        command: BackupCommand,
    ) -> Result<BackupReply, Fault> {
        let running = Arc::new(Running::default());
        if let BackupCommand::Run(run) = &command {
            running.pace.set(run.bandwidth);
        }
        self.lock().insert(operation, Arc::clone(&running));
        let result = self.in_turn(operation, command, &running).await;
        self.lock().remove(&operation);
        result
    }

    async fn in_turn(
        &self,
        operation: OperationId,
        command: BackupCommand,
        running: &Arc<Running>,
    ) -> Result<BackupReply, Fault> {
        let command = match command {
            BackupCommand::Instant(disk) => return self.instant(disk, running).await,
            BackupCommand::OpenDownload { of, at, archive, ticket_hash } => {
                return self.open_download((of, at), archive, ticket_hash);
            }
            BackupCommand::EnsureProofNetwork { vm } => return self.proofs.ensure(vm).await,
            BackupCommand::RemoveProofNetwork { vm } => return self.proofs.remove(vm).await,
            BackupCommand::AskPorts(question) => {
                let (cancelled, stopping) = (|| running.cancelled(), self.stopping.clone());
                return self.proofs.ask(question, GivenUp { cancelled, stopping }).await;
            }
            command => command,
        };
        let heavy = matches!(
            command,
            BackupCommand::Run(_) | BackupCommand::Restore { .. } | BackupCommand::Follow { .. }
        );
        let _turn = if heavy {
            tokio::select! {
                turn = self.turns.acquire() => Some(turn.map_err(|_| stopping())?),
                () = self.stopping.cancelled() => return Err(stopping()),
            }
        } else {
            None
        };
        if running.cancelled() {
            return Err(cancelled());
        }
        let (storage, counters) = (self.storage.clone(), Arc::clone(running));
        let _given_up = GiveUpWhenDropped(Arc::clone(running));
        let mut work = tokio::task::spawn_blocking(move || perform(&storage, operation, command, &counters));
        let joined = tokio::select! {
            joined = &mut work => joined,
            () = self.stopping.cancelled() => {
                running.cancel();
                let _given_up = work.await;
                return Err(stopping());
            }
        };
        joined.map_err(|error| Fault::new(FaultReason::Internal, error))?
    }

    fn open_download(
        &self,
        (of, at): (DiskOf, String),
        archive: ArchiveKind,
        ticket_hash: String,
    ) -> Result<BackupReply, Fault> {
        let port = match self.port.get() {
            Some(Ok(port)) => *port,
            Some(Err(why)) => {
                let refusal = format_args!("this host hands nothing out: {why}");
                return Err(Fault::new(FaultReason::Unsupported, refusal));
            }
            None => return Err(Fault::new(FaultReason::NotReady, "downloads are not handed out yet")),
        };
        self.downloads.open(of, at, archive, ticket_hash)?;
        Ok(BackupReply::Download { port })
    }

    /// Begins, and where it is wanted waits until everything is here. The server goes on whatever becomes of us.
    async fn instant(&self, disk: InstantDisk, running: &Running) -> Result<BackupReply, Fault> {
        let InstantDisk { access, backup, disk, vdi, bandwidth, until } = disk;
        let state = if until == InstantUntil::Serving { Expected::New } else { Expected::Begun };
        let origin = Origin { access, backup, disk, bandwidth, state };
        self.blocking(move |storage| storage.begin_instant(vdi, origin)).await?;
        if until == InstantUntil::Serving {
            return Ok(BackupReply::Serving);
        }
        loop {
            let status = self.blocking(move |storage| storage.look_at_instant(vdi)).await?;
            let Some(status) = status else { return Ok(BackupReply::Restored { written: 0 }) };
            running.restore.done.store(status.filled, Ordering::Relaxed);
            running.restore_total.store(status.total, Ordering::Relaxed);
            if status.complete {
                return Ok(BackupReply::Restored { written: status.total });
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.stopping.cancelled() => return Err(stopping()),
            }
            if running.cancelled() {
                return Err(cancelled());
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Storage) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let storage = self.storage.clone();
        let called = tokio::task::spawn_blocking(move || call(&storage)).await;
        called.map_err(|error| Fault::new(FaultReason::Internal, error))?
    }
}

/// The thread of a command that nobody waits for any more must not go on: an agent that stops would wait for it, as long as
/// its repository is away.
struct GiveUpWhenDropped(Arc<Running>);

impl Drop for GiveUpWhenDropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn stopping() -> Fault {
    Fault::new(FaultReason::NotReady, "the agent is stopping")
}

fn perform(
    storage: &Storage,
    operation: OperationId,
    command: BackupCommand,
    running: &Arc<Running>,
) -> Result<BackupReply, Fault> {
    match command {
        BackupCommand::EnsureRepository { access, known: None } => {
            repository::ensure(&Access::of(&access, running))
        }
        BackupCommand::EnsureRepository { access, known: Some(id) } => {
            repository::probe(&Access::of(&access, running), &id)
        }
        BackupCommand::List { access } => repository::list(&Access::of(&access, running)),
        BackupCommand::Run(run) => run::run(storage, operation, &run, running),
        BackupCommand::Restore { access, backup, disk, vdi } => {
            restore::restore(storage, &Access::of(&access, running), (&backup, &disk), vdi, running)
        }
        BackupCommand::Follow { access, backup, disk, vdi } => {
            follow::follow(storage, &Access::of(&access, running), Point { backup, disk }, (vdi, running))
        }
        BackupCommand::Rewind(rewind) => follow::rewind(storage, rewind),
        BackupCommand::Files { of, at, after } => {
            files::list(&of, (at.as_deref(), after.as_deref()), running)
        }
        BackupCommand::Instant(_)
        | BackupCommand::OpenDownload { .. }
        | BackupCommand::EnsureProofNetwork { .. }
        | BackupCommand::AskPorts(_)
        | BackupCommand::RemoveProofNetwork { .. } => {
            Err(Fault::new(FaultReason::Internal, "it is answered without a thread"))
        }
        BackupCommand::Forget { access, backups } => {
            repository::forget(&Access::of(&access, running), &backups)
        }
        BackupCommand::Prune { access, vms, keep } => {
            repository::prune(&Access::of(&access, running), &vms, keep)
        }
        BackupCommand::Hold { access, backup, held: true } => {
            repository::hold(&Access::of(&access, running), &backup)
        }
        BackupCommand::Hold { access, backup, held: false } => {
            repository::release(&Access::of(&access, running), &backup)
        }
        BackupCommand::LiftRestore { access, backup, vdi } => {
            repository::lift_restore(&Access::of(&access, running), &backup, vdi)
        }
        BackupCommand::Verify { access, deep, quick } => {
            let level = match (deep, quick) {
                (true, _) => Level::Deep,
                (false, true) => Level::Quick,
                (false, false) => Level::Normal,
            };
            repository::verify(&Access::of(&access, running), level)
        }
    }
}

fn cancelled() -> Fault {
    Fault::new(FaultReason::Invalid, "it was cancelled")
}

/// What an error of the backup library means to a caller.
pub(crate) fn fault(error: &xenith_backup::BackupError) -> Fault {
    use xenith_backup::BackupError;
    use xenith_backup::store::StoreError;
    let reason = match error {
        BackupError::Cancelled => return cancelled(),
        BackupError::Store(StoreError::Full { .. }) => FaultReason::StorageFull,
        BackupError::NotFound { .. } => FaultReason::NotFound,
        _ if error.is_retryable() => FaultReason::NotReady,
        BackupError::Invalid(_)
        | BackupError::WrongKey
        | BackupError::WriteOnly { .. }
        | BackupError::TooNew { .. } => FaultReason::Invalid,
        _ => FaultReason::Internal,
    };
    Fault::new(reason, xenith_backup::error::chain(error))
}
