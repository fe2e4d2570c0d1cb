//! What can go wrong in the lab, sorted by what the caller can do about it.

use std::path::PathBuf;
use std::time::Duration;

/// Every public function of this crate fails with this.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Install the packages and call again.
    #[error("the lab needs programs that are not installed: {}; install {}", programs.join(", "), packages.join(" "))]
    MissingPrograms { programs: Vec<String>, packages: Vec<String> },
    /// Read the log; most often the Debian mirror could not be reached.
    #[error("building the root file system failed; see {}", log.display())]
    Build { log: PathBuf },
    /// Somebody else runs this host; use theirs or another name.
    #[error("lab host {name} is already running; stop it first or choose another name")]
    Running { name: String },
    /// Nobody runs this host; start it.
    #[error("lab host {name} is not running; start it with `xenith-lab up`")]
    NotRunning { name: String },
    /// The host's disk was made over a root image that is gone from the cache.
    #[error("the root image under lab host {name} is gone; start it with --fresh, which empties its disks")]
    StaleDisk { name: String },
    /// A name that is no host name.
    #[error("{0:?} is not a host name; use letters, digits and dashes, 20 at most")]
    BadName(String),
    /// QEMU ended by itself.
    #[error("lab host {name}: QEMU has ended; its last words:\n{tail}")]
    Died { name: String, tail: String },
    /// The host runs but did not answer.
    #[error("lab host {name} was not ready after {} s; the end of its console:\n{tail}", after.as_secs())]
    NotReady { name: String, after: Duration, tail: String },
    /// What was asked took longer than the caller allowed.
    #[error("lab host {name}: {what} took longer than {} s", after.as_secs())]
    Deadline { name: String, what: String, after: Duration },
    /// The connection failed, not the command.
    #[error("lab host {name}: no connection: {said}")]
    Unreachable { name: String, said: String },
    /// The command ran and said no.
    #[error("lab host {name}: `{command}` ended with {status}: {said}")]
    CommandFailed { name: String, command: String, status: i32, said: String },
    /// QEMU refused an order.
    #[error("lab host {name}: QEMU refused {order}: {said}")]
    Qemu { name: String, order: String, said: String },
    /// The machine the lab runs on failed us.
    #[error("{doing}")]
    Io { doing: String, source: std::io::Error },
}

impl LabError {
    /// Whether the host did not come up at all. Only then may it be restarted once; an assertion never is.
    #[must_use]
    pub const fn is_boot_failure(&self) -> bool {
        matches!(self, Self::Died { .. } | Self::NotReady { .. })
    }
}

/// Names what was being done when the machine failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T> Doing<T> for std::io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|source| LabError::Io { doing: what(), source })
    }
}
