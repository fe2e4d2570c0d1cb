//! Filling packs from many threads, and storing them from others.
//!
//! A worker reserves room for a batch of chunks under a short lock, encrypts them in its own time, and puts
//! them in their place; whoever completes a full pack hands it to a storing thread. What always holds: at most
//! [`PackLimits::in_memory`] packs exist at once, open or being stored, whatever the store's speed: opening one more
//! waits. That wait is the back-pressure of the whole pipeline. An error of the store ends all waits.
//!
//! Buffers go round: what was stored is filled again, as fresh memory costs a page fault for every 4 KiB. No buffer is made
//! while there is a spare one, so there are never more than all packs in memory take.
//!
//! A crash loses what is not stored yet; packs that are stored are found by the next run through their footers.

mod pressure;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::crypto::TAG_LEN;
use crate::error::{BackupError, Result};
use crate::format::{
    Codec, FrameKind, FrameRecord, HEADER_LEN, MAX_FRAMES, MAX_OBJECT, ObjectKind, RECORD_LEN, Sealer,
    Secrecy, TRAILER_LEN,
};
use crate::id::{ChunkId, ObjectHash};
use crate::keys::Keyring;

pub use pressure::Pressure;
use pressure::Waited;

/// How large packs get and how many of them may be in memory at once, open or being stored.
#[derive(Debug, Clone, Copy)]
pub struct PackLimits {
    pub bytes: u64,
    pub in_memory: usize,
    /// Who reads them.
    pub secrecy: Secrecy,
}

impl PackLimits {
    /// For chunks: as large as the format allows, for the fewest objects (`docs/adr/0093-objects-per-tib.md`); one pack is
    /// filled while two are stored, 192 MiB.
    pub const DATA: Self = Self { bytes: MAX_OBJECT, in_memory: 3, secrecy: Secrecy::Sealed };
    /// For map pages: apart from the data, so that walking maps reads few and small objects. Writers read them, to store
    /// only what changed.
    pub const MAPS: Self = Self { bytes: 8 << 20, in_memory: 2, secrecy: Secrecy::Shared };
}

/// Largest chunk or page.
const MAX_BLOB: usize = crate::chunk::MAX_CHUNK_BLOCKS as usize * crate::chunk::BLOCK;

/// Chunks of one worker on their way into a pack, packed but not yet encrypted, each with room for its tag.
#[derive(Debug, Default)]
pub struct Batch {
    buf: Vec<u8>,
    records: Vec<FrameRecord>,
}

impl Batch {
    /// A worker hands its batch over at this size: large enough that a disk's neighbours stay neighbours in
    /// the pack, small enough that many workers fit in memory.
    pub const FULL: usize = 1 << 20;

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buf.len() >= Self::FULL
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds `raw` bytes packed as `packed`.
    pub fn push(&mut self, (id, kind): (ChunkId, FrameKind), codec: Codec, raw: usize, packed: &[u8]) {
        if self.buf.capacity() == 0 {
            // All at once: a buffer that doubles its way up would keep twice the pack in memory.
            self.buf.reserve_exact(Self::FULL + MAX_BLOB + TAG_LEN);
        }
        self.buf.extend_from_slice(packed);
        self.buf.extend_from_slice(&[0; TAG_LEN]);
        let stored = (packed.len() + TAG_LEN) as u32;
        self.records.push(FrameRecord { id, kind, codec, stored, raw: raw as u32 });
    }
}

/// A pack that is stored.
#[derive(Debug, Clone)]
pub struct StoredPack {
    pub name: ObjectHash,
    pub size: u64,
    /// Its frames and where each begins.
    pub frames: Vec<(u64, FrameRecord)>,
}

#[derive(Debug)]
struct OpenPack {
    sealer: Arc<Sealer>,
    parts: Vec<Bytes>,
    records: Vec<FrameRecord>,
    end: u64,
    /// Batches reserved and not yet in place.
    pending: usize,
    closed: bool,
}

impl OpenPack {
    fn new(keyring: &Keyring, secrecy: Secrecy) -> Self {
        let (header, sealer) = Sealer::create(ObjectKind::Pack, secrecy, keyring);
        Self {
            sealer: Arc::new(sealer),
            parts: vec![header],
            records: Vec::new(),
            end: HEADER_LEN as u64,
            pending: 0,
            closed: false,
        }
    }

    fn has_room(&self, batch: &Batch, limit: u64) -> bool {
        let records = self.records.len() + batch.records.len();
        let tail = records * RECORD_LEN + TAG_LEN + TRAILER_LEN;
        records <= MAX_FRAMES / 2 && self.end + batch.buf.len() as u64 + tail as u64 <= limit.min(MAX_OBJECT)
    }
}

#[derive(Debug, Default)]
struct State {
    open: Option<u64>,
    packs: std::collections::HashMap<u64, OpenPack>,
    ready: Vec<u64>,
    storing: usize,
    next: u64,
    finished: bool,
    /// Whether anybody waited since the last pack was begun.
    waited: Waited,
    /// Set for good by the first error; the error itself is taken once.
    failed: bool,
    failure: Option<BackupError>,
}

impl State {
    /// Threads that only learn of another's error end as cancelled; the first cause is what the run reports.
    fn set_failure(&mut self, error: BackupError) {
        self.failed = true;
        if self.failure.as_ref().is_none_or(|known| matches!(known, BackupError::Cancelled)) {
            self.failure = Some(error);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Packer {
    state: Mutex<State>,
    changed: Condvar,
    keyring: Keyring,
    limits: PackLimits,
    pressure: Pressure,
    /// Buffers of packs that are stored.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Packer {
    /// Workers compress at the level of `pressure`.
    #[must_use]
    pub fn new(keyring: Keyring, limits: PackLimits, pressure: Pressure) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            keyring,
            limits,
            pressure,
            spare: Mutex::default(),
        }
    }

    /// How hard to compress just now.
    #[must_use]
    pub const fn pressure(&self) -> &Pressure {
        &self.pressure
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Encrypts a batch into a pack, waiting while too many packs are in memory. Empties the batch.
    pub fn add(&self, batch: &mut Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (number, slot, offset, sealer) = self.reserve(batch)?;
        let mut buf = self.take_buf(batch);
        let mut at = 0;
        for record in batch.records.drain(..) {
            let end = at + record.stored as usize;
            sealer.seal_slice(offset + at as u64, &mut buf[at..end]);
            at = end;
        }
        let mut state = self.lock();
        let pack = state.packs.get_mut(&number).expect("a pack with reservations stays");
        pack.parts[slot] = Bytes::from(buf);
        pack.pending -= 1;
        if pack.pending == 0 && pack.closed {
            state.ready.push(number);
            self.changed.notify_all();
        }
        Ok(())
    }

    /// The batch's bytes; it gets a spare buffer for what comes next.
    fn take_buf(&self, batch: &mut Batch) -> Vec<u8> {
        if batch.buf.len() < Batch::FULL / 2 {
            // The last one of a disk: a pack of many small ones must not keep as many large buffers.
            let bytes = batch.buf.as_slice().to_vec();
            batch.buf.clear();
            return bytes;
        }
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        std::mem::replace(&mut batch.buf, spare.unwrap_or_default())
    }

    /// Keeps the buffers of a pack, unless the store still looks at them.
    fn reuse(&self, parts: Vec<Bytes>) {
        let large = parts.into_iter().filter(|part| part.len() >= Batch::FULL / 2);
        let emptied = large.filter_map(|part| part.try_into_mut().ok()).map(|mut part| {
            part.clear();
            Vec::from(part)
        });
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).extend(emptied);
    }

    fn reserve(&self, batch: &Batch) -> Result<(u64, usize, u64, Arc<Sealer>)> {
        let mut state = self.lock();
        loop {
            if state.failed {
                return Err(BackupError::Cancelled);
            }
            if let Some(number) = state.open {
                let pack = state.packs.get_mut(&number).expect("the open pack is in the table");
                if pack.has_room(batch, self.limits.bytes) {
                    let (slot, offset) = (pack.parts.len(), pack.end);
                    pack.parts.push(Bytes::new());
                    pack.records.extend_from_slice(&batch.records);
                    pack.end += batch.buf.len() as u64;
                    pack.pending += 1;
                    return Ok((number, slot, offset, Arc::clone(&pack.sealer)));
                }
                self.close(&mut state);
            } else if state.packs.len() + state.storing < self.limits.in_memory {
                self.pressure.pack_begun(std::mem::take(&mut state.waited));
                let number = state.next;
                state.next += 1;
                state.packs.insert(number, OpenPack::new(&self.keyring, self.limits.secrecy));
                state.open = Some(number);
            } else {
                state.waited = Waited::Yes;
                state = self.wait(state);
            }
        }
    }

    fn close(&self, state: &mut State) {
        let Some(number) = state.open.take() else { return };
        let pack = state.packs.get_mut(&number).expect("the open pack is in the table");
        pack.closed = true;
        if pack.pending == 0 {
            state.ready.push(number);
            self.changed.notify_all();
        }
    }

    /// Closes the open pack, and waits until all packs are stored.
    pub fn flush(&self) -> Result<()> {
        let mut state = self.lock();
        self.close(&mut state);
        loop {
            if state.failed {
                return Err(BackupError::Cancelled);
            }
            if state.packs.is_empty() && state.storing == 0 {
                return Ok(());
            }
            state = self.wait(state);
        }
    }

    /// Ends the storing threads once nothing is left to store.
    pub fn finish(&self) {
        let mut state = self.lock();
        state.finished = true;
        self.changed.notify_all();
    }

    /// Ends everything with `error`.
    pub fn fail(&self, error: BackupError) {
        let mut state = self.lock();
        state.set_failure(error);
        self.changed.notify_all();
    }

    /// The first error, if there was one.
    pub fn take_failure(&self) -> Option<BackupError> {
        self.lock().failure.take()
    }

    /// The body of a storing thread: gives each full pack to `store` until [`Self::finish`] or an error.
    pub fn store_loop(&self, store: &dyn Fn(&StoredPack, &[Bytes]) -> Result<()>) {
        while let Some(pack) = self.next_ready() {
            let (stored, parts) = finish_pack(pack);
            let result = store(&stored, &parts);
            self.reuse(parts);
            let mut state = self.lock();
            state.storing -= 1;
            if let Err(error) = result {
                state.set_failure(error);
            }
            self.changed.notify_all();
        }
    }

    fn next_ready(&self) -> Option<OpenPack> {
        let mut state = self.lock();
        loop {
            if state.failed {
                return None;
            }
            if let Some(number) = state.ready.pop() {
                state.storing += 1;
                return state.packs.remove(&number);
            }
            if state.finished && state.packs.is_empty() {
                return None;
            }
            state = self.wait(state);
        }
    }
}

fn finish_pack(pack: OpenPack) -> (StoredPack, Vec<Bytes>) {
    let mut parts = pack.parts;
    parts.push(pack.sealer.finish(pack.end, &pack.records));
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    for part in &parts {
        hasher.update(part);
        size += part.len() as u64;
    }
    let mut offset = HEADER_LEN as u64;
    let frames = pack.records.into_iter().map(|record| {
        let at = offset;
        offset += u64::from(record.stored);
        (at, record)
    });
    let stored =
        StoredPack { name: ObjectHash(*hasher.finalize().as_bytes()), size, frames: frames.collect() };
    (stored, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The level after eight packs through a slow store, with room for `in_memory` of them.
    fn level_after(in_memory: usize) -> i32 {
        let limits = PackLimits { bytes: 2 << 20, in_memory, secrecy: Secrecy::Sealed };
        let packer = Packer::new(Keyring::for_tests(), limits, Pressure::new(3, 9));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                packer.store_loop(&|_, _| {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    Ok(())
                });
            });
            for _ in 0..8 {
                let mut batch = Batch::default();
                batch.push((ChunkId([1; 32]), FrameKind::Chunk), Codec::Raw, 1 << 20, &vec![0; 1 << 20]);
                packer.add(&mut batch).unwrap();
            }
            packer.flush().unwrap();
            packer.finish();
        });
        packer.pressure().level()
    }

    /// What the number of objects in a TiB hangs on: a pack is closed when the next batch has no room in it, not before.
    #[test]
    fn packs_get_as_large_as_the_format_allows() {
        let packer = Packer::new(Keyring::for_tests(), PackLimits::DATA, Pressure::new(3, 3));
        let sizes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                packer.store_loop(&|pack, _| {
                    sizes.lock().unwrap().push(pack.size);
                    Ok(())
                });
            });
            let piece = vec![0; 1 << 16];
            for _ in 0..100 {
                let mut batch = Batch::default();
                while !batch.is_full() {
                    batch.push((ChunkId([1; 32]), FrameKind::Chunk), Codec::Raw, piece.len(), &piece);
                }
                packer.add(&mut batch).unwrap();
            }
            packer.flush().unwrap();
            packer.finish();
        });
        let sizes = sizes.into_inner().unwrap();
        assert_eq!(sizes.len(), 2);
        let largest = sizes.into_iter().max().unwrap();
        assert!((62 << 20..=MAX_OBJECT).contains(&largest), "{largest}");
    }

    #[test]
    fn a_slow_store_is_compressed_for_harder() {
        assert!(level_after(2) > 5, "{}", level_after(2));
        assert_eq!(level_after(100), 3, "nobody waits where there is room for everything");
    }
}
