//! Which copies of disks are being filled, so that one that nobody wants any more ends.
//!
//! An orchestrator that was restarted does not know under which operation the one before had a copy filled, and cannot tell
//! that to stop. It would wait for it for hours, or give up. So whoever asks for the same copy anew, or for its end, ends
//! what is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xenith_common_ids::VdiId;

use crate::progress::Progress;

/// All clones are one table.
#[derive(Debug, Clone, Default)]
pub struct Copying(Arc<Mutex<HashMap<VdiId, Arc<Progress>>>>);

/// One that is filled, until this is dropped.
#[derive(Debug)]
pub struct Filling {
    copying: Copying,
    copy: VdiId,
    progress: Arc<Progress>,
}

impl Copying {
    fn lock(&self) -> MutexGuard<'_, HashMap<VdiId, Arc<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, copy: VdiId, progress: &Arc<Progress>) -> Filling {
        self.lock().insert(copy, Arc::clone(progress));
        Filling { copying: self.clone(), copy, progress: Arc::clone(progress) }
    }

    /// Whoever fills it is asked to stop. It holds the copy until it has.
    pub fn give_up(&self, copy: VdiId) {
        if let Some(progress) = self.lock().get(&copy) {
            progress.cancel();
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let mut table = self.copying.lock();
        // It may be another one's by now.
        if table.get(&self.copy).is_some_and(|progress| Arc::ptr_eq(progress, &self.progress)) {
            table.remove(&self.copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_given_up_hears_it_and_the_next_one_does_not() {
        let (copying, copy) = (Copying::default(), VdiId::new());
        let [first, second] = [(), ()].map(|()| Arc::new(Progress::default()));
        let filling = copying.begin(copy, &first);
        copying.give_up(VdiId::new());
        assert!(first.check().is_ok(), "another copy was given up");
        copying.give_up(copy);
        let next = copying.begin(copy, &second);
        drop(filling);
        assert!(first.check().is_err() && second.check().is_ok());
        copying.give_up(copy);
        assert!(second.check().is_err(), "it is known after the first has ended");
        drop(next);
        assert!(copying.lock().is_empty());
    }
}
