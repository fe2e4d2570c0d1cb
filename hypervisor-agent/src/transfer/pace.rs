//! Keeps a copy to so many bytes a second.

use std::time::{Duration, Instant};

use xenith_common_block::BlockError;

use crate::progress::Progress;

/// How soon somebody who cancels is heard.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Pace {
    began: Instant,
    bandwidth: u64,
}

impl Pace {
    /// Bytes a second; 0: as fast as it goes.
    #[must_use]
    pub fn new(bandwidth: u64) -> Self {
        Self { began: Instant::now(), bandwidth }
    }

    /// Blocks until `done` bytes are not too many for the time that has passed.
    pub fn keep(&self, done: u64, progress: &Progress) -> Result<(), BlockError> {
        let due = due(done, self.bandwidth);
        loop {
            progress.check()?;
            let Some(early) = due.checked_sub(self.began.elapsed()).filter(|early| !early.is_zero()) else {
                return Ok(());
            };
            std::thread::sleep(early.min(LOOK));
        }
    }
}

/// How long `done` bytes take.
fn due(done: u64, bandwidth: u64) -> Duration {
    if bandwidth == 0 {
        return Duration::ZERO;
    }
    let milliseconds = u128::from(done) * 1000 / u128::from(bandwidth);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_how_long_so_many_bytes_take() {
        for (done, bandwidth, seconds) in
            [(0, 1, 0), (1 << 30, 0, 0), (10 << 20, 1 << 20, 10), (u64::MAX, u64::MAX, 1)]
        {
            assert_eq!(due(done, bandwidth), Duration::from_secs(seconds), "{done} at {bandwidth}");
        }
    }

    #[test]
    fn who_cancels_does_not_wait_for_the_limit() {
        let progress = Progress::default();
        progress.cancel();
        assert!(matches!(Pace::new(1).keep(1 << 40, &progress), Err(BlockError::Cancelled)));
    }
}
