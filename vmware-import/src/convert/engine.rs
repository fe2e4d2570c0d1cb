//! The copy engines: by tables with any number of workers, or front to back from a stream.
//!
//! By tables: one worker at a time resolves the next stretch of the chain (cheap), then reads, hashes and
//! writes it on its own. Stretches end on 64 KiB boundaries and at 2 MiB of data, so that memory is bounded
//! and the watermark of the journal advances steadily. Stretches finish in any order; the [`Watermark`] is
//! what lies before the first unfinished one.
//!
//! From a stream: the caller's thread reads grains into batches, workers inflate, hash and write them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xenith_common_block::{BlockSink, ByteRange};

use super::Lost;
use super::block::{Hashing, store};
use crate::digest::{DIGEST_BLOCK, DiskDigest};
use crate::error::{ImportError, Result};
use crate::vmdk::Salvage;
use crate::vmdk::image::{GrainReader, Image};
use crate::vmdk::runs::{Run, Runs};

/// Read and written at once: small enough for the second-level cache together with the window of grains.
const STEP: u64 = 256 * 1024;
const STRETCH_RUNS: usize = 8192;
/// A stretch is what a kill may repeat beyond the journal: half a second of a slow network.
const STRETCH_DATA: u64 = 2 * 1024 * 1024;

/// What is done for good, as far as the journal knows.
#[derive(Debug, Clone, Default)]
pub struct Watermark {
    /// Bytes of the disk before this are on the target.
    pub done: u64,
    /// Bytes that were stored (not zeros).
    pub written: u64,
    pub digest: DiskDigest,
    /// What of it could not be read; only with [`Salvage::NoteLosses`]. Part of the mark, so that a run that goes on
    /// after a kill does not call a disk whole that has holes.
    pub lost: Vec<Lost>,
}

/// What an engine is told.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    pub workers: usize,
    pub hashing: Hashing,
    pub salvage: Salvage,
    /// Bytes of data per second, over all workers; `None` for as fast as it goes.
    pub max_rate: Option<u64>,
}

/// Keeps a copy below a rate: whoever is ahead of the clock sleeps.
pub(crate) struct Throttle {
    started: Instant,
    bytes: AtomicU64,
    max_rate: Option<u64>,
}

impl Throttle {
    pub(crate) fn new(max_rate: Option<u64>) -> Self {
        Self {
            started: Instant::now(),
            bytes: AtomicU64::new(0),
            max_rate: max_rate.filter(|&rate| rate > 0),
        }
    }

    /// Accounts for `bytes` and waits until they are due.
    pub(crate) fn spend(&self, bytes: u64) {
        let Some(rate) = self.max_rate else { return };
        let spent = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let due = Duration::from_secs_f64(spent as f64 / rate as f64);
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
    }
}

/// What an engine has done.
#[derive(Debug, Default)]
pub struct Outcome {
    pub watermark: Watermark,
}

/// Called about every tenth of a second from the thread that runs the engine.
pub type Tick<'a> = dyn FnMut(&Watermark, u64) -> Result<()> + 'a;

struct Stretch {
    range: ByteRange,
    runs: Vec<Run>,
}

#[derive(Default)]
struct Finished {
    watermark: Watermark,
    waiting: BTreeMap<u64, Watermark>,
    error: Option<ImportError>,
    active: usize,
}

impl Finished {
    fn finish(&mut self, start: u64, stretch: Watermark) {
        self.waiting.insert(start, stretch);
        while let Some(next) = self.waiting.remove(&self.watermark.done) {
            self.watermark.done = next.done;
            self.watermark.written += next.written;
            self.watermark.digest.merge(&next.digest);
            self.watermark.lost.extend(next.lost);
        }
    }
}

struct Shared<'a> {
    image: &'a Image,
    sink: &'a dyn BlockSink,
    options: EngineOptions,
    cursor: Mutex<u64>,
    finished: Mutex<Finished>,
    changed: Condvar,
    stop: AtomicBool,
    position: AtomicU64,
    throttle: Throttle,
}

/// Copies `image` to `sink` from `from` on, whose digest and count are in it. `tick` gets the watermark and
/// the bytes done in all; an error from it ends the copy.
pub fn copy_image(
    image: &Image,
    sink: &dyn BlockSink,
    from: Watermark,
    options: EngineOptions,
    tick: &mut Tick<'_>,
) -> Result<Outcome> {
    let start = from.done;
    let shared = Shared {
        image,
        sink,
        options,
        cursor: Mutex::new(start),
        finished: Mutex::new(Finished { watermark: from, active: options.workers, ..Finished::default() }),
        changed: Condvar::new(),
        stop: AtomicBool::new(false),
        position: AtomicU64::new(start),
        throttle: Throttle::new(options.max_rate),
    };
    std::thread::scope(|scope| {
        for _ in 0..options.workers {
            scope.spawn(|| shared.work());
        }
        shared.watch(tick);
    });
    let finished = shared.finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    match finished.error {
        Some(error) => Err(error),
        None => Ok(Outcome { watermark: finished.watermark }),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    /// Ticks until all workers have gone.
    fn watch(&self, tick: &mut Tick<'_>) {
        let mut next = Instant::now() + TICK;
        let mut finished = lock(&self.finished);
        while finished.active > 0 {
            let wait = next.saturating_duration_since(Instant::now());
            let (guard, _) =
                self.changed.wait_timeout(finished, wait).unwrap_or_else(PoisonError::into_inner);
            finished = guard;
            if Instant::now() < next {
                continue;
            }
            let watermark = finished.watermark.clone();
            drop(finished);
            let result = tick(&watermark, self.position.load(Ordering::Relaxed));
            finished = lock(&self.finished);
            if let Err(error) = result {
                finished.error.get_or_insert(error);
                self.stop.store(true, Ordering::Relaxed);
            }
            next = Instant::now() + TICK;
        }
    }

    fn work(&self) {
        let mut worker = Worker { shared: self, grains: GrainReader::default(), buf: vec![0; STEP as usize] };
        let result = loop {
            if self.stop.load(Ordering::Relaxed) {
                break Ok(());
            }
            match self.next_stretch() {
                Ok(Some(stretch)) => {
                    if let Err(error) = worker.copy(&stretch) {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let mut finished = lock(&self.finished);
        if let Err(error) = result {
            finished.error.get_or_insert(error);
            self.stop.store(true, Ordering::Relaxed);
        }
        finished.active -= 1;
        self.changed.notify_all();
    }

    fn next_stretch(&self) -> Result<Option<Stretch>> {
        let mut cursor = lock(&self.cursor);
        let (start, size) = (*cursor, self.image.virtual_size());
        if start >= size {
            return Ok(None);
        }
        let mut runs = Runs::with_budget(STRETCH_RUNS, STRETCH_DATA);
        let reached = self.image.resolve(ByteRange::new(start, size), &mut runs)?;
        // A block of the digest must not be split over two stretches.
        let end = if reached < size { reached - reached % DIGEST_BLOCK } else { size };
        let end = if end > start { end } else { (start + DIGEST_BLOCK).min(size) };
        let range = ByteRange::new(start, end);
        let mut list: Vec<Run> = runs.into_vec().into_iter().filter_map(|run| run.clip(range)).collect();
        if reached < end {
            // More than 8192 runs in 64 KiB cannot be: 128 sectors. Resolve the block on its own.
            let mut block = Runs::with_budget(usize::MAX, u64::MAX);
            self.image.resolve(range, &mut block)?;
            list = block.into_vec();
        }
        *cursor = end;
        Ok(Some(Stretch { range, runs: list }))
    }
}

const TICK: Duration = Duration::from_millis(100);

struct Worker<'a> {
    shared: &'a Shared<'a>,
    grains: GrainReader,
    buf: Vec<u8>,
}

impl Worker<'_> {
    fn copy(&mut self, stretch: &Stretch) -> Result<()> {
        let mut done = Watermark { done: stretch.range.end, ..Watermark::default() };
        let mut digest = self.shared.options.hashing.start();
        let mut first = 0;
        let mut at = stretch.range.start;
        while at < stretch.range.end {
            // Straight to the next data: holes cost nothing.
            while first < stretch.runs.len()
                && (stretch.runs[first].range.end <= at || !stretch.runs[first].is_data())
            {
                first += 1;
            }
            let Some(run) = stretch.runs.get(first) else { break };
            let data = run.range.start.max(at);
            at = data - data % DIGEST_BLOCK;
            let step = ByteRange::new(at, (at + STEP).min(stretch.range.end));
            self.fill(stretch, first, step, &mut done.lost)?;
            let bytes = &self.buf[..step.len() as usize];
            done.written += store(self.shared.sink, step.start, bytes, digest.as_mut())?;
            self.shared.throttle.spend(step.len());
            at = step.end;
            self.shared.position.fetch_max(at, Ordering::Relaxed);
            if self.shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        self.shared.position.fetch_max(stretch.range.end, Ordering::Relaxed);
        done.digest = digest.unwrap_or_default();
        lock(&self.shared.finished).finish(stretch.range.start, done);
        Ok(())
    }

    /// Reads the runs of `step` into the buffer, holes as zeros. What could not be read goes to `lost`.
    fn fill(&mut self, stretch: &Stretch, first: usize, step: ByteRange, lost: &mut Vec<Lost>) -> Result<()> {
        let mut at = step.start;
        for run in stretch.runs[first..].iter().take_while(|run| run.range.start < step.end) {
            let Some(part) = run.clip(step).filter(Run::is_data) else { continue };
            let (from, to) =
                ((part.range.start - step.start) as usize, (part.range.end - step.start) as usize);
            self.buf[(at - step.start) as usize..from].fill(0);
            let slot = &mut self.buf[from..to];
            if let Err(error) = self.shared.image.read_run(&part, slot, &mut self.grains) {
                if self.shared.options.salvage == Salvage::Refuse || !error.is_loss() {
                    return Err(error);
                }
                self.buf[from..to].fill(0);
                lost.push(Lost::of(part.range, error.to_string()));
            }
            at = part.range.end;
        }
        self.buf[(at - step.start) as usize..(step.end - step.start) as usize].fill(0);
        Ok(())
    }
}
