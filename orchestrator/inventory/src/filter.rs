//! The filter language: one grammar for the API, the CLI and the UI.
//!
//! ```text
//! filter  := or?                                   empty: everything
//! or      := and (("or" | "OR") and)*
//! and     := not (("and" | "AND")? not)*           a space means and
//! not     := ("-" | "not" | "NOT") not | primary
//! primary := "(" or ")" | term | text
//! term    := field ":" value ("," value)*          any of the values
//! value   := compare? word | word? ".." word? | "none" | "any" | "/" regex "/" | quoted
//! compare := ">" | ">=" | "<" | "<=" | "="
//! text    := word | quoted                         found in any searched column
//! quoted  := '"' (char | '\"' | '\\')* '"'
//! ```
//!
//! `power:running host:xen1 tag:prod memory:>8GiB name:/^db/ -tag:old (web or mail) "free text"`
//!
//! * Words end at a space, a bracket, a quote or (in a value) a comma; quote what holds those.
//! * `host:` and `tag:` compare whole values, `name:` and `os:` look for a part; `name:=web` compares whole.
//!   Case never matters, except in regexes (`/(?i)web/`).
//! * `none` finds rows without a value, `any` those with one.
//! * Numbers have units: `memory:4GiB`, `cpu:>50%`, `uptime:>7d`, `created:>2026-01-31`, ranges `2..8`.
//!
//! The parser takes what a person typed: at most [`MAX_BYTES`], nested at most [`MAX_DEPTH`] deep, at most
//! [`MAX_TERMS`] terms; it never panics, and its errors say where and what would have been right. [`Filter`] prints as
//! text that parses to an equal filter.

mod complete;
mod error;
mod lexer;
mod parser;
mod print;
mod value;

pub use complete::{Candidate, Completion, complete};
pub use error::{FilterError, FilterErrorKind};
pub(crate) use parser::compile_regex;
pub use parser::parse;

/// Longest filter in bytes.
pub const MAX_BYTES: usize = 4096;
/// Deepest nesting of brackets and negations.
pub const MAX_DEPTH: usize = 32;
/// Most terms and texts.
pub const MAX_TERMS: usize = 256;

/// A parsed filter, for the schema it was parsed with.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Everything.
    All,
    /// Two or more, none of them `And` or `All`.
    And(Vec<Filter>),
    /// Two or more, none of them `Or` or `All`.
    Or(Vec<Filter>),
    Not(Box<Filter>),
    /// A part of any searched column.
    Text(String),
    /// By the beginning of the id, in lower case, 1 to 36 of `0-9a-f-`.
    Id(String),
    Term(Term),
}

impl Filter {
    /// What both let through.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let parts = |filter| match filter {
            Self::All => vec![],
            Self::And(parts) => parts,
            other => vec![other],
        };
        let mut both = parts(self);
        both.extend(parts(other));
        if both.len() > 1 { Self::And(both) } else { both.pop().unwrap_or(Self::All) }
    }
}

/// A test of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Position in the schema.
    pub column: usize,
    /// Of `field.<key>`.
    pub key: Option<String>,
    /// One or more; any may hold.
    pub tests: Vec<Test>,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// There is no value.
    None,
    /// There is one.
    Any,
    /// As the column compares: whole or part. For numbers see `Range`.
    Match(String),
    /// Whole, in a column that looks for parts.
    Whole(String),
    /// A regular expression, as it was written.
    Regex(String),
    /// Numbers from `from` to `to`, both inclusive, in the column's unit. `..` of nothing is not possible.
    Range(Bound, Bound),
}

/// One end of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Open,
    /// Included; in stored units.
    At(u64),
}
