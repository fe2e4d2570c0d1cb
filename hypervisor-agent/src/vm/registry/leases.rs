//! The leases of this host are looked at again and again: what nobody needs is given up, and a VM that has lost one stands.
//!
//! What always holds: each SR is looked at by itself, once at a time, so that a server which does not answer holds up its
//! own leases and no others. Nothing is looked at before the domains were listed once: a VM whose record cannot be read
//! would lose its leases while its guest writes. Nor does one lose them that has no domain: its record may say that it is
//! suspended, and its memory is worth nothing without them. Who else touches the leases: whoever starts, moves or ends a VM
//! ([`Storage`](crate::disk::Storage)). A crash ends the looking, and the next start begins with it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use xenith_common_ids::{SrId, VmId};

use super::Registry;
use crate::vm::owner::Message;

/// How long a lease stays that could not be given up, and how long a VM writes on whose lease was taken from it.
const LEASES_EVERY: Duration = Duration::from_secs(15);

/// SRs that are being looked at now.
type Looking = Arc<Mutex<BTreeSet<SrId>>>;

impl Registry {
    /// Until the tasks end.
    pub(super) async fn keep_leases(self: Arc<Self>) {
        let (token, looking) = (self.tasks.token(), Looking::default());
        loop {
            let unmanaged = self.unmanaged.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(mut unowned) = unmanaged {
                unowned.extend(&*self.unreadable.lock().unwrap_or_else(PoisonError::into_inner));
                self.begin_looks(&unowned, &looking);
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(LEASES_EVERY) => {}
            }
        }
    }

    /// One for each SR that owes no answer of before.
    fn begin_looks(self: &Arc<Self>, unowned: &BTreeSet<VmId>, looking: &Looking) {
        for sr in self.shared.driver.resolver.storage.leased_srs() {
            if !looking.lock().unwrap_or_else(PoisonError::into_inner).insert(sr) {
                continue;
            }
            let (this, unowned, looking) = (Arc::clone(self), unowned.clone(), Arc::clone(looking));
            self.tasks.spawn("lease-look", async move {
                this.look_at_leases(sr, unowned).await;
                looking.lock().unwrap_or_else(PoisonError::into_inner).remove(&sr);
            });
        }
    }

    async fn look_at_leases(&self, sr: SrId, unowned: BTreeSet<VmId>) {
        let (token, storage) = (self.tasks.token(), self.shared.driver.resolver.storage.clone());
        let look = tokio::task::spawn_blocking(move || storage.look_at_leases(sr, &unowned));
        let found = tokio::select! {
            () = token.cancelled() => return,
            found = look => found.unwrap_or_default(),
        };
        for (vm, wrong) in found {
            if let Some(owner) = self.owner(vm) {
                let _next_look_repeats = owner.try_send(Message::Lease(wrong));
            }
        }
    }
}
