//! Make a VM whose disks somebody sends to its host.
//!
//! The long step is `receive`: it tells the host which ticket opens which VDI, again and again, so that a host or an
//! orchestrator that restarts goes on by itself, and ends when every disk is whole.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xenith_common_ids::{ImportId, IncarnationId, OperationId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, ImportCommand, OpenUpload, VmAction};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_types::import::ImportPhase;

use super::super::{Deps, NewVdi, host_removed, nothing, step_error};
use super::guest::Guest;
use crate::model::{ImportDiskRecord, ImportRecord, VmRecord};

#[derive(Clone)]
pub struct ImportUpload(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UploadParams {
    pub import: ImportId,
    pub vm: VmId,
    pub record: VmRecord,
    pub new_vdis: Vec<NewVdi>,
    /// Make its guest ready to boot here.
    #[serde(default)]
    pub prepare: bool,
    /// Start it when it is whole.
    pub start: bool,
}

/// An upload of weeks is a mistake.
const DEADLINE: Duration = Duration::from_secs(14 * 86_400);
/// Nothing came for so long: it is given up.
const IDLE: Duration = Duration::from_secs(86_400);
const ROUND: Duration = Duration::from_secs(1);
/// A host that is rebooted is back within these.
const PATIENT: RetryPolicy =
    RetryPolicy { attempts: 60, first: Duration::from_secs(1), most: Duration::from_secs(60) };

impl Saga for ImportUpload {
    const KIND: &'static str = "import_upload";
    type Params = UploadParams;

    fn steps(params: &UploadParams) -> Vec<Step<Self>> {
        let mut steps = vec![Step::new("record", nothing).undo(erase)];
        for new in &params.new_vdis {
            steps.push(Step::new("disk", ensure_disk).undo(delete_disk).for_item(new.vdi.to_string()));
        }
        steps.push(Step::new("receive", receive).undo(close).deadline(DEADLINE).retry(PATIENT));
        if params.prepare {
            steps.push(Step::new("prepare", prepare).undo(forget_helper).deadline(DEADLINE).retry(PATIENT));
        }
        steps.push(Step::new("define", define).undo(forget));
        if params.start {
            steps.push(Step::new("start", start).undo(power_off));
        }
        steps.push(Step::new("release", release).cannot_be_undone(super::super::RELEASED));
        steps
    }
}

async fn erase(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    let params = ctx.params();
    let made: BTreeSet<_> = params.new_vdis.iter().map(|new| new.vdi).collect();
    saga.0.erase_vm(params.vm, &made).await?;
    saga.0.imports.forget(params.import);
    saga.0.import_phase(params.import, ImportPhase::RolledBack).await?;
    Ok(())
}

async fn ensure_disk(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    saga.0.ensure_disk(ctx, ctx.params().record.host, &ctx.params().new_vdis).await
}

async fn delete_disk(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    saga.0.delete_disk(ctx, ctx.params().record.host, &ctx.params().new_vdis).await
}

async fn receive(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    let (deps, import) = (&saga.0, ctx.params().import);
    deps.import_phase(import, ImportPhase::Uploading).await?;
    let mut heard = Instant::now();
    let mut before = 0;
    loop {
        // Before the record is read: a ticket that is issued now is not slept over.
        let nudged = deps.imports.nudged();
        let record = deps.import(import).await?;
        let (done, whole) = round(deps, ctx, &record).await?;
        if whole {
            return Ok(());
        }
        if done != before {
            (heard, before) = (Instant::now(), done);
        } else if heard.elapsed() > IDLE {
            return Err(StepError::permanent("nothing was sent for a day"));
        }
        tell(ctx, &record, done);
        tokio::select! {
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
            () = nudged => {}
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

/// Tells the host the tickets; returns the bytes that came in all, and whether that is everything.
async fn round(
    deps: &Deps,
    ctx: &StepCtx<ImportUpload>,
    record: &ImportRecord,
) -> Result<(u64, bool), StepError> {
    let UploadParams { import, new_vdis, .. } = ctx.params();
    let srs: HashMap<_, _> = new_vdis.iter().map(|new| (new.vdi, new.sr)).collect();
    let (mut done, mut whole) = (0, true);
    for disk in &record.disks {
        let sr =
            *srs.get(&disk.vdi).ok_or_else(|| StepError::permanent("a disk is not in the parameters"))?;
        let open = open_upload(disk, sr, record.ticket_hash.clone());
        // Never the same question twice: the answer changes.
        let operation = OperationId::new();
        let command = Command::Import(ImportCommand::OpenUpload(open));
        let answer = deps.send_as(ctx, operation, record.host, command).await;
        let open = match answer {
            Ok(CommandResult::UploadOpen(open)) => open,
            Ok(_) => return Err(StepError::permanent("the host answered something else")),
            Err(error) => {
                return Err(error.map_or_else(|| host_removed(record.host), |error| step_error(&error)));
            }
        };
        deps.imports.set_port(record.host, open.port);
        deps.imports.set(*import, disk.vdi, open.progress.done);
        done += open.progress.done;
        whole &= open.progress.whole;
    }
    Ok((done, whole))
}

fn open_upload(disk: &ImportDiskRecord, sr: xenith_common_ids::SrId, ticket: Option<String>) -> OpenUpload {
    OpenUpload {
        vdi: disk.vdi,
        sr,
        size: disk.size,
        capacity: disk.capacity,
        // Nothing has this hash: no ticket was issued yet.
        ticket_hash: ticket.unwrap_or_default(),
        idle: IDLE,
        under: None,
    }
}

fn tell(ctx: &StepCtx<ImportUpload>, record: &ImportRecord, done: u64) {
    let total: u64 = record.disks.iter().map(|disk| disk.capacity).sum();
    let percent = u8::try_from(done * 100 / total.max(1)).unwrap_or(100);
    ctx.progress(percent, format!("{} of {} MiB are here", done >> 20, total >> 20));
}

async fn close(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    close_all(&saga.0, ctx, ctx.params().record.host).await
}

async fn close_all(
    deps: &Deps,
    ctx: &StepCtx<ImportUpload>,
    host: xenith_common_ids::HostId,
) -> Result<(), StepError> {
    for new in &ctx.params().new_vdis {
        let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("close {}", new.vdi)));
        let command = Command::Import(ImportCommand::CloseUpload(new.vdi));
        match deps.send_as(ctx, operation, host, command).await {
            Ok(_) => {}
            Err(error) => return Err(error.map_or_else(|| host_removed(host), |error| step_error(&error))),
        }
    }
    Ok(())
}

fn guest(ctx: &StepCtx<ImportUpload>) -> Guest<'_> {
    let UploadParams { import, record, new_vdis, .. } = ctx.params();
    Guest { import: *import, record, new_vdis }
}

async fn prepare(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    guest(ctx).prepare(&saga.0, ctx).await
}

async fn forget_helper(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    guest(ctx).forget(&saga.0, ctx).await
}

async fn define(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    let UploadParams { import, vm, record, .. } = ctx.params();
    saga.0.import_phase(*import, ImportPhase::Finishing).await?;
    // What the host knows of the uploads is of no use any more.
    close_all(&saga.0, ctx, record.host).await?;
    saga.0.define(ctx, (record.host, *vm), record.definition, &record.spec).await
}

async fn forget(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    let UploadParams { vm, record, .. } = ctx.params();
    saga.0.tell_vm(ctx, record.host, *vm, VmAction::Forget).await.map(|_| ())
}

async fn start(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    let UploadParams { vm, record, .. } = ctx.params();
    let incarnation = IncarnationId::from_uuid(ctx.derived_uuid("incarnation"));
    saga.0.start_made(ctx, (record.host, *vm), incarnation).await
}

async fn power_off(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    let UploadParams { vm, record, .. } = ctx.params();
    saga.0.tell_vm(ctx, record.host, *vm, VmAction::Destroy).await.map(|_| ())
}

async fn release(saga: &ImportUpload, ctx: &StepCtx<ImportUpload>) -> Result<(), StepError> {
    let UploadParams { import, vm, .. } = ctx.params();
    saga.0.release(*vm, ctx.saga()).await?;
    saga.0.imports.forget(*import);
    saga.0.import_phase(*import, ImportPhase::Done).await?;
    Ok(())
}
