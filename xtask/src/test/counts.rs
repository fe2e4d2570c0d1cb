//! How many tests ran, read from the last lines of the test runners.

use std::fmt;
use std::ops::AddAssign;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    /// The form that pipelines read: `12 passed, 0 failed, 3 skipped`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Whose closing lines to look for. Only those: nextest shows the harness's own lines of each failed test, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// `Summary [ 1.2s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 2 skipped`
    Nextest,
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
    Harness,
    /// `Tests  1 failed | 11 passed | 2 skipped (14)`
    Vitest,
}

impl Counts {
    /// What a line of output says, if it is a closing line of `runner`.
    pub fn of_line(runner: Runner, line: &str) -> Option<Self> {
        let line = without_colours(line);
        let line = line.trim();
        let tail = match runner {
            Runner::Nextest => line.strip_prefix("Summary [")?.split_once(" run: ")?.1,
            Runner::Harness => line.strip_prefix("test result: ")?.split_once(". ")?.1,
            Runner::Vitest => line.strip_prefix("Tests  ")?,
        };
        let mut counts = Self::default();
        for part in tail.split([',', ';', '|']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(kind)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match kind {
                "passed" => counts.passed += number,
                "skipped" | "ignored" => counts.skipped += number,
                "failed" | "timed" | "exec" => counts.failed += number,
                _ => {}
            }
        }
        Some(counts)
    }
}

/// The text without terminal escapes of the kind `ESC [ … m`.
fn without_colours(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        text.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_read() {
        use Runner::{Harness, Nextest, Vitest};
        let harness =
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s";
        for (name, runner, line, expected) in [
            ("all", Nextest, "     Summary [   0.012s] 12 tests run: 12 passed, 0 skipped", Some((12, 0, 0))),
            (
                "everything",
                Nextest,
                "Summary [ 9.1s] 12/14 tests run: 8 passed (1 slow, 1 leaky), 2 failed, 1 timed out, 1 exec failed, 3 skipped",
                Some((8, 4, 3)),
            ),
            (
                "in colour",
                Nextest,
                "\u{1b}[32;1m Summary\u{1b}[0m [ 1s] \u{1b}[1m1\u{1b}[0m test run: \u{1b}[1m1\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m, 0 skipped",
                Some((1, 0, 0)),
            ),
            ("a failed test's own lines", Nextest, harness, None),
            ("harness", Harness, harness, Some((3, 0, 1))),
            (
                "harness failed",
                Harness,
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                Some((3, 2, 0)),
            ),
            ("a test's line", Harness, "test tests::it_works ... ok", None),
            ("vitest", Vitest, "      Tests  1 failed | 11 passed | 2 skipped (14)", Some((11, 1, 2))),
            ("vitest's files are no tests", Vitest, " Test Files  2 passed (2)", None),
            ("nothing", Nextest, "", None),
        ] {
            let found = Counts::of_line(runner, line).map(|c| (c.passed, c.failed, c.skipped));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn the_sum_reads_as_a_closing_line() {
        let mut sum = Counts { passed: 2, ..Counts::default() };
        sum += Counts { passed: 1, failed: 1, skipped: 4 };
        assert_eq!(sum.to_string(), "3 passed, 1 failed, 4 skipped");
    }
}
