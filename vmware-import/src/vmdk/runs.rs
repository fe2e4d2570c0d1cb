//! Runs: what a table says about a stretch of disk, with neighbouring entries joined.
//!
//! Every format is read into the same runs, so that the cost of everything behind (resolving a chain,
//! reading, writing) follows the number of stretches, not of table entries. A budget stops the resolution
//! of a fragmented disk early, so that memory stays bounded whatever the tables say.

use xenith_common_block::ByteRange;

/// Where the bytes of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Plain bytes of extent `extent` at offset `at`.
    Raw { extent: u32, at: u64 },
    /// A part of one compressed grain: its marker is at `at`, `grain` is where the grain starts in its extent,
    /// and the run starts `skip` bytes into it.
    Packed { extent: u32, at: u64, grain: u64, skip: u32 },
    /// Reads as zeros because the table says so.
    Zero,
    /// Nothing was ever written: zeros, and the parent has no say.
    Hole,
    /// This layer does not know: the parent decides; without one, zeros.
    Absent,
    /// The table points where nothing can be: `at` is the entry's own offset in the file, `needed` how long the
    /// file would have to be (0 when no length would help).
    Lost { extent: u32, at: u64, needed: u64 },
}

/// A stretch of a disk (bytes) and where its contents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub range: ByteRange,
    pub place: Place,
}

impl Run {
    /// The part of the run inside `window`, its place moved along.
    #[must_use]
    pub fn clip(&self, window: ByteRange) -> Option<Self> {
        let range = self.range.intersect(&window)?;
        let moved = range.start - self.range.start;
        let place = match self.place {
            Place::Raw { extent, at } => Place::Raw { extent, at: at + moved },
            Place::Packed { extent, at, grain, skip } => {
                Place::Packed { extent, at, grain, skip: skip + moved as u32 }
            }
            other => other,
        };
        Some(Self { range, place })
    }

    /// Whether something has to be read for it.
    #[must_use]
    pub fn is_data(&self) -> bool {
        matches!(self.place, Place::Raw { .. } | Place::Packed { .. } | Place::Lost { .. })
    }
}

/// Collects runs in order, joined where they continue each other, until its budget is used up.
#[derive(Debug)]
pub struct Runs {
    list: Vec<Run>,
    data: u64,
    max_runs: usize,
    max_data: u64,
}

impl Runs {
    #[must_use]
    pub fn with_budget(max_runs: usize, max_data: u64) -> Self {
        Self { list: Vec::new(), data: 0, max_runs, max_data }
    }

    /// Whether whoever fills it should stop at the next boundary.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.list.len() >= self.max_runs || self.data >= self.max_data
    }

    /// Data bytes that still fit.
    #[must_use]
    pub fn data_left(&self) -> u64 {
        self.max_data.saturating_sub(self.data)
    }

    pub fn push(&mut self, range: ByteRange, place: Place) {
        if range.is_empty() {
            return;
        }
        let run = Run { range, place };
        if run.is_data() {
            self.data += range.len();
        }
        match self.list.last_mut() {
            Some(last) if last.range.end == range.start && continues(last, place) => {
                last.range.end = range.end;
            }
            _ => self.list.push(run),
        }
    }

    #[must_use]
    pub fn as_slice(&self) -> &[Run] {
        &self.list
    }

    #[must_use]
    pub fn into_vec(self) -> Vec<Run> {
        self.list
    }
}

fn continues(last: &Run, place: Place) -> bool {
    match (last.place, place) {
        (Place::Zero, Place::Zero) | (Place::Hole, Place::Hole) | (Place::Absent, Place::Absent) => true,
        (Place::Raw { extent, at }, Place::Raw { extent: e, at: a }) => {
            extent == e && at + last.range.len() == a
        }
        (Place::Lost { extent, .. }, Place::Lost { extent: e, .. }) => extent == e,
        _ => false,
    }
}
