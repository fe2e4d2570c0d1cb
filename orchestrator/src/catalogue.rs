//! The catalogue: which backups each repository has, as it last said, and the VM each is of.
//!
//! The repository is the truth. What is here can be read again from it (`repository test`), also by an orchestrator that
//! has never seen it: each backup carries its VM's definition along.
//!
//! What always holds: a backup's record, its entry in the index by VM, and the verdict on it come and go in one
//! transaction, and only through this module. So questions about a VM cost what that VM has, not what everybody has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{RepositoryId, VdiId, VmId};
use xenith_hypervisor_agent_types::backup::{BackupFacts, RunDisk};
use xenith_hypervisor_agent_types::{Quiesced, VmSpec};
use xenith_orchestrator_saga::StepError;
use xenith_orchestrator_store::{StoreError, Transaction};

use crate::db::{BackupOfVm, Db};
use crate::model::BackupRecord;
use crate::pieces::Pieces;
use crate::sagas::backup_vm::Disk;
use crate::upkeep;

/// The attachment that holds a VM's definition.
const NAME: &str = "xenith-vm.json";
/// Entries of an index read at a time: more than most questions need.
const PAGE: usize = 32;
/// How far clocks of hosts may be ahead of ours.
const AHEAD: time::Duration = time::Duration::hours(1);
/// Backups of a VM that are looked at for the newest one whose date is not ahead.
pub const DATED_AHEAD: usize = 64;
/// Says in the store that the index by VM is there.
const INDEXED: &str = "backups by vm";

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
    /// In which state its disks are; filled in when it is made.
    #[serde(default)]
    pub quiesced: Option<Quiesced>,
}

impl Definition {
    /// As an attachment of a backup.
    pub fn attachment(
        &self,
        vdis: &[Disk],
        named: &[RunDisk],
        quiesced: Option<Quiesced>,
    ) -> Result<(String, String), StepError> {
        let disks = vdis.iter().zip(named).map(|(disk, named)| (disk.vdi, named.name.clone())).collect();
        let whole = Self { disks, quiesced, ..self.clone() };
        let text = serde_json::to_string(&whole)
            .map_err(|error| StepError::permanent("the VM's definition cannot be kept").because(error))?;
        Ok((NAME.to_owned(), text))
    }

    fn of(backup: &BackupFacts) -> Option<Self> {
        let (_, text) = backup.attachments.iter().find(|(name, _)| name == NAME)?;
        serde_json::from_str(text).ok()
    }
}

pub fn moment(millis: u64) -> OffsetDateTime {
    let seconds = i64::try_from(millis / 1000).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn record(repository: RepositoryId, facts: &BackupFacts) -> BackupRecord {
    let definition = Definition::of(facts);
    // What the VM was called, and the rest of it, is in its definition.
    let mut facts = facts.clone();
    facts.attachments.clear();
    BackupRecord { repository, created: moment(facts.created), definition, facts }
}

/// A backup never changes its VM or its time, so its place in the index is for good. The newest comes first.
fn place(record: &BackupRecord) -> Option<BackupOfVm> {
    let definition = record.definition.as_ref()?;
    let newest_first = u64::MAX - record.facts.created;
    Some((definition.vm, (newest_first, (record.repository, record.facts.id.clone()))))
}

fn put_record_in(db: &Db, transaction: Transaction, record: &BackupRecord) -> Transaction {
    let key = (record.repository, record.facts.id.clone());
    let transaction = db.backups.put_in(transaction, &key, record);
    match place(record) {
        Some(place) => db.backups_by_vm.put_in(transaction, &place, &()),
        None => transaction,
    }
}

/// Adds a backup that was just made.
pub fn put_in(
    db: &Db,
    transaction: Transaction,
    repository: RepositoryId,
    facts: &BackupFacts,
) -> Transaction {
    put_record_in(db, transaction, &record(repository, facts))
}

fn delete_in(db: &Db, transaction: Transaction, record: &BackupRecord) -> Transaction {
    let key = (record.repository, record.facts.id.clone());
    let transaction = db.backups.delete_in(transaction, &key);
    let transaction = db.proofs.delete_in(transaction, &key);
    match place(record) {
        Some(place) => db.backups_by_vm.delete_in(transaction, &place),
        None => transaction,
    }
}

/// All backups.
pub async fn all(db: &Db) -> Result<Vec<BackupRecord>, StoreError> {
    let (records, _) = db.backups.all().await?;
    Ok(records.into_iter().map(|record| record.value).collect())
}

/// The backups of one repository.
pub async fn of_repository(db: &Db, repository: RepositoryId) -> Result<Vec<BackupRecord>, StoreError> {
    let records = db.backups.all_under(&repository).await?;
    Ok(records.into_iter().map(|record| record.value).collect())
}

/// A page of a VM's backups, newest first: when each was made, where it is, what it is called.
async fn places(
    db: &Db,
    vm: VmId,
    after: Option<Bytes>,
) -> Result<(Vec<(u64, RepositoryId, String)>, Option<Bytes>), StoreError> {
    let page = db.backups_by_vm.page_under(&vm, after, PAGE).await?;
    let unpack =
        |(_, (newest_first, (repository, id))): BackupOfVm| (u64::MAX - newest_first, repository, id);
    Ok((page.records.into_iter().map(|record| unpack(record.key)).collect(), page.next))
}

/// The newest `most` backups of a VM, newest first. No repositories named: in any.
pub async fn of_vm(
    db: &Db,
    vm: VmId,
    repositories: &[RepositoryId],
    most: usize,
) -> Result<Vec<BackupRecord>, StoreError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = places(db, vm, after).await?;
        for (_, repository, id) in page {
            if !repositories.is_empty() && !repositories.contains(&repository) {
                continue;
            }
            if found.len() == most {
                return Ok(found);
            }
            found.extend(db.backups.get(&(repository, id)).await?.map(|record| record.value));
        }
        after = next;
        if after.is_none() || found.len() == most {
            return Ok(found);
        }
    }
}

/// Whether a backup can be of that time. One that is dated ahead is of a host whose clock was: that it is new is not known,
/// and would be believed until its date has passed.
#[must_use]
pub fn is_past(created: OffsetDateTime, now: OffsetDateTime) -> bool {
    created <= now + AHEAD
}

/// When the newest backup of a VM was made, as of `now`. No repositories named: in any.
pub async fn newest(
    db: &Db,
    vm: VmId,
    repositories: &[RepositoryId],
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let mut after = None;
    loop {
        let (page, next) = places(db, vm, after).await?;
        let wanted = |of: &RepositoryId| repositories.is_empty() || repositories.contains(of);
        let mut dated = page.into_iter().map(|(created, of, _)| (moment(created), of));
        if let Some((created, _)) = dated.find(|(created, of)| wanted(of) && is_past(*created, now)) {
            return Ok(Some(created));
        }
        after = next;
        if after.is_none() {
            return Ok(None);
        }
    }
}

/// What [`replace`] may take out: what was known before the repository was asked. A backup that is recorded while the
/// question is on its way is in no answer yet, and stays.
pub struct KnownBefore(BTreeMap<String, BackupRecord>);

pub async fn known_before(db: &Db, repository: RepositoryId) -> Result<KnownBefore, StoreError> {
    let known = of_repository(db, repository).await?;
    Ok(KnownBefore(known.into_iter().map(|record| (record.facts.id.clone(), record)).collect()))
}

/// Makes the catalogue say what the repository said. One that is too long for an answer keeps its older entries.
pub async fn replace(
    db: &Db,
    repository: RepositoryId,
    KnownBefore(known): KnownBefore,
    listed: &[BackupFacts],
) -> Result<(), StoreError> {
    let oldest = listed.iter().map(|facts| facts.created).min().unwrap_or(0);
    let there: BTreeSet<&str> = listed.iter().map(|facts| facts.id.as_str()).collect();
    let mut pieces = Pieces::new(db);
    for (id, record) in &known {
        let is_gone = !there.contains(id.as_str());
        if is_gone && (listed.is_empty() || record.facts.created >= oldest) {
            pieces.add(delete_in(db, Transaction::new(), record)).await?;
        }
    }
    for facts in listed {
        let new = record(repository, facts);
        if known.get(&facts.id) != Some(&new) {
            pieces.add(put_record_in(db, Transaction::new(), &new)).await?;
        }
    }
    pieces.finish().await
}

/// Takes out what a repository has just forgotten: its listing does not reach back to all of that, and whoever restores would
/// be offered what is not there.
pub async fn take_out(db: &Db, repository: RepositoryId, forgotten: &[String]) -> Result<(), StoreError> {
    let mut pieces = Pieces::new(db);
    for id in forgotten {
        if let Some(record) = db.backups.get(&(repository, id.clone())).await? {
            pieces.add(delete_in(db, Transaction::new(), &record.value)).await?;
        }
    }
    pieces.finish().await
}

/// Takes out all backups of a repository.
pub async fn clear(db: &Db, repository: RepositoryId) -> Result<(), StoreError> {
    let mut pieces = Pieces::new(db);
    for record in of_repository(db, repository).await? {
        pieces.add(delete_in(db, Transaction::new(), &record)).await?;
    }
    pieces.finish().await
}

/// Makes the index by VM for a store that was written before there was one.
pub async fn ensure_index(db: &Db) -> Result<(), StoreError> {
    upkeep::once(db, INDEXED, &db.backups, |record| match place(&record.value) {
        Some(place) => db.backups_by_vm.put_in(Transaction::new(), &place, &()),
        None => Transaction::new(),
    })
    .await
}

/// Snapshots that some increment counts from.
pub async fn base_snapshots(db: &Db) -> Result<BTreeSet<VdiId>, StoreError> {
    let (bases, _) = db.bases.all().await?;
    Ok(bases.into_iter().map(|record| record.value.snapshot).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use xenith_orchestrator_store::MemoryStore;
    use xenith_orchestrator_types::backup::BackupProof;

    use super::*;

    fn db() -> Db {
        Db::over(Arc::new(MemoryStore::new(&crate::db::schema())))
    }

    fn facts(vm: VmId, id: &str, second: u64) -> BackupFacts {
        let spec = json!({
            "name": "web-1", "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
            "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 128, "max": 128 },
        });
        let definition = json!({ "vm": vm, "spec": spec, "description": "", "tags": [] });
        BackupFacts {
            id: id.to_owned(),
            created: second * 1000,
            host: String::new(),
            tags: vec![],
            disks: vec![],
            attachments: vec![(NAME.to_owned(), definition.to_string())],
            held: false,
        }
    }

    fn later() -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    async fn ids(db: &Db, vm: VmId, repositories: &[RepositoryId], most: usize) -> Vec<String> {
        let found = of_vm(db, vm, repositories, most).await.unwrap();
        found.into_iter().map(|record| record.facts.id).collect()
    }

    async fn list(db: &Db, repository: RepositoryId, listed: &[BackupFacts]) {
        let before = known_before(db, repository).await.unwrap();
        replace(db, repository, before, listed).await.unwrap();
    }

    #[tokio::test]
    async fn a_vm_is_answered_from_the_index() {
        let (db, vm, other) = (db(), VmId::new(), VmId::new());
        let (near, far) = (RepositoryId::new(), RepositoryId::new());
        list(&db, near, &[facts(vm, "a", 10), facts(vm, "c", 30), facts(other, "x", 99)]).await;
        list(&db, far, &[facts(vm, "b", 20), facts(vm, "d", 40)]).await;
        assert_eq!(ids(&db, vm, &[], 10).await, ["d", "c", "b", "a"]);
        assert_eq!(ids(&db, vm, &[], 2).await, ["d", "c"]);
        assert_eq!(ids(&db, vm, &[near], 10).await, ["c", "a"]);
        assert_eq!(newest(&db, vm, &[near], later()).await.unwrap(), Some(moment(30_000)));
        assert_eq!(newest(&db, vm, &[RepositoryId::new()], later()).await.unwrap(), None);
        assert_eq!(newest(&db, VmId::new(), &[], later()).await.unwrap(), None);
        // What the repository does not list any more is gone, with its place and its verdict.
        let at = OffsetDateTime::UNIX_EPOCH;
        let proof = BackupProof { at, answered: true, said: String::new(), seconds: 1, ports: vec![] };
        db.proofs.put(&(far, "d".to_owned()), &proof).await.unwrap();
        list(&db, far, &[facts(vm, "b", 20)]).await;
        assert_eq!(ids(&db, vm, &[], 10).await, ["c", "b", "a"]);
        assert_eq!(db.proofs.all().await.unwrap().0, []);
    }

    #[tokio::test]
    async fn a_date_that_is_still_to_come_makes_no_backup_the_newest() {
        let (db, vm, repository) = (db(), VmId::new(), RepositoryId::new());
        let day = 86_400;
        list(&db, repository, &[facts(vm, "a", 10 * day), facts(vm, "ahead", 400 * day)]).await;
        let on = async |days: u64| newest(&db, vm, &[], moment(days * day * 1000)).await.unwrap();
        assert_eq!(on(11).await, Some(moment(10 * day * 1000)));
        assert_eq!(on(401).await, Some(moment(400 * day * 1000)));
        assert!(is_past(moment(60_000), moment(0)), "clocks are not that equal");
    }

    #[tokio::test]
    async fn more_backups_than_a_transaction_holds() {
        let (db, vm, repository) = (db(), VmId::new(), RepositoryId::new());
        let listed: Vec<_> = (0..500).map(|n| facts(vm, &format!("{n:04}"), n)).collect();
        list(&db, repository, &listed).await;
        assert_eq!(ids(&db, vm, &[], 1000).await.len(), 500);
        let revision = db.store.revision();
        list(&db, repository, &listed).await;
        assert_eq!(db.store.revision(), revision, "what is known is not written again");
        list(&db, repository, &listed[..100]).await;
        assert_eq!(ids(&db, vm, &[], 1000).await.len(), 100);
        clear(&db, repository).await.unwrap();
        assert_eq!(ids(&db, vm, &[], 1000).await, [""; 0]);
        assert_eq!(all(&db).await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_was_forgotten_is_gone_also_where_the_listing_does_not_reach() {
        let (db, vm, repository) = (db(), VmId::new(), RepositoryId::new());
        list(&db, repository, &[facts(vm, "a", 10), facts(vm, "b", 20), facts(vm, "c", 30)]).await;
        // An answer has room for the newest only.
        list(&db, repository, &[facts(vm, "c", 30)]).await;
        assert_eq!(ids(&db, vm, &[], 10).await, ["c", "b", "a"]);
        take_out(&db, repository, &["a".to_owned(), "unknown".to_owned()]).await.unwrap();
        assert_eq!(ids(&db, vm, &[], 10).await, ["c", "b"]);
        assert_eq!(newest(&db, vm, &[], later()).await.unwrap(), Some(moment(30_000)));
    }

    #[tokio::test]
    async fn a_backup_made_while_the_repository_is_asked_stays() {
        let (db, vm, repository) = (db(), VmId::new(), RepositoryId::new());
        list(&db, repository, &[facts(vm, "a", 10)]).await;
        let before = known_before(&db, repository).await.unwrap();
        db.store.commit(put_in(&db, Transaction::new(), repository, &facts(vm, "b", 20))).await.unwrap();
        replace(&db, repository, before, &[facts(vm, "a", 10)]).await.unwrap();
        assert_eq!(ids(&db, vm, &[], 10).await, ["b", "a"]);
    }

    #[tokio::test]
    async fn a_store_of_an_earlier_program_gets_its_index() {
        let (db, vm, repository) = (db(), VmId::new(), RepositoryId::new());
        for n in 0..150 {
            let record = record(repository, &facts(vm, &format!("{n:04}"), n));
            db.backups.put(&(repository, record.facts.id.clone()), &record).await.unwrap();
        }
        assert_eq!(newest(&db, vm, &[], later()).await.unwrap(), None);
        ensure_index(&db).await.unwrap();
        assert_eq!(newest(&db, vm, &[], later()).await.unwrap(), Some(moment(149_000)));
        ensure_index(&db).await.unwrap();
        assert_eq!(ids(&db, vm, &[], 1000).await.len(), 150);
    }
}
