//! How far a command is, and whether it is still wanted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use xenith_common_block::BlockError;

/// Written by the one who works, read by those who ask.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Bytes, as a rule; a total of 0 is not known yet.
    pub fn set(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Asks the one who works to stop.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// `Err` once it was cancelled.
    pub fn check(&self) -> Result<(), BlockError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(BlockError::Cancelled) } else { Ok(()) }
    }
}
