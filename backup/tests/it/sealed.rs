//! Sealed repositories: who has a write-only key adds backups, and neither reads nor deletes any.

use std::sync::Arc;

use xenith_backup::chunk::Chunking;
use xenith_backup::crypto::Secret32;
use xenith_backup::format::{FrameOpener, HEADER_LEN, ObjectBuilder, ObjectKind};
use xenith_backup::gc::{self, Outcome, Plan};
use xenith_backup::id::ObjectHash;
use xenith_backup::index::{Index, list_packs, pack_key, read_pack_footer, write_segment};
use xenith_backup::ingest::Progress;
use xenith_backup::keys::{self, Credential, KdfCost, Keyring};
use xenith_backup::manifest::{self, Manifest};
use xenith_backup::packer::StoredPack;
use xenith_backup::retention::Policy;
use xenith_backup::store::{MemoryStore, ObjectKey, ObjectStore};
use xenith_backup::verify::{Level, verify};
use xenith_backup::{BackupError, Repository, Result, copy, prune};

use crate::support::{
    Disk, MIB, backup, in_memory, noise, open, options, passphrase, restored, try_backup, try_restore,
};

/// A sealed repository as its owner and as a writer see it.
struct Sealed {
    store: Arc<MemoryStore>,
    owner: Repository,
    writer: Repository,
}

fn sealed() -> Sealed {
    let store = Arc::new(MemoryStore::new());
    let ring = Keyring::create(Chunking::default()).sealed();
    let owner = Repository::init(store.clone(), &ring, &passphrase(), KdfCost::CHEAP).unwrap();
    let writer = new_writer(&store, &owner);
    Sealed { store, owner, writer }
}

fn new_writer(store: &Arc<MemoryStore>, owner: &Repository) -> Repository {
    let key = Credential::KeyFile(Secret32::random());
    keys::add_writer(owner.store(), owner.keys(), &key, KdfCost::CHEAP).unwrap();
    Repository::open(store.clone(), &key).unwrap()
}

fn is_refused<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    let error = result.expect_err(what);
    let told = xenith_backup::error::chain(&error);
    assert!(told.contains("only adds backups"), "{what}: {told}");
}

fn clean(repo: &Repository) {
    let report = verify(repo, Level::Deep, 2).unwrap();
    assert_eq!(report.problems, []);
}

/// What it takes to name a pack's frames.
fn opens(repo: &Repository, pack: &ObjectHash) -> bool {
    let head = repo.store().read_range(&pack_key(pack), 0..HEADER_LEN as u64).unwrap();
    FrameOpener::new(&head, ObjectKind::Pack, repo.keyring(), "p").is_ok()
}

#[test]
fn a_writer_adds_increments_that_only_the_owner_reads() {
    let Sealed { store, owner, writer } = sealed();
    let mut disk = Disk::new(40 * MIB);
    disk.write(MIB, &noise(1, 6 * MIB));
    let first = (backup(&writer, "vm", &disk.bytes), disk.bytes.clone());
    disk.take_changes();
    disk.write(3 * MIB, b"changed");
    let changed = disk.take_changes();
    let second = try_backup(&writer, &[("vm", &disk.bytes, Some(changed))]).unwrap();
    assert!(second.disks[0].stats.read < MIB as u64, "only what changed is read: {second:?}");
    // The same again stores nothing: what is there is known without being readable.
    let third = backup(&writer, "clone", &disk.bytes);
    assert_eq!(third.disks[0].stats.new_chunks, 0);
    // Another writer finds it, too.
    let fourth = backup(&new_writer(&store, &owner), "other", &disk.bytes);
    assert_eq!(fourth.disks[0].stats.new_chunks, 0);

    for (manifest, name, wanted) in [
        (&first.0, "vm", &first.1),
        (&second, "vm", &disk.bytes),
        (&third, "clone", &disk.bytes),
        (&fourth, "other", &disk.bytes),
    ] {
        assert!(restored(&owner, manifest, name) == *wanted, "{name}");
    }
    clean(&owner);

    is_refused(try_restore(&writer, "vm"), "restoring");
    is_refused(verify(&writer, Level::Quick, 1), "verifying");
    let shared = list_packs(&writer).unwrap().iter().filter(|pack| opens(&writer, &pack.name)).count();
    let all = list_packs(&owner).unwrap();
    assert!(all.iter().all(|pack| opens(&owner, &pack.name)));
    assert!(shared < all.len(), "packs of chunks stay closed");
    let index = Index::load(&owner).unwrap();
    for pack in all.iter().filter(|pack| opens(&writer, &pack.name)) {
        let footer = read_pack_footer(&writer, &pack.name, pack.size).unwrap();
        let pages =
            footer.frames().iter().all(|(_, frame)| frame.kind == xenith_backup::format::FrameKind::Page);
        assert!(pages, "a writer reads maps and nothing else");
    }
    assert_eq!(index.problems().len(), 0);
}

#[test]
fn a_writer_collects_nothing_and_makes_no_keys() {
    let Sealed { store: _, owner, writer } = sealed();
    let made = backup(&writer, "vm", &noise(1, MIB));
    is_refused(gc::propose(&writer, vec![made.id]), "proposing");
    is_refused(gc::repack(&writer, 100), "repacking");
    is_refused(prune::plan(&writer, &Policy::default(), None), "pruning");
    let plan = gc::propose(&owner, vec![made.id]).unwrap().plan;
    is_refused(gc::publish(&writer, &plan), "publishing");
    is_refused(gc::carry_out(&writer, &plan, u64::MAX, 0), "carrying out");
    let key = Credential::KeyFile(Secret32::random());
    is_refused(keys::add_writer(writer.store(), writer.keys(), &key, KdfCost::CHEAP), "making a key");
    is_refused(keys::rotate(writer.store(), writer.keys(), &key, KdfCost::CHEAP), "rotating");
    is_refused(writer.set_retention(None), "changing the ring");
    let plain = in_memory().1;
    let refused = keys::add_writer(plain.store(), plain.keys(), &key, KdfCost::CHEAP).unwrap_err();
    assert!(refused.to_string().contains("init --sealed"), "{refused}");
}

/// A plan as somebody makes it who has a writer's ring and no scruples.
fn forge(writer: &Repository, key: &str, plan: &Plan, with_tail: bool) {
    let mut plain = serde_json::to_vec(plan).unwrap();
    if with_tail {
        plain.extend_from_slice(&[7; 32]);
    }
    let mut object = ObjectBuilder::new(ObjectKind::Plan, writer.keyring());
    object.push_all(&plain);
    writer.store().create(&ObjectKey::parse(key).unwrap(), &[object.finish().0]).unwrap();
}

fn everything(repo: &Repository, name: &str) -> Plan {
    let packs = list_packs(repo).unwrap().into_iter().map(|pack| pack.name).collect();
    let forget = manifest::list_ids(repo).unwrap();
    Plan { name: name.to_owned(), created: 1, forget, packs, not_before: 0 }
}

#[test]
fn plans_of_a_writer_count_for_nothing() {
    for with_tail in [false, true] {
        let Sealed { store: _, owner, writer } = sealed();
        let bytes = noise(1, 2 * MIB);
        let old = backup(&writer, "old", &noise(2, 2 * MIB));
        let made = backup(&writer, "vm", &bytes);
        let name = "000000000001-00";
        forge(&writer, &format!("plans/{name}"), &everything(&owner, name), with_tail);
        assert_eq!(gc::published(&owner).unwrap(), []);
        assert_eq!(gc::visible(&owner).unwrap().0.len(), 2);
        let report = verify(&owner, Level::Quick, 1).unwrap();
        assert!(report.problems.iter().any(|problem| problem.object.contains(name)), "{:?}", report.problems);

        // A real one is carried out, and takes the false one away.
        let plan = gc::propose(&owner, vec![old.id]).unwrap().plan;
        assert!(!plan.packs.is_empty());
        gc::publish(&owner, &plan).unwrap();
        let done = gc::carry_out(&owner, &plan, plan.created + 1, 0).unwrap();
        assert!(matches!(done, Outcome::Done { forgotten: 1, packs: 1.., .. }), "{done:?}");
        assert_eq!(owner.store().list("plans/").unwrap(), []);
        assert!(restored(&owner, &made, "vm") == bytes);
        clean(&owner);
    }
}

#[test]
fn verdicts_of_a_writer_delete_nothing() {
    type Forgery = fn(&Repository, &Repository, &Plan);
    let forgeries: [(&str, Forgery); 2] = [
        ("one that names all", |owner, writer, plan| {
            forge(writer, &format!("verdicts/{}", plan.name), &everything(owner, &plan.name), true);
        }),
        ("the plan itself, byte for byte", |_, writer, plan| {
            let at = |kind: &str| ObjectKey::parse(&format!("{kind}/{}", plan.name)).unwrap();
            let plan = writer.store().read(&at("plans"), 1 << 20).unwrap();
            writer.store().create(&at("verdicts"), &[plan]).unwrap();
        }),
    ];
    for (what, forgery) in forgeries {
        let Sealed { store: _, owner, writer } = sealed();
        let bytes = noise(1, 2 * MIB);
        let old = backup(&writer, "old", &noise(2, 2 * MIB));
        let plan = gc::propose(&owner, vec![old.id]).unwrap().plan;
        gc::publish(&owner, &plan).unwrap();
        let made = backup(&writer, "vm", &bytes);
        forgery(&owner, &writer, &plan);
        let done = gc::carry_out(&owner, &plan, plan.created + 1, 0).unwrap();
        assert!(matches!(done, Outcome::Done { forgotten: 0, packs: 0, .. }), "{what}: {done:?}");
        assert_eq!(owner.store().list("plans/").unwrap(), [], "{what}");
        assert_eq!(owner.store().list("verdicts/").unwrap(), [], "{what}");
        // The next plan does what this one was to do.
        let plan = gc::propose(&owner, vec![old.id]).unwrap().plan;
        gc::publish(&owner, &plan).unwrap();
        let done = gc::carry_out(&owner, &plan, plan.created + 1, 0).unwrap();
        assert!(matches!(done, Outcome::Done { forgotten: 1, packs: 1.., .. }), "{what}: {done:?}");
        assert!(restored(&owner, &made, "vm") == bytes, "{what}");
        clean(&owner);
    }
}

#[test]
fn new_keys_drop_writers_and_keep_what_they_stored() {
    let store = Arc::new(MemoryStore::new());
    let ring = Keyring::create(Chunking::default()).sealed();
    let owner = Repository::init(store.clone(), &ring, &passphrase(), KdfCost::CHEAP).unwrap();
    let key = Credential::KeyFile(Secret32::random());
    keys::add_writer(owner.store(), owner.keys(), &key, KdfCost::CHEAP).unwrap();
    let bytes = noise(1, 2 * MIB);
    let first = backup(&Repository::open(store.clone(), &key).unwrap(), "vm", &bytes);
    keys::rotate(owner.store(), owner.keys(), &passphrase(), KdfCost::CHEAP).unwrap();
    assert!(matches!(Repository::open(store.clone(), &key), Err(BackupError::WrongKey)));
    let owner = open(store.clone()).unwrap();
    let second = backup(&new_writer(&store, &owner), "vm", &bytes);
    assert_eq!(second.disks[0].stats.new_chunks, 0, "chunks keep their names");
    let third = backup(&new_writer(&store, &owner), "vm", &noise(3, 2 * MIB));
    for (made, wanted) in [(&first, &bytes), (&second, &bytes), (&third, &noise(3, 2 * MIB))] {
        assert!(restored(&owner, made, "vm") == *wanted);
    }
    clean(&owner);
    // What the ring says besides keys reaches the writers as well.
    let changed = owner.set_retention(None).unwrap();
    assert!(new_writer(&store, &changed).keyring().is_write_only());
    assert_eq!(store.list("keyring/").unwrap().len(), 2);
}

#[test]
fn what_is_there_moves_into_a_sealed_repository() {
    let (_, plain) = in_memory();
    let bytes = noise(1, 2 * MIB);
    backup(&plain, "vm", &bytes);
    let Sealed { owner, writer, .. } = sealed();
    let copied: Vec<Manifest> = copy::copy(&plain, &writer, &options(), &Progress::default()).unwrap();
    assert!(restored(&owner, &copied[0], "vm") == bytes);
    // Out of it again, only with its own key.
    let (_, out) = in_memory();
    is_refused(copy::copy(&writer, &out, &options(), &Progress::default()), "copying out");
    assert_eq!(copy::copy(&owner, &out, &options(), &Progress::default()).unwrap().len(), 1);
}

#[test]
fn false_entries_of_the_index_are_named_and_mended() {
    let Sealed { store, owner, writer } = sealed();
    backup(&writer, "vm", &noise(1, 2 * MIB));
    // What another backup would consist of, seen elsewhere, is said to lie in a pack that is there.
    let bytes = noise(2, 2 * MIB);
    let elsewhere = open(Arc::new(store.fork())).unwrap();
    let before: Vec<ObjectHash> = list_packs(&owner).unwrap().iter().map(|pack| pack.name).collect();
    backup(&elsewhere, "victim", &bytes);
    let mut frames = Vec::new();
    for pack in list_packs(&elsewhere).unwrap().iter().filter(|pack| !before.contains(&pack.name)) {
        frames.extend_from_slice(read_pack_footer(&elsewhere, &pack.name, pack.size).unwrap().frames());
    }
    frames.retain(|(_, frame)| frame.kind == xenith_backup::format::FrameKind::Chunk);
    assert!(!frames.is_empty());
    let (name, size) = (before[0], store.size(&pack_key(&before[0])).unwrap());
    write_segment(&writer, &[StoredPack { name, size, frames }]).unwrap();

    let victim = backup(&writer, "victim", &bytes);
    assert_eq!(victim.disks[0].stats.new_chunks, 0, "it believes what the index says");
    try_restore(&owner, "victim").expect_err("there is nothing to restore");
    for level in [Level::Quick, Level::Deep] {
        let report = verify(&owner, level, 2).unwrap();
        let told: Vec<_> = report.problems.iter().filter(|problem| !problem.touches.is_empty()).collect();
        assert_eq!(told.len(), 1, "{:?}", report.problems);
        assert_eq!(told[0].object, format!("index of pack {name}"));
        assert_eq!(told[0].touches, [format!("victim@{}", victim.id)]);
    }
    // As it says: without the cache, and backed up whole.
    for info in store.list("index/").unwrap() {
        store.delete(&info.key).unwrap();
    }
    backup(&owner, "victim", &bytes);
    assert!(restored(&owner, &victim, "victim") == bytes, "what was spoilt is whole again, too");
    clean(&owner);
}
