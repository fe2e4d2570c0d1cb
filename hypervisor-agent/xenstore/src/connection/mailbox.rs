//! The unread events of one watch: delivery never waits, memory is bounded.
//!
//! An xenstore event carries no value; it only says "look there again". So events can be merged without loss:
//! equal neighbours become one, and when the box is full all of them become one marker that says "look
//! everywhere below your path". While a marker is unread, later events add nothing to it and are dropped;
//! the reader looks after it has taken the marker, and so sees what they were about.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use futures::task::AtomicWaker;
use tokio::sync::mpsc;

use super::link::{Command, Orphan, Orphanage};
use super::registry::WatchId;

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// The node at this path, or something below it, may have changed since it was last read.
    Changed(Box<str>),
    /// More happened than was read: anything at or below the watched path may have changed.
    Lagged,
    /// The daemon was away and is back. Anything may have changed; after a restart of the daemon the store may
    /// even be empty. Read everything again.
    Resync,
}

#[derive(Debug)]
enum Unread {
    Events(VecDeque<Box<str>>),
    Marker(WatchEvent),
}

#[derive(Debug)]
struct Inner {
    unread: Unread,
    closed: bool,
}

#[derive(Debug)]
pub struct Mailbox {
    inner: Mutex<Inner>,
    reader: AtomicWaker,
    capacity: usize,
}

impl Mailbox {
    pub fn new(capacity: usize) -> Self {
        let inner = Inner { unread: Unread::Events(VecDeque::new()), closed: false };
        Self { inner: Mutex::new(inner), reader: AtomicWaker::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn changed(&self, path: &str) {
        let mut inner = self.lock();
        if let Unread::Events(events) = &mut inner.unread {
            if events.back().is_some_and(|last| **last == *path) {
                return;
            }
            if events.len() < self.capacity {
                events.push_back(path.into());
            } else {
                inner.unread = Unread::Marker(WatchEvent::Lagged);
            }
        }
        drop(inner);
        self.reader.wake();
    }

    pub fn resync(&self) {
        self.lock().unread = Unread::Marker(WatchEvent::Resync);
        self.reader.wake();
    }

    /// No more events will come; what is unread can still be read.
    pub fn close(&self) {
        self.lock().closed = true;
        self.reader.wake();
    }

    /// `Ready(None)` when closed and read to the end.
    fn take(&self) -> Poll<Option<WatchEvent>> {
        let mut inner = self.lock();
        let next = match &mut inner.unread {
            Unread::Events(events) => events.pop_front().map(WatchEvent::Changed),
            Unread::Marker(_) => {
                match std::mem::replace(&mut inner.unread, Unread::Events(VecDeque::new())) {
                    Unread::Marker(marker) => Some(marker),
                    Unread::Events(_) => None,
                }
            }
        };
        match next {
            None if !inner.closed => Poll::Pending,
            next => Poll::Ready(next),
        }
    }
}

/// The events of a watched path. Ends (`None`) when the connection is shut down, or when the daemon refuses
/// to watch the path again after a reconnect. Dropping it ends the watch in the daemon.
#[derive(Debug)]
pub struct Watch {
    pub(super) id: WatchId,
    pub(super) path: Box<str>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) orphanage: Arc<Orphanage>,
    /// The connection lives as long as somebody watches.
    pub(super) _keep_alive: Option<mpsc::Sender<Command>>,
}

impl Watch {
    /// The path that is watched.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The next event; `None` at the end. Safe to cancel.
    pub async fn next_event(&mut self) -> Option<WatchEvent> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Watch {
    type Item = WatchEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        if let Poll::Ready(next) = self.mailbox.take() {
            return Poll::Ready(next);
        }
        self.mailbox.reader.register(cx.waker());
        // Again, for what came between the look and the registration.
        self.mailbox.take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.orphanage.leave(Orphan::Watch(self.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mailbox: &Mailbox) -> Vec<String> {
        std::iter::from_fn(|| match mailbox.take() {
            Poll::Ready(Some(WatchEvent::Changed(path))) => Some(path.into()),
            Poll::Ready(Some(marker)) => Some(format!("{marker:?}")),
            Poll::Ready(None) => None,
            Poll::Pending => None,
        })
        .collect()
    }

    #[test]
    fn table() {
        let resync = |mailbox: &Mailbox| mailbox.resync();
        let nothing = |_: &Mailbox| {};
        type Step = fn(&Mailbox);
        type Paths = &'static [&'static str];
        let cases: [(&str, Paths, Step, Paths, Paths); 6] = [
            ("in order", &["/a", "/b"], nothing, &["/a"], &["/a", "/b", "/a"]),
            ("equal neighbours are one", &["/a", "/a", "/a"], nothing, &["/b"], &["/a", "/b"]),
            ("exactly full", &["/a", "/b"], nothing, &["/c"], &["/a", "/b", "/c"]),
            ("over full", &["/a", "/b", "/c"], nothing, &["/d", "/e"], &["Lagged"]),
            ("resync swallows what is around it", &["/a"], resync, &["/b"], &["Resync"]),
            ("resync is more than lagged", &["/a", "/b", "/c", "/d"], resync, &[], &["Resync"]),
        ];
        for (name, before, step, after, expected) in cases {
            let mailbox = Mailbox::new(3);
            before.iter().for_each(|path| mailbox.changed(path));
            step(&mailbox);
            after.iter().for_each(|path| mailbox.changed(path));
            assert_eq!(drain(&mailbox), expected, "{name}");
            mailbox.changed("/later");
            mailbox.close();
            assert_eq!(drain(&mailbox), ["/later"], "{name}: usable afterwards");
            assert!(mailbox.take() == Poll::Ready(None), "{name}: ends");
        }
    }
}
