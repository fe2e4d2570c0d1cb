//! kill -9 in the middle of commits: what was acknowledged is there, and nothing is half there.

use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;

use xenith_orchestrator_store::conformance::{FRUIT, TOOLS, schema};
use xenith_orchestrator_store::{RocksStore, ScanRequest, StateStore, Transaction};

/// Commits pairs from many tasks and prints each number after it was acknowledged, until it is killed.
#[test]
fn child_commits_until_killed() {
    let Some(folder) = crate::child_folder() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(RocksStore::open(folder, schema()).unwrap());
        let base = store.revision().0 * 1000;
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for n in 0.. {
                        let key = (base + n * 16 + task).to_string();
                        let value = key.repeat(20);
                        let both = Transaction::new().put(FRUIT, key.clone(), value.clone());
                        store.commit(both.put(TOOLS, key.clone(), value)).await.unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "acknowledged {key}").unwrap();
                        out.flush().unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_commits_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 1..=3 {
        let mut child = crate::spawn_child("crash::child_commits_until_killed", folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut of_round = 0;
        while of_round < 200 * round {
            let line = lines.next().expect("the child runs until it is killed");
            if let Some(key) = line.strip_prefix("acknowledged ") {
                acknowledged.push(key.to_owned());
                of_round += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had still said counts too.
        acknowledged.extend(lines.filter_map(|l| l.strip_prefix("acknowledged ").map(str::to_owned)));

        let store = RocksStore::open(folder.path(), schema()).unwrap();
        for key in &acknowledged {
            let entry = store.get(FRUIT, key.as_bytes()).await.unwrap();
            assert_eq!(entry.expect("acknowledged").value, key.repeat(20), "round {round}");
        }
        let mut scan = ScanRequest::prefix(FRUIT, [], 500);
        loop {
            let page = store.scan(scan.clone()).await.unwrap();
            for entry in &page.entries {
                let twin = store.get(TOOLS, &entry.key).await.unwrap();
                assert_eq!(twin.expect("both or neither").revision, entry.revision);
            }
            match page.next {
                Some(next) => scan.after = Some(next),
                None => break,
            }
        }
    }
}
