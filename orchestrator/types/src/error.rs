//! The one error of the API. `data.reason` is stable and for programs; `message` is for people.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Listed with its meaning in docs/errors.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Not signed in, or the session or token is over.
    Unauthenticated,
    /// Signed in, but not allowed.
    Forbidden,
    /// Nothing by that name or id that the caller may see.
    NotFound,
    /// Several by that name; `candidates` lists them.
    Ambiguous,
    /// The request is wrong; `field` says where.
    Invalid,
    /// A name or MAC that is in use, or an object that changed meanwhile.
    Conflict,
    /// Not while the object does what it does now.
    WrongState,
    /// No host can take the VM; `detail` says why, host by host.
    NoPlacement,
    /// The host is not heard.
    HostUnreachable,
    /// The host said no or failed.
    HostFailed,
    /// Too many attempts or requests; `retry_after_s` says when again.
    Throttled,
    /// The store cannot write: its disk is full. Reading goes on.
    ReadOnly,
    /// A bug; the orchestrator's log has more.
    Internal,
}

impl Reason {
    pub const ALL: [Self; 13] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Ambiguous,
        Self::Invalid,
        Self::Conflict,
        Self::WrongState,
        Self::NoPlacement,
        Self::HostUnreachable,
        Self::HostFailed,
        Self::Throttled,
        Self::ReadOnly,
        Self::Internal,
    ];

    /// The JSON-RPC error code. Stable.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Unauthenticated => -32001,
            Self::Forbidden => -32002,
            Self::NotFound => -32003,
            Self::Ambiguous => -32004,
            Self::Invalid => -32602,
            Self::Conflict => -32005,
            Self::WrongState => -32006,
            Self::NoPlacement => -32007,
            Self::HostUnreachable => -32008,
            Self::HostFailed => -32009,
            Self::Throttled => -32010,
            Self::ReadOnly => -32011,
            Self::Internal => -32603,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Ambiguous => "ambiguous",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::WrongState => "wrong-state",
            Self::NoPlacement => "no-placement",
            Self::HostUnreachable => "host-unreachable",
            Self::HostFailed => "host-failed",
            Self::Throttled => "throttled",
            Self::ReadOnly => "read-only",
            Self::Internal => "internal",
        }
    }
}

/// What stands in `error.data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorData {
    pub reason: Reason,
    /// The field of the request that is wrong: `disks[1].size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Which objects the name could mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
    /// More for people, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ApiError {
    pub message: String,
    pub data: ErrorData,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ApiError {
    #[must_use]
    pub fn new(reason: Reason, message: impl fmt::Display) -> Self {
        let data = ErrorData { reason, field: None, candidates: vec![], retry_after_s: None, detail: vec![] };
        Self { message: message.to_string(), data }
    }

    /// The same sentence whether the object does not exist or is hidden from the caller.
    #[must_use]
    pub fn not_found(noun: &str, reference: &str) -> Self {
        Self::new(Reason::NotFound, format_args!("there is no {noun} {reference:?}"))
    }

    #[must_use]
    pub fn invalid(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        let field = field.into();
        let mut error = Self::new(Reason::Invalid, format_args!("{field}: {problem}"));
        error.data.field = Some(field);
        error
    }

    #[must_use]
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::new(Reason::Internal, error)
    }

    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.data.reason
    }
}
