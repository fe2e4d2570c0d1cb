//! What benches that measure two ways by turns have in common.

use std::process::ExitCode;

use anyhow::{Context, Result};

/// Runs `bench` with as many turns as the command line says, or as `usual`, and tells why it failed.
pub async fn by_turns(program: &str, usual: usize, bench: impl AsyncFnOnce(usize) -> Result<()>) -> ExitCode {
    let ended = match turns(std::env::args().nth(1).as_deref(), usual) {
        Ok(turns) => bench(turns).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn turns(word: Option<&str>, usual: usize) -> Result<usize> {
    word.map_or(Ok(usual), |word| word.parse().with_context(|| format!("{word:?} is no number of turns")))
}

/// Sorts, and takes the middle one (of an even number the upper). `None` of nothing.
#[must_use]
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::{median, turns};

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

    #[test]
    fn turns_are_a_number_or_the_usual() {
        assert_eq!((turns(None, 7).unwrap(), turns(Some("2"), 7).unwrap()), (7, 2));
        assert!(turns(Some("two"), 7).unwrap_err().to_string().contains("\"two\" is no number"));
    }
}
