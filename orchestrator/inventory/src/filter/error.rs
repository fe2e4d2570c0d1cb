//! What is wrong with a filter, where, and what would be right.

use std::fmt;
use std::ops::Range;

/// A filter that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// Bytes of the text.
    pub at: Range<usize>,
    pub kind: FilterErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterErrorKind {
    UnknownField {
        field: String,
        allowed: Vec<&'static str>,
        similar: Option<&'static str>,
    },
    /// `expected` names the allowed values, or shows an example.
    BadValue {
        field: String,
        value: String,
        expected: String,
    },
    MissingValue {
        field: String,
    },
    /// A comparison or range where there are no numbers.
    NotComparable {
        field: String,
    },
    BadRegex {
        detail: String,
    },
    UnclosedQuote,
    UnclosedBracket,
    StrayBracket,
    /// An operator without something on one side.
    Dangling {
        operator: String,
    },
    TooLong,
    TooDeep,
    TooManyTerms,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FilterErrorKind::UnknownField { field, allowed, similar } => {
                write!(f, "there is no field {field:?}")?;
                match similar {
                    Some(similar) => write!(f, "; did you mean {similar:?}? ")?,
                    None => f.write_str("; ")?,
                }
                write!(f, "fields are {}", allowed.join(", "))
            }
            FilterErrorKind::BadValue { field, value, expected } => {
                write!(f, "{value:?} is not a value of {field:?}; {expected}")
            }
            FilterErrorKind::MissingValue { field } => {
                write!(f, "{field:?} needs a value behind the colon, or quotes if it is meant as text")
            }
            FilterErrorKind::NotComparable { field } => {
                write!(f, "{field:?} is not a number, so it has no greater, less or range")
            }
            FilterErrorKind::BadRegex { detail } => {
                write!(f, "the regular expression cannot be used: {detail}")
            }
            FilterErrorKind::UnclosedQuote => f.write_str("a quote or regular expression is not closed"),
            FilterErrorKind::UnclosedBracket => f.write_str("a bracket is not closed"),
            FilterErrorKind::StrayBracket => f.write_str("a bracket is closed that was not opened"),
            FilterErrorKind::Dangling { operator } => write!(f, "{operator:?} needs something beside it"),
            FilterErrorKind::TooLong => write!(f, "the filter is longer than {} bytes", super::MAX_BYTES),
            FilterErrorKind::TooDeep => write!(f, "brackets are nested deeper than {}", super::MAX_DEPTH),
            FilterErrorKind::TooManyTerms => write!(f, "there are more than {} terms", super::MAX_TERMS),
        }?;
        write!(f, " (at character {})", self.at.start + 1)
    }
}

impl std::error::Error for FilterError {}
