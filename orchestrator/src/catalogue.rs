//! The catalogue: which backups each repository has, as it last said, and the VM each is of.
//!
//! The repository is the truth. What is here can be read again from it (`repository test`), also by an orchestrator that
//! has never seen it: each backup carries its VM's definition along.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{RepositoryId, VdiId, VmId};
use xenith_hypervisor_agent_types::VmSpec;
use xenith_hypervisor_agent_types::backup::{BackupFacts, RunDisk};
use xenith_orchestrator_saga::StepError;
use xenith_orchestrator_store::{StoreError, Transaction};

use crate::db::Db;
use crate::model::BackupRecord;
use crate::sagas::backup_vm::Disk;

/// The attachment that holds a VM's definition.
const NAME: &str = "xenith-vm.json";

/// What of a VM goes along with its backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub vm: VmId,
    pub spec: VmSpec,
    pub description: String,
    pub tags: BTreeSet<String>,
    /// Which VDI was called what in the backup; filled in when it is made.
    #[serde(default)]
    pub disks: Vec<(VdiId, String)>,
}

impl Definition {
    /// As an attachment of a backup.
    pub fn attachment(&self, vdis: &[Disk], named: &[RunDisk]) -> Result<(String, String), StepError> {
        let disks = vdis.iter().zip(named).map(|(disk, named)| (disk.vdi, named.name.clone())).collect();
        let whole = Self { disks, ..self.clone() };
        let text = serde_json::to_string(&whole)
            .map_err(|error| StepError::permanent("the VM's definition cannot be kept").because(error))?;
        Ok((NAME.to_owned(), text))
    }

    fn of(backup: &BackupFacts) -> Option<Self> {
        let (_, text) = backup.attachments.iter().find(|(name, _)| name == NAME)?;
        serde_json::from_str(text).ok()
    }
}

fn record(repository: RepositoryId, facts: &BackupFacts) -> BackupRecord {
    let definition = Definition::of(facts);
    // What the VM was called, and the rest of it, is in its definition.
    let created = i64::try_from(facts.created / 1000).unwrap_or(0);
    let mut facts = facts.clone();
    facts.attachments.clear();
    BackupRecord {
        repository,
        created: OffsetDateTime::from_unix_timestamp(created).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        definition,
        facts,
    }
}

/// Adds a backup that was just made.
pub fn put_in(
    db: &Db,
    transaction: Transaction,
    repository: RepositoryId,
    facts: &BackupFacts,
) -> Transaction {
    db.backups.put_in(transaction, &(repository, facts.id.clone()), &record(repository, facts))
}

/// All backups of one repository, or of all.
pub async fn all(db: &Db, of: Option<RepositoryId>) -> Result<Vec<BackupRecord>, StoreError> {
    let (records, _) = db.backups.all().await?;
    let wanted = |record: &BackupRecord| of.is_none_or(|of| record.repository == of);
    Ok(records.into_iter().map(|record| record.value).filter(wanted).collect())
}

/// Makes the catalogue say what the repository said. One that is too long for an answer keeps its older entries.
pub async fn replace(db: &Db, repository: RepositoryId, listed: &[BackupFacts]) -> Result<(), StoreError> {
    let oldest = listed.iter().map(|facts| facts.created).min().unwrap_or(0);
    let there: BTreeSet<&str> = listed.iter().map(|facts| facts.id.as_str()).collect();
    let known = all(db, Some(repository)).await?;
    let mut commit = Transaction::new();
    for record in &known {
        let is_gone = !there.contains(record.facts.id.as_str());
        if is_gone && (listed.is_empty() || record.facts.created >= oldest) {
            commit = db.backups.delete_in(commit, &(repository, record.facts.id.clone()));
        }
    }
    for facts in listed {
        commit = put_in(db, commit, repository, facts);
    }
    db.store.commit(commit).await?;
    Ok(())
}

/// Snapshots that some increment counts from.
pub async fn base_snapshots(db: &Db) -> Result<BTreeSet<VdiId>, StoreError> {
    let (bases, _) = db.bases.all().await?;
    Ok(bases.into_iter().map(|record| record.value.snapshot).collect())
}
