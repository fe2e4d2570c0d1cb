//! Waking a thread that polls libxl's file descriptors.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// An eventfd: written from other threads and from the SIGCHLD handler, read by the polling thread.
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes the poller, now or at its next poll. Async-signal-safe: one `write(2)`.
    pub fn wake(&self) {
        let one = 1_u64;
        // SAFETY: 8 bytes of a live integer, as eventfd(2) wants. It can fail only with a full counter,
        // which wakes just as well.
        unsafe { libc::write(self.fd(), (&raw const one).cast(), 8) };
    }

    /// Takes back all wakes so far.
    pub fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: room for 8 bytes. It fails only when there was no wake.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), 8) };
    }

    /// Waits for a wake or `patience`, and takes the wakes back.
    pub fn wait(&self, patience: Duration) {
        let timeout = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let mut descriptor = libc::pollfd { fd: self.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one initialised element. An interruption counts as a wake; callers look again.
        unsafe { libc::poll(&raw mut descriptor, 1, timeout) };
        self.clear();
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
