//! The watchdog of a simulated host: it is fed, let go or broken, and bites nobody. Tests look at when it would have.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xenith_hypervisor_agent_backend::{OpenWatchdog, Watchdog};

use crate::SimHypervisor;

#[derive(Debug, Default)]
struct State {
    /// When it bites, once it was opened.
    bites_at: Option<Instant>,
    bites_after: Duration,
    feeds: u64,
    broken: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Timer(Mutex<State>);

impl Timer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn feed(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.broken {
            return Err(io::Error::other("the simulated watchdog is broken"));
        }
        state.feeds += 1;
        state.bites_at = Some(Instant::now() + state.bites_after);
        Ok(())
    }
}

struct Open(Arc<Timer>);

impl OpenWatchdog for Open {
    fn feed(&mut self) -> io::Result<()> {
        self.0.feed()
    }

    fn let_go(self: Box<Self>) -> io::Result<()> {
        let mut state = self.0.state();
        state.bites_at = None;
        Ok(())
    }
}

impl Watchdog for SimHypervisor {
    fn open(&self, bites_after: Duration) -> io::Result<Box<dyn OpenWatchdog>> {
        self.inner.watchdog.state().bites_after = bites_after;
        self.inner.watchdog.feed()?;
        Ok(Box::new(Open(Arc::clone(&self.inner.watchdog))))
    }
}

/// As seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenWatchdog {
    /// `None`: it does not run.
    pub bites_at: Option<Instant>,
    pub feeds: u64,
}

impl SimHypervisor {
    #[must_use]
    pub fn watchdog(&self) -> SeenWatchdog {
        let state = self.inner.watchdog.state();
        SeenWatchdog { bites_at: state.bites_at, feeds: state.feeds }
    }

    /// From now on it can be neither opened nor fed.
    pub fn break_watchdog(&self) {
        self.inner.watchdog.state().broken = true;
    }
}
