//! Move a VM to another host that reaches its disks: a running one with its memory, a stopped one by its definition.
//!
//! ```text
//! live: hold -> define -> stream -> filter -> activate | -> switch -> leave -> settle -> release
//! cold: hold -> define -> forget -> switch -> settle | -> release
//!
//! with disks that the new host does not reach:
//! live: hold -> define -> keep -> copy -> passes -> stream -> rest -> filter -> activate | -> … -> settle -> delete_old -> …
//! cold: hold -> define -> keep -> copy -> forget -> rest -> switch -> settle | -> delete_old -> release
//! ```
//!
//! Those disks are copied as [`super::mirror`] says. *rest* is what was written last: the VM stands, complete and paused on
//! the new host, suspended on the old one, and runs on where it was if anything fails. The old disks go when the VM has
//! left; until then the old host has everything that it needs to run it.
//!
//! The hosts send to each other. Until *activate* may have begun everything can be taken back, in an order that lets
//! nobody run the VM twice: the new host destroys its copy first, then the old one runs on. *activate* is the point of no
//! return: the new host may run the VM from then on, so whatever fails parks the saga, and a retry goes on. What each host
//! may do by itself is in `hypervisor-agent/src/migration.rs`; docs/adr/0066-hand-over.md has both sides of every crash.
//!
//! A host that cannot filter as the VM's NICs need it is told by *define*, before anything is copied. *filter* asks again:
//! rules change while memory is copied, and an orchestrator that was restarted knows of no host that a VM comes to.
//!
//! The new host gets the definition without autostart first, and with it when the VM is there: a host that boots in
//! between starts nothing that another one runs.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, OperationId, VdiId, VmId};
use xenith_common_pki::Peer;
use xenith_hypervisor_agent_api::{ArrivalCommand, Command, CommandResult, Exchanged, SendVm, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{FaultReason, Power, VmSpec};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::mirror::{self, Mirror, Mirrored, Mirrors, Side};
use super::{AGENT_RETURNS, Deps, TOLD_WITHIN, host_removed, nothing, step_error};
use crate::authn::{new_secret, secret_hash};
use crate::model::{SnapshotRecord, VmRecord};
use crate::snapshots;

#[derive(Clone)]
pub struct VmMigrate(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub vm: VmId,
    pub from: HostId,
    pub to: HostId,
    pub definition: u64,
    pub spec: VmSpec,
    /// The run that goes along; `None`: the VM is off.
    pub run: Option<IncarnationId>,
    /// Who signed the hosts' certificates.
    pub authority_pem: String,
    /// The disks that go along.
    #[serde(default)]
    pub mirror: Option<Mirror>,
}

impl Params {
    /// As the VM is on the new host.
    fn there(&self) -> (u64, VmSpec) {
        match &self.mirror {
            Some(mirror) => (self.definition + 1, mirror.with_new(&self.spec)),
            None => (self.definition, self.spec.clone()),
        }
    }

    /// Whether a disk of the VM, by either id, is one that goes along.
    fn goes(&self, vdi: VdiId) -> bool {
        let mut disks = self.mirror.iter().flat_map(|mirror| &mirror.disks);
        disks.any(|disk| disk.from.id == vdi || disk.to.vdi == vdi)
    }
}

impl Mirrors for VmMigrate {
    fn deps(&self) -> &Deps {
        &self.0
    }

    fn mirror(params: &Params) -> Option<&Mirror> {
        params.mirror.as_ref()
    }
}

/// A large guest over a slow network, that waits for its turn behind others.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// How long a ticket waits for its sender, which waits for its turn.
const IDLE: Duration = Duration::from_secs(86_400);
/// Three streams: a network that breaks twice in the life of one would not carry the next either.
const STREAMS: RetryPolicy =
    RetryPolicy { attempts: 3, first: Duration::from_secs(1), most: Duration::from_secs(8) };
/// A sender that is told to stop ends with the round of memory that it is at.
const SENDER_STOPS: RetryPolicy =
    RetryPolicy { attempts: 400, first: Duration::from_millis(500), most: Duration::from_secs(8) };

impl Saga for VmMigrate {
    const KIND: &'static str = "vm_migrate";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let mut steps = vec![
            Step::new("hold", nothing).undo(let_go),
            Step::new("define", define_for_arrival).undo(forget_there),
        ];
        let disks_go = params.mirror.is_some();
        match (disks_go, params.run) {
            (true, Some(_)) => steps.extend(mirror::while_it_runs()),
            (true, None) => steps.extend(mirror::first_copy()),
            (false, _) => {}
        }
        if params.run.is_some() {
            let stream = Step::new("stream", stream).undo(take_back);
            steps.push(stream.retry(STREAMS).undo_retry(SENDER_STOPS).deadline(PATIENCE));
            if disks_go {
                steps.push(mirror::rest());
            }
            steps.push(Step::new("filter", filter));
            let activate = Step::new("activate", activate).retry(AGENT_RETURNS);
            steps.push(activate.cannot_be_undone("the new host runs the VM, or may run it"));
            steps.push(Step::new("switch", switch));
            steps.push(Step::new("leave", leave).retry(AGENT_RETURNS));
        } else {
            // Asks the old host first: it refuses while there is a domain, whatever was heard of it.
            steps.push(Step::new("forget", forget_here).undo(define_here));
            if disks_go {
                steps.push(mirror::rest());
            }
            steps.push(Step::new("switch", switch).undo(switch_back));
        }
        steps.push(Step::new("settle", settle).retry(AGENT_RETURNS));
        if disks_go {
            let delete_old =
                Step::new("delete_old", delete_old).retry(mirror::AGAIN).deadline(mirror::LETS_GO);
            steps.push(delete_old.cannot_be_undone("the disks on the old host are gone"));
        }
        steps.push(Step::new("release", release).cannot_be_undone(super::RELEASED));
        steps
    }
}

async fn release(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    saga.0.release(ctx.params().vm, ctx.saga()).await?;
    Ok(())
}

async fn let_go(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    if ctx.params().mirror.is_some() { saga.0.erase_copies(ctx).await } else { release(saga, ctx).await }
}

/// With what was kept of them.
async fn delete_old(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    mirror::drop_kept(saga, ctx).await?;
    mirror::delete_old(saga, ctx).await
}

async fn define_for_arrival(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let Params { vm, to, run, .. } = ctx.params();
    if run.is_some() {
        filter(saga, ctx).await?;
    }
    let (definition, spec) = ctx.params().there();
    let quiet = VmSpec { autostart: None, ..spec };
    saga.0.define(ctx, (*to, *vm), definition, &quiet).await
}

/// Who looks right after the end finds the VM where it is: what hosts tell comes a moment after what they did.
async fn settle(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let Params { vm, to, .. } = ctx.params();
    let (definition, spec) = ctx.params().there();
    saga.0.define(ctx, (*to, *vm), definition, &spec).await?;
    let fleet = saga.0.fleet()?;
    let is_there = || {
        fleet
            .vm(*vm)
            .is_some_and(|(host, seen)| host == *to && !matches!(seen.power, Power::Paused | Power::Resuming))
    };
    let _told_later = fleet.wait_for(*vm, TOLD_WITHIN, |_| is_there()).await;
    Ok(())
}

async fn forget_there(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let Params { vm, to, .. } = ctx.params();
    saga.0.tell_vm(ctx, *to, *vm, VmAction::Forget).await.map(|_| ())
}

/// Each try with a new ticket, which is never written down. A sender of an earlier time is stopped by that, and its VM
/// runs on until it is sent anew; one that has sent everything says so, and nothing is sent again.
async fn stream(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let (deps, params) = (&saga.0, ctx.params());
    let Some(incarnation) = params.run else { return Ok(()) };
    let ticket = new_secret().map_err(|error| StepError::permanent(error.to_string()))?;
    let open =
        ArrivalCommand::Open { vm: params.vm, incarnation, ticket_hash: secret_hash(&ticket), idle: IDLE };
    let port = match deps.send_as(ctx, OperationId::new(), params.to, Command::Arrival(open)).await {
        Ok(CommandResult::ArrivalOpen(port)) => port,
        Ok(_) => return Err(StepError::permanent("the host answered something else")),
        Err(error) => return Err(error.map_or_else(|| host_removed(params.to), |error| step_error(&error))),
    };
    let record = deps.db.hosts.get(&params.to).await?.ok_or_else(|| host_removed(params.to))?.value;
    let order = SendVm {
        address: record.for_peers(port),
        server_name: Peer::Host(params.to).server_name().to_str().into_owned(),
        authority_pem: params.authority_pem.clone(),
        ticket,
        exchanged: params.mirror.iter().flat_map(|mirror| &mirror.disks).map(exchanged).collect(),
    };
    let command = Command::Vm { vm: params.vm, action: VmAction::Send(Box::new(order)) };
    deps.send_long_as(ctx, OperationId::new(), (params.from, command)).await.map(|_| ())
}

const fn exchanged(disk: &Mirrored) -> Exchanged {
    Exchanged { from: disk.from.id, to: disk.to.vdi }
}

/// The new host has the VM's rules.
async fn filter(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    saga.0.rules_first(ctx.params().to, ctx.params().vm).await
}

/// First the new host, then the old one: in between the VM is suspended, and runs nowhere.
async fn take_back(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let Params { vm, from, to, .. } = ctx.params();
    let close = Command::Arrival(ArrivalCommand::Close { vm: *vm });
    saga.0.again(ctx, "close the arrival", (*to, close)).await?;
    saga.0.destroy_if_there(ctx, "destroy what arrived", (*to, *vm)).await?;
    let take = Command::Vm { vm: *vm, action: VmAction::TakeBack };
    saga.0.again(ctx, "take it back", (*from, take)).await
}

/// Repeated under the same id: a guest that ran, and went down by itself before the answer was heard, was let run.
async fn activate(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let Params { vm, to, .. } = ctx.params();
    saga.0.tell_vm(ctx, *to, *vm, VmAction::Unpause).await.map(|_| ())
}

/// The old host has nothing of it any more.
async fn leave(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let Params { vm, from, .. } = ctx.params();
    saga.0.destroy_if_there(ctx, "destroy what was sent", (*from, *vm)).await?;
    forget_here(saga, ctx).await
}

async fn forget_here(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let Params { vm, from, .. } = ctx.params();
    saga.0.tell_vm(ctx, *from, *vm, VmAction::Forget).await.map(|_| ())
}

async fn define_here(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    let Params { vm, from, definition, spec, .. } = ctx.params();
    saga.0.define(ctx, (*from, *vm), *definition, spec).await
}

impl Deps {
    /// A command of its own within a step, under an id that stays the same.
    async fn again(
        &self,
        ctx: &StepCtx<VmMigrate>,
        purpose: &str,
        (host, command): (HostId, Command),
    ) -> Result<(), StepError> {
        let operation = OperationId::from_uuid(ctx.derived_uuid(purpose));
        match self.send_as(ctx, operation, host, command).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.map_or_else(|| host_removed(host), |error| step_error(&error))),
        }
    }

    /// A host that does not know the VM has nothing to destroy.
    async fn destroy_if_there(
        &self,
        ctx: &StepCtx<VmMigrate>,
        purpose: &str,
        (host, vm): (HostId, VmId),
    ) -> Result<(), StepError> {
        let operation = OperationId::from_uuid(ctx.derived_uuid(purpose));
        let command = Command::Vm { vm, action: VmAction::Destroy };
        match self.send_as(ctx, operation, host, command).await {
            Ok(_) => Ok(()),
            Err(Some(AgentClientError::Refused(fault))) if fault.reason == FaultReason::NotFound => Ok(()),
            Err(error) => Err(error.map_or_else(|| host_removed(host), |error| step_error(&error))),
        }
    }
}

async fn switch(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    place_at(saga, ctx, ctx.params().to, Side::New).await
}

async fn switch_back(saga: &VmMigrate, ctx: &StepCtx<VmMigrate>) -> Result<(), StepError> {
    place_at(saga, ctx, ctx.params().from, Side::Old).await
}

/// The VM is at `host`, and with it what is worked on where it is: its disks, its snapshots.
async fn place_at(
    saga: &VmMigrate,
    ctx: &StepCtx<VmMigrate>,
    host: HostId,
    side: Side,
) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let vm = params.vm;
    let Some(found) = db.vms.get(&vm).await? else { return Ok(()) };
    if found.value.held_by != Some(ctx.saga()) {
        return Ok(());
    }
    for snapshot in snapshots::of_vm(db, vm).await? {
        let moved = |record: &mut SnapshotRecord| record.host = host;
        db.snapshots.modify(&snapshot.key, moved).await?;
    }
    let mut placed = VmRecord { host, ..found.value.clone() };
    let mut commit = Transaction::new();
    if params.mirror.is_some() {
        (placed.definition, placed.spec) = match side {
            Side::New => params.there(),
            Side::Old => (params.definition, params.spec.clone()),
        };
        // Everything is put in one transaction: where the disks are placed, all is.
        match saga.0.put_disks(ctx, commit, side).await? {
            Some(with_disks) => commit = with_disks,
            None => return Ok(()),
        }
    }
    commit = db.vms.update_in(commit, &found, &placed);
    for disk in &placed.spec.disks {
        if !params.goes(disk.vdi)
            && let Some(vdi) = db.vdis.get(&disk.vdi).await?
        {
            let mut with_it = vdi.value.clone();
            with_it.host = host;
            commit = db.vdis.update_in(commit, &vdi, &with_it);
        }
    }
    db.store.commit(commit).await?;
    Ok(())
}
