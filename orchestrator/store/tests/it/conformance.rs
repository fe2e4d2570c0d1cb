use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use xenith_orchestrator_store::conformance::{Backend, run, schema};
use xenith_orchestrator_store::{MemoryStore, RocksStore, StateStore};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    run(&Backend { open: Box::new(|| Arc::new(MemoryStore::new(&schema()))), reopen: None }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rocksdb() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let count = AtomicU32::new(0);
    let latest = Arc::new(Mutex::new(PathBuf::new()));
    let again = Arc::clone(&latest);
    run(&Backend {
        open: Box::new(move || {
            let path = root.join(count.fetch_add(1, Ordering::Relaxed).to_string());
            latest.lock().unwrap().clone_from(&path);
            Arc::new(RocksStore::open(path, schema()).unwrap())
        }),
        reopen: Some(Box::new(move |store: Arc<dyn StateStore>| {
            drop(store);
            Arc::new(RocksStore::open(again.lock().unwrap().as_path(), schema()).unwrap())
        })),
    })
    .await;
}
