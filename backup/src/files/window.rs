//! A disk in the shapes that other people's readers ask for, with a budget.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xenith_common_block::BlockSource;

/// Reads one call to a filesystem may make: enough for a folder of a million entries, and an end to loops.
const BUDGET: u64 = 8_000_000;

/// A position on a source. Clones share the budget, not the position.
#[derive(Clone)]
pub struct Window {
    source: Arc<dyn BlockSource>,
    position: u64,
    left: Arc<AtomicU64>,
}

impl Window {
    #[must_use]
    pub fn new(source: Arc<dyn BlockSource>) -> Self {
        Self { source, position: 0, left: Arc::new(AtomicU64::new(BUDGET)) }
    }

    pub(super) fn refuel(&self) {
        self.left.store(BUDGET, Ordering::Relaxed);
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// Fills `buf` from `offset`.
    pub fn fill(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if spent.is_err() {
            return Err(io::Error::other("the filesystem goes round in circles"));
        }
        self.source.read_at(offset, buf).map_err(io::Error::other)
    }

    fn target(&self, to: i128) -> io::Result<u64> {
        u64::try_from(to).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start"))
    }

    fn go(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.target(i128::from(self.source.size()) + i128::from(by))?,
            SeekFrom::Current(by) => self.target(i128::from(self.position) + i128::from(by))?,
        };
        Ok(self.position)
    }

    fn some(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.source.size().saturating_sub(self.position).min(buf.len() as u64) as usize;
        if len > 0 {
            self.fill(self.position, &mut buf[..len])?;
            self.position += len as u64;
        }
        Ok(len)
    }
}

impl Read for Window {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.some(buf)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.go(to)
    }
}

/// The same for the LVM reader.
pub(super) struct Embedded(pub Window);

#[derive(Debug)]
#[expect(dead_code, reason = "people see it, through Debug")]
pub(super) struct Failed(io::Error);

impl embedded_io::Error for Failed {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::Other
    }
}

impl embedded_io::ErrorType for Embedded {
    type Error = Failed;
}

impl embedded_io::Read for Embedded {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Failed> {
        self.0.some(buf).map_err(Failed)
    }
}

impl embedded_io::Seek for Embedded {
    fn seek(&mut self, to: embedded_io::SeekFrom) -> Result<u64, Failed> {
        let to = match to {
            embedded_io::SeekFrom::Start(at) => SeekFrom::Start(at),
            embedded_io::SeekFrom::End(by) => SeekFrom::End(by),
            embedded_io::SeekFrom::Current(by) => SeekFrom::Current(by),
        };
        self.0.go(to).map_err(Failed)
    }
}
