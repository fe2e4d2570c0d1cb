//! A backup as a network block device: for qemu, nbdkit clients and Xen's qdisk.
//!
//! Fixed newstyle negotiation, structured replies with holes, `base:allocation` block status. One export per
//! server, read-only or with a copy-on-write [`Overlay`]. A connection has one reading thread and a few
//! working ones; requests are answered out of order. What always holds: a request is checked before a byte is
//! allocated for it; an error of the repository becomes `EIO` for that request and nothing else.
//!
//! A crash loses what the client had not flushed; the overlay is opened again as it was at its last flush.

mod handshake;
mod overlay;
mod requests;
pub mod trace;
mod wire;

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent};

pub use overlay::Overlay;
pub use wire::{Request, parse_request};

/// What is served.
pub struct Export {
    pub name: String,
    pub disk: Disk,
}

/// A disk to serve: as it is, or with writes kept aside.
pub enum Disk {
    ReadOnly(Arc<dyn BlockSource>),
    Writable(Overlay),
}

impl Disk {
    fn size(&self) -> u64 {
        match self {
            Self::ReadOnly(source) => source.size(),
            Self::Writable(overlay) => overlay.size(),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        match self {
            Self::ReadOnly(source) => source.read_at(offset, buf),
            Self::Writable(overlay) => overlay.read_at(offset, buf),
        }
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        match self {
            Self::ReadOnly(source) => source.extents(range),
            Self::Writable(overlay) => overlay.extents(range),
        }
    }

    /// Keeps what was read ahead, where there is a place for it.
    pub fn keep(&self, offset: u64, bytes: &[u8]) -> Result<(), BlockError> {
        self.overlay().map_or(Ok(()), |overlay| overlay.fill(offset, bytes))
    }

    /// Where writes go.
    #[must_use]
    pub const fn overlay(&self) -> Option<&Overlay> {
        match self {
            Self::ReadOnly(_) => None,
            Self::Writable(overlay) => Some(overlay),
        }
    }
}

/// A connected client, read and written by different threads.
pub(crate) trait Connection: io::Read + io::Write + Send + Sized {
    fn another(&self) -> io::Result<Self>;
    fn hang_up(&self);
}

impl Connection for std::net::TcpStream {
    fn another(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn hang_up(&self) {
        let _ = self.shutdown(std::net::Shutdown::Both);
    }
}

impl Connection for std::os::unix::net::UnixStream {
    fn another(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn hang_up(&self) {
        let _ = self.shutdown(std::net::Shutdown::Both);
    }
}

/// Where to listen.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Ends a server between two connections.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// The server ends once it notices; whoever calls this connects once to wake it.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connections that are not over, and how to end each.
type Open = Mutex<HashMap<u64, Box<dyn Fn() + Send>>>;

fn lock(open: &Open) -> MutexGuard<'_, HashMap<u64, Box<dyn Fn() + Send>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves `export` until `stop`. Connections that are open then are hung up.
pub fn serve(listener: &Listener, export: &Export, stop: &Stop) -> io::Result<()> {
    let open = Open::default();
    std::thread::scope(|scope| {
        let mut outcome = Ok(());
        for number in 0.. {
            let accepted = match listener {
                Listener::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                    stream.set_nodelay(true)?;
                    take(stream, number, (scope, export, &open))
                }),
                Listener::Unix(listener) => {
                    listener.accept().and_then(|(stream, _)| take(stream, number, (scope, export, &open)))
                }
            };
            if stop.0.load(Ordering::Relaxed) {
                break;
            }
            match accepted {
                Err(error) if error.kind() != io::ErrorKind::ConnectionAborted => {
                    outcome = Err(error);
                    break;
                }
                _ => {}
            }
        }
        lock(&open).values().for_each(|hang_up| hang_up());
        outcome
    })
}

/// Serves a client on a thread of its own. When that is over nothing holds the connection: the client sees its end.
fn take<'scope, C: Connection + 'static>(
    stream: C,
    number: u64,
    (scope, export, open): (&'scope std::thread::Scope<'scope, '_>, &'scope Export, &'scope Open),
) -> io::Result<()> {
    let twin = stream.another()?;
    lock(open).insert(number, Box::new(move || twin.hang_up()));
    scope.spawn(move || {
        connection(stream, export);
        lock(open).remove(&number);
    });
    Ok(())
}

/// Serves one client that has agreed on nothing but the size: the kernel, which is told it by `ioctl`.
pub fn serve_kernel(stream: std::os::unix::net::UnixStream, export: &Export) -> io::Result<()> {
    requests::serve(stream, export, handshake::Agreed::default())
}

fn connection<C: Connection>(mut stream: C, export: &Export) {
    let result = handshake::negotiate(&mut stream, export).and_then(|agreed| match agreed {
        Some(agreed) => requests::serve(stream, export, agreed),
        None => Ok(()),
    });
    if let Err(error) = result {
        tracing::info!(%error, "an NBD client left");
    }
}
