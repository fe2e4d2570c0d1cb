//! The daemon dies, hangs, comes back; and we end.

use std::time::{Duration, Instant};

use futures::future::join_all;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_xenstore::test_support::Daemon;
use xenith_hypervisor_agent_xenstore::{Endpoint, LinkState, Options, WatchEvent, Xenstore, XenstoreError};

use crate::harness::{Lab, changed, next, on_both_daemons, soon};

on_both_daemons! {
    tokio::test:
    kill_minus_9_fails_the_pending_and_the_watches_come_back,
    it_survives_many_deaths,
    shutting_down_ends_everything,
    the_connection_ends_with_its_last_user,
    a_silent_daemon_counts_as_lost_and_an_idle_one_does_not,
}

async fn kill_minus_9_fails_the_pending_and_the_watches_come_back(daemon: Daemon) {
    let mut lab = Lab::start(daemon).await;
    let store = lab.store.clone();
    let mut watches = Vec::new();
    for n in 0..20 {
        let mut watch = store.watch_path(&format!("/w/{n}")).await.unwrap();
        next(&mut watch).await;
        watches.push(watch);
    }
    let dropped = store.watch_path("/w/dropped").await.unwrap();

    // Frozen, the daemon takes requests and answers none: they are pending when it dies.
    lab.daemon.freeze();
    let paths: Vec<String> = (0..300).map(|n| format!("/p/{n}")).collect();
    let pending = join_all(paths.iter().map(|path| store.write(path, "1")));
    let mut pending = Box::pin(pending);
    assert!(futures::poll!(&mut pending).is_pending());
    let new_watch = store.watch_path("/w/new");
    let mut new_watch = Box::pin(new_watch);
    assert!(futures::poll!(&mut new_watch).is_pending());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    lab.daemon.kill();

    let started = Instant::now();
    for (result, path) in soon("the pending fail", pending).await.into_iter().zip(&paths) {
        let error = result.unwrap_err();
        assert!(matches!(&error, XenstoreError::Disconnected { path: named } if named == path), "{error:?}");
        assert!(error.is_retryable());
    }
    assert!(matches!(soon("the watch fails", new_watch).await, Err(XenstoreError::Disconnected { .. })));
    // While it is away, new requests fail at once, too.
    assert!(matches!(store.read("/p/1").await, Err(XenstoreError::Disconnected { .. })));
    assert!(started.elapsed() < Duration::from_secs(20), "at once, not by a time limit");
    assert_eq!(*store.state().borrow(), LinkState::Disconnected);
    drop(dropped);

    lab.daemon.restart().await;
    soon("reconnection", store.connected()).await.unwrap();
    for (n, watch) in watches.iter_mut().enumerate() {
        assert_eq!(next(watch).await, WatchEvent::Resync, "watch {n}");
    }
    assert_eq!(store.read_if_there("/p/1").await.unwrap(), None, "nothing was queued for the new store");
    for (n, watch) in watches.iter_mut().enumerate() {
        store.write(&format!("/w/{n}/x"), "1").await.unwrap();
        // The daemon's first event of a new watch may stand before it.
        while next(watch).await != changed(&format!("/w/{n}/x")) {}
    }
}

async fn it_survives_many_deaths(daemon: Daemon) {
    let mut lab =
        Lab::with(daemon, |options| Options { first_retry: Duration::from_millis(1), ..options }).await;
    let mut watch = lab.store.watch_path("/w").await.unwrap();
    next(&mut watch).await;
    for turn in 0..5 {
        lab.daemon.restart().await;
        soon("an event after the restart", async { while next(&mut watch).await != WatchEvent::Resync {} })
            .await;
        let written = async {
            while lab.store.write("/w/turn", turn.to_string()).await.is_err() {
                lab.store.connected().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        soon("a write after the restart", written).await;
        while next(&mut watch).await != changed("/w/turn") {}
    }
}

#[tokio::test]
async fn no_daemon_at_the_start_is_said_at_once() {
    let endpoint = Endpoint::Socket("/nonexistent/xenstored/socket".into());
    let error = Xenstore::connect(Options::new(endpoint), &TaskSet::new()).await.unwrap_err();
    assert!(matches!(&error, XenstoreError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("/nonexistent/xenstored/socket"), "{error}");
}

async fn shutting_down_ends_everything(daemon: Daemon) {
    for away in [false, true] {
        let mut lab = Lab::start(daemon).await;
        let mut watch = lab.store.watch_path("/w").await.unwrap();
        next(&mut watch).await;
        if away {
            lab.daemon.kill();
            let mut state = lab.store.state();
            soon("loss", state.wait_for(|state| *state == LinkState::Disconnected)).await.unwrap();
        } else {
            lab.daemon.freeze();
        }
        let pending = lab.store.read("/x");
        let mut pending = Box::pin(pending);
        let _ = futures::poll!(&mut pending);
        lab.tasks.shut_down(Duration::from_secs(30)).await.unwrap();
        assert!(soon("the pending fails", pending).await.is_err(), "away: {away}");
        assert!(matches!(lab.store.read("/x").await, Err(XenstoreError::ShutDown { .. })), "away: {away}");
        assert!(matches!(lab.store.connected().await, Err(XenstoreError::ShutDown { .. })), "away: {away}");
        assert_eq!(soon("the watch ends", watch.next_event()).await, None, "away: {away}");
    }
}

async fn the_connection_ends_with_its_last_user(daemon: Daemon) {
    let Lab { daemon: _daemon, store, tasks } = Lab::start(daemon).await;
    let mut state = store.state();
    let mut watch = store.watch_path("/w").await.unwrap();
    drop(store);
    next(&mut watch).await;
    assert_eq!(*state.borrow(), LinkState::Connected, "a watch keeps it");
    drop(watch);
    soon("the end", state.wait_for(|state| *state == LinkState::ShutDown)).await.unwrap();
    tasks.shut_down(Duration::from_secs(30)).await.unwrap();
}

async fn a_silent_daemon_counts_as_lost_and_an_idle_one_does_not(daemon: Daemon) {
    // More than a daemon takes that is not silent, on a slow machine too.
    let patience = Duration::from_secs(2);
    let lab = Lab::with(daemon, |options| Options { answer_patience: patience, ..options }).await;
    lab.store.write("/a", "1").await.unwrap();
    let mut state = lab.store.state();
    state.mark_unchanged();
    let idle = tokio::time::timeout(patience * 2, state.changed()).await;
    assert!(idle.is_err(), "nothing was asked, nothing is owed");

    lab.daemon.freeze();
    let asked = Instant::now();
    let error = soon("the request fails", lab.store.read("/a")).await.unwrap_err();
    assert!(matches!(error, XenstoreError::Disconnected { .. }), "{error:?}");
    assert!(asked.elapsed() >= patience, "not before its time");
    lab.daemon.thaw();
    soon("the daemon is used again", async { while lab.store.read("/a").await.is_err() {} }).await;
}
