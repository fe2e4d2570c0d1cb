//! A process of ours as a block device.
//!
//! The kernel's `nbd` driver gets one end of a pair of sockets and sends the requests of the device through it
//! (`linux/nbd.h`, "transmission" of the NBD protocol; there is no negotiation, size and flags are set by `ioctl`). The
//! device is gone with the process that has the other end: to who uses it that is a disk that fails.
//!
//! Without a time-out, on purpose: a guest whose store is away for a while had better wait than lose its file system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// `linux/nbd.h`.
const NBD_SET_SOCK: libc::Ioctl = 0xAB00;
const NBD_SET_BLKSIZE: libc::Ioctl = 0xAB01;
const NBD_DO_IT: libc::Ioctl = 0xAB03;
const NBD_CLEAR_SOCK: libc::Ioctl = 0xAB04;
const NBD_SET_SIZE_BLOCKS: libc::Ioctl = 0xAB07;
const NBD_DISCONNECT: libc::Ioctl = 0xAB08;
const NBD_SET_FLAGS: libc::Ioctl = 0xAB0A;

/// Has flags, understands flush, forced unit access and discard.
const FLAGS: libc::c_ulong = 1 | 1 << 2 | 1 << 3 | 1 << 5;

/// What guests are used to from image files; with 4096 a partition table made for 512 would not be read.
const BLOCK: u64 = 512;

/// More than any host was told to have (`nbds_max`).
const MOST: u32 = 1024;

/// A device that somebody serves.
#[derive(Debug)]
pub struct NbdDevice {
    path: PathBuf,
    device: File,
}

impl NbdDevice {
    /// Takes a free device. The one who gets the socket must answer requests before [`Self::run`] is called.
    ///
    /// # Errors
    /// When the module is not there or every device is taken.
    pub fn attach(size: u64) -> io::Result<(Self, UnixStream)> {
        let (kernels, ours) = UnixStream::pair()?;
        for number in 0..MOST {
            let path = PathBuf::from(format!("/dev/nbd{number}"));
            if Path::new(&format!("/sys/block/nbd{number}/pid")).exists() {
                continue;
            }
            let device = match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(device) => device,
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => continue,
                Err(error) => return Err(error),
            };
            let device = Self { path, device };
            let socket = libc::c_ulong::try_from(kernels.as_raw_fd()).expect("it is open");
            match device.call(NBD_SET_SOCK, socket) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => continue,
                Err(error) => return Err(error),
            }
            device.call(NBD_SET_BLKSIZE, BLOCK)?;
            device.call(NBD_SET_SIZE_BLOCKS, size / BLOCK)?;
            device.call(NBD_SET_FLAGS, FLAGS)?;
            return Ok((device, ours));
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    fn call(&self, request: libc::Ioctl, argument: libc::c_ulong) -> io::Result<()> {
        // SAFETY: each of these requests takes a number by value; the driver keeps a reference of its own to the
        // socket whose descriptor it is given.
        let rc = unsafe { libc::ioctl(self.device.as_raw_fd(), request, argument) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// `/dev/nbdN`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets requests through; returns when the device was disconnected.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn run(&self) -> io::Result<()> {
        let result = self.call(NBD_DO_IT, 0);
        let _cleared = self.call(NBD_CLEAR_SOCK, 0);
        result
    }

    /// Ends [`Self::run`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn disconnect(&self) -> io::Result<()> {
        self.call(NBD_DISCONNECT, 0)
    }
}
