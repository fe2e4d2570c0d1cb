//! One backup: snapshots in, one committed manifest out.

use std::sync::Arc;

use xenith_backup::gc;
use xenith_backup::id::BackupId;
use xenith_backup::ingest::{self, Changes, DiskJob, Options};
use xenith_backup::manifest::Attachment;
use xenith_common_block::{BaseId, BlockSource, ChangedRanges};
use xenith_common_ids::OperationId;
use xenith_hypervisor_agent_types::Fault;
use xenith_hypervisor_agent_types::backup::{BackupFacts, BackupReply, BackupRun, RunDisk};

use super::repository::{Access, facts, open_paced};
use super::{Running, cancelled, fault};
use crate::disk::Storage;

/// The attachment that names the operation, so that a repeated command finds what it made.
const OPERATION: &str = "operation";

pub(super) fn run(
    storage: &Storage,
    operation: OperationId,
    run: &BackupRun,
    running: &Arc<Running>,
) -> Result<BackupReply, Fault> {
    let (progress, pace) = (&running.backup, &running.pace);
    let access = Access::of(&run.access, running);
    let repo = open_paced(&access, pace)?;
    if let Some(made) = find(&repo, operation)? {
        return Ok(BackupReply::Made { backup: Box::new(made) });
    }
    let mut sources = Vec::new();
    for disk in &run.disks {
        sources.push(storage.open_source(disk.snapshot)?);
    }
    let jobs = run
        .disks
        .iter()
        .zip(&sources)
        .map(|(disk, source)| DiskJob { name: disk.name.clone(), source, changed: changes(disk, source) })
        .collect();
    let named = |(name, text): (&str, &str)| Attachment { name: name.to_owned(), text: text.to_owned() };
    let given = run.attachments.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    let operation = operation.to_string();
    let attachments = given.chain([(OPERATION, operation.as_str())]).map(named).collect();
    let options = Options { tags: run.tags.clone(), attachments, ..Options::default() };
    if progress.cancelled.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(cancelled());
    }
    let manifest = ingest::backup(&repo, jobs, &options, progress).map_err(|error| fault(&error))?;
    Ok(BackupReply::Made { backup: Box::new(facts(&manifest, &[])) })
}

fn find(repo: &xenith_backup::Repository, operation: OperationId) -> Result<Option<BackupFacts>, Fault> {
    let (manifests, _) = gc::visible(repo).map_err(|error| fault(&error))?;
    let text = operation.to_string();
    let ours = manifests.iter().rev().find(|manifest| {
        manifest.attachments.iter().any(|attachment| attachment.name == OPERATION && attachment.text == text)
    });
    Ok(ours.map(|manifest| facts(manifest, &[])))
}

/// What changed since the base, or why all of it is read. Never too little: a base that is gone, or an SR that cannot
/// tell, costs time and nothing else.
fn changes(disk: &RunDisk, source: &Arc<dyn BlockSource>) -> Changes {
    let Some(base) = &disk.base else {
        return Changes::Unknown { because: "no snapshot of an earlier backup is kept".to_owned() };
    };
    if base.backup.is_empty() {
        return Changes::Unknown { because: "the repository was found to have lost some of it".to_owned() };
    }
    let Some(backup) = BackupId::parse(&base.backup) else {
        return Changes::Unknown { because: "the earlier backup's id cannot be read".to_owned() };
    };
    match source.changed_since(&BaseId(base.snapshot.to_string())) {
        Ok(ChangedRanges::Known(ranges)) => Changes::Since { ranges, base: Some(backup) },
        Ok(ChangedRanges::Unknown { reason }) => Changes::Unknown { because: reason },
        Err(error) => Changes::Unknown { because: format!("the changes could not be read: {error}") },
    }
}
