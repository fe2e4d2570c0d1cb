//! Durable commits per second by number of concurrent writers, against plain `fdatasync` on the same disk.
//!
//! `cargo bench -p xenith-orchestrator-store --bench store [-- FOLDER]`. The folder decides which disk is measured; the
//! default is below the target directory, as `/tmp` may be memory.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use xenith_orchestrator_store::{Expect, Keyspace, RocksStore, ScanRequest, Schema, StateStore, Transaction};

const RECORDS: Keyspace = Keyspace::new("records");
const SECONDS: f64 = 3.0;

/// What the disk can do: 1 KiB appended and synced, again and again.
fn syncs_per_second(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("sync-probe")).expect("the folder is writable");
    let begun = Instant::now();
    let mut syncs = 0;
    while begun.elapsed().as_secs_f64() < SECONDS {
        file.write_all(&[7; 1024]).and_then(|()| file.sync_data()).expect("the disk has space");
        syncs += 1;
    }
    f64::from(syncs) / begun.elapsed().as_secs_f64()
}

async fn commits_per_second(store: &Arc<RocksStore>, writers: u64) -> (f64, Duration) {
    let begun = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (store, done) = (Arc::clone(store), Arc::clone(&done));
            tokio::spawn(async move {
                let key = writer.to_be_bytes().to_vec();
                let mut expect = store
                    .get(RECORDS, &key)
                    .await
                    .expect("readable")
                    .map_or(Expect::Absent, |e| Expect::At(e.revision));
                let mut worst = Duration::ZERO;
                while begun.elapsed().as_secs_f64() < SECONDS {
                    let one = Instant::now();
                    let update = Transaction::new().require(RECORDS, key.clone(), expect);
                    let update = update.put(RECORDS, key.clone(), vec![b'v'; 1000]);
                    expect = Expect::At(store.commit(update).await.expect("nobody else writes this key"));
                    worst = worst.max(one.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                worst
            })
        })
        .collect();
    let mut worst = Duration::ZERO;
    for task in tasks {
        worst = worst.max(task.await.expect("writers do not panic"));
    }
    (done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64(), worst)
}

async fn measure(folder: &Path) {
    println!("| what | per second | slowest |\n|---|---|---|");
    let alone = syncs_per_second(folder);
    println!("| 1 KiB write + fdatasync, no store | {alone:.0} | |");
    let schema = || Schema::new(1).with(&[RECORDS]);
    let path = folder.join("store");
    let store = Arc::new(RocksStore::open(&path, schema()).expect("a new store opens"));
    for writers in [1, 16, 256, 1024] {
        let (rate, worst) = commits_per_second(&store, writers).await;
        println!("| compare-and-set of 1 KB, {writers} writers | {rate:.0} | {worst:.1?} |");
    }
    // 100,000 records of 1 KB, then kill and open.
    let mut writes = Vec::new();
    for chunk in 0..1000_u64 {
        let puts = (0..100).fold(Transaction::new(), |t, n| {
            t.put(RECORDS, (1_000_000 + chunk * 100 + n).to_be_bytes().to_vec(), vec![b'v'; 1000])
        });
        let store = Arc::clone(&store);
        writes.push(tokio::spawn(async move { store.commit(puts).await }));
    }
    for write in writes {
        write.await.expect("no panic").expect("the disk has space");
    }
    drop(store);
    let begun = Instant::now();
    let store = RocksStore::open(&path, schema()).expect("it opens again");
    println!("| open after 100,000 records of 1 KB | | {:.0?} |", begun.elapsed());
    let begun = Instant::now();
    let (mut request, mut read) = (ScanRequest::prefix(RECORDS, [], 1000), 0);
    loop {
        let page = store.scan(request.clone()).await.expect("readable");
        read += page.entries.len();
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    println!("| records read by scan | {:.0} | |", read as f64 / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    for n in 0..100_000_u64 {
        store.get(RECORDS, &(1_000_000 + n * 7919 % 100_000).to_be_bytes()).await.expect("readable");
    }
    println!("| records got by key | {:.0} | |", 100_000.0 / begun.elapsed().as_secs_f64());
}

fn main() {
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let folder = given.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let folder = folder.join(format!("xenith-store-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder is writable");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(measure(&folder));
    std::fs::remove_dir_all(&folder).expect("our own folder can be removed");
}
