//! Front to back: the calling thread reads grains into batches, workers inflate, hash and write them.
//!
//! Both channels are bounded by the number of batches that exist: two per worker and one being filled, so a
//! slow target slows the reading, and memory stays at a few MiB.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use xenith_common_block::{BlockSink, ByteRange};

use super::Lost;
use super::block::{Hashing, store};
use super::engine::{EngineOptions, Outcome, Throttle, Tick, Watermark};
use crate::digest::{DIGEST_BLOCK, DiskDigest};
use crate::error::{ImportError, Result};
use crate::vmdk::Salvage;
use crate::vmdk::grain::Inflater;
use crate::vmdk::stream::{StreamGrain, StreamReader};

/// Compressed bytes per batch: the hand-over costs nothing beside the inflating.
const BATCH: usize = 512 * 1024;
const TICK: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Batch {
    packed: Vec<u8>,
    grains: Vec<(StreamGrain, usize)>,
}

#[derive(Default)]
struct Totals {
    written: u64,
    digest: Option<DiskDigest>,
    lost: Vec<Lost>,
    error: Option<ImportError>,
}

/// Whether a stream's grains are whole blocks of the digest. If not, the digest is taken from the target
/// afterwards; no product writes such streams.
#[must_use]
pub fn can_hash(grain: u64) -> bool {
    grain.is_multiple_of(DIGEST_BLOCK)
}

/// Copies what is left of `stream` to `sink`.
pub fn copy_stream<R: Read>(
    stream: &mut StreamReader<R>,
    sink: &dyn BlockSink,
    options: EngineOptions,
    tick: &mut Tick<'_>,
) -> Result<Outcome> {
    let workers = options.workers.max(1);
    let (full_tx, full_rx) = sync_channel::<Batch>(workers);
    let (empty_tx, empty_rx) = sync_channel::<Batch>(workers * 2 + 1);
    for _ in 0..workers * 2 + 1 {
        // The channel has room for all of them.
        let _ = empty_tx.send(Batch::default());
    }
    let full_rx = Mutex::new(full_rx);
    let totals = Mutex::new(Totals::default());
    let grain = stream.header.grain;
    let name = stream.name().to_owned();
    let throttle = Throttle::new(options.max_rate);
    let read = std::thread::scope(|scope| {
        for _ in 0..workers {
            let empty_tx = empty_tx.clone();
            let (full_rx, totals, name, throttle) = (&full_rx, &totals, name.as_str(), &throttle);
            scope.spawn(move || {
                work(&Unpack { full_rx, empty_tx, sink, options, name, grain, throttle }, totals)
            });
        }
        drop(empty_tx);
        read_batches(stream, (&empty_rx, full_tx), tick)
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    // What a worker met came first; the reader then only saw that the workers had gone.
    if let Some(error) = totals.error {
        return Err(error);
    }
    let mut lost = totals.lost;
    match read {
        Ok(()) => {}
        Err(error) if options.salvage == Salvage::NoteLosses && error.is_loss() => {
            let size = stream.header.capacity;
            let rest = ByteRange::new(size, size);
            lost.push(Lost::of(rest, format!("{error}; grains that would have come later are missing")));
        }
        Err(error) => return Err(error),
    }
    let watermark = Watermark {
        done: stream.header.capacity,
        written: totals.written,
        digest: totals.digest.unwrap_or_default(),
        lost,
    };
    Ok(Outcome { watermark })
}

fn read_batches<R: Read>(
    stream: &mut StreamReader<R>,
    channels: (&Receiver<Batch>, SyncSender<Batch>),
    tick: &mut Tick<'_>,
) -> Result<()> {
    let (empty, full) = channels;
    let mut next_tick = Instant::now() + TICK;
    loop {
        // All workers gone: one of them has noted why.
        let Ok(mut batch) = empty.recv() else { return Err(ImportError::Cancelled) };
        batch.packed.clear();
        batch.grains.clear();
        let mut result = Ok(());
        while batch.packed.len() < BATCH {
            let start = batch.packed.len();
            match stream.next_grain(&mut batch.packed) {
                Ok(Some(grain)) => batch.grains.push((grain, start)),
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let last = batch.packed.len() < BATCH;
        if !batch.grains.is_empty() && full.send(batch).is_err() {
            return Err(ImportError::Cancelled);
        }
        result?;
        if last {
            return Ok(());
        }
        if Instant::now() >= next_tick {
            tick(&Watermark::default(), stream.position())?;
            next_tick = Instant::now() + TICK;
        }
    }
}

struct Unpack<'a> {
    full_rx: &'a Mutex<Receiver<Batch>>,
    empty_tx: SyncSender<Batch>,
    sink: &'a dyn BlockSink,
    options: EngineOptions,
    name: &'a str,
    grain: u64,
    throttle: &'a Throttle,
}

fn work(unpack: &Unpack<'_>, totals: &Mutex<Totals>) {
    let hashing = if can_hash(unpack.grain) { unpack.options.hashing } else { Hashing::Off };
    let mut own = Totals { digest: hashing.start(), ..Totals::default() };
    let mut inflater = Inflater::default();
    let mut buf = vec![0; unpack.grain as usize];
    loop {
        let batch = unpack.full_rx.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { break };
        if let Err(error) = unpack_batch(unpack, &batch, (&mut inflater, &mut buf), &mut own) {
            own.error = Some(error);
            break;
        }
        // The reader may have ended already.
        let _ = unpack.empty_tx.send(batch);
    }
    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
    totals.written += own.written;
    match (&mut totals.digest, own.digest) {
        (Some(digest), Some(more)) => digest.merge(&more),
        (digest, more) => *digest = digest.take().or(more),
    }
    totals.lost.append(&mut own.lost);
    totals.error = totals.error.take().or(own.error);
}

fn unpack_batch(
    unpack: &Unpack<'_>,
    batch: &Batch,
    tools: (&mut Inflater, &mut Vec<u8>),
    own: &mut Totals,
) -> Result<()> {
    let (inflater, buf) = tools;
    for (grain, start) in &batch.grains {
        let out = &mut buf[..grain.len as usize];
        let packed = &batch.packed[*start..*start + grain.size];
        if let Err(error) = inflater.inflate((unpack.name, grain.at), packed, out, unpack.grain) {
            if unpack.options.salvage == Salvage::Refuse {
                return Err(error);
            }
            let range = ByteRange::with_len(grain.disk_offset, grain.len);
            own.lost.push(Lost::of(range, error.to_string()));
            continue;
        }
        unpack.throttle.spend(grain.len);
        let digest = own.digest.as_mut();
        own.written += store(unpack.sink, grain.disk_offset, out, digest)?;
    }
    Ok(())
}
