//! The small steps that every conversion is made of.

use std::fmt::Display;
use std::str::FromStr;

use xenith_hypervisor_agent_types::FaultReason;

/// A wire value that is not a domain value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// The path of the field: `spec.disks[1].device`.
    pub field: String,
    pub problem: String,
    /// [`FaultReason::Invalid`], or [`FaultReason::Unsupported`] for what only a newer version knows.
    pub reason: FaultReason,
}

impl WireError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Display) -> Self {
        Self { field: field.into(), problem: problem.to_string(), reason: FaultReason::Invalid }
    }
}

/// Puts `parent` in front of the path of an error.
pub(crate) fn under<T>(parent: impl Display, result: Result<T, WireError>) -> Result<T, WireError> {
    result.map_err(|error| WireError { field: format!("{parent}.{}", error.field), ..error })
}

/// Parses a text into an id, a name, an address, …
pub(crate) fn id<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, WireError> {
    text.parse().map_err(|error| WireError::new(field, error))
}

/// The same for a text that may be empty, which stands for none.
pub(crate) fn optional_id<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<Option<T>, WireError> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::new(field, "is missing"))
}

/// A choice of a request (a `oneof`), called `noun`. One that was added after this program was built does not arrive at
/// all: it looks like none.
pub(crate) fn asked<T>(field: &str, noun: &str, choice: Option<T>) -> Result<T, WireError> {
    known(field, choice, format_args!("a {noun} that this agent does not know; upgrade the agent"))
}

/// The same for what an agent answers.
pub(crate) fn answered<T>(field: &str, choice: Option<T>) -> Result<T, WireError> {
    known(field, choice, "an answer that this version does not know; upgrade the orchestrator")
}

fn known<T>(field: &str, choice: Option<T>, problem: impl Display) -> Result<T, WireError> {
    choice.ok_or_else(|| WireError { reason: FaultReason::Unsupported, ..WireError::new(field, problem) })
}

/// Both directions between a wire enum and a domain enum, from one table.
macro_rules! enums {
    ($(fn $to:ident, $from:ident: $wire:ident <-> $domain:ident { $($variant:ident = $value:expr,)* })*) => {$(
        pub(crate) fn $to(value: $domain) -> i32 {
            $(if value == $value { return crate::wire::$wire::$variant as i32; })*
            crate::wire::$wire::Unspecified as i32
        }

        pub(crate) fn $from(field: &str, value: i32) -> Result<$domain, crate::WireError> {
            match crate::wire::$wire::try_from(value) {
                $(Ok(crate::wire::$wire::$variant) => Ok($value),)*
                Ok(crate::wire::$wire::Unspecified) => Err(crate::WireError::new(field, "is missing")),
                Err(_) => Err(crate::WireError::new(field, format!("{value} has no meaning here"))),
            }
        }
    )*};
}
pub(crate) use enums;
