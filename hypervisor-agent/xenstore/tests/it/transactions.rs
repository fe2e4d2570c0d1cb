//! Transactions: atomic, retried, never leaked.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use xenith_hypervisor_agent_xenstore::test_support::Daemon;
use xenith_hypervisor_agent_xenstore::{Xenstore, XenstoreError};

use crate::harness::{Lab, changed, next, on_both_daemons, soon};

on_both_daemons! {
    tokio::test:
    all_of_it_happens_at_once,
    a_conflict_runs_the_body_again_on_the_new_state,
    endless_conflict_ends_with_again,
    an_error_or_a_caller_that_gives_up_leaves_nothing,
    a_transaction_does_not_outlive_its_session,
}

on_both_daemons! {
    tokio::test(flavor = "multi_thread", worker_threads = 2):
    no_increment_is_lost_among_many,
}

async fn increment(store: &Xenstore, path: &str) -> Result<u32, XenstoreError> {
    store
        .transaction(path, |tx| async move {
            let next = tx.read_if_there(path).await?.map_or(0, |text| text.parse::<u32>().unwrap()) + 1;
            tx.write(path, next.to_string()).await?;
            Ok(next)
        })
        .await
}

async fn all_of_it_happens_at_once(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let other = &lab.second_connection().await;
    let value = lab
        .store
        .transaction("/t", |tx| async move {
            tx.write("/t/a", "1").await?;
            tx.mkdir("/t/b").await?;
            assert_eq!(tx.read("/t/a").await?, "1", "sees its own writes");
            assert_eq!(tx.directory("/t").await?.len(), 2);
            assert_eq!(other.read_if_there("/t/a").await?, None, "nobody else does, before the end");
            Ok("done")
        })
        .await
        .unwrap();
    assert_eq!((value, other.read("/t/a").await.unwrap().as_str()), ("done", "1"));
}

async fn a_conflict_runs_the_body_again_on_the_new_state(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let other = &lab.second_connection().await;
    lab.store.write("/count", "10").await.unwrap();
    let runs = &AtomicU32::new(0);
    let result = lab
        .store
        .transaction("/count", |tx| async move {
            let seen: u32 = tx.read("/count").await?.parse().unwrap();
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                other.write("/count", "20").await?;
            }
            tx.write("/count", (seen + 1).to_string()).await?;
            Ok(seen + 1)
        })
        .await
        .unwrap();
    assert_eq!((result, runs.load(Ordering::Relaxed)), (21, 2));
    assert_eq!(other.read("/count").await.unwrap(), "21");
}

async fn endless_conflict_ends_with_again(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let other = &lab.second_connection().await;
    let runs = &AtomicU32::new(0);
    let attempt = lab.store.transaction("/hot", |tx| async move {
        tx.read_if_there("/hot").await?;
        other.write("/hot", runs.fetch_add(1, Ordering::Relaxed).to_string()).await?;
        tx.write("/hot", "mine").await
    });
    let error = soon("giving up", attempt).await.unwrap_err();
    assert!(matches!(&error, XenstoreError::Again { path, attempts } if path == "/hot" && *attempts > 10));
    assert!(error.is_retryable());
    assert_ne!(lab.store.read("/hot").await.unwrap(), "mine");
}

async fn no_increment_is_lost_among_many(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let counters = (0..10).map(|_| {
        let store = lab.store.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                // Again is the promised outcome of losing every race; the caller may go on.
                while increment(&store, "/count").await.is_err_and(|error| error.is_retryable()) {}
            }
        })
    });
    for counter in soon("100 increments", join_all(counters)).await {
        counter.unwrap();
    }
    assert_eq!(lab.store.read("/count").await.unwrap(), "100");
}

async fn an_error_or_a_caller_that_gives_up_leaves_nothing(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let mut watch = lab.store.watch_path("/t").await.unwrap();
    assert_eq!(next(&mut watch).await, changed("/t"));
    let failed = lab
        .store
        .transaction("/t", |tx| async move {
            tx.write("/t/a", "1").await?;
            tx.read("/t/absent").await
        })
        .await;
    assert!(matches!(failed, Err(XenstoreError::NotFound { path }) if path == "/t/absent"));
    // Give up at every point of waiting, in turn. Each leaves a transaction that must be aborted.
    for polls in 0..200 {
        let mut attempt = Box::pin(lab.store.transaction("/t", |tx| async move {
            tx.write("/t/a", "1").await?;
            futures::pending!();
            tx.read("/t/absent").await
        }));
        for _ in 0..polls % 7 {
            assert!(futures::poll!(&mut attempt).is_pending());
            tokio::task::yield_now().await;
        }
    }
    lab.store.write("/t/b", "1").await.unwrap();
    assert_eq!(next(&mut watch).await, changed("/t/b"), "nothing of the others was ever in the store");
}

async fn a_transaction_does_not_outlive_its_session(daemon: Daemon) {
    let mut lab = Lab::start(daemon).await;
    let (ready, resume) = (&tokio::sync::Notify::new(), &tokio::sync::Notify::new());
    let store = lab.store.clone();
    let old = store.transaction("/t", |tx| async move {
        tx.write("/t/old", "1").await?;
        ready.notify_one();
        resume.notified().await;
        tx.write("/t/old", "2").await
    });
    let restart = async {
        ready.notified().await;
        lab.daemon.restart().await;
        soon("reconnection", async {
            while store.read_if_there("/").await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // The new daemon numbers from the start: this one most likely has the number of the old one.
        store
            .transaction("/t", |tx| async move {
                resume.notify_one();
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                tx.write("/t/new", "1").await
            })
            .await
    };
    let (old, new) = soon("both", async { tokio::join!(old, restart) }).await;
    assert!(matches!(old, Err(XenstoreError::Disconnected { .. })), "{old:?}");
    new.unwrap();
    assert_eq!(store.directory("/t").await.unwrap(), ["new"]);
}
