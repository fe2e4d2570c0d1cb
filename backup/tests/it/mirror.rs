//! A mirror: whole packs, moved as they are; cut off anywhere; beside collectors at both ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use xenith_backup::chunk::Chunking;
use xenith_backup::id::BackupId;
use xenith_backup::ingest::Progress;
use xenith_backup::keys::{Credential, KdfCost, Keyring};
use xenith_backup::manifest::Manifest;
use xenith_backup::mirror::{self, Look, Mirrored};
use xenith_backup::store::{Fault, FaultyStore, MemoryStore, ObjectKey, ObjectStore};
use xenith_backup::verify::{Level, verify};
use xenith_backup::{BackupError, Repository, Result, gc, hold, manifest, session};

use crate::support::{Disk, MIB, backup, in_memory, noise, open, passphrase, restored, try_backup};

/// The mirror's own: what it was made from does not open it.
fn other() -> Credential {
    Credential::Passphrase("battery staple".to_owned())
}

fn open_mirror(store: Arc<dyn ObjectStore>) -> Result<Repository> {
    Repository::open(store, &other())
}

fn made(from: &Repository) -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    let to = mirror::init(from, store.clone(), (&other(), KdfCost::CHEAP), None).unwrap();
    (store, to)
}

fn bring(from: &Repository, to: &Repository) -> Mirrored {
    let done = mirror::mirror(from, to, Look::New, &Progress::default()).unwrap();
    assert!(done.problems.is_empty(), "{:?}", done.problems);
    done
}

/// What of each pack is behind its header.
fn bodies(store: &MemoryStore) -> BTreeSet<Vec<u8>> {
    let packs = store.keys().into_iter().filter(|key| key.as_str().starts_with("packs/"));
    packs.map(|key| store.read(&key, 1 << 26).unwrap()[128..].to_vec()).collect()
}

fn count(store: &MemoryStore, prefix: &str) -> usize {
    store.keys().iter().filter(|key| key.as_str().starts_with(prefix)).count()
}

fn copy_of(to: &Repository, source: &Manifest) -> Manifest {
    let (manifests, _) = manifest::list(to).unwrap();
    manifests.into_iter().find(|manifest| manifest.origin == Some(source.id)).expect("it was mirrored")
}

fn is_sound(repo: &Repository, what: &str) {
    assert_eq!(verify(repo, Level::Deep, 1).unwrap().problems, vec![], "{what}");
}

/// A disk, and the same with a piece changed.
fn disks() -> (Disk, Disk) {
    let mut first = Disk::new(40 * MIB);
    first.write(MIB, &noise(1, MIB));
    first.write(20 * MIB, &noise(2, MIB));
    first.take_changes();
    let mut second = first.clone();
    second.write(21 * MIB, &noise(3, MIB / 2));
    (first, second)
}

#[test]
fn packs_are_moved_as_they_are_and_only_those_that_are_missing() {
    let (store, from) = in_memory();
    let (first, second) = disks();
    let old = backup(&from, "vm", &first.bytes);
    let (mirror_store, to) = made(&from);
    assert_ne!(to.keyring().repo(), from.keyring().repo());
    hold::place(&from, &old.id).unwrap();
    let whole = bring(&from, &to);
    assert_eq!(whole.manifests.len(), 1);
    assert_eq!(bodies(&mirror_store), bodies(&store), "nothing is packed or encrypted again");
    let copy = copy_of(&to, &old);
    assert_eq!((copy.created, copy.number(), &copy.host), (old.created, old.number(), &old.host));
    assert_eq!(hold::list(&to).unwrap(), [copy.id], "a hold comes along");

    let again = bring(&from, &to);
    assert_eq!((again.manifests.len(), again.packs), (0, 0));
    let new = try_backup(&from, &[("vm", &second.bytes, Some(second.changed.clone()))]).unwrap();
    hold::place_for(&from, &new.id, "instant").unwrap();
    let increment = bring(&from, &to);
    assert_eq!(hold::list(&to).unwrap(), [copy.id], "what a program needs for a while is needed there");
    assert!(increment.packs > 0 && increment.bytes < whole.bytes / 2, "{increment:?}");
    assert_eq!(bodies(&mirror_store), bodies(&store));
    assert_eq!(copy_of(&to, &new).number(), new.number());

    // With nothing but the mirror, its passphrase, and no cache.
    for key in mirror_store.keys() {
        if key.as_str().starts_with("index/") || key.as_str().starts_with("sessions/") {
            mirror_store.delete(&key).unwrap();
        }
    }
    drop((from, to, store));
    assert!(matches!(open(mirror_store.clone()), Err(BackupError::WrongKey)));
    let alone = open_mirror(mirror_store).unwrap();
    assert!(restored(&alone, &copy, "vm") == first.bytes);
    assert!(restored(&alone, &copy_of(&alone, &new), "vm") == second.bytes);
    is_sound(&alone, "alone");
    // It goes on as a repository like any other, and finds what is there.
    let own = backup(&alone, "vm", &second.bytes);
    assert_eq!(own.disks[0].stats.new_bytes, 0);
}

#[test]
fn a_session_is_not_over_while_its_manifest_may_arrive() {
    let (_, from) = in_memory();
    backup(&from, "vm", &noise(1, MIB));
    let (mirror_store, _) = made(&from);
    for at in 0.. {
        let faulty = Arc::new(FaultyStore::new(mirror_store.fork(), Some((Fault::Late, at))));
        let to = open_mirror(faulty.clone()).unwrap();
        let brought = mirror::mirror(&from, &to, Look::New, &Progress::default());
        let sessions = session::list(&to).unwrap();
        let ended = |id: &BackupId| sessions.iter().any(|session| session.id == *id && session.ended);
        let before = manifest::list_ids(&to).unwrap();
        if faulty.mutations() <= at {
            brought.unwrap();
            assert_eq!(before.len(), 1);
            return;
        }
        // What was put off takes place.
        for number in 0..4 {
            hold::place(&to, &BackupId::new(number)).unwrap();
        }
        let late = manifest::list_ids(&to).unwrap();
        for id in late.iter().filter(|id| !before.contains(id)) {
            assert!(!ended(id), "write {at}: no collector waited for {id}, and it is a backup now");
        }
    }
}

#[test]
fn a_mirroring_cut_off_at_any_write_resumes_and_moves_nothing_twice() {
    let (store, from) = in_memory();
    let (first, second) = disks();
    let sources = [backup(&from, "vm", &first.bytes), backup(&from, "vm", &second.bytes)];
    let (empty, _) = made(&from);
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for at in 0.. {
            let faulty = Arc::new(FaultyStore::new(empty.fork(), Some((fault, at))));
            let result = open_mirror(faulty.clone())
                .and_then(|to| mirror::mirror(&from, &to, Look::New, &Progress::default()).map(drop));
            let survivor = Arc::new(Arc::into_inner(faulty).expect("the dead process let go").into_inner());
            let to = open_mirror(survivor.clone()).unwrap();
            is_sound(&to, &format!("{fault:?} at write {at}"));
            bring(&from, &to);
            for (source, bytes) in sources.iter().zip([&first.bytes, &second.bytes]) {
                assert!(restored(&to, &copy_of(&to, source), "vm") == *bytes, "{fault:?} at write {at}");
            }
            assert_eq!(count(&survivor, "packs/"), count(&store, "packs/"), "{fault:?} at write {at}");
            is_sound(&to, &format!("{fault:?} at write {at}, resumed"));
            if result.is_ok() {
                break;
            }
        }
    }
}

/// The mirror's collector is about to delete what the source still needs: it is moved anew, under another name, and what the
/// plan names goes, however late somebody carries it out.
#[test]
fn a_plan_of_the_mirror_takes_nothing_from_what_is_mirrored_after_it() {
    let (_store, from) = in_memory();
    let bytes = noise(1, 2 * MIB);
    let first = backup(&from, "vm", &bytes);
    let (mirror_store, to) = made(&from);
    bring(&from, &to);
    let gone = copy_of(&to, &first);
    let plan = gc::propose(&to, vec![gone.id]).unwrap().plan;
    assert!(!plan.packs.is_empty(), "all of it goes");
    gc::publish(&to, &plan).unwrap();
    // In the source nothing is new: the second backup consists of the packs of the first.
    let second = backup(&from, "vm", &bytes);
    assert_eq!(second.disks[0].stats.new_bytes, 0);
    let moved = mirror::mirror(&from, &to, Look::New, &Progress::default()).unwrap();
    assert!(moved.packs > 0 && moved.problems.is_empty(), "{moved:?}");
    let outcome = gc::carry_out(&to, &plan, plan.created, 0).unwrap();
    assert!(matches!(outcome, gc::Outcome::Done { packs, .. } if packs == plan.packs.len()), "{outcome:?}");
    assert!(restored(&to, &copy_of(&to, &second), "vm") == bytes);
    // A second collector, which read the verdict before the first one had done all of it, deletes by name.
    for pack in &plan.packs {
        let hex = pack.to_string();
        let key = ObjectKey::parse(&format!("packs/{}/{hex}", &hex[..2])).unwrap();
        mirror_store.delete(&key).unwrap();
    }
    is_sound(&to, "after the late collector");
    assert!(restored(&to, &copy_of(&to, &second), "vm") == bytes);
}

#[test]
fn what_the_source_pruned_stays_in_the_mirror_and_is_not_asked_for() {
    let (_store, from) = in_memory();
    let (one, two) = (noise(1, 2 * MIB), noise(2, 2 * MIB));
    let old = backup(&from, "vm", &one);
    let (_mirror_store, to) = made(&from);
    bring(&from, &to);
    let forgotten = backup(&from, "vm", &noise(3, MIB));
    let new = backup(&from, "vm", &two);
    let plan = gc::propose(&from, vec![old.id, forgotten.id]).unwrap().plan;
    gc::publish(&from, &plan).unwrap();
    gc::carry_out(&from, &plan, plan.created, 0).unwrap();
    let brought = bring(&from, &to);
    assert_eq!(brought.manifests.len(), 1);
    assert!(restored(&to, &copy_of(&to, &old), "vm") == one);
    assert!(restored(&to, &copy_of(&to, &new), "vm") == two);
    is_sound(&to, "both");
}

#[test]
fn what_the_mirror_lost_is_brought_again_where_all_is_looked_at() {
    let (_store, from) = in_memory();
    let (first, _) = disks();
    let source = backup(&from, "vm", &first.bytes);
    let (mirror_store, to) = made(&from);
    bring(&from, &to);
    let packs = mirror_store.keys().into_iter().filter(|key| key.as_str().starts_with("packs/"));
    let largest = packs.max_by_key(|key| mirror_store.size(key).unwrap()).unwrap();
    mirror_store.delete(&largest).unwrap();
    assert_eq!(bring(&from, &to).packs, 0, "it has the backup");
    assert!(!verify(&to, Level::Deep, 1).unwrap().problems.is_empty());

    let whole = mirror::mirror(&from, &to, Look::Whole, &Progress::default()).unwrap();
    assert!(whole.packs > 0 && whole.manifests.is_empty() && whole.problems.is_empty(), "{whole:?}");
    assert_eq!(manifest::list(&to).unwrap().0.len(), 1, "the backup that was there is whole again");
    assert!(restored(&to, &copy_of(&to, &source), "vm") == first.bytes);
    is_sound(&to, "what was lost is there");
    let again = mirror::mirror(&from, &to, Look::Whole, &Progress::default()).unwrap();
    assert_eq!(again.packs, 0, "nothing is missing any more");
}

#[test]
fn damage_is_named_and_stays_where_it_is() {
    let (store, from) = in_memory();
    let bad = backup(&from, "bad", &noise(1, 2 * MIB));
    let bad_packs: Vec<ObjectKey> =
        store.keys().into_iter().filter(|key| key.as_str().starts_with("packs/")).collect();
    let good = backup(&from, "good", &noise(2, 2 * MIB));
    // The larger one: the other holds the map.
    let largest = bad_packs.iter().max_by_key(|key| store.size(key).unwrap()).unwrap();
    let mut bytes = store.read(largest, 1 << 26).unwrap().to_vec();
    bytes[5000] ^= 1;
    store.overwrite(largest, bytes.into());
    let (_mirror_store, to) = made(&from);
    let done = mirror::mirror(&from, &to, Look::New, &Progress::default()).unwrap();
    assert_eq!(done.manifests.len(), 1);
    let [BackupError::Damaged { detail, .. }] = done.problems.as_slice() else {
        panic!("{:?}", done.problems)
    };
    assert!(detail.contains("packs that hold it are damaged"), "{detail}");
    assert!(restored(&to, &copy_of(&to, &good), "good") == noise(2, 2 * MIB));
    assert!(manifest::list(&to).unwrap().0.iter().all(|manifest| manifest.origin != Some(bad.id)));
    is_sound(&to, "the mirror");
}

#[test]
fn sealed_repositories_have_sealed_mirrors_and_strangers_none() {
    let store = Arc::new(MemoryStore::new());
    let ring = Keyring::create(Chunking::default()).sealed();
    let from = Repository::init(store.clone(), &ring, &passphrase(), KdfCost::CHEAP).unwrap();
    let bytes = noise(1, 2 * MIB);
    let source = backup(&from, "vm", &bytes);
    let (mirror_store, to) = made(&from);
    bring(&from, &to);
    assert_eq!(bodies(&mirror_store), bodies(&store));
    assert!(restored(&to, &copy_of(&to, &source), "vm") == bytes);
    let writer = Credential::KeyFile(xenith_backup::crypto::Secret32::random());
    xenith_backup::keys::add_writer(to.store(), to.keys(), &writer, KdfCost::CHEAP).unwrap();
    let writes = Repository::open(mirror_store, &writer).unwrap();
    let read = crate::support::try_restore(&writes, &format!("vm@{}", copy_of(&to, &source).id));
    assert!(matches!(read, Err(BackupError::WriteOnly { .. } | BackupError::Block(_))), "{read:?}");

    let (_other_store, stranger) = in_memory();
    for (one, another) in [(&from, &stranger), (&stranger, &to), (&from, &from), (&writes, &to)] {
        let refused = mirror::mirror(one, another, Look::New, &Progress::default());
        assert!(
            matches!(refused, Err(BackupError::Invalid(_) | BackupError::WriteOnly { .. })),
            "{refused:?}"
        );
    }
}
