//! Changes of VM records with everything that must change along: names, MAC addresses, attached VDIs.

use std::collections::{BTreeMap, BTreeSet};

use xenith_common_ids::{VdiId, VmId};
use xenith_orchestrator_store::{StoreError, Transaction};

use crate::db::Db;
use crate::model::VmRecord;

fn macs(record: Option<&VmRecord>) -> BTreeSet<String> {
    record.map(|record| record.spec.nics.iter().map(|nic| nic.mac.to_string()).collect()).unwrap_or_default()
}

fn vdis(record: Option<&VmRecord>) -> BTreeSet<VdiId> {
    record.map(|record| record.spec.disks.iter().map(|disk| disk.vdi).collect()).unwrap_or_default()
}

/// Adds to `transaction` what makes the indexes follow from `before` to `after`. The record itself is the
/// caller's. Of the VDIs in `made` the caller writes the records, too.
pub async fn follow(
    db: &Db,
    mut transaction: Transaction,
    vm: VmId,
    (before, after): (Option<&VmRecord>, Option<&VmRecord>),
    made: &BTreeSet<VdiId>,
) -> Result<Transaction, StoreError> {
    let name = |record: &VmRecord| (record.spec.name.to_string(), record.pool);
    if before.map(name) != after.map(name) {
        if let Some(before) = before {
            transaction = db.vm_names.delete_in(transaction, &name(before));
        }
        if let Some(after) = after {
            transaction = db.vm_names.insert_in(transaction, &name(after), &vm);
        }
    }
    let (old_macs, new_macs) = (macs(before), macs(after));
    for gone in old_macs.difference(&new_macs) {
        transaction = db.macs.delete_in(transaction, gone);
    }
    for added in new_macs.difference(&old_macs) {
        transaction = db.macs.insert_in(transaction, added, &vm);
    }
    let (old_vdis, new_vdis) = (vdis(before), vdis(after));
    let detached = old_vdis.difference(&new_vdis).map(|vdi| (*vdi, None));
    let attached = new_vdis.difference(&old_vdis).map(|vdi| (*vdi, Some(vm)));
    let changes: BTreeMap<VdiId, Option<VmId>> = detached.chain(attached).collect();
    for (vdi, attached_to) in changes.into_iter().filter(|(vdi, _)| !made.contains(vdi)) {
        if let Some(record) = db.vdis.get(&vdi).await? {
            let mut changed = record.value.clone();
            changed.attached_to = attached_to;
            transaction = db.vdis.update_in(transaction, &record, &changed);
        }
    }
    Ok(transaction)
}
