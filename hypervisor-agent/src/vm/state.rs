//! What a VM is, what it is doing, and what may happen next. No IO.
//!
//! ```text
//!                 Start                         Resume
//!   Stopped ────(Starting)────▶ Up ◀────(Resuming)──── Suspended
//!      ▲                        │ │                        ▲  │
//!      │  (ShuttingDown) guest  │ │                        │  │ DiscardSuspended
//!      ├──── died ◀─────────────┤ └──(Suspending)──────────┘  │
//!      │  (Destroying)          │                             │
//!      └────────────────────────┘◀─ (Restarting) after a      │
//!      ▲                            reboot or crash           │
//!      └──────────────────────────────────────────────────────┘
//! ```
//!
//! Between hosts ([`crate::migration`] has the order of the messages):
//!
//! ```text
//!   source:       Up(Running) ──(Sending)──▶ Up(Sent) ──(Destroying)──▶ Stopped, and forgotten
//!                      ▲                        │
//!                      └──────(TakingBack)──────┘
//!   destination:  Stopped ──(Receiving)──▶ Up(Paused) ──(Unpausing)──▶ Up(Running)
//! ```
//!
//! [`Settled`] is what a VM is between activities; an [`Activity`] is the one thing that is being done.
//! What always holds: at most one activity; a death ends any activity but the cleaning up; a command that
//! already holds is answered, not done again; what an operation was to do to one run it never does to the next
//! ([`crate::operations`]); what is not allowed now is refused with a sentence.

use xenith_common_ids::{DomId, IncarnationId};
use xenith_hypervisor_agent_api::{RevertPart, ShutdownKind, VmAction};
use xenith_hypervisor_agent_types::{CrashAction, DeathReason, Fault, Power, RebootAction, VmSpec};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    Stopped {
        last: Option<Ended>,
    },
    /// Its memory is in a file.
    Suspended,
    Up(Up),
}

/// The last run, for people and for refusing to start the same incarnation twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub run: IncarnationId,
    pub reason: DeathReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Up {
    pub domid: DomId,
    pub run: IncarnationId,
    pub mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Running,
    Paused,
    /// Crashed and kept for a look inside.
    Preserved,
    /// Suspended, with all of its memory on another host, which may let it run: nothing runs it here until it is taken
    /// back.
    Sent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Starting(IncarnationId),
    Resuming(IncarnationId),
    ShuttingDown(ShutdownKind),
    Destroying,
    Pausing,
    Unpausing,
    Suspending,
    Applying,
    Discarding,
    /// Keeping the contents of its disks; a running VM stands meanwhile. With its memory, it runs while most of that is
    /// written.
    Snapshotting,
    /// It is made sure that it can go back to a snapshot with memory.
    Checking,
    /// Its disks get the contents of a snapshot, and it goes on from the memory that was kept with them.
    Reverting(IncarnationId),
    /// Its memory goes to another host. It runs on until the last of it does.
    Sending,
    /// Its memory comes from another host.
    Receiving(IncarnationId),
    /// It was sent, and is let run on here.
    TakingBack,
    /// Releasing a dead domain, and starting anew where the policy says so.
    CleaningUp(AfterDeath),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterDeath {
    Stop(DeathReason),
    Restart(DeathReason),
    Preserve,
}

/// What to do with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It holds already.
    AlreadySo,
    /// Wait for the activity that does just this.
    Join,
    Begin(Activity),
    /// Give the present activity up and begin this one.
    Supersede(Activity),
    Denied(Denied),
}

/// Why a command is refused, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the VM is {}; wait until that is done, then try again", activity_text(*now))]
    Busy { now: Activity },
    #[error("the VM is {now}, this needs one that is {needs}")]
    WrongState { now: Power, needs: &'static str },
    #[error("this run of the VM ended ({}); start it with a new incarnation", reason_text(*reason))]
    IncarnationEnded { reason: DeathReason },
    #[error("the VM runs already, as another incarnation ({run})")]
    OtherIncarnation { run: IncarnationId },
    #[error("the VM is still being sent to another host; that was told to stop")]
    StillSending,
    #[error("the guest went down, but the VM could not be started again: {fault}")]
    NotStartedAgain { fault: Fault },
}

/// What is known of an operation that came before.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// The run that it reached.
    pub run: IncarnationId,
    /// Why the agent could not start the VM again when that run had ended.
    pub not_started_again: Option<&'a Fault>,
}

#[must_use]
pub const fn activity_text(activity: Activity) -> &'static str {
    match activity {
        Activity::Starting(_) => "starting",
        Activity::Resuming(_) => "resuming",
        Activity::ShuttingDown(ShutdownKind::PowerOff) => "shutting down",
        Activity::ShuttingDown(ShutdownKind::Reboot) => "rebooting",
        Activity::Destroying => "being powered off",
        Activity::Pausing => "being paused",
        Activity::Unpausing => "being unpaused",
        Activity::Suspending => "being suspended",
        Activity::Applying => "being changed",
        Activity::Discarding => "losing its saved memory",
        Activity::Snapshotting => "being snapshotted",
        Activity::Checking => "being looked at, whether it can go back to a snapshot",
        Activity::Reverting(_) => "going back to a snapshot",
        Activity::Sending => "being sent to another host",
        Activity::Receiving(_) => "arriving from another host",
        Activity::TakingBack => "being taken back from another host",
        Activity::CleaningUp(AfterDeath::Restart(_)) => "starting again",
        Activity::CleaningUp(AfterDeath::Stop(_) | AfterDeath::Preserve) => "being cleared away",
    }
}

#[must_use]
pub const fn reason_text(reason: DeathReason) -> &'static str {
    match reason {
        DeathReason::PowerOff => "the guest powered off",
        DeathReason::Reboot => "the guest rebooted",
        DeathReason::Suspend => "it was suspended",
        DeathReason::Crash => "the guest crashed",
        DeathReason::Watchdog => "the guest's watchdog fired",
        DeathReason::SoftReset => "the guest was reset",
        DeathReason::Unknown => "its domain disappeared",
    }
}

/// What people see.
#[must_use]
pub fn power(settled: &Settled, activity: Option<Activity>) -> Power {
    match (activity, settled) {
        (Some(Activity::Starting(_) | Activity::CleaningUp(AfterDeath::Restart(_))), _) => Power::Starting,
        (Some(Activity::Resuming(_) | Activity::Receiving(_) | Activity::Reverting(_)), _) => Power::Resuming,
        (
            Some(
                Activity::ShuttingDown(_) | Activity::Destroying | Activity::CleaningUp(AfterDeath::Stop(_)),
            ),
            _,
        ) => Power::Stopping,
        (Some(Activity::Suspending), _) => Power::Suspending,
        (
            _,
            Settled::Stopped { last: Some(Ended { reason: DeathReason::Crash | DeathReason::Watchdog, .. }) },
        ) => Power::Crashed,
        (_, Settled::Stopped { .. }) => Power::Stopped,
        (_, Settled::Suspended) => Power::Suspended,
        (_, Settled::Up(up)) => match up.mode {
            Mode::Running => Power::Running,
            Mode::Paused => Power::Paused,
            Mode::Preserved => Power::Crashed,
            Mode::Sent => Power::Suspending,
        },
    }
}

/// What a command means now. `Define`, `Forget` and `Exchange` change the journal only and are decided elsewhere. `before` is
/// there when its operation came before.
#[must_use]
pub fn decide(
    settled: &Settled,
    activity: Option<Activity>,
    action: &VmAction,
    before: Option<Before<'_>>,
) -> Decision {
    use VmAction::{Snapshot, SnapshotSent, SnapshotWithMemory};
    if let Some(before) = before
        && let Some(decision) = repeated(settled, activity, action, before)
    {
        return decision;
    }
    if let Some(activity) = activity {
        return while_busy(settled, activity, action);
    }
    let denied = |needs| Decision::Denied(Denied::WrongState { now: power(settled, None), needs });
    match (action, settled) {
        (VmAction::Define { .. } | VmAction::Forget | VmAction::Exchange(_), _) => Decision::AlreadySo,

        (VmAction::Start { incarnation, .. }, Settled::Stopped { last }) => start_again(*incarnation, *last),
        (VmAction::Start { incarnation, .. } | VmAction::Resume { incarnation }, Settled::Up(up)) => {
            up_already(*incarnation, *up)
        }
        (VmAction::Start { .. }, Settled::Suspended) => {
            denied("stopped; resume it, or discard its saved memory: xenith vm power-off --discard-memory")
        }
        (VmAction::Resume { incarnation }, Settled::Suspended) => {
            Decision::Begin(Activity::Resuming(*incarnation))
        }
        (VmAction::Resume { .. }, Settled::Stopped { .. }) => denied("suspended"),
        (VmAction::RevertWithMemory { incarnation, part, .. }, _) => revert(settled, *incarnation, *part),

        (VmAction::Shutdown { .. }, Settled::Stopped { .. }) => Decision::AlreadySo,
        (VmAction::Shutdown { kind, .. }, Settled::Up(Up { mode: Mode::Running, .. })) => {
            Decision::Begin(Activity::ShuttingDown(*kind))
        }
        (VmAction::Shutdown { .. }, Settled::Suspended | Settled::Up(_)) => {
            denied("running; a guest must run to shut itself down")
        }
        (VmAction::Destroy, Settled::Stopped { .. } | Settled::Suspended) => Decision::AlreadySo,
        (VmAction::Destroy, Settled::Up(_)) => Decision::Begin(Activity::Destroying),

        (VmAction::Pause, Settled::Up(up)) => match up.mode {
            Mode::Paused => Decision::AlreadySo,
            Mode::Running => Decision::Begin(Activity::Pausing),
            Mode::Preserved | Mode::Sent => denied("running"),
        },
        (VmAction::Unpause, Settled::Up(up)) => match up.mode {
            Mode::Running => Decision::AlreadySo,
            Mode::Paused => Decision::Begin(Activity::Unpausing),
            Mode::Preserved | Mode::Sent => denied("paused"),
        },
        (VmAction::Pause, _) => denied("running"),
        (VmAction::Unpause, _) => denied("paused"),
        (VmAction::Suspend, Settled::Suspended) => Decision::AlreadySo,
        (VmAction::Suspend, Settled::Up(Up { mode: Mode::Running, .. })) => {
            Decision::Begin(Activity::Suspending)
        }
        (VmAction::Suspend, _) => denied("running; its guest helps to suspend it"),

        (VmAction::DiscardSuspended, Settled::Suspended) => Decision::Begin(Activity::Discarding),
        (VmAction::DiscardSuspended, Settled::Stopped { .. }) => Decision::AlreadySo,
        (VmAction::DiscardSuspended, Settled::Up(_)) => denied("suspended"),

        (Snapshot { .. } | SnapshotSent { .. } | SnapshotWithMemory { .. }, _) => snapshot(settled, action),

        (VmAction::Apply, Settled::Up(Up { mode: Mode::Running | Mode::Paused, .. })) => {
            Decision::Begin(Activity::Applying)
        }
        (VmAction::TakeBack, settled) if is_sent(settled) => Decision::Begin(Activity::TakingBack),
        (VmAction::Apply | VmAction::TakeBack, _) => Decision::AlreadySo,

        (VmAction::Send(_), Settled::Up(Up { mode: Mode::Running, .. })) => {
            Decision::Begin(Activity::Sending)
        }
        (VmAction::Send(_), settled) if is_sent(settled) => Decision::AlreadySo,
        (VmAction::Send(_), _) => denied("running; its guest helps to move it"),
    }
}

const fn is_sent(settled: &Settled) -> bool {
    matches!(settled, Settled::Up(Up { mode: Mode::Sent, .. }))
}

/// A command that came before. `None`: it is decided as if it came for the first time.
fn repeated(
    settled: &Settled,
    activity: Option<Activity>,
    action: &VmAction,
    before: Before<'_>,
) -> Option<Decision> {
    use Activity::{CleaningUp, Starting, Unpausing};
    if let (VmAction::Shutdown { kind: ShutdownKind::Reboot, .. }, None) = (action, activity)
        && let Some(denied) = not_back(settled, before)
    {
        return Some(Decision::Denied(denied));
    }
    let run = before.run;
    if matches!(action, VmAction::Start { .. } | VmAction::Resume { .. } | VmAction::RevertWithMemory { .. })
    {
        return let_run_before(settled, activity);
    }
    Some(match (action, settled, activity) {
        // Its guest has gone: what follows is what was asked for.
        (
            VmAction::Shutdown { .. },
            Settled::Up(up),
            Some(CleaningUp(AfterDeath::Stop(_) | AfterDeath::Restart(_))),
        ) if up.run == run => Decision::Join,
        // It is there still: asked again, which a guest that goes down already does not mind.
        (VmAction::Shutdown { .. }, Settled::Up(up), _) if up.run == run => return None,
        (VmAction::Shutdown { kind: ShutdownKind::Reboot, .. }, _, Some(Starting(_) | Unpausing)) => {
            Decision::Join
        }
        (VmAction::Shutdown { .. }, Settled::Up(_) | Settled::Stopped { .. }, _) => Decision::AlreadySo,
        _ => return None,
    })
}

/// Of what was to be let run, and was: whatever its guest and others did since.
fn let_run_before(settled: &Settled, activity: Option<Activity>) -> Option<Decision> {
    Some(match (settled, activity) {
        (Settled::Up(_), Some(Activity::Unpausing))
        | (Settled::Stopped { .. }, Some(Activity::Starting(_))) => Decision::Join,
        (Settled::Up(_), _) => Decision::AlreadySo,
        (Settled::Stopped { last }, None) => {
            let reason = last.map_or(DeathReason::Unknown, |ended| ended.reason);
            Decision::Denied(Denied::IncarnationEnded { reason })
        }
        (Settled::Suspended, None) => {
            Decision::Denied(Denied::IncarnationEnded { reason: DeathReason::Suspend })
        }
        _ => return None,
    })
}

/// Of a reboot: its guest went down, and nothing runs since.
fn not_back(settled: &Settled, before: Before<'_>) -> Option<Denied> {
    match (settled, before.not_started_again) {
        (Settled::Stopped { .. } | Settled::Up(Up { mode: Mode::Paused, .. }), Some(fault)) => {
            Some(Denied::NotStartedAgain { fault: fault.clone() })
        }
        // The host went down with it: then nobody starts it again but autostart. Or the agent was away when its guest
        // rebooted, and took that for the guest's own wish.
        (
            Settled::Stopped {
                last: Some(Ended { run, reason: reason @ (DeathReason::Unknown | DeathReason::Reboot) }),
            },
            None,
        ) if *run == before.run => Some(Denied::IncarnationEnded { reason: *reason }),
        _ => None,
    }
}

fn snapshot(settled: &Settled, action: &VmAction) -> Decision {
    let needs = match (action, settled) {
        (VmAction::SnapshotSent { .. }, settled) if is_sent(settled) => {
            return Decision::Begin(Activity::Snapshotting);
        }
        (VmAction::SnapshotSent { .. }, _) => "on its way to another host",
        // Its disks are the other host's.
        (_, settled) if is_sent(settled) => "on this host",
        (VmAction::SnapshotWithMemory { .. }, Settled::Up(Up { mode: Mode::Running, .. })) => {
            return Decision::Begin(Activity::Snapshotting);
        }
        (VmAction::SnapshotWithMemory { .. }, _) => "running, for its memory to be kept",
        _ => return Decision::Begin(Activity::Snapshotting),
    };
    Decision::Denied(Denied::WrongState { now: power(settled, None), needs })
}

/// To a snapshot with memory.
fn revert(settled: &Settled, incarnation: IncarnationId, part: RevertPart) -> Decision {
    let begun = match settled {
        Settled::Up(up) => return up_already(incarnation, *up),
        Settled::Suspended => {
            let needs = "stopped; resume it and shut it down, or discard its saved memory: \
                         xenith vm power-off --discard-memory";
            return Decision::Denied(Denied::WrongState { now: power(settled, None), needs });
        }
        Settled::Stopped { last } => start_again(incarnation, *last),
    };
    match (begun, part) {
        (Decision::Begin(_), RevertPart::Check) => Decision::Begin(Activity::Checking),
        (Decision::Begin(_), RevertPart::Whole) => Decision::Begin(Activity::Reverting(incarnation)),
        (other, _) => other,
    }
}

fn up_already(incarnation: IncarnationId, up: Up) -> Decision {
    match up.run == incarnation {
        true => Decision::AlreadySo,
        false => Decision::Denied(Denied::OtherIncarnation { run: up.run }),
    }
}

fn start_again(incarnation: IncarnationId, last: Option<Ended>) -> Decision {
    match last {
        Some(ended) if ended.run == incarnation => {
            Decision::Denied(Denied::IncarnationEnded { reason: ended.reason })
        }
        _ => Decision::Begin(Activity::Starting(incarnation)),
    }
}

fn while_busy(settled: &Settled, activity: Activity, action: &VmAction) -> Decision {
    let same = match (action, activity) {
        (VmAction::Start { incarnation, .. }, Activity::Starting(run))
        | (VmAction::Resume { incarnation }, Activity::Resuming(run))
        | (VmAction::RevertWithMemory { incarnation, .. }, Activity::Reverting(run)) => *incarnation == run,
        (VmAction::Shutdown { kind, .. }, Activity::ShuttingDown(doing)) => *kind == doing,
        // The guest has gone already: what is asked is under way, as after an agent that died in the middle of it.
        (VmAction::Shutdown { kind, .. }, Activity::CleaningUp(then)) => match then {
            AfterDeath::Stop(_) => *kind == ShutdownKind::PowerOff,
            AfterDeath::Restart(_) => *kind == ShutdownKind::Reboot,
            AfterDeath::Preserve => false,
        },
        (VmAction::Destroy, Activity::Destroying | Activity::CleaningUp(AfterDeath::Stop(_)))
        | (VmAction::Pause, Activity::Pausing)
        | (VmAction::Unpause, Activity::Unpausing)
        | (VmAction::Suspend, Activity::Suspending)
        | (VmAction::Send(_), Activity::Sending)
        | (VmAction::TakeBack, Activity::TakingBack)
        | (VmAction::DiscardSuspended, Activity::Discarding) => true,
        _ => false,
    };
    if same {
        return Decision::Join;
    }
    // A start that is repeated: it worked, whatever else is done with the running VM by now.
    if let (
        VmAction::Start { incarnation, .. }
        | VmAction::Resume { incarnation }
        | VmAction::RevertWithMemory { incarnation, .. },
        Settled::Up(up),
    ) = (action, settled)
        && up.run == *incarnation
    {
        match activity {
            Activity::Unpausing => return Decision::Join,
            Activity::Pausing | Activity::Applying | Activity::Snapshotting => return Decision::AlreadySo,
            _ => {}
        }
    }
    match (action, activity) {
        // The one thing that must never wait for a guest that does not answer.
        (VmAction::Destroy, Activity::ShuttingDown(_)) => Decision::Supersede(Activity::Destroying),
        // Or the last of its disks is kept, for a sender that was given up.
        (VmAction::TakeBack, Activity::Sending | Activity::Snapshotting) => {
            Decision::Denied(Denied::StillSending)
        }
        _ => Decision::Denied(Denied::Busy { now: activity }),
    }
}

/// How often a VM may crash within the window before it is left off.
pub const CRASH_RESTARTS: usize = 3;
pub const CRASH_WINDOW: std::time::Duration = std::time::Duration::from_secs(600);

/// A guest that reboots by itself so soon after its start has not come up, and counts as one that crashed: to Xen a triple
/// fault is a reboot.
pub const TOO_SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// What follows a death. `crashes` counts those within [`CRASH_WINDOW`], this one included, and is 0 for a death that is
/// none; `asked` is the request that the guest was answering, if any.
#[must_use]
pub fn after_death(
    reason: DeathReason,
    spec: &VmSpec,
    asked: Option<ShutdownKind>,
    crashes: usize,
) -> AfterDeath {
    match (reason, asked) {
        (DeathReason::Reboot, Some(ShutdownKind::PowerOff)) => AfterDeath::Stop(reason),
        // What the definition says is for a guest that reboots by itself.
        (DeathReason::Reboot, Some(ShutdownKind::Reboot)) => AfterDeath::Restart(reason),
        (DeathReason::Reboot | DeathReason::SoftReset, _) => match spec.on_reboot {
            RebootAction::Restart if crashes <= CRASH_RESTARTS => AfterDeath::Restart(reason),
            RebootAction::Restart | RebootAction::Stop => AfterDeath::Stop(reason),
        },
        // A guest that was asked to reboot and powered off did what it could: bring it back.
        (DeathReason::PowerOff, Some(ShutdownKind::Reboot)) => AfterDeath::Restart(reason),
        // Not what was meant, but off is what was asked for.
        (DeathReason::Crash | DeathReason::Watchdog, Some(ShutdownKind::PowerOff))
            if spec.on_crash == CrashAction::Restart =>
        {
            AfterDeath::Stop(reason)
        }
        (DeathReason::Crash | DeathReason::Watchdog, _) => match spec.on_crash {
            CrashAction::Restart if crashes <= CRASH_RESTARTS => AfterDeath::Restart(reason),
            CrashAction::Restart | CrashAction::Stop => AfterDeath::Stop(reason),
            CrashAction::Preserve => AfterDeath::Preserve,
        },
        (DeathReason::PowerOff | DeathReason::Suspend | DeathReason::Unknown, _) => AfterDeath::Stop(reason),
    }
}

#[cfg(test)]
mod tests;
