//! Forgetting a host, with everything that is recorded of it.
//!
//! Where it fits, that is one commit. A host with more than that goes in several, and what always holds is their order: the
//! host's own record is in the last. So whatever stops it in between, the host is still there to be removed again, and
//! that goes on with what is left. Each VM goes whole, with its name, its addresses and its place among the VDIs; before
//! it its snapshots. An SR that the host had attached stays, attached to the others or to none.

use std::collections::BTreeSet;

use xenith_common_ids::{HostId, VdiId, VmId};
use xenith_orchestrator_store::{Expect, Record, StoreError, Transaction};

use crate::db::Db;
use crate::model::HostRecord;
use crate::pieces::Pieces;
use crate::{records, snapshots};

/// Operations that the caller may add to the last commit: an event, which drops an old one.
const SPARE: usize = 4;

/// Commits all but the last piece, which it returns. A VM that somebody takes hold of meanwhile is a conflict, and so is
/// an SR that changes.
pub async fn host_in(
    db: &Db,
    host: &Record<HostId, HostRecord>,
    vms: &[VmId],
    vdis: &BTreeSet<VdiId>,
) -> Result<Transaction, StoreError> {
    let mut pieces = Pieces::new(db).sparing(SPARE);
    for vm in vms {
        // It may have left since it was listed: high availability gives the VMs of a dead host to others.
        let found = db.vms.get(vm).await?.filter(|found| found.value.host == host.key);
        let Some(record) = found else { continue };
        for snapshot in snapshots::of_vm(db, *vm).await? {
            pieces.add(snapshots::delete_in(db, Transaction::new(), snapshot.key, *vm)).await?;
        }
        // That somebody has taken hold of is not let go: no commit finds what this demands.
        let expect =
            if record.value.held_by.is_some() { Expect::Absent } else { Expect::At(record.revision) };
        let mut forget = db.vms.require_in(Transaction::new(), vm, expect);
        forget = db.vms.delete_in(forget, vm);
        forget = records::follow(db, forget, *vm, (Some(&record.value), None), vdis).await?;
        pieces.add(forget).await?;
    }
    for vdi in vdis {
        // A disk goes along with its VM.
        let found = db.vdis.get(vdi).await?.filter(|found| found.value.host == host.key);
        let Some(record) = found else { continue };
        let forget = db.vdis.require_in(Transaction::new(), vdi, Expect::At(record.revision));
        pieces.add(db.vdis.delete_in(forget, vdi)).await?;
    }
    let (srs, _) = db.srs.all().await?;
    for sr in srs.iter().filter(|sr| sr.value.hosts.contains(&host.key)) {
        let mut left = sr.value.clone();
        left.hosts.remove(&host.key);
        pieces.add(db.srs.update_in(Transaction::new(), sr, &left)).await?;
    }
    // Whatever changes the record meanwhile (its certificate, its SRs) changes nothing about its going.
    let remove = db.hosts.delete_in(Transaction::new(), &host.key);
    let remove = db.host_networks.delete_in(remove, &host.key);
    pieces.add(db.host_names.delete_in(remove, &host.value.name)).await?;
    Ok(pieces.into_last())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use time::OffsetDateTime;
    use xenith_common_ids::{NetworkId, PoolId, SagaId, SnapshotId, SrId};
    use xenith_orchestrator_store::{Fuse, StateStore};
    use xenith_orchestrator_types::vdi::Vdi;

    use super::*;
    use crate::model::{SnapshotRecord, SrRecord, VmRecord};

    struct World {
        fuse: Arc<Fuse>,
        db: Db,
        host: Record<HostId, HostRecord>,
        vms: Vec<VmId>,
        vdis: BTreeSet<VdiId>,
        /// Attached to this host and another one.
        nas: SrId,
        other: HostId,
    }

    impl World {
        /// A host with so many VMs, each with a disk, an address and a snapshot; and an SR that it shares with another host.
        async fn new(count: u8) -> Self {
            let fuse = Arc::new(Fuse::new(&crate::db::schema()));
            let db = Db::over(Arc::clone(&fuse) as Arc<dyn StateStore>);
            let (id, other, pool) = (HostId::new(), HostId::new(), PoolId::new());
            let (sr, nas) = (SrId::new(), SrId::new());
            let record: HostRecord = serde_json::from_value(json!({
                "name": "xen1", "pool": pool, "address": "", "maintenance": false, "local_sr": sr,
                "joined": serde_json::to_value(OffsetDateTime::UNIX_EPOCH).unwrap(), "certificate_serial": "01",
                "certificate_expires": serde_json::to_value(OffsetDateTime::UNIX_EPOCH).unwrap(),
            }))
            .unwrap();
            db.hosts.insert(&id, &record).await.unwrap();
            db.host_names.insert(&record.name, &id).await.unwrap();
            let shared = SrRecord {
                name: "nas".into(),
                pool,
                spec: None,
                hosts: BTreeSet::from([id, other]),
                content: Default::default(),
            };
            db.srs.insert(&nas, &shared).await.unwrap();
            let (mut vms, mut vdis) = (Vec::new(), BTreeSet::new());
            for number in 0..count {
                let (vm, vdi) = (VmId::new(), VdiId::new());
                let mac = format!("00:16:3e:00:00:{number:02x}");
                let record: VmRecord = serde_json::from_value(json!({
                    "spec": {
                        "name": format!("web-{number}"),
                        "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
                        "vcpus": { "online": 1, "max": 1 },
                        "memory": { "target": 128, "max": 128 },
                        "disks": [{ "device": "xvda", "vdi": vdi }],
                        "nics": [{ "mac": mac, "network": NetworkId::new(), "bridge": "xenbr0" }],
                    },
                    "definition": 1, "description": "", "tags": [], "pool": pool, "host": id,
                    "created": serde_json::to_value(OffsetDateTime::UNIX_EPOCH).unwrap(),
                    "apart_from": [], "together_with": [], "pending_restart": [], "held_by": null,
                }))
                .unwrap();
                let disk = Vdi {
                    id: vdi,
                    name: "disk".into(),
                    size: (1 << 20).try_into().unwrap(),
                    sr,
                    host: id,
                    attached_to: Some(vm),
                    held_by: None,
                    leased_to: None,
                };
                let snapshot = SnapshotRecord {
                    name: "before".into(),
                    description: String::new(),
                    vm,
                    host: id,
                    parent: None,
                    created: OffsetDateTime::UNIX_EPOCH,
                    spec: record.spec.clone(),
                    disks: vec![],
                    memory: None,
                    paused_ms: None,
                    quiesced: None,
                };
                let commit = db.vms.insert_in(Transaction::new(), &vm, &record);
                let commit = db.vdis.insert_in(commit, &vdi, &disk);
                let commit = snapshots::insert_in(&db, commit, SnapshotId::new(), &snapshot);
                let changed = (None, Some(&record));
                let commit = records::follow(&db, commit, vm, changed, &[vdi].into()).await.unwrap();
                db.store.commit(commit).await.unwrap();
                vms.push(vm);
                vdis.insert(vdi);
            }
            Self { host: db.hosts.get(&id).await.unwrap().unwrap(), fuse, db, vms, vdis, nas, other }
        }

        /// Whether the SR is still attached to the host.
        async fn is_attached(&self) -> bool {
            let hosts = self.db.srs.get(&self.nas).await.unwrap().unwrap().value.hosts;
            assert!(hosts.contains(&self.other), "{hosts:?}");
            hosts.contains(&self.host.key)
        }

        async fn forget(&self) -> Result<(), StoreError> {
            let last = host_in(&self.db, &self.host, &self.vms, &self.vdis).await?;
            self.db.store.commit(last).await.map(drop)
        }

        /// How many records there are of the host, its name, and all that it had.
        async fn left(&self) -> (usize, usize) {
            let db = &self.db;
            let host = db.hosts.all().await.unwrap().0.len() + db.host_names.all().await.unwrap().0.len();
            let vms = db.vms.all().await.unwrap().0.len() + db.vm_names.all().await.unwrap().0.len();
            let things = db.macs.all().await.unwrap().0.len() + db.vdis.all().await.unwrap().0.len();
            let snapshots =
                db.snapshots.all().await.unwrap().0.len() + db.snapshots_by_vm.all().await.unwrap().0.len();
            (host, vms + things + snapshots)
        }
    }

    #[tokio::test]
    async fn a_host_goes_in_one_commit_where_it_fits() {
        let world = World::new(10).await;
        world.fuse.take(0);
        assert!(world.forget().await.is_err());
        assert_eq!(world.left().await, (2, 60), "nothing has gone");
        assert!(world.is_attached().await);
        world.fuse.take(1);
        world.forget().await.unwrap();
        assert_eq!(world.left().await, (0, 0));
        assert!(!world.is_attached().await, "the SR is the other host's alone");
    }

    #[tokio::test]
    async fn a_host_that_takes_several_commits_is_there_until_all_has_gone() {
        let (mut commits, count) = (0, 40);
        loop {
            let world = World::new(count).await;
            world.fuse.take(commits);
            let removed = world.forget().await;
            world.fuse.mend();
            if removed.is_ok() {
                assert_eq!(world.left().await, (0, 0));
                assert!(!world.is_attached().await);
                break;
            }
            let (host, rest) = world.left().await;
            assert_eq!(host, 2, "after {commits} commits");
            assert!(commits == 0 || rest < usize::from(count) * 6, "after {commits} commits: {rest}");
            // Asked again, it goes on.
            world.forget().await.unwrap();
            assert_eq!(world.left().await, (0, 0), "after {commits} commits");
            commits += 1;
        }
        assert!(commits > 1, "{commits}");
    }

    #[tokio::test]
    async fn a_vm_that_is_taken_hold_of_meanwhile_is_a_conflict() {
        let world = World::new(1).await;
        let last = host_in(&world.db, &world.host, &world.vms, &world.vdis).await.unwrap();
        let hold = |record: &mut VmRecord| record.held_by = Some(SagaId::new());
        world.db.vms.modify(&world.vms[0], hold).await.unwrap();
        assert!(world.db.store.commit(last).await.unwrap_err().is_conflict());
        assert_eq!(world.left().await, (2, 6));
    }

    #[tokio::test]
    async fn a_vm_that_was_taken_hold_of_since_it_was_listed_is_a_conflict() {
        let world = World::new(1).await;
        let hold = |record: &mut VmRecord| record.held_by = Some(SagaId::new());
        world.db.vms.modify(&world.vms[0], hold).await.unwrap();
        assert!(world.forget().await.unwrap_err().is_conflict());
        assert_eq!(world.left().await, (2, 6));
    }

    /// By high availability, and it may run there.
    #[tokio::test]
    async fn a_vm_that_another_host_got_since_it_was_listed_stays() {
        let world = World::new(2).await;
        let (moved, other) = (world.vms[0], world.other);
        world.db.vms.modify(&moved, |record| record.host = other).await.unwrap();
        let spec = world.db.vms.get(&moved).await.unwrap().unwrap().value.spec;
        world.db.vdis.modify(&spec.disks[0].vdi, |vdi| vdi.host = other).await.unwrap();
        world.forget().await.unwrap();
        assert_eq!(world.left().await, (0, 6), "all of it is there, and nothing else");
        assert!(world.db.vms.get(&moved).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn an_sr_that_another_host_attaches_meanwhile_is_a_conflict() {
        let world = World::new(0).await;
        let last = host_in(&world.db, &world.host, &world.vms, &world.vdis).await.unwrap();
        let third = HostId::new();
        world.db.srs.modify(&world.nas, |record| record.hosts.extend([third])).await.unwrap();
        assert!(world.db.store.commit(last).await.unwrap_err().is_conflict());
        world.forget().await.unwrap();
        let hosts = world.db.srs.get(&world.nas).await.unwrap().unwrap().value.hosts;
        assert_eq!(hosts, BTreeSet::from([world.other, third]));
    }
}
