//! Steps of a long command: each is announced, timed, and named again in the table at the end.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What is about to be done.
pub struct Step {
    pub name: &'static str,
    pub what: &'static str,
    /// How long it usually takes on two cores, in words.
    pub usually: &'static str,
    /// What to type to do this step alone.
    pub repeat: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Skipped(String),
    Failed,
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
    repeat: String,
}

/// The steps so far.
#[derive(Default)]
pub struct Progress {
    rows: Vec<Row>,
}

impl Progress {
    /// Announces `step`, does it, and says how it went. A failure is kept for the end, so that one run shows all of
    /// them.
    pub fn run(&mut self, step: Step, work: impl FnOnce() -> Result<()>) {
        println!("\n==> {}: {} (usually {})", step.name, step.what, step.usually);
        let start = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Done,
            Err(error) => {
                println!("--- {} failed: {error:#}\n    to repeat it: {}", step.name, step.repeat);
                Outcome::Failed
            }
        };
        self.rows.push(Row { name: step.name, outcome, took: start.elapsed(), repeat: step.repeat });
    }

    pub fn skip(&mut self, name: &'static str, reason: impl Into<String>) {
        let outcome = Outcome::Skipped(reason.into());
        self.rows.push(Row { name, outcome, took: Duration::ZERO, repeat: String::new() });
    }

    pub fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| row.outcome == Outcome::Failed)
    }

    /// A line per step.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for Row { name, outcome, took, repeat } in &self.rows {
            let (word, note) = match outcome {
                Outcome::Done => ("done", String::new()),
                Outcome::Skipped(reason) => ("skipped", reason.clone()),
                Outcome::Failed => ("FAILED", format!("repeat: {repeat}")),
            };
            let line = format!("  {name:<12} {word:<8} {:>7}  {note}", clock(*took));
            writeln!(text, "{}", line.trim_end()).expect("writing to a String cannot fail");
        }
        text
    }

    pub fn finish(&self) -> Result<()> {
        let failed: Vec<_> =
            self.rows.iter().filter(|row| row.outcome == Outcome::Failed).map(|r| r.name).collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", failed.join(", "));
    }
}

/// `0.4s`, `12s`, `3m05s`.
fn clock(took: Duration) -> String {
    match took.as_secs() {
        0..10 => format!("{:.1}s", took.as_secs_f64()),
        seconds @ 10..60 => format!("{seconds}s"),
        seconds => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str) -> Step {
        Step { name, what: "a test", usually: "no time", repeat: format!("make {name}") }
    }

    #[test]
    fn the_table_tells_how_each_step_went() {
        let mut progress = Progress::default();
        progress.run(step("good"), || Ok(()));
        assert!(progress.finish().is_ok());
        progress.run(step("bad"), || bail!("as expected"));
        progress.skip("later", "bad failed");
        assert!(progress.has_failed());
        let error = progress.finish().unwrap_err();
        assert_eq!(error.to_string(), "failed: bad");
        let table = progress.table();
        let lines: Vec<_> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            ["good done 0.0s", "bad FAILED 0.0s repeat: make bad", "later skipped 0.0s bad failed"]
        );
    }

    #[test]
    fn durations_are_short_to_read() {
        for (millis, text) in [(420, "0.4s"), (12_900, "12s"), (185_000, "3m05s")] {
            assert_eq!(clock(Duration::from_millis(millis)), text);
        }
    }
}
