//! Subscriptions outlive their connection.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::timeout;
use xenith_orchestrator_api::{InventoryChange, WatchEvents, WatchRows};
use xenith_orchestrator_client::{ClientError, EventChanges, Subscription, Update, VmChanges, Watch};
use xenith_orchestrator_types::{ApiError, Reason};

use crate::calls::client;
use crate::server::FakeOrchestrator;

async fn next<S: Subscription>(watch: &mut Watch<S>) -> Result<Option<Update<S::Item>>, ClientError> {
    timeout(Duration::from_secs(20), watch.next()).await.expect("an update comes")
}

#[tokio::test]
async fn a_broken_connection_is_told_and_mended() {
    let server = FakeOrchestrator::start().await;
    server.feed("vm.subscribe", vec![json!({ "kind": "ready", "value": { "total": 0 } })]);
    let client = client(&server).await;
    let watched = WatchRows { filter: "tag:prod".into(), ..WatchRows::default() };
    let mut watch = client.watch::<VmChanges>(&watched).await.unwrap();
    let ready = |update| matches!(update, Ok(Some(Update::Item(InventoryChange::Ready { total: 0, .. }))));
    assert!(ready(next(&mut watch).await));
    server.cut();
    assert!(matches!(next(&mut watch).await, Ok(Some(Update::Interrupted))));
    assert!(matches!(next(&mut watch).await, Ok(Some(Update::Resumed))));
    assert!(ready(next(&mut watch).await));
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.params == json!({ "filter": "tag:prod" })), "{asked:?}");
}

#[tokio::test]
async fn it_goes_on_where_it_broke() {
    let server = FakeOrchestrator::start().await;
    let ready = json!({ "kind": "ready", "value": { "total": 0, "revision": "a.1" } });
    let seen = json!({ "kind": "seen", "value": { "revision": "a.7" } });
    server.feed("vm.subscribe", vec![ready.clone(), seen]);
    let client = client(&server).await;
    let watched = WatchRows { filter: "tag:prod".into(), only_changes: true, since: Some("a.0".into()) };
    let mut watch = client.watch::<VmChanges>(&watched).await.unwrap();
    let ready_is = |update| matches!(update, Ok(Some(Update::Item(InventoryChange::Ready { total: 0, .. }))));
    assert!(ready_is(next(&mut watch).await));
    server.cut();
    // Told before the cut was noticed, or not: it goes on from what was told last.
    let mut since = "a.1";
    loop {
        match next(&mut watch).await {
            Ok(Some(Update::Item(InventoryChange::Seen { revision }))) => {
                assert_eq!(revision, "a.7");
                since = "a.7";
            }
            Ok(Some(Update::Interrupted)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(next(&mut watch).await, Ok(Some(Update::Continued))));
    let asked: Vec<_> = server.asked().into_iter().map(|asked| asked.params["since"].clone()).collect();
    assert_eq!(asked, [json!("a.0"), json!(since)]);
}

#[tokio::test]
async fn the_orchestrators_last_word_is_understood() {
    let server = FakeOrchestrator::start().await;
    let client = client(&server).await;
    for (reason, begins_again) in [(Reason::Throttled, true), (Reason::Unauthenticated, false)] {
        let error = ApiError::new(reason, "enough");
        let word = json!({ "code": reason.code(), "message": error.message, "data": error.data });
        server.feed("event.subscribe", vec![json!({ "error": word })]);
        let mut watch = client.watch::<EventChanges>(&WatchEvents::default()).await.unwrap();
        match next(&mut watch).await {
            Ok(Some(Update::Interrupted)) => assert!(begins_again, "{reason:?}"),
            Err(ClientError::Api(error)) => assert!(!begins_again && error.reason() == reason, "{error:?}"),
            other => panic!("{reason:?}: {other:?}"),
        }
    }
    assert_eq!(server.subscribed(), 2);
}

#[tokio::test]
async fn who_looks_away_in_between_still_comes_back() {
    let server = FakeOrchestrator::start().await;
    let client = client(&server).await;
    let mut watch = client.watch::<EventChanges>(&WatchEvents::default()).await.unwrap();
    server.cut();
    let (began, mut interrupted) = (Instant::now(), false);
    loop {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not come back");
        // Shorter than any way back takes.
        match timeout(Duration::from_millis(1), watch.next()).await {
            Err(_looked_away) => {}
            Ok(Ok(Some(Update::Interrupted))) => interrupted = true,
            Ok(Ok(Some(Update::Resumed))) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(interrupted);
    assert_eq!(server.subscribed(), 2);
}
