//! Who writes to which repository at the moment, and how much of its bandwidth each may take.
//!
//! What always holds: the shares of those who write to one repository add up to no more than its limit. Each gets the
//! same, but nobody more than its own job allows it; what that leaves, the others get. Whoever has begun but writes
//! nothing yet (it waits for its turn on its host) takes nothing from the others.
//!
//! In memory only: after a restart every saga that writes goes on with its step, and is in here again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xenith_common_ids::RepositoryId;

/// See the module.
#[derive(Debug, Default)]
pub struct Writers {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    of: HashMap<RepositoryId, BTreeMap<u64, Part>>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    /// Bytes per second that its job allows; 0 for no limit.
    own: u64,
    is_writing: bool,
}

impl Writers {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Only whole inserts and removes happen under this lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody who is about to write, until what is returned is dropped. `own`: bytes per second that its job allows.
    pub fn enter(self: &Arc<Self>, repository: RepositoryId, own: u64) -> Writer {
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.of.entry(repository).or_default().insert(number, Part { own, is_writing: false });
        drop(table);
        Writer { writers: Arc::clone(self), repository, number }
    }
}

/// One who writes to a repository.
#[derive(Debug)]
pub struct Writer {
    writers: Arc<Writers>,
    repository: RepositoryId,
    number: u64,
}

impl Writer {
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// From now on the others leave it its share.
    pub fn writes(&self) {
        let mut table = self.writers.table();
        let part = table.of.get_mut(&self.repository).and_then(|parts| parts.get_mut(&self.number));
        if let Some(part) = part {
            part.is_writing = true;
        }
    }

    /// Its part of a repository that takes `limit` bytes per second. 0, there as here: no limit.
    pub fn share(&self, limit: u64) -> u64 {
        let table = self.writers.table();
        let Some(parts) = table.of.get(&self.repository) else { return limit };
        let own = parts.get(&self.number).map_or(0, |part| part.own);
        let others = parts.iter().filter(|(number, part)| **number != self.number && part.is_writing);
        share(limit, own, others.map(|(_, part)| part.own).collect())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut table = self.writers.table();
        if let Some(parts) = table.of.get_mut(&self.repository) {
            parts.remove(&self.number);
            if parts.is_empty() {
                table.of.remove(&self.repository);
            }
        }
    }
}

/// What somebody whose job allows `own` gets of `limit` beside `others`. 0 is no limit everywhere.
fn share(limit: u64, own: u64, others: Vec<u64>) -> u64 {
    if limit == 0 {
        return own;
    }
    let unlimited = |bytes: u64| if bytes == 0 { u64::MAX } else { bytes };
    let mut all: Vec<u64> = others.into_iter().chain([own]).map(unlimited).collect();
    all.sort_unstable();
    let (mut left, mut waiting) = (limit, all.len() as u64);
    for most in all {
        let even = left / waiting;
        if most >= even {
            // So it is for everybody who is left. Never 0, which would be no limit.
            return unlimited(own).min(even).max(1);
        }
        left -= most;
        waiting -= 1;
    }
    // All are content with less than there is.
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fair_and_add_up() {
        for (what, limit, jobs, expected) in [
            ("alone", 100, vec![0], vec![100]),
            ("no limit", 0, vec![0, 30], vec![0, 30]),
            ("two", 100, vec![0, 0], vec![50, 50]),
            ("one is content with less", 100, vec![10, 0, 0], vec![10, 45, 45]),
            ("one may take more than its share", 100, vec![80, 0], vec![50, 50]),
            ("two are content with less", 100, vec![10, 20, 0], vec![10, 20, 70]),
            ("all are content with less", 100, vec![10, 20], vec![10, 20]),
            ("more of them than bytes", 2, vec![0, 0, 0], vec![1, 1, 1]),
        ] {
            let shares: Vec<u64> = (0..jobs.len())
                .map(|at| {
                    let mut others = jobs.clone();
                    let own = others.remove(at);
                    share(limit, own, others)
                })
                .collect();
            assert_eq!(shares, expected, "{what}");
        }
    }

    #[test]
    fn who_writes_takes_part_and_who_has_ended_does_not() {
        let writers = Arc::new(Writers::default());
        let (nas, far) = (RepositoryId::new(), RepositoryId::new());
        let first = writers.enter(nas, 0);
        first.writes();
        let elsewhere = writers.enter(far, 0);
        elsewhere.writes();
        let second = writers.enter(nas, 0);
        assert_eq!((first.share(100), second.share(100)), (100, 50), "the second one writes nothing yet");
        second.writes();
        assert_eq!((first.share(100), second.share(100), elsewhere.share(100)), (50, 50, 100));
        drop(second);
        assert_eq!(first.share(100), 100);
        drop((first, elsewhere));
        assert!(writers.table().of.is_empty(), "nobody is left behind");
    }
}
