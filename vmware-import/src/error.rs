//! What can go wrong, and what the caller can do about it.

use std::io;

use xenith_common_block::BlockError;

pub type Result<T, E = ImportError> = std::result::Result<T, E>;

/// Errors of everything in this crate. A variant says who has to act; [`ImportError::exit_code`] is the one
/// place that turns it into the tool's exit code.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file contradicts itself or its format. Nothing was believed after this point.
    #[error("{file} is damaged at byte {offset}: {field} {detail}")]
    Damaged { file: String, offset: u64, field: &'static str, detail: String },
    /// The file is shorter than its own tables say.
    #[error(
        "{file} is cut off: {field} needs bytes up to {needed}, the file ends at {len}; copy the file again, or use --salvage to keep what is left"
    )]
    Truncated { file: String, field: &'static str, needed: u64, len: u64 },
    /// Sound, but not something this reader can or may read.
    #[error("{file}: {feature} cannot be read; {way_out}")]
    Unsupported { file: String, feature: String, way_out: &'static str },
    /// A name in the file points out of the folder the file came from.
    #[error(
        "{file} names {name:?} as its {field}, which is not a plain file beside it; move the file there, or name a parent with --parent"
    )]
    Outside { file: String, field: &'static str, name: String },
    #[error("{file} needs {name:?}, which is not beside it")]
    Missing { file: String, name: String },
    /// The parent of a snapshot is not the disk the snapshot was taken of.
    #[error(
        "{child} was made on a parent with content id {expected}, but {parent} has {found}: the parent was changed or is another disk"
    )]
    ParentMismatch { child: String, parent: String, expected: String, found: String },
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    /// The target cannot take the disk.
    #[error("{target} cannot be written: {detail}")]
    Target { target: String, detail: String },
    /// Verification found other bytes than it should.
    #[error("{target} differs from {origin}: {detail}")]
    Differs { origin: String, target: String, detail: String },
    /// A server refused or broke off; `retry` tells whether the same call may succeed later.
    #[error("{server} answered {call} with: {detail}")]
    Server { server: String, call: &'static str, detail: String, retry: Retry },
    #[error("{0}")]
    Usage(String),
    #[error("cancelled")]
    Cancelled,
    #[error("a disk cannot be read or written")]
    Block(#[from] BlockError),
}

/// Whether the same call may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// By itself.
    Later,
    /// When somebody has mended something outside: a password that ran out, a certificate that was renewed, a disk that
    /// another program holds. What was copied is worth the wait.
    Mended,
    Never,
}

impl Retry {
    /// Whether it is worth waiting for.
    #[must_use]
    pub const fn is_worth_it(self) -> bool {
        !matches!(self, Self::Never)
    }
}

impl ImportError {
    pub fn io(action: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    pub(crate) fn damaged(file: &str, offset: u64, field: &'static str, detail: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), offset, field, detail: detail.into() }
    }

    pub(crate) fn unsupported(file: &str, feature: impl Into<String>, way_out: &'static str) -> Self {
        Self::Unsupported { file: file.to_owned(), feature: feature.into(), way_out }
    }

    pub(crate) fn truncated(file: &str, field: &'static str, needed: u64, len: u64) -> Self {
        Self::Truncated { file: file.to_owned(), field, needed, len }
    }

    /// The exit codes of `docs/vmware-import.md`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Damaged { .. }
            | Self::Outside { .. }
            | Self::ParentMismatch { .. }
            | Self::Block(BlockError::Corrupt { .. }) => 3,
            Self::Truncated { .. } | Self::Missing { .. } => 4,
            Self::Unsupported { .. } => 5,
            Self::Differs { .. } => 6,
            Self::Target { .. } => 8,
            Self::Server { .. } | Self::Block(BlockError::Unreachable { .. }) => 9,
            Self::Cancelled | Self::Block(BlockError::Cancelled) => 130,
            Self::Io { .. } | Self::Block(_) => 1,
        }
    }

    /// Whether `--salvage` may step over this and note the range as lost.
    #[must_use]
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Truncated { .. } | Self::Block(_) | Self::Io { .. })
    }
}

impl From<ImportError> for BlockError {
    fn from(error: ImportError) -> Self {
        let detail = error.to_string();
        match error {
            ImportError::Block(inner) => inner,
            ImportError::Io { action, path, source } => Self::Io { action, target: path, offset: 0, source },
            ImportError::Server { server, retry: Retry::Later | Retry::Mended, .. } => {
                Self::Unreachable { target: server, detail }
            }
            ImportError::Cancelled => Self::Cancelled,
            ImportError::Damaged { file, .. } | ImportError::Truncated { file, .. } => {
                Self::Corrupt { target: file, detail }
            }
            _ => Self::Corrupt { target: "the disk".to_owned(), detail },
        }
    }
}
