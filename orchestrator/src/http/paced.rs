//! Connections that are not read from while they take nothing.
//!
//! What always holds: as long as the other side does not take what it was told, nothing more is read of it. So what it asked
//! for and did not take is what was asked before the socket was full, and no more. jsonrpsee by itself reads a WebSocket
//! however many answers wait, and keeps each, and what asked for it, in memory: a stranger would have all of that.
//!
//! A console is an exception ([`Pace::free`]): what is typed has to reach a guest that writes without end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Of one connection: whether it is read from only while it takes what it is told.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<AtomicBool>);

impl Pace {
    /// From here on it is read from whatever it takes.
    pub fn free(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_free(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    pace: Pace,
    /// What was written last waits for the other side.
    is_stuck: bool,
    reader: Option<Waker>,
}

impl<S> Paced<S> {
    pub const fn new(inner: S, pace: Pace) -> Self {
        Self { inner, pace, is_stuck: false, reader: None }
    }

    /// Who reads goes on when something was taken.
    fn note<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.is_stuck = written.is_pending();
        if !self.is_stuck
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_stuck && !self.pace.is_free() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.note(ended)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_not_read_from() {
        for free in [false, true] {
            let (ours, mut theirs) = duplex(8);
            let pace = Pace::default();
            if free {
                pace.free();
            }
            let mut paced = Paced::new(ours, pace);
            let mut cx = Context::from_waker(Waker::noop());
            let mut write = |paced: &mut Paced<DuplexStream>, bytes: &[u8]| {
                matches!(Pin::new(paced).poll_write(&mut cx, bytes), Poll::Ready(Ok(_)))
            };
            let read = |paced: &mut Paced<DuplexStream>| {
                let mut byte = [0; 1];
                let mut buf = ReadBuf::new(&mut byte);
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(paced).poll_read(&mut cx, &mut buf).is_ready()
            };
            assert!(write(&mut paced, &[0; 8]));
            theirs.write_all(b"abc").await.unwrap();
            assert!(read(&mut paced), "all was taken so far");
            assert!(!write(&mut paced, b"x"), "there is no room");
            assert_eq!(read(&mut paced), free);
            theirs.read_exact(&mut [0; 8]).await.unwrap();
            assert!(write(&mut paced, b"x"));
            assert!(read(&mut paced));
        }
    }

    #[tokio::test]
    async fn who_reads_is_woken_when_something_was_taken() {
        let (ours, mut theirs) = duplex(8);
        let (mut reader, mut writer) = split(Paced::new(ours, Pace::default()));
        let writing = tokio::spawn(async move { writer.write_all(&[0; 64]).await });
        let reading = tokio::spawn(async move { reader.read_u8().await });
        theirs.write_all(b"x").await.unwrap();
        let taken = async {
            theirs.read_exact(&mut [0; 64]).await.unwrap();
            writing.await.unwrap().unwrap();
            reading.await.unwrap().unwrap()
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), taken).await.unwrap(), b'x');
    }
}
