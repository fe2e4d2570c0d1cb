//! What can go wrong with the store, by what the caller can do about it.

use std::io;

use crate::wire::ErrorCode;

/// Each variant names the path (or, for whole operations, what they were about).
#[derive(Debug, thiserror::Error)]
pub enum XenstoreError {
    #[error("{path} is not in xenstore")]
    NotFound { path: String },
    #[error("{path} exists already in xenstore")]
    Exists { path: String },
    #[error("xenstored denies access to {path}; this must run in the control domain, as root")]
    Permission { path: String },
    #[error("xenstored has no room for {path}; remove nodes or raise its quotas (xenstore-control quota)")]
    Quota { path: String },
    #[error("{path} was changed by others during each of {attempts} attempts; try again later")]
    Again { path: String, attempts: u32 },
    #[error(
        "{path} needs {size} bytes in one xenstore message, which holds {limit}; split it over more nodes"
    )]
    TooLarge { path: String, size: usize, limit: usize },
    #[error("the names below {path} take more than {limit} bytes; remove nodes there")]
    DirectoryTooLarge { path: String, limit: usize },
    /// The daemon may have done what was asked: read before writing again.
    #[error(
        "the connection to xenstored broke before the answer about {path}; it is being made again, retry"
    )]
    Disconnected { path: String },
    #[error("the connection to xenstored has been shut down; {path} cannot be reached through it")]
    ShutDown { path: String },
    #[error("cannot open xenstore at {endpoint}; is this a Xen control domain, and is xenstored running?")]
    Unreachable { endpoint: String, source: io::Error },
    #[error("{path:?} is not a xenstore path: {reason}")]
    InvalidPath { path: String, reason: &'static str },
    #[error("{path} does not hold {expected}")]
    Malformed { path: String, expected: &'static str },
    #[error("xenstored refused the request about {path} with {}", code.name())]
    Refused { path: String, code: ErrorCode },
}

impl XenstoreError {
    /// Whether the same call can succeed later without anything being put right first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Again { .. } | Self::Disconnected { .. })
    }

    /// The value that `self` stands for when absence is no error.
    pub fn absent<T>(self) -> Result<Option<T>, Self> {
        match self {
            Self::NotFound { .. } => Ok(None),
            other => Err(other),
        }
    }

    pub(crate) fn refused(code: ErrorCode, path: &str) -> Self {
        let path = path.to_owned();
        match code {
            ErrorCode::Enoent => Self::NotFound { path },
            ErrorCode::Eexist | ErrorCode::Eisconn => Self::Exists { path },
            ErrorCode::Eacces | ErrorCode::Eperm | ErrorCode::Erofs => Self::Permission { path },
            // E2BIG is what xenstored 4.17 says to one watch too many, and oxenstored to a value that is too long for
            // its quota; directories handle theirs before this.
            ErrorCode::Enospc | ErrorCode::E2big | ErrorCode::Enomem | ErrorCode::Equota => {
                Self::Quota { path }
            }
            ErrorCode::Eagain => Self::Again { path, attempts: 1 },
            code => Self::Refused { path, code },
        }
    }
}

impl From<XenstoreError> for io::Error {
    fn from(error: XenstoreError) -> Self {
        let kind = match &error {
            XenstoreError::NotFound { .. } => io::ErrorKind::NotFound,
            XenstoreError::Exists { .. } => io::ErrorKind::AlreadyExists,
            XenstoreError::Permission { .. } => io::ErrorKind::PermissionDenied,
            XenstoreError::Quota { .. } => io::ErrorKind::QuotaExceeded,
            XenstoreError::Again { .. } => io::ErrorKind::WouldBlock,
            XenstoreError::TooLarge { .. } => io::ErrorKind::ArgumentListTooLong,
            XenstoreError::DirectoryTooLarge { .. } => io::ErrorKind::FileTooLarge,
            XenstoreError::Disconnected { .. } => io::ErrorKind::ConnectionReset,
            XenstoreError::ShutDown { .. } => io::ErrorKind::BrokenPipe,
            XenstoreError::Unreachable { .. } => io::ErrorKind::NotConnected,
            XenstoreError::InvalidPath { .. } => io::ErrorKind::InvalidInput,
            XenstoreError::Malformed { .. } => io::ErrorKind::InvalidData,
            XenstoreError::Refused { .. } => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
