//! Changes of VM records with everything that must change along: names, MAC addresses, attached VDIs.

use std::collections::{BTreeMap, BTreeSet};

use xenith_common_ids::{SagaId, TaskId, VdiId, VmId};
use xenith_hypervisor_agent_types::VmSpec;
use xenith_orchestrator_store::{StoreError, Transaction};

use crate::db::Db;
use crate::model::VmRecord;

fn macs(record: Option<&VmRecord>) -> BTreeSet<String> {
    record.map(|record| record.spec.nics.iter().map(|nic| nic.mac.to_string()).collect()).unwrap_or_default()
}

fn disks(spec: &VmSpec) -> BTreeSet<VdiId> {
    spec.disks.iter().map(|disk| disk.vdi).collect()
}

fn vdis(record: Option<&VmRecord>) -> BTreeSet<VdiId> {
    record.map(|record| disks(&record.spec)).unwrap_or_default()
}

/// The VDIs that a change takes from its VM.
fn detached(before: &VmSpec, after: &VmSpec) -> BTreeSet<VdiId> {
    disks(before).difference(&disks(after)).copied().collect()
}

/// Adds to `transaction` what makes the indexes follow from `before` to `after`. The record itself is the
/// caller's. Of the VDIs in `made` the caller writes the records, too. A VDI is with its VM: in a shared SR it goes to the
/// host of the VM that gets it.
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
            if let (Some(_), Some(after)) = (attached_to, after) {
                changed.host = after.host;
                // Its VM is held, or has it back.
                changed.held_by = None;
            }
            transaction = db.vdis.update_in(transaction, &record, &changed);
        }
    }
    Ok(transaction)
}

/// Adds behind [`follow`]: what is taken from a VM is the saga's, until that has seen it unplugged. In a shared SR another
/// host would be given it meanwhile, which knows nothing of the first.
pub async fn hold_detached(
    db: &Db,
    mut transaction: Transaction,
    (before, after): (&VmSpec, &VmSpec),
    saga: SagaId,
) -> Result<Transaction, StoreError> {
    for vdi in detached(before, after) {
        if let Some(record) = db.vdis.get(&vdi).await? {
            let mut held = record.value.clone();
            (held.attached_to, held.held_by) = (None, Some(TaskId::from(saga)));
            transaction = db.vdis.update_in(transaction, &record, &held);
        }
    }
    Ok(transaction)
}

/// Lets go of what [`hold_detached`] held.
pub async fn release_detached(
    db: &Db,
    (before, after): (&VmSpec, &VmSpec),
    saga: SagaId,
) -> Result<(), StoreError> {
    let task = TaskId::from(saga);
    for vdi in detached(before, after) {
        db.vdis.modify(&vdi, |record| record.held_by = record.held_by.filter(|by| *by != task)).await?;
    }
    Ok(())
}
