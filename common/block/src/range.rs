//! Byte ranges and ordered sets of them.

use std::fmt;

/// A half-open range of bytes, `start..end`, with `start <= end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    pub start: u64,
    pub end: u64,
}

impl ByteRange {
    /// `start..end`; an end before the start gives the empty range at `start`.
    #[must_use]
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end: if end < start { start } else { end } }
    }

    /// `len` bytes from `start`, cut off at `u64::MAX`.
    #[must_use]
    pub const fn with_len(start: u64, len: u64) -> Self {
        Self { start, end: start.saturating_add(len) }
    }

    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// Ranges in order, none empty, none touching its neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeSet {
    ranges: Vec<ByteRange>,
}

impl RangeSet {
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Appends cheaply when `range` lies at or behind the end; otherwise finds its place and merges.
    pub fn insert(&mut self, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        match self.ranges.last_mut() {
            None => self.ranges.push(range),
            Some(last) if range.start > last.end => self.ranges.push(range),
            Some(last) if range.start >= last.start => last.end = last.end.max(range.end),
            Some(_) => self.insert_inside(range),
        }
    }

    fn insert_inside(&mut self, range: ByteRange) {
        let first = self.ranges.partition_point(|r| r.end < range.start);
        let after = self.ranges.partition_point(|r| r.start <= range.end);
        let merged = match self.ranges.get(first..after) {
            Some([head, .., tail]) => ByteRange::new(range.start.min(head.start), range.end.max(tail.end)),
            Some([only]) => ByteRange::new(range.start.min(only.start), range.end.max(only.end)),
            _ => range,
        };
        self.ranges.splice(first..after, [merged]);
    }

    #[must_use]
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.ranges
    }

    pub fn iter(&self) -> impl Iterator<Item = ByteRange> + '_ {
        self.ranges.iter().copied()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The sum of the lengths in bytes.
    #[must_use]
    pub fn total_len(&self) -> u64 {
        self.ranges.iter().map(ByteRange::len).sum()
    }

    #[must_use]
    pub fn contains(&self, offset: u64) -> bool {
        let at = self.ranges.partition_point(|r| r.end <= offset);
        self.ranges.get(at).is_some_and(|r| r.start <= offset)
    }

    /// The parts of the set inside `window`.
    pub fn within(&self, window: ByteRange) -> impl Iterator<Item = ByteRange> + '_ {
        let first = self.ranges.partition_point(|r| r.end <= window.start);
        self.ranges[first..].iter().map_while(move |r| r.intersect(&window))
    }
}

impl FromIterator<ByteRange> for RangeSet {
    fn from_iter<I: IntoIterator<Item = ByteRange>>(ranges: I) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

impl Extend<ByteRange> for RangeSet {
    fn extend<I: IntoIterator<Item = ByteRange>>(&mut self, ranges: I) {
        for range in ranges {
            self.insert(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_set_holds_just_the_bytes_put_in(
            ranges in prop::collection::vec((0u64..200, 0u64..40), 0..24),
            window in (0u64..240, 0u64..60),
        ) {
            let mut model = [false; 320];
            let mut set = RangeSet::new();
            for &(start, len) in &ranges {
                set.insert(ByteRange::with_len(start, len));
                model[start as usize..(start + len) as usize].fill(true);
            }
            for (offset, &inside) in model.iter().enumerate() {
                prop_assert_eq!(set.contains(offset as u64), inside);
            }
            prop_assert!(set.as_slice().windows(2).all(|w| w[0].end < w[1].start));
            let window = ByteRange::with_len(window.0, window.1);
            let within: u64 = set.within(window).map(|r| r.len()).sum();
            let expected = (window.start..window.end).filter(|&o| model[o as usize]).count();
            prop_assert_eq!(within, expected as u64);
        }
    }
}
