//! Lists: filtered, sorted and paged by the server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListRequest {
    /// The filter language: `power:running tag:prod name:/^db/`. Empty: everything.
    pub filter: String,
    /// A column, with `-` in front for descending. Empty: by name.
    pub sort: String,
    /// At most this many rows, 1 to 1000; 0 stands for 100.
    pub limit: u32,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl ListRequest {
    pub const DEFAULT_LIMIT: u32 = 100;
    pub const MAX_LIMIT: u32 = 1000;

    /// The number of rows to give.
    #[must_use]
    pub fn effective_limit(&self) -> usize {
        effective_limit(self.limit)
    }
}

/// How many rows a request asks for: 0 stands for the default, and more than the most is the most.
#[must_use]
pub const fn effective_limit(asked: u32) -> usize {
    let limit = match asked {
        0 => ListRequest::DEFAULT_LIMIT,
        many if many > ListRequest::MAX_LIMIT => ListRequest::MAX_LIMIT,
        some => some,
    };
    limit as usize
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// How many there are in all that the caller may see and the filter lets through.
    pub total: u64,
    /// Asks for the next page; `None` on the last.
    pub next: Option<String>,
    /// Of lists that can be followed: `subscribe` goes on from here with `since`. Opaque.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl<T> Page<T> {
    /// The same page with its items made into others.
    #[must_use]
    pub fn map<U>(self, into: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, total, next, revision } = self;
        Page { items: items.into_iter().map(into).collect(), total, next, revision }
    }
}
