//! What the owner of a VM does about the leases of its disks.

use std::sync::Arc;

use futures::future::FutureExt;
use xenith_common_ids::VdiId;

use super::Owner;
use crate::disk::Wrong;
use crate::vm::domain_spec::{leased_to, written};
use crate::vm::state::{Activity, Mode, Settled};

impl Owner {
    /// Tells what the VM writes now, if it runs. What one was built from whose record was lost, its definition says best.
    pub(super) fn note_writes(&self) {
        let (defined, run) = (self.record.spec.get(), self.record.run.as_ref());
        let writes = match &self.settled {
            Settled::Up(up) if up.mode == Mode::Running => {
                let applied = run.map_or(defined, |run| &run.applied);
                Some((leased_to(self.vm(), defined, up.run), written(applied)))
            }
            _ => None,
        };
        self.shared.driver.resolver.storage.note_writer(self.vm(), writes);
    }

    /// Of the VDIs that the VM had before, those that it does not need any more. Before anybody is told that it is off: it
    /// may be started elsewhere then.
    pub(super) async fn give_up_leases(&mut self, before: Vec<VdiId>) {
        let now = self.shared.in_use.of(self.vm());
        let over: Vec<VdiId> = before.into_iter().filter(|vdi| !now.contains(vdi)).collect();
        if !over.is_empty() {
            self.shared.driver.give_up_leases(over).await;
        }
    }

    /// Where another host may write what this VM writes, it stands until somebody has looked which of the two is right. Where
    /// a lease says that it was sent (the way back could not write that), it is taken again by who lets it run. Found again and
    /// again, while something else is being done.
    pub(super) fn lease_is_wrong(&mut self, wrong: Wrong) {
        let (Settled::Up(up), None) = (&self.settled, &self.current) else { return };
        if up.mode != Mode::Running {
            return;
        }
        let (driver, record, up) = (Arc::clone(&self.shared.driver), self.record.clone(), *up);
        let (activity, future) = match wrong {
            Wrong::Lost(fault) => {
                tracing::error!(vm = %self.vm(), %fault, "a VM has lost a lease, and is paused");
                (Activity::Pausing, driver.stand(record, up, fault).boxed())
            }
            Wrong::SaysSent => (Activity::Unpausing, driver.set_mode(record, up, Mode::Running).boxed()),
        };
        self.begin(activity, future, Vec::new());
    }
}
