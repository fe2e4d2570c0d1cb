//! A daemon that breaks the protocol: the connection is dropped and made again, nobody hangs.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_xenstore::wire::{Message, decode};
use xenith_hypervisor_agent_xenstore::{Endpoint, Options, Xenstore, XenstoreError};

use crate::harness::soon;

/// The answer to a READ with the request id `id`, in raw words and bytes.
type Answer = fn(id: u32) -> BytesMut;

fn raw(words: [u32; 4], payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    words.into_iter().for_each(|word| bytes.put_u32_ne(word));
    bytes.extend_from_slice(payload);
    bytes
}

async fn read_request(stream: &mut UnixStream) -> Option<Message> {
    let mut input = BytesMut::new();
    loop {
        if let Some(message) = decode(&mut input).unwrap() {
            return Some(message);
        }
        if stream.read_buf(&mut input).await.ok()? == 0 {
            return None;
        }
    }
}

/// The first connection is answered with `first`, all later ones well.
async fn serve(listener: UnixListener, first: Answer) {
    let mut broken = true;
    while let Ok((mut stream, _)) = listener.accept().await {
        while let Some(request) = read_request(&mut stream).await {
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
