//! At which resolution a query is answered, without looking at any series.

use crate::{DAY, HOUR, MINUTE, SLOT};

/// Points of a series at most.
pub const MAX_POINTS: u32 = 2000;
/// What a chart can show, where nobody said how many.
const CHART: u32 = 600;

/// Seconds of a point, and for how long such points are kept.
pub const RESOLUTIONS: [(u32, u32); 3] = [(SLOT, HOUR), (MINUTE, DAY), (HOUR, 366 * DAY)];

/// A grid: `count` points of `step` seconds from `from`, made of values that are `resolution` seconds apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub resolution: u32,
    pub from: u32,
    pub step: u32,
    pub count: u32,
}

impl Plan {
    /// Behind the last point.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.from.saturating_add(self.step.saturating_mul(self.count))
    }
}

/// The finest resolution that is still kept of `from` and not finer than asked for; the step is a multiple of it,
/// the grid begins at a multiple of the step. `step` 0: what a chart can show.
#[must_use]
pub fn plan((from, to): (u32, u32), step: u32, now: u32) -> Plan {
    let from = from.max(now.saturating_sub(RESOLUTIONS[2].1));
    let to = to.max(from.saturating_add(1));
    let age = now.saturating_sub(from);
    // A second or two of the way of a request must not make an hour coarser.
    let kept = |kept: u32| age <= kept + MINUTE;
    let asked = if step == 0 { (to - from).div_ceil(CHART) } else { step };
    let fits =
        RESOLUTIONS.iter().rev().find(|(resolution, kept_for)| *resolution <= asked && kept(*kept_for));
    let finest = RESOLUTIONS.iter().find(|(_, kept_for)| kept(*kept_for));
    let resolution = fits.or(finest).map_or(HOUR, |(resolution, _)| *resolution);
    let step =
        asked.max((to - from).div_ceil(MAX_POINTS - 1)).div_ceil(resolution).saturating_mul(resolution);
    let begin = from - from % step;
    Plan { resolution, from: begin, step, count: (to - begin).div_ceil(step) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u32 = 1_800_000_000;

    #[test]
    fn plans() {
        for (name, from, to, step, resolution, expected, count) in [
            ("the last hour", NOW - HOUR, NOW, 0, SLOT, 10, 360),
            ("the last minutes", NOW - 300, NOW, 0, SLOT, SLOT, 60),
            ("the last hour by minutes", NOW - HOUR, NOW, 60, MINUTE, 60, 60),
            ("an odd step becomes a multiple", NOW - HOUR, NOW, 7, SLOT, 10, 360),
            ("a day", NOW - DAY, NOW, 0, MINUTE, 180, 480),
            ("a day asked for by seconds", NOW - DAY, NOW, 5, MINUTE, 60, 1440),
            ("a part of a day long ago", NOW - 30 * DAY, NOW - 29 * DAY, 60, HOUR, HOUR, 24),
            ("a year", NOW - 365 * DAY, NOW, 0, HOUR, 15 * HOUR, 585),
            ("a year by the hour is too much", NOW - 365 * DAY, NOW, HOUR, HOUR, 5 * HOUR, 1753),
            ("the future", NOW, NOW, 0, SLOT, SLOT, 1),
        ] {
            let plan = plan((from, to), step, NOW);
            assert_eq!((plan.resolution, plan.step), (resolution, expected), "{name}");
            assert!(plan.count.abs_diff(count) <= 1, "{name}: {plan:?}");
        }
    }

    proptest! {
        #[test]
        fn every_plan_covers_what_was_asked_for(from in 0..=NOW, length in 0u32..400 * DAY, step in 0u32..=u32::MAX) {
            let to = from.saturating_add(length);
            let plan = plan((from, to), step, NOW);
            prop_assert!(plan.count >= 1 && plan.count <= MAX_POINTS, "{:?}", plan);
            prop_assert!(plan.step.is_multiple_of(plan.resolution) && plan.from.is_multiple_of(plan.step));
            prop_assert!(plan.from <= from.max(NOW - 366 * DAY));
            prop_assert!(plan.end() >= to.min(u32::MAX - plan.step), "{:?}", plan);
        }
    }
}
