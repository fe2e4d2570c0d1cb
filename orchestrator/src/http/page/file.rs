//! A file that a page of ours has in its hands: ranges of it are asked for over the page's socket.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use tokio::sync::mpsc;
use xenith_vmware_import::ImportError;
use xenith_vmware_import::bytes::ByteSource;
use xenith_vmware_import::bytes::gathered::Gathered;

/// The most that is asked for at once: one message of the page.
pub(super) const MOST: usize = 2 << 20;

/// A range that somebody waits for. Dropped, it tells him that the page has gone.
#[derive(Debug)]
pub(super) struct Ask {
    pub from: u64,
    pub length: usize,
    pub answer: SyncSender<Bytes>,
}

/// See the module's text. Reading blocks.
pub(super) struct PageFile {
    name: String,
    len: u64,
    asks: mpsc::Sender<Ask>,
    gathered: Gathered,
}

impl PageFile {
    pub(super) fn new(name: String, len: u64, asks: mpsc::Sender<Ask>) -> Self {
        Self { name, len, asks, gathered: Gathered::default() }
    }

    fn gone(&self) -> ImportError {
        let gone = io::Error::new(io::ErrorKind::BrokenPipe, "the page that has the file has gone");
        ImportError::io("read", &self.name, gone)
    }

    fn fetch(&self, start: u64, buf: &mut [u8]) -> Result<(), ImportError> {
        for (from, part) in (start..).step_by(MOST).zip(buf.chunks_mut(MOST)) {
            let (answer, answered) = sync_channel(1);
            let ask = Ask { from, length: part.len(), answer };
            self.asks.blocking_send(ask).map_err(|_| self.gone())?;
            // The one who passes answers on compares their length, and drops what waits when the page has gone.
            let bytes = answered.recv().ok().filter(|bytes| bytes.len() == part.len());
            part.copy_from_slice(&bytes.ok_or_else(|| self.gone())?);
        }
        Ok(())
    }
}

impl ByteSource for PageFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, field: &'static str, offset: u64, buf: &mut [u8]) -> Result<(), ImportError> {
        let (len, end) = (self.len, offset.checked_add(buf.len() as u64));
        if end.is_none_or(|end| end > len) {
            let (file, needed) = (self.name.clone(), end.unwrap_or(u64::MAX));
            return Err(ImportError::Truncated { file, field, needed, len });
        }
        let fetch = |start: u64, buf: &mut [u8]| self.fetch(start, buf);
        self.gathered.read(len, (offset, buf), &fetch)
    }
}
