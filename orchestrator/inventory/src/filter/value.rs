//! Values of fields: numbers with units, choices, texts.

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};
use xenith_common_units::MemoryMiB;

use super::{Bound, Test};
use crate::schema::{ColumnKind, ColumnSpec, Unit};

/// A number as written may cover a range: a date is a whole day.
pub(super) struct Span {
    pub from: u64,
    pub to: u64,
}

impl Span {
    const fn point(value: u64) -> Self {
        Self { from: value, to: value }
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;

pub(super) const fn unit_of(kind: ColumnKind) -> Option<Unit> {
    match kind {
        ColumnKind::Number(unit) => Some(unit),
        ColumnKind::Age(_) => Some(Unit::Duration),
        _ => None,
    }
}

/// What a value of this column looks like, for errors and completions.
pub(super) fn expected(column: &ColumnSpec) -> String {
    match column.kind {
        ColumnKind::Choice(values) => format!("give one of {}", values.join(", ")),
        kind => match unit_of(kind) {
            Some(Unit::Count) => "give a number, such as 4, >=2 or 2..8".to_owned(),
            Some(Unit::Memory) => "give an amount of memory, such as >8GiB or 512MiB..2GiB".to_owned(),
            Some(Unit::Percent) => "give a percentage, such as >50% or 10..20".to_owned(),
            Some(Unit::Time) => "give a date or time, such as >2026-01-31 or 2026-01-31T12:00:00Z".to_owned(),
            Some(Unit::Duration) => "give a duration, such as >7d, <12h or 30m..2h".to_owned(),
            None => "give a word, a quoted text or a /regex/".to_owned(),
        },
    }
}

/// A number in stored units; `None`: it is none.
pub(super) fn parse_number(unit: Unit, text: &str) -> Option<Span> {
    match unit {
        Unit::Count => text.parse().ok().filter(|n| *n < u64::MAX).map(Span::point),
        Unit::Memory => text.parse::<MemoryMiB>().ok().map(|memory| Span::point(memory.mib())),
        Unit::Percent => parse_percent(text).map(Span::point),
        Unit::Time => parse_time(text),
        Unit::Duration => parse_duration(text).map(Span::point),
    }
}

fn parse_percent(text: &str) -> Option<u64> {
    let text = text.strip_suffix('%').unwrap_or(text);
    let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() > 1 {
        return None;
    }
    whole.parse::<u64>().ok()?.checked_mul(10)?.checked_add(tenth.parse().ok()?).filter(|n| *n < u64::MAX)
}

fn parse_time(text: &str) -> Option<Span> {
    let ms = |at: OffsetDateTime| u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok();
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        let from = ms(date.with_time(Time::MIDNIGHT).assume_utc())?;
        return Some(Span { from, to: from + DAY_MS - 1 });
    }
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(ms).map(Span::point)
}

fn parse_duration(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let seconds = match &text[digits..] {
        "s" | "" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).filter(|n| *n < u64::MAX)
}

/// A number as the parser takes it back.
pub(crate) fn show_number(unit: Unit, value: u64) -> String {
    match unit {
        Unit::Count => value.to_string(),
        Unit::Memory if value > 0 && value.is_multiple_of(1024) => format!("{}GiB", value / 1024),
        Unit::Memory => format!("{value}MiB"),
        Unit::Percent if value.is_multiple_of(10) => format!("{}%", value / 10),
        Unit::Percent => format!("{}.{}%", value / 10, value % 10),
        Unit::Time => {
            let nanos = i128::from(value) * 1_000_000;
            let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
            at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| value.to_string())
        }
        Unit::Duration => match value {
            0 => "0s".to_owned(),
            v if v.is_multiple_of(86_400) => format!("{}d", v / 86_400),
            v if v.is_multiple_of(3600) => format!("{}h", v / 3600),
            v if v.is_multiple_of(60) => format!("{}m", v / 60),
            v => format!("{v}s"),
        },
    }
}

/// `>8GiB`, `2..8`, `4`: a test of numbers. `None`: not understood.
pub(super) fn parse_range(unit: Unit, text: &str) -> Option<Test> {
    if let Some((from, to)) = text.split_once("..") {
        let bound = |text: &str, end: fn(Span) -> u64| match text {
            "" => Some(Bound::Open),
            text => parse_number(unit, text).map(|span| Bound::At(end(span))),
        };
        let (from, to) = (bound(from, |span| span.from)?, bound(to, |span| span.to)?);
        return (from != Bound::Open || to != Bound::Open).then_some(Test::Range(from, to));
    }
    let (operator, number) = split_operator(text);
    let span = parse_number(unit, number)?;
    Some(match operator {
        // Stored numbers stay below u64::MAX (which means "none"), and so does one more or one less.
        ">" => Test::Range(Bound::At(span.to + 1), Bound::Open),
        ">=" => Test::Range(Bound::At(span.from), Bound::Open),
        "<=" => Test::Range(Bound::Open, Bound::At(span.to)),
        "<" => match span.from.checked_sub(1) {
            Some(to) => Test::Range(Bound::Open, Bound::At(to)),
            // Less than nothing: an empty range, which is a fair question.
            None => Test::Range(Bound::At(1), Bound::At(0)),
        },
        _ => Test::Range(Bound::At(span.from), Bound::At(span.to)),
    })
}

/// The comparison in front of a value, if any.
pub(super) fn split_operator(text: &str) -> (&str, &str) {
    let len = [">=", "<=", ">", "<", "="].into_iter().find(|op| text.starts_with(op)).map_or(0, str::len);
    text.split_at(len)
}
