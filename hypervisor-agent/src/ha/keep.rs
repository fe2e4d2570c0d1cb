//! The two threads of an armed host: one writes the lease, one feeds the watchdog.
//!
//! Threads, and not tasks: a runtime that is busy resets nobody, and a lease that hangs on its server holds up nobody. They
//! end when they are told to, and when the agent is gone; the watchdog runs on then, which is the point of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use xenith_common_ha::{Guard, LeaseMark, Moment};
use xenith_common_ids::{AgentRunId, HostId, SrId};
use xenith_common_tasks::CancellationToken;
use xenith_hypervisor_agent_backend::{OpenWatchdog, Watchdog};
use xenith_hypervisor_agent_storage::LeaseFolder;
use xenith_hypervisor_agent_types::Fault;
use xenith_hypervisor_agent_types::ha::Arms;

use crate::disk::Storage;

/// How often it is looked whether something is to be done: the shortest watchdog is fed four times.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why nothing is fed or started any more ([`Guard::is_over`]).
pub(super) const OVER: &str = "this run of the agent had neither the orchestrator nor its lease for as long as a lease \
                               lasts, and is over";

/// An armed host, as its threads and calls share it.
pub(super) struct Armed {
    pub arms: Arms,
    pub guard: Guard,
    pub watchdog: Option<Box<dyn OpenWatchdog>>,
    /// The watchdog was seen to run, or the journal says that it did: arming does not fail any more.
    pub settled: bool,
    pub lease_problem: Option<String>,
    pub watchdog_problem: Option<String>,
}

pub(super) type Shared = Arc<Mutex<Armed>>;

/// Holding it is short: nothing under it waits for storage.
pub(super) fn lock(armed: &Mutex<Armed>) -> MutexGuard<'_, Armed> {
    armed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This run of the agent, and its clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Me {
    pub host: HostId,
    pub run: AgentRunId,
    began: Instant,
}

impl Me {
    pub fn new(host: HostId) -> Self {
        Self { host, run: AgentRunId::new(), began: Instant::now() }
    }

    pub fn now(&self) -> Moment {
        Moment::at(self.began.elapsed())
    }
}

/// Where the SR is, mounted. Blocks for as long as that takes.
pub(super) fn open_folder(storage: &Storage, sr: SrId) -> Result<LeaseFolder, Fault> {
    Ok(LeaseFolder::open(sr, &storage.folder_of(sr)?)?)
}

/// Feeds as long as the guard allows it. Cancels `over` when the process has to end: its run is over, and no watchdog of
/// its own resets the host.
pub(super) fn feed(
    armed: &Weak<Mutex<Armed>>,
    watchdog: &dyn Watchdog,
    me: Me,
    (stop, over): (&CancellationToken, &CancellationToken),
) {
    while !stop.is_cancelled() {
        let Some(armed) = armed.upgrade() else { return };
        {
            let mut armed = lock(&armed);
            // Once more, with the lock: who tells us to stop takes the watchdog away under it.
            if stop.is_cancelled() {
                return;
            }
            feed_once(&mut armed, watchdog, me);
            if armed.watchdog.is_none() && armed.guard.is_over(me.now()) {
                over.cancel();
            }
        }
        drop(armed);
        std::thread::sleep(LOOK_EVERY);
    }
}

fn feed_once(armed: &mut Armed, watchdog: &dyn Watchdog, me: Me) {
    let now = me.now();
    if armed.guard.is_over(now) {
        note_watchdog(armed, Some(OVER.to_owned()));
        return;
    }
    if !armed.guard.may_feed(now) {
        return;
    }
    let fed = match &mut armed.watchdog {
        Some(open) => open.feed(),
        None => watchdog.open(armed.guard.timing().watchdog()).map(|open| armed.watchdog = Some(open)),
    };
    note_watchdog(armed, fed.err().map(|error| error.to_string()));
}

fn note_watchdog(armed: &mut Armed, problem: Option<String>) {
    if problem.is_some() && problem != armed.watchdog_problem {
        tracing::error!(?problem, "the watchdog cannot be fed");
    }
    armed.watchdog_problem = problem;
}

/// Writes the lease once a beat.
pub(super) fn renew(armed: &Weak<Mutex<Armed>>, storage: &Storage, me: Me, stop: &CancellationToken) {
    let Some(arms) = armed.upgrade().map(|armed| lock(&armed).arms) else { return };
    let (mut folder, mut sequence) = (None, 0);
    while !stop.is_cancelled() {
        let begun = me.now();
        sequence += 1;
        // Not while anything is held: this may take for ever.
        let written = write(&mut folder, (storage, arms), me, sequence);
        let Some(armed) = armed.upgrade() else { return };
        note(&mut lock(&armed), written, (begun, me.now()));
        drop(armed);
        while !stop.is_cancelled() && me.now().since(begun) < arms.timing.beat() {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn write(
    folder: &mut Option<LeaseFolder>,
    (storage, arms): (&Storage, Arms),
    me: Me,
    sequence: u64,
) -> Result<(), Fault> {
    let open = match folder.take() {
        Some(open) => open,
        None => open_folder(storage, arms.sr)?,
    };
    // After an error it is opened, and held against its mark, anew.
    open.write(me.host, LeaseMark { run: me.run, sequence })?;
    *folder = Some(open);
    Ok(())
}

fn note(armed: &mut Armed, written: Result<(), Fault>, (begun, now): (Moment, Moment)) {
    match written {
        Ok(()) => {
            armed.guard.lease_written(begun, now);
            armed.lease_problem = None;
        }
        Err(fault) => {
            let problem = Some(fault.to_string());
            if problem != armed.lease_problem {
                tracing::error!(%fault, "the lease of this host cannot be written");
            }
            armed.lease_problem = problem;
        }
    }
}
