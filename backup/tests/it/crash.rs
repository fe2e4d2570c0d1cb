//! The process dies, the store fails or fills up: at every single write.

use std::sync::Arc;
use std::time::Duration;

use xenith_backup::chunk::Chunking;
use xenith_backup::keys::{KdfCost, Keyring};
use xenith_backup::store::{
    Fault, FaultyStore, MemoryStore, ObjectKey, ObjectStore, RetryingStore, StoreError,
};
use xenith_backup::verify::{Level, verify};
use xenith_backup::{BackupError, Repository, manifest};
use xenith_backup::{forward_store, gc};

use crate::support::{Disk, MIB, backup, in_memory, noise, open, passphrase, restored, try_backup};

/// A disk whose increment writes more than one pack of data would: pieces far apart.
fn disks() -> (Disk, Disk) {
    let mut first = Disk::new(40 * MIB);
    first.write(MIB, &noise(1, MIB));
    first.write(20 * MIB, &noise(2, MIB));
    first.take_changes();
    let mut second = first.clone();
    second.write(21 * MIB, &noise(3, MIB / 2));
    (first, second)
}

fn faulty(memory: &MemoryStore, fault: Fault, at: u64) -> Arc<FaultyStore<MemoryStore>> {
    Arc::new(FaultyStore::new(memory.fork(), Some((fault, at))))
}

fn survivor(store: Arc<FaultyStore<MemoryStore>>) -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(Arc::into_inner(store).expect("the dead process let go").into_inner());
    let repo = open(store.clone()).unwrap();
    (store, repo)
}

#[test]
fn a_backup_cut_off_at_any_write_leaves_the_old_ones_and_resumes() {
    let (store, repo) = in_memory();
    let (first, second) = disks();
    let old = backup(&repo, "vm", &first.bytes);
    let mut reached_the_end = 0;
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for at in 0.. {
            let faulty = faulty(&store, fault, at);
            let result = open(faulty.clone())
                .and_then(|repo| try_backup(&repo, &[("vm", &second.bytes, Some(second.changed.clone()))]));
            let (_, repo) = survivor(faulty);
            assert!(restored(&repo, &old, "vm") == first.bytes, "{fault:?} at write {at}");
            let report = verify(&repo, Level::Deep, 1).unwrap();
            assert_eq!(report.problems, vec![], "{fault:?} at write {at}");
            let committed = manifest::list(&repo).unwrap().0.len() == 2;
            assert!(committed || result.is_err(), "a failed commit was reported as done");
            // The next run finds what the dead one stored.
            let again = try_backup(&repo, &[("vm", &second.bytes, None)]).unwrap();
            assert!(restored(&repo, &again, "vm") == second.bytes);
            if result.is_ok() {
                reached_the_end += 1;
                break;
            }
            if at >= 2 {
                let new = again.disks[0].stats.new_bytes;
                assert_eq!(new, 0, "{fault:?} at write {at}: the stored chunks were not found");
            }
        }
    }
    assert_eq!(reached_the_end, 2);
}

#[test]
fn an_init_cut_off_at_any_write_can_be_run_again() {
    let init = |store: Arc<dyn ObjectStore>| {
        let ring = Keyring::create(Chunking::default());
        Repository::init(store, &ring, &passphrase(), KdfCost::CHEAP).map(drop)
    };
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for at in 0.. {
            let faulty = Arc::new(FaultyStore::new(MemoryStore::new(), Some((fault, at))));
            let result = init(faulty.clone());
            let store = Arc::new(Arc::into_inner(faulty).expect("the dead process let go").into_inner());
            let is_made = store.keys().iter().any(|key| key.as_str() == "config");
            let again = init(store.clone());
            assert_eq!(again.is_err(), is_made, "{fault:?} at write {at}: {again:?}");
            let repo = open(store).unwrap();
            let manifest = backup(&repo, "vm", &noise(1, MIB));
            assert!(restored(&repo, &manifest, "vm") == noise(1, MIB));
            if result.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn a_collection_cut_off_at_any_write_loses_nothing_and_is_finished_by_the_next() {
    let (store, repo) = in_memory();
    let (first, second) = disks();
    let old = backup(&repo, "vm", &first.bytes);
    let new = backup(&repo, "vm", &second.bytes);
    let collect = |repo: &Repository| -> xenith_backup::Result<()> {
        let forget = manifest::list(repo)?.0.iter().map(|m| m.id).filter(|id| *id == old.id).collect();
        let proposal = gc::propose(repo, forget)?;
        gc::publish(repo, &proposal.plan)?;
        for plan in gc::published(repo)? {
            gc::carry_out(repo, &plan, plan.created, 0)?;
        }
        Ok(())
    };
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for at in 0.. {
            let faulty = faulty(&store, fault, at);
            let result = open(faulty.clone()).and_then(|repo| collect(&repo));
            let (memory, repo) = survivor(faulty);
            assert!(restored(&repo, &new, "vm") == second.bytes, "{fault:?} at write {at}");
            collect(&repo).unwrap();
            assert!(restored(&repo, &new, "vm") == second.bytes);
            assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
            let keys = memory.keys();
            let left = |prefix: &str| keys.iter().filter(|key| key.as_str().starts_with(prefix)).count();
            assert_eq!((left("plans/"), left("verdicts/"), left("manifests/")), (0, 0, 1));
            if result.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn answers_that_are_lost_late_or_double_change_nothing() {
    let (store, _) = in_memory();
    let (first, _) = disks();
    for fault in [Fault::FailOnce, Fault::LoseAnswer, Fault::Late] {
        for at in 0..8 {
            let memory = store.fork();
            let faulty = FaultyStore::new(memory, Some((fault, at))).with_delay(Duration::from_millis(1));
            let patient = RetryingStore::new(faulty, Duration::from_millis(1), Duration::from_secs(5));
            let repo = open(Arc::new(patient)).unwrap();
            let manifest = backup(&repo, "vm", &first.bytes);
            assert!(restored(&repo, &manifest, "vm") == first.bytes, "{fault:?} at {at}");
            assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
        }
    }
}

/// Every write and delete of a collection takes place a second time, after the one that was retried.
#[test]
fn what_comes_late_takes_nothing_that_came_after_it() {
    let (store, repo) = in_memory();
    let (first, second) = disks();
    let old = backup(&repo, "vm", &first.bytes);
    let kept = backup(&repo, "vm", &second.bytes);
    for at in 0..16 {
        let faulty = FaultyStore::new(store.fork(), Some((Fault::Late, at)));
        let patient = RetryingStore::new(faulty, Duration::from_millis(1), Duration::from_secs(5));
        let repo = open(Arc::new(patient)).unwrap();
        let plan = gc::propose(&repo, vec![old.id]).unwrap().plan;
        gc::publish(&repo, &plan).unwrap();
        gc::carry_out(&repo, &plan, plan.created, 0).unwrap();
        // What went is stored again at once.
        let again = backup(&repo, "vm", &first.bytes);
        assert!(restored(&repo, &again, "vm") == first.bytes, "at {at}");
        assert!(restored(&repo, &kept, "vm") == second.bytes, "at {at}");
        assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![], "at {at}");
    }
}

#[test]
fn a_full_store_says_so_and_keeps_what_it_has() {
    let (store, repo) = in_memory();
    let (first, second) = disks();
    let old = backup(&repo, "vm", &first.bytes);
    for at in 0..5 {
        let faulty = faulty(&store, Fault::Full, at);
        let error = open(faulty.clone())
            .and_then(|repo| try_backup(&repo, &[("vm", &second.bytes, None)]))
            .unwrap_err();
        assert!(
            matches!(&error, BackupError::Store(store) if store.to_string().contains("no room")),
            "{error}"
        );
        let (_, repo) = survivor(faulty);
        assert!(restored(&repo, &old, "vm") == first.bytes);
    }
}

#[test]
fn a_revoked_session_cannot_commit() {
    let (_, repo) = in_memory();
    let session = xenith_backup::session::Session::open(&repo).unwrap();
    assert!(manifest::revoke(&repo, &session.id()).unwrap());
    let mut late = backup(&repo, "vm", &noise(1, 8192));
    late.id = session.id();
    assert!(matches!(manifest::commit(&repo, &late), Err(BackupError::SessionRevoked { .. })));
    let listed = repo.store().list("manifests/").unwrap().len();
    assert_eq!((listed, manifest::list(&repo).unwrap().0.len()), (2, 1));
}

/// A store for a credential that may add, list and read.
struct AddOnly(Arc<MemoryStore>);

impl ObjectStore for AddOnly {
    forward_store!(self => self.0; create read_range size list_each);

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let source = std::io::ErrorKind::PermissionDenied.into();
        Err(StoreError::Refused { action: "delete", key: key.to_string(), source })
    }

    fn describe(&self) -> String {
        "a store that only takes".to_owned()
    }
}

#[test]
fn a_writer_needs_to_add_and_nothing_else() {
    let (store, admin) = in_memory();
    let (first, second) = disks();
    let repo = open(Arc::new(AddOnly(store.clone()))).unwrap();
    let old = backup(&repo, "vm", &first.bytes);
    let new = try_backup(&repo, &[("vm", &second.bytes, Some(second.changed.clone()))]).unwrap();
    assert!(restored(&repo, &old, "vm") == first.bytes && restored(&repo, &new, "vm") == second.bytes);
    assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
    // What it may not do, it does not: it cannot free anything.
    let proposal = gc::propose(&repo, vec![old.id]).unwrap();
    gc::publish(&repo, &proposal.plan).unwrap();
    assert!(gc::carry_out(&repo, &proposal.plan, proposal.plan.created, 0).is_err());
    assert!(restored(&admin, &new, "vm") == second.bytes);
}
