//! What changed, each thing once, for one reader that works in batches.
//!
//! Not a queue: however often a thing changes before it is looked at, it is here once. So a reader that is slow is never
//! behind by more than there are things, and misses nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Gathered<T> {
    what: Mutex<T>,
    news: Notify,
}

impl<T: Default + PartialEq> Gathered<T> {
    fn what(&self) -> MutexGuard<'_, T> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, note: impl FnOnce(&mut T)) {
        note(&mut self.what());
        // Kept for a reader that is not waiting at the moment.
        self.news.notify_one();
    }

    /// What came since the last call, which may be nothing.
    pub fn take(&self) -> T {
        std::mem::take(&mut *self.what())
    }

    /// Waits until there is something to take. One caller at a time; safe to cancel.
    pub async fn wait(&self) {
        loop {
            let is_empty = *self.what() == T::default();
            if !is_empty {
                return;
            }
            self.news.notified().await;
        }
    }

    /// Waits, and takes. One caller at a time; safe to cancel.
    pub async fn next(&self) -> T {
        self.wait().await;
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_thing_is_told_once_and_nothing_is_missed() {
        let gathered = Gathered::<BTreeSet<u8>>::default();
        assert!(gathered.next().now_or_never().is_none());
        gathered.note(|things| things.extend([1, 2]));
        gathered.note(|things| things.extend([1]));
        assert_eq!(gathered.next().now_or_never(), Some(BTreeSet::from([1, 2])));
        assert!(gathered.wait().now_or_never().is_none(), "what was told is no news");
        gathered.note(|things| things.extend([3]));
        assert!(gathered.wait().now_or_never().is_some());
        assert_eq!(gathered.take(), BTreeSet::from([3]), "who waits takes nothing");
    }
}
