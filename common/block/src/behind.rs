//! Making durable what was written while more is written: who reads does not wait for the disk, nor the disk for who reads.
//!
//! What always holds: one flush at a time, on a thread of its own, and a point is told to be durable only after a flush that
//! began when all before it was written, and returned. A flush that failed is told to who writes, for the system tells of it
//! once: the flush in the end would say that all is well. No more waits to be flushed than what comes during one flush.

use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// A flush begins after so long, or so much, whatever is first. The second keeps a disk busy that would else have everything
/// to do in the end.
const EVERY: Duration = Duration::from_secs(2);
const EVERY_BYTES: u64 = 64 << 20;

type Flush<'scope, E> = ScopedJoinHandle<'scope, Result<(), E>>;

/// The flushes behind who writes. A `T` is a point that is reached.
pub struct Behind<'a, 'scope, T, E> {
    start: &'a dyn Fn() -> Flush<'scope, E>,
    under_way: Option<(T, Flush<'scope, E>)>,
    begun: Instant,
    /// Bytes that were written since.
    fresh: u64,
}

/// Has `write` write, and calls `flush` beside it now and then. What was written last is not flushed by that: who writes does so
/// in the end, after [`Behind::settle`].
pub fn flushing<T, E: Send, R>(
    flush: impl Fn() -> Result<(), E> + Sync,
    write: impl FnOnce(&mut Behind<'_, '_, T, E>) -> R,
) -> R {
    let flush = &flush;
    thread::scope(|scope| {
        let start = move || scope.spawn(flush);
        write(&mut Behind { start: &start, under_way: None, begun: Instant::now(), fresh: 0 })
    })
}

impl<T, E> Behind<'_, '_, T, E> {
    /// So many bytes more are written, with which `point` is reached. Returns the point up to which everything is durable,
    /// where a flush has ended meanwhile. Does not wait for one.
    pub fn wrote(&mut self, bytes: u64, point: impl FnOnce() -> T) -> Result<Option<T>, E> {
        self.fresh += bytes;
        let ended = self.under_way.take_if(|(_, flush)| flush.is_finished()).map(join).transpose()?;
        let due = self.fresh >= EVERY_BYTES || self.begun.elapsed() >= EVERY;
        if due && self.under_way.is_none() {
            self.under_way = Some((point(), (self.start)()));
            (self.begun, self.fresh) = (Instant::now(), 0);
        }
        Ok(ended)
    }

    /// Waits for the flush that is under way, and returns the point that is durable with it.
    pub fn settle(&mut self) -> Result<Option<T>, E> {
        self.under_way.take().map(join).transpose()
    }
}

fn join<T, E>((point, flush): (T, Flush<'_, E>)) -> Result<T, E> {
    flush.join().unwrap_or_else(|panic| resume_unwind(panic)).map(|()| point)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Knows what a flush has made durable. A flush returns only when as much as it waits for was written.
    #[derive(Default)]
    struct Disk {
        written: Mutex<u64>,
        more: Condvar,
        waits_for: u64,
        durable: AtomicU64,
    }

    impl Disk {
        fn write(&self, until: u64) {
            *self.written.lock().unwrap() = until;
            self.more.notify_all();
        }

        fn flush(&self) -> Result<(), &'static str> {
            let written = self.written.lock().unwrap();
            let covered = *written;
            let enough = |written: &mut u64| *written < self.waits_for;
            let (_held, waited) =
                self.more.wait_timeout_while(written, Duration::from_secs(30), enough).unwrap();
            self.durable.fetch_max(covered, Ordering::SeqCst);
            if waited.timed_out() { Err("who writes waits for the disk") } else { Ok(()) }
        }

        /// Writes in steps of a flush each, and returns the points that were told to be durable.
        fn fill(&self, steps: u64) -> Result<Vec<u64>, &'static str> {
            let mut told = Vec::new();
            let mut tell = |point: Option<u64>| {
                let durable = self.durable.load(Ordering::SeqCst);
                assert!(point.is_none_or(|point| point <= durable), "{point:?} is not durable, {durable} is");
                told.extend(point);
            };
            flushing(
                || self.flush(),
                |behind| -> Result<(), &'static str> {
                    for step in 1..=steps {
                        self.write(step * EVERY_BYTES);
                        tell(behind.wrote(EVERY_BYTES, || step * EVERY_BYTES)?);
                    }
                    tell(behind.settle()?);
                    Ok(())
                },
            )?;
            Ok(told)
        }
    }

    #[test]
    fn what_is_told_is_durable_and_nobody_waits_for_it() {
        // The first flush does not return before three steps were written: who waited for it would never get there.
        let disk = Disk { waits_for: 3 * EVERY_BYTES, ..Disk::default() };
        let told = disk.fill(40).unwrap();
        assert_eq!(told[0], EVERY_BYTES);
        assert!(told.is_sorted(), "{told:?}");
    }

    #[test]
    fn little_is_flushed_by_who_wrote_it() {
        let flush = || -> Result<(), &'static str> { Err("it was flushed") };
        let written = flushing(flush, |behind| behind.wrote(EVERY_BYTES - 1, || ()).and(behind.settle()));
        assert_eq!(written, Ok(None));
    }

    #[test]
    fn a_flush_that_failed_is_told() {
        let flush = || -> Result<(), &'static str> { Err("the disk is full") };
        let settled = flushing(flush, |behind| {
            behind.wrote(EVERY_BYTES, || 1)?;
            behind.settle()
        });
        assert_eq!(settled, Err("the disk is full"));
        let later = flushing(flush, |behind| -> Result<(), &'static str> {
            behind.wrote(EVERY_BYTES, || 1)?;
            loop {
                behind.wrote(0, || 2)?;
                thread::yield_now();
            }
        });
        assert_eq!(later, Err("the disk is full"));
    }
}
