//! The seam to what resets the machine when nobody feeds it.

use std::io;
use std::time::Duration;

/// `/dev/watchdog` on a real host. Calls block shortly.
pub trait Watchdog: Send + Sync + 'static {
    /// Starts it, or feeds it where it runs already: from now on the machine is reset when it is not fed for so long.
    fn open(&self, bites_after: Duration) -> io::Result<Box<dyn OpenWatchdog>>;
}

/// It runs. Dropped, as when the process dies, it may be fed once more, and runs on.
pub trait OpenWatchdog: Send {
    fn feed(&mut self) -> io::Result<()>;

    /// Stops it. On an error it runs on.
    fn let_go(self: Box<Self>) -> io::Result<()>;
}
