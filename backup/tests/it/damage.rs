//! Damage of every kind to objects of every kind is found, named with what it touches, and never restored.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use xenith_backup::chunk::Chunking;
use xenith_backup::format::FrameKind;
use xenith_backup::gc::{self, Outcome};
use xenith_backup::index::{list_packs, pack_key, read_pack_footer};
use xenith_backup::keys::{KdfCost, Keyring};
use xenith_backup::store::{MemoryStore, ObjectKey, ObjectStore};
use xenith_backup::verify::{Level, Report, verify};
use xenith_backup::{BackupError, Repository, manifest};

use crate::support::{
    AfterListing, Disk, MIB, backup, in_memory, noise, open, passphrase, restored, try_backup, try_restore,
};

fn filled() -> (Arc<MemoryStore>, Vec<u8>) {
    let (store, repo) = in_memory();
    let mut bytes = vec![0; 20 * MIB];
    bytes[..MIB].copy_from_slice(&noise(1, MIB));
    bytes[17 * MIB..18 * MIB].copy_from_slice(&noise(2, MIB));
    backup(&repo, "vm", &bytes);
    // A second backup, so that there are two objects of each kind to swap.
    backup(&repo, "other", &noise(3, MIB));
    (store, bytes)
}

/// The object's folder.
fn kind(key: &ObjectKey) -> &str {
    key.as_str().split('/').next().unwrap()
}

fn check(store: Arc<MemoryStore>, level: Level) -> xenith_backup::Result<Report> {
    open(store).and_then(|repo| verify(&repo, level, 2))
}

/// Whether the vm restores to its bytes, or fails; anything else is a lie.
fn restores(store: Arc<MemoryStore>, bytes: &[u8], what: &str) -> bool {
    match open(store).and_then(|repo| try_restore(&repo, "vm")) {
        Ok(restored) => {
            assert!(restored == bytes, "{what}: wrong bytes were restored");
            true
        }
        Err(_) => false,
    }
}

fn damages(store: &MemoryStore, key: &ObjectKey) -> Vec<(String, Option<Bytes>)> {
    let body = store.read(key, 1 << 30).unwrap();
    let mut list = vec![
        (format!("{key} missing"), None),
        (format!("{key} empty"), Some(Bytes::new())),
        (format!("{key} cut in half"), Some(body.slice(..body.len() / 2))),
        (format!("{key} one byte short"), Some(body.slice(..body.len() - 1))),
    ];
    for part in 0..5 {
        let mut flipped = body.to_vec();
        let at = (flipped.len() - 1) * part / 4;
        flipped[at] ^= 1;
        list.push((format!("{key} flipped at {at}"), Some(flipped.into())));
    }
    let twin = store.keys().into_iter().find(|other| other != key && kind(other) == kind(key));
    if let Some(twin) = twin {
        list.push((format!("{key} swapped"), Some(store.read(&twin, 1 << 30).unwrap())));
    }
    list
}

#[test]
fn every_damage_to_every_object() {
    let (store, bytes) = filled();
    let mut kinds = BTreeSet::new();
    for key in store.keys() {
        kinds.insert(kind(&key).to_owned());
        for (what, body) in damages(&store, &key) {
            let hurt = Arc::new(store.fork());
            match body {
                None => hurt.delete(&key).unwrap(),
                Some(body) => hurt.overwrite(&key, body),
            }
            let restored = restores(hurt.clone(), &bytes, &what);
            let report = check(hurt, Level::Normal);
            // Without its keys a repository does not open at all. Losing an index segment or a lease loses
            // nothing; losing a whole manifest is the same as never having had it.
            let harmless =
                what.ends_with("missing") && matches!(kind(&key), "index" | "sessions" | "manifests");
            match report {
                Ok(report) if report.problems.is_empty() => assert!(harmless, "{what} was not found"),
                Ok(report) => {
                    assert!(!harmless, "{what} is no damage: {report:?}");
                    let touches_vm = report.problems.iter().any(|p| {
                        p.touches.iter().any(|t| t.starts_with("vm@")) || p.object.starts_with("manifest ")
                    });
                    assert!(restored || touches_vm, "{what}: the vm is lost, the report does not say so");
                }
                Err(error) => {
                    assert!(matches!(kind(&key), "config" | "keys" | "keyring"), "{what}: {error}");
                    assert!(!restored, "{what}");
                }
            }
        }
    }
    let expected = ["config", "index", "keyring", "keys", "manifests", "packs", "sessions"];
    assert!(kinds.iter().eq(expected), "{kinds:?}");
}

#[test]
fn deep_finds_a_frame_that_a_writer_stored_wrongly() {
    let (store, bytes) = filled();
    let repo = open(store.clone()).unwrap();
    // A pack whose every checksum is right, but one chunk is not what it is named after.
    let (name, lie) = lying_pack(&repo);
    let key = xenith_backup::index::pack_key(&name);
    store.overwrite(&key, lie);
    let normal = check(store.clone(), Level::Normal).unwrap();
    assert_eq!(normal.problems, vec![]);
    let deep = check(store.clone(), Level::Deep).unwrap();
    assert_eq!(deep.problems.len(), 1);
    assert_eq!(deep.problems[0].object, format!("pack {name}"));
    assert!(restores(store, &bytes, "lie"));
}

fn lying_pack(repo: &Repository) -> (xenith_backup::id::ObjectHash, Bytes) {
    use xenith_backup::format::{Codec, FrameKind, FrameRecord, ObjectKind, Sealer, Secrecy};
    let (header, sealer) = Sealer::create(ObjectKind::Pack, Secrecy::Shared, repo.keyring());
    let mut frame = b"not what the id says".to_vec();
    let raw = frame.len();
    sealer.seal(header.len() as u64, &mut frame, 0);
    let record = FrameRecord {
        id: xenith_backup::id::ChunkId([7; 32]),
        kind: FrameKind::Chunk,
        codec: Codec::Raw,
        stored: frame.len() as u32,
        raw: raw as u32,
    };
    let tail = sealer.finish((header.len() + frame.len()) as u64, &[record]);
    let body = Bytes::from([header, frame.into(), tail].concat());
    (xenith_backup::id::ObjectHash::of(&body), body)
}

#[test]
fn a_lost_pack_is_healed_by_the_next_full_run() {
    let (store, bytes) = filled();
    for key in store.keys().iter().filter(|key| kind(key) == "packs") {
        let hurt = Arc::new(store.fork());
        hurt.delete(key).unwrap();
        let repo = open(hurt).unwrap();
        backup(&repo, "vm", &bytes);
        backup(&repo, "other", &noise(3, MIB));
        assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![], "{key}");
    }
}

/// The damages that a run may meet in a pack: what becomes of its bytes.
fn losses(body: &Bytes, kind: FrameKind) -> Vec<(&'static str, Option<Bytes>)> {
    let mut losses = vec![("lost", None), ("cut off", Some(body.slice(..200)))];
    // Of chunks only `verify` finds that: a run that read them all would be a verification.
    if kind == FrameKind::Page {
        losses.push(("overwritten", Some(vec![0u8; body.len()].into())));
    }
    losses
}

#[test]
fn an_increment_over_a_damaged_backup_reads_all_and_is_whole() {
    let (store, repo) = in_memory();
    let mut disk = Disk::new(20 * MIB);
    disk.write(0, &noise(1, 2 * MIB));
    disk.write(17 * MIB, &noise(2, MIB));
    backup(&repo, "vm", &disk.bytes);
    disk.take_changes();
    disk.write(MIB, b"changed");
    let mut seen = 0;
    for pack in list_packs(&repo).unwrap() {
        let footer = read_pack_footer(&repo, &pack.name, pack.size).unwrap();
        let key = pack_key(&pack.name);
        let body = store.read(&key, 1 << 30).unwrap();
        for (what, damaged) in losses(&body, footer.frames()[0].1.kind) {
            let hurt = Arc::new(store.fork());
            match damaged {
                None => hurt.delete(&key).unwrap(),
                Some(damaged) => hurt.overwrite(&key, damaged),
            }
            let repo = open(hurt).unwrap();
            let next = try_backup(&repo, &[("vm", &disk.bytes, Some(disk.changed.clone()))]).unwrap();
            let because = next.disks[0].whole_because.as_deref().unwrap_or_default();
            assert!(because.starts_with("the newest backup is damaged: "), "{what} {key}: {because:?}");
            assert!(restored(&repo, &next, "vm") == disk.bytes, "{what} {key}");
            let open_sessions =
                xenith_backup::session::list(&repo).unwrap().iter().filter(|s| !s.ended).count();
            assert_eq!(open_sessions, 0, "{what} {key}: a collector would wait for the run that failed");
            seen += 1;
        }
    }
    assert_eq!(seen, 5, "a pack of chunks and one of pages");
}

/// A repository with a backup of `bytes`, of whose pack of chunks one byte is wrong, and what `verify` says of it.
fn flipped(bytes: &[u8]) -> (Arc<MemoryStore>, Repository, Report) {
    let (store, repo) = in_memory();
    backup(&repo, "vm", bytes);
    let pack = list_packs(&repo).unwrap().into_iter().max_by_key(|pack| pack.size).unwrap();
    let mut body = store.read(&pack_key(&pack.name), 1 << 30).unwrap().to_vec();
    body[5000] ^= 1;
    store.overwrite(&pack_key(&pack.name), body.into());
    let report = verify(&repo, Level::Normal, 1).unwrap();
    assert_eq!(
        (report.damaged_packs.as_slice(), report.touched_disks()),
        ([pack.name].as_slice(), vec!["vm".to_owned()])
    );
    (store, repo, report)
}

#[test]
fn what_is_set_aside_is_stored_again_and_goes() {
    let bytes = noise(1, 2 * MIB);
    let (store, repo, report) = flipped(&bytes);
    assert_eq!(backup(&repo, "vm", &bytes).disks[0].stats.new_chunks, 0, "it counts as stored");
    assert_eq!(gc::set_aside(&repo, &report.damaged_packs).unwrap(), 1);
    assert_eq!(gc::set_aside(&repo, &report.damaged_packs).unwrap(), 0, "it is aside already");
    assert!(backup(&repo, "vm", &bytes).disks[0].stats.new_chunks > 0);
    for manifest in manifest::list(&repo).unwrap().0 {
        assert!(restored(&repo, &manifest, "vm") == bytes, "the older backups are whole again, too");
    }
    let plan = gc::published(&repo).unwrap().remove(0);
    let late = plan.not_before + 1;
    let early = gc::carry_out(&repo, &plan, late, 0).unwrap();
    assert!(matches!(early, Outcome::Waiting { .. }), "by the store's clock it is too early: {early:?}");
    store.set_clock(late);
    let outcome = gc::carry_out(&repo, &plan, late, 0).unwrap();
    assert!(matches!(outcome, Outcome::Done { packs: 1, spared: 0, .. }), "{outcome:?}");
    assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
}

#[test]
fn what_is_set_aside_and_nowhere_else_stays() {
    let (store, repo, report) = flipped(&noise(1, 2 * MIB));
    gc::set_aside(&repo, &report.damaged_packs).unwrap();
    let plan = gc::published(&repo).unwrap().remove(0);
    store.set_clock(plan.not_before + 1);
    let outcome = gc::carry_out(&repo, &plan, plan.not_before + 1, 0).unwrap();
    assert!(matches!(outcome, Outcome::Done { packs: 0, spared: 1, .. }), "{outcome:?}");
    assert!(list_packs(&repo).unwrap().iter().any(|pack| report.damaged_packs.contains(&pack.name)));
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let (store, _) = filled();
    let config = ObjectKey::parse("config").unwrap();
    let text = String::from_utf8(store.read(&config, 1000).unwrap().to_vec()).unwrap();
    let newer = text.replace("\"format\": 1", "\"format\": 2, \"more\": true");
    store.overwrite(&config, newer.into());
    assert!(matches!(open(store), Err(BackupError::TooNew { found: 2, supported: 1 })));
    let body = br#"{"what": "backup", "format": 2, "manifest": {"news": []}}"#;
    let parsed = manifest::parse(body, &crate::mutations::MANIFEST);
    assert!(matches!(parsed, Err(BackupError::TooNew { found: 2, .. })), "{parsed:?}");
}

#[test]
fn a_lost_ring_is_told_from_a_wrong_key() {
    let (store, _) = filled();
    for key in store.keys().iter().filter(|key| kind(key) == "keyring") {
        store.delete(key).unwrap();
    }
    assert!(matches!(open(store), Err(BackupError::Damaged { object, .. }) if object == "keyring"));
}

#[test]
fn nobody_begins_anew_on_top_of_backups_whose_config_is_lost() {
    let (store, _) = filled();
    store.delete(&ObjectKey::parse("config").unwrap()).unwrap();
    let before = store.keys();
    let ring = Keyring::create(Chunking::default());
    let refused = Repository::init(store.clone(), &ring, &passphrase(), KdfCost::CHEAP).unwrap_err();
    assert!(refused.to_string().contains("`config` is lost"), "{refused}");
    assert_eq!(store.keys(), before);
}

#[test]
fn wrong_keys_and_strange_repositories_are_refused() {
    let (store, _) = filled();
    let wrong = xenith_backup::keys::Credential::Passphrase("wrong".to_owned());
    assert!(matches!(Repository::open(store.clone(), &wrong), Err(BackupError::WrongKey)));
    let config = ObjectKey::parse("config").unwrap();
    let text = String::from_utf8(store.read(&config, 1000).unwrap().to_vec()).unwrap();
    for (name, from, to) in [
        ("newer", "\"format\": 1", "\"format\": 2"),
        ("foreign", "xenith-backup", "someone-else's"),
        ("unknown field", "\"format\"", "\"fromat\""),
    ] {
        let hurt = Arc::new(store.fork());
        hurt.overwrite(&config, text.replace(from, to).into());
        assert!(open(hurt).is_err(), "{name}");
    }
    // A slot that would cost a terabyte of memory to try.
    let hurt = Arc::new(store.fork());
    let slot = store.keys().into_iter().find(|key| kind(key) == "keys").unwrap();
    let text = String::from_utf8(store.read(&slot, 5000).unwrap().to_vec()).unwrap();
    hurt.overwrite(&slot, text.replace("\"memory_kib\": 8", "\"memory_kib\": 1073741824").into());
    assert!(matches!(open(hurt), Err(BackupError::WrongKey)));
}

#[test]
fn what_is_made_and_forgotten_while_it_is_checked_is_no_damage() {
    let (store, repo) = in_memory();
    let first = backup(&repo, "vm", &noise(1, MIB));
    let others = repo.clone();
    let then = move || {
        backup(&others, "vm", &noise(2, MIB));
        let plan = gc::propose(&others, vec![first.id]).unwrap().plan;
        gc::publish(&others, &plan).unwrap();
        let outcome = gc::carry_out(&others, &plan, plan.created, 0).unwrap();
        assert!(matches!(outcome, Outcome::Done { forgotten: 1, .. }), "{outcome:?}");
    };
    // Plans are listed after the index was read, and before packs and maps are looked at.
    let during = open(AfterListing::arc(store, "plans/", then)).unwrap();
    for repo in [during, repo] {
        assert_eq!(verify(&repo, Level::Deep, 1).unwrap().problems, vec![]);
    }
}
