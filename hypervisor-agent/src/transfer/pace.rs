//! Keeps a copy to so many bytes a second.
//!
//! What always holds: on a connection only what goes over it counts ([`Paced`]). What is looked at there and does not travel,
//! as a hole, takes no time of its own: the receiver, which takes a sender for gone that is silent for a minute, would give it
//! up meanwhile.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use xenith_common_block::BlockError;

use crate::progress::Progress;

/// How soon somebody who cancels is heard.
const LOOK: Duration = Duration::from_millis(100);
/// What was not used of the limit in this time is made up for, and nothing of before: after a long hole a burst would come.
const BURST: Duration = Duration::from_secs(1);
/// Under a low limit it takes long until a piece is whole, and a receiver that hears nothing for a minute gives up.
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Pace {
    began: Instant,
    bandwidth: u64,
    counted: u64,
    /// When so much may be done, from the beginning on.
    due: Duration,
}

impl Pace {
    /// Bytes a second; 0: as fast as it goes.
    #[must_use]
    pub fn new(bandwidth: u64) -> Self {
        Self { began: Instant::now(), bandwidth, counted: 0, due: Duration::ZERO }
    }

    /// Blocks until `done` bytes, all in all, are not too many for the time that has passed.
    pub fn keep(&mut self, done: u64, progress: &Progress) -> Result<(), BlockError> {
        self.count(done, self.began.elapsed());
        loop {
            progress.check()?;
            let early = self.due.saturating_sub(self.began.elapsed());
            if early.is_zero() {
                return Ok(());
            }
            std::thread::sleep(early.min(LOOK));
        }
    }

    fn count(&mut self, done: u64, now: Duration) {
        let more = done.saturating_sub(self.counted);
        self.counted = self.counted.max(done);
        if more > 0 {
            self.due = self.due.max(now.saturating_sub(BURST)).saturating_add(takes(more, self.bandwidth));
        }
    }

    /// What may go at once, so that nothing waits for long behind it.
    fn a_second(&self) -> usize {
        match self.bandwidth {
            0 => usize::MAX,
            bandwidth => usize::try_from(bandwidth).unwrap_or(usize::MAX),
        }
    }
}

/// How long so many bytes take.
fn takes(bytes: u64, bandwidth: u64) -> Duration {
    if bandwidth == 0 {
        return Duration::ZERO;
    }
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(bandwidth);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// Hands on what is written, so many bytes a second: what comes here is what goes over the network. Who measures how long
/// that takes sees the limit as a slow network, which it is meant to be, and compresses for it.
pub struct Paced<'a, W> {
    out: W,
    pace: Pace,
    written: u64,
    /// When what was written was handed over.
    said: Instant,
    progress: &'a Progress,
}

impl<'a, W: Write> Paced<'a, W> {
    /// Bytes a second; 0: as fast as it goes. Whoever cancels `progress` ends the writing.
    pub fn new(out: W, bandwidth: u64, progress: &'a Progress) -> Self {
        Self { out, pace: Pace::new(bandwidth), written: 0, said: Instant::now(), progress }
    }
}

impl<W: Write> Write for Paced<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.out.write(&bytes[..bytes.len().min(self.pace.a_second())])?;
        self.written += length as u64;
        self.pace.keep(self.written, self.progress).map_err(io::Error::other)?;
        if self.said.elapsed() > SAY_EVERY {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.said = Instant::now();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_how_long_so_many_bytes_take() {
        for (bytes, bandwidth, seconds) in
            [(0, 1, 0), (1 << 30, 0, 0), (10 << 20, 1 << 20, 10), (u64::MAX, u64::MAX, 1)]
        {
            assert_eq!(takes(bytes, bandwidth), Duration::from_secs(seconds), "{bytes} at {bandwidth}");
        }
        assert_eq!(takes(12, 1 << 30), Duration::from_nanos(11), "however few they are");
        assert!(takes(u64::MAX, 1) > Duration::from_secs(1 << 30), "for ever");
    }

    #[test]
    fn only_what_is_done_takes_time_and_little_is_made_up_for() {
        let seconds = Duration::from_secs;
        let mut pace = Pace::new(10);
        // (all that is done, at the second, due at the second)
        for (case, done, at, due) in [
            ("a second's worth", 10, 0, 1),
            ("nothing more: a hole", 10, 600, 1),
            ("after it, as if it had just begun", 20, 600, 600),
            ("the next", 50, 600, 603),
            ("a network that is slower than the limit", 60, 609, 609),
            ("less than before, by who begins again", 5, 609, 609),
        ] {
            pace.count(done, seconds(at));
            assert_eq!(pace.due, seconds(due), "{case}");
        }
    }

    #[test]
    fn who_cancels_does_not_wait_for_the_limit() {
        let progress = Progress::default();
        progress.cancel();
        assert!(matches!(Pace::new(1).keep(1 << 40, &progress), Err(BlockError::Cancelled)));
        let error = Paced::new(Vec::new(), 1, &progress).write_all(&[1; 100]).unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
    }

    /// Notes what it has each time that it is to hand that over.
    #[derive(Default)]
    struct Held {
        held: usize,
        handed: Vec<usize>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.held += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.handed.push(std::mem::take(&mut self.held));
            Ok(())
        }
    }

    #[test]
    fn what_goes_over_the_network_takes_its_time_and_all_of_it_comes() {
        let (progress, began, bytes) = (Progress::default(), Instant::now(), vec![7; 1 << 18]);
        let mut out = Vec::new();
        Paced::new(&mut out, 1 << 20, &progress).write_all(&bytes).unwrap();
        assert!(out == bytes);
        assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
        let mut free = Paced::new(Held::default(), 0, &progress);
        assert_eq!(free.write(&bytes).unwrap(), bytes.len(), "nothing is cut where there is no limit");
    }

    #[test]
    fn a_low_limit_hands_over_what_it_has() {
        let progress = Progress::default();
        let mut paced = Paced::new(Held::default(), 1000, &progress);
        paced.write_all(&[1; 10]).unwrap();
        assert!(paced.out.handed.is_empty());
        paced.said = Instant::now().checked_sub(2 * SAY_EVERY).unwrap();
        paced.write_all(&[1; 10]).unwrap();
        assert_eq!(paced.out.handed, [20]);
        paced.write_all(&[1; 10]).unwrap();
        assert_eq!((paced.out.held, paced.out.handed.len()), (10, 1), "not each time");
    }
}
