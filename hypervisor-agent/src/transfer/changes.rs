//! What changed in a disk between two of its snapshots, and bringing a copy of the older one to the newer one: in an SR
//! of this host, or over a connection to another host.
//!
//! ```text
//! "XNCH" version:u32 size:u64           then frames:
//! offset:u64 length:u32 bytes           at most 1 MiB each
//! offset:u64 40000000|length:u32 packed:u32 zstd    in version 2: `packed` bytes, fewer than the `length` they were
//! offset:u64 80000000|length:u32        zeros
//! offset:u64 00000000                   nothing: where much is compared and little has changed, that it goes on
//! ffffffffffffffff 00000000             the end
//! ```
//!
//! What always holds: nothing that differs is left out. Where the SR does not know what changed, both snapshots are read
//! and compared. A stream without its end is not whole. Doing it again does no harm: who begins with an earlier change
//! again, and does all that follow again, ends with the same disk. Numbers are checked before anything is allocated or
//! written. The contents go through TLS, which notices every other change on the way. They are compressed like disks are
//! that are sent whole, for a receiver that takes it: version 2 is for nobody else.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_common_block::{
    BaseId, BlockError, BlockSink, BlockSource, ByteRange, ChangedRanges, ExtentKind, RangeSet, is_zero,
};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_storage::StorageError;
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::upload::{Packing, UnpackError, Unpacker, packed_length};

use crate::disk::Storage;

const MAGIC: &[u8; 4] = b"XNCH";
/// Of streams without compressed frames.
const VERSION: u32 = 1;
const VERSION_PACKED: u32 = 2;
const END: u64 = u64::MAX;
const ZEROS: u32 = 1 << 31;
const PACKED: u32 = 1 << 30;
/// What failed when the connection did.
pub const SEND: &str = "send";
const WINDOW: u64 = 1 << 20;
/// A receiver takes a sender for gone that is silent for a minute.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// What is compared at a time: a changed byte sends so much.
const GRAIN: usize = 64 << 10;

/// What changed, to be read.
pub struct Changes {
    new: Arc<dyn BlockSource>,
    known: Known,
}

enum Known {
    Ranges(RangeSet),
    /// By nobody: this is the older one.
    Nothing(Arc<dyn BlockSource>),
}

impl Changes {
    /// Of two snapshots of one VDI.
    pub fn between(storage: &Storage, base: VdiId, new: VdiId) -> Result<Self, Fault> {
        let new = storage.open_source(new)?;
        let changed = new.changed_since(&BaseId(base.to_string())).map_err(StorageError::from)?;
        let known = match changed {
            ChangedRanges::Known(ranges) => Known::Ranges(ranges),
            ChangedRanges::Unknown { reason } => {
                tracing::debug!(%base, reason, "both snapshots are read and compared");
                Known::Nothing(storage.open_source(base)?)
            }
        };
        Ok(Self { new, known })
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.new.size()
    }

    /// Bytes that are looked at.
    #[must_use]
    pub fn total(&self) -> u64 {
        match &self.known {
            Known::Ranges(ranges) => ranges.total_len(),
            Known::Nothing(_) => self.size(),
        }
    }

    /// Gives each changed piece to `take`, ascending, with its offset and how many bytes were looked at when it is done.
    /// Returns how many bytes were given.
    pub fn each(
        &self,
        take: &mut dyn FnMut(u64, &[u8]) -> Result<(), BlockError>,
        step: &mut dyn FnMut(u64) -> Result<(), BlockError>,
    ) -> Result<u64, BlockError> {
        let whole = ByteRange::new(0, self.size());
        let ranges: Vec<ByteRange> = match &self.known {
            Known::Ranges(ranges) => ranges.within(whole).collect(),
            Known::Nothing(_) => vec![whole],
        };
        let (mut looked, mut given) = (0, 0);
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let window = ByteRange::new(at, range.end.min(at + WINDOW));
                given += self.window(window, take)?;
                looked += window.len();
                step(looked)?;
                at = window.end;
            }
        }
        Ok(given)
    }

    fn window(
        &self,
        window: ByteRange,
        take: &mut dyn FnMut(u64, &[u8]) -> Result<(), BlockError>,
    ) -> Result<u64, BlockError> {
        let base = match &self.known {
            Known::Ranges(_) => {
                take(window.start, &read(&*self.new, window)?)?;
                return Ok(window.len());
            }
            Known::Nothing(base) => base,
        };
        if !has_data(&*self.new, window)? && !has_data(&**base, within(&**base, window))? {
            return Ok(0);
        }
        let (new, old) = (read(&*self.new, window)?, read(&**base, within(&**base, window))?);
        let mut given = 0;
        for (index, piece) in new.chunks(GRAIN).enumerate() {
            let at = index * GRAIN;
            // What the older one was too small for has changed.
            if old.get(at..at + piece.len()) != Some(piece) {
                take(window.start + at as u64, piece)?;
                given += piece.len() as u64;
            }
        }
        Ok(given)
    }
}

/// What of it a disk that may be smaller has.
fn within(disk: &dyn BlockSource, window: ByteRange) -> ByteRange {
    ByteRange::new(window.start.min(disk.size()), window.end.min(disk.size()))
}

fn has_data(disk: &dyn BlockSource, window: ByteRange) -> Result<bool, BlockError> {
    if window.is_empty() {
        return Ok(false);
    }
    Ok(disk.extents(window)?.iter().any(|extent| extent.kind == ExtentKind::Data))
}

fn read(disk: &dyn BlockSource, window: ByteRange) -> Result<Vec<u8>, BlockError> {
    let length = usize::try_from(window.len()).unwrap_or_default();
    let mut bytes = vec![0; length];
    if length > 0 {
        disk.read_at(window.start, &mut bytes)?;
    }
    Ok(bytes)
}

/// A copy of a disk that was made larger meanwhile has no room for the rest of it.
pub fn same_size(copy: u64, size: u64) -> Result<(), Fault> {
    if copy == size {
        return Ok(());
    }
    let problem = format_args!("the disk has {size} bytes by now, its copy {copy}; copy it anew");
    Err(Fault::new(FaultReason::WrongState, problem))
}

/// Writes a changed piece.
pub fn put(sink: &dyn BlockSink, offset: u64, bytes: &[u8]) -> Result<(), BlockError> {
    if is_zero(bytes) {
        sink.zero(ByteRange::with_len(offset, bytes.len() as u64))
    } else {
        sink.write_at(offset, bytes)
    }
}

/// Sends all of it; with `packing` where the receiver takes compressed frames. Returns how many bytes changed.
pub fn send(
    changes: &Changes,
    (out, mut packing): (&mut dyn Write, Option<Packing>),
    step: &mut dyn FnMut(u64) -> Result<(), BlockError>,
) -> Result<u64, BlockError> {
    let broke = |source| BlockError::Io {
        action: SEND,
        target: "the changes of a disk".to_owned(),
        offset: 0,
        source,
    };
    let version = if packing.is_some() { VERSION_PACKED } else { VERSION };
    let head = [MAGIC, &version.to_le_bytes()[..], &changes.size().to_le_bytes()].concat();
    out.write_all(&head).map_err(broke)?;
    let (out, mut told) = (RefCell::new(out), Instant::now());
    let take = &mut |offset, bytes: &[u8]| {
        write_frame((&mut **out.borrow_mut(), packing.as_mut()), offset, bytes).map_err(broke)
    };
    let mut goes_on = |looked| {
        if told.elapsed() > SAY_EVERY {
            write_head(&mut **out.borrow_mut(), 0, 0).map_err(broke)?;
            told = Instant::now();
        }
        step(looked)
    };
    let given = changes.each(take, &mut goes_on)?;
    write_head(&mut **out.borrow_mut(), END, 0).map_err(broke)?;
    Ok(given)
}

/// What comes by itself is seen at once.
fn write_head(out: &mut dyn Write, offset: u64, told: u32) -> io::Result<()> {
    out.write_all(&[&offset.to_le_bytes()[..], &told.to_le_bytes()].concat())?;
    out.flush()
}

fn write_frame(
    (out, packing): (&mut dyn Write, Option<&mut Packing>),
    offset: u64,
    bytes: &[u8],
) -> io::Result<()> {
    // At most a window.
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut write = |told: u32, contents: &[&[u8]]| {
        out.write_all(&[&offset.to_le_bytes()[..], &told.to_le_bytes()].concat())?;
        contents.iter().try_for_each(|part| out.write_all(part))
    };
    if is_zero(bytes) {
        return write(ZEROS | length, &[]);
    }
    let Some(packing) = packing else { return write(length, &[bytes]) };
    packing.frame(bytes, |packed| match packed {
        Some(packed) => write(PACKED | length, &[&packed_length(packed)?[..], packed]),
        None => write(length, &[bytes]),
    })
}

/// Takes what [`send`] sent into a disk that has the contents of the older snapshot. It is durable when this returns.
pub fn receive(input: &mut dyn Read, sink: &dyn BlockSink) -> Result<u64, Fault> {
    let mut head = [0; 16];
    fill(input, &mut head)?;
    let version = |version: u32| head[4..8] == version.to_le_bytes();
    if &head[..4] != MAGIC || !(version(VERSION) || version(VERSION_PACKED)) {
        return Err(damaged("the sender is of another version"));
    }
    let unpacker = version(VERSION_PACKED).then(Unpacker::new).transpose();
    let mut unpacker = unpacker.map_err(|error| Fault::new(FaultReason::Internal, error))?;
    let flags = if unpacker.is_some() { ZEROS | PACKED } else { ZEROS };
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    same_size(sink.size(), number(&head[8..]))?;
    let write = |error: BlockError| Fault::from(StorageError::from(error));
    let (mut taken, mut buffer) = (0, Vec::new());
    loop {
        let mut head = [0; 12];
        fill(input, &mut head)?;
        let offset = number(&head[..8]);
        let told = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        let length = u64::from(told & !flags);
        if offset == END {
            sink.flush().map_err(write)?;
            return Ok(taken);
        }
        if length == 0 {
            continue;
        }
        if length > WINDOW || offset.checked_add(length).is_none_or(|end| end > sink.size()) {
            return Err(damaged(&format!("{length} bytes at {offset} have no place here")));
        }
        if told & ZEROS == 0 {
            buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
            match unpacker.as_mut().filter(|_| told & PACKED != 0) {
                Some(unpacker) => {
                    unpacker.read(input, &mut buffer).map_err(|error| unpack_failed(error, offset))?;
                }
                None => fill(input, &mut buffer)?,
            }
            sink.write_at(offset, &buffer).map_err(write)?;
        } else {
            sink.zero(ByteRange::with_len(offset, length)).map_err(write)?;
        }
        taken += length;
    }
}

fn damaged(problem: &str) -> Fault {
    Fault::new(FaultReason::Invalid, format_args!("these are no changes of a disk: {problem}"))
}

/// A stream that ends early is worth another try.
fn fill(input: &mut dyn Read, bytes: &mut [u8]) -> Result<(), Fault> {
    input.read_exact(bytes).map_err(|error| cut_off(&error))
}

fn cut_off(error: &io::Error) -> Fault {
    Fault::new(FaultReason::NotReady, format_args!("the changes of the disk were cut off: {error}"))
}

fn unpack_failed(error: UnpackError, offset: u64) -> Fault {
    match error {
        UnpackError::Read(error) => cut_off(&error),
        UnpackError::Damaged(problem) => damaged(&format!("at {offset}: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xenith_common_block::{MemorySink, MemorySource};

    use super::*;

    const SIZE: usize = 3 << 20;

    /// Bytes that a guest writes at once: where, how many, and which.
    type Written = (usize, usize, u8);

    fn changes(known: Option<RangeSet>, base: &[u8], new: &[u8]) -> Changes {
        let older = || Known::Nothing(Arc::new(MemorySource::new(base.to_vec())));
        Changes {
            new: Arc::new(MemorySource::new(new.to_vec())),
            known: known.map_or_else(older, Known::Ranges),
        }
    }

    fn stream(changes: &Changes) -> Vec<u8> {
        stream_of(changes, None)
    }

    fn stream_of(changes: &Changes, packing: Option<Packing>) -> Vec<u8> {
        let mut out = Vec::new();
        send(changes, (&mut out, packing), &mut |_| Ok(())).unwrap();
        out
    }

    fn always() -> Option<Packing> {
        Some(Packing::always().unwrap())
    }

    fn write(disk: &mut [u8], written: &[Written]) -> RangeSet {
        let mut ranges = RangeSet::new();
        for (at, length, byte) in written {
            let end = (at + length).min(SIZE);
            disk[*at..end].fill(*byte);
            ranges.insert(ByteRange::new(*at as u64, end as u64));
        }
        ranges
    }

    fn passes() -> impl Strategy<Value = Vec<Vec<Written>>> {
        let written = (0..SIZE, 1_usize..300_000, prop_oneof![Just(0_u8), 1_u8..]);
        prop::collection::vec(prop::collection::vec(written, 0..4), 1..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// What the hand-over relies on: whatever the guest wrote in whichever pass, the copy is the disk in the end; also
        /// where a crash had some of the passes done again.
        #[test]
        fn the_copy_is_the_disk_after_the_last_pass(
            passes in passes(), known: bool, again in 0_usize..5, packs: bool,
        ) {
            let mut disk = vec![3; SIZE];
            let sink = MemorySink::new(SIZE);
            sink.write_at(0, &disk).unwrap();
            let mut streams = Vec::new();
            for written in &passes {
                let base = disk.clone();
                let ranges = write(&mut disk, written);
                let packing = if packs { always() } else { None };
                streams.push(stream_of(&changes(known.then_some(ranges), &base, &disk), packing));
                receive(&mut &streams[streams.len() - 1][..], &sink).unwrap();
            }
            for repeated in &streams[again.min(streams.len())..] {
                receive(&mut &repeated[..], &sink).unwrap();
            }
            prop_assert!(sink.into_bytes() == disk);
        }
    }

    #[test]
    fn only_what_changed_travels_and_zeros_do_not() {
        let base = vec![1; SIZE];
        let mut new = base.clone();
        new[5] = 2;
        new[1 << 20..2 << 20].fill(0);
        let compared = stream(&changes(None, &base, &new));
        assert!(compared.len() < 2 * GRAIN, "{} bytes", compared.len());
        let sink = MemorySink::new(SIZE);
        sink.write_at(0, &base).unwrap();
        let taken = receive(&mut &compared[..], &sink).unwrap();
        assert_eq!(taken, GRAIN as u64 + (1 << 20));
        assert!(sink.into_bytes() == new);
        assert_eq!(stream(&changes(None, &base, &base)).len(), 16 + 12, "nothing changed");
    }

    #[test]
    fn what_changed_travels_compressed_where_the_receiver_takes_that() {
        let (base, new) = (vec![1; SIZE], vec![2; SIZE]);
        let changes = changes(None, &base, &new);
        assert!(stream(&changes).len() > SIZE);
        let packed = stream_of(&changes, always());
        assert!(packed.len() < SIZE / 16, "{} bytes", packed.len());
        let with = |at: usize, bytes: &[u8]| {
            let mut stream = packed.clone();
            stream[at..at + bytes.len()].copy_from_slice(bytes);
            stream
        };
        let table = [
            ("cut off in a frame", packed[..36].to_vec(), FaultReason::NotReady),
            ("frames that a receiver of before does not take", with(4, &[1]), FaultReason::Invalid),
            ("a longer piece", with(24, &(PACKED | (2 * GRAIN as u32)).to_le_bytes()), FaultReason::Invalid),
            ("a shorter piece", with(24, &(PACKED | (GRAIN as u32 / 2)).to_le_bytes()), FaultReason::Invalid),
            ("a huge length", with(28, &[0xff; 4]), FaultReason::Invalid),
            ("garbage", with(32, &[0xff; 4]), FaultReason::Invalid),
        ];
        for (case, stream, reason) in table {
            let fault = receive(&mut &stream[..], &MemorySink::new(SIZE)).expect_err(case);
            assert_eq!(fault.reason, reason, "{case}: {fault}");
        }
        let sink = MemorySink::new(SIZE);
        sink.write_at(0, &base).unwrap();
        assert_eq!(receive(&mut &packed[..], &sink).unwrap(), SIZE as u64);
        assert!(sink.into_bytes() == new);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut new = vec![1; SIZE];
        new[5] = 2;
        let good = stream(&changes(None, &vec![1; SIZE], &new));
        let with = |at: usize, bytes: &[u8]| {
            let mut stream = good.clone();
            stream[at..at + bytes.len()].copy_from_slice(bytes);
            stream
        };
        let table = [
            ("nothing", vec![], FaultReason::NotReady),
            ("cut off", good[..good.len() - 1].to_vec(), FaultReason::NotReady),
            ("another version", with(4, &[3]), FaultReason::Invalid),
            ("a disk that has grown", with(8, &(SIZE as u64 + 512).to_le_bytes()), FaultReason::WrongState),
            ("past the end", with(16, &(SIZE as u64).to_le_bytes()), FaultReason::Invalid),
            ("a huge frame", with(24, &(u32::MAX >> 1).to_le_bytes()), FaultReason::Invalid),
        ];
        for (case, stream, reason) in table {
            let fault = receive(&mut &stream[..], &MemorySink::new(SIZE)).expect_err(case);
            assert_eq!(fault.reason, reason, "{case}: {fault}");
        }
    }
}
