//! Through the traits of `xenstore-rs`, by code that knows nothing else.

use std::io;

use futures::StreamExt;
use xenith_hypervisor_agent_xenstore::test_support::Daemon;
use xenstore_rs::{AsyncWatch, AsyncXs};

use crate::harness::{Lab, on_both_daemons, soon};

on_both_daemons! {
    tokio::test:
    the_traits_work,
    markers_become_the_watched_path,
}

async fn use_it(store: &(impl AsyncXs + AsyncWatch)) -> io::Result<Vec<Box<str>>> {
    let mut watch = store.watch("/t").await?;
    assert_eq!(soon("first event", watch.next()).await.as_deref(), Some("/t"));
    store.write("/t/a", "1").await?;
    assert_eq!(soon("event", watch.next()).await.as_deref(), Some("/t/a"));
    assert_eq!(&*store.read("/t/a").await?, "1");
    store.write("/t/b", "2").await?;
    store.rm("/t/b").await?;
    store.directory("/t").await
}

async fn the_traits_work(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    assert_eq!(use_it(&lab.store).await.unwrap(), ["a".into()]);
    let absent = AsyncXs::read(&lab.store, "/absent").await.unwrap_err();
    assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    let bad = AsyncXs::rm(&lab.store, "bad").await.unwrap_err();
    assert_eq!(bad.kind(), io::ErrorKind::InvalidInput);
}

async fn markers_become_the_watched_path(daemon: Daemon) {
    let mut lab = Lab::start(daemon).await;
    let mut watch = AsyncWatch::watch(&lab.store, "/t").await.unwrap();
    assert_eq!(soon("first event", watch.next()).await.as_deref(), Some("/t"));
    lab.daemon.restart().await;
    assert_eq!(soon("resync", watch.next()).await.as_deref(), Some("/t"));
}
