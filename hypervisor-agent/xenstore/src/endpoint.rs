//! Where xenstore is, and opening it.

mod device;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use xenith_common_tasks::Backoff;

use crate::wire::{HEADER_LEN, PAYLOAD_MAX};

/// A way to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// xenstored's unix socket: the normal way in the control domain.
    Socket(PathBuf),
    /// The kernel's device: where xenstored runs in a domain of its own.
    Device(PathBuf),
}

pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl Endpoint {
    const SOCKET: &str = "/run/xenstored/socket";
    const DEVICE: &str = "/dev/xen/xenbus";

    /// The socket, or the device where there is no socket but a device.
    #[must_use]
    pub fn discover() -> Self {
        if !Path::new(Self::SOCKET).exists() && Path::new(Self::DEVICE).exists() {
            return Self::Device(Self::DEVICE.into());
        }
        Self::Socket(Self::SOCKET.into())
    }

    /// The longest payload that this way carries, in bytes.
    pub(crate) const fn payload_max(&self) -> usize {
        match self {
            Self::Socket(_) => PAYLOAD_MAX,
            // Linux collects a request in a buffer of PAYLOAD_MAX bytes that includes the header.
            Self::Device(_) => PAYLOAD_MAX - HEADER_LEN,
        }
    }

    pub(crate) async fn open(&self) -> io::Result<Box<dyn ByteStream>> {
        match self {
            Self::Socket(path) => Ok(Box::new(connect(path).await?)),
            Self::Device(path) => Ok(Box::new(device::DeviceStream::open(path)?)),
        }
    }
}

/// xenstored lets a single connection wait to be accepted; while one does, another gets EAGAIN instead of
/// waiting its turn. That is over when the daemon gets to it, so it is tried again for a while.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50), 0);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && backoff.attempt() < 60 => {
                tokio::time::sleep(backoff.next_delay()).await;
            }
            outcome => return outcome,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Socket(path) | Self::Device(path)) = self;
        path.display().fmt(f)
    }
}
