//! What can go wrong with a disk's contents.

use std::io;

use crate::ByteRange;

/// Errors of sources and sinks. `Io` names what was done to what; `source()` has the system's word.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    #[error("cannot {action} {target} at byte {offset}")]
    Io {
        action: &'static str,
        target: String,
        offset: u64,
        #[source]
        source: io::Error,
    },
    #[error("bytes {range} lie outside the disk of {size} bytes")]
    OutOfBounds { range: ByteRange, size: u64 },
    /// The format or its contents are damaged: the message names offset and field.
    #[error("{target} is damaged: {detail}")]
    Corrupt { target: String, detail: String },
    /// The peer behind a remote source or sink went away; the same call may succeed later.
    #[error("{target} cannot be reached: {detail}")]
    Unreachable { target: String, detail: String },
    #[error("the operation was cancelled")]
    Cancelled,
}

impl BlockError {
    /// Whether the same call may succeed later without anybody mending something.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::ConnectionReset
            ),
            Self::OutOfBounds { .. } | Self::Corrupt { .. } | Self::Cancelled => false,
        }
    }

    /// Refuses a range that does not lie inside a disk of `size` bytes.
    pub fn check_bounds(offset: u64, len: u64, size: u64) -> Result<(), Self> {
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Self::OutOfBounds { range: ByteRange::with_len(offset, len), size }),
        }
    }
}
