//! Compression of what travels between hosts: memory of VMs and contents of disks.
//!
//! What always holds: what is compressed is smaller by an eighth at least, everything else goes as it is. A receiver gives
//! compressed bytes no more room than the frame says they need, which its caller has bounded, and takes nothing else for
//! the frame.
//!
//! Two questions are asked, and both are answered by trying. *Does it shrink?* ([`Packer`]) Bytes of one kind lie together:
//! after a piece that did not shrink the next [`SKIPPED`] are not tried. *Is it faster?* ([`Stretches`]) Compressing costs a
//! core some 2 ns a byte and pays where the network is slower than that, up to some 4 Gbit/s. Who sends sees how slow the
//! network is by the time that it waits until its bytes are taken, so:
//!
//! ```text
//!          what is sent as it is waits longer than compressing it would take
//! as it is -----------------------------------------------------------------> compressed
//!    ^                                                                            |
//!    +------ compressing and waiting take no less than waiting did before: -------+
//!            the next SKIPPED stretches go as they are;
//!            or after MOST stretches, to see what the network does by now
//! ```
//!
//! A connection that takes everything at once, as one within a host does, is never compressed for; nor is one where not
//! the network but the receiver's disk is slow for longer than a stretch, as compressing makes nothing faster there. Rejected:
//! a measurement of the network before, which says nothing of who else sends meanwhile; the fill level of the queue alone,
//! which is full also where TLS is what takes the time.
//!
//! The memory of a VM that moves asks the first question only: its guest stands for what is still to be sent.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;

/// Pieces that are sent as they are after one that did not shrink.
pub const SKIPPED: u32 = 15;
/// Fast enough for one core to fill a network of 4 Gbit/s.
const LEVEL: i32 = 1;
/// What is measured at a time. More than lies in the buffers of both hosts, which take it without waiting.
const STRETCH: u64 = 32 << 20;
/// What compressing a stretch takes, about.
const COST: Duration = Duration::from_nanos(2 * STRETCH);
/// Stretches that are compressed until it is looked again how long the network takes without: one of 32 is little.
const MOST: u32 = 31;

/// The frames that a receiver takes. It says so in a header: of its request where it asks for a disk, of its answer to
/// who asks how far it is. Who says nothing is of a version that takes them as they are only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Plain,
    Zstd,
}

impl Takes {
    pub const HEADER: &'static str = "accept-frames";
    /// What receivers of this version say.
    pub const OURS: &'static str = "zstd";

    /// Others that may be said in later versions do not matter.
    #[must_use]
    pub fn said_in(headers: &HeaderMap) -> Self {
        let said = headers.get(Self::HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if said.split(',').any(|word| word.trim() == Self::OURS) { Self::Zstd } else { Self::Plain }
    }

    /// For a stream to such a receiver.
    pub fn packing(self) -> io::Result<Option<Packing>> {
        match self {
            Self::Plain => Ok(None),
            Self::Zstd => Packing::new().map(Some),
        }
    }
}

/// Compresses what shrinks.
pub struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    skipped: u32,
    skip: u32,
}

impl Packer {
    /// `skipped` pieces are left as they are after one that did not shrink.
    pub fn new(skipped: u32) -> io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(LEVEL)?, skipped, skip: 0 })
    }

    /// `None`: it goes as it is.
    pub fn pack(&mut self, piece: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(None);
        }
        let packed = self.zstd.compress(piece)?;
        if packed.len() <= piece.len() - piece.len() / 8 {
            return Ok(Some(packed));
        }
        self.skip = self.skipped;
        Ok(None)
    }
}

/// Compresses the frames of one stream while that is faster.
pub struct Packing {
    packer: Packer,
    /// `None`: whatever it takes.
    stretches: Option<Stretches>,
}

impl Packing {
    pub fn new() -> io::Result<Self> {
        Ok(Self { packer: Packer::new(SKIPPED)?, stretches: Some(Stretches::default()) })
    }

    /// However long that takes: for tests, whose connection is memory.
    pub fn always() -> io::Result<Self> {
        Ok(Self { packer: Packer::new(SKIPPED)?, stretches: None })
    }

    /// Has a frame written. `write` gets its contents compressed, or `None` where they go as they are.
    pub fn frame(
        &mut self,
        bytes: &[u8],
        write: impl FnOnce(Option<&[u8]>) -> io::Result<()>,
    ) -> io::Result<()> {
        let began = Instant::now();
        let tried = self.stretches.as_ref().is_none_or(|stretches| stretches.packed);
        let packed = if tried { self.packer.pack(bytes)? } else { None };
        write(packed.as_deref())?;
        if let Some(stretches) = &mut self.stretches {
            stretches.sent(bytes.len() as u64, began.elapsed());
        }
        Ok(())
    }
}

/// What is compressed and what is not, by what was measured.
#[derive(Debug, Default)]
struct Stretches {
    /// Whether the stretch under way is compressed.
    packed: bool,
    /// Of the stretch under way: bytes, as they are in the disk, and the time that compressing and waiting took.
    bytes: u64,
    took: Duration,
    /// What the last stretch that was not compressed took.
    plain: Duration,
    /// Stretches that go like this one before another way is tried.
    left: u32,
}

impl Stretches {
    fn sent(&mut self, bytes: u64, took: Duration) {
        self.bytes += bytes;
        self.took += took;
        if self.bytes < STRETCH {
            return;
        }
        let took = std::mem::take(&mut self.took);
        self.bytes = 0;
        if self.packed {
            let faster = is_faster(took, self.plain);
            if faster && self.left > 0 {
                self.left -= 1;
            } else {
                self.packed = false;
                self.left = if faster { 0 } else { SKIPPED };
            }
            return;
        }
        self.plain = took;
        if self.left > 0 {
            self.left -= 1;
        } else if is_faster(COST, took) {
            self.packed = true;
            self.left = MOST - 1;
        }
    }
}

/// By an eighth: what differs by less may be chance.
fn is_faster(one: Duration, other: Duration) -> bool {
    one <= other - other / 8
}

/// Why a compressed frame could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the frame cannot be read")]
    Read(#[from] io::Error),
    #[error("{0}")]
    Damaged(String),
}

/// Takes compressed frames: their length (u32, little endian), and what was compressed.
pub struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
    packed: Vec<u8>,
}

impl Unpacker {
    pub fn new() -> io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Decompressor::new()?, packed: Vec::new() })
    }

    /// Reads a frame into `plain`, which is as long as the frame says that its contents are. Takes no more memory than that
    /// once more.
    pub fn read(&mut self, input: &mut dyn Read, plain: &mut [u8]) -> Result<(), UnpackError> {
        let mut told = [0; 4];
        input.read_exact(&mut told)?;
        let told = u32::from_le_bytes(told);
        let length = usize::try_from(told).ok().filter(|length| (1..plain.len()).contains(length));
        let Some(length) = length else {
            // What does not shrink goes as it is.
            let problem = format!("{told} bytes are not {} that were compressed", plain.len());
            return Err(UnpackError::Damaged(problem));
        };
        self.packed.resize(length, 0);
        input.read_exact(&mut self.packed)?;
        let unpacked = self.zstd.decompress_to_buffer(&self.packed, plain);
        let unpacked = unpacked.map_err(|error| {
            let room = plain.len();
            UnpackError::Damaged(format!("what came is not {room} bytes that were compressed: {error}"))
        })?;
        if unpacked == plain.len() {
            return Ok(());
        }
        let problem = format!("it says that it has {} bytes, and has {unpacked}", plain.len());
        Err(UnpackError::Damaged(problem))
    }
}

/// The length of compressed contents, as [`Unpacker::read`] takes it before them.
pub fn packed_length(packed: &[u8]) -> io::Result<[u8; 4]> {
    u32::try_from(packed.len()).map(u32::to_le_bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    /// Sends stretches that take so long, and says which of them were compressed.
    fn sent(stretches: &mut Stretches, took: impl Fn(bool) -> Duration, count: usize) -> Vec<bool> {
        let mut packed = Vec::new();
        for _ in 0..count {
            packed.push(stretches.packed);
            // In four frames.
            let took = took(stretches.packed);
            (0..4).for_each(|_| stretches.sent(STRETCH / 4, took / 4));
        }
        packed
    }

    fn count(packed: &[bool]) -> usize {
        packed.iter().filter(|packed| **packed).count()
    }

    #[test]
    fn a_network_that_takes_everything_at_once_is_not_compressed_for() {
        for (case, plain) in [("no wait", Duration::ZERO), ("as long as compressing", COST)] {
            let packed = sent(&mut Stretches::default(), |_| plain, 200);
            assert_eq!(count(&packed), 0, "{case}");
        }
    }

    #[test]
    fn a_slow_network_is_compressed_for_but_for_one_stretch_of_many() {
        let slow = |packed: bool| if packed { 2 * COST } else { 4 * COST };
        let packed = sent(&mut Stretches::default(), slow, 65);
        assert_eq!(count(&packed), 62);
        assert!(!packed[0] && !packed[32] && !packed[64], "{packed:?}");
    }

    #[test]
    fn what_makes_nothing_faster_is_tried_one_time_of_many() {
        // A disk that writes slowly, or contents that do not shrink.
        let packed = sent(&mut Stretches::default(), |_| 4 * COST, 1 + 3 * (1 + SKIPPED as usize + 1));
        assert_eq!(count(&packed), 3, "{packed:?}");
        assert!(packed[1] && !packed[2], "{packed:?}");
    }

    #[test]
    fn a_network_that_becomes_fast_is_no_longer_compressed_for() {
        let mut stretches = Stretches::default();
        assert_eq!(count(&sent(&mut stretches, |packed| if packed { COST } else { 4 * COST }, 10)), 9);
        let fast = |packed: bool| if packed { COST } else { COST / 8 };
        let packed = sent(&mut stretches, fast, 200);
        assert!(count(&packed) <= MOST as usize, "{packed:?}");
        assert_eq!(count(&packed[MOST as usize..]), 0);
    }

    #[test]
    fn receivers_say_what_they_take() {
        let takes = |said: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(said) = said {
                headers.insert(Takes::HEADER, HeaderValue::from_static(said));
            }
            Takes::said_in(&headers)
        };
        for (said, expected) in [
            (None, Takes::Plain),
            (Some(""), Takes::Plain),
            (Some("lz4"), Takes::Plain),
            (Some("zstd"), Takes::Zstd),
            (Some("lz4, zstd"), Takes::Zstd),
        ] {
            assert_eq!(takes(said), expected, "{said:?}");
        }
    }

    #[test]
    fn after_what_does_not_shrink_some_is_not_tried() {
        let mut noise = vec![0; 1 << 16];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let (mut packer, even) = (Packer::new(2).unwrap(), vec![7; 1 << 16]);
        let mut shrinks = |piece: &[u8]| packer.pack(piece).unwrap().is_some();
        let tried = [shrinks(&even), shrinks(&noise), shrinks(&even), shrinks(&even), shrinks(&even)];
        assert_eq!(tried, [true, false, false, false, true]);
    }
}
