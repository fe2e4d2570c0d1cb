//! Copy a VDI to any SR of any host, or move it there. The hosts send to each other.
//!
//! ```text
//! copy: record -> [snapshot] -> disk, or disk + send -> [drop_snapshot] -> whole
//! move: record -> disk, or disk + send -> switch -> [define] -> delete_old
//! ```
//!
//! The record of the new VDI is written in the transaction that starts the saga. A move is a copy that takes the old
//! one's place: *switch* is its commit point, before which the old VDI is what it was, and behind which the new one
//! is. Of a VM that is up a snapshot is copied, and of one that is off where the copy goes to another host: between two
//! tries of the sending nobody keeps the VM from being started. Only a VM that is off is moved, and it is held meanwhile.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, OperationId, TaskId, VdiId, VmId};
use xenith_common_pki::Peer;
use xenith_hypervisor_agent_api::{
    Command, CommandResult, ImportCommand, OpenUpload, SendVdi, TransferCommand,
};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{FaultReason, SnapshotOf, VmSpec};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::{Expect, Revision, Transaction};
use xenith_orchestrator_types::vdi::Vdi;

use super::{Deps, NewVdi, host_removed, nothing, step_error};
use crate::authn::{new_secret, secret_hash};
use crate::model::VmRecord;

#[derive(Clone)]
pub struct VdiCopy(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    /// As it was when the copy was asked for.
    pub from: Vdi,
    /// A VM that has it open, and the id that its contents are kept as for the copy.
    pub snapshot: Option<(VmId, VdiId)>,
    pub to: NewVdi,
    pub host: HostId,
    /// Who signed the hosts' certificates.
    pub authority_pem: String,
    pub moved: Option<Moved>,
    /// The revision of the record of `from` then: who attached it, wrote to it and detached it again left a record that
    /// looks the same.
    #[serde(default)]
    pub revision: Option<Revision>,
    /// Bytes a second; 0: as fast as it goes.
    #[serde(default)]
    pub bandwidth: u64,
}

/// The new VDI takes the old one's place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Moved {
    /// Whose disk it is, with the definition that it has now.
    pub vm: Option<(VmId, u64, VmSpec)>,
}

/// The mark on the receiving host goes on after all of these.
const AGAIN: RetryPolicy =
    RetryPolicy { attempts: 30, first: Duration::from_secs(1), most: Duration::from_secs(60) };
const PATIENCE: Duration = Duration::from_secs(7 * 86_400);
/// Nothing came for so long: the sender is given up.
const IDLE: Duration = Duration::from_secs(3600);

impl Params {
    fn stays_on_its_host(&self) -> bool {
        self.host == self.from.host
    }

    fn source(&self) -> VdiId {
        self.snapshot.map_or(self.from.id, |(_, snapshot)| snapshot)
    }

    fn held(&self) -> Option<VmId> {
        self.moved.as_ref().and_then(|moved| moved.vm.as_ref()).map(|(vm, ..)| *vm)
    }
}

impl Saga for VdiCopy {
    const KIND: &'static str = "vdi_copy";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("record", nothing).undo(erase)];
        if params.snapshot.is_some() {
            steps.push(Step::new("snapshot", snapshot).undo(drop_snapshot));
        }
        if params.stays_on_its_host() {
            steps.push(Step::new("disk", copy_here).undo(delete_new).deadline(PATIENCE));
        } else {
            steps.push(Step::new("disk", ensure_new).undo(delete_new));
            steps.push(Step::new("send", send).undo(close).retry(AGAIN).deadline(PATIENCE));
            steps.push(Step::new("close", close));
        }
        if params.snapshot.is_some() {
            steps.push(Step::new("drop_snapshot", drop_snapshot));
        }
        let Some(moved) = &params.moved else {
            steps.push(Step::new("whole", whole));
            return steps;
        };
        steps.push(Step::new("switch", switch).undo(switch_back));
        if moved.vm.is_some() {
            steps.push(Step::new("define", define).undo(define_old));
        }
        steps.push(Step::new("delete_old", delete_old).cannot_be_undone("the old VDI is gone"));
        if moved.vm.is_some() {
            steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        }
        steps
    }
}

async fn whole(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let params = ctx.params();
    // Between two tries of the sending nobody held what no VM had.
    if params.snapshot.is_none() && !params.stays_on_its_host() {
        let now = saga.0.db.vdis.get(&params.from.id).await?.map(|found| found.revision);
        if params.revision.is_some() && params.revision != now {
            let name = &params.from.name;
            let problem = format!("VDI {name} was changed or deleted while it was copied; copy it again");
            return Err(StepError::permanent(problem));
        }
    }
    saga.0.vdi_is_whole(ctx.params().to.vdi, ctx.saga()).await
}

async fn erase(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    db.store.commit(db.vdis.delete_in(Transaction::new(), &params.to.vdi)).await?;
    if let Some(vm) = params.held() {
        saga.0.release(vm, ctx.saga()).await?;
    }
    Ok(())
}

async fn snapshot(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let Params { from, snapshot: Some((vm, snapshot)), .. } = ctx.params() else { return Ok(()) };
    let disks = vec![SnapshotOf { vdi: from.id, snapshot: *snapshot }];
    saga.0.snapshot_disks(ctx, (from.host, *vm), disks).await.map(drop)
}

async fn drop_snapshot(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let Params { from, snapshot: Some((_, snapshot)), .. } = ctx.params() else { return Ok(()) };
    saga.0.delete_snapshot(ctx, from.host, (*snapshot, from.sr)).await
}

async fn copy_here(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let params = ctx.params();
    let Params { from, to, .. } = params;
    if to.sr == from.sr {
        let to = NewVdi { from: Some(params.source()), ..to.clone() };
        return saga.0.ensure_vdi(ctx, from.host, &to).await;
    }
    let copy = TransferCommand::Copy {
        from: params.source(),
        to: to.vdi,
        sr: to.sr,
        size: to.size,
        bandwidth: params.bandwidth,
    };
    saga.0.send_long(ctx, from.host, Command::Transfer(copy)).await.map(|_| ())
}

async fn ensure_new(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let Params { host, to, .. } = ctx.params();
    saga.0.ensure_vdi(ctx, *host, to).await
}

/// A host that fills it still, as it was told before a restart of ours, stops when it is asked for this, and has let go of it
/// a moment later.
async fn delete_new(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let Params { host, to, .. } = ctx.params();
    saga.0.discard_snapshot(ctx, *host, (to.vdi, to.sr)).await?.or_again(&to.name)?;
    saga.0.delete_vdi(ctx, *host, (to.vdi, to.sr)).await
}

/// Each time with a new ticket, which is never written down: a sender of an earlier time goes on with its own until
/// it is done or breaks, and the mark says where. It is joined, as it was told under the same operation id: it would be in
/// the way of another one for longer than this step is tried again.
async fn send(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let (deps, params) = (&saga.0, ctx.params());
    let ticket = new_secret().map_err(|error| StepError::permanent(error.to_string()))?;
    let open = OpenUpload {
        vdi: params.to.vdi,
        sr: params.to.sr,
        size: params.to.size,
        capacity: params.to.size.bytes(),
        ticket_hash: secret_hash(&ticket),
        idle: IDLE,
        under: None,
    };
    let command = Command::Import(ImportCommand::OpenUpload(open));
    let answer = deps.send_as(ctx, OperationId::new(), params.host, command).await;
    let open = match answer {
        Ok(CommandResult::UploadOpen(open)) => open,
        Ok(_) => return Err(StepError::permanent("the host answered something else")),
        Err(error) => return Err(error.map_or_else(|| host_removed(params.host), |error| step_error(&error))),
    };
    if open.progress.whole {
        return Ok(());
    }
    let record = deps.db.hosts.get(&params.host).await?.ok_or_else(|| host_removed(params.host))?.value;
    let order = SendVdi {
        vdi: params.source(),
        to: params.to.vdi,
        address: record.for_peers(open.port),
        server_name: Peer::Host(params.host).server_name().to_str().into_owned(),
        authority_pem: params.authority_pem.clone(),
        ticket,
        bandwidth: params.bandwidth,
    };
    let command = Command::Transfer(TransferCommand::Send(order));
    deps.send_long(ctx, params.from.host, command).await.map(|_| ())
}

/// What the receiver knows of the upload is of no use any more.
async fn close(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let Params { host, to, .. } = ctx.params();
    let command = Command::Import(ImportCommand::CloseUpload(to.vdi));
    saga.0.send(ctx, *host, command).await.map(|_| ())
}

fn with_disk(spec: &VmSpec, from: VdiId, to: VdiId) -> VmSpec {
    let mut spec = spec.clone();
    for disk in spec.disks.iter_mut().filter(|disk| disk.vdi == from) {
        disk.vdi = to;
    }
    spec
}

/// The records say the new VDI, under the name and at the VM of the old one. Nobody holds a VDI that no VM has: who
/// had it meanwhile, or made it larger, keeps it where it is.
async fn switch(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let (db, Params { from, to, host, revision, .. }) = (&saga.0.db, ctx.params());
    // It is switched already.
    let Some(old) = db.vdis.get(&from.id).await? else { return Ok(()) };
    if old.value != *from || revision.is_some_and(|revision| revision != old.revision) {
        let problem = format!("VDI {} was changed while it was copied; it stays where it is", from.name);
        return Err(StepError::permanent(problem));
    }
    // One that no VM has is nobody's before the old one is gone: until then the way back deletes it.
    let held_by = ctx.params().held().is_none().then(|| TaskId::from_bytes(*ctx.saga().as_bytes()));
    let new = Vdi { id: to.vdi, size: to.size, sr: to.sr, host: *host, held_by, ..from.clone() };
    let commit = db.vdis.require_in(Transaction::new(), &from.id, Expect::At(old.revision));
    let commit = db.vdis.put_in(db.vdis.delete_in(commit, &from.id), &to.vdi, &new);
    let commit = redefine(saga, ctx, commit, (to.vdi, 1)).await?;
    db.store.commit(commit).await?;
    Ok(())
}

async fn switch_back(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let (db, Params { from, to, host, .. }) = (&saga.0.db, ctx.params());
    // It was not switched, or is back already.
    if db.vdis.get(&from.id).await?.is_some() {
        return Ok(());
    }
    let held_by = Some(TaskId::from_bytes(*ctx.saga().as_bytes()));
    let new =
        Vdi { id: to.vdi, size: to.size, sr: to.sr, host: *host, attached_to: None, held_by, ..from.clone() };
    let commit = db.vdis.insert_in(Transaction::new(), &from.id, from);
    let commit = db.vdis.put_in(commit, &to.vdi, &new);
    let commit = redefine(saga, ctx, commit, (from.id, 2)).await?;
    db.store.commit(commit).await?;
    Ok(())
}

/// Definitions only go up: the way back is the second step from where the saga began.
async fn redefine(
    saga: &VdiCopy,
    ctx: &StepCtx<VdiCopy>,
    commit: Transaction,
    (disk, steps): (VdiId, u64),
) -> Result<Transaction, StepError> {
    let (db, Params { from, moved, .. }) = (&saga.0.db, ctx.params());
    let Some((vm, definition, spec)) = moved.as_ref().and_then(|moved| moved.vm.as_ref()) else {
        return Ok(commit);
    };
    match db.vms.get(vm).await? {
        Some(found) if found.value.held_by == Some(ctx.saga()) => {
            let spec = with_disk(spec, from.id, disk);
            let changed = VmRecord { spec, definition: definition + steps, ..found.value.clone() };
            Ok(db.vms.update_in(commit, &found, &changed))
        }
        _ => Ok(commit),
    }
}

async fn define(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let Params { from, to, .. } = ctx.params();
    define_as(saga, ctx, (from.id, to.vdi), 1).await?;
    old_is_closed(saga, ctx).await
}

/// A host that went down after the copy starts the VM by itself when it is back, with the old VDI: what that writes would
/// go with it. From the definition on a start takes the new one, so who has the old one open now has it since before, and
/// the move is taken back. Asked is whether it may be read.
async fn old_is_closed(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let (deps, from) = (&saga.0, &ctx.params().from);
    let ticket = new_secret().map_err(|error| StepError::permanent(error.to_string()))?;
    let open = TransferCommand::OpenDownload {
        vdi: from.id,
        ticket_hash: secret_hash(&ticket),
        // Nobody comes with it.
        idle: Duration::from_secs(1),
    };
    match deps.send_as(ctx, OperationId::new(), from.host, Command::Transfer(open)).await {
        Ok(_) => Ok(()),
        Err(Some(AgentClientError::Refused(fault))) if fault.reason == FaultReason::WrongState => {
            let problem =
                format!("VDI {} was opened after it was copied, and stays where it is: {fault}", from.name);
            Err(StepError::permanent(problem))
        }
        Err(error) => Err(error.map_or_else(|| host_removed(from.host), |error| step_error(&error))),
    }
}

async fn define_old(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let from = ctx.params().from.id;
    define_as(saga, ctx, (from, from), 2).await
}

async fn define_as(
    saga: &VdiCopy,
    ctx: &StepCtx<VdiCopy>,
    (from, to): (VdiId, VdiId),
    steps: u64,
) -> Result<(), StepError> {
    let Params { from: old, moved: Some(Moved { vm: Some((vm, definition, spec)) }), .. } = ctx.params()
    else {
        return Ok(());
    };
    saga.0.define(ctx, (old.host, *vm), definition + steps, &with_disk(spec, from, to)).await
}

async fn delete_old(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    let from = &ctx.params().from;
    saga.0.delete_vdi(ctx, from.host, (from.id, from.sr)).await?;
    if ctx.params().held().is_none() {
        saga.0.vdi_is_whole(ctx.params().to.vdi, ctx.saga()).await?;
    }
    Ok(())
}

async fn release(saga: &VdiCopy, ctx: &StepCtx<VdiCopy>) -> Result<(), StepError> {
    if let Some(vm) = ctx.params().held() {
        saga.0.release(vm, ctx.saga()).await?;
    }
    Ok(())
}
