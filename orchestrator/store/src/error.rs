//! What can go wrong with the store, by what the caller can do about it.

use std::fmt;
use std::path::PathBuf;

use crate::{Expect, Keyspace, Revision};

/// Errors of [`crate::StateStore`] and of opening one.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was faster, or the key is not what was expected: read again and decide anew.
    #[error("{keyspace}/{key} is not as expected ({}); read it again", Expected(*.expected, *.found))]
    Conflict { keyspace: Keyspace, key: String, expected: Expect, found: Option<Revision> },

    /// No space, or less than is kept free. The store is read-only until there is some, and finds out by itself.
    #[error(
        "the store at {path} is not written, its disk is as good as full; free 2 GiB there, and it goes on by itself"
    )]
    StorageFull { path: PathBuf },

    /// The disk failed. Read-only until the process is restarted on a healthy disk.
    #[error(
        "the store at {path} is read-only after a failed write; check the disk (dmesg), then restart the orchestrator"
    )]
    Failed {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Another process has it open.
    #[error("the store at {path} is in use by process {holder}; stop that one first")]
    Locked { path: PathBuf, holder: String },

    /// What is on the disk is not what was written there.
    #[error("the store at {path} is damaged: {detail}; {recovery}")]
    Corrupt { path: PathBuf, detail: String, recovery: &'static str },

    /// Not a store, or not one for us.
    #[error("{path} is not a Xenith store ({detail}); give another folder or empty this one")]
    NotAStore { path: PathBuf, detail: String },

    #[error("the store at {path} cannot be used by this version")]
    UnsupportedSchema {
        path: PathBuf,
        #[source]
        source: UnsupportedSchema,
    },

    /// A record cannot be read as what it should be. The bytes are left as they are.
    #[error("the record {keyspace}/{key} cannot be read as a {noun}; a newer version may have written it")]
    Decode {
        keyspace: Keyspace,
        key: String,
        noun: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    #[error("the {what} is too large: {size}, at most {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },

    /// An error of the program: the keyspace is in no [`crate::Schema`].
    #[error("the keyspace {0} was not declared when the store was opened")]
    UnknownKeyspace(Keyspace),

    /// The store is shutting down. A commit that gets this may have happened.
    #[error("the store is closed")]
    Closed,

    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why the versions do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedSchema {
    #[error(
        "its schema is version {found}, this program knows up to {known}; install the newer release again, or \
         restore the checkpoint made before the upgrade"
    )]
    Newer { found: u32, known: u32 },
    #[error(
        "its schema is version {found} and there is no migration to {to}; upgrade through an older release"
    )]
    NoPath { found: u32, to: u32 },
    #[error(
        "the migration to version {to} stopped at {keyspace}/{key}: {detail}; report it, and until it is mended go \
         back to the older release with the checkpoint made before the upgrade"
    )]
    Migration { to: u32, keyspace: Keyspace, key: String, detail: String },
}

impl StoreError {
    /// Whether the commit may have happened all the same. Reading and committing again with preconditions is
    /// right in any case.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::StorageFull { .. } | Self::Failed { .. } | Self::Closed)
    }

    /// Whether the same call may succeed later without a change of the call.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::StorageFull { .. })
    }

    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}

struct Expected(Expect, Option<Revision>);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Expect::Absent => f.write_str("expected none"),
            Expect::Present => f.write_str("expected one"),
            Expect::At(revision) => write!(f, "expected revision {revision}"),
        }?;
        match self.1 {
            Some(revision) => write!(f, ", found revision {revision}"),
            None => f.write_str(", found none"),
        }
    }
}

/// A key as people can read it: text where it is text, hex otherwise.
pub(crate) fn show_key(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.is_empty() && text.chars().all(|c| !c.is_control()) => text.to_owned(),
        _ if key.len() == 16 => {
            let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }
        _ => key.iter().map(|b| format!("{b:02x}")).collect(),
    }
}
