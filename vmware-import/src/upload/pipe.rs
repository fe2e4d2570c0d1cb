//! Between who reads a disk and the connection that takes it: a bounded pipe, so that reading and sending overlap and
//! neither runs away from the other. Who writes after the connection has gone is told so.
//!
//! What always holds: pieces are of one size, but for the last and for those that were flushed, so that the cost of handing
//! one over is small beside that of its bytes. What was not flushed when the writer is dropped does not travel.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use reqwest::Body;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Pieces under way, and the size of one: 4 MiB in all.
const PIECES: usize = 16;
const PIECE: usize = 256 * 1024;

/// The two ends. Dropping the writer, flushed, ends what the reader reads.
#[must_use]
pub fn pipe() -> (PipeWriter, PipeReader) {
    pipe_of(PIECES)
}

/// The same for so many pieces: what is under way is what the receiver gets late.
#[must_use]
pub fn pipe_of(pieces: usize) -> (PipeWriter, PipeReader) {
    let (pieces, coming) = mpsc::channel(pieces);
    (PipeWriter { pieces, piece: BytesMut::new() }, PipeReader(coming))
}

/// Blocks while the pipe is full: not for async tasks.
#[derive(Debug)]
pub struct PipeWriter {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    /// The piece that is being filled.
    piece: BytesMut,
}

impl PipeWriter {
    /// Breaks the connection off instead of ending what it carries.
    pub fn fail(self, error: io::Error) {
        // Nobody is left to whom it could be broken off.
        let _gone = self.pieces.blocking_send(Err(error));
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = self.piece.split().freeze();
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece.reserve(PIECE);
        }
        let len = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..len]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.send() }
    }
}

/// A body of a request.
#[derive(Debug)]
pub struct PipeReader(mpsc::Receiver<io::Result<Bytes>>);

impl From<PipeReader> for Body {
    fn from(pieces: PipeReader) -> Self {
        Self::wrap_stream(ReceiverStream::new(pieces.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_travel_together_and_large_ones_in_pieces() {
        let (mut writer, PipeReader(mut coming)) = pipe();
        let bytes: Vec<u8> = (0..PIECE * 5 / 2).map(|at| (at / 251) as u8).collect();
        for frame in bytes.chunks(PIECE) {
            writer.write_all(b"a head").unwrap();
            writer.write_all(frame).unwrap();
        }
        writer.flush().unwrap();
        writer.flush().unwrap();
        drop(writer);
        let pieces: Vec<Bytes> = std::iter::from_fn(|| coming.blocking_recv()).map(Result::unwrap).collect();
        let lengths: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [PIECE, PIECE, PIECE / 2 + 3 * b"a head".len()]);
        let expected: Vec<u8> =
            bytes.chunks(PIECE).flat_map(|frame| [&b"a head"[..], frame].concat()).collect();
        assert!(pieces.concat() == expected);
    }

    #[test]
    fn who_writes_to_nobody_is_told() {
        let (mut writer, reader) = pipe();
        drop(reader);
        let told = writer.write_all(&vec![1; PIECE]).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::BrokenPipe);
    }
}
