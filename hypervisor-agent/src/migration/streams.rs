//! One memory over several connections: its pieces are dealt to them in turn, and put together in that order.
//!
//! ```text
//! piece        0  1  2  3  4  5  6  end
//! connection   0  1  2  0  1  2  0  all
//! ```
//!
//! libxl reads and writes one stream, whose order matters. What costs a core (compression and encryption) is done for
//! each connection on threads of its own. Each frame has the number of its piece, and the mark of the end, which each
//! connection has, the number of all pieces: a piece that is missing, is there twice, or comes on another connection makes
//! it no memory, and so does a connection that ends without the mark. Dealing in turn was chosen over giving a piece to who
//! is free: the receiver has nothing to sort then, and holds four pieces for each connection at most, whatever the frames
//! say ([`WAITING`], one that is unpacked, one that is read, and as much from the network).
//!
//! A connection that breaks ends all: nothing is sent again, as half of a memory that goes on changing is worth nothing.

use std::io::{self, Read, Write};
use std::num::NonZeroU8;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::{Deserialize, Serialize};
use xenith_vmware_import::upload::{Packer, SKIPPED};

use super::frame::{
    END, Made, NUMBERED, PIECE, Unpacker, damaged, frame, framed, packed, preamble_frame, read_full,
};

/// Pieces that wait for a connection, or for their turn: while one is worked on, the next is there.
const WAITING: usize = 1;
/// Each takes a thread and some MiB of both hosts; one fills 4 Gbit/s where memory shrinks.
const MOST: u8 = 8;
/// Without a word of the administrator: dom0 has other work, and VMs.
const USUALLY_MOST: usize = 4;
/// Below this a connection is not worth its handshake.
const WORTH_A_STREAM: u64 = 64 << 20;

/// How many connections carry one VM's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct StreamCount(NonZeroU8);

impl StreamCount {
    pub const ONE: Self = Self(NonZeroU8::MIN);

    /// As many as this host has processors for.
    #[must_use]
    pub fn of_host() -> Self {
        let cpus = thread::available_parallelism().map_or(1, usize::from).min(USUALLY_MOST);
        u8::try_from(cpus).ok().and_then(|cpus| Self::try_from(cpus).ok()).unwrap_or(Self::ONE)
    }

    /// At most this many, and no more than a memory of so many bytes is worth.
    #[must_use]
    pub fn for_memory(self, bytes: u64) -> Self {
        let worth = u8::try_from(bytes / WORTH_A_STREAM).unwrap_or(u8::MAX);
        NonZeroU8::new(worth).map_or(Self::ONE, |worth| self.min(Self(worth)))
    }

    #[must_use]
    pub fn get(self) -> usize {
        usize::from(self.0.get())
    }
}

impl Default for StreamCount {
    fn default() -> Self {
        Self::ONE
    }
}

impl From<StreamCount> for u8 {
    fn from(count: StreamCount) -> Self {
        count.0.get()
    }
}

impl TryFrom<u8> for StreamCount {
    type Error = String;

    fn try_from(count: u8) -> Result<Self, String> {
        let possible = NonZeroU8::new(count).filter(|count| count.get() <= MOST);
        possible.map(Self).ok_or_else(|| format!("memory goes over 1 to {MOST} connections, not {count}"))
    }
}

/// What a connection carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    Piece {
        number: u64,
        memory: Vec<u8>,
    },
    /// Of all connections together.
    End {
        pieces: u64,
    },
}

/// Where to deal to, and what each connection sends. The first one's begins with the preamble.
pub fn streams(preamble: &[u8], count: StreamCount) -> io::Result<(Vec<SyncSender<Part>>, Vec<Dealt>)> {
    let mut first = preamble_frame(preamble)?;
    // Neighbours are alike, and those of a piece are on the other connections.
    let skipped = SKIPPED / u32::from(u8::from(count));
    let (mut to, mut all) = (Vec::new(), Vec::new());
    for _ in 0..count.get() {
        let (sender, parts) = sync_channel(WAITING);
        let made = Made::new(std::mem::take(&mut first));
        to.push(sender);
        all.push(Dealt { parts, packer: Packer::new(skipped)?, made, ended: false });
    }
    Ok((to, all))
}

/// Reads memory to its end, and deals it. Tells `step` how many bytes were read, and ends with its error. A connection
/// that is not there any more is an error.
pub fn deal(
    mut memory: impl Read,
    to: &[SyncSender<Part>],
    mut step: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    for (number, stream) in (0_u64..).zip(to.iter().cycle()) {
        let mut piece = vec![0; PIECE];
        let length = read_full(&mut memory, &mut piece)?;
        done += length as u64;
        step(done)?;
        if length == 0 {
            return to.iter().try_for_each(|stream| hand(stream, Part::End { pieces: number }));
        }
        piece.truncate(length);
        hand(stream, Part::Piece { number, memory: piece })?;
    }
    Err(io::Error::other("there is no connection to send memory over"))
}

fn hand(stream: &SyncSender<Part>, part: Part) -> io::Result<()> {
    let lost = |_| io::Error::new(io::ErrorKind::BrokenPipe, "a connection to the receiving host is lost");
    stream.send(part).map_err(lost)
}

/// The frames of one connection, as they are dealt to it.
pub struct Dealt {
    parts: Receiver<Part>,
    packer: Packer,
    made: Made,
    ended: bool,
}

impl Dealt {
    fn next_frame(&mut self) -> io::Result<Vec<u8>> {
        match self.parts.recv() {
            Ok(Part::Piece { number, memory }) => packed(&mut self.packer, &memory, Some(number)),
            Ok(Part::End { pieces }) => {
                self.ended = true;
                Ok(framed(END, Some(pieces), &[]))
            }
            // Nothing more is dealt. Without the mark it is no memory, and the receiver, which finds that out, answers: its
            // answer says more than a connection that was cut.
            Err(_) => {
                self.ended = true;
                Ok(Vec::new())
            }
        }
    }
}

impl Read for Dealt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.made.is_read() && !self.ended {
            self.made = Made::new(self.next_frame()?);
        }
        Ok(self.made.read(buffer))
    }
}

/// The parts of one connection, after the preamble.
struct Parts<R> {
    source: R,
    unpacker: Unpacker,
}

impl<R: Read> Parts<R> {
    fn next_part(&mut self) -> io::Result<Part> {
        let (kind, mut body) = frame(&mut self.source)?;
        let numbered = body.split_first_chunk().filter(|_| kind & NUMBERED != 0);
        let number = numbered.map(|(number, _)| u64::from_le_bytes(*number));
        let number = number.ok_or_else(|| damaged("a part has no number"))?;
        body.drain(..size_of::<u64>());
        Ok(match self.unpacker.unpack(kind & !NUMBERED, body)? {
            Some(memory) => Part::Piece { number, memory },
            None => Part::End { pieces: number },
        })
    }
}

/// Puts together what came over all connections. Where one is lost or the memory cannot be written, `give_up` is called at
/// once, after which the sources have to end: their threads are waited for.
pub fn join<R: Read + Send>(
    sources: Vec<R>,
    mut memory: impl Write,
    give_up: impl Fn() + Sync,
) -> io::Result<()> {
    let give_up = &give_up;
    thread::scope(|scope| {
        let mut streams = Vec::with_capacity(sources.len());
        for source in sources {
            let (sender, parts) = sync_channel(WAITING);
            scope.spawn(move || read_parts(source, &sender, give_up));
            streams.push(parts);
        }
        let joined = put_together(&streams, &mut memory);
        if joined.is_err() {
            give_up();
        }
        joined
    })
}

fn read_parts(source: impl Read, to: &SyncSender<io::Result<Part>>, give_up: impl Fn()) {
    let mut parts = Unpacker::new().map(|unpacker| Parts { source, unpacker });
    loop {
        let part = match &mut parts {
            Ok(parts) => parts.next_part(),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let more = matches!(part, Ok(Part::Piece { .. }));
        if part.is_err() {
            // It may not be its turn for long.
            give_up();
        }
        if to.send(part).is_err() || !more {
            return;
        }
    }
}

fn put_together(streams: &[Receiver<io::Result<Part>>], memory: &mut impl Write) -> io::Result<()> {
    for (expected, stream) in (0_u64..).zip(streams.iter().cycle()) {
        match next(stream)? {
            Part::Piece { number, memory: piece } if number == expected => memory.write_all(&piece)?,
            Part::End { pieces } if pieces == expected => return all_end(streams, expected),
            _ => return Err(damaged("its pieces are not in their order")),
        }
    }
    Err(damaged("it came over no connection"))
}

/// The connection whose turn it was has ended; so have the others.
fn all_end(streams: &[Receiver<io::Result<Part>>], pieces: u64) -> io::Result<()> {
    let count = streams.len() as u64;
    for (stream, _) in streams.iter().zip(0_u64..).filter(|(_, number)| *number != pieces % count) {
        if next(stream)? != (Part::End { pieces }) {
            return Err(damaged("its connections do not end together"));
        }
    }
    Ok(())
}

fn next(stream: &Receiver<io::Result<Part>>) -> io::Result<Part> {
    stream.recv().unwrap_or_else(|_| Err(damaged("a connection has ended before the others")))
}

#[cfg(test)]
mod tests;
