//! Moments of one process's clock, and how long things take.
//!
//! What always holds: a [`Timing`] leaves the agent room to feed its watchdog. It is agreed between an orchestrator and a
//! host when the host is armed, and changed only by disarming it first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// By how much a clock may be wrong, in thousandths. Crystals are wrong by a tenth of one.
pub const DRIFT_PER_MILLE: u32 = 10;

/// Writes that a host had sent before it was reset may still be on their way to the storage.
const MARGIN: Duration = Duration::from_secs(2);

/// A moment of one process's monotonic clock, as the time since that process began. Means nothing to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    #[must_use]
    pub const fn at(since_begin: Duration) -> Self {
        Self(since_begin)
    }

    #[must_use]
    pub const fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// Zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long things take. Made by [`Timing::new`], which refuses what cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Timing {
    lease: Duration,
    watchdog: Duration,
    beat: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    lease_s: u16,
    watchdog_s: u16,
    beat_s: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTiming {
    #[error("a watchdog of {watchdog_s} s and a beat of {beat_s} s: neither can be 0")]
    Zero { watchdog_s: u16, beat_s: u16 },
    #[error(
        "a lease of {lease_s} s is too short for a watchdog of {watchdog_s} s and a beat of {beat_s} s; give it \
         at least {least_s} s"
    )]
    Short { lease_s: u16, watchdog_s: u16, beat_s: u16, least_s: u32 },
}

impl Timing {
    /// `lease`: a host that had neither the orchestrator nor its lease for so long is reset by then. `watchdog`: without
    /// food for so long, it bites. `beat`: how often both are tried. In seconds.
    pub const fn new(lease_s: u16, watchdog_s: u16, beat_s: u16) -> Result<Self, BadTiming> {
        if watchdog_s == 0 || beat_s == 0 {
            return Err(BadTiming::Zero { watchdog_s, beat_s });
        }
        // Three watchdogs: see the guard. Three beats: one that is lost, and one that is slow, reset nobody.
        let least_s = 3 * (watchdog_s as u32 + beat_s as u32);
        if (lease_s as u32) < least_s {
            return Err(BadTiming::Short { lease_s, watchdog_s, beat_s, least_s });
        }
        Ok(Self {
            lease: Duration::from_secs(lease_s as u64),
            watchdog: Duration::from_secs(watchdog_s as u64),
            beat: Duration::from_secs(beat_s as u64),
        })
    }

    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    #[must_use]
    pub const fn watchdog(&self) -> Duration {
        self.watchdog
    }

    #[must_use]
    pub const fn beat(&self) -> Duration {
        self.beat
    }

    /// A host that says nothing for so long is suspected. Costs nobody anything: a suspected host runs on.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.beat * 3
    }

    /// How long the orchestrator waits, by its own clock, until the lease of a host has ended by the host's. Its clock may
    /// be fast, and the host's slow.
    #[must_use]
    pub fn proof(&self) -> Duration {
        self.lease * (1000 + DRIFT_PER_MILLE) / (1000 - DRIFT_PER_MILLE) + MARGIN
    }
}

impl Default for Timing {
    /// A minute until a host is reset, which is three times what a switch takes to find a new path.
    fn default() -> Self {
        Self::new(60, 10, 5).expect("a minute has room for three of both")
    }
}

impl TryFrom<Raw> for Timing {
    type Error = BadTiming;

    fn try_from(raw: Raw) -> Result<Self, BadTiming> {
        Self::new(raw.lease_s, raw.watchdog_s, raw.beat_s)
    }
}

impl From<Timing> for Raw {
    fn from(timing: Timing) -> Self {
        let seconds = |time: Duration| u16::try_from(time.as_secs()).unwrap_or(u16::MAX);
        Self {
            lease_s: seconds(timing.lease),
            watchdog_s: seconds(timing.watchdog),
            beat_s: seconds(timing.beat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_no_room_is_refused() {
        for (lease, watchdog, beat, ok) in
            [(60, 10, 5, true), (45, 10, 5, true), (44, 10, 5, false), (60, 0, 5, false), (60, 10, 0, false)]
        {
            assert_eq!(Timing::new(lease, watchdog, beat).is_ok(), ok, "{lease} {watchdog} {beat}");
        }
        assert_eq!(Timing::default(), Timing::new(60, 10, 5).unwrap());
    }

    #[test]
    fn the_proof_takes_longer_than_the_lease_on_the_slowest_clock_looked_at_with_the_fastest() {
        let timing = Timing::default();
        let lease_in_truth = timing.lease().as_secs_f64() / 0.99;
        let waited_in_truth = timing.proof().as_secs_f64() / 1.01;
        assert!(waited_in_truth > lease_in_truth, "{waited_in_truth} {lease_in_truth}");
    }
}
