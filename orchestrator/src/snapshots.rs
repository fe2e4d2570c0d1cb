//! Which snapshots a VM has: the records, and an index by VM.
//!
//! What always holds: a snapshot's record and its entry in the index come and go in one transaction, through this module.
//! (A record that is changed keeps its VM, and so its entry.) So questions about a VM cost what that VM has, not what
//! everybody has.

use xenith_common_ids::{SnapshotId, VmId};
use xenith_orchestrator_store::{Record, StoreError, Transaction};

use crate::db::Db;
use crate::model::SnapshotRecord;
use crate::upkeep;

/// Says in the store that the index is there.
const INDEXED: &str = "snapshots by vm";

pub fn insert_in(
    db: &Db,
    transaction: Transaction,
    snapshot: SnapshotId,
    record: &SnapshotRecord,
) -> Transaction {
    let transaction = db.snapshots.insert_in(transaction, &snapshot, record);
    db.snapshots_by_vm.put_in(transaction, &(record.vm, snapshot), &())
}

pub fn delete_in(db: &Db, transaction: Transaction, snapshot: SnapshotId, vm: VmId) -> Transaction {
    let transaction = db.snapshots.delete_in(transaction, &snapshot);
    db.snapshots_by_vm.delete_in(transaction, &(vm, snapshot))
}

/// The snapshots of a VM.
pub async fn of_vm(db: &Db, vm: VmId) -> Result<Vec<Record<SnapshotId, SnapshotRecord>>, StoreError> {
    let mut found = Vec::new();
    for entry in db.snapshots_by_vm.all_under(&vm).await? {
        let (_, snapshot) = entry.key;
        // One that went since the index was read is none.
        found.extend(db.snapshots.get(&snapshot).await?);
    }
    Ok(found)
}

/// Makes the index for a store that was written before there was one.
pub async fn ensure_index(db: &Db) -> Result<(), StoreError> {
    upkeep::once(db, INDEXED, &db.snapshots, |record| {
        db.snapshots_by_vm.put_in(Transaction::new(), &(record.value.vm, record.key), &())
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde_json::json;
    use time::OffsetDateTime;
    use xenith_common_ids::HostId;
    use xenith_orchestrator_store::MemoryStore;

    use super::*;

    fn record(vm: VmId) -> SnapshotRecord {
        let spec = json!({
            "name": "web-1", "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
            "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 128, "max": 128 },
        });
        SnapshotRecord {
            name: "before".into(),
            description: String::new(),
            vm,
            host: HostId::new(),
            parent: None,
            created: OffsetDateTime::UNIX_EPOCH,
            spec: serde_json::from_value(spec).unwrap(),
            disks: vec![],
            memory: None,
            paused_ms: None,
            quiesced: None,
        }
    }

    async fn ids(db: &Db, vm: VmId) -> BTreeSet<SnapshotId> {
        of_vm(db, vm).await.unwrap().into_iter().map(|record| record.key).collect()
    }

    #[tokio::test]
    async fn a_vm_has_its_own_and_an_older_store_gets_the_index() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let (mine, other, none) = (VmId::new(), VmId::new(), VmId::new());
        // As an earlier program wrote them.
        let old: BTreeSet<SnapshotId> = (0..400).map(|_| SnapshotId::new()).collect();
        for id in &old {
            db.snapshots.insert(id, &record(mine)).await.unwrap();
        }
        let of_other = SnapshotId::new();
        db.snapshots.insert(&of_other, &record(other)).await.unwrap();
        ensure_index(&db).await.unwrap();
        assert_eq!(ids(&db, mine).await, old);
        assert_eq!(ids(&db, other).await, BTreeSet::from([of_other]));

        let new = SnapshotId::new();
        db.store.commit(insert_in(&db, Transaction::new(), new, &record(other))).await.unwrap();
        db.store.commit(delete_in(&db, Transaction::new(), of_other, other)).await.unwrap();
        ensure_index(&db).await.unwrap();
        assert_eq!(ids(&db, other).await, BTreeSet::from([new]));
        assert!(ids(&db, none).await.is_empty());
    }
}
