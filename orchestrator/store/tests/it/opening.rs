//! Who may open what.

use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use xenith_orchestrator_store::conformance::{FRUIT, schema};
use xenith_orchestrator_store::{RocksStore, Schema, StateStore, StoreError, Transaction, UnsupportedSchema};

/// Opens the store, says so, and waits for its input to end.
#[test]
fn child_holds_the_store() {
    let Some(folder) = crate::child_folder() else { return };
    let _store = RocksStore::open(folder, schema()).unwrap();
    println!("holding");
    let _ = std::io::stdin().lines().count();
}

#[test]
fn a_second_process_is_told_who_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = crate::spawn_child("opening::child_holds_the_store", folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("holding")));
    let error = RocksStore::open(folder.path(), schema()).unwrap_err();
    let StoreError::Locked { holder, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*holder, child.id().to_string());
    assert!(error.to_string().contains("in use by process"), "{error}");
    drop(child.stdin.take());
    child.wait().unwrap();
    RocksStore::open(folder.path(), schema()).unwrap();
}

#[test]
fn the_same_process_cannot_open_it_twice() {
    let folder = tempfile::tempdir().unwrap();
    let first = RocksStore::open(folder.path(), schema()).unwrap();
    assert!(matches!(RocksStore::open(folder.path(), schema()), Err(StoreError::Locked { .. })));
    drop(first);
    RocksStore::open(folder.path(), schema()).unwrap();
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    let error = RocksStore::open(folder.path(), schema()).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
    assert!(error.to_string().contains("thesis.tex"), "{error}");
}

#[tokio::test]
async fn a_checkpoint_opens_as_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let store = RocksStore::open(folder.path().join("store"), schema()).unwrap();
    store.commit(Transaction::new().put(FRUIT, "apple", "before")).await.unwrap();
    store.checkpoint(&copy).unwrap();
    store.commit(Transaction::new().put(FRUIT, "apple", "after")).await.unwrap();
    let copy = RocksStore::open(copy, schema()).unwrap();
    assert_eq!(copy.get(FRUIT, b"apple").await.unwrap().unwrap().value, "before");
}

#[tokio::test]
async fn keyspaces_come_and_go_without_a_new_version() {
    let folder = tempfile::tempdir().unwrap();
    let store = RocksStore::open(folder.path(), schema()).unwrap();
    store.commit(Transaction::new().put(FRUIT, "apple", "x")).await.unwrap();
    drop(store);
    drop(RocksStore::open(folder.path(), Schema::new(1)).unwrap());
    let store = RocksStore::open(folder.path(), schema()).unwrap();
    assert!(store.get(FRUIT, b"apple").await.unwrap().is_some());
}

#[test]
fn a_newer_schema_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    drop(RocksStore::open(folder.path(), schema()).unwrap());
    drop(RocksStore::open(folder.path(), Schema::new(1)).unwrap());
    let newer = tempfile::tempdir().unwrap();
    drop(RocksStore::open(newer.path(), Schema::new(7)).unwrap());
    let error = RocksStore::open(newer.path(), schema()).unwrap_err();
    let StoreError::UnsupportedSchema { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*source, UnsupportedSchema::Newer { found: 7, known: 1 });
    assert!(source.to_string().contains("install the newer release"), "{source}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_store_finishes_what_was_queued() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(RocksStore::open(folder.path(), schema()).unwrap());
    let commits: Vec<_> = (0..500)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(Transaction::new().put(FRUIT, n.to_string(), "x")).await })
        })
        .collect();
    drop(store);
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    let store = RocksStore::open(folder.path(), schema()).unwrap();
    assert!(store.get(FRUIT, b"499").await.unwrap().is_some());
}
