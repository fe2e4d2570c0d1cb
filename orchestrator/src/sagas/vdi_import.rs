//! Make a VDI, or the disk of a template, from an image that a web server has.
//!
//! Its record is written in the transaction that starts the saga; its size is known when the image is there.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xenith_common_ids::{HostId, SrId, TaskId, TemplateId, VdiId};
use xenith_hypervisor_agent_api::{Command, CommandResult, StorageCommand};
use xenith_hypervisor_agent_types::VdiSize;
use xenith_orchestrator_saga::{RetryPolicy, Saga, Step, StepCtx, StepError};
use xenith_orchestrator_store::Transaction;
use xenith_orchestrator_types::vdi::Vdi;

use super::{Deps, nothing};

#[derive(Clone)]
pub struct VdiImport(pub Arc<Deps>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Params {
    pub host: HostId,
    pub vdi: VdiId,
    pub sr: SrId,
    pub url: String,
    pub sha256: String,
    /// The template whose disk it is; otherwise it is a VDI by itself.
    #[serde(default)]
    pub template: Option<TemplateId>,
}

/// A slow server and a large disk.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// A download that breaks goes on where it was: worth more tries than most.
const AGAIN: RetryPolicy =
    RetryPolicy { attempts: 20, first: Duration::from_secs(1), most: Duration::from_secs(60) };

impl Saga for VdiImport {
    const KIND: &'static str = "vdi_import";
    type Params = Params;

    fn steps(_: &Params) -> Vec<Step<Self>> {
        vec![
            Step::new("record", nothing).undo(erase),
            Step::new("import", import).undo(drop_it).retry(AGAIN).deadline(PATIENCE),
            Step::new("complete", complete),
        ]
    }
}

async fn erase(saga: &VdiImport, ctx: &StepCtx<VdiImport>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let erase = match &params.template {
        Some(template) => db.templates.delete_in(Transaction::new(), template),
        None => db.vdis.delete_in(Transaction::new(), &params.vdi),
    };
    db.store.commit(erase).await?;
    Ok(())
}

async fn import(saga: &VdiImport, ctx: &StepCtx<VdiImport>) -> Result<VdiSize, StepError> {
    let Params { host, vdi, sr, url, sha256, .. } = ctx.params();
    let command = StorageCommand::Import { vdi: *vdi, sr: *sr, url: url.clone(), sha256: sha256.clone() };
    match saga.0.send_long(ctx, *host, Command::Storage(command)).await? {
        CommandResult::Vdi(facts) => Ok(facts.size),
        other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
    }
}

async fn drop_it(saga: &VdiImport, ctx: &StepCtx<VdiImport>) -> Result<(), StepError> {
    let Params { host, vdi, sr, .. } = ctx.params();
    saga.0.delete_vdi(ctx, *host, (*vdi, *sr)).await?;
    let operation = xenith_common_ids::OperationId::from_uuid(ctx.derived_uuid("drop the download"));
    let command = Command::Storage(StorageCommand::DropImport { vdi: *vdi });
    let dropped = saga.0.send_as(ctx, operation, *host, command).await;
    dropped.map_err(|error| {
        error.map_or_else(|| super::host_removed(*host), |error| super::step_error(&error))
    })?;
    Ok(())
}

async fn complete(saga: &VdiImport, ctx: &StepCtx<VdiImport>) -> Result<(), StepError> {
    let (db, params) = (&saga.0.db, ctx.params());
    let size: VdiSize = ctx.output("import")?;
    if let Some(template) = &params.template {
        db.templates
            .modify(template, |record| {
                for disk in record.disks.iter_mut().filter(|disk| disk.vdi == params.vdi) {
                    disk.size = Some(size);
                }
                record.ready = true;
            })
            .await?;
    } else {
        let ours = TaskId::from(ctx.saga());
        // Said again after a crash, somebody may have made it larger, or have it.
        let whole = |record: &mut Vdi| {
            record.size = record.size.max(size);
            record.held_by = record.held_by.filter(|by| *by != ours);
        };
        db.vdis.modify(&params.vdi, whole).await?;
    }
    Ok(())
}
