//! How hard to compress: harder while the store is what everybody waits for, as time is then to be had.
//!
//! Each pack that had to wait for room raises the level, each that did not lowers it. A pack is the measure because it
//! is what the store takes at a time; a level that is wrong for one pack costs a moment, never data.

use std::sync::atomic::{AtomicI32, Ordering};

/// The level of the moment, between two bounds. All clones of a run's workers look at one.
#[derive(Debug)]
pub struct Pressure {
    least: i32,
    most: i32,
    level: AtomicI32,
}

impl Pressure {
    /// From `least`, the level of a store that keeps up, to `most`; equal bounds hold the level.
    #[must_use]
    pub fn new(least: i32, most: i32) -> Self {
        Self { least, most: most.max(least), level: AtomicI32::new(least) }
    }

    #[must_use]
    pub fn level(&self) -> i32 {
        self.level.load(Ordering::Relaxed)
    }

    /// A pack was begun; `waited` says whether somebody waited for the store before.
    pub(super) fn pack_begun(&self, waited: Waited) {
        let step = if waited == Waited::Yes { 1 } else { -1 };
        // Packs are begun under the packer's lock: nobody else changes the level meanwhile.
        self.level.store((self.level() + step).clamp(self.least, self.most), Ordering::Relaxed);
    }
}

/// Whether a pack had to wait for the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Waited {
    Yes,
    #[default]
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_with_waits_and_falls_without() {
        let pressure = Pressure::new(3, 6);
        let mut seen = Vec::new();
        for waited in
            [Waited::No, Waited::Yes, Waited::Yes, Waited::Yes, Waited::Yes, Waited::No, Waited::Yes]
        {
            pressure.pack_begun(waited);
            seen.push(pressure.level());
        }
        assert_eq!(seen, [3, 4, 5, 6, 6, 5, 6]);
        let fixed = Pressure::new(7, 7);
        fixed.pack_begun(Waited::Yes);
        assert_eq!(fixed.level(), 7);
    }
}
