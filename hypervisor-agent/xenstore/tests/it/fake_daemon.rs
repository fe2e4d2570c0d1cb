//! A daemon of our own. One that breaks the protocol: the connection is dropped and made again, nobody hangs. One
//! that keeps it and remembers what it was told: nothing is left open behind. One with long directories, as
//! oxenstored gives them: the connection stays. (The real one is asked for such in `nodes.rs`; for more than our
//! bound it would need hundreds of thousands of nodes.)

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_xenstore::wire::{
    DIRECTORY_MAX, Decoder, Incoming, Message, MessageType, strings,
};
use xenith_hypervisor_agent_xenstore::{Endpoint, LinkState, Options, Xenstore, XenstoreError};

use crate::harness::{soon, until};

/// The answer to a READ with the request id `id`, in raw words and bytes.
type Answer = fn(id: u32) -> BytesMut;

fn raw(words: [u32; 4], payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    words.into_iter().for_each(|word| bytes.put_u32_ne(word));
    bytes.extend_from_slice(payload);
    bytes
}

async fn read_request(stream: &mut UnixStream, input: &mut BytesMut) -> Option<Message> {
    loop {
        // A request is never skipped, so there is nothing that a decoder would have to remember.
        if let Some(Incoming::Message(message)) = Decoder::default().take(input).unwrap() {
            return Some(message);
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
}

/// The first connection is answered with `first`, all later ones well.
async fn serve(listener: UnixListener, first: Answer) {
    let mut broken = true;
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut input = BytesMut::new();
        while let Some(request) = read_request(&mut stream, &mut input).await {
            let good = raw([2, request.request.0, 0, 2], b"ok");
            let answer = if std::mem::take(&mut broken) { first(request.request.0) } else { good };
            if answer.is_empty() || stream.write_all(&answer).await.is_err() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn table() {
    let cases: [(&str, Answer); 8] = [
        ("oversize length", |id| raw([2, id, 0, 4097], b"")),
        ("length of all ones", |id| raw([2, id, 0, u32::MAX], b"")),
        ("unknown type", |id| raw([20, id, 0, 0], b"")),
        ("answer nobody asked for", |id| raw([2, id.wrapping_add(5), 0, 0], b"")),
        ("answer to another question", |id| raw([11, id, 0, 3], b"OK\0")),
        ("watch event without a token", |_| raw([15, 0, 0, 3], b"/a\0")),
        ("watch event with a token that is not ours", |_| raw([15, 0, 0, 8], b"/a\0tokn\0")),
        ("hangs up", |_| BytesMut::new()),
    ];
    for (name, answer) in cases {
        let directory = tempfile::Builder::new().prefix("xs").tempdir().unwrap();
        let socket = directory.path().join("socket");
        let daemon = tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), answer));
        let tasks = TaskSet::new();
        let options =
            Options { first_retry: Duration::from_millis(1), ..Options::new(Endpoint::Socket(socket)) };
        let store = Xenstore::connect(options, &tasks).await.unwrap();
        let broken = soon(name, store.read("/x")).await;
        assert!(matches!(broken, Err(XenstoreError::Disconnected { .. })), "{name}: {broken:?}");
        soon(name, store.connected()).await.unwrap();
        assert_eq!(soon(name, store.read("/x")).await.unwrap(), "ok", "{name}: works again");
        tasks.shut_down(Duration::from_secs(30)).await.unwrap();
        daemon.abort();
    }
}

#[tokio::test]
async fn an_event_of_a_watch_that_has_ended_is_no_offence() {
    let directory = tempfile::Builder::new().prefix("xs").tempdir().unwrap();
    let socket = directory.path().join("socket");
    let answer: Answer = |id| {
        let mut bytes = raw([15, 0, 0, 6], b"/a\x0077\0");
        bytes.unsplit(raw([2, id, 0, 4], b"fine"));
        bytes
    };
    let daemon = tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), answer));
    let tasks = TaskSet::new();
    let store = Xenstore::connect(Options::new(Endpoint::Socket(socket)), &tasks).await.unwrap();
    assert_eq!(soon("an answer", store.read("/x")).await.unwrap(), "fine");
    tasks.shut_down(Duration::from_secs(30)).await.unwrap();
    daemon.abort();
}

/// What the daemon holds for its client: tokens of watches, numbers of transactions.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    watches: BTreeSet<Vec<u8>>,
    transactions: BTreeSet<u32>,
    ever: u32,
}

async fn serve_well(listener: UnixListener, held: Arc<Mutex<Held>>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut input = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut input).await {
        let token = strings(&request.payload).nth(1).unwrap_or_default().to_vec();
        let mut answer = b"OK\0".to_vec();
        {
            let mut held = held.lock().unwrap();
            match request.kind {
                MessageType::Watch => {
                    held.ever += 1;
                    assert!(held.watches.insert(token), "a token is used once");
                }
                MessageType::Unwatch => assert!(held.watches.remove(&token), "unwatched twice"),
                MessageType::TransactionStart => {
                    held.ever += 1;
                    let number = held.ever;
                    held.transactions.insert(number);
                    answer = format!("{number}\0").into_bytes();
                }
                MessageType::TransactionEnd => {
                    held.transactions.remove(&request.transaction.0);
                }
                _ => {}
            }
        }
        let words = [request.kind as u32, request.request.0, request.transaction.0, answer.len() as u32];
        if stream.write_all(&raw(words, &answer)).await.is_err() {
            return;
        }
    }
}

/// Callers give up after every possible number of polls, before and after each answer.
#[tokio::test]
async fn whoever_gives_up_leaves_no_watch_and_no_transaction() {
    let directory = tempfile::Builder::new().prefix("xs").tempdir().unwrap();
    let socket = directory.path().join("socket");
    let held = Arc::<Mutex<Held>>::default();
    let daemon = tokio::spawn(serve_well(UnixListener::bind(&socket).unwrap(), Arc::clone(&held)));
    let tasks = TaskSet::new();
    let store = &Xenstore::connect(Options::new(Endpoint::Socket(socket)), &tasks).await.unwrap();
    for polls in 0..400 {
        let mut watching = Box::pin(store.watch_path("/w"));
        let mut changing = Box::pin(store.transaction("/t", |tx| async move {
            tx.read("/t").await?;
            tx.write("/t", "1").await
        }));
        for _ in 0..polls % 40 {
            let watching = futures::poll!(&mut watching).is_ready();
            if watching || futures::poll!(&mut changing).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let open = |held: &Held| held.watches.len() + held.transactions.len();
    until("everything is ended", async || open(&held.lock().unwrap()) == 0).await;
    assert!(held.lock().unwrap().ever > 400, "much was begun");
    let kept = store.watch_path("/w").await.unwrap();
    until("what is in use stays", async || open(&held.lock().unwrap()) == 1).await;
    drop(kept);
    until("and is ended in its turn", async || open(&held.lock().unwrap()) == 0).await;
    tasks.shut_down(Duration::from_secs(30)).await.unwrap();
    daemon.await.unwrap();
}

/// Gives a directory of as many names as its path says, of ten bytes each with their NUL, and knows no parts. Any
/// other request is answered well. Takes one connection only.
async fn serve_long_directories(listener: UnixListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    drop(listener);
    let mut input = BytesMut::new();
    while let Some(request) = read_request(&mut stream, &mut input).await {
        let path = String::from_utf8(strings(&request.payload).next().unwrap_or_default().to_vec()).unwrap();
        let (kind, answer) = match request.kind {
            MessageType::Directory => {
                let names: usize = path.trim_start_matches('/').parse().unwrap();
                (MessageType::Directory, b"name-1234\0".repeat(names))
            }
            MessageType::DirectoryPart => (MessageType::Error, b"ENOSYS\0".to_vec()),
            kind => (kind, b"ok".to_vec()),
        };
        let words = [kind as u32, request.request.0, request.transaction.0, answer.len() as u32];
        if stream.write_all(&raw(words, &answer)).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_long_directory_is_taken_or_skipped_and_the_link_lives_on() {
    let directory = tempfile::Builder::new().prefix("xs").tempdir().unwrap();
    let socket = directory.path().join("socket");
    let daemon = tokio::spawn(serve_long_directories(UnixListener::bind(&socket).unwrap()));
    let tasks = TaskSet::new();
    let store = Xenstore::connect(Options::new(Endpoint::Socket(socket)), &tasks).await.unwrap();
    let most = DIRECTORY_MAX / 10;
    for (names, taken) in [
        (0, true),
        (409, true),
        (410, true),
        (5000, true),
        (most, true),
        (most + 1, false),
        (2 * most, false),
    ] {
        let path = format!("/{names}");
        // In flight at once: those behind the long answer get theirs, too.
        let (list, before, behind) = soon("answers", async {
            tokio::join!(store.directory(&path), store.read("/a"), store.read("/b"))
        })
        .await;
        assert_eq!((before.unwrap().as_str(), behind.unwrap().as_str()), ("ok", "ok"), "{names} names");
        if taken {
            assert_eq!(list.unwrap().len(), names);
        } else {
            let error = list.unwrap_err();
            let limit_is_named = matches!(
                &error,
                XenstoreError::DirectoryTooLarge { path: named, limit: DIRECTORY_MAX } if *named == path
            );
            assert!(limit_is_named && !error.is_retryable(), "{names} names: {error:?}");
        }
        assert_eq!(*store.state().borrow(), LinkState::Connected, "{names} names");
    }
    tasks.shut_down(Duration::from_secs(30)).await.unwrap();
    daemon.await.unwrap();
}

/// oxenstored behind the kernel's device: neither the whole directory nor parts of it.
#[tokio::test]
async fn a_daemon_that_gives_a_directory_in_no_way_says_so_of_that_node() {
    let directory = tempfile::Builder::new().prefix("xs").tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut input = BytesMut::new();
        while let Some(request) = read_request(&mut stream, &mut input).await {
            let (kind, answer): (u32, &[u8]) = match request.kind {
                MessageType::Directory => (16, b"E2BIG\0".as_slice()),
                MessageType::DirectoryPart => (16, b"ENOSYS\0".as_slice()),
                kind => (kind as u32, b"ok".as_slice()),
            };
            let words = [kind, request.request.0, request.transaction.0, answer.len() as u32];
            stream.write_all(&raw(words, answer)).await.unwrap();
        }
    });
    let tasks = TaskSet::new();
    let store = Xenstore::connect(Options::new(Endpoint::Socket(socket)), &tasks).await.unwrap();
    let error = soon("an answer", store.directory("/d")).await.unwrap_err();
    assert!(matches!(&error, XenstoreError::DirectoryTooLarge { limit: 4096, .. }), "{error:?}");
    assert_eq!(soon("an answer", store.read("/x")).await.unwrap(), "ok");
    tasks.shut_down(Duration::from_secs(30)).await.unwrap();
    daemon.await.unwrap();
}
