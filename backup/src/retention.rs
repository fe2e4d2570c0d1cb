//! Which backups to keep, as a pure function with reasons.
//!
//! For each rule the newest backup of each period is kept, for the given number of periods that have one.
//! Periods are in UTC. A backup stays if any rule, tag or hold wants it; the newest always stays.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::id::BackupId;

/// How many to keep of each; all zero and no tags keeps everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
    /// Backups with any of these tags stay.
    pub tags: Vec<String>,
}

impl Policy {
    /// Whether there is no rule at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: BackupId,
    /// Backups of one series compete; others do not.
    pub series: String,
    /// Milliseconds since 1970.
    pub created: u64,
    /// Counts up within the series: says which is newest, even after a clock was wrong.
    pub number: u64,
    pub tags: Vec<String>,
    /// Under legal hold.
    pub held: bool,
}

/// A backup and why it stays; no reason means it may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    pub id: BackupId,
    pub series: String,
    pub created: u64,
    pub keep_because: Vec<String>,
}

type Period = fn(OffsetDateTime) -> (i32, u32, u32);

fn hour(at: OffsetDateTime) -> (i32, u32, u32) {
    (at.year(), u32::from(at.ordinal()), u32::from(at.hour()))
}

fn day(at: OffsetDateTime) -> (i32, u32, u32) {
    (at.year(), u32::from(at.ordinal()), 0)
}

fn week(at: OffsetDateTime) -> (i32, u32, u32) {
    let (year, week, _) = at.to_iso_week_date();
    (year, u32::from(week), 0)
}

fn month(at: OffsetDateTime) -> (i32, u32, u32) {
    (at.year(), u32::from(u8::from(at.month())), 0)
}

fn year(at: OffsetDateTime) -> (i32, u32, u32) {
    (at.year(), 0, 0)
}

/// Decides on all `candidates`; the answer has their order.
#[must_use]
pub fn decide(candidates: &[Candidate], policy: &Policy) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = candidates
        .iter()
        .map(|candidate| Decision {
            id: candidate.id,
            series: candidate.series.clone(),
            created: candidate.created,
            keep_because: Vec::new(),
        })
        .collect();
    let mut series: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, candidate) in candidates.iter().enumerate() {
        series.entry(&candidate.series).or_default().push(at);
    }
    for rows in series.values_mut() {
        rows.sort_by_key(|&at| {
            let candidate = &candidates[at];
            std::cmp::Reverse((candidate.number, candidate.created, candidate.id))
        });
        decide_series(candidates, policy, rows, &mut decisions);
    }
    decisions
}

/// `rows` are the backups of one series, newest first.
fn decide_series(candidates: &[Candidate], policy: &Policy, rows: &[usize], decisions: &mut [Decision]) {
    let mut keep = |at: usize, why: String| decisions[at].keep_because.push(why);
    if let Some(&newest) = rows.first() {
        keep(newest, "newest".to_owned());
    }
    for &at in rows {
        if policy.is_empty() {
            keep(at, "no rule".to_owned());
        }
        if candidates[at].held {
            keep(at, "legal hold".to_owned());
        }
        for tag in candidates[at].tags.iter().filter(|tag| policy.tags.contains(tag)) {
            keep(at, format!("tag {tag}"));
        }
    }
    for (number, &at) in rows.iter().take(policy.last as usize).enumerate() {
        keep(at, format!("last {}", number + 1));
    }
    let rules: [(&str, u32, Period); 5] = [
        ("hourly", policy.hourly, hour),
        ("daily", policy.daily, day),
        ("weekly", policy.weekly, week),
        ("monthly", policy.monthly, month),
        ("yearly", policy.yearly, year),
    ];
    for (name, count, period) in rules {
        let mut seen = 0;
        let mut last = None;
        for &at in rows {
            let Ok(time) = OffsetDateTime::from_unix_timestamp((candidates[at].created / 1000) as i64) else {
                // A date past the year 9999 cannot be put in a period: such a backup stays.
                keep(at, "unreadable date".to_owned());
                continue;
            };
            let here = Some(period(time));
            if seen < count && here != last {
                seen += 1;
                last = here;
                keep(at, format!("{name} {seen}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> u64 {
        let format = &time::format_description::well_known::Rfc3339;
        OffsetDateTime::parse(&format!("{text}:00Z"), format).unwrap().unix_timestamp() as u64 * 1000
    }

    fn candidate(number: u8, created: u64) -> Candidate {
        let id = BackupId([number; 16]);
        Candidate { id, series: "vm".to_owned(), created, number: 0, tags: Vec::new(), held: false }
    }

    fn kept(dates: &[&str], policy: &Policy) -> Vec<usize> {
        let candidates: Vec<Candidate> =
            dates.iter().enumerate().map(|(n, date)| candidate(n as u8, at(date))).collect();
        let decisions = decide(&candidates, policy);
        (0..dates.len()).filter(|&n| !decisions[n].keep_because.is_empty()).collect()
    }

    #[test]
    fn rules() {
        let days = ["2026-01-01T01:00", "2026-01-01T23:00", "2026-01-02T01:00", "2026-01-05T01:00"];
        let base = Policy::default();
        let table: [(&str, Policy, &[usize]); 8] = [
            ("no rule keeps all", base.clone(), &[0, 1, 2, 3]),
            ("last", Policy { last: 2, ..base.clone() }, &[2, 3]),
            ("newest of a day", Policy { daily: 3, ..base.clone() }, &[1, 2, 3]),
            ("days without backups do not count", Policy { daily: 2, ..base.clone() }, &[2, 3]),
            ("weeks are ISO weeks", Policy { weekly: 2, ..base.clone() }, &[2, 3]),
            ("monthly", Policy { monthly: 12, ..base.clone() }, &[3]),
            ("hourly and yearly add up", Policy { hourly: 3, yearly: 1, ..base.clone() }, &[1, 2, 3]),
            ("a tag nobody has keeps the newest", Policy { tags: vec!["x".to_owned()], ..base }, &[3]),
        ];
        for (name, policy, expected) in table {
            assert_eq!(kept(&days, &policy), expected, "{name}");
        }
    }

    #[test]
    fn holds_and_tags_stay() {
        let mut list = vec![candidate(0, 0), candidate(1, 1), candidate(2, 2)];
        list[0].held = true;
        list[1].tags = vec!["gold".to_owned()];
        let policy = Policy { last: 1, tags: vec!["gold".to_owned()], ..Policy::default() };
        let why: Vec<Vec<String>> = decide(&list, &policy).into_iter().map(|d| d.keep_because).collect();
        assert_eq!(why, [vec!["legal hold"], vec!["tag gold"], vec!["newest", "last 1"]]);
    }

    proptest! {
        #[test]
        fn pruning_twice_changes_nothing(
            times in prop::collection::vec(0u64..4_000_000_000_000, 1..40),
            (last, daily, weekly) in (0u32..4, 0u32..4, 0u32..4),
        ) {
            let policy = Policy { last, daily, weekly, ..Policy::default() };
            let all: Vec<Candidate> =
                times.iter().enumerate().map(|(n, &time)| candidate(n as u8, time)).collect();
            let keeps = |list: &[Candidate]| -> Vec<BackupId> {
                decide(list, &policy).into_iter().filter(|d| !d.keep_because.is_empty()).map(|d| d.id).collect()
            };
            let once = keeps(&all);
            let left: Vec<Candidate> = all.iter().filter(|c| once.contains(&c.id)).cloned().collect();
            prop_assert_eq!(keeps(&left), once);
        }
    }
}
