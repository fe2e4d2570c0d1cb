//! What lies where on a disk.

use crate::ByteRange;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtentKind {
    /// Has to be read.
    Data,
    /// Reads as zeros and is known to have been zeroed.
    Zero,
    /// Reads as zeros because nothing was ever written there.
    Unallocated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    pub range: ByteRange,
    pub kind: ExtentKind,
}

impl Extent {
    #[must_use]
    pub const fn new(range: ByteRange, kind: ExtentKind) -> Self {
        Self { range, kind }
    }

    /// Adds `range` to `extents`, growing the last one where it touches and is of the same kind.
    pub fn push_merged(extents: &mut Vec<Self>, range: ByteRange, kind: ExtentKind) {
        if range.is_empty() {
            return;
        }
        match extents.last_mut() {
            Some(last) if last.kind == kind && last.range.end == range.start => {
                last.range.end = range.end;
            }
            _ => extents.push(Self { range, kind }),
        }
    }
}
