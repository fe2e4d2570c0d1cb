//! A disk as its reader sees it: layers (a snapshot chain), each a row of extents, resolved to runs.
//!
//! What always holds: `layers[0]` is the disk asked for, each next one the parent of the one before, checked
//! by content id. [`Image::resolve`] asks a parent only about what its child does not know, so its cost
//! follows the runs of the whole chain. Nothing is written to any file of it.

use std::sync::Mutex;

use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent as DiskExtent, ExtentKind};

use super::cowd::CowdExtent;
use super::descriptor::{ContentId, Descriptor};
use super::flat::FlatExtent;
use super::grain::{GrainMarker, Inflater, MARKER, max_packed};
use super::runs::{Place, Run, Runs};
use super::sesparse::SeSparseExtent;
use super::sparse::SparseExtent;
use crate::bytes::ByteSource;
use crate::error::{ImportError, Result};
use crate::target::{qcow2::Qcow2Extent, vhd::VhdExtent};

/// How one file's bytes are found.
pub enum Reader {
    Flat(FlatExtent),
    Sparse(SparseExtent),
    Cowd(CowdExtent),
    SeSparse(SeSparseExtent),
    Qcow2(Qcow2Extent),
    Vhd(VhdExtent),
}

impl Reader {
    fn runs(&self, range: ByteRange, shift: u64, out: &mut Runs) -> Result<u64> {
        match self {
            Self::Flat(extent) => extent.runs(range, shift, out),
            Self::Sparse(extent) => extent.runs(range, shift, out),
            Self::Cowd(extent) => extent.runs(range, shift, out),
            Self::SeSparse(extent) => extent.runs(range, shift, out),
            Self::Qcow2(extent) => extent.runs(range, shift, out),
            Self::Vhd(extent) => extent.runs(range, shift, out),
        }
    }

    pub fn bytes(&self) -> &dyn ByteSource {
        match self {
            Self::Flat(extent) => &*extent.bytes,
            Self::Sparse(extent) => &*extent.tables.bytes,
            Self::Cowd(extent) => &*extent.tables.bytes,
            Self::SeSparse(extent) => &*extent.tables.bytes,
            Self::Qcow2(extent) => &*extent.tables.bytes,
            Self::Vhd(extent) => &*extent.tables.bytes,
        }
    }

    /// The unit its tables count in, in bytes.
    fn grain(&self) -> u64 {
        match self {
            Self::Flat(_) => 512,
            Self::Sparse(extent) => extent.header.grain,
            Self::Cowd(extent) => extent.header.grain,
            Self::SeSparse(_) => 4096,
            Self::Qcow2(extent) => extent.cluster(),
            Self::Vhd(_) => 512,
        }
    }

    /// The word `info` uses for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Flat(_) => "flat",
            Self::Sparse(extent) if extent.header.compressed => "stream",
            Self::Sparse(_) => "sparse",
            Self::Cowd(_) => "vmfssparse",
            Self::SeSparse(_) => "sesparse",
            Self::Qcow2(_) => "qcow2",
            Self::Vhd(_) => "vhd",
        }
    }
}

/// A stretch of a layer: an extent, or zeros without any file.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub range: ByteRange,
    pub extent: Option<u32>,
}

/// One disk of a chain.
pub struct Layer {
    pub name: String,
    pub parts: Vec<Part>,
    pub descriptor: Option<Descriptor>,
}

impl Layer {
    #[must_use]
    pub fn size(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.range.end)
    }

    #[must_use]
    pub fn cid(&self) -> Option<ContentId> {
        self.descriptor.as_ref().and_then(|d| d.cid)
    }
}

/// An open disk.
pub struct Image {
    pub layers: Vec<Layer>,
    pub extents: Vec<Reader>,
    pub format: &'static str,
    pub warnings: Vec<String>,
    spare: Mutex<Vec<GrainReader>>,
}

/// What the tables say in sum, without reading data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Bytes of the disk that have to be read.
    pub data: u64,
    pub runs: u64,
}

impl Image {
    #[must_use]
    pub fn new(layers: Vec<Layer>, extents: Vec<Reader>, format: &'static str) -> Self {
        Self { layers, extents, format, warnings: Vec::new(), spare: Mutex::new(Vec::new()) }
    }

    /// Takes `bytes` as a plain disk, whatever they begin with.
    pub fn plain(bytes: std::sync::Arc<dyn ByteSource>) -> Result<Self> {
        let len = bytes.len();
        Self::beginning(bytes, len)
    }

    /// The same of the first `len` bytes alone: a disk on a device that is larger.
    pub fn beginning(bytes: std::sync::Arc<dyn ByteSource>, len: u64) -> Result<Self> {
        let name = bytes.name().to_owned();
        if len == 0 || !len.is_multiple_of(512) {
            let detail = format!("is {len} bytes, not a whole number of sectors");
            return Err(ImportError::damaged(&name, 0, "size of a plain disk", detail));
        }
        let flat = Reader::Flat(FlatExtent::open(bytes, 0, len, 0)?);
        let parts = vec![Part { range: ByteRange::new(0, len), extent: Some(0) }];
        Ok(Self::new(vec![Layer { name, parts, descriptor: None }], vec![flat], "raw"))
    }

    /// In bytes.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.layers.first().map_or(0, Layer::size)
    }

    /// Appends the runs of `range` to `out`, the chain resolved; returns where it stopped, which is
    /// `range.end` unless the budget was used up.
    pub fn resolve(&self, range: ByteRange, out: &mut Runs) -> Result<u64> {
        self.resolve_layer(0, range, out)
    }

    fn resolve_layer(&self, depth: usize, range: ByteRange, out: &mut Runs) -> Result<u64> {
        let Some(layer) = self.layers.get(depth) else {
            out.push(range, Place::Hole);
            return Ok(range.end);
        };
        let last = depth + 1 == self.layers.len();
        let mut at = range.start;
        let first = layer.parts.partition_point(|part| part.range.end <= at);
        for part in &layer.parts[first..] {
            if at >= range.end || out.is_full() {
                return Ok(at);
            }
            let window = ByteRange::new(at, range.end.min(part.range.end));
            let Some(extent) = part.extent else {
                out.push(window, Place::Zero);
                at = window.end;
                continue;
            };
            let start = part.range.start;
            let inner = ByteRange::new(window.start - start, window.end - start);
            let reader = &self.extents[extent as usize];
            let stop = if last {
                reader.runs(inner, start, out)? + start
            } else {
                self.resolve_over_parent(depth, (reader, start), inner, out)?
            };
            at = stop;
            if stop < window.end {
                return Ok(at);
            }
        }
        if at < range.end {
            // A parent that is smaller than its child has nothing to say about the rest.
            out.push(ByteRange::new(at, range.end), Place::Hole);
            at = range.end;
        }
        Ok(at)
    }

    fn resolve_over_parent(
        &self,
        depth: usize,
        part: (&Reader, u64),
        inner: ByteRange,
        out: &mut Runs,
    ) -> Result<u64> {
        let (reader, start) = part;
        let mut own = Runs::with_budget(1024, out.data_left());
        let stop = reader.runs(inner, start, &mut own)? + start;
        for run in own.as_slice() {
            if run.place != Place::Absent {
                out.push(run.range, run.place);
                continue;
            }
            let reached = self.resolve_layer(depth + 1, run.range, out)?;
            if reached < run.range.end {
                return Ok(reached);
            }
        }
        Ok(stop)
    }

    /// Walks every table once and checks what it points to, before anybody acts on it: entries outside the
    /// file, and files that would give more bytes than they have (one grain used many times).
    pub fn audit(&self) -> Result<Audit> {
        for index in 0..self.extents.len() {
            self.audit_extent(index)?;
        }
        self.measure()
    }

    /// The sums for the resolved disk.
    pub fn measure(&self) -> Result<Audit> {
        let mut audit = Audit::default();
        let size = self.virtual_size();
        let mut at = 0;
        while at < size {
            let mut runs = Runs::with_budget(4096, u64::MAX);
            let end = self.resolve(ByteRange::new(at, size), &mut runs)?;
            for run in runs.as_slice().iter().filter(|run| run.is_data()) {
                audit.data += run.range.len();
                audit.runs += 1;
            }
            at = end;
        }
        Ok(audit)
    }

    fn audit_extent(&self, index: usize) -> Result<()> {
        let reader = &self.extents[index];
        if matches!(reader, Reader::Flat(_)) {
            return Ok(());
        }
        let parts = self.layers.iter().flat_map(|layer| &layer.parts);
        let Some(part) = parts.into_iter().find(|part| part.extent == Some(index as u32)) else {
            return Ok(());
        };
        let bytes = reader.bytes();
        let (mut at, mut raw, mut packed) = (0, 0u64, 0u64);
        let mut once = Once::new(bytes.len(), reader.grain());
        while at < part.range.len() {
            let mut runs = Runs::with_budget(4096, u64::MAX);
            let end = reader.runs(ByteRange::new(at, part.range.len()), 0, &mut runs)?;
            for run in runs.as_slice() {
                match run.place {
                    Place::Raw { at, .. } => {
                        raw += run.range.len();
                        once.mark(bytes, at, run.range)?;
                    }
                    Place::Packed { .. } => packed += MARKER as u64,
                    Place::Lost { at, needed, .. } => return Err(lost_error(bytes, at, needed)),
                    Place::Zero | Place::Hole | Place::Absent => {}
                }
            }
            // A grain may be stored in full where the disk ends inside it: one grain of slack.
            if raw > bytes.len() + (1 << 20) || packed > bytes.len() {
                let detail = "name the same bytes more than once: more data than the file has";
                return Err(ImportError::damaged(bytes.name(), 0, "grain tables", detail));
            }
            at = end;
        }
        Ok(())
    }

    /// Reads one data run into `buf`, which has its length.
    pub fn read_run(&self, run: &Run, buf: &mut [u8], grains: &mut GrainReader) -> Result<()> {
        match run.place {
            Place::Raw { extent, at } => self.extents[extent as usize].bytes().read_at("data", at, buf),
            Place::Packed { extent, at, .. } => match &self.extents[extent as usize] {
                Reader::Sparse(sparse) => grains.read(sparse, run.place, buf),
                other => {
                    Err(ImportError::damaged(other.bytes().name(), at, "grain", "is packed in a plain file"))
                }
            },
            Place::Lost { extent, at, needed } => {
                Err(lost_error(self.extents[extent as usize].bytes(), at, needed))
            }
            Place::Zero | Place::Hole | Place::Absent => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    fn read_range(&self, range: ByteRange, buf: &mut [u8]) -> Result<()> {
        let mut grains = self.spare.lock().ok().and_then(|mut s| s.pop()).unwrap_or_default();
        let mut at = range.start;
        while at < range.end {
            let mut runs = Runs::with_budget(1024, u64::MAX);
            let end = self.resolve(ByteRange::new(at, range.end), &mut runs)?;
            for run in runs.as_slice() {
                let from = (run.range.start - range.start) as usize;
                let slot = &mut buf[from..from + run.range.len() as usize];
                self.read_run(run, slot, &mut grains)?;
            }
            at = end;
        }
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(grains);
        }
        Ok(())
    }
}

fn lost_error(bytes: &dyn ByteSource, at: u64, needed: u64) -> ImportError {
    if needed > bytes.len() && needed < bytes.len().saturating_mul(4) {
        return ImportError::truncated(bytes.name(), "a table entry", needed, bytes.len());
    }
    let detail = format!("points outside the file of {} bytes or into its header", bytes.len());
    ImportError::damaged(bytes.name(), at, "table entry", detail)
}

/// Which grains of a file were met, where a bitmap of 8 MiB is enough to tell; above that only the sum is
/// checked.
struct Once {
    bits: Vec<u64>,
    grain: u64,
}

impl Once {
    fn new(len: u64, grain: u64) -> Self {
        let bits = len / grain + 1;
        let words = if bits <= 64 << 20 { bits.div_ceil(64) } else { 0 };
        Self { bits: vec![0; words as usize], grain }
    }

    /// Marks the grains of a run that starts at `at` of the file.
    fn mark(&mut self, bytes: &dyn ByteSource, at: u64, range: ByteRange) -> Result<()> {
        // Only whole grains are marked: a disk that ends inside one may share nothing.
        for index in at / self.grain..(at + range.len()) / self.grain {
            let Some(word) = self.bits.get_mut((index / 64) as usize) else { return Ok(()) };
            if *word & (1 << (index % 64)) != 0 {
                let detail = format!("give byte {} of the file to the disk twice", index * self.grain);
                return Err(ImportError::damaged(bytes.name(), at, "grain tables", detail));
            }
            *word |= 1 << (index % 64);
        }
        Ok(())
    }
}

impl BlockSource for Image {
    fn size(&self) -> u64 {
        self.virtual_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.virtual_size())?;
        self.read_range(ByteRange::with_len(offset, buf.len() as u64), buf).map_err(BlockError::from)
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<DiskExtent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.virtual_size())?;
        let mut extents = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let mut runs = Runs::with_budget(4096, u64::MAX);
            let end = self.resolve(ByteRange::new(at, range.end), &mut runs)?;
            for run in runs.as_slice() {
                let kind = match run.place {
                    Place::Raw { .. } | Place::Packed { .. } | Place::Lost { .. } => ExtentKind::Data,
                    Place::Zero => ExtentKind::Zero,
                    Place::Hole | Place::Absent => ExtentKind::Unallocated,
                };
                DiskExtent::push_merged(&mut extents, run.range, kind);
            }
            at = end;
        }
        Ok(extents)
    }
}

/// Reads compressed grains; keeps a window of the file, since grains of neighbours lie together.
#[derive(Default)]
pub struct GrainReader {
    inflater: Inflater,
    window: Vec<u8>,
    window_at: u64,
    window_of: Option<u32>,
    grain: Vec<u8>,
    grain_of: Option<(u32, u64)>,
}

/// Enough that the reads cost nothing beside the inflating, small enough to stay in the second-level cache.
const WINDOW: u64 = 256 * 1024;

impl GrainReader {
    fn read(&mut self, sparse: &SparseExtent, place: Place, buf: &mut [u8]) -> Result<()> {
        let Place::Packed { extent, at, grain: start, skip } = place else { return Ok(()) };
        let (capacity, grain) = (sparse.header.capacity, sparse.header.grain);
        let bytes = &*sparse.tables.bytes;
        let full = grain.min(capacity - start);
        let from = skip as usize;
        if self.grain_of == Some((extent, at)) && from + buf.len() <= self.grain.len() {
            buf.copy_from_slice(&self.grain[from..from + buf.len()]);
            return Ok(());
        }
        let head = self.fill(bytes, extent, at, MARKER)?;
        let marker = GrainMarker::parse(bytes.name(), at, &self.window[head..], (capacity, grain))?;
        if marker.disk_offset != start {
            let detail = format!("is of byte {}, its table entry of byte {start}", marker.disk_offset);
            return Err(ImportError::damaged(bytes.name(), at, "grain LBA", detail));
        }
        let data = self.fill(bytes, extent, at, MARKER + marker.size)? + MARKER;
        let packed = &self.window[data..data + marker.size];
        if buf.len() as u64 == full {
            return self.inflater.inflate((bytes.name(), at), packed, buf, grain);
        }
        self.grain.resize(full as usize, 0);
        self.grain_of = None;
        self.inflater.inflate((bytes.name(), at), packed, &mut self.grain, grain)?;
        self.grain_of = Some((extent, at));
        buf.copy_from_slice(&self.grain[from..from + buf.len()]);
        Ok(())
    }

    /// Makes `len` bytes from `at` part of the window; returns where they start in it. `len` was checked
    /// against [`max_packed`].
    fn fill(&mut self, bytes: &dyn ByteSource, extent: u32, at: u64, len: usize) -> Result<usize> {
        debug_assert!(len <= max_packed(1 << 20) + MARKER);
        let end = self.window_at + self.window.len() as u64;
        if self.window_of == Some(extent) && at >= self.window_at && at + len as u64 <= end {
            return Ok((at - self.window_at) as usize);
        }
        if at + len as u64 > bytes.len() {
            return Err(ImportError::truncated(bytes.name(), "a grain", at + len as u64, bytes.len()));
        }
        self.window_of = None;
        let size = WINDOW.max(len as u64).min(bytes.len() - at);
        self.window.resize(size as usize, 0);
        bytes.read_at("grains", at, &mut self.window)?;
        (self.window_at, self.window_of) = (at, Some(extent));
        Ok(0)
    }
}
