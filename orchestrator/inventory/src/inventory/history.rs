//! Which slots changed lately, for those who watch. Bounded; what is forgotten is told as "read again".

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use roaring::RoaringBitmap;

use super::Revision;
use crate::bits::Bits;

/// Changes of so much time are one segment: a subscriber joins few sets, and is told a little more than it missed at
/// most.
const SEGMENT: Duration = Duration::from_millis(20);
/// At 20 ms each these reach back 40 s of constant change, and longer when it is calm. A client that was away longer
/// reads again.
const MAX_SEGMENTS: usize = 2000;

#[derive(Debug)]
struct Segment {
    /// The first revision in it, and the last.
    from: Revision,
    through: Revision,
    begun: Instant,
    slots: RoaringBitmap,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    segments: VecDeque<Segment>,
    latest: Revision,
    /// Everything up to here is forgotten.
    forgotten: Revision,
}

impl History {
    /// A new revision.
    pub fn begin(&mut self) -> Revision {
        self.latest = Revision(self.latest.0 + 1);
        let now = Instant::now();
        match self.segments.back_mut() {
            Some(segment) if now.duration_since(segment.begun) < SEGMENT => segment.through = self.latest,
            _ => {
                let (from, through) = (self.latest, self.latest);
                self.segments.push_back(Segment { from, through, begun: now, slots: RoaringBitmap::new() });
            }
        }
        if self.segments.len() > MAX_SEGMENTS
            && let Some(oldest) = self.segments.pop_front()
        {
            self.forgotten = oldest.through;
        }
        self.latest
    }

    /// In the revision that was begun last.
    pub fn changed(&mut self, slot: u32) {
        if let Some(segment) = self.segments.back_mut() {
            segment.slots.insert(slot);
        }
    }

    pub const fn latest(&self) -> Revision {
        self.latest
    }

    /// Changes before this revision cannot be asked for any more.
    pub fn oldest(&self) -> Revision {
        self.forgotten
    }

    /// Adds the slots that changed after `since` (and perhaps some that changed just before). `false`: too long ago,
    /// or not from this process.
    pub fn changes_since(&self, since: Revision, slots: &mut Bits) -> bool {
        if since < self.forgotten || since > self.latest {
            return false;
        }
        for segment in self.segments.iter().rev().take_while(|segment| segment.through > since) {
            debug_assert!(segment.from <= segment.through);
            slots.insert_all(&segment.slots);
        }
        true
    }

    pub fn memory(&self) -> usize {
        self.segments.iter().map(|segment| segment.slots.serialized_size() + size_of::<Segment>()).sum()
    }
}
