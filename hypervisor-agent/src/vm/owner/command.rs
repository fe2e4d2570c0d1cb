//! A command that comes to the owner of its VM: decided, written down where that must be first, and begun.

use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use xenith_common_ids::OperationId;
use xenith_hypervisor_agent_api::{ShutdownKind, VmAction};
use xenith_hypervisor_agent_types::{Fault, FaultReason, Quiesce};

use super::{Owner, Reply};
use crate::journal::Reaching;
use crate::migration::arrive::Arriving;
use crate::progress::Progress;
use crate::vm::driver::{Done, Finished, Wanted};
use crate::vm::revert_memory::Revert;
use crate::vm::state::{self, Activity, Before, Decision, Mode, Settled};

impl Owner {
    pub(super) async fn command(
        &mut self,
        operation: OperationId,
        (action, progress): (VmAction, Arc<Progress>),
        reply: Reply,
    ) {
        let activity = self.current.as_ref().map(|current| current.activity);
        let before = self.record.reached(operation).map(|reached| Before {
            run: reached.run,
            not_started_again: reached.not_started_again.as_ref(),
        });
        match state::decide(&self.settled, activity, &action, before) {
            Decision::AlreadySo => self.answer(reply, Ok(Done::Plain)),
            Decision::Join => self.join(operation, reply).await,
            Decision::Begin(activity) => {
                if let Activity::ShuttingDown(kind) = activity
                    && let Err(fault) = self.note_asked(operation, kind).await
                {
                    return self.answer(reply, Err(fault));
                }
                self.start_activity(activity, (operation, &action, progress), vec![reply]);
            }
            Decision::Supersede(activity) => {
                // Only a request that waits for the guest is superseded: nothing is half done.
                let waiting = self.current.take().map(|current| current.waiters).unwrap_or_default();
                let fault = Fault::new(FaultReason::WrongState, "the VM was powered off meanwhile");
                for waiter in waiting {
                    self.answer(waiter, Err(fault.clone()));
                }
                self.start_activity(activity, (operation, &action, progress), vec![reply]);
            }
            Decision::Denied(denied) => {
                if denied == state::Denied::StillSending
                    && let Some(progress) = &self.sending
                {
                    progress.cancel();
                }
                let reason = match &denied {
                    state::Denied::IncarnationEnded { .. } => FaultReason::IncarnationEnded,
                    state::Denied::StillSending => FaultReason::NotReady,
                    // As it was answered the first time.
                    state::Denied::NotStartedAgain { fault } => fault.reason,
                    _ => FaultReason::WrongState,
                };
                self.answer(reply, Err(Fault::new(reason, denied)));
            }
        }
    }

    /// Takes in a VM whose memory another host sends. One that has come already and waits to be let run is replaced: its
    /// sender has it again.
    pub(super) fn arrive(&mut self, arriving: Arriving, reply: Reply) {
        let run = arriving.preamble.incarnation;
        let before = match (&self.settled, &self.current) {
            (Settled::Stopped { .. }, None) => None,
            (Settled::Up(up), None) if up.run == run && up.mode == Mode::Paused => Some(*up),
            _ => {
                let activity = self.current.as_ref().map(|current| current.activity);
                let now = state::power(&self.settled, activity);
                let fault = Fault::new(FaultReason::WrongState, format_args!("the VM is {now} on this host"));
                return self.answer(reply, Err(fault));
            }
        };
        let driver = Arc::clone(&self.shared.driver);
        let future = driver.receive(self.record.clone(), before, arriving).boxed();
        self.begin(Activity::Receiving(run), future, vec![reply]);
    }

    async fn join(&mut self, operation: OperationId, reply: Reply) {
        if let Some(Activity::ShuttingDown(kind)) = self.current.as_ref().map(|current| current.activity)
            && let Err(fault) = self.note_asked(operation, kind).await
        {
            return self.answer(reply, Err(fault));
        }
        match &mut self.current {
            Some(current) => current.waiters.push(reply),
            None => self.answer(reply, Ok(Done::Plain)),
        }
    }

    /// Written before the guest is asked, here and not in the activity: a death ends that one at any moment, and
    /// a write that is still under way then would come after those of the cleaning up.
    async fn note_asked(&mut self, operation: OperationId, kind: ShutdownKind) -> Result<(), Fault> {
        let Settled::Up(up) = self.settled else { return Ok(()) };
        let mut record = self.record.clone();
        record.note_reached(operation, up.run, Reaching::Asking);
        if let Some(run) = &mut record.run {
            run.asked = Some(kind.into());
        }
        match (self.shared.driver.save(&record).await, kind) {
            (Ok(()), _) => {}
            // Where nothing can be written any more, guests can be shut down all the same.
            (Err(fault), ShutdownKind::PowerOff) => {
                tracing::warn!(vm = %self.vm(), %fault, "that its guest is asked cannot be written down");
            }
            // It could not be started again either.
            (Err(fault), ShutdownKind::Reboot) => return Err(fault),
        }
        self.record = record;
        Ok(())
    }

    /// The guest did not answer. What it does from now on it does by itself, and who asks again asks anew.
    pub(super) async fn forget_asked(&mut self) {
        let Settled::Up(up) = self.settled else { return };
        self.record.not_reached(up.run, Reaching::Asking);
        if let Some(run) = &mut self.record.run {
            run.asked = None;
        }
        if let Err(fault) = self.shared.driver.save(&self.record).await {
            tracing::warn!(vm = %self.vm(), %fault, "that its guest did not answer cannot be written down");
        }
    }

    fn start_activity(
        &mut self,
        activity: Activity,
        (operation, action, progress): (OperationId, &VmAction, Arc<Progress>),
        waiters: Vec<Reply>,
    ) {
        let driver = Arc::clone(&self.shared.driver);
        let mut record = self.record.clone();
        if let VmAction::Start { cpu_level, .. } = action {
            record.cpu_level = *cpu_level;
        }
        let future = match (activity, &self.settled) {
            (Activity::Starting(run), _) => driver.start(record, run, Wanted::Command(operation)).boxed(),
            (Activity::Resuming(run), _) => driver.resume(record, run, operation).boxed(),
            (Activity::Discarding, _) => driver.discard(record).boxed(),
            (Activity::Checking | Activity::Reverting(_), _) => {
                let VmAction::RevertWithMemory { incarnation, disks, memory, .. } = action else { return };
                let order =
                    Revert { run: *incarnation, by: operation, disks: disks.clone(), memory: *memory };
                match activity {
                    Activity::Checking => driver.check_revert(record, order, progress).boxed(),
                    _ => driver.revert_with_memory(record, order).boxed(),
                }
            }
            (Activity::Snapshotting, settled) => match (action, settled) {
                (VmAction::SnapshotWithMemory { disks, memory }, Settled::Up(up)) => {
                    driver.snapshot_with_memory(record, *up, (disks.clone(), *memory), progress).boxed()
                }
                (VmAction::Snapshot { disks, quiesce }, settled) => {
                    driver.snapshot(record, settled.clone(), disks.clone(), *quiesce).boxed()
                }
                (VmAction::SnapshotSent { disks }, settled) => {
                    driver.snapshot(record, settled.clone(), disks.clone(), Quiesce::Never).boxed()
                }
                _ => return,
            },
            (Activity::ShuttingDown(kind), Settled::Up(up)) => {
                let deadline = match action {
                    VmAction::Shutdown { deadline, .. } => *deadline,
                    _ => Duration::from_secs(60),
                };
                let up = *up;
                async move {
                    let fault = driver.shut_down(up, kind, deadline).await;
                    Finished { record, settled: Settled::Up(up), result: Err(fault) }
                }
                .boxed()
            }
            (Activity::Destroying, Settled::Up(up)) => driver.destroy(record, *up).boxed(),
            (Activity::Pausing, Settled::Up(up)) => driver.set_mode(record, *up, Mode::Paused).boxed(),
            (Activity::Unpausing, Settled::Up(up)) => driver.set_mode(record, *up, Mode::Running).boxed(),
            (Activity::Suspending, Settled::Up(up)) => driver.suspend(record, *up).boxed(),
            (Activity::Applying, Settled::Up(up)) => driver.apply(record, *up).boxed(),
            (Activity::CleaningUp(then), Settled::Up(up)) => driver.clean_up(record, *up, then).boxed(),
            (Activity::TakingBack, Settled::Up(up)) => driver.take_back(record, *up).boxed(),
            (Activity::Sending, Settled::Up(up)) => {
                let VmAction::Send(order) = action else { return };
                self.sending = Some(Arc::clone(&progress));
                driver.send(record, *up, ((**order).clone(), progress)).boxed()
            }
            // Begun by `arrive` only.
            (Activity::Receiving(_), _) | (_, Settled::Stopped { .. } | Settled::Suspended) => {
                // `decide` begins these only for a VM that is up; answer rather than trust that for ever.
                let fault = Fault::new(FaultReason::WrongState, "the VM is not running");
                for waiter in waiters {
                    self.answer(waiter, Err(fault.clone()));
                }
                return;
            }
        };
        self.begin(activity, future, waiters);
    }
}
