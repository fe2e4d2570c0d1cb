//! The way back after a restart of the agent, whenever it came. No IO.
//!
//! Input is what the journal says and what the hypervisor lists; the rule is that a guest that has run is
//! never harmed, and a domain whose virtual CPUs were never let go is worth nothing:
//!
//! | journal | domain | then |
//! |---|---|---|
//! | no run | none | stopped, or suspended where there is an image |
//! | no run | alive | adopted as it is (the record was lost) |
//! | no run | dead | released |
//! | building | none or paused | released; started again if the agent itself wanted it |
//! | building | running | adopted (cannot happen: the commit comes before the unpause) |
//! | running, paused | alive | adopted; unpaused or paused as the journal says |
//! | running, paused | dead | adopted, its death is handled as if it came now |
//! | running, paused | none | stopped: it ended while nobody watched |
//! | suspending | dead (suspended), image | suspended; the domain is released |
//! | suspending | dead (suspended), no image | let run on |
//! | suspending | alive | adopted |
//! | suspending | none | suspended with an image, else stopped |
//! | resuming | none or paused | released, still suspended |
//! | resuming | running | adopted (cannot happen, as above) |

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_types::{DeathReason, DomainInfo, DomainStatus};

use crate::journal::{By, Phase, Run, VmRecord};
use crate::vm::state::{Ended, Mode, Settled, Up};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    pub settled: Settled,
    pub fixup: Option<Fixup>,
}

/// What must be done before the VM is as [`Adoption::settled`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixup {
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

#[must_use]
pub fn adopt(record: &VmRecord, domain: Option<&DomainInfo>, image: Image) -> Adoption {
    let stopped = Settled::Stopped { last: record.last.map(|(run, reason)| Ended { run, reason }) };
    let at_rest = if image == Image::Present { Settled::Suspended } else { stopped };
    match (&record.run, domain) {
        (None, domain) => without_run(at_rest, domain),
        (Some(run), domain) => match run.phase {
            Phase::Building => building(run, at_rest, domain),
            Phase::Resuming => match domain {
                Some(info) if is_running(info) => adopted(info, run, Mode::Running),
                Some(info) => settle(at_rest, Some(Fixup::Release(info.domid))),
                None => settle(at_rest, None),
            },
            Phase::Running => up(run, domain, Mode::Running),
            Phase::Paused => up(run, domain, Mode::Paused),
            Phase::Suspending => suspending(run, domain, image),
        },
    }
}

const fn settle(settled: Settled, fixup: Option<Fixup>) -> Adoption {
    Adoption { settled, fixup }
}

fn is_running(info: &DomainInfo) -> bool {
    info.status == DomainStatus::Running
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
    let settled = Settled::Up(Up { domid: info.domid, run: run.incarnation, mode });
    let fixup = match (info.status, mode) {
        (DomainStatus::Running, Mode::Running)
        | (DomainStatus::Paused, Mode::Paused)
        | (_, Mode::Preserved) => None,
        (DomainStatus::Paused, Mode::Running) => Some(Fixup::Unpause(info.domid)),
        (DomainStatus::Running, Mode::Paused) => Some(Fixup::Pause(info.domid)),
        (DomainStatus::Dead(reason), _) => Some(Fixup::Death(reason)),
        (DomainStatus::Dying, _) => Some(Fixup::Death(DeathReason::Unknown)),
    };
    settle(settled, fixup)
}

fn suspending(run: &Run, domain: Option<&DomainInfo>, image: Image) -> Adoption {
    match (domain, image) {
        (Some(info), Image::Present) => settle(Settled::Suspended, Some(Fixup::Release(info.domid))),
        (None, Image::Present) => settle(Settled::Suspended, None),
        (Some(info), Image::Absent) if info.status == DomainStatus::Dead(DeathReason::Suspend) => {
            let settled = Settled::Up(Up { domid: info.domid, run: run.incarnation, mode: Mode::Running });
            settle(settled, Some(Fixup::RunOn(info.domid)))
        }
        (domain, Image::Absent) => up(run, domain, Mode::Running),
    }
}

#[cfg(test)]
mod tests;
