//! Figures, as they are printed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Durations of one thing.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds that this part of all is within.
    fn within(&mut self, part: f64) -> f64 {
        self.0.sort_unstable();
        let index = (self.0.len() as f64 * part) as usize;
        let time = self.0.get(index.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default();
        time.as_secs_f64() * 1e3
    }

    /// Milliseconds.
    pub fn p99(&mut self) -> f64 {
        self.within(0.99)
    }

    /// `median / p99 / worst`.
    pub fn show(&mut self) -> String {
        let [median, p99, worst] = [0.5, 0.99, 1.0].map(|part| self.within(part));
        format!("median {median:.1} ms, p99 {p99:.1} ms, worst {worst:.1} ms ({} times)", self.0.len())
    }
}

pub fn line(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<64} {figure}");
}

/// What must be kept, held against figures: those that were missed. What was not measured is missed.
#[derive(Debug, Default)]
pub struct Promises(Vec<String>);

impl Promises {
    pub fn at_most(&mut self, what: &str, figure: f64, must: f64) {
        if figure.is_nan() || figure > must {
            self.0.push(format!("{what}: {figure:.1}, must be at most {must}"));
        }
    }

    pub fn at_least(&mut self, what: &str, figure: f64, must: f64) {
        if figure.is_nan() || figure < must {
            self.0.push(format!("{what}: {figure:.1}, must be at least {must}"));
        }
    }

    /// Times of one thing, by their p99 in milliseconds.
    pub fn times(&mut self, what: &str, times: &mut Times, must: f64) {
        line(what, times.show());
        let p99 = if times.count() == 0 { f64::NAN } else { times.p99() };
        self.at_most(what, p99, must);
    }

    /// Names what was missed; an error where anything was.
    pub fn finish(self) -> Result<()> {
        for missed in &self.0 {
            println!("missed: {missed}");
        }
        ensure!(self.0.is_empty(), "{} promises were missed", self.0.len());
        Ok(())
    }
}

/// Resident bytes and CPU time of a process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub resident: u64,
    pub cpu: Duration,
}

/// From `/proc/PID/statm` and `/proc/PID/stat` (`man 5 proc`): pages of 4 KiB, ticks of 10 ms.
pub fn usage(pid: u32) -> Result<Usage> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = statm.split(' ').nth(1).context("statm has a second field")?.parse()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("stat has a name")?;
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(2).filter_map(|tick| tick.parse::<u64>().ok()).sum();
    Ok(Usage { resident: pages * 4096, cpu: Duration::from_millis(ticks * 10) })
}

/// CPU time of a process by the names of its threads, most first; names without their numbers.
pub fn threads(pid: u32) -> Result<Vec<(String, Duration)>> {
    let mut by_name = std::collections::HashMap::<String, Duration>::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = entry?.path();
        // One that ended meanwhile has nothing to tell.
        let Ok(stat) = std::fs::read_to_string(folder.join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(')').context("stat has a name")?;
        let name = name.split_once('(').map_or(name, |(_, name)| name);
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).filter_map(|tick| tick.parse::<u64>().ok()).sum();
        *by_name.entry(name).or_default() += Duration::from_millis(ticks * 10);
    }
    let mut threads: Vec<_> = by_name.into_iter().collect();
    threads.sort_by_key(|(_, cpu)| std::cmp::Reverse(*cpu));
    Ok(threads)
}

/// `tokio-rt-worker 82 %, store-writer 5 %`: of one CPU, since `before`.
pub fn shares(pid: u32, before: &[(String, Duration)], wall: Duration) -> Result<String> {
    let now = threads(pid)?;
    let share = |(name, cpu): &(String, Duration)| {
        let old = before.iter().find(|(other, _)| other == name).map_or(Duration::ZERO, |(_, cpu)| *cpu);
        let percent = cpu.saturating_sub(old).as_secs_f64() / wall.as_secs_f64() * 100.0;
        (percent >= 0.5).then(|| format!("{name} {percent:.0} %"))
    };
    Ok(now.iter().filter_map(share).collect::<Vec<_>>().join(", "))
}

/// What the machine was busy with besides.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_named_and_fails_the_run() {
        let mut promises = Promises::default();
        promises.at_most("start, s", 15.0, 15.0);
        promises.at_least("updates", 50_000.0, 50_000.0);
        let mut times = Times::default();
        (1..=100).for_each(|ms| times.add(Duration::from_millis(ms)));
        promises.times("page, ms", &mut times, 100.0);
        assert!(promises.finish().is_ok());

        let mut promises = Promises::default();
        promises.at_most("start, s", 15.1, 15.0);
        promises.at_least("updates", 49_999.0, 50_000.0);
        promises.times("page, ms", &mut times, 99.0);
        let expected = [
            "start, s: 15.1, must be at most 15",
            "updates: 49999.0, must be at least 50000",
            "page, ms: 100.0, must be at most 99",
        ];
        assert_eq!(promises.0, expected);
        assert_eq!(promises.finish().unwrap_err().to_string(), "3 promises were missed");
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let mut promises = Promises::default();
        promises.times("page, ms", &mut Times::default(), 100.0);
        promises.at_least("updates", f64::NAN, 50_000.0);
        let expected = ["page, ms: NaN, must be at most 100", "updates: NaN, must be at least 50000"];
        assert_eq!(promises.0, expected);
    }
}
