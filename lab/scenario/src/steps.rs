//! Named, timed steps of one long test.
//!
//! A host takes minutes to boot under emulation, so many steps share one. A step that fails does not keep the others
//! from running: one run tells everything. The test fails at its end with the list.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

#[derive(Debug)]
struct Row {
    name: String,
    took: Duration,
    error: Option<String>,
}

/// The steps so far, on one host.
#[derive(Debug)]
pub struct Steps {
    host: String,
    rows: Vec<Row>,
}

impl Steps {
    /// None yet. What is printed begins with the host's name: another host's steps may run beside these.
    #[must_use]
    pub fn on(host: &str) -> Self {
        Self { host: host.to_owned(), rows: Vec::new() }
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Does one step and prints its name and duration. Returns whether it went well.
    pub async fn run(&mut self, name: &str, limit: Duration, step: impl Future<Output = Result<()>>) -> bool {
        let host = &self.host;
        eprintln!("==> {host}: {name}");
        let start = Instant::now();
        let outcome = tokio::time::timeout(limit, step).await;
        let took = start.elapsed();
        let error = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some(format!("not done within {} s", limit.as_secs())),
        };
        match &error {
            None => eprintln!("    {host}: {name}: done in {:.1} s", took.as_secs_f64()),
            Some(error) => eprintln!("    {host}: {name}: FAILED after {:.1} s: {error}", took.as_secs_f64()),
        }
        let good = error.is_none();
        self.rows.push(Row { name: name.to_owned(), took, error });
        good
    }

    /// Adds those of another host.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self
    }

    /// A line per step, and an error that names those that failed.
    pub fn finish(&self) -> Result<()> {
        let mut table = String::new();
        for row in &self.rows {
            let word = if row.error.is_some() { "FAILED" } else { "done" };
            writeln!(table, "  {word:<7} {:>6.1} s  {}", row.took.as_secs_f64(), row.name)?;
        }
        eprintln!("{table}");
        let failed: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| row.error.as_ref().map(|error| format!("{}: {error}", row.name)))
            .collect();
        if !failed.is_empty() {
            bail!("{} of {} steps failed:\n{}", failed.len(), self.rows.len(), failed.join("\n"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_step_is_told_at_the_end_and_the_next_still_runs() {
        let mut steps = Steps::on("one");
        assert!(!steps.run("breaks", Duration::from_secs(1), async { bail!("no disk") }).await);
        assert!(!steps.run("hangs", Duration::from_millis(1500), std::future::pending()).await);
        assert!(steps.run("works", Duration::from_secs(1), async { Ok(()) }).await);
        let mut other = Steps::on("other");
        assert!(!other.run("breaks there", Duration::from_secs(1), async { bail!("no NIC") }).await);
        let error = steps.and(other).finish().unwrap_err().to_string();
        assert!(error.contains("breaks there: no NIC"), "{error}");
        assert!(error.starts_with("3 of 4 steps failed"), "{error}");
        assert!(error.contains("breaks: no disk") && error.contains("hangs: not done within 1 s"), "{error}");
    }
}
