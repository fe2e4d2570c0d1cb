//! What was measured, held against what is promised.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What one turn took, in seconds.
pub struct Cost {
    wall: f64,
    cpu: f64,
}

pub struct Meter {
    began: Instant,
    cpu: f64,
}

impl Meter {
    pub fn start() -> Self {
        Self { began: Instant::now(), cpu: cpu() }
    }

    pub fn stop(self) -> Cost {
        Cost { wall: self.began.elapsed().as_secs_f64(), cpu: cpu() - self.cpu }
    }
}

/// Of this process and of those it waited for, in seconds: user and system time, in ticks of 10 ms.
fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // After the name in parentheses come state (0) to utime, stime, cutime and cstime (11 to 14).
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..=14].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a comparison, and returns the ratio that counts.
pub fn show(what: &str, (ours, theirs): (&[Cost], &[Cost]), promise: &str) -> f64 {
    let ratio = median(ours.iter().zip(theirs).map(|(ours, theirs)| ours.wall / theirs.wall));
    let wall = |costs: &[Cost]| median(costs.iter().map(|cost| cost.wall));
    let cpu = |costs: &[Cost]| median(costs.iter().map(|cost| cost.cpu));
    println!(
        "{what}: {ratio:.2} of its time{promise} ({:.2} s and {:.2} s; CPU {:.2} s and {:.2} s)",
        wall(ours),
        wall(theirs),
        cpu(ours),
        cpu(theirs)
    );
    ratio
}

#[derive(Default)]
pub struct Verdict {
    missed: Vec<String>,
}

impl Verdict {
    /// The slowest counts.
    pub fn times(&mut self, what: &str, times: &[Duration], most: Duration) {
        let slowest = times.iter().max().copied().unwrap();
        let middle = median(times.iter().map(Duration::as_secs_f64));
        println!(
            "{what}: median {:.1} ms, slowest {:.1} ms (at most {})",
            middle * 1e3,
            slowest.as_secs_f64() * 1e3,
            most.as_millis()
        );
        if slowest > most {
            self.missed.push(format!("{what}: {slowest:?}, not {most:?}"));
        }
    }

    /// The median of the turns' ratios of wall times.
    pub fn ratio(&mut self, what: &str, costs: (&[Cost], &[Cost]), most: f64) {
        let ratio = show(what, costs, &format!(", at most {most}"));
        if ratio > most {
            self.missed.push(format!("{what}: {ratio:.2}, not {most}"));
        }
    }

    pub fn not_shown(&mut self, what: &str) {
        self.missed.push(format!("not shown: {what}"));
    }

    pub fn end(self) -> ExitCode {
        for missed in &self.missed {
            println!("MISSED {missed}");
        }
        if self.missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
