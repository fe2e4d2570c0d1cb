//! What changed in the fleet, for those who follow all of it or wait for one VM of it.
//!
//! Neither is a queue. The read model takes the ids of what changed, each once, however often it changed since:
//! it is never behind by more than the fleet is large, and loses nothing. Who waits for a VM is woken for that VM
//! only: with hundreds of sagas waiting and thousands of changes a second, waking each for all would be most of
//! the work.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use xenith_common_ids::{HostId, VmId};

use crate::gathered::Gathered;

/// Ids of what changed.
#[derive(Debug, Default, PartialEq)]
pub struct Changed {
    pub vms: HashSet<VmId>,
    /// The host itself: what it has, how many VMs it runs.
    pub hosts: HashSet<HostId>,
    /// Whether it is heard: all that is known of its VMs depends on that.
    pub links: HashSet<HostId>,
    /// Hosts on which other VMs have a domain than before.
    pub domains: HashSet<HostId>,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    changed: Gathered<Changed>,
    waiting: Mutex<HashMap<VmId, (usize, Arc<Notify>)>>,
}

impl Changes {
    fn waiting(&self) -> MutexGuard<'_, HashMap<VmId, (usize, Arc<Notify>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, note: impl FnOnce(&mut Changed)) {
        self.changed.note(note);
    }

    /// What changed since the last call; waits until there is something. One caller at a time.
    pub async fn take(&self) -> Changed {
        self.changed.next().await
    }

    pub fn wake(&self, vms: impl IntoIterator<Item = VmId>) {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return;
        }
        for vm in vms {
            if let Some((_, waiter)) = waiting.get(&vm) {
                waiter.notify_waiters();
            }
        }
    }

    /// A host is heard or not: every VM may look different.
    pub fn wake_all(&self) {
        self.waiting().values().for_each(|(_, waiter)| waiter.notify_waiters());
    }

    pub fn wait_for(&self, vm: VmId) -> Waiting<'_> {
        let mut waiting = self.waiting();
        let (count, news) = waiting.entry(vm).or_default();
        *count += 1;
        Waiting { of: self, vm, news: Arc::clone(news) }
    }
}

/// Somebody who waits for a VM, until dropped.
pub(super) struct Waiting<'a> {
    of: &'a Changes,
    vm: VmId,
    pub news: Arc<Notify>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.of.waiting();
        if let Some((count, _)) = waiting.get_mut(&self.vm) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.vm);
            }
        }
    }
}
