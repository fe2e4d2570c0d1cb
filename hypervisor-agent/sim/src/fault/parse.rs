//! Fault rules as one line of text. `Display` writes what `FromStr` reads.
//!
//! ```text
//! rule    = verb which subject [ "of" PATTERN ] [ "with" FAILURE | "for" DURATION ]
//! verb    = "fail" | "spoil" | "hang" | "lose"
//! which   = "every" | "the next" [ COUNT ] | "the" ORDINAL | NUMBER "%"
//! subject = an operation, or for "lose" an event
//! ```

use std::fmt;
use std::str::{FromStr, SplitWhitespace};

use serde::Deserialize;

use super::{Effect, EventName, Failure, FaultRule, Which};
use crate::Operation;
use crate::delay::parse_duration;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault {rule:?}: {problem}")]
pub struct ParseFaultError {
    pub rule: String,
    /// What is wrong, and what is allowed there.
    pub problem: String,
}

impl Failure {
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::NoMemory, "no-memory"),
        (Self::OutOfMemory, "out-of-memory"),
        (Self::NotAXenHost, "not-a-xen-host"),
        (Self::NoSuchDomain, "no-such-domain"),
        (Self::NoSuchDevice, "no-such-device"),
        (Self::AlreadyAttached, "already-attached"),
        (Self::WrongStatus, "wrong-status"),
        (Self::NameTaken, "name-taken"),
        (Self::InvalidSpec, "invalid-spec"),
        (Self::Device, "device"),
        (Self::Unsupported, "unsupported"),
        (Self::Unresponsive, "unresponsive"),
        (Self::TimedOut, "timed-out"),
        (Self::Failed, "failed"),
        (Self::Closed, "closed"),
    ];
}

impl EventName {
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Appeared, "appeared"), (Self::Died, "died"), (Self::Gone, "gone")];
}

/// A closed list of words, for parsing and for saying what is allowed.
fn word<T: Copy>(text: &str, what: &str, all: &[(T, &'static str)]) -> Result<T, String> {
    all.iter().find(|(_, name)| *name == text).map(|(value, _)| *value).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(_, name)| *name).collect();
        format!("{text:?} is not {what}; use {}", names.join(", "))
    })
}

fn spelled<T: Copy + PartialEq>(value: T, all: &[(T, &'static str)]) -> &'static str {
    all.iter().find(|(other, _)| *other == value).map_or("?", |(_, name)| name)
}

fn parse_which<'a>(words: &mut SplitWhitespace<'a>) -> Result<(Which, &'a str), String> {
    let mut next = || words.next().ok_or_else(|| "ends too early".to_owned());
    let which = match next()? {
        "every" => Which::Every,
        "the" => match next()? {
            "next" => {
                let after = next()?;
                let Ok(count) = after.parse::<u64>() else {
                    return Ok((Which::Window { first: 0, count: 1 }, after));
                };
                Which::Window { first: 0, count }
            }
            ordinal => {
                let digits = ordinal.trim_end_matches(|c: char| c.is_ascii_lowercase());
                let nth = digits.parse::<u64>().ok().filter(|nth| *nth > 0);
                let nth = nth.ok_or_else(|| format!("{ordinal:?} is not next or a number such as 3rd"))?;
                Which::Window { first: nth - 1, count: 1 }
            }
        },
        other => {
            let percent = other.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            Which::Percent(percent.ok_or_else(|| format!("{other:?} is not every, the next, the 3rd or 2%"))?)
        }
    };
    Ok((which, next()?))
}

fn parse(rule: &str) -> Result<FaultRule, String> {
    let mut words = rule.split_whitespace();
    let verb = words.next().ok_or("is empty")?;
    let (which, subject) = parse_which(&mut words)?;
    let mut of = None;
    let mut next = words.next();
    if next == Some("of") {
        of = Some(words.next().ok_or("needs a name after \"of\"")?.into());
        next = words.next();
    }
    let operation = || word(subject, "an operation", &Operation::ALL);
    let mut ending = |keyword: &str, what: &str| match (next, words.next()) {
        (Some(found), Some(value)) if found == keyword => Ok(value),
        _ => Err(format!("needs {keyword:?} and {what} at its end")),
    };
    let mut failure = || word(ending("with", "a failure")?, "a failure", &Failure::ALL);
    let effect = match verb {
        "fail" => Effect::Fail(operation()?, failure()?),
        "spoil" => Effect::Spoil(operation()?, failure()?),
        "hang" => {
            let text = ending("for", "a time such as 10s")?;
            let longer = parse_duration(text).ok_or_else(|| format!("{text:?} is not a time such as 10s"))?;
            Effect::Hang(operation()?, longer)
        }
        "lose" if next.is_none() => Effect::Lose(word(subject, "an event", &EventName::ALL)?),
        "lose" => return Err("takes nothing after the event but \"of\" and a name".to_owned()),
        other => return Err(format!("{other:?} is not fail, spoil, hang or lose")),
    };
    match words.next() {
        Some(extra) => Err(format!("{extra:?} is too much")),
        None => Ok(FaultRule { effect, which, of }),
    }
}

impl FromStr for FaultRule {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, ParseFaultError> {
        parse(text).map_err(|problem| ParseFaultError { rule: text.to_owned(), problem })
    }
}

impl<'de> Deserialize<'de> for FaultRule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("every"),
            Self::Window { first: 0, count: 1 } => f.write_str("the next"),
            Self::Window { first: 0, count } => write!(f, "the next {count}"),
            Self::Window { first, .. } => write!(f, "the {}th", first + 1),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, subject) = match self.effect {
            Effect::Fail(operation, _) => ("fail", operation.as_str()),
            Effect::Spoil(operation, _) => ("spoil", operation.as_str()),
            Effect::Hang(operation, _) => ("hang", operation.as_str()),
            Effect::Lose(event) => ("lose", spelled(event, &EventName::ALL)),
        };
        write!(f, "{verb} {} {subject}", self.which)?;
        if let Some(of) = &self.of {
            write!(f, " of {of}")?;
        }
        match self.effect {
            Effect::Fail(_, failure) | Effect::Spoil(_, failure) => {
                write!(f, " with {}", spelled(failure, &Failure::ALL))
            }
            Effect::Hang(_, longer) => {
                write!(f, " for {}", humantime::format_duration(longer).to_string().replace(' ', ""))
            }
            Effect::Lose(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for text in [
            "fail the next create with no-memory",
            "fail the 4th create with no-memory",
            "fail every attach-disk of xvdb with device",
            "spoil the next 3 create of web-* with timed-out",
            "hang the next shutdown for 10s",
            "hang every destroy of db for 1m30s",
            "fail 2.5% suspend with failed",
            "lose the next died",
            "lose every appeared of web-1",
            "hang every has-taken-up for 1s",
            "fail the next detach-disk of xvda with no-such-device",
        ] {
            let rule: FaultRule = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rule.to_string(), text);
        }
        let third: FaultRule = "fail the 3rd create with no-memory".parse().unwrap();
        assert_eq!(third, FaultRule::fail(Operation::Create, Failure::NoMemory).nth(3));
    }

    #[test]
    fn problems_say_what_is_allowed() {
        for (text, problem) in [
            ("", "is empty"),
            ("fail", "ends too early"),
            ("break the next create with failed", "not fail, spoil, hang or lose"),
            ("fail the next creates with failed", "attach-disk"),
            ("fail the 0th create with failed", "not next or a number"),
            ("fail 200% create with failed", "or 2%"),
            ("fail the next create", "needs \"with\""),
            ("fail the next create with sorrow", "no-memory"),
            ("hang the next create for ever", "not a time"),
            ("hang the next create with failed", "needs \"for\""),
            ("lose the next resync", "appeared, died, gone"),
            ("lose the next died with failed", "takes nothing"),
            ("fail the next create with failed twice", "too much"),
        ] {
            let error = text.parse::<FaultRule>().unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {}", error.problem);
        }
    }
}
