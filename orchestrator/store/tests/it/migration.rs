//! Older stores become newer ones, also after a crash in the middle.

use std::fs;
use std::path::Path;

use xenith_orchestrator_store::{
    Keyspace, Migration, Rewrite, RocksStore, ScanRequest, Schema, StateStore, StoreError, Transaction,
    UnsupportedSchema,
};

const VMS: Keyspace = Keyspace::new("vm.intended");
const NOTES: Keyspace = Keyspace::new("note");

/// Version 1: `{"name","memory_kib"}`. Version 2 counts MiB. Version 3 drops VMs without a name.
fn schema(version: u32) -> Schema {
    let schema = Schema::new(version).with(&[VMS, NOTES]);
    let to_mib = Migration { to: 2, what: "memory in MiB", keyspaces: &[VMS], rewrite: memory_in_mib };
    let named = Migration { to: 3, what: "VMs have names", keyspaces: &[VMS], rewrite: drop_nameless };
    match version {
        1 => schema,
        2 => schema.migration(to_mib),
        _ => schema.migration(to_mib).migration(named),
    }
}

fn memory_in_mib(_: Keyspace, _: &[u8], value: &[u8]) -> Result<Rewrite, String> {
    let mut vm: serde_json::Value = serde_json::from_slice(value).map_err(|e| e.to_string())?;
    let record = vm.as_object_mut().ok_or("not an object")?;
    let kib = record.remove("memory_kib").and_then(|kib| kib.as_u64()).ok_or("no memory_kib")?;
    record.insert("memory_mib".to_owned(), (kib / 1024).into());
    Ok(Rewrite::Put(vm.to_string().into()))
}

fn drop_nameless(_: Keyspace, _: &[u8], value: &[u8]) -> Result<Rewrite, String> {
    let vm: serde_json::Value = serde_json::from_slice(value).map_err(|e| e.to_string())?;
    Ok(if vm["name"] == "" { Rewrite::Delete } else { Rewrite::Keep })
}

async fn all(store: &RocksStore) -> Vec<(String, String)> {
    let page = store.scan(ScanRequest::prefix(VMS, [], 10_000)).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    page.entries.iter().map(|entry| (text(&entry.key), text(&entry.value))).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// `tests/fixtures/schema-1` was written by `child_writes_the_fixture`, with schema version 1, when the store was new: the
/// RocksDB files are that day's, the records are made up for this test.
#[tokio::test]
async fn the_fixture_of_version_1_becomes_version_3() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema-1"), &path);
    let store = RocksStore::open(&path, schema(3)).unwrap();
    let expected =
        [("vm-1", r#"{"memory_mib":512,"name":"web"}"#), ("vm-2", r#"{"memory_mib":4096,"name":"db"}"#)];
    let expected: Vec<_> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    assert_eq!(all(&store).await, expected);
    assert_eq!(store.get(NOTES, b"hello").await.unwrap().unwrap().value, "from version 1");
    assert_eq!(store.revision().0, 4, "a migration is no commit");
    drop(store);
    // The way back.
    let before = RocksStore::open(folder.path().join("store.before-schema-2"), schema(1)).unwrap();
    assert_eq!(all(&before).await.len(), 3);
    // And it is done once: the records would not migrate twice.
    let again = RocksStore::open(&path, schema(3)).unwrap();
    assert_eq!(all(&again).await, expected);
}

/// Makes the fixture anew, into the folder that the environment names. Not run otherwise.
#[tokio::test]
async fn child_writes_the_fixture() {
    let Some(folder) = crate::child_folder() else { return };
    let store = RocksStore::open(folder, schema(1)).unwrap();
    for (key, vm) in [
        ("vm-1", r#"{"name":"web","memory_kib":524288}"#),
        ("vm-2", r#"{"name":"db","memory_kib":4194304}"#),
        ("vm-3", r#"{"name":"","memory_kib":1024}"#),
    ] {
        store.commit(Transaction::new().put(VMS, key, vm)).await.unwrap();
    }
    store.commit(Transaction::new().put(NOTES, "hello", "from version 1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goes_on_after_a_crash_in_the_middle() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static BUDGET: AtomicU32 = AtomicU32::new(0);
    static CALLS: AtomicU32 = AtomicU32::new(0);
    const RECORDS: u32 = 600;

    // Stands for the crash: after so many records the migration stops where it is.
    fn until_the_crash(k: Keyspace, key: &[u8], value: &[u8]) -> Result<Rewrite, String> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        if BUDGET.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err("crash".to_owned());
        }
        memory_in_mib(k, key, value)
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = std::sync::Arc::new(RocksStore::open(&path, schema(1)).unwrap());
    // 20 KiB each: several batches of 4 MiB.
    let padding = "x".repeat(20_000);
    for n in 0..RECORDS {
        let vm = format!(r#"{{"name":"vm{n}","memory_kib":{},"note":"{padding}"}}"#, n * 1024);
        store.commit(Transaction::new().put(VMS, format!("{n:05}"), vm)).await.unwrap();
    }
    drop(store);
    let crashing = || {
        let migration = Migration { to: 2, what: "test", keyspaces: &[VMS], rewrite: until_the_crash };
        Schema::new(2).with(&[NOTES]).migration(migration)
    };
    for budget in [100, 300, 350] {
        BUDGET.store(budget, Ordering::Relaxed);
        let error = RocksStore::open(&path, crashing()).map(|_| ()).unwrap_err();
        let StoreError::UnsupportedSchema { source, .. } = &error else { panic!("{error:?}") };
        assert!(matches!(source, UnsupportedSchema::Migration { to: 2, .. }));
    }
    BUDGET.store(u32::MAX, Ordering::Relaxed);
    CALLS.store(0, Ordering::Relaxed);
    let store = RocksStore::open(&path, crashing()).unwrap();
    assert!(CALLS.load(Ordering::Relaxed) < RECORDS, "it went on where it was");
    let mut request = ScanRequest::prefix(VMS, [], 100);
    let mut seen = 0;
    loop {
        let page = store.scan(request.clone()).await.unwrap();
        for entry in &page.entries {
            let vm: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
            assert_eq!(vm["memory_mib"], seen, "migrated once");
            seen += 1;
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, RECORDS);
}

#[test]
fn a_version_without_a_migration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(RocksStore::open(folder.path(), Schema::new(1)).unwrap());
    let error = RocksStore::open(folder.path(), Schema::new(2)).unwrap_err();
    let StoreError::UnsupportedSchema { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*source, UnsupportedSchema::NoPath { found: 1, to: 2 });
}
