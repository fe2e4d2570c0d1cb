//! When a job runs next: cron in a time zone.

use std::str::FromStr;

use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use time::OffsetDateTime;

/// A schedule that was understood.
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// `None` for an empty one. An empty zone is UTC. The error says which of the two is wrong and how.
    pub fn parse(schedule: &str, timezone: &str) -> Result<Option<Self>, (&'static str, String)> {
        let zone = match timezone {
            "" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| {
                (
                    "timezone",
                    format!(
                        "{name:?} is not a time zone this machine knows; write Europe/Berlin, for instance"
                    ),
                )
            })?,
        };
        if schedule.trim().is_empty() {
            return Ok(None);
        }
        if schedule.split_whitespace().count() != 5 && !schedule.trim().starts_with('@') {
            return Err(("schedule", "give five fields: minute, hour, day, month, weekday".to_owned()));
        }
        let cron = Cron::from_str(schedule.trim()).map_err(|error| ("schedule", error.to_string()))?;
        Ok(Some(Self { cron, zone }))
    }

    /// The first point after `after`. `None`: there is none (the 31st of February).
    #[must_use]
    pub fn next(&self, after: OffsetDateTime) -> Option<OffsetDateTime> {
        let after = Timestamp::from_second(after.unix_timestamp()).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        OffsetDateTime::from_unix_timestamp(next.timestamp().as_second()).ok()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_clock_on_the_wall_decides() {
        let table = [
            ("30 2 * * *", "", datetime!(2026-01-10 03:00 UTC), Some(datetime!(2026-01-11 02:30 UTC))),
            (
                "0 5 * * MON",
                "Asia/Tokyo",
                datetime!(2026-01-10 00:00 UTC),
                Some(datetime!(2026-01-11 20:00 UTC)),
            ),
            // Summer time: the same hour on the wall is another one of UTC.
            (
                "0 4 * * *",
                "Europe/Berlin",
                datetime!(2026-03-28 12:00 UTC),
                Some(datetime!(2026-03-29 02:00 UTC)),
            ),
            (
                "0 4 * * *",
                "Europe/Berlin",
                datetime!(2026-03-27 12:00 UTC),
                Some(datetime!(2026-03-28 03:00 UTC)),
            ),
            ("0 0 31 2 *", "", datetime!(2026-01-10 00:00 UTC), None),
        ];
        for (cron, zone, after, next) in table {
            let schedule = Schedule::parse(cron, zone).unwrap().unwrap();
            assert_eq!(schedule.next(after), next, "{cron} {zone}");
        }
        assert!(Schedule::parse("", "").unwrap().is_none());
        for (cron, zone, field) in [
            ("nonsense", "", "schedule"),
            ("61 * * * *", "", "schedule"),
            ("0 0 * * *", "Mars/Olympus", "timezone"),
        ] {
            assert_eq!(Schedule::parse(cron, zone).err().unwrap().0, field, "{cron} {zone}");
        }
    }
}
