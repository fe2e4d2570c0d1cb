//! From a source to an image file: the whole of `xenith-import convert` and `verify`, without the command line.
//!
//! What always holds: the target's name appears when the image is whole and not before; an existing file of
//! that name is replaced by the rename, or left as it was. A killed conversion leaves `NAME.xenith-part` and
//! `NAME.xenith-journal`; the same call goes on from there, at most [`CHECKPOINT`] of work repeated. A part file has one
//! writer, who holds a lock on it; a journal is removed before the part file that it vouches for. A block device is written
//! in place, and its journal lies elsewhere ([`device`]); it is removed before the device counts as done.

pub mod block;
pub mod device;
pub mod engine;
pub mod journal;
pub mod stream;
pub mod verify;

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xenith_common_block::ByteRange;

use self::block::Hashing;
use self::device::Device;
use self::engine::{EngineOptions, Outcome, Watermark, copy_image};
use self::journal::{Durability, Journal};
use crate::error::{ImportError, Result};
use crate::target::{self, Target, TargetFormat, journal_path, part_path};
use crate::vmdk::Salvage;
use crate::vmdk::image::Image;
use crate::vmdk::stream::StreamReader;

/// Between two states of the journal; with the time a checkpoint takes well below the promised 5 s.
pub const CHECKPOINT: Duration = Duration::from_secs(2);

/// What to make, and how.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    pub format: TargetFormat,
    pub workers: usize,
    pub hashing: Hashing,
    pub salvage: Salvage,
    pub durability: Durability,
    pub check: Check,
    /// Bytes of data per second.
    pub max_rate: Option<u64>,
}

impl ConvertOptions {
    #[must_use]
    pub fn new(format: TargetFormat) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        Self {
            format,
            workers,
            hashing: Hashing::default(),
            salvage: Salvage::Refuse,
            durability: Durability::Kill,
            check: Check::Skip,
            max_rate: None,
        }
    }

    fn engine(&self) -> EngineOptions {
        EngineOptions {
            workers: self.workers.max(1),
            hashing: self.hashing,
            salvage: self.salvage,
            max_rate: self.max_rate,
        }
    }
}

/// Whether the target is read again after it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    #[default]
    Skip,
    ReadBack,
}

/// How far a conversion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Bytes of the disk (or of the stream) that are behind us.
    pub done: u64,
    /// Bytes of the disk; 0 for a stream, whose length is not known.
    pub total: u64,
}

/// A range that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub offset: u64,
    pub length: u64,
    pub reason: String,
}

impl Lost {
    pub(crate) fn of(range: ByteRange, reason: String) -> Self {
        Self { offset: range.start, length: range.len(), reason }
    }
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub source: String,
    pub target: String,
    pub format: TargetFormat,
    pub virtual_size: u64,
    /// Bytes stored, zeros not counted.
    pub written: u64,
    /// The disk's digest (see `digest`); `None` when hashing was off.
    pub digest: Option<String>,
    pub verified: bool,
    /// Where an earlier run had got to.
    pub resumed_from: u64,
    pub seconds: f64,
    pub lost: Vec<Lost>,
}

/// Converts a disk with random access.
pub fn convert_image(
    image: &Image,
    path: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    run(image, (path, Device::at(path)), options, progress)
}

fn run(
    image: &Image,
    (path, device): (&Path, Option<Device>),
    options: &ConvertOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    let started = Instant::now();
    if options.salvage == Salvage::Refuse {
        image.audit()?;
    }
    let total = image.virtual_size();
    let source = image.extents.iter().map(|extent| extent.bytes().identity()).collect();
    let (journal, place) = match &device {
        Some(device) => {
            let kept = device.kept.clone();
            let journal =
                kept.map(|kept| Journal::new(kept.journal, source, total, options).of_device(kept.identity));
            let earlier = journal.as_ref().map(|journal| (journal, image));
            let place = Output::on_device((path, device), options.format, total, earlier)?;
            (journal, place)
        }
        None => {
            let journal = Journal::new(journal_path(path), source, total, options);
            let place = Output::prepare(path, options.format, total, Some(&journal))?;
            (Some(journal), place)
        }
    };
    let resumed_from = place.from.done;
    let mut last = Instant::now();
    let outcome =
        copy_image(image, &*place.sink, place.from.clone(), options.engine(), &mut |mark, done| {
            progress(Progress { done, total });
            if let Some(journal) = &journal
                && last.elapsed() >= CHECKPOINT
                && mark.done > resumed_from
            {
                place.checkpoint(journal, mark, options.durability)?;
                last = Instant::now();
            }
            Ok(())
        })?;
    progress(Progress { done: total, total });
    // A device has no rename that would make the journal void: one that stayed beside a disk which a VM has used since would
    // be believed.
    if let Some(journal) = journal.as_ref().filter(|_| place.is_device) {
        journal.remove();
    }
    place.finish(options.durability)?;
    if let Some(journal) = &journal {
        journal.remove();
    }
    let source = image.layers.first().map_or_else(String::new, |layer| layer.name.clone());
    report((source, path), options, total, (outcome, resumed_from), started)
}

/// Converts a disk that comes once, front to back. Not continued after a kill: the stream is gone.
pub fn convert_stream<R: Read>(
    stream: &mut StreamReader<R>,
    path: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    let started = Instant::now();
    let size = stream.header.capacity;
    let place = match Device::at(path) {
        Some(device) => Output::on_device((path, &device), options.format, size, None)?,
        None => Output::prepare(path, options.format, size, None)?,
    };
    let copied = stream::copy_stream(stream, &*place.sink, options.engine(), &mut |_, done| {
        progress(Progress { done, total: 0 });
        Ok(())
    });
    let mut outcome = match copied {
        Ok(outcome) => outcome,
        Err(error) => {
            place.discard();
            return Err(error);
        }
    };
    place.finish(options.durability)?;
    if options.hashing != Hashing::Off && !stream::can_hash(stream.header.grain) {
        outcome.watermark.digest = verify::digest_of_file(path, size, options)?;
    }
    report((stream.name().to_owned(), path), options, size, (outcome, 0), started)
}

fn report(
    names: (String, &Path),
    options: &ConvertOptions,
    size: u64,
    outcome: (Outcome, u64),
    started: Instant,
) -> Result<Report> {
    let ((source, path), (outcome, resumed_from)) = (names, outcome);
    let target = path.display().to_string();
    let verified = options.check == Check::ReadBack;
    if verified {
        let found = verify::digest_of_file(path, size, options)?;
        if options.hashing != Hashing::Off && found != outcome.watermark.digest {
            let detail = "what was read back is not what was written".to_owned();
            return Err(ImportError::Differs { origin: source, target, detail });
        }
    }
    let Watermark { written, digest, mut lost, .. } = outcome.watermark;
    lost.sort_by_key(|lost| lost.offset);
    Ok(Report {
        source,
        target,
        format: options.format,
        virtual_size: size,
        written,
        digest: (options.hashing != Hashing::Off).then(|| digest.finish(size)),
        verified,
        resumed_from,
        seconds: started.elapsed().as_secs_f64(),
        lost,
    })
}

/// The target on its way to its name.
struct Output {
    sink: Arc<dyn Target>,
    part: PathBuf,
    path: PathBuf,
    is_device: bool,
    from: Watermark,
    /// Of the part file or the device, as long as it is written.
    _lock: Option<File>,
}

impl Output {
    fn prepare(path: &Path, format: TargetFormat, size: u64, journal: Option<&Journal>) -> Result<Self> {
        if path.is_dir() {
            let detail = "is a folder; name a file".to_owned();
            return Err(ImportError::Target { target: path.display().to_string(), detail });
        }
        let part = part_path(path);
        let earlier = lock(&part)?;
        if earlier.is_some()
            && let Some(resume) = journal.and_then(Journal::load)
            && let Ok(sink) = target::reopen(&part, format, size, resume.target_state)
            && sink.size() == size
        {
            return Ok(Self::new(sink, path, (part, false), (resume.watermark, earlier)));
        }
        // First what vouches for the part file: killed between the two, or before its own first checkpoint, this run must
        // not leave a journal of another one beside an empty file.
        remove(&journal_path(path))?;
        remove(&part)?;
        let sink = target::create(&part, format, size)?;
        let held = lock(&part)?;
        Ok(Self::new(sink, path, (part, false), (Watermark::default(), held)))
    }

    /// `earlier` is the journal of a run that may have been killed, and the disk that it copied.
    fn on_device(
        (path, device): (&Path, &Device),
        format: TargetFormat,
        size: u64,
        earlier: Option<(&Journal, &Image)>,
    ) -> Result<Self> {
        if format != TargetFormat::Raw {
            let detail = "is a block device, which takes raw only".to_owned();
            return Err(ImportError::Target { target: path.display().to_string(), detail });
        }
        let held = Some(device::hold(path)?);
        let part = || (path.to_owned(), true);
        if let Some((journal, image)) = earlier
            && let Some(resume) = journal.load()
            && device::still_has(path, image, resume.watermark.done)
        {
            let sink = target::reopen_device(path, size)?;
            return Ok(Self::new(sink, path, part(), (resume.watermark, held)));
        }
        // Before anything is written: killed from here on, there must be none that vouches for what was there.
        if let Some(kept) = &device.kept {
            remove(&kept.journal)?;
        }
        let sink = target::device(path, size)?;
        Ok(Self::new(sink, path, part(), (Watermark::default(), held)))
    }

    fn new(
        sink: Arc<dyn Target>,
        path: &Path,
        part: (PathBuf, bool),
        (from, lock): (Watermark, Option<File>),
    ) -> Self {
        Self { sink, part: part.0, path: path.to_owned(), is_device: part.1, from, _lock: lock }
    }

    fn checkpoint(&self, journal: &Journal, mark: &Watermark, durability: Durability) -> Result<()> {
        let state = self.sink.checkpoint()?;
        if durability == Durability::PowerCut {
            self.sink.flush()?;
        }
        journal.save(mark, state)
    }

    /// The commit point is the rename.
    fn finish(&self, durability: Durability) -> Result<()> {
        self.sink.finish()?;
        if durability == Durability::PowerCut || self.is_device {
            self.sink.flush()?;
        }
        if self.is_device {
            return Ok(());
        }
        fs::rename(&self.part, &self.path)
            .map_err(|source| ImportError::io("rename to", self.path.display().to_string(), source))
    }

    /// A part file that nothing can continue is of no use.
    fn discard(&self) {
        if !self.is_device {
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ImportError::io("replace", path.display().to_string(), error))
        }
        _ => Ok(()),
    }
}

/// Takes the part file for this run alone; `None` where there is none. Two runs of one target would each give the other's
/// half of an image the target's name. The kernel lets go of it when the process ends, however it does.
fn lock(part: &Path) -> Result<Option<File>> {
    let failed = |error| ImportError::io("open", part.display().to_string(), error);
    let file = match fs::OpenOptions::new().write(true).open(part) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let taken = || {
        let detail =
            "is being written by another conversion; wait for its end, or name another target".to_owned();
        Err(ImportError::Target { target: part.display().to_string(), detail })
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return taken(),
        // A filesystem without locks: then it is as it was before there were any.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let ours = file.metadata().map_err(failed)?;
    // Who had it may just have given it its name, or begun again.
    match fs::metadata(part) {
        Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(Some(file)),
        Ok(_) => taken(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests;
