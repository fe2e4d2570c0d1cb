//! What can go wrong with a repository.
//!
//! Variants say what the caller can do: mend the store, give another key, look at damage, start again.

use xenith_common_block::BlockError;
pub use xenith_common_text::chain;

use crate::store::StoreError;

pub type Result<T, E = BackupError> = std::result::Result<T, E>;

/// Errors of everything in this crate but the store itself.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store failed; [`StoreError::is_retryable`] says whether trying again helps.
    #[error("the repository's store failed")]
    Store(#[source] StoreError),
    /// The disk being backed up, or the target being restored to, failed.
    #[error("the disk failed")]
    Block(#[from] BlockError),
    /// An object does not hold what it must hold. Its bytes were not used.
    #[error("{object} is damaged: {detail}")]
    Damaged { object: String, detail: String },
    /// Objects that something refers to are gone.
    #[error("{missing} is missing, and {needed_by} needs it")]
    Missing { missing: String, needed_by: String },
    #[error("no key slot of this repository opens with the given passphrase or key file")]
    WrongKey,
    /// The key is a writer's.
    #[error("{what} needs the repository's own key; this one only adds backups")]
    WriteOnly { what: String },
    #[error("{what} does not exist")]
    NotFound { what: String },
    #[error("{what} matches more than one backup; give more digits of its id")]
    Ambiguous { what: String },
    /// The request cannot be carried out as it stands; the text says what to change.
    #[error("{0}")]
    Invalid(String),
    /// A collector declared this run dead. Nothing was committed; start the run again: it finds what it stored.
    #[error("the run {session} was given up on because its lease ran out; start it again, it will resume")]
    SessionRevoked { session: String },
    #[error("this repository has format {found}, this program reads formats up to {supported}")]
    TooNew { found: u32, supported: u32 },
    /// This machine's disk for temporary files failed or is full; set `TMPDIR` to another one.
    #[error("a temporary file failed (TMPDIR chooses where they are)")]
    Scratch {
        #[source]
        source: std::io::Error,
    },
    #[error("the operation was cancelled")]
    Cancelled,
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        match error {
            // The store works; what it holds there is not ours. Only that object is of no use.
            StoreError::TooLarge { key, size, limit } => Self::Damaged {
                object: key,
                detail: format!("it has {size} bytes, at most {limit} are possible"),
            },
            error => Self::Store(error),
        }
    }
}

impl BackupError {
    pub(crate) fn damaged(object: impl ToString, detail: impl Into<String>) -> Self {
        Self::Damaged { object: object.to_string(), detail: detail.into() }
    }

    /// Whether the repository lacks something that it should have.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Missing { .. })
    }

    /// Whether the same call may succeed later without anybody mending something.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Block(error) => error.is_retryable(),
            Self::SessionRevoked { .. } => true,
            _ => false,
        }
    }

    /// The error as a disk's reader sees it.
    #[must_use]
    pub fn into_block(self, target: &str) -> BlockError {
        match self {
            Self::Block(error) => error,
            Self::Cancelled => BlockError::Cancelled,
            Self::Store(error) if error.is_retryable() => {
                BlockError::Unreachable { target: target.to_owned(), detail: error.to_string() }
            }
            // The bytes are good; they are not for this key.
            other @ Self::WriteOnly { .. } => BlockError::Io {
                action: "read",
                target: target.to_owned(),
                offset: 0,
                source: std::io::Error::new(std::io::ErrorKind::PermissionDenied, other.to_string()),
            },
            other => BlockError::Corrupt { target: target.to_owned(), detail: chain(&other) },
        }
    }
}
