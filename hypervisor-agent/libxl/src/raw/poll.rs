//! Waiting for one descriptor while another may break.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Waits until `source` can be read without blocking, or the reader of the pipe `sink` is gone (an error of
/// kind `BrokenPipe`).
pub fn wait_readable(source: BorrowedFd<'_>, sink: BorrowedFd<'_>) -> io::Result<()> {
    const FOR_EVER: i32 = -1;
    loop {
        let mut both = [
            libc::pollfd { fd: source.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: sink.as_raw_fd(), events: 0, revents: 0 },
        ];
        // SAFETY: two initialised elements.
        let ready = unsafe { libc::poll(both.as_mut_ptr(), 2, FOR_EVER) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if both[1].revents & libc::POLLERR != 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if both[0].revents != 0 {
            return Ok(());
        }
    }
}

/// Sockets of an async runtime do not block; threads want descriptors that do.
pub fn set_blocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let fd = descriptor.as_raw_fd();
    // SAFETY: a plain system call on an open descriptor.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    let rc = unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
