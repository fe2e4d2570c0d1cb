//! What a guest reads while it boots, and having that at hand the next time.
//!
//! A trace is a text of lines `offset length` in bytes, in the order of the first reads: the same form as changed ranges.
//! [`Recorder`] writes one while it passes reads on; [`prefetch`] reads one ahead of the guest. Files hardly move between
//! two boots, so the trace of one backup fits the next ones; where it does not, a few reads were for nothing. What always
//! holds: a trace only says what to read early. A wrong, foreign or hostile one costs time and never changes a byte.
//!
//! A crash leaves the lines written so far, which are a trace.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent, RangeSet};

/// How long a boot is recorded.
const BOOT: Duration = Duration::from_secs(180);
/// Longest trace, and longest text of one: a boot reads some thousand ranges.
const MAX_RANGES: usize = 1 << 16;
const MAX_TEXT: u64 = 4 << 20;
/// Most that is read ahead at a time.
const PIECE: u64 = 1 << 20;
/// Threads that read ahead: enough to hide a distant store, few enough to leave it to the guest.
const THREADS: usize = 6;

/// What to read, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    ranges: Vec<ByteRange>,
}

impl Trace {
    /// Reads a trace. Lines that make no sense, and what lies past the disk's end, are left out.
    #[must_use]
    pub fn parse(text: impl Read, size: u64) -> Self {
        let mut trace = Self::default();
        for line in BufReader::new(text.take(MAX_TEXT)).lines().map_while(Result::ok) {
            let mut words = line.split_whitespace().map(str::parse::<u64>);
            let (Some(Ok(start)), Some(Ok(len)), None) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let end = start.saturating_add(len).min(size);
            if start < end && trace.ranges.len() < MAX_RANGES {
                trace.ranges.push(ByteRange::new(start, end));
            }
        }
        trace
    }

    /// The trace at `path`; nothing where there is none.
    pub fn load(path: &Path, size: u64) -> std::io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self::parse(file, size))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Bytes of all ranges.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.ranges.iter().map(ByteRange::len).fold(0, u64::saturating_add)
    }

    /// Whole blocks of the disk, in pieces, until `most` bytes.
    fn pieces(&self, size: u64, most: u64) -> Vec<ByteRange> {
        let mut pieces = Vec::new();
        let mut left = most;
        for range in &self.ranges {
            let mut at = range.start - range.start % BLOCK;
            let end = range.end.next_multiple_of(BLOCK).min(size);
            while at < end && left > 0 {
                let stop = (at + PIECE).min(end);
                left = left.saturating_sub(stop - at);
                pieces.push(ByteRange::new(at, stop));
                at = stop;
            }
        }
        pieces
    }
}

const BLOCK: u64 = 4096;

struct Recording {
    out: File,
    seen: RangeSet,
    lines: usize,
    until: Instant,
}

/// Passes reads on to a disk and notes them while the guest boots.
pub struct Recorder {
    source: Arc<dyn BlockSource>,
    /// Nothing once the boot is over.
    recording: Mutex<Option<Recording>>,
}

impl Recorder {
    /// Records into the new file `path`.
    pub fn create(source: Arc<dyn BlockSource>, path: &Path) -> std::io::Result<Self> {
        let out = File::options().write(true).create_new(true).open(path)?;
        let recording = Recording { out, seen: RangeSet::new(), lines: 0, until: Instant::now() + BOOT };
        Ok(Self { source, recording: Mutex::new(Some(recording)) })
    }

    fn note(&self, range: ByteRange) {
        let mut slot = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(recording) = slot.as_mut() else { return };
        if Instant::now() > recording.until || recording.lines >= MAX_RANGES {
            *slot = None;
            return;
        }
        let known: u64 = recording.seen.within(range).map(|part| part.len()).sum();
        if known == range.len() {
            return;
        }
        recording.seen.insert(range);
        recording.lines += 1;
        // A trace that cannot be written is a boot that is not faster next time, and no reason to fail this one.
        if let Err(error) = writeln!(recording.out, "{} {}", range.start, range.len()) {
            tracing::warn!(%error, "the boot trace cannot be written");
            *slot = None;
        }
    }
}

impl BlockSource for Recorder {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        self.source.read_at(offset, buf)?;
        if !buf.is_empty() {
            self.note(ByteRange::with_len(offset, buf.len() as u64));
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        self.source.extents(range)
    }
}

/// What becomes of what was read ahead, by offset.
pub type Keep<'a> = &'a (dyn Fn(u64, &[u8]) -> Result<(), BlockError> + Sync);

/// Reads at most `most` bytes of `trace` from `source`, in its order, and gives them to `keep`. Returns how many, at the
/// end or once `stop` is set; what cannot be read is left to the guest to ask for.
pub fn prefetch(
    source: &dyn BlockSource,
    (trace, most): (&Trace, u64),
    keep: Keep<'_>,
    stop: &AtomicBool,
) -> u64 {
    let pieces = trace.pieces(source.size(), most);
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(pieces.len()) {
            scope.spawn(|| {
                let mut buf = Vec::new();
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    buf.resize(piece.len() as usize, 0);
                    let read = source.read_at(piece.start, &mut buf).and_then(|()| keep(piece.start, &buf));
                    match read {
                        Ok(()) => done.fetch_add(piece.len(), Ordering::Relaxed),
                        Err(error) => {
                            tracing::info!(%error, "a read ahead failed");
                            continue;
                        }
                    };
                }
            });
        }
    });
    done.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_read_with_caution() {
        let text =
            "0 4096\n# no\n\n8192 x\n1 2 3\n18446744073709551615 18446744073709551615\n4096 999999999\n5 0\n";
        let trace = Trace::parse(text.as_bytes(), 10_000);
        assert_eq!(trace.ranges, [ByteRange::new(0, 4096), ByteRange::new(4096, 10_000)]);
        assert_eq!(trace.pieces(10_000, u64::MAX), [ByteRange::new(0, 4096), ByteRange::new(4096, 10_000)]);
        assert_eq!(trace.pieces(10_000, 10), [ByteRange::new(0, 4096)]);
        let long = "0 1\n".repeat(MAX_RANGES * 2);
        assert_eq!(Trace::parse(long.as_bytes(), 10).ranges.len(), MAX_RANGES);
        assert_eq!(Trace::parse([0xff; 100].as_slice(), 10), Trace::default());
    }
}
