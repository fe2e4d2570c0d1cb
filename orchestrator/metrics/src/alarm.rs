//! Whether something is wrong, decided from one value after the other, without a clock and without IO.
//!
//! ```text
//!            beyond the threshold        so for long enough
//!   Clear ───────────────────────▶ Pending ─────────────────▶ Raised
//!     ▲ ◀──────── one value back ─────┘                          │
//!     └────────────────── back behind `clear` ───────────────────┘
//! ```
//!
//! What always holds: an alarm is raised only when *every* value of the duration was beyond the threshold and none
//! was missing for longer than [`HOLE`]; between the threshold and `clear` a raised alarm stays and no other is
//! raised, so a value that wavers there changes nothing. Something that says nothing any more stays as it is:
//! silence is no good news.

/// Seconds without a value after which a duration begins anew.
pub const HOLE: u64 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    Above,
    Below,
}

/// Of one rule. `clear` is the threshold or on the good side of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Condition {
    pub beyond: Beyond,
    pub threshold: f64,
    pub clear: f64,
    /// Seconds.
    pub duration: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlarmState {
    #[default]
    Clear,
    /// Beyond the threshold since then (seconds); `last`: the newest value.
    Pending {
        since: u64,
        last: u64,
    },
    Raised {
        since: u64,
    },
}

/// What somebody has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Raised,
    Cleared,
}

impl Condition {
    const fn is_beyond(&self, value: f64, limit: f64) -> bool {
        match self.beyond {
            Beyond::Above => value > limit,
            Beyond::Below => value < limit,
        }
    }

    /// The state after `value`, measured at `at`. A value older than the last changes nothing.
    #[must_use]
    pub fn evaluate(&self, state: AlarmState, value: f64, at: u64) -> (AlarmState, Option<Turn>) {
        let since = match state {
            AlarmState::Raised { .. } if self.is_beyond(value, self.clear) => return (state, None),
            AlarmState::Raised { .. } => return (AlarmState::Clear, Some(Turn::Cleared)),
            AlarmState::Pending { last, .. } if at < last => return (state, None),
            AlarmState::Pending { since, last } if at - last <= HOLE => since,
            AlarmState::Pending { .. } | AlarmState::Clear => at,
        };
        if !self.is_beyond(value, self.threshold) {
            return (AlarmState::Clear, None);
        }
        if at - since >= u64::from(self.duration) {
            return (AlarmState::Raised { since }, Some(Turn::Raised));
        }
        (AlarmState::Pending { since, last: at }, None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ABOVE: Condition = Condition { beyond: Beyond::Above, threshold: 90.0, clear: 80.0, duration: 15 };
    const BELOW: Condition = Condition { beyond: Beyond::Below, threshold: 10.0, clear: 20.0, duration: 0 };

    /// The turns that values bring about, five seconds apart; a gap of so many seconds where there is none.
    fn turns(condition: Condition, values: &[Result<f64, u64>]) -> Vec<(u64, Turn)> {
        let (mut at, mut state, mut turns) = (1000, AlarmState::Clear, Vec::new());
        for value in values {
            match value {
                Err(gap) => at += gap,
                Ok(value) => {
                    let (next, turn) = condition.evaluate(state, *value, at);
                    state = next;
                    turns.extend(turn.map(|turn| (at - 1000, turn)));
                    at += 5;
                }
            }
        }
        turns
    }

    #[test]
    fn a_line_of_values() {
        use Turn::{Cleared, Raised};
        let (high, middle, low) = (Ok(95.0), Ok(85.0), Ok(50.0));
        for (name, values, expected) in [
            ("never beyond", vec![middle, low, Ok(90.0)], vec![]),
            ("beyond for too short", vec![high, high, high, low, high, high, high], vec![]),
            ("beyond for long enough", vec![high; 4], vec![(15, Raised)]),
            ("told once", vec![high; 9], vec![(15, Raised)]),
            ("back", vec![high, high, high, high, low], vec![(15, Raised), (20, Cleared)]),
            ("not quite back", vec![high, high, high, high, middle, high, middle], vec![(15, Raised)]),
            ("just back", vec![high, high, high, high, Ok(80.0)], vec![(15, Raised), (20, Cleared)]),
            ("one in between begins anew", vec![high, high, high, middle, high, high, high], vec![]),
            ("a short gap is nothing", vec![high, high, Err(30), high, high], vec![(40, Raised)]),
            ("a long gap begins anew", vec![high, high, high, Err(60), high, high, high], vec![]),
            ("silence clears nothing", vec![high, high, high, high, Err(9000), middle], vec![(15, Raised)]),
        ] {
            assert_eq!(turns(ABOVE, &values), expected, "{name}");
        }
        for (name, values, expected) in [
            ("at once", vec![Ok(9.0), Ok(15.0)], vec![(0, Raised)]),
            ("the threshold itself is fine", vec![Ok(10.0)], vec![]),
            (
                "back, and again",
                vec![Ok(9.0), Ok(20.0), Ok(5.0)],
                vec![(0, Raised), (5, Cleared), (10, Raised)],
            ),
        ] {
            assert_eq!(turns(BELOW, &values), expected, "below: {name}");
        }
    }

    #[test]
    fn what_comes_late_changes_nothing() {
        let state = AlarmState::Pending { since: 1000, last: 1010 };
        assert_eq!(ABOVE.evaluate(state, 50.0, 1005), (state, None));
    }

    proptest! {
        #[test]
        fn turns_alternate_and_what_was_raised_was_beyond_all_the_time(
            values in prop::collection::vec(0f64..100.0, 0..300),
            duration in 0u32..60,
        ) {
            let condition = Condition { duration, ..ABOVE };
            let all: Vec<_> = values.iter().map(|value| Ok(*value)).collect();
            let mut expected = Turn::Raised;
            for (at, turn) in turns(condition, &all) {
                prop_assert_eq!(turn, expected);
                let n = (at / 5) as usize;
                expected = match turn {
                    Turn::Raised => {
                        let first = n - (duration as usize).div_ceil(5);
                        prop_assert!(values[first..=n].iter().all(|value| *value > 90.0));
                        Turn::Cleared
                    }
                    Turn::Cleared => {
                        prop_assert!(values[n] <= 80.0);
                        Turn::Raised
                    }
                };
            }
        }
    }
}
