//! Bring disks back: into new VDIs, with or without a new VM around them, or into the VDIs of a stopped VM.
//!
//! An *instant* restore starts the VM before its disks are there: they are served from the backup, and come in after the
//! VM was released. That is the point of no return; from there on the VM is like any other, and deleting it ends the
//! rest.
//!
//! Records of what is new are written in the transaction that starts the saga; a VM is held by it. Writing into the
//! disks of a VM that is there is the point of no return.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, IncarnationId, RepositoryId, VdiId, VmId};
use xenith_hypervisor_agent_api::VmAction;
use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupReply, InstantDisk, InstantUntil};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::backup_proof::{self, Proof};
use super::{Deps, NewVdi, nothing};
use crate::model::VmRecord;
use crate::records;

#[derive(Clone)]
pub struct BackupRestore(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub repository: RepositoryId,
    pub backup: String,
    pub host: HostId,
    /// Name in the backup and where it goes.
    pub disks: Vec<(String, VdiId)>,
    /// Those that have to be made.
    pub new_vdis: Vec<NewVdi>,
    pub vm: Option<Vm>,
    pub start: Option<IncarnationId>,
    /// Start before the disks are there.
    #[serde(default)]
    pub instant: bool,
    /// Of an instant one, bytes per second; 0 for no limit.
    #[serde(default)]
    pub bandwidth: u64,
    /// Only to see whether it boots: nothing stays.
    #[serde(default)]
    pub proof: Option<Proof>,
}

/// The VM around the disks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Vm {
    pub id: VmId,
    /// Of a new one; one that is there stays as it is.
    pub new: Option<VmRecord>,
}

pub(super) const PATIENT: RetryPolicy =
    RetryPolicy { attempts: 40, first: Duration::from_millis(500), most: Duration::from_secs(30) };

impl Saga for BackupRestore {
    const KIND: &'static str = "backup_restore";
    type Params = Params;

    fn steps(params: &Params) -> Vec<Step<Self>> {
        let week = Duration::from_secs(7 * 86_400);
        let mut steps = vec![Step::new("record", nothing).undo(erase)];
        for new in &params.new_vdis {
            steps.push(Step::new("disk", ensure_disk).undo(delete_disk).for_item(new.vdi.to_string()));
        }
        let over = params.new_vdis.is_empty();
        for (_, vdi) in &params.disks {
            if params.instant {
                let serve = Step::new("serve", serve).for_item(vdi.to_string());
                steps.push(serve.retry(PATIENT).deadline(Duration::from_secs(600)));
                continue;
            }
            let write = Step::new("write", write).for_item(vdi.to_string()).retry(PATIENT).deadline(week);
            steps.push(if over {
                write.cannot_be_undone("what the disk held before is gone")
            } else {
                write
            });
        }
        steps.extend(backup_proof::network_step(params));
        if params.vm.as_ref().is_some_and(|vm| vm.new.is_some()) {
            steps.push(Step::new("define", define).undo(forget));
        }
        if params.start.is_some() {
            steps.push(Step::new("start", start).undo(power_off));
        }
        if let Some(proof) = &params.proof {
            steps.extend(backup_proof::steps(params, proof));
            return steps;
        }
        if params.vm.is_some() {
            steps.push(Step::new("release", release).cannot_be_undone("the VM may be another operation's"));
        } else {
            steps.push(Step::new("whole", whole));
        }
        if params.instant {
            for (_, vdi) in &params.disks {
                let bring_in = Step::new("bring_in", bring_in).for_item(vdi.to_string());
                steps.push(bring_in.retry(PATIENT).deadline(week));
            }
        }
        steps
    }
}

async fn whole(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    for new in &ctx.params().new_vdis {
        saga.0.vdi_is_whole(new.vdi, ctx.saga()).await?;
    }
    Ok(())
}

pub(super) async fn erase(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let made: BTreeSet<VdiId> = params.new_vdis.iter().map(|new| new.vdi).collect();
    let mut erase = Transaction::new();
    match &params.vm {
        Some(Vm { id, new: Some(_) }) => {
            if let Some(record) = db.vms.get(id).await? {
                erase = db.vms.delete_in(erase, id);
                erase = records::follow(db, erase, *id, (Some(&record.value), None), &made).await?;
            }
        }
        Some(Vm { id, new: None }) => saga.0.release(*id, ctx.saga()).await?,
        None => {}
    }
    for vdi in &made {
        erase = db.vdis.delete_in(erase, vdi);
    }
    db.store.commit(erase).await?;
    Ok(())
}

async fn ensure_disk(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    saga.0.ensure_disk(ctx, ctx.params().host, &ctx.params().new_vdis).await
}

pub(super) async fn delete_disk(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    saga.0.delete_disk(ctx, ctx.params().host, &ctx.params().new_vdis).await
}

async fn write(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let params = ctx.params();
    let (disk, vdi) = disk(ctx)?;
    let access = saga.0.access(params.repository).await?;
    let backup = params.backup.clone();
    let command = BackupCommand::Restore { access, backup, disk, vdi };
    match saga.0.backup_command(ctx, params.host, command).await? {
        BackupReply::Restored { .. } => Ok(()),
        other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
    }
}

fn disk(ctx: &StepCtx<BackupRestore>) -> Result<(String, VdiId), StepError> {
    let wanted = ctx.item().unwrap_or_default();
    let found = ctx.params().disks.iter().find(|(_, vdi)| vdi.to_string() == wanted);
    found.cloned().ok_or_else(|| StepError::permanent("the step names a disk that is not in the parameters"))
}

async fn instant(
    saga: &BackupRestore,
    ctx: &StepCtx<BackupRestore>,
    until: InstantUntil,
) -> Result<BackupReply, StepError> {
    let params = ctx.params();
    let (disk, vdi) = disk(ctx)?;
    let access = saga.0.access(params.repository).await?;
    let disk =
        InstantDisk { access, backup: params.backup.clone(), disk, vdi, bandwidth: params.bandwidth, until };
    saga.0.backup_command(ctx, params.host, BackupCommand::Instant(disk)).await
}

/// Undone with the disk: a VDI that is deleted is served no longer.
async fn serve(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    match instant(saga, ctx, InstantUntil::Serving).await? {
        BackupReply::Serving => Ok(()),
        other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
    }
}

async fn bring_in(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let (_, vdi) = disk(ctx)?;
    if saga.0.db.vdis.get(&vdi).await?.is_none() {
        // It was deleted with its VM.
        return Ok(());
    }
    match instant(saga, ctx, InstantUntil::Complete).await {
        Ok(BackupReply::Restored { .. }) => Ok(()),
        Ok(other) => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
        Err(_) if saga.0.db.vdis.get(&vdi).await?.is_none() => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn vm(ctx: &StepCtx<BackupRestore>) -> Result<&Vm, StepError> {
    ctx.params().vm.as_ref().ok_or_else(|| StepError::permanent("no VM is among the parameters"))
}

async fn define(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let Vm { id, new: Some(record) } = vm(ctx)? else { return Ok(()) };
    let mut spec = record.spec.clone();
    spec.nics.extend(backup_proof::nic(ctx.params()));
    saga.0.define(ctx, (record.host, *id), record.definition, &spec).await
}

pub(super) async fn forget(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    saga.0.tell_vm(ctx, ctx.params().host, vm(ctx)?.id, VmAction::Forget).await.map(|_| ())
}

async fn start(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    let Some(incarnation) = ctx.params().start else { return Ok(()) };
    let (host, Vm { id, new }) = (ctx.params().host, vm(ctx)?);
    match new {
        Some(_) => saga.0.start_made(ctx, (host, *id), incarnation).await,
        None => saga.0.start(ctx, (host, *id), incarnation).await,
    }
}

pub(super) async fn power_off(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    saga.0.tell_vm(ctx, ctx.params().host, vm(ctx)?.id, VmAction::Destroy).await.map(|_| ())
}

async fn release(saga: &BackupRestore, ctx: &StepCtx<BackupRestore>) -> Result<(), StepError> {
    saga.0.release(vm(ctx)?.id, ctx.saga()).await?;
    Ok(())
}
