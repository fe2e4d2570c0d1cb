//! One end of a pseudo-terminal, read and written without blocking.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::net::unix::pipe::{Receiver, Sender};

/// tokio's pipes drive any descriptor that can be polled and own it, so no `AsyncFd` and its `unsafe` is needed.
pub(super) struct Terminal {
    pub output: Receiver,
    pub input: Sender,
}

impl Terminal {
    /// The terminal of a guest. Blocks, though never long.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Not ours to be controlled by: Ctrl-C is the guest's.
        let flags = i32::try_from((OFlags::NOCTTY | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
        let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
        // xenconsoled and QEMU set it so already; without it every line would be echoed and rewritten here.
        let mut settings = tcgetattr(&file)?;
        settings.make_raw();
        tcsetattr(&file, OptionalActions::Now, &settings)?;
        Self::over(file.into())
    }

    pub(super) fn over(descriptor: OwnedFd) -> io::Result<Self> {
        let input = Sender::from_owned_fd_unchecked(descriptor.try_clone()?)?;
        let output = Receiver::from_owned_fd_unchecked(descriptor)?;
        Ok(Self { output, input })
    }
}
