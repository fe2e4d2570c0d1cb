//! Values as 16 bits: a gap, zero, or a logarithm.
//!
//! Steps are even on a logarithmic scale, so the relative error is the same from a thousandth to more than 10^15:
//! half a step, 0.033 %. The order of codes is the order of values, so the least and greatest of codes are those of
//! values. The alternative, 32-bit floats, takes twice the room for digits that no chart shows, and packs worse.

/// What is kept of a value.
pub type Code = u16;

/// Nothing was measured.
pub const GAP: Code = 0;
const ZERO: Code = 1;
const FIRST: Code = 2;

/// Less is zero.
const LEAST: f64 = 1e-3;
const STEPS_PER_E: f64 = 1536.0;

/// What is not a number is a gap; nothing that is measured is negative.
pub fn encode(value: f64) -> Code {
    if value.is_nan() {
        return GAP;
    }
    if value < LEAST {
        return ZERO;
    }
    let steps = ((value / LEAST).ln() * STEPS_PER_E).round();
    // A float that is too large for the integer becomes the largest.
    (steps as Code).saturating_add(FIRST)
}

pub fn decode(code: Code) -> Option<f64> {
    match code {
        GAP => None,
        ZERO => Some(0.0),
        code => Some(LEAST * (f64::from(code - FIRST) / STEPS_PER_E).exp()),
    }
}

/// Average, least and greatest of a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Triple {
    pub avg: Code,
    pub min: Code,
    pub max: Code,
}

/// Makes a [`Triple`] of several.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    sum: f64,
    count: u32,
    min: Code,
    max: Code,
}

impl Sum {
    pub fn add(&mut self, triple: Triple) {
        let Some(avg) = decode(triple.avg) else { return };
        self.min = if self.count == 0 { triple.min } else { self.min.min(triple.min) };
        self.max = self.max.max(triple.max);
        self.sum += avg;
        self.count += 1;
    }

    pub fn add_code(&mut self, code: Code) {
        self.add(Triple { avg: code, min: code, max: code });
    }

    /// `None`: everything was a gap.
    pub fn values(&self) -> Option<(f64, f64, f64)> {
        let avg = (self.count > 0).then(|| self.sum / f64::from(self.count))?;
        let (min, max) = (decode(self.min)?, decode(self.max)?);
        // Of equal ones the average may come out beside them by a rounding.
        Some((avg.clamp(min, max), min, max))
    }

    pub fn triple(&self) -> Triple {
        match self.values() {
            None => Triple::default(),
            Some((avg, ..)) => {
                Triple { avg: encode(avg).clamp(self.min, self.max), min: self.min, max: self.max }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_edges() {
        for (value, expected) in
            [(f64::NAN, None), (0.0, Some(0.0)), (-3.0, Some(0.0)), (0.0009, Some(0.0)), (0.001, Some(0.001))]
        {
            assert_eq!(decode(encode(value)), expected, "{value}");
        }
        assert!(decode(encode(f64::INFINITY)).unwrap() > 1e15);
        assert_eq!(Sum::default().triple(), Triple::default());
    }

    proptest! {
        #[test]
        fn a_value_comes_back_to_a_third_of_a_thousandth(exponent in -2.9f64..15.0) {
            let value = 10f64.powf(exponent);
            let back = decode(encode(value)).unwrap();
            prop_assert!((back / value - 1.0).abs() < 0.00034, "{} came back as {}", value, back);
        }

        #[test]
        fn the_order_stays(a in 0f64..1e9, b in 0f64..1e9) {
            prop_assert_eq!(a < b && encode(a) > encode(b), false);
        }

        #[test]
        fn a_sum_lies_between_its_least_and_greatest(codes in prop::collection::vec(0u16..=60_000, 0..50)) {
            let mut sum = Sum::default();
            codes.iter().for_each(|code| sum.add_code(*code));
            let triple = sum.triple();
            let there = codes.iter().copied().filter(|code| *code != GAP);
            prop_assert_eq!(triple.min, there.clone().min().unwrap_or(GAP));
            prop_assert_eq!(triple.max, there.max().unwrap_or(GAP));
            prop_assert!(triple.min <= triple.avg && triple.avg <= triple.max);
        }
    }
}
