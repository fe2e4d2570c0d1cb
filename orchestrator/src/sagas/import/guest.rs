//! The step that makes a guest ready to boot here, the same for all imports.
//!
//! ```text
//! ask the host --prepared, unchanged, skipped--> done
//!   ^    |
//!   |  failed, half written, refused
//!   |    v
//!   +-- wait for a person --without--> done, disks as copied
//! ```
//!
//! A failure does not end the import: hours of copying would be undone for what a person can put right. An
//! orchestrator that comes back asks with the same operation id and joins the helper that runs.

use xenith_common_ids::{ImportId, OperationId, VdiId};
use xenith_hypervisor_agent_api::{
    Command, CommandResult, GuestPrepared, ImportCommand, PrepareGuest, PrepareOutcome,
};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_orchestrator_saga::{Saga, StepCtx, StepError};
use xenith_orchestrator_types::import::{GuestPreparation, ImportPhase};

use super::super::{Deps, NewVdi, host_removed, step_error};
use crate::model::{ImportRecord, PrepareWish, VmRecord};

/// What a helper's end means for the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Settled,
    /// A person decides.
    Open,
}

/// What the step needs of its saga's parameters.
pub(super) struct Guest<'a> {
    pub import: ImportId,
    pub record: &'a VmRecord,
    pub new_vdis: &'a [NewVdi],
}

impl Guest<'_> {
    fn command(&self, disks: &[VdiId]) -> Result<Command, StepError> {
        let sr = |vdi: &VdiId| {
            let found = self.new_vdis.iter().find(|new| new.vdi == *vdi).map(|new| (*vdi, new.sr));
            found.ok_or_else(|| StepError::permanent("a disk is not in the parameters"))
        };
        let disks = disks.iter().map(sr).collect::<Result<_, _>>()?;
        let macs = self.record.spec.nics.iter().map(|nic| nic.mac).collect();
        Ok(Command::Import(ImportCommand::Prepare(PrepareGuest { import: self.import, disks, macs })))
    }

    /// See the module's text.
    pub async fn prepare<S: Saga>(&self, deps: &Deps, ctx: &StepCtx<S>) -> Result<(), StepError> {
        loop {
            // Before the record is read: a decision that comes now is not slept over.
            let nudged = deps.imports.nudged();
            let record = deps.import(self.import).await?;
            match (record.phase, record.prepare_wish) {
                (ImportPhase::NotPrepared, None) => {
                    ctx.progress(60, "waits for a decision about the guest");
                    tokio::select! {
                        () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
                        () = nudged => {}
                    }
                }
                (ImportPhase::NotPrepared, Some(PrepareWish::Without)) => {
                    // What a helper has left on the host is of no use.
                    self.forget(deps, ctx).await?;
                    return self.declined(deps).await;
                }
                (ImportPhase::NotPrepared, Some(PrepareWish::Again)) => {
                    deps.note_import(self.import, |record| {
                        record.prepare_tries += 1;
                        record.prepare_wish = None;
                        (record.phase, record.message) = (ImportPhase::PreparingGuest, None);
                    })
                    .await?;
                }
                _ => {
                    if self.ask(deps, ctx, &record).await? == Asked::Settled {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn declined(&self, deps: &Deps) -> Result<(), StepError> {
        deps.note_import(self.import, |record| {
            let known = record.preparation.take().unwrap_or_default();
            record.preparation = Some(GuestPreparation { outcome: "declined".to_owned(), ..known });
            (record.prepare_wish, record.message) = (None, None);
        })
        .await?;
        Ok(())
    }

    /// One helper, from its start to what it says; that is written down.
    async fn ask<S: Saga>(
        &self,
        deps: &Deps,
        ctx: &StepCtx<S>,
        record: &ImportRecord,
    ) -> Result<Asked, StepError> {
        let host = self.record.host;
        deps.import_phase(self.import, ImportPhase::PreparingGuest).await?;
        ctx.progress(50, "makes the guest ready to boot here");
        let seed = format!("prepare {} {}", record.prepare_tries, ctx.attempt());
        let operation = OperationId::from_uuid(ctx.derived_uuid(&seed));
        let disks: Vec<VdiId> = record.disks.iter().map(|disk| disk.vdi).collect();
        let command = self.command(&disks)?;
        let answer = tokio::select! {
            answer = deps.send_as(ctx, operation, host, command) => answer,
            () = ctx.cancelled().cancelled() => return Err(StepError::Cancelled),
        };
        let prepared = match answer {
            Ok(CommandResult::GuestPrepared(prepared)) => api(*prepared),
            Ok(_) => return Err(StepError::permanent("the host answered something else")),
            // Of what a person can put right, such as no memory for the helper.
            Err(Some(AgentClientError::Refused(fault))) => GuestPreparation {
                outcome: "failed".to_owned(),
                message: fault.message,
                ..GuestPreparation::default()
            },
            Err(error) => return Err(error.map_or_else(|| host_removed(host), |error| step_error(&error))),
        };
        let open = matches!(prepared.outcome.as_str(), "failed" | "half-written");
        deps.note_import(self.import, move |record| {
            if open {
                record.phase = ImportPhase::NotPrepared;
                record.message = Some(format!(
                    "the guest could not be made ready: {}; try again, go on without, or roll back",
                    prepared.message
                ));
            }
            record.preparation = Some(prepared.clone());
        })
        .await?;
        Ok(if open { Asked::Open } else { Asked::Settled })
    }

    /// Ends a helper that runs, and drops what it left.
    pub async fn forget<S: Saga>(&self, deps: &Deps, ctx: &StepCtx<S>) -> Result<(), StepError> {
        let operation =
            OperationId::from_uuid(ctx.derived_uuid(&format!("forget the helper {}", ctx.attempt())));
        let command = Command::Import(ImportCommand::Stop(self.import));
        let host = self.record.host;
        match deps.send_as(ctx, operation, host, command).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.map_or_else(|| host_removed(host), |error| step_error(&error))),
        }
    }
}

fn api(prepared: GuestPrepared) -> GuestPreparation {
    let outcome = match prepared.outcome {
        PrepareOutcome::Prepared => "prepared",
        PrepareOutcome::Unchanged => "unchanged",
        PrepareOutcome::Skipped => "skipped",
        PrepareOutcome::Failed => "failed",
        PrepareOutcome::HalfWritten => "half-written",
    };
    let GuestPrepared { os, changes, warnings, message, log, .. } = prepared;
    GuestPreparation { outcome: outcome.to_owned(), os, changes, warnings, message, log }
}
