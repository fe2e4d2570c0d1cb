//! Source to sink, holes kept.

use crate::{BlockError, BlockSink, BlockSource, ByteRange, ExtentKind, flushing, is_zero};

const STEP: u64 = 1024 * 1024;

/// What a copy has done so far, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyProgress {
    pub copied: u64,
    pub skipped: u64,
    pub total: u64,
}

/// Copies `source` to `sink`, which must hold zeros (a new image); zeros are never written. Calls
/// `progress` after each step of at most 1 MiB; an `Err` from it (cancelled) ends the copy. Everything is durable when it
/// returns, and is made so while the copy goes on.
pub fn copy(
    source: &dyn BlockSource,
    sink: &dyn BlockSink,
    progress: impl FnMut(CopyProgress) -> Result<(), BlockError>,
) -> Result<CopyProgress, BlockError> {
    let done = flushing(
        || sink.flush(),
        |behind| -> Result<CopyProgress, BlockError> {
            let done = steps(source, sink, progress, &mut |bytes| behind.wrote(bytes, || ()).map(drop))?;
            behind.settle()?;
            Ok(done)
        },
    )?;
    sink.flush()?;
    Ok(done)
}

/// The same for who makes the sink durable later. Nothing is flushed: an end that comes in time, because the copy takes too
/// long for somebody who stands meanwhile, would wait for the flush that is under way.
pub fn copy_unflushed(
    source: &dyn BlockSource,
    sink: &dyn BlockSink,
    progress: impl FnMut(CopyProgress) -> Result<(), BlockError>,
) -> Result<CopyProgress, BlockError> {
    steps(source, sink, progress, &mut |_| Ok(()))
}

fn steps(
    source: &dyn BlockSource,
    sink: &dyn BlockSink,
    mut progress: impl FnMut(CopyProgress) -> Result<(), BlockError>,
    wrote: &mut dyn FnMut(u64) -> Result<(), BlockError>,
) -> Result<CopyProgress, BlockError> {
    let total = source.size();
    BlockError::check_bounds(0, total, sink.size())?;
    let mut done = CopyProgress { total, ..CopyProgress::default() };
    let mut buf = vec![0; STEP as usize];
    for extent in source.extents(ByteRange::new(0, total))? {
        if extent.kind != ExtentKind::Data {
            done.skipped += extent.range.len();
            progress(done)?;
            continue;
        }
        let mut at = extent.range.start;
        while at < extent.range.end {
            let len = (extent.range.end - at).min(STEP);
            let step = &mut buf[..len as usize];
            source.read_at(at, step)?;
            if is_zero(step) {
                done.skipped += len;
            } else {
                sink.write_at(at, step)?;
                wrote(len)?;
                done.copied += len;
            }
            at += len;
            progress(done)?;
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileSink, FileSource, MemorySink, MemorySource};

    fn pattern(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        bytes[8192..8192 + 5000].fill(7);
        bytes[size - 512..].fill(9);
        bytes
    }

    #[test]
    fn memory_to_memory() {
        let bytes = pattern(4 << 20);
        let (source, sink) = (MemorySource::new(bytes.clone()), MemorySink::new(4 << 20));
        let done = copy(&source, &sink, |_| Ok(())).unwrap();
        assert_eq!(done.copied + done.skipped, 4 << 20);
        assert!(done.copied < 64 * 1024, "zeros were copied: {done:?}");
        assert_eq!(sink.into_bytes(), bytes);
    }

    #[test]
    fn file_holes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        let sink = FileSink::create_new(&first, 4 << 20).unwrap();
        sink.write_at(1 << 20, &[5; 4096]).unwrap();
        copy(
            &FileSource::open(&first).unwrap(),
            &FileSink::create_new(&second, 4 << 20).unwrap(),
            |_| Ok(()),
        )
        .unwrap();
        let copied = FileSource::open(&second).unwrap();
        let data: u64 = copied
            .extents(ByteRange::new(0, 4 << 20))
            .unwrap()
            .iter()
            .filter(|e| e.kind == ExtentKind::Data)
            .map(|e| e.range.len())
            .sum();
        assert!(data <= 64 * 1024, "{data} bytes are allocated for one block");
        let mut block = [0; 4096];
        copied.read_at(1 << 20, &mut block).unwrap();
        assert_eq!(block, [5; 4096]);
        sink.zero(ByteRange::with_len(1 << 20, 4096)).unwrap();
        FileSource::open(&first).unwrap().read_at(1 << 20, &mut block).unwrap();
        assert_eq!(block, [0; 4096]);
    }

    #[test]
    fn a_cancelled_copy_ends() {
        let source = MemorySource::new(pattern(4 << 20));
        let result = copy(&source, &MemorySink::new(4 << 20), |_| Err(BlockError::Cancelled));
        assert!(matches!(result, Err(BlockError::Cancelled)));
    }

    /// What is flushed of it takes as long as it takes.
    struct Slow(MemorySink);

    impl BlockSink for Slow {
        fn size(&self) -> u64 {
            self.0.size()
        }

        fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
            self.0.write_at(offset, data)
        }

        fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
            self.0.zero(range)
        }

        fn flush(&self) -> Result<(), BlockError> {
            panic!("somebody waits for this");
        }
    }

    #[test]
    fn who_makes_it_durable_later_waits_for_no_flush() {
        // More than is written before a flush begins beside a copy.
        let bytes = vec![7; 66 << 20];
        let (source, sink) = (MemorySource::new(bytes.clone()), Slow(MemorySink::new(bytes.len())));
        let done = copy_unflushed(&source, &sink, |_| Ok(())).unwrap();
        assert_eq!(done.copied, bytes.len() as u64);
        assert!(sink.0.into_bytes() == bytes);
    }

    #[test]
    fn reads_outside_are_refused() {
        let source = MemorySource::new(vec![0; 4096]);
        for (offset, len) in [(4096, 1), (4095, 2), (u64::MAX, 1), (0, 4097)] {
            let result = source.read_at(offset, &mut vec![0; len]);
            assert!(matches!(result, Err(BlockError::OutOfBounds { .. })), "{offset} {len}");
        }
    }
}
