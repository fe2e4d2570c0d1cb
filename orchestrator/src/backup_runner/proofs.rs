//! Which backups are seen to boot after a run, and how a verdict is told.

use time::OffsetDateTime;
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::backup::{BackupProof, BackupRun, JobSettings, RunProof, RunStatus};
use xenith_orchestrator_types::event::Severity;

use super::{WHO, note};
use crate::app::App;
use crate::catalogue;
use crate::model::BackupRecord;
use crate::sagas::backup_proof::note_in_run;

/// Backups of a VM among which its last proof is looked for: with one a day, a quarter of a year.
const LOOKED_AT: usize = 100;

/// Begins the proofs that are due: of the VMs that were proved longest ago, or never.
pub(super) async fn prove(app: &App, run: &BackupRun, settings: &JobSettings) {
    let mut due = Vec::new();
    for vm in run.vms.iter().filter(|vm| vm.status == RunStatus::Done) {
        let Ok(backups) = catalogue::of_vm(&app.db, vm.vm, &settings.repositories, LOOKED_AT).await else {
            continue;
        };
        let Ok(last) = last_proof(app, &backups).await else { continue };
        due.extend(backups.into_iter().next().map(|newest| (last, newest)));
    }
    // Never comes before any time.
    due.sort_by_key(|(last, _)| *last);
    for (_, backup) in due.into_iter().take(settings.prove as usize) {
        // Backups without one are no VM's.
        let Some(definition) = &backup.definition else { continue };
        let name = definition.spec.name.to_string();
        let begun = app.prove_for(WHO, &backup, (run.id, &settings.prove_ports)).await;
        if let Err(error) = &begun {
            let message = format!("the backup of {name} could not be proved: {error}");
            note(app, (Severity::Warning, "backup.proof"), format!("backup_run/{}", run.id), message).await;
        }
        let message = begun.as_ref().err().map(ToString::to_string);
        let noted = RunProof { vm: definition.vm, name, task: begun.ok(), message, proof: None };
        if let Err(error) = note_in_run(&app.db, run.id, &noted).await {
            tracing::warn!(run = %run.id, %error, "that a proof was begun is not in the record of its run");
        }
    }
}

async fn last_proof(app: &App, backups: &[BackupRecord]) -> Result<Option<OffsetDateTime>, StoreError> {
    let mut last = None;
    for backup in backups {
        let key = (backup.repository, backup.facts.id.clone());
        last = last.max(app.db.proofs.get(&key).await?.map(|proof| proof.value.at));
    }
    Ok(last)
}

/// What the event log is told of a verdict.
#[must_use]
pub fn verdict_event(name: &str, proof: &BackupProof) -> (Severity, String) {
    let said = &proof.said;
    if proof.answered {
        (Severity::Info, format!("the backup of {name} boots: {said}"))
    } else {
        (Severity::Error, format!("the backup of {name} was not seen to boot: {said}"))
    }
}
