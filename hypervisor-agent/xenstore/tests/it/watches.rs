//! Watches, quick and slow.

use xenith_hypervisor_agent_xenstore::test_support::Daemon;
use xenith_hypervisor_agent_xenstore::{WatchEvent, XenstoreError};

use crate::harness::{Lab, changed, next, on_both_daemons, soon, until};

on_both_daemons! {
    tokio::test:
    a_watch_sees_what_happens_below_it_and_nothing_else,
    two_watches_of_one_path_both_see,
    bad_paths_are_refused,
    a_slow_watcher_stalls_nothing_and_is_told_that_it_lagged,
    a_watcher_may_use_the_store_between_its_events,
    a_dropped_watch_ends_in_the_daemon,
}

async fn a_watch_sees_what_happens_below_it_and_nothing_else(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let mut watch = lab.store.watch_path("/w").await.unwrap();
    assert_eq!(next(&mut watch).await, changed("/w"), "one event at once");
    lab.store.write("/elsewhere", "1").await.unwrap();
    lab.store.write("/wide", "1").await.unwrap();
    lab.store.write("/w/a", "1").await.unwrap();
    lab.store.write("/w/a/b", "1").await.unwrap();
    lab.store.rm("/w/a").await.unwrap();
    assert_eq!(next(&mut watch).await, changed("/w/a"));
    assert_eq!(next(&mut watch).await, changed("/w/a/b"));
    assert_eq!(next(&mut watch).await, changed("/w/a"));
}

async fn two_watches_of_one_path_both_see(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let mut first = lab.store.watch_path("/w").await.unwrap();
    let mut second = lab.store.watch_path("/w").await.unwrap();
    for watch in [&mut first, &mut second] {
        assert_eq!(next(watch).await, changed("/w"));
    }
    lab.store.write("/w/a", "1").await.unwrap();
    assert_eq!(next(&mut first).await, changed("/w/a"));
    drop(first);
    lab.store.write("/w/b", "1").await.unwrap();
    assert_eq!(next(&mut second).await, changed("/w/a"));
    assert_eq!(next(&mut second).await, changed("/w/b"), "lives on without the other");
}

async fn bad_paths_are_refused(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    for path in ["", "relative", "/a//b", "@", "/a b"] {
        let error = lab.store.watch_path(path).await.unwrap_err();
        assert!(matches!(error, XenstoreError::InvalidPath { .. }), "{path:?}: {error:?}");
    }
}

/// With a queue per watch that blocks, the first of these requests would already hang.
async fn a_slow_watcher_stalls_nothing_and_is_told_that_it_lagged(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let mut slow = lab.store.watch_path("/busy").await.unwrap();
    let writer = lab.second_connection().await;
    let writing = async {
        for n in 0..10_000u32 {
            writer.write(&format!("/busy/{}", n % 1000), n.to_string()).await.unwrap();
            if n % 500 == 0 {
                // On the connection of the watcher that does not read.
                lab.store.write("/other", n.to_string()).await.unwrap();
            }
        }
    };
    soon("10,000 changes beside a slow watcher", writing).await;

    // Written last, so that its event is behind all others.
    lab.store.write("/busy/last", "").await.unwrap();
    let mut events = Vec::new();
    while events.last() != Some(&WatchEvent::Lagged) {
        events.push(next(&mut slow).await);
        assert!(events.len() <= 1, "a full box is one marker: {events:?}");
    }
    // The marker's promise: reading now gives the newest, and later changes are told again.
    assert_eq!(lab.store.read("/busy/999").await.unwrap(), "9999");
    until("the watcher hears of new changes", async || {
        lab.store.write("/busy/after", "").await.unwrap();
        true
    })
    .await;
    while next(&mut slow).await != changed("/busy/after") {}
}

async fn a_watcher_may_use_the_store_between_its_events(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let mut watch = lab.store.watch_path("/chain").await.unwrap();
    assert_eq!(next(&mut watch).await, changed("/chain"));
    lab.store.write("/chain/0", "").await.unwrap();
    // Each event causes a request, whose event causes the next.
    for n in 0..500 {
        assert_eq!(next(&mut watch).await, changed(&format!("/chain/{n}")));
        lab.store.write(&format!("/chain/{}", n + 1), "").await.unwrap();
    }
}

async fn a_dropped_watch_ends_in_the_daemon(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    // More watches than xenstored would let pile up, were they not ended, and so with callers that give up.
    for _ in 0..300 {
        let mut watch = lab.store.watch_path("/w").await.unwrap();
        next(&mut watch).await;
        drop(watch);
        let _ = futures::poll!(Box::pin(lab.store.watch_path("/w")));
    }
    let mut watch = lab.store.watch_path("/w").await.unwrap();
    next(&mut watch).await;
    lab.store.write("/w", "1").await.unwrap();
    assert_eq!(next(&mut watch).await, changed("/w"));
}
