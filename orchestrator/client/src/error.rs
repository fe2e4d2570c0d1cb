//! What can come of a call.

use std::io;

use xenith_orchestrator_types::ApiError;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The orchestrator says no. Its reason tells what to do.
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{url:?} is not an orchestrator's address: {problem}")]
    BadUrl { url: String, problem: &'static str },
    /// Nobody answers there: try later, or another address.
    #[error("cannot reach {url}")]
    Unreachable {
        url: String,
        #[source]
        source: io::Error,
    },
    /// Somebody answers who is not the one that was trusted. Nothing was sent.
    #[error("{url} is not trusted: {problem}")]
    Untrusted { url: String, problem: String },
    /// It speaks, but not as an orchestrator: a wrong address, or a proxy in between.
    #[error("{url} does not answer like an orchestrator: {problem}")]
    NotOrchestrator { url: String, problem: String },
    /// The connection broke before the answer. `key` is what to repeat the call with.
    #[error("the connection to {url} broke before the answer came")]
    Lost { url: String, key: Option<String> },
    /// No answer in time. `key` is what to repeat the call with.
    #[error("{url} did not answer within {seconds} s")]
    TimedOut { url: String, seconds: u64, key: Option<String> },
    /// Refused by the protocol itself: an unknown method, a call that is too large, too many subscriptions.
    #[error("the orchestrator does not take the call {method}: {message} (code {code})")]
    Refused { method: String, code: i32, message: String },
    /// The orchestrator does not open a console, or has closed it before its end.
    #[error("the console was closed: {reason}")]
    ConsoleClosed { code: u16, reason: String },
    /// The answer is not what this version expects.
    #[error("the answer to {method} is not understood; orchestrator and client may differ in version")]
    Unexpected {
        method: String,
        #[source]
        source: serde_json::Error,
    },
    /// The system's certificates cannot be read.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl ClientError {
    /// Whether the same may work later without anybody doing anything.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Lost { .. } | Self::TimedOut { .. })
    }
}
