//! Between who reads a disk and the connection that takes it: a bounded pipe, so that reading and sending overlap and
//! neither runs away from the other. Who writes after the reader has gone is told so.

use std::io::{self, BufWriter, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Pieces under way, and the size of one: 4 MiB in all.
const PIECES: usize = 16;
const PIECE: usize = 256 * 1024;

/// The two ends. Dropping the writer, flushed, ends what the reader reads.
#[must_use]
pub fn pipe() -> (BufWriter<PipeWriter>, PipeReader) {
    let (sender, receiver) = sync_channel(PIECES);
    let reader = PipeReader { receiver, rest: Vec::new(), at: 0 };
    (BufWriter::with_capacity(PIECE, PipeWriter(sender)), reader)
}

#[derive(Debug)]
pub struct PipeWriter(SyncSender<Vec<u8>>);

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub struct PipeReader {
    receiver: Receiver<Vec<u8>>,
    rest: Vec<u8>,
    at: usize,
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.rest.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.rest, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let len = (self.rest.len() - self.at).min(buf.len());
        buf[..len].copy_from_slice(&self.rest[self.at..self.at + len]);
        self.at += len;
        Ok(len)
    }
}
