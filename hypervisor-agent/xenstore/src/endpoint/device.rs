//! Linux's `/dev/xen/xenbus` as an asynchronous stream.
//!
//! What always holds: one `write` to the device carries exactly one message. The driver forgets what follows
//! the first complete message of a write, so the batches that are right for the socket would lose requests.
//! Reads are readiness-driven. Writes are not: the driver never reports writable, and takes a request into
//! its own queue at once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::HEADER_LEN;

pub struct DeviceStream(AsyncFd<File>);

impl DeviceStream {
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?)
    }

    #[expect(
        deprecated,
        reason = "its successor is unsafe for types that may not own their descriptor; File does"
    )]
    fn new(file: File) -> io::Result<Self> {
        Ok(Self(AsyncFd::new(file)?))
    }
}

/// The length of the first message in `batch`, or all of it where there is no whole header.
fn first_message(batch: &[u8]) -> usize {
    let announced = batch.get(HEADER_LEN - 4..HEADER_LEN).and_then(|len| <[u8; 4]>::try_from(len).ok());
    let len =
        announced.map_or(batch.len(), |len| HEADER_LEN.saturating_add(u32::from_ne_bytes(len) as usize));
    len.min(batch.len())
}

impl AsyncRead for DeviceStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let unfilled = buf.initialize_unfilled();
            if let Ok(read) = guard.try_io(|file| file.get_ref().read(unfilled)) {
                return Poll::Ready(read.map(|len| buf.advance(len)));
            }
        }
    }
}

impl AsyncWrite for DeviceStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, batch: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.get_ref().write(&batch[..first_message(batch)]) {
            // The driver does not do this today. Ask again later rather than spin here.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use bytes::{Bytes, BytesMut};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::wire::{Decoder, Incoming, Message, MessageType, RequestId, TxId, encode};

    #[tokio::test]
    async fn a_batch_is_written_message_by_message_and_answers_are_read() {
        // Datagrams keep the boundaries of writes, as the device does.
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut device = DeviceStream::new(File::from(OwnedFd::from(ours))).unwrap();

        let mut batch = BytesMut::new();
        let messages = [b"/a\0".as_slice(), b"", b"/long/er\0"].map(|payload| Message {
            kind: MessageType::Read,
            request: RequestId(7),
            transaction: TxId::NONE,
            payload: Bytes::from_static(payload),
        });
        for message in &messages {
            encode(message, &mut batch).unwrap();
        }
        device.write_all(&batch).await.unwrap();

        for message in &messages {
            let mut one = [0; 128];
            let len = theirs.recv(&mut one).unwrap();
            let mut one = BytesMut::from(&one[..len]);
            let seen = Decoder::default().take(&mut one);
            assert_eq!(seen, Ok(Some(Incoming::Message(message.clone()))));
            assert!(one.is_empty());
        }

        theirs.send(b"answer").unwrap();
        let mut answer = [0; 16];
        assert_eq!(device.read(&mut answer).await.unwrap(), 6);
    }
}
