//! What benches print of several turns.

/// Sorts, and takes the middle one (of an even number the upper). `None` of nothing.
#[must_use]
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_middle_one_is_taken() {
        for (mut values, middle) in [
            (vec![3.0, 1.0, 2.0], Some(2.0)),
            (vec![4.0], Some(4.0)),
            (vec![1.0, 2.0], Some(2.0)),
            (vec![], None),
        ] {
            assert_eq!(median(&mut values), middle);
        }
    }
}
