//! A real file system that has run full, also by somebody else's doing: a small one in memory, in namespaces of the test.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use xenith_orchestrator_store::conformance::{FRUIT, schema};
use xenith_orchestrator_store::{Health, RocksOptions, RocksStore, StateStore, StoreError, Transaction};

const DISK: u64 = 256 << 20;
/// Enough for the flush of a table, all that so few commits lead to.
const KEPT: u64 = 64 << 20;
/// Of one commit.
const VALUE_BYTES: u32 = 2_000;

#[test]
fn child_on_a_small_disk() {
    let Some(folder) = crate::child_folder() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(fill_and_heal(&folder));
}

/// Writes a file until there is no byte left.
fn take_all(path: &Path) {
    let mut file = File::create(path).unwrap();
    let piece = vec![1; 1 << 16];
    while file.write_all(&piece).is_ok() {}
    while file.write_all(&[1]).is_ok() {}
}

async fn commit(store: &RocksStore, n: u32) -> Result<(), StoreError> {
    let value: Vec<u8> =
        (0..VALUE_BYTES).map(|at| (n.wrapping_mul(at).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    store.commit(Transaction::new().put(FRUIT, n.to_string(), value)).await.map(drop)
}

async fn refused_and_readable(store: &RocksStore, written: u32) {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        for n in (0..written).step_by(100) {
            assert!(store.get(FRUIT, n.to_string().as_bytes()).await.unwrap().is_some(), "{n}");
        }
        let error = commit(store, u32::MAX).await.unwrap_err();
        assert!(matches!(error, StoreError::StorageFull { .. }), "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn heals(store: &RocksStore) {
    let mut health = store.health();
    let healed = health.wait_for(|health| *health == Health::Writable);
    tokio::time::timeout(Duration::from_secs(30), healed).await.expect("it heals by itself").unwrap();
}

async fn fill_and_heal(folder: &Path) {
    let options = RocksOptions {
        space_probe_interval: Duration::from_millis(50),
        keep_free_bytes: KEPT,
        ..RocksOptions::default()
    };
    let (path, foreign) = (folder.join("store"), folder.join("somebody-elses"));
    let store = RocksStore::open_with(&path, schema(), options.clone()).unwrap();
    for n in 0..1000 {
        commit(&store, n).await.unwrap();
    }

    // Somebody else fills the disk to the last byte, and gives it back.
    take_all(&foreign);
    let mut health = store.health();
    let told = health.wait_for(|health| *health != Health::Writable);
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("it notices without a commit").unwrap();
    refused_and_readable(&store, 1000).await;
    let error = store.checkpoint(&folder.join("checkpoint")).unwrap_err();
    assert!(matches!(error, StoreError::StorageFull { .. }), "{error:?}");
    std::fs::remove_file(&foreign).unwrap();
    heals(&store).await;

    // It fills the disk itself, and leaves what it is to leave.
    let mut written = 1000;
    while commit(&store, written).await.is_ok() {
        written += 1;
        assert!(u64::from(written) < 2 * DISK / u64::from(VALUE_BYTES), "the disk has an end");
    }
    // Then somebody takes even that. A start is refused in words.
    take_all(&foreign);
    refused_and_readable(&store, written).await;
    drop(store);
    // A closed log gives back what it had not used.
    take_all(&folder.join("more"));
    let error = RocksStore::open_with(&path, schema(), options.clone()).unwrap_err();
    assert!(error.to_string().contains("as good as full"), "{error}");

    // All that was answered is there on a disk with room.
    std::fs::remove_file(&foreign).unwrap();
    std::fs::remove_file(folder.join("more")).unwrap();
    let options = RocksOptions { keep_free_bytes: KEPT / 4, ..options };
    let store = RocksStore::open_with(&path, schema(), options).unwrap();
    for n in 0..written {
        assert!(store.get(FRUIT, n.to_string().as_bytes()).await.unwrap().is_some(), "{n}");
    }
    commit(&store, u32::MAX).await.unwrap();
    println!("healed after {written} commits");
}

#[test]
fn read_only_before_the_disk_is_full_and_back_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size={DISK} none \"$1\" && shift && exec \"$@\"");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "small_disk::child_on_a_small_disk", "--nocapture", "--test-threads=1"])
        .env(crate::CHILD_FOLDER, folder.path())
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success() && text.contains("healed after"), "{}: {text}", output.status);
}
