//! Revisions as clients are told them: opaque text that is good for one inventory of one process, and for one scope.
//!
//! A revision counts the batches of one process; after a restart the same number means something else. Who may see
//! something else than before was not told of what they see now. In both cases they read again.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Inventory, QueryError, Revision};
use crate::schema::Noun;
use crate::scope::Scope;

/// Compared only within one process: the hash has to be good for nothing else.
fn of(scope: &Scope) -> u64 {
    let mut hasher = DefaultHasher::new();
    scope.hash(&mut hasher);
    hasher.finish()
}

impl<N: Noun> Inventory<N> {
    /// A revision for who sees `scope`.
    #[must_use]
    pub fn mark(&self, revision: Revision, scope: &Scope) -> String {
        format!("{:08x}.{:016x}.{}", self.shared.process, of(scope), revision.0)
    }

    /// The reverse of [`Self::mark`]. `None`: of another process, or for another scope; read again.
    pub fn since(&self, mark: &str, scope: &Scope) -> Result<Option<Revision>, QueryError> {
        let mut parts = mark.split('.');
        let hex = |part: Option<&str>| u64::from_str_radix(part?, 16).ok();
        let (process, seen) = (hex(parts.next()), hex(parts.next()));
        let revision = parts.next().and_then(|part| part.parse().ok());
        match (process, seen, revision, parts.next()) {
            (Some(process), Some(seen), Some(revision), None) => {
                let ours = process == u64::from(self.shared.process) && seen == of(scope);
                Ok(ours.then_some(Revision(revision)))
            }
            _ => Err(QueryError::BadRevision),
        }
    }
}
