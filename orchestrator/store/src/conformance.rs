//! What every backend must do. A backend's test calls [`run`] with a way to open a store, and with a way to open
//! the same store again if it is durable.
//!
//! Each case opens stores of its own, so cases cannot disturb each other. A failed case panics with its name.
#![allow(clippy::unwrap_used, reason = "a test suite, compiled for tests only")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Change, Collection, Direction, Expect, Health, Keyspace, MAX_TRANSACTION_OPS, MAX_VALUE_BYTES, Revision,
    ScanRequest, Schema, StateStore, StoreError, Transaction, WatchEvent,
};

/// A keyspace of the suite.
pub const FRUIT: Keyspace = Keyspace::new("fruit");
/// Another one, to see that they are apart.
pub const TOOLS: Keyspace = Keyspace::new("tools");

/// The schema that the suite's stores are opened with.
#[must_use]
pub fn schema() -> Schema {
    Schema::new(1).with(&[FRUIT, TOOLS])
}

/// A backend under test. `open` gives a new, empty store; `reopen` drops the given one, and opens the same data
/// again, or is `None` for a store that keeps nothing.
pub struct Backend {
    pub open: Box<dyn Fn() -> Arc<dyn StateStore>>,
    pub reopen: Option<Reopen>,
}

/// Drops a store and opens its data again.
pub type Reopen = Box<dyn Fn(Arc<dyn StateStore>) -> Arc<dyn StateStore>>;

type Case = (&'static str, for<'a> fn(&'a Backend) -> Pin<Box<dyn Future<Output = ()> + 'a>>);

/// All cases, for the record.
const CASES: &[Case] = &[
    ("what was put can be got, and only there", |b| Box::pin(put_and_get(b))),
    ("revisions grow, a key has that of its last write", |b| Box::pin(revisions(b))),
    ("a transaction is all or nothing", |b| Box::pin(all_or_nothing(b))),
    ("preconditions", |b| Box::pin(preconditions(b))),
    ("the later write of a transaction wins", |b| Box::pin(later_write_wins(b))),
    ("of many who increment, none is lost", |b| Box::pin(no_lost_update(b))),
    ("of many who insert, one wins", |b| Box::pin(one_insert_wins(b))),
    ("scans: order, prefix, limit, cursor, both directions", |b| Box::pin(scans(b))),
    ("a cursor stays good when its key is deleted", |b| Box::pin(cursor_of_deleted_key(b))),
    ("watch sees each change of its prefix once, in order", |b| Box::pin(watch_in_order(b))),
    ("watch waits, and wakes", |b| Box::pin(watch_wakes(b))),
    ("watch from a revision this store never had says compacted", |b| Box::pin(watch_from_nowhere(b))),
    ("too large is refused", |b| Box::pin(too_large(b))),
    ("an undeclared keyspace is refused", |b| Box::pin(unknown_keyspace(b))),
    ("a dropped commit is all or nothing", |b| Box::pin(dropped_commit(b))),
    ("typed records", |b| Box::pin(typed(b))),
    ("a record of another shape is an error that names it", |b| Box::pin(undecodable(b))),
    ("what was acknowledged is there after reopening", |b| Box::pin(reopened(b))),
];

/// Runs every case.
pub async fn run(backend: &Backend) {
    for (name, case) in CASES {
        println!("case: {name}");
        case(backend).await;
    }
}

fn put(key: &str, value: &str) -> Transaction {
    Transaction::new().put(FRUIT, key.to_owned(), value.to_owned())
}

async fn value(store: &Arc<dyn StateStore>, keyspace: Keyspace, key: &str) -> Option<Bytes> {
    store.get(keyspace, key.as_bytes()).await.unwrap().map(|entry| entry.value)
}

async fn put_and_get(backend: &Backend) {
    let store = (backend.open)();
    assert_eq!(value(&store, FRUIT, "apple").await, None);
    store.commit(put("apple", "green").put(FRUIT, "", "empty key")).await.unwrap();
    assert_eq!(value(&store, FRUIT, "apple").await, Some("green".into()));
    assert_eq!(value(&store, FRUIT, "").await, Some("empty key".into()));
    assert_eq!(value(&store, TOOLS, "apple").await, None);
    store.commit(Transaction::new().delete(FRUIT, "apple").delete(FRUIT, "never was")).await.unwrap();
    assert_eq!(value(&store, FRUIT, "apple").await, None);
    assert_eq!(*store.health().borrow(), Health::Writable);
}

async fn revisions(backend: &Backend) {
    let store = (backend.open)();
    let before = store.revision();
    let first = store.commit(put("a", "1")).await.unwrap();
    let second = store.commit(put("b", "1")).await.unwrap();
    let third = store.commit(Transaction::new().delete(FRUIT, "b")).await.unwrap();
    assert!(before < first && first < second && second < third);
    assert_eq!(store.revision(), third);
    assert_eq!(store.get(FRUIT, b"a").await.unwrap().unwrap().revision, first);
    let fourth = store.commit(put("a", "2")).await.unwrap();
    assert_eq!(store.get(FRUIT, b"a").await.unwrap().unwrap().revision, fourth);
}

async fn all_or_nothing(backend: &Backend) {
    let store = (backend.open)();
    store.commit(put("a", "1")).await.unwrap();
    let both = put("b", "2").put(TOOLS, "saw", "3").delete(FRUIT, "a").require(FRUIT, "c", Expect::Present);
    assert!(store.commit(both.clone()).await.unwrap_err().is_conflict());
    assert_eq!(value(&store, FRUIT, "a").await, Some("1".into()));
    assert_eq!(value(&store, FRUIT, "b").await, None);
    assert_eq!(value(&store, TOOLS, "saw").await, None);
    store.commit(put("c", "")).await.unwrap();
    let revision = store.commit(both).await.unwrap();
    assert_eq!(value(&store, FRUIT, "a").await, None);
    assert_eq!(store.get(FRUIT, b"b").await.unwrap().unwrap().revision, revision);
    assert_eq!(store.get(TOOLS, b"saw").await.unwrap().unwrap().revision, revision);
}

async fn preconditions(backend: &Backend) {
    let store = (backend.open)();
    let at = store.commit(put("here", "1")).await.unwrap();
    let stale = at;
    let at = store.commit(put("here", "2")).await.unwrap();
    for (name, key, expect, holds) in [
        ("absent, is absent", "gone", Expect::Absent, true),
        ("absent, is there", "here", Expect::Absent, false),
        ("present, is there", "here", Expect::Present, true),
        ("present, is absent", "gone", Expect::Present, false),
        ("right revision", "here", Expect::At(at), true),
        ("old revision", "here", Expect::At(stale), false),
        ("future revision", "here", Expect::At(Revision(u64::MAX)), false),
        ("revision of nothing", "gone", Expect::At(at), false),
    ] {
        let outcome = store.commit(Transaction::new().require(FRUIT, key, expect)).await;
        assert_eq!(outcome.is_ok(), holds, "{name}: {outcome:?}");
        if let Err(StoreError::Conflict { keyspace, key: named, expected, .. }) = outcome {
            assert_eq!((keyspace, named.as_str(), expected), (FRUIT, key, expect), "{name}");
        }
    }
    assert_eq!(store.revision(), at, "a transaction that only asks makes no revision");
}

async fn later_write_wins(backend: &Backend) {
    let store = (backend.open)();
    store.commit(put("a", "1").put(FRUIT, "a", "2")).await.unwrap();
    assert_eq!(value(&store, FRUIT, "a").await, Some("2".into()));
    store.commit(put("a", "3").delete(FRUIT, "a")).await.unwrap();
    assert_eq!(value(&store, FRUIT, "a").await, None);
    store.commit(Transaction::new().delete(FRUIT, "a").put(FRUIT, "a", "4")).await.unwrap();
    assert_eq!(value(&store, FRUIT, "a").await, Some("4".into()));
}

async fn no_lost_update(backend: &Backend) {
    let store = (backend.open)();
    store.commit(put("counter", "0")).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut done = 0;
            while done < 20 {
                let entry = store.get(FRUIT, b"counter").await.unwrap().unwrap();
                let count: u64 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                let next = put("counter", &(count + 1).to_string());
                match store.commit(next.require(FRUIT, "counter", Expect::At(entry.revision))).await {
                    Ok(_) => done += 1,
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
            }
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
    assert_eq!(value(&store, FRUIT, "counter").await, Some("160".into()));
}

async fn one_insert_wins(backend: &Backend) {
    let store = (backend.open)();
    let attempts = (0..50).map(|n| {
        let store = Arc::clone(&store);
        let insert = put("crown", &n.to_string()).require(FRUIT, "crown", Expect::Absent);
        async move { store.commit(insert).await }
    });
    let tasks: Vec<_> = attempts.map(tokio::spawn).collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
    assert_eq!(won, 1);
}

async fn scan_all(store: &Arc<dyn StateStore>, mut request: ScanRequest) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let page = store.scan(request.clone()).await.unwrap();
        assert!(page.entries.len() <= request.limit);
        keys.extend(page.entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()));
        match page.next {
            Some(next) => request.after = Some(next),
            None => return keys,
        }
    }
}

async fn scans(backend: &Backend) {
    let store = (backend.open)();
    let keys = ["a", "b", "b1", "b2", "b3", "b\u{7f}", "c"];
    for key in keys {
        store.commit(put(key, "x")).await.unwrap();
    }
    let high = Transaction::new().put(TOOLS, vec![0xff, 0xff], "x").put(TOOLS, vec![0xff], "x");
    store.commit(high.put(TOOLS, vec![0xfe], "x")).await.unwrap();
    for (name, prefix, expected) in [
        ("all", "", &keys[..]),
        ("prefix", "b", &keys[1..6]),
        ("prefix that is a key", "b1", &keys[2..3]),
        ("nothing there", "bb", &[]),
        ("behind the end", "d", &[]),
    ] {
        for limit in [1, 2, 3, 5, 7, 100] {
            let request = ScanRequest::prefix(FRUIT, prefix, limit);
            assert_eq!(scan_all(&store, request.clone()).await, expected, "{name}, by {limit}");
            let down = ScanRequest { direction: Direction::Descending, ..request };
            let reversed: Vec<_> = expected.iter().rev().copied().collect();
            assert_eq!(scan_all(&store, down).await, reversed, "{name}, descending by {limit}");
        }
    }
    for direction in [Direction::Ascending, Direction::Descending] {
        let request = ScanRequest { direction, ..ScanRequest::prefix(TOOLS, [0xff], 1) };
        assert_eq!(scan_all(&store, request).await.len(), 2, "a prefix without a successor, {direction:?}");
    }
}

async fn cursor_of_deleted_key(backend: &Backend) {
    let store = (backend.open)();
    for key in ["a", "b", "c", "d"] {
        store.commit(put(key, "x")).await.unwrap();
    }
    for (direction, expected) in [(Direction::Ascending, "c"), (Direction::Descending, "a")] {
        let after = Some(Bytes::from_static(b"b"));
        let request = ScanRequest { after, direction, ..ScanRequest::prefix(FRUIT, [], 1) };
        store.commit(Transaction::new().delete(FRUIT, "b")).await.unwrap();
        let page = store.scan(request).await.unwrap();
        assert_eq!(page.entries[0].key, expected, "{direction:?}");
    }
}

fn change(key: &str, revision: Revision, value: Option<&str>) -> Change {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Change { key: Bytes::copy_from_slice(key.as_bytes()), revision, value }
}

async fn watch_in_order(backend: &Backend) {
    let store = (backend.open)();
    let start = store.commit(put("vm/0", "before")).await.unwrap();
    let mut watch = store.watch(FRUIT, b"vm/", start);
    let one = store.commit(put("vm/1", "1").put(FRUIT, "host/1", "no")).await.unwrap();
    store.commit(Transaction::new().put(TOOLS, "vm/1", "another keyspace")).await.unwrap();
    let two = store.commit(put("vm/2", "2").delete(FRUIT, "vm/1")).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match watch.next().await {
            WatchEvent::Changes(changes) => seen.extend(changes),
            WatchEvent::Compacted { .. } => panic!("nothing was forgotten"),
        }
    }
    let expected =
        [change("vm/1", one, Some("1")), change("vm/2", two, Some("2")), change("vm/1", two, None)];
    assert_eq!(seen, expected);
    assert_eq!(watch.take(), None);
    let mut late = store.watch(FRUIT, b"", start);
    assert!(matches!(late.next().await, WatchEvent::Changes(changes) if changes.len() == 4));
}

async fn watch_wakes(backend: &Backend) {
    let store = (backend.open)();
    let mut watch = store.watch(FRUIT, b"a", store.revision());
    assert_eq!(watch.take(), None);
    let watcher = tokio::spawn(async move { watch.next().await });
    store.commit(put("b", "not this")).await.unwrap();
    let revision = store.commit(put("a", "this")).await.unwrap();
    let event = tokio::time::timeout(Duration::from_secs(10), watcher).await.unwrap().unwrap();
    assert_eq!(event, WatchEvent::Changes(vec![change("a", revision, Some("this"))]));
}

async fn watch_from_nowhere(backend: &Backend) {
    let store = (backend.open)();
    let now = store.commit(put("a", "1")).await.unwrap();
    let mut watch = store.watch(FRUIT, b"", Revision(now.0 + 1000));
    assert_eq!(watch.next().await, WatchEvent::Compacted { through: now });
    let next = store.commit(put("a", "2")).await.unwrap();
    assert_eq!(watch.next().await, WatchEvent::Changes(vec![change("a", next, Some("2"))]));
}

async fn too_large(backend: &Backend) {
    let store = (backend.open)();
    let many = (0..=MAX_TRANSACTION_OPS)
        .fold(Transaction::new(), |t, n| t.put(FRUIT, n.to_string(), Bytes::from_static(b"x")));
    for (name, transaction) in [
        ("value", Transaction::new().put(FRUIT, "a", vec![0; MAX_VALUE_BYTES + 1])),
        ("key", Transaction::new().put(FRUIT, vec![b'k'; 1025], "")),
        ("operations", many),
        ("sum", put("a", "").put(FRUIT, "b", vec![0; 900_000]).put(FRUIT, "c", vec![0; 900_000])),
    ] {
        let outcome = store.commit(transaction).await;
        assert!(matches!(outcome, Err(StoreError::TooLarge { .. })), "{name}: {outcome:?}");
    }
    store.commit(Transaction::new().put(FRUIT, "a", vec![7; MAX_VALUE_BYTES])).await.unwrap();
    assert_eq!(value(&store, FRUIT, "a").await.unwrap().len(), MAX_VALUE_BYTES);
}

async fn unknown_keyspace(backend: &Backend) {
    const OTHER: Keyspace = Keyspace::new("other");
    let store = (backend.open)();
    let unknown = |outcome| matches!(outcome, Err(StoreError::UnknownKeyspace(OTHER)));
    assert!(unknown(store.get(OTHER, b"a").await.map(|_| ())));
    assert!(unknown(store.scan(ScanRequest::prefix(OTHER, [], 1)).await.map(|_| ())));
    let half = put("a", "1").put(OTHER, "a", "1");
    assert!(unknown(store.commit(half).await.map(|_| ())));
    let asked = put("a", "1").require(OTHER, "a", Expect::Absent);
    assert!(unknown(store.commit(asked).await.map(|_| ())));
    assert_eq!(value(&store, FRUIT, "a").await, None);
}

async fn dropped_commit(backend: &Backend) {
    let store = (backend.open)();
    for n in 0..20 {
        let both = put("left", &n.to_string()).put(FRUIT, "right", n.to_string());
        let commit = store.commit(both);
        // Polled once and dropped: the caller was cancelled.
        let _ = tokio::time::timeout(Duration::ZERO, commit).await;
    }
    store.commit(put("last", "x")).await.unwrap();
    assert_eq!(value(&store, FRUIT, "left").await, value(&store, FRUIT, "right").await);
}

async fn typed(backend: &Backend) {
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Old {
        name: String,
    }
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct New {
        name: String,
        #[serde(default)]
        colour: Option<String>,
    }
    let store = (backend.open)();
    let old: Collection<u64, Old> = Collection::new(Arc::clone(&store), FRUIT);
    let new: Collection<u64, New> = Collection::new(Arc::clone(&store), FRUIT);
    for n in [300, 2, 1] {
        old.insert(&n, &Old { name: format!("n{n}") }).await.unwrap();
    }
    assert!(old.insert(&1, &Old { name: String::new() }).await.unwrap_err().is_conflict());
    let (records, revision) = new.all().await.unwrap();
    let keys: Vec<_> = records.iter().map(|record| record.key).collect();
    assert_eq!(keys, [1, 2, 300], "numbers sort as numbers; old records read as new ones");
    let mut watch = new.watch(revision);
    new.modify(&2, |record| record.colour = Some("red".to_owned())).await.unwrap().unwrap();
    assert_eq!(old.get(&2).await.unwrap().unwrap().value.name, "n2", "new records read as old ones");
    assert_eq!(new.modify(&99, |_| {}).await.unwrap(), None);
    let stale = &records[1];
    assert!(new.update(stale, &stale.value).await.unwrap_err().is_conflict());
    assert!(new.delete(stale).await.unwrap_err().is_conflict());
    new.delete(&records[0]).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let crate::RecordEvent::Changes(changes) = watch.next().await.unwrap() else { panic!("compacted") };
        seen.extend(changes.into_iter().map(|change| (change.key, change.value.is_some())));
    }
    assert_eq!(seen, [(2, true), (1, false)]);
    assert_eq!(watch.through(), store.revision());
    assert_eq!(new.changed_since(revision).unwrap(), Some(vec![2, 1]), "without a watch");
    assert_eq!(new.changed_since(store.revision()).unwrap(), Some(vec![]));
    assert_eq!(new.changed_since(Revision(u64::MAX)).unwrap(), None, "of another life of the store");
    let pairs: Collection<(String, u64), Old> = Collection::new(store, TOOLS);
    for (first, second) in [("b", 1), ("a", 2), ("a", 1), ("ab", 1)] {
        pairs.insert(&(first.to_owned(), second), &Old { name: String::new() }).await.unwrap();
    }
    let page = pairs.page_under(&"a".to_owned(), None, 10).await.unwrap();
    let keys: Vec<_> = page.records.into_iter().map(|record| record.key).collect();
    assert_eq!(keys, [("a".to_owned(), 1), ("a".to_owned(), 2)]);
    let numbers: Vec<u64> = (0..2500).collect();
    for some in numbers.chunks(100) {
        let put =
            |t, number: &u64| pairs.put_in(t, &("many".to_owned(), *number), &Old { name: String::new() });
        pairs.store().commit(some.iter().fold(Transaction::new(), put)).await.unwrap();
    }
    let keys = pairs.all_under(&"many".to_owned()).await.unwrap().into_iter().map(|record| record.key.1);
    assert!(keys.eq(numbers), "of several pages");
}

async fn undecodable(backend: &Backend) {
    let store = (backend.open)();
    let numbers: Collection<String, u64> = Collection::new(Arc::clone(&store), FRUIT);
    store.commit(put("apple", "not a number")).await.unwrap();
    let error = numbers.get(&"apple".to_owned()).await.unwrap_err();
    assert!(error.to_string().contains("fruit/apple"), "{error}");
    assert!(matches!(error, StoreError::Decode { .. }));
    assert!(numbers.all().await.is_err(), "who asks for all is not given less");

    let mut watch = numbers.watch(store.revision());
    let beside = numbers.put_in(put("banana", "not a number either"), &"cherry".to_owned(), &3);
    store.commit(numbers.put_in(beside, &"date".to_owned(), &4)).await.unwrap();
    let (mut seen, mut failed) = (Vec::new(), Vec::new());
    while seen.len() + failed.len() < 3 {
        match watch.next().await {
            Ok(crate::RecordEvent::Changes(changes)) => {
                seen.extend(changes.into_iter().map(|change| (change.key, change.value)));
            }
            Ok(compacted) => panic!("{compacted:?}"),
            Err(error) => failed.push(error.to_string()),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [("cherry".to_owned(), Some(3)), ("date".to_owned(), Some(4))], "it holds up no other");
    assert!(failed.len() == 1 && failed[0].contains("fruit/banana"), "{failed:?}");

    let (all, _) = numbers.all_or_why().await.unwrap();
    let all: Vec<_> = all.into_iter().map(|record| (record.key, record.value.ok())).collect();
    let expected = [("apple", None), ("banana", None), ("cherry", Some(3)), ("date", Some(4))];
    assert_eq!(all, expected.map(|(name, number)| (name.to_owned(), number)));
}

async fn reopened(backend: &Backend) {
    let Some(reopen) = &backend.reopen else { return };
    let store = (backend.open)();
    store.commit(put("gone", "x")).await.unwrap();
    let kept = store.commit(put("kept", "x")).await.unwrap();
    let last = store.commit(Transaction::new().delete(FRUIT, "gone")).await.unwrap();
    let store = reopen(store);
    assert_eq!(store.revision(), last);
    assert_eq!(store.get(FRUIT, b"kept").await.unwrap().unwrap().revision, kept);
    assert_eq!(value(&store, FRUIT, "gone").await, None);
    let mut watch = store.watch(FRUIT, b"", kept);
    assert_eq!(
        watch.next().await,
        WatchEvent::Compacted { through: last },
        "history does not outlive the process"
    );
    assert!(store.commit(put("new", "x")).await.unwrap() > last);
}
