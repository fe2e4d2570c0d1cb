//! Make a VDI whose contents somebody sends to its host.
//!
//! The record is written in the transaction that starts the saga. *receive* tells the host which ticket opens the
//! VDI, again and again, until everything came: a host or an orchestrator that restarts goes on by itself. Tickets
//! are not written down; after a restart of the orchestrator the sender asks for a new one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, OperationId};
use xenith_hypervisor_agent_api::{Command, CommandResult, ImportCommand, OpenUpload};
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;

use super::{Deps, NewVdi, host_removed, nothing, step_error};

#[derive(Clone)]
pub struct VdiUpload(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub host: HostId,
    pub vdi: NewVdi,
    /// Of what comes: at most the VDI's size.
    pub capacity: u64,
}

/// An upload of weeks is a mistake.
const DEADLINE: Duration = Duration::from_secs(14 * 86_400);
/// Nothing came for so long: it is given up.
const IDLE: Duration = Duration::from_secs(86_400);
const ROUND: Duration = Duration::from_secs(1);
const PATIENT: RetryPolicy =
    RetryPolicy { attempts: 60, first: Duration::from_secs(1), most: Duration::from_secs(60) };

impl Saga for VdiUpload {
    const KIND: &'static str = "vdi_upload";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("record", nothing).undo(erase),
            Step::new("disk", ensure).undo(delete),
            Step::new("receive", receive).undo(close).deadline(DEADLINE).retry(PATIENT),
            Step::new("close", close),
            Step::new("whole", whole),
        ]
    }
}

async fn erase(saga: &VdiUpload, ctx: &StepCtx<VdiUpload>) -> Result<(), StepError> {
    let (db, vdi) = (&saga.0.db, ctx.params().vdi.vdi);
    saga.0.imports.forget_ticket(vdi);
    db.store.commit(db.vdis.delete_in(Transaction::new(), &vdi)).await?;
    Ok(())
}

async fn ensure(saga: &VdiUpload, ctx: &StepCtx<VdiUpload>) -> Result<(), StepError> {
    saga.0.ensure_vdi(ctx, ctx.params().host, &ctx.params().vdi).await
}

async fn delete(saga: &VdiUpload, ctx: &StepCtx<VdiUpload>) -> Result<(), StepError> {
    let Params { host, vdi, .. } = ctx.params();
    saga.0.delete_vdi(ctx, *host, (vdi.vdi, vdi.sr)).await
}

async fn receive(saga: &VdiUpload, ctx: &StepCtx<VdiUpload>) -> Result<(), StepError> {
    let (deps, Params { host, vdi, capacity }) = (&saga.0, ctx.params());
    let (mut heard, mut before) = (Instant::now(), 0);
    loop {
        // Before the ticket is read: one that is issued now is not slept over.
        let nudged = deps.imports.nudged();
        let open = OpenUpload {
            vdi: vdi.vdi,
            sr: vdi.sr,
            size: vdi.size,
            capacity: *capacity,
            // Nothing has the empty hash.
            ticket_hash: deps.imports.wait_for(vdi.vdi).unwrap_or_default(),
            idle: IDLE,
            under: None,
        };
        let command = Command::Import(ImportCommand::OpenUpload(open));
        // Never the same question twice: the answer changes.
        let answer = deps.send_as(ctx, OperationId::new(), *host, command).await;
        let open = match answer {
            Ok(CommandResult::UploadOpen(open)) => open,
            Ok(_) => return Err(StepError::permanent("the host answered something else")),
            Err(error) => return Err(error.map_or_else(|| host_removed(*host), |error| step_error(&error))),
        };
        if open.progress.whole {
            return Ok(());
        }
        deps.imports.set_port(*host, open.port);
        let done = open.progress.done;
        if done != before {
            (heard, before) = (Instant::now(), done);
        } else if heard.elapsed() > IDLE {
            return Err(StepError::permanent("nothing was sent for a day"));
        }
        let percent = u8::try_from(done.saturating_mul(100) / (*capacity).max(1)).unwrap_or(100);
        ctx.progress(percent, format!("{} of {} MiB are here", done >> 20, capacity >> 20));
        tokio::select! {
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
            () = nudged => {}
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

async fn close(saga: &VdiUpload, ctx: &StepCtx<VdiUpload>) -> Result<(), StepError> {
    let Params { host, vdi, .. } = ctx.params();
    saga.0.imports.forget_ticket(vdi.vdi);
    saga.0.send(ctx, *host, Command::Import(ImportCommand::CloseUpload(vdi.vdi))).await.map(|_| ())
}

async fn whole(saga: &VdiUpload, ctx: &StepCtx<VdiUpload>) -> Result<(), StepError> {
    saga.0.vdi_is_whole(ctx.params().vdi.vdi, ctx.saga()).await
}
