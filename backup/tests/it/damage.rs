//! Damage of every kind to objects of every kind is found, named with what it touches, and never restored.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use xenith_backup::store::{MemoryStore, ObjectKey, ObjectStore};
use xenith_backup::verify::{Level, Report, verify};
use xenith_backup::{BackupError, Repository};

use crate::support::{MIB, backup, in_memory, noise, open, try_restore};

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
