//! The kernel's watchdog: `Documentation/watchdog/watchdog-api.rst` of Linux. In dom0 it is `xen_wdt`, which the hypervisor
//! enforces, or one in hardware; `softdog` is dom0's own timer, and does not bite when dom0 stands.
#![allow(unsafe_code, reason = "wraps an ioctl that no library of ours offers")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use xenith_hypervisor_agent_backend::{OpenWatchdog, Watchdog};

/// `linux/watchdog.h`: `_IOWR('W', 6, int)`.
const WDIOC_SETTIMEOUT: nix::libc::Ioctl = 0xC004_5706;

/// Written before it is closed: then it stops.
const LET_GO: &[u8] = b"V";
const FEED: &[u8] = b"x";

/// `/dev/watchdog`.
#[derive(Debug)]
pub struct KernelWatchdog {
    path: PathBuf,
}

impl Default for KernelWatchdog {
    fn default() -> Self {
        Self { path: PathBuf::from("/dev/watchdog") }
    }
}

struct Device(File);

impl Watchdog for KernelWatchdog {
    fn open(&self, bites_after: Duration) -> io::Result<Box<dyn OpenWatchdog>> {
        let file = OpenOptions::new().write(true).open(&self.path).map_err(|error| {
            let shown = self.path.display();
            let hint =
                "is the module xen_wdt loaded, and nobody else using it (RuntimeWatchdogSec of systemd)?";
            io::Error::new(error.kind(), format!("cannot open {shown}: {error}; {hint}"))
        })?;
        let asked = i32::try_from(bites_after.as_secs()).unwrap_or(i32::MAX);
        let mut seconds = asked;
        // SAFETY: the request reads and writes one int, which lives for the call; the descriptor is open.
        let rc = unsafe { nix::libc::ioctl(file.as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut seconds) };
        let set = if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        let mut device = Box::new(Device(file));
        let problem = match set {
            Ok(()) if seconds <= asked => return Ok(device),
            Ok(()) => format!("it bites after {seconds} s at the soonest, not after {asked}"),
            Err(error) => format!("it cannot be told when to bite ({error})"),
        };
        // What cannot be let go bites: nobody may be told that all is well.
        device.feed()?;
        device.let_go()?;
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("{}: {problem}", self.path.display())))
    }
}

impl OpenWatchdog for Device {
    fn feed(&mut self) -> io::Result<()> {
        self.0.write_all(FEED)
    }

    fn let_go(mut self: Box<Self>) -> io::Result<()> {
        self.0.write_all(LET_GO)
    }
}
