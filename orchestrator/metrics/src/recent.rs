//! The recent hour of one entity in slots of 5 seconds: an open chunk of 5 minutes, and packed ones before it.
//!
//! What always holds: chunks begin at multiples of [`CHUNK`] slots, so the slots of a minute lie in one chunk; the
//! open one is the newest; a chunk is packed when a slot behind it is written, and then never changes. A slot before
//! the open chunk is refused: what comes that late is of a host that a VM has left.

use std::collections::VecDeque;
use std::ops::Range;

use crate::SLOT;
use crate::code::{Code, GAP};
use crate::pack::{pack_codes, skip_codes, unpack_codes};

/// Slots of a chunk; a multiple of those of a minute.
pub const CHUNK: u32 = 60;
/// Slots that are kept at least: an hour, and until that hour is in a record.
const KEPT: u32 = 3900 / SLOT;

type Open = [Code; CHUNK as usize];

#[derive(Debug)]
struct Sealed {
    start: u32,
    columns: usize,
    bytes: Box<[u8]>,
}

#[derive(Debug, Default)]
pub struct Recent {
    /// The first slot of the open chunk.
    start: u32,
    open: Vec<Open>,
    sealed: VecDeque<Sealed>,
    /// The last slot that was written.
    last: u32,
}

impl Recent {
    /// Whether `slot` can be written. Opens its chunk. Nothing is dropped here: see [`Self::forget`].
    pub fn open(&mut self, slot: u32) -> bool {
        let start = slot - slot % CHUNK;
        if start < self.start {
            return false;
        }
        if start > self.start {
            self.seal();
            self.start = start;
        }
        self.last = self.last.max(slot);
        true
    }

    /// `slot` is of the chunk that was opened.
    pub fn set(&mut self, slot: u32, column: usize, code: Code) {
        if self.open.len() <= column {
            self.open.resize(column + 1, [GAP; CHUNK as usize]);
        }
        if let Some(place) = self.open[column].get_mut((slot - self.start) as usize) {
            *place = code;
        }
    }

    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        self.open.iter().for_each(|column| pack_codes(column, &mut bytes));
        let columns = self.open.len();
        self.sealed.push_back(Sealed { start: self.start, columns, bytes: bytes.into() });
        self.open.clear();
    }

    /// Drops what is too old by `now` (a slot).
    pub fn forget(&mut self, now: u32) {
        let oldest = now.saturating_sub(KEPT);
        while self.sealed.front().is_some_and(|chunk| chunk.start + CHUNK <= oldest) {
            self.sealed.pop_front();
        }
        if self.start + CHUNK <= oldest {
            self.open.clear();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_empty()
    }

    /// The last slot that was written, if it is still there.
    pub fn last(&self) -> Option<u32> {
        (!self.open.is_empty()).then_some(self.last)
    }

    pub fn at_last(&self, column: usize) -> Code {
        let place = (self.last - self.start) as usize;
        self.open.get(column).and_then(|codes| codes.get(place)).copied().unwrap_or(GAP)
    }

    /// Tells `take` every slot of `slots` that was measured.
    pub fn each(&self, column: usize, slots: Range<u32>, mut take: impl FnMut(u32, Code)) {
        let mut tell = |start: u32, codes: &[Code]| {
            for (slot, code) in (start..).zip(codes) {
                if slots.contains(&slot) && *code != GAP {
                    take(slot, *code);
                }
            }
        };
        let wanted = |start: u32| start < slots.end && start + CHUNK > slots.start;
        for chunk in self.sealed.iter().filter(|chunk| wanted(chunk.start) && column < chunk.columns) {
            let mut bytes = &chunk.bytes[..];
            let skipped = (0..column).try_for_each(|_| skip_codes(&mut bytes, CHUNK as usize));
            // Packed here, so they are whole.
            if let Some(codes) = skipped.and_then(|()| unpack_codes(&mut bytes, CHUNK as usize)) {
                tell(chunk.start, &codes);
            }
        }
        if let Some(codes) = self.open.get(column).filter(|_| wanted(self.start)) {
            tell(self.start, codes);
        }
    }

    pub fn bytes(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(|chunk| chunk.bytes.len() + size_of::<Sealed>()).sum();
        sealed + self.open.len() * size_of::<Open>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(recent: &Recent, column: usize) -> Vec<(u32, Code)> {
        let mut all = Vec::new();
        recent.each(column, 0..u32::MAX, |slot, code| all.push((slot, code)));
        all
    }

    #[test]
    fn what_is_late_by_a_chunk_is_refused_and_what_is_old_goes() {
        let mut recent = Recent::default();
        assert!(recent.open(1000));
        recent.set(1000, 1, 7);
        assert!(recent.open(1010) && recent.open(1009), "within the chunk any order will do");
        assert!(recent.open(1020) && !recent.open(1019));
        recent.set(1020, 0, 8);
        assert_eq!((all(&recent, 0), all(&recent, 1)), (vec![(1020, 8)], vec![(1000, 7)]));
        assert_eq!((recent.last(), recent.at_last(0), recent.at_last(5)), (Some(1020), 8, GAP));
        recent.forget(1000 + KEPT);
        assert_eq!(all(&recent, 1), [(1000, 7)]);
        recent.forget(1020 + KEPT);
        assert_eq!((all(&recent, 1).len(), recent.is_empty()), (0, false));
        recent.forget(1080 + KEPT);
        assert!(recent.is_empty());
        assert_eq!(recent.last(), None);
    }

    proptest! {
        #[test]
        fn an_hour_of_it_is_there(steps in prop::collection::vec((1u32..20, 1u16..), 1..400)) {
            let (mut recent, mut slot, mut written) = (Recent::default(), 5000, Vec::new());
            for (step, code) in steps {
                slot += step;
                prop_assert!(recent.open(slot));
                recent.set(slot, 0, code);
                recent.forget(slot);
                written.push((slot, code));
            }
            written.retain(|(at, _)| *at >= slot - KEPT);
            let kept = all(&recent, 0);
            prop_assert!(kept.ends_with(&written), "{:?} are not the end of {:?}", written, kept);
            prop_assert!(kept.first().is_none_or(|(first, _)| *first + KEPT + 2 * CHUNK > slot));
        }
    }
}
