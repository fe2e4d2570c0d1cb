//! Disks of a running VM on their way to other SRs: copied as they are, then what changed, again and again, and the rest
//! while the VM stands.
//!
//! ```text
//! keep -> copy -> passes      while the VM runs
//! rest                       while it stands
//! ```
//!
//! What always holds: the VM runs on the disks that it has, which nothing here writes, until the saga that uses these
//! steps gives it the others. A copy is what the disk was at one of the snapshots that *keep* and the passes made; those
//! stay until all is over, so that a step which is done again brings the copy from the first of them to the last once
//! more. What is copied and kept goes when *copy* and *keep* are taken back.
//!
//! Xen's back-ends cannot mirror writes, and none is asked to: everything is made of snapshots and of what differs
//! between two of them (docs/adr/0083-moving-disks.md). [`passes`] says when it is enough.

pub mod passes;
mod records;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, OperationId, VdiId, VmId};
use xenith_common_pki::Peer;
use xenith_hypervisor_agent_api::{
    Command, CommandResult, ImportCommand, OpenUpload, SendVdi, StorageCommand, TransferCommand, VmAction,
};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{FaultReason, Quiesce, SnapshotOf};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::vdi::Vdi;

use super::{Deps, NewVdi, host_removed, step_error};
use crate::authn::{new_secret, secret_hash};
use passes::{Next, Pass};
pub(in crate::sagas) use records::Side;

/// Snapshots of a disk: before the first copy, before each pass, and before the rest.
pub const KEPT: usize = passes::MOST + 2;
const REST: usize = KEPT - 1;

/// A large disk over a slow network.
const PATIENCE: Duration = Duration::from_secs(7 * 86_400);
/// The mark on the receiving host goes on after all of these.
pub(super) const AGAIN: RetryPolicy =
    RetryPolicy { attempts: 30, first: Duration::from_secs(1), most: Duration::from_secs(60) };
/// For all of these, where a host is waited for that is at work for a try which was cut off: minutes, on a dead network.
pub(super) const LETS_GO: Duration = Duration::from_secs(3600);
/// The VM stands meanwhile. An agent that was restarted is back by then; for one that is not, the VM is let run on where
/// it was rather than waited for.
const BRIEFLY: RetryPolicy =
    RetryPolicy { attempts: 8, first: Duration::from_millis(500), most: Duration::from_secs(4) };
const BRIEF: Duration = Duration::from_secs(180);
/// Nothing came for so long: the sender is given up.
const IDLE: Duration = Duration::from_secs(3600);

/// What moves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mirror {
    pub vm: VmId,
    pub from: HostId,
    /// The same: to another SR of it.
    pub to: HostId,
    pub disks: Vec<Mirrored>,
    pub rest: Rest,
    /// Bytes of memory that are sent between the passes and the rest, while the VM runs on.
    pub memory: u64,
    /// Who signed the hosts' certificates.
    pub authority_pem: String,
    /// Bytes a second while the VM runs; 0: as fast as it goes.
    pub bandwidth: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mirrored {
    /// As it was when the move was asked for. The saga holds it meanwhile.
    pub from: Vdi,
    pub to: NewVdi,
    /// The ids of its snapshots: [`KEPT`].
    pub kept: Vec<VdiId>,
}

/// How the VM stands while the rest is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Its memory is saved on its host.
    Saved,
    /// Its memory is on the other host, where it is paused.
    Sent,
    /// It is off, and its host has forgotten it.
    Off,
}

impl Mirrored {
    #[must_use]
    pub fn new(from: Vdi, to: NewVdi) -> Self {
        Self { from, to, kept: (0..KEPT).map(|_| VdiId::new()).collect() }
    }

    fn kept(&self, number: usize) -> Result<VdiId, StepError> {
        let kept = self.kept.get(number).copied();
        kept.ok_or_else(|| StepError::permanent("this version makes more snapshots than that one planned"))
    }
}

/// A saga that has such steps. `None`: this one moves no disks.
pub trait Mirrors: Saga {
    fn deps(&self) -> &Deps;
    fn mirror(params: &Self::Params) -> Option<&Mirror>;
}

/// Everything that is done while the VM runs.
pub(super) fn while_it_runs<S: Mirrors>() -> Vec<Step<S>> {
    let mut steps = first_copy();
    steps.push(Step::new("passes", all_passes::<S>).retry(AGAIN).deadline(PATIENCE));
    steps
}

/// Of a VM that is off.
pub(super) fn first_copy<S: Mirrors>() -> Vec<Step<S>> {
    vec![
        Step::new("keep", keep::<S>).undo(drop_kept::<S>).undo_retry(AGAIN).deadline(LETS_GO),
        Step::new("copy", copy::<S>).undo(drop_copies::<S>).retry(AGAIN).undo_retry(AGAIN).deadline(PATIENCE),
    ]
}

/// What is done while it stands.
pub(super) fn rest<S: Mirrors>() -> Step<S> {
    Step::new("rest", copy_rest::<S>).retry(BRIEFLY).deadline(BRIEF)
}

fn mirror<S: Mirrors>(ctx: &StepCtx<S>) -> Result<&Mirror, StepError> {
    S::mirror(ctx.params()).ok_or_else(|| StepError::permanent("this move has no disks"))
}

async fn keep<S: Mirrors>(saga: &S, ctx: &StepCtx<S>) -> Result<(), StepError> {
    snapshot(saga, ctx, 0).await
}

/// Of all disks, at one instant.
async fn snapshot<S: Mirrors>(saga: &S, ctx: &StepCtx<S>, number: usize) -> Result<(), StepError> {
    let mirror = mirror(ctx)?;
    let mut disks = Vec::with_capacity(mirror.disks.len());
    for disk in &mirror.disks {
        disks.push(SnapshotOf { vdi: disk.from.id, snapshot: disk.kept(number)? });
    }
    let of_vm = |action| Command::Vm { vm: mirror.vm, action };
    let command = match (number, mirror.rest) {
        (REST, Rest::Sent) => of_vm(VmAction::SnapshotSent { disks }),
        (REST, Rest::Off) => Command::Storage(StorageCommand::Snapshot { disks }),
        _ => of_vm(VmAction::Snapshot { disks, quiesce: Quiesce::Never }),
    };
    once(saga, ctx, &format!("snapshot {number}"), (mirror.from, command)).await.map(drop)
}

/// Also at the end, when the VM has its new disks. A sender of a try that was cut off may still read them.
pub(super) async fn drop_kept<S: Mirrors>(saga: &S, ctx: &StepCtx<S>) -> Result<(), StepError> {
    let mirror = mirror(ctx)?;
    for disk in &mirror.disks {
        for kept in &disk.kept {
            let discarded = saga.deps().discard_snapshot(ctx, mirror.from, (*kept, disk.from.sr)).await?;
            discarded.or_again(&format!("what is kept of {}", disk.from.name))?;
        }
    }
    Ok(())
}

async fn drop_copies<S: Mirrors>(saga: &S, ctx: &StepCtx<S>) -> Result<(), StepError> {
    let mirror = mirror(ctx)?;
    for disk in &mirror.disks {
        if mirror.from != mirror.to {
            close(saga, ctx, disk).await?;
        }
        // Who was told to write it, and whom nobody waits for any more, comes to an end.
        let discarded = saga.deps().discard_snapshot(ctx, mirror.to, (disk.to.vdi, disk.to.sr)).await?;
        discarded.or_again(&format!("the copy of {}", disk.from.name))?;
    }
    Ok(())
}

/// The old ones, when the VM has the new ones and nothing of the old host uses them any more.
pub(super) async fn delete_old<S: Mirrors>(saga: &S, ctx: &StepCtx<S>) -> Result<(), StepError> {
    let mirror = mirror(ctx)?;
    for disk in &mirror.disks {
        saga.deps().delete_snapshot(ctx, mirror.from, (disk.from.id, disk.from.sr)).await?;
    }
    Ok(())
}

async fn copy<S: Mirrors>(saga: &S, ctx: &StepCtx<S>) -> Result<Pass, StepError> {
    let (deps, mirror, began) = (saga.deps(), mirror(ctx)?, Instant::now());
    for disk in &mirror.disks {
        let (from, to, bandwidth) = (disk.kept(0)?, &disk.to, mirror.bandwidth);
        let started = Instant::now();
        if mirror.from == mirror.to {
            let copy = TransferCommand::Copy { from, to: to.vdi, sr: to.sr, size: to.size, bandwidth };
            let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("copy {from}")));
            deps.send_long_as(ctx, operation, (mirror.from, Command::Transfer(copy))).await?;
            note_rate(saga, ctx, disk, started)?;
            continue;
        }
        let make = Command::EnsureVdi { vdi: to.vdi, sr: to.sr, size: to.size };
        once(saga, ctx, &format!("make {}", to.vdi), (mirror.to, make)).await?;
        if let Some(port) = open(saga, ctx, disk, Under::Nobody).await? {
            let order = order(saga, ctx, (disk, from), port).await?;
            let command = Command::Transfer(TransferCommand::Send(order));
            // The same id each time: after a restart of ours the sender of before is joined. With a new one it would be in
            // the way of the next until it is done, and a disk that takes hours would be given up over that.
            let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("send {from}")));
            deps.send_long_as(ctx, operation, (mirror.from, command)).await?;
            note_rate(saga, ctx, disk, started)?;
        }
    }
    // Not before all are whole: a step that is done again asks each how far it is.
    for disk in &mirror.disks {
        if mirror.from != mirror.to {
            close(saga, ctx, disk).await?;
        }
    }
    let bytes = mirror.disks.iter().map(|disk| disk.to.size.bytes()).sum();
    Ok(Pass { bytes, milliseconds: milliseconds(began) })
}

/// What changed since the pass before, until what is left is little enough for the VM to stand for it. Returns which
/// snapshot the copies are of.
async fn all_passes<S: Mirrors>(saga: &S, ctx: &StepCtx<S>) -> Result<usize, StepError> {
    let Mirror { vm, bandwidth, memory, .. } = mirror(ctx)?;
    let mut passes: Vec<Pass> = vec![ctx.output("copy")?];
    for number in 1..=passes::MOST {
        let (began, before) = (Instant::now(), is_kept(saga, ctx, number).await?);
        snapshot(saga, ctx, number).await?;
        let bytes = changes(saga, ctx, (number - 1, number), *bandwidth).await?;
        passes.push(Pass { bytes, milliseconds: milliseconds(began) });
        // A pass of before a crash says nothing about what the guest has written since.
        if before == Before::Kept {
            continue;
        }
        tracing::info!(%vm, number, bytes, "what changed was copied");
        match passes::next(&passes, *memory) {
            Next::HandOver => return Ok(number),
            Next::Never => break,
            Next::Again => {}
        }
    }
    Err(StepError::permanent(passes::hopeless(&passes, *memory)))
}

/// Whether a run of this step that was cut off has made a snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Kept,
    Nothing,
}

/// Asked is whether it may be read.
async fn is_kept<S: Mirrors>(saga: &S, ctx: &StepCtx<S>, number: usize) -> Result<Before, StepError> {
    let mirror = mirror(ctx)?;
    let Some(disk) = mirror.disks.first() else { return Ok(Before::Nothing) };
    let vdi = disk.kept(number)?;
    let ticket = new_secret().map_err(|error| StepError::permanent(error.to_string()))?;
    // Nobody comes with it.
    let idle = Duration::from_secs(1);
    let open = TransferCommand::OpenDownload { vdi, ticket_hash: secret_hash(&ticket), idle };
    match saga.deps().send_as(ctx, OperationId::new(), mirror.from, Command::Transfer(open)).await {
        Ok(_) => Ok(Before::Kept),
        Err(Some(AgentClientError::Refused(fault))) if fault.reason == FaultReason::NotFound => {
            Ok(Before::Nothing)
        }
        Err(error) => Err(error.map_or_else(|| host_removed(mirror.from), |error| step_error(&error))),
    }
}

async fn copy_rest<S: Mirrors>(saga: &S, ctx: &StepCtx<S>) -> Result<Pass, StepError> {
    let began = Instant::now();
    // Of a VM that is off the whole copy is the last one.
    let last = ctx.output_if_any("passes").unwrap_or(0);
    snapshot(saga, ctx, REST).await?;
    let bytes = changes(saga, ctx, (last, REST), 0).await?;
    Ok(Pass { bytes, milliseconds: milliseconds(began) })
}

/// Brings every copy from one snapshot to a later one. Returns how much that was.
async fn changes<S: Mirrors>(
    saga: &S,
    ctx: &StepCtx<S>,
    (base, new): (usize, usize),
    bandwidth: u64,
) -> Result<u64, StepError> {
    let (deps, mirror) = (saga.deps(), mirror(ctx)?);
    let mut bytes = 0;
    for disk in &mirror.disks {
        let (base, from) = (disk.kept(base)?, disk.kept(new)?);
        let command = if mirror.from == mirror.to {
            TransferCommand::Patch { from, base, to: disk.to.vdi, bandwidth }
        } else {
            let under = if new == REST && mirror.rest == Rest::Sent { Under::ItsVm } else { Under::Nobody };
            // Who sends still, for a try that was cut off, is let send no more.
            close(saga, ctx, disk).await?;
            let port = open(saga, ctx, disk, under).await?;
            let port = port.ok_or_else(|| StepError::retryable("the copy before is not closed yet"))?;
            let send = order(saga, ctx, (disk, from), port).await?;
            TransferCommand::SendChanges { send: SendVdi { bandwidth, ..send }, base }
        };
        let command = (mirror.from, Command::Transfer(command));
        // Each time anew: an earlier change that is done again without those that followed it would undo them.
        match deps.send_long_as(ctx, OperationId::new(), command).await? {
            CommandResult::Copied(copied) => bytes += copied,
            other => {
                return Err(StepError::permanent(format!("the host answered something else: {other:?}")));
            }
        }
        if mirror.from != mirror.to {
            close(saga, ctx, disk).await?;
        }
    }
    Ok(bytes)
}

/// Who may have a copy open while it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Nobody,
    ItsVm,
}

/// The right to write a copy, and where. `None`: all of it came.
async fn open<S: Mirrors>(
    saga: &S,
    ctx: &StepCtx<S>,
    disk: &Mirrored,
    under: Under,
) -> Result<Option<(u16, String)>, StepError> {
    let mirror = mirror(ctx)?;
    let ticket = new_secret().map_err(|error| StepError::permanent(error.to_string()))?;
    let open = OpenUpload {
        vdi: disk.to.vdi,
        sr: disk.to.sr,
        size: disk.to.size,
        capacity: disk.to.size.bytes(),
        ticket_hash: secret_hash(&ticket),
        idle: IDLE,
        under: (under == Under::ItsVm).then_some(mirror.vm),
    };
    let command = Command::Import(ImportCommand::OpenUpload(open));
    match saga.deps().send_as(ctx, OperationId::new(), mirror.to, command).await {
        Ok(CommandResult::UploadOpen(open)) => Ok((!open.progress.whole).then_some((open.port, ticket))),
        Ok(_) => Err(StepError::permanent("the host answered something else")),
        Err(error) => Err(error.map_or_else(|| host_removed(mirror.to), |error| step_error(&error))),
    }
}

/// What the other host knows of an upload is of no use any more.
async fn close<S: Mirrors>(saga: &S, ctx: &StepCtx<S>, disk: &Mirrored) -> Result<(), StepError> {
    let (host, command) = (mirror(ctx)?.to, Command::Import(ImportCommand::CloseUpload(disk.to.vdi)));
    match saga.deps().send_as(ctx, OperationId::new(), host, command).await {
        Ok(_) | Err(None) => Ok(()),
        Err(Some(error)) => Err(step_error(&error)),
    }
}

async fn order<S: Mirrors>(
    saga: &S,
    ctx: &StepCtx<S>,
    (disk, contents): (&Mirrored, VdiId),
    (port, ticket): (u16, String),
) -> Result<SendVdi, StepError> {
    let mirror = mirror(ctx)?;
    let record = saga.deps().db.hosts.get(&mirror.to).await?.ok_or_else(|| host_removed(mirror.to))?;
    Ok(SendVdi {
        vdi: contents,
        to: disk.to.vdi,
        address: record.value.for_peers(port),
        server_name: Peer::Host(mirror.to).server_name().to_str().into_owned(),
        authority_pem: mirror.authority_pem.clone(),
        ticket,
        bandwidth: mirror.bandwidth,
    })
}

/// A command of its own within a step, under an id that stays the same.
async fn once<S: Mirrors>(
    saga: &S,
    ctx: &StepCtx<S>,
    purpose: &str,
    (host, command): (HostId, Command),
) -> Result<CommandResult, StepError> {
    let operation = OperationId::from_uuid(ctx.derived_uuid(purpose));
    let answer = saga.deps().send_as(ctx, operation, host, command).await;
    answer.map_err(|error| error.map_or_else(|| host_removed(host), |error| step_error(&error)))
}

/// For the next plan. One that was limited, or goes on from where another try was, says nothing.
fn note_rate<S: Mirrors>(
    saga: &S,
    ctx: &StepCtx<S>,
    disk: &Mirrored,
    began: Instant,
) -> Result<(), StepError> {
    if mirror(ctx)?.bandwidth == 0 && ctx.attempt() == 1 {
        let took = (disk.to.size.bytes(), milliseconds(began));
        saga.deps().imports.note_copy((disk.from.sr, disk.to.sr), took);
    }
    Ok(())
}

fn milliseconds(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
