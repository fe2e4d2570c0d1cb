//! What is done right after an adoption, before any command, and the adoption of a domain that is found later.

use std::sync::Arc;

use futures::future::FutureExt;
use xenith_common_ids::{DomId, IncarnationId};
use xenith_hypervisor_agent_types::{DomainInfo, Fault, FaultReason};

use super::Owner;
use crate::journal::{Phase, VmRecord};
use crate::vm::adopt::{Fixup, Image, adopt};
use crate::vm::driver::{Done, Driver, Finished, Wanted};
use crate::vm::state::{Activity, Mode, Settled, Up};

impl Owner {
    pub(super) fn fix_up(&mut self, fixup: Option<Fixup>) {
        let driver = Arc::clone(&self.shared.driver);
        let record = self.record.clone();
        let settled = self.settled.clone();
        let (activity, future) = match (fixup, &self.settled) {
            (None, _) => return,
            (Some(Fixup::Death(reason)), Settled::Up(up)) => return self.clean_up(*up, reason, None, vec![]),
            (Some(Fixup::Unpause(_)), Settled::Up(up)) => {
                // What it is until that is done.
                let standing = Up { mode: Mode::Paused, ..*up };
                (Activity::Unpausing, driver.set_mode(record, standing, Mode::Running).boxed())
            }
            (Some(Fixup::Pause(_)), Settled::Up(up)) => {
                (Activity::Pausing, driver.set_mode(record, *up, Mode::Paused).boxed())
            }
            (Some(Fixup::RunOn(_)), Settled::Up(up)) => {
                let why = "the agent ended while it suspended this VM";
                (Activity::Suspending, run_on(driver, record, *up, why).boxed())
            }
            (Some(Fixup::Save), _) => (Activity::Destroying, release(driver, record, settled, None).boxed()),
            (Some(Fixup::Release(domid)), _) => {
                (Activity::Destroying, release(driver, record, settled, Some(domid)).boxed())
            }
            (Some(Fixup::Start), _) => {
                let run = IncarnationId::new();
                (Activity::Starting(run), driver.start(record, run, Wanted::Agent).boxed())
            }
            (Some(Fixup::ReleaseAndStart(domid)), _) => {
                let run = IncarnationId::new();
                let future = async move {
                    match driver.release(domid).await {
                        Ok(()) => driver.start(record, run, Wanted::Agent).await,
                        Err(fault) => after(Err(fault), record, settled),
                    }
                };
                (Activity::Starting(run), future.boxed())
            }
            (Some(Fixup::Unpause(_) | Fixup::Pause(_) | Fixup::RunOn(_) | Fixup::Death(_)), _) => return,
        };
        self.begin(activity, future, Vec::new());
    }

    /// A VM that is off, and yet has a domain that has run: the list that it was taken over from had not all of it, or somebody
    /// let a left-over run. As after a restart of the agent it is adopted, so that nobody starts it a second time, and memory
    /// that was saved before counts no more.
    pub(super) async fn adopt_found(&mut self, listed: &DomainInfo) {
        let found = |info: &DomainInfo| info.is_alive() && info.has_run();
        if self.current.is_some() || !found(listed) {
            return;
        }
        // The list may be older than what we did since.
        let info = match self.shared.driver.hypervisor.domain(listed.domid).await {
            Ok(info) if info.is_of(self.vm()) && found(&info) => info,
            _ => return,
        };
        tracing::error!(vm = %self.vm(), domid = %info.domid, "a VM that was off has a domain, and is adopted");
        let (vm, was_suspended) = (self.vm(), self.settled == Settled::Suspended);
        let adoption = adopt(&mut self.record, Some(&info), Image::Absent);
        self.settled = adoption.settled;
        if let Err(fault) = self.shared.driver.save(&self.record).await {
            tracing::warn!(%vm, %fault, "that cannot be written down");
        } else if was_suspended
            && let Err(fault) = self.shared.driver.in_journal(move |journal| journal.remove_image(vm)).await
        {
            // In the way of nothing but the room that it takes: the record calls it saved no more.
            tracing::warn!(%vm, %fault, "an old image of its memory cannot be removed");
        }
        self.follow_domain();
        self.fix_up(adoption.fixup);
    }

    /// A guest that is suspended because the hypervisor did not let it run on. Tried again until it does, as when the agent
    /// starts: no command means this. One that somebody else has suspended is left to them.
    pub(super) async fn run_on_again(&mut self, up: Up) {
        let phase = self.record.run.as_ref().map(|run| run.phase);
        let ours = matches!(phase, Some(Phase::Sending | Phase::Suspending));
        // The list may be older than what we did since.
        if !ours || !self.shared.driver.is_suspended(up.domid).await {
            return;
        }
        let (driver, record) = (Arc::clone(&self.shared.driver), self.record.clone());
        let future = run_on(driver, record, up, "the guest was suspended, and had to run").boxed();
        self.begin(Activity::Suspending, future, Vec::new());
    }
}

fn after(result: Result<(), Fault>, record: VmRecord, settled: Settled) -> Finished {
    Finished { record, settled, result: result.map(|()| Done::Plain) }
}

async fn release(driver: Arc<Driver>, record: VmRecord, settled: Settled, domid: Option<DomId>) -> Finished {
    let mut result = Ok(());
    if let Some(domid) = domid {
        result = driver.release(domid).await;
    }
    // Also after a release that failed: what is left is dead or never ran, and is no run of this VM.
    let saved = driver.save(&record).await;
    after(result.and(saved), record, settled)
}

async fn run_on(driver: Arc<Driver>, mut record: VmRecord, up: Up, why: &'static str) -> Finished {
    let why = Fault::new(FaultReason::Internal, why);
    let (settled, fault) = driver.run_on(&mut record, up, why).await;
    after(Err(fault), record, settled)
}
