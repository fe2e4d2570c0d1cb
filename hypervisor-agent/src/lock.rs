//! One agent for each state folder.
//!
//! What always holds: the kernel lets go when the process ends, however that ends. It is a lock of the process and not of
//! the open file, which children inherit: one that libxl has forked may outlive an agent that was killed, and would keep
//! the next one out. Within a process such a lock keeps nobody out, so those that are held are written down besides.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::agent::AgentError;

/// In the state folder.
const LOCK: &str = "lock";

static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go when it is dropped.
#[derive(Debug)]
pub struct StateLock {
    path: PathBuf,
    _file: File,
}

impl StateLock {
    pub fn take(state: &Path) -> Result<Self, AgentError> {
        let path = state.join(LOCK);
        let failed = |source| AgentError::Folder { path: path.clone(), source };
        let running = || AgentError::Running { path: state.to_owned() };
        let mut held = held();
        // Opened and closed again, it would take our own lock with it.
        if held.contains(&path) {
            return Err(running());
        }
        let file = File::create(&path).map_err(failed)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Err(running()),
            Err(error) => return Err(failed(error.into())),
        }
        held.insert(path.clone());
        Ok(Self { path, _file: file })
    }
}

/// Whether an agent runs on this state folder.
pub fn is_held(state: &Path) -> bool {
    let path = state.join(LOCK);
    // As above.
    if held().contains(&path) {
        return true;
    }
    let whole = Flock::from(FlockType::WriteLock);
    File::open(&path).is_ok_and(|file| matches!(fcntl_getlk(&file, &whole), Ok(Some(_))))
}

impl Drop for StateLock {
    fn drop(&mut self) {
        held().remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_next_when_it_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateLock::take(folder.path()).unwrap();
        assert!(matches!(StateLock::take(folder.path()), Err(AgentError::Running { .. })));
        assert!(is_held(folder.path()));
        let other = tempfile::tempdir().unwrap();
        StateLock::take(other.path()).unwrap();
        drop(first);
        assert!(!is_held(folder.path()));
        StateLock::take(folder.path()).unwrap();
    }
}
