//! The inner copy of a live move: ranges of a source to a target, several requests on their way at once.
//!
//! What always holds: pieces are handed out in the order of the disk, and the caller is told a position only when
//! everything before it is written. Memory is one piece per worker, whatever the disk's size.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use xenith_common_block::{BlockSink, BlockSource, ByteRange, RangeSet, is_zero};

use crate::convert::block::store;
use crate::error::{ImportError, Result};

const STEP: u64 = 2 * 1024 * 1024;
/// What is compared and written at once where both sides are read.
const BLOCK: usize = 64 * 1024;
/// Connections to one server: ESXi gives each about the same share, and a few suffice to fill a line.
const WORKERS: usize = 4;
const TICK: Duration = Duration::from_millis(200);

/// A disk that is written, and can be read again.
#[derive(Clone)]
pub struct TargetDisk {
    pub sink: Arc<dyn BlockSink>,
    pub source: Arc<dyn BlockSource>,
}

/// What is done with each piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The target holds zeros: zeros are left out.
    Fresh,
    /// The target may hold something older: zeros are written.
    Over,
    /// Both sides are read, and what differs is written.
    Compare,
}

/// Bytes read from the source and written to the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub read: u64,
    pub written: u64,
}

/// Told the position before which everything is done; an error ends the transfer.
pub type Tick<'a> = dyn FnMut(u64, Sums) -> Result<()> + 'a;

struct Pieces<'a> {
    ranges: &'a [ByteRange],
    at: u64,
    number: u64,
}

impl Pieces<'_> {
    fn next(&mut self) -> Option<(u64, ByteRange)> {
        while let Some((first, rest)) = self.ranges.split_first() {
            let start = first.start.max(self.at);
            if start < first.end {
                let end = first.end.min((start / STEP + 1) * STEP);
                self.at = end;
                self.number += 1;
                return Some((self.number, ByteRange::new(start, end)));
            }
            self.ranges = rest;
        }
        None
    }
}

/// Transfers `ranges` from position `from` on.
pub fn transfer(
    image: &dyn BlockSource,
    target: &TargetDisk,
    (ranges, from): (&RangeSet, u64),
    work: Work,
    tick: &mut Tick<'_>,
) -> Result<Sums> {
    let pieces = Mutex::new(Pieces { ranges: ranges.as_slice(), at: from, number: 0 });
    let stop = AtomicBool::new(false);
    let (sender, receiver) = sync_channel(WORKERS * 2);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (sender, pieces, stop) = (sender.clone(), &pieces, &stop);
            scope.spawn(move || worker(image, target, work, (pieces, stop, &sender)));
        }
        drop(sender);
        let mut progress = Progress { position: from, ..Progress::default() };
        let mut next_tick = Instant::now() + TICK;
        let ended = loop {
            match receiver.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(Ok(done)) => progress.add(done),
                Ok(Err(error)) => break Err(error),
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = tick(progress.position, progress.sums) {
                        break Err(error);
                    }
                    next_tick = Instant::now() + TICK;
                }
            }
        };
        stop.store(true, Ordering::Relaxed);
        // Workers that wait for room in the channel have to get it, or the scope never ends.
        receiver.iter().for_each(drop);
        ended?;
        tick(progress.position, progress.sums)?;
        Ok(progress.sums)
    })
}

#[derive(Default)]
struct Progress {
    position: u64,
    last: u64,
    waiting: BTreeMap<u64, u64>,
    sums: Sums,
}

impl Progress {
    fn add(&mut self, (number, piece, written): (u64, ByteRange, u64)) {
        self.sums.read += piece.len();
        self.sums.written += written;
        self.waiting.insert(number, piece.end);
        while let Some(end) = self.waiting.remove(&(self.last + 1)) {
            self.last += 1;
            self.position = end;
        }
    }
}

type Done = Result<(u64, ByteRange, u64)>;

fn worker(
    image: &dyn BlockSource,
    target: &TargetDisk,
    work: Work,
    (pieces, stop, sender): (&Mutex<Pieces<'_>>, &AtomicBool, &SyncSender<Done>),
) {
    let (mut theirs, mut ours) = (vec![0; STEP as usize], Vec::new());
    if work == Work::Compare {
        ours.resize(STEP as usize, 0);
    }
    while !stop.load(Ordering::Relaxed) {
        let Some((number, piece)) = pieces.lock().unwrap_or_else(PoisonError::into_inner).next() else {
            return;
        };
        let done = one(image, target, work, piece, (&mut theirs, &mut ours));
        let failed = done.is_err();
        // The caller may have gone: then nobody wants the rest.
        let gone = sender.send(done.map(|written| (number, piece, written))).is_err();
        if failed || gone {
            return;
        }
    }
}

/// Returns the bytes written.
fn one(
    image: &dyn BlockSource,
    target: &TargetDisk,
    work: Work,
    piece: ByteRange,
    (theirs, ours): (&mut [u8], &mut [u8]),
) -> Result<u64> {
    let sink = &*target.sink;
    let data = &mut theirs[..piece.len() as usize];
    image.read_at(piece.start, data).map_err(ImportError::from)?;
    match work {
        Work::Fresh => Ok(store(sink, piece.start, data, None)?),
        Work::Over if is_zero(data) => {
            sink.zero(piece)?;
            Ok(0)
        }
        Work::Over => {
            sink.write_at(piece.start, data)?;
            Ok(piece.len())
        }
        Work::Compare => {
            let ours = &mut ours[..data.len()];
            target.source.read_at(piece.start, ours)?;
            let mut written = 0;
            for (index, (new, old)) in data.chunks(BLOCK).zip(ours.chunks(BLOCK)).enumerate() {
                if new != old {
                    sink.write_at(piece.start + (index * BLOCK) as u64, new)?;
                    written += new.len() as u64;
                }
            }
            Ok(written)
        }
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_block::{FileSink, FileSource, MemorySource};

    use super::*;

    #[test]
    fn ranges_are_copied_compared_and_continued() {
        let bytes: Vec<u8> = (0..9 << 20).map(|at: usize| (at / 4096 % 251) as u8).collect();
        let image = MemorySource::new(bytes.clone());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let sink = Arc::new(FileSink::create_new(&path, bytes.len() as u64).unwrap());
        let source = Arc::new(FileSource::open(&path).unwrap());
        let target = TargetDisk { sink, source };
        let all: RangeSet =
            [ByteRange::new(0, 3 << 20), ByteRange::new(4 << 20, 9 << 20)].into_iter().collect();
        let mut positions = Vec::new();
        let mut tick = |position, _| {
            positions.push(position);
            Ok(())
        };
        let sums = transfer(&image, &target, (&all, 0), Work::Fresh, &mut tick).unwrap();
        assert_eq!((sums.read, positions.last()), (8 << 20, Some(&(9 << 20))));
        let read = std::fs::read(&path).unwrap();
        assert!(read[..3 << 20] == bytes[..3 << 20] && read[4 << 20..] == bytes[4 << 20..]);
        assert!(read[3 << 20..4 << 20].iter().all(|byte| *byte == 0), "what was not asked for was written");
        let whole: RangeSet = [ByteRange::new(0, 9 << 20)].into_iter().collect();
        let sums = transfer(&image, &target, (&whole, 0), Work::Compare, &mut |_, _| Ok(())).unwrap();
        assert_eq!((sums.read, sums.written), (9 << 20, 1 << 20));
        assert!(std::fs::read(&path).unwrap() == bytes);
        let sums = transfer(&image, &target, (&whole, 8 << 20), Work::Over, &mut |_, _| Ok(())).unwrap();
        assert_eq!(sums.read, 1 << 20, "it goes on where it was");
        let stopped =
            transfer(&image, &target, (&whole, 0), Work::Over, &mut |_, _| Err(ImportError::Cancelled));
        assert!(matches!(stopped, Err(ImportError::Cancelled)));
    }
}
