//! The way back after a restart of the agent, whenever it came. No IO.
//!
//! Input is what the journal says and what the hypervisor lists; the rule is that a guest that has run is
//! never harmed, and a domain whose virtual CPUs were never let go is worth nothing:
//!
//! | journal | domain | then |
//! |---|---|---|
//! | no run | none | stopped, or suspended where there is an image for what the journal calls saved |
//! | no run | alive | adopted as it is (the record was lost) |
//! | no run | dead | released |
//! | building | none, paused or dead | released; started again if the agent itself wanted it |
//! | building | running | adopted (cannot happen: the commit comes before the unpause) |
//! | any | alive, of another run | adopted as that run (the journal was restored from a backup) |
//! | running, paused | alive | adopted; unpaused or paused as the journal says |
//! | running, paused | dead | adopted, its death is handled as if it came now |
//! | running | dead (suspended) | let run on: a suspend that failed, whose way back failed too |
//! | paused | dead (suspended) | adopted: it was not let run on, because another host had its lease |
//! | running, paused | none | stopped: it ended while nobody watched |
//! | suspending | dead (suspended) or none, image | suspended; the domain is released |
//! | suspending | dead (suspended), no image | let run on, while no other host has its leases |
//! | suspending | alive | adopted |
//! | suspending | none, no image | stopped: it ended while nobody watched |
//! | sending | as for running | the other host does not run it before this one is `sent` |
//! | sent | dead (suspended) | adopted as sent: it waits to be taken back or destroyed |
//! | sent | alive | adopted: it was taken back |
//! | sent | none, or dead otherwise | stopped, and not started by the agent; a dead one is released |
//! | resuming | none, paused or dead | released, still suspended; or stopped, where it came from another host or a snapshot |
//! | resuming | running | adopted (cannot happen, as above) |
//!
//! An image that is there for a VM that is not suspended is a leftover and to be removed.

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_types::{DeathReason, DomainInfo, DomainStatus};

use crate::journal::{By, Phase, Run, VmRecord};
use crate::vm::state::{Ended, Mode, Settled, Up};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    pub settled: Settled,
    pub fixup: Option<Fixup>,
}

impl Adoption {
    /// Of a host that has booted, and must not start VMs before it is known that nobody else runs them.
    pub fn leave_starts(&mut self) {
        self.fixup = match self.fixup {
            Some(Fixup::Start) => None,
            Some(Fixup::ReleaseAndStart(domid)) => Some(Fixup::Release(domid)),
            other => other,
        };
    }
}

/// What must be done before the VM is as [`Adoption::settled`] says. Each writes the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixup {
    Save,
    Release(DomId),
    ReleaseAndStart(DomId),
    Start,
    Unpause(DomId),
    Pause(DomId),
    RunOn(DomId),
    /// Handle this death as if the event came now.
    Death(DeathReason),
}

/// Whether a complete suspend image is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    Present,
    Absent,
}

/// Decides, and makes `record` agree with it (not saved yet: the fix-up or the next change does that).
#[must_use]
pub fn adopt(record: &mut VmRecord, domain: Option<&DomainInfo>, image: Image) -> Adoption {
    let adoption = decide(record, domain, image);
    match (&adoption.settled, &record.run) {
        (Settled::Stopped { last }, _) => {
            record.run = None;
            record.saved = None;
            record.last = last.map(|ended| (ended.run, ended.reason));
        }
        (Settled::Suspended, Some(Run { phase: Phase::Suspending, incarnation, .. })) => {
            record.suspended(*incarnation);
        }
        (Settled::Suspended, _) => record.run = None,
        (Settled::Up(up), run) => {
            if run.as_ref().is_some_and(|run| run.incarnation != up.run) {
                record.run = None;
            }
            record.saved = None;
            if up.mode != Mode::Sent {
                not_away(record, up.mode);
            }
        }
    }
    adoption
}

/// It was taken back by an agent that was killed before it had written that.
fn not_away(record: &mut VmRecord, mode: Mode) {
    record.away = None;
    if let Some(run) = record.run.as_mut().filter(|run| run.phase == Phase::Sent) {
        run.phase = if mode == Mode::Paused { Phase::Paused } else { Phase::Running };
    }
}

fn decide(record: &VmRecord, domain: Option<&DomainInfo>, image: Image) -> Adoption {
    let stopped = Settled::Stopped { last: record.last.map(|(run, reason)| Ended { run, reason }) };
    let at_rest =
        if image == Image::Present && record.saved.is_some() { Settled::Suspended } else { stopped };
    let Some(run) = &record.run else { return without_run(at_rest, domain) };
    if let Some(info) = domain
        && is_alive(info)
        && info.identity.is_some_and(|identity| identity.incarnation != run.incarnation)
    {
        return without_run(at_rest, domain);
    }
    match run.phase {
        Phase::Building => building(run, at_rest, domain),
        Phase::Resuming => match domain {
            Some(info) if is_running(info) => adopted(info, run, Mode::Running),
            Some(info) => settle(at_rest, Some(Fixup::Release(info.domid))),
            None => settle(at_rest, None),
        },
        Phase::Running | Phase::Sending => up(run, domain, Mode::Running),
        Phase::Sent => sent(run, domain),
        Phase::Paused => up(run, domain, Mode::Paused),
        Phase::Suspending => suspending(run, domain, image),
    }
}

const fn settle(settled: Settled, fixup: Option<Fixup>) -> Adoption {
    Adoption { settled, fixup }
}

fn is_running(info: &DomainInfo) -> bool {
    info.status == DomainStatus::Running
}

const fn is_alive(info: &DomainInfo) -> bool {
    matches!(info.status, DomainStatus::Running | DomainStatus::Paused)
}

fn adopted(info: &DomainInfo, run: &Run, mode: Mode) -> Adoption {
    settle(Settled::Up(Up { domid: info.domid, run: run.incarnation, mode }), None)
}

fn without_run(at_rest: Settled, domain: Option<&DomainInfo>) -> Adoption {
    let Some(info) = domain else { return settle(at_rest, None) };
    let mode = match info.status {
        DomainStatus::Running => Mode::Running,
        DomainStatus::Paused => Mode::Paused,
        DomainStatus::Dead(_) | DomainStatus::Dying => {
            return settle(at_rest, Some(Fixup::Release(info.domid)));
        }
    };
    match info.identity {
        Some(identity) => {
            settle(Settled::Up(Up { domid: info.domid, run: identity.incarnation, mode }), None)
        }
        None => settle(at_rest, None),
    }
}

fn building(run: &Run, at_rest: Settled, domain: Option<&DomainInfo>) -> Adoption {
    match (domain, run.by) {
        (Some(info), _) if is_running(info) => adopted(info, run, Mode::Running),
        (Some(info), By::Orchestrator) => settle(at_rest, Some(Fixup::Release(info.domid))),
        (Some(info), By::Agent) => settle(at_rest, Some(Fixup::ReleaseAndStart(info.domid))),
        (None, By::Orchestrator) => settle(at_rest, None),
        (None, By::Agent) => settle(at_rest, Some(Fixup::Start)),
    }
}

fn up(run: &Run, domain: Option<&DomainInfo>, mode: Mode) -> Adoption {
    let Some(info) = domain else {
        let last = Some(Ended { run: run.incarnation, reason: DeathReason::Unknown });
        return settle(Settled::Stopped { last }, None);
    };
    let as_it_was = Settled::Up(Up { domid: info.domid, run: run.incarnation, mode });
    let fixup = match (info.status, mode) {
        (DomainStatus::Running, Mode::Running)
        | (DomainStatus::Paused | DomainStatus::Dead(DeathReason::Suspend), Mode::Paused)
        | (_, Mode::Preserved | Mode::Sent) => None,
        (DomainStatus::Paused, Mode::Running) => Some(Fixup::Unpause(info.domid)),
        (DomainStatus::Running, Mode::Paused) => Some(Fixup::Pause(info.domid)),
        (DomainStatus::Dead(DeathReason::Suspend), _) => return run_on(info, run),
        (DomainStatus::Dead(reason), _) => Some(Fixup::Death(reason)),
        (DomainStatus::Dying, _) => Some(Fixup::Death(DeathReason::Unknown)),
    };
    settle(as_it_was, fixup)
}

fn run_on(info: &DomainInfo, run: &Run) -> Adoption {
    Adoption { fixup: Some(Fixup::RunOn(info.domid)), ..adopted(info, run, Mode::Running) }
}

/// Whatever became of the domain here: the other host may run the VM, so nothing is let run and nothing restarted.
fn sent(run: &Run, domain: Option<&DomainInfo>) -> Adoption {
    let ended = Settled::Stopped { last: Some(Ended { run: run.incarnation, reason: DeathReason::Unknown }) };
    match domain {
        None => settle(ended, None),
        Some(info) => match info.status {
            DomainStatus::Running => adopted(info, run, Mode::Running),
            DomainStatus::Paused => adopted(info, run, Mode::Paused),
            DomainStatus::Dead(DeathReason::Suspend) => adopted(info, run, Mode::Sent),
            DomainStatus::Dead(_) | DomainStatus::Dying => settle(ended, Some(Fixup::Release(info.domid))),
        },
    }
}

fn suspending(run: &Run, domain: Option<&DomainInfo>, image: Image) -> Adoption {
    match (domain, image) {
        (None, Image::Present) => settle(Settled::Suspended, Some(Fixup::Save)),
        (Some(info), Image::Present) if !is_alive(info) => {
            settle(Settled::Suspended, Some(Fixup::Release(info.domid)))
        }
        // An old image is removed before a suspend begins, so this one is whole; but who runs is not harmed.
        (domain, _) => up(run, domain, Mode::Running),
    }
}

#[cfg(test)]
mod tests;
