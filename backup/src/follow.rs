//! Bringing a disk that holds one backup to another backup, by what differs.
//!
//! What a disk holds is a set of backups: each of its blocks is as it is in one of them. Before anything is written the
//! new backup joins the set, and when everything is written it is the only one left. So the set is true at every moment,
//! whoever keeps it durably may be killed at any, and what has to be written to get anywhere is what differs from *any*
//! backup in it ([`ranges`]).
//!
//! Nothing is read from the disk: the maps say what differs. Memory: the ranges, and one piece per worker.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use xenith_common_block::{BlockError, BlockSink, BlockSource, ByteRange, ExtentKind, RangeSet};

use crate::diff::diff;
use crate::error::{BackupError, Result};
use crate::reader::BackupDisk;
use crate::restore::RestoreProgress;

/// What one worker reads and writes at a time.
const PIECE: u64 = 4 << 20;

/// What has to be written so that a disk, each of whose blocks is as in one of `held`, is as `to`. Where `to` is shorter
/// than one of them, what follows it is among the ranges, to be made zero.
pub fn ranges(held: &[BackupDisk], to: &BackupDisk) -> Result<RangeSet> {
    let mut ranges = RangeSet::new();
    for held in held {
        for range in diff(held, to)?.iter() {
            ranges.insert(range);
        }
    }
    Ok(ranges)
}

/// Writes `ranges` of `to` into `sink`, and makes zero what of them lies behind its end. `workers` threads read, decrypt
/// and write. A crash leaves each block as it was or as it is in `to`.
pub fn follow(
    to: &BackupDisk,
    sink: &dyn BlockSink,
    ranges: &RangeSet,
    workers: usize,
    progress: &RestoreProgress,
) -> Result<()> {
    BlockError::check_bounds(0, to.size(), sink.size())?;
    let pieces = pieces(ranges, to.size(), sink.size());
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failure: Mutex<Option<BackupError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let cancelled = progress.cancelled.load(Ordering::Relaxed);
                    let done = if cancelled {
                        Err(BackupError::Cancelled)
                    } else {
                        write(to, sink, *piece, progress)
                    };
                    if let Err(error) = done {
                        stop.store(true, Ordering::Relaxed);
                        let mut first = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        first.get_or_insert(error);
                    }
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    sink.flush()?;
    Ok(())
}

/// The ranges in pieces that end where the disk of the backup does, and at the latest where the sink does.
fn pieces(ranges: &RangeSet, size: u64, room: u64) -> Vec<ByteRange> {
    let mut pieces = Vec::new();
    for range in ranges.iter() {
        let mut at = range.start;
        let end = range.end.min(room);
        while at < end {
            let border = if at < size { size } else { end };
            let stop = (at / PIECE * PIECE + PIECE).min(border).min(end);
            pieces.push(ByteRange::new(at, stop));
            at = stop;
        }
    }
    pieces
}

fn write(to: &BackupDisk, sink: &dyn BlockSink, piece: ByteRange, progress: &RestoreProgress) -> Result<()> {
    if piece.start >= to.size() {
        sink.zero(piece)?;
    } else {
        for extent in to.extents(piece)? {
            if extent.kind != ExtentKind::Data {
                sink.zero(extent.range)?;
                continue;
            }
            let mut bytes = vec![0; extent.range.len() as usize];
            to.read_at(extent.range.start, &mut bytes)?;
            sink.write_at(extent.range.start, &bytes)?;
            progress.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
    progress.done.fetch_add(piece.len(), Ordering::Relaxed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_the_backup_does() {
        let mib = |n: u64| n << 20;
        let set = |ranges: &[(u64, u64)]| -> RangeSet {
            ranges.iter().map(|(start, end)| ByteRange::new(*start, *end)).collect()
        };
        for (name, ranges, size, room, expected) in [
            ("nothing", vec![], mib(8), mib(8), vec![]),
            ("a block", vec![(4096, 8192)], mib(8), mib(8), vec![(4096, 8192)]),
            (
                "over a border",
                vec![(mib(3), mib(5))],
                mib(8),
                mib(8),
                vec![(mib(3), mib(4)), (mib(4), mib(5))],
            ),
            (
                "it became shorter",
                vec![(mib(1), mib(3))],
                mib(2),
                mib(3),
                vec![(mib(1), mib(2)), (mib(2), mib(3))],
            ),
            ("behind the sink", vec![(mib(1), mib(3))], mib(2), mib(2), vec![(mib(1), mib(2))]),
        ] {
            let found: Vec<(u64, u64)> =
                pieces(&set(&ranges), size, room).into_iter().map(|piece| (piece.start, piece.end)).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
