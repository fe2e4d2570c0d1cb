//! A disk without space, made with a limit on the size of files: needs no privileges, and the errors take the same
//! way as ENOSPC.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use xenith_orchestrator_store::conformance::{FRUIT, schema};
use xenith_orchestrator_store::{
    Health, RocksOptions, RocksStore, StateStore, StoreError, Transaction, WatchEvent,
};

/// In a process of its own, because the limit counts for the whole process.
#[test]
fn child_fills_the_disk_with_large_commits() {
    child(100_000);
}

/// The log's writer has a buffer that such a commit fits into: the write fails later, and elsewhere.
#[test]
fn child_fills_the_disk_with_small_commits() {
    child(5_000);
}

fn child(commit: usize) {
    let Some(folder) = crate::child_folder() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(fill_and_heal(&folder, commit));
}

fn limit_files(bytes: u64) {
    setrlimit(Resource::RLIMIT_FSIZE, bytes, nix::libc::RLIM_INFINITY).unwrap();
}

fn chunk(n: u32, bytes: usize) -> Transaction {
    // Not compressible, as the log is not compressed anyway.
    Transaction::new().put(FRUIT, n.to_string(), vec![(n % 251) as u8; bytes])
}

async fn fill_and_heal(folder: &std::path::Path, bytes: usize) {
    // Without this the kernel ends the process instead of refusing the write.
    let ignore = nix::sys::signal::SigHandler::SigIgn;
    #[allow(
        unsafe_code,
        reason = "a test changes the disposition of a signal before anything depends on it"
    )]
    // SAFETY: no handler is installed, SIG_IGN runs no code of ours.
    unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGXFSZ, ignore) }.unwrap();

    let options = RocksOptions { space_probe_interval: Duration::from_millis(50), ..RocksOptions::default() };
    let store = RocksStore::open_with(folder, schema(), options).unwrap();
    let mut health = store.health();
    let mut watch = store.watch(FRUIT, b"", store.revision());
    limit_files(1 << 20);
    let mut stored = 0;
    let error = loop {
        match store.commit(chunk(stored, bytes)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000, "the limit has an effect");
    };
    assert!(matches!(error, StoreError::StorageFull { .. }), "{error:?}");
    assert!(error.outcome_unknown() && error.is_retryable());
    assert!(
        matches!(*health.borrow_and_update(), Health::ReadOnly { heals_itself: true, .. }),
        "it says so first"
    );

    // Reads go on, commits are refused at once, also after it has tried to heal in vain.
    let deadline = Instant::now() + Duration::from_millis(300);
    while Instant::now() < deadline {
        for n in 0..stored {
            assert!(store.get(FRUIT, n.to_string().as_bytes()).await.unwrap().is_some());
        }
        assert!(matches!(store.commit(chunk(5000, bytes)).await, Err(StoreError::StorageFull { .. })));
    }

    limit_files(nix::libc::RLIM_INFINITY);
    let healed = health.wait_for(|health| *health == Health::Writable);
    tokio::time::timeout(Duration::from_secs(30), healed).await.expect("it heals by itself").unwrap();
    let revision = store.commit(chunk(6000, bytes)).await.unwrap();
    for n in (0..stored).chain([6000]) {
        assert!(store.get(FRUIT, n.to_string().as_bytes()).await.unwrap().is_some(), "{n}");
    }
    // The watch is told that it may have missed something, and goes on.
    let mut compacted = false;
    loop {
        match watch.next().await {
            WatchEvent::Compacted { through } => {
                compacted = true;
                if through >= revision {
                    break;
                }
            }
            WatchEvent::Changes(changes) if changes.iter().any(|c| c.revision == revision) => break,
            WatchEvent::Changes(_) => {}
        }
    }
    assert!(compacted, "unacknowledged commits may have happened: read again");
    println!("healed after {stored} commits");
}

#[test]
fn read_only_while_full_and_back_by_itself() {
    for test in ["child_fills_the_disk_with_large_commits", "child_fills_the_disk_with_small_commits"] {
        let folder = tempfile::tempdir().unwrap();
        let child = crate::spawn_child(&format!("full_disk::{test}"), folder.path());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("healed after"), "{test}: {text}");
    }
}
