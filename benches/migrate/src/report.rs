//! What is printed, and whether it is as promised.

use anyhow::{Context, Result, ensure};
use xenith_lab_scenario::median;

use crate::turn::{Move, Turn};

/// What a move through orchestrator and agents may take, to one by `xl`; the aim is 1.
const RATIO: f64 = 1.2;

/// Ends with an error where a ratio is above what is promised.
pub fn print(turns: &[Turn]) -> Result<()> {
    println!("turns                           {}", turns.len());
    let total = compare("total", turns, |moved| moved.total)?;
    let down = compare("down", turns, |moved| moved.down)?;
    for (what, ratio) in [("total time", total), ("downtime", down)] {
        ensure!(ratio <= RATIO, "missed: a ratio of {ratio:.3} of the {what}, must be at most {RATIO}");
    }
    Ok(())
}

/// The median of the ratios of each turn: what slows the machine slows both of one.
fn compare(what: &str, turns: &[Turn], of: impl Fn(Move) -> f64) -> Result<f64> {
    let middle = |seconds: &dyn Fn(&Turn) -> f64| {
        median(&mut turns.iter().map(seconds).collect::<Vec<_>>()).context("there was no turn")
    };
    println!("xenith vm migrate, {what:<5} median  {:.2} s", middle(&|turn| of(turn.xenith))?);
    println!("xl migrate, {what:<5} median         {:.2} s", middle(&|turn| of(turn.xl))?);
    let ratio = middle(&|turn| of(turn.xenith) / of(turn.xl))?;
    println!("ratio, {what:<5} median of turns     {ratio:.3}");
    Ok(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(xenith: (f64, f64), xl: (f64, f64)) -> Turn {
        let moved = |(total, down)| Move { total, down };
        Turn { xenith: moved(xenith), xl: moved(xl) }
    }

    #[test]
    fn either_ratio_that_is_too_large_is_missed() {
        let even = turn((10.0, 1.0), (10.0, 1.0));
        for (case, turns, kept) in [
            ("even", vec![even], true),
            ("slow", vec![turn((13.0, 1.0), (10.0, 1.0))], false),
            ("stands long", vec![turn((10.0, 1.3), (10.0, 1.0))], false),
            ("one turn of three", vec![even, turn((90.0, 9.0), (10.0, 1.0)), even], true),
            ("none", vec![], false),
        ] {
            assert_eq!(print(&turns).is_ok(), kept, "{case}");
        }
    }
}
