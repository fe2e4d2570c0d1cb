//! The marks of a receiver: what is known to be durable of a disk that is coming.
//!
//! What always holds: a mark is kept only after a flush that began when all before it was written, and returned. The flush
//! runs on a thread of its own, one at a time, so that the network does not wait for the disk, nor the disk for the network.
//! A stream that breaks off loses nothing that was made durable; a crash loses what came since the last mark, which is sent
//! again.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use xenith_common_block::{BlockError, BlockSink};

use super::Mark;
use crate::error::{ImportError, Result};

/// A flush begins after so long, or so much, whatever is first. The second keeps a disk busy that would else have everything
/// to do in the end.
const EVERY: Duration = Duration::from_secs(2);
const EVERY_BYTES: u64 = 64 << 20;

/// Told of each mark.
pub(super) type Keep<'a> = dyn FnMut(&Mark) -> Result<()> + 'a;

pub(super) struct Marks<'a> {
    due: SyncSender<Mark>,
    durable: Receiver<Result<Mark, BlockError>>,
    keep: &'a mut Keep<'a>,
    under_way: bool,
    begun: Instant,
    /// Bytes that were written since.
    fresh: u64,
}

/// Has `receive` tell of what it has written to `sink`; `keep` is told each new mark.
pub(super) fn with_marks<'a, T>(
    sink: &dyn BlockSink,
    keep: &'a mut Keep<'a>,
    receive: impl FnOnce(&mut Marks<'a>) -> Result<T>,
) -> Result<T> {
    // One is under way, and nobody waits to hand over another.
    let (due, marks) = sync_channel::<Mark>(1);
    let (flushed, durable) = sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(move || {
            for mark in marks {
                if flushed.send(sink.flush().map(|()| mark)).is_err() {
                    return;
                }
            }
        });
        let mut marks = Marks { due, durable, keep, under_way: false, begun: Instant::now(), fresh: 0 };
        let received = receive(&mut marks);
        // Also where the stream broke off: what is durable need not come again.
        let settled = marks.settle();
        received.and_then(|received| settled.map(|()| received))
    })
}

impl Marks<'_> {
    /// So many bytes more are written; `mark` says up to where. Does not wait for the disk.
    pub(super) fn reached(&mut self, more: u64, mark: impl FnOnce() -> Mark) -> Result<()> {
        self.fresh += more;
        if self.under_way {
            match self.durable.try_recv() {
                Ok(durable) => self.kept(durable)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(ended()),
            }
        }
        if self.begun.elapsed() >= EVERY || self.fresh >= EVERY_BYTES {
            self.due.send(mark()).map_err(|_| ended())?;
            (self.under_way, self.begun, self.fresh) = (true, Instant::now(), 0);
        }
        Ok(())
    }

    /// Everything is written: makes it durable, and then says so.
    pub(super) fn end(&mut self, sink: &dyn BlockSink, whole: &Mark) -> Result<()> {
        self.settle()?;
        sink.flush()?;
        (self.keep)(whole)
    }

    /// Waits for the flush that is under way.
    fn settle(&mut self) -> Result<()> {
        if !self.under_way {
            return Ok(());
        }
        let durable = self.durable.recv().map_err(|_| ended())?;
        self.kept(durable)
    }

    fn kept(&mut self, durable: Result<Mark, BlockError>) -> Result<()> {
        self.under_way = false;
        (self.keep)(&durable?)
    }
}

/// A flush has panicked, which goes on where the threads are joined.
fn ended() -> ImportError {
    ImportError::Cancelled
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Condvar, Mutex};

    use xenith_common_block::ByteRange;

    use super::*;

    /// Knows what a flush has made durable. A flush returns only when as much as it waits for was written.
    #[derive(Default)]
    struct Disk {
        written: AtomicU64,
        durable: AtomicU64,
        waits_for: Mutex<u64>,
        more: Condvar,
    }

    impl BlockSink for Disk {
        fn size(&self) -> u64 {
            u64::MAX
        }

        fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
            self.written.store(offset + data.len() as u64, Ordering::SeqCst);
            // Not between the look and the wait of a flush.
            drop(self.waits_for.lock().unwrap());
            self.more.notify_all();
            Ok(())
        }

        fn zero(&self, _: ByteRange) -> Result<(), BlockError> {
            Ok(())
        }

        fn flush(&self) -> Result<(), BlockError> {
            let covered = self.written.load(Ordering::SeqCst);
            let waits_for = self.waits_for.lock().unwrap();
            let enough = |wanted: &mut u64| self.written.load(Ordering::SeqCst) < *wanted;
            let (_held, waited) =
                self.more.wait_timeout_while(waits_for, Duration::from_secs(30), enough).unwrap();
            assert!(!waited.timed_out(), "who receives waits for the disk");
            self.durable.fetch_max(covered, Ordering::SeqCst);
            Ok(())
        }
    }

    fn mark(done: u64) -> Mark {
        Mark { done, ..Mark::default() }
    }

    /// Tells of a disk that comes in steps of a flush each; returns the marks that were kept.
    fn receive(disk: &Disk, steps: u64, end: Result<()>) -> (Vec<u64>, Result<()>) {
        let mut kept = Vec::new();
        let keep = &mut |mark: &Mark| -> Result<()> {
            assert!(mark.done <= disk.durable.load(Ordering::SeqCst), "{} is not durable", mark.done);
            kept.push(mark.done);
            Ok(())
        };
        let received = with_marks(disk, keep, |marks| {
            for step in 1..=steps {
                let done = step * EVERY_BYTES;
                disk.write_at(done - 1, &[1])?;
                marks.reached(EVERY_BYTES, || mark(done))?;
            }
            end
        });
        (kept, received)
    }

    #[test]
    fn what_is_marked_is_durable_and_nobody_waits_for_it() {
        let disk = Disk::default();
        // The first flush does not return before three steps were written: who waited for it would never get there.
        *disk.waits_for.lock().unwrap() = 3 * EVERY_BYTES;
        let (kept, received) = receive(&disk, 40, Ok(()));
        received.unwrap();
        assert_eq!(kept[0], EVERY_BYTES);
        assert!(kept.is_sorted(), "{kept:?}");
    }

    #[test]
    fn a_stream_that_breaks_off_keeps_what_is_durable() {
        let (kept, received) = receive(&Disk::default(), 1, Err(ImportError::Cancelled));
        assert!(matches!(received, Err(ImportError::Cancelled)));
        assert_eq!(kept, [EVERY_BYTES]);
    }

    #[test]
    fn a_disk_that_fails_ends_it() {
        struct Broken;
        impl BlockSink for Broken {
            fn size(&self) -> u64 {
                u64::MAX
            }
            fn write_at(&self, _: u64, _: &[u8]) -> Result<(), BlockError> {
                Ok(())
            }
            fn zero(&self, _: ByteRange) -> Result<(), BlockError> {
                Ok(())
            }
            fn flush(&self) -> Result<(), BlockError> {
                Err(BlockError::Cancelled)
            }
        }
        let keep = &mut |_: &Mark| -> Result<()> { panic!("nothing is durable") };
        let ended = with_marks(&Broken, keep, |marks| marks.reached(EVERY_BYTES, || mark(EVERY_BYTES)));
        assert!(matches!(ended, Err(ImportError::Block(BlockError::Cancelled))));
    }
}
