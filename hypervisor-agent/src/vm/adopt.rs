//! The way back after a restart of the agent, whenever it came. No IO.
//!
//! Input is what the journal says and what the hypervisor lists; the rule is that a guest that has run is
//! never harmed, and a domain whose virtual CPUs were never let go is worth nothing. Whose domain it is, its UUID says, which
//! Xen keeps; which run, its mark in xenstore. A VM with a domain that has run is never called stopped, so that nobody starts
//! it a second time on the same disks:
//!
//! | journal | domain | then |
//! |---|---|---|
//! | no run | none | stopped, or suspended where there is an image for what the journal calls saved |
//! | no run | alive | adopted as it is (the record was lost) |
//! | no run | dead | released |
//! | building | none, paused or dead | released; started again if the agent itself wanted it |
//! | building | running | adopted (cannot happen: the commit comes before the unpause) |
//! | any | alive, of another run | adopted as that run (the journal was restored from a backup) |
//! | building, resuming | alive, without a mark, never ran | as if it were marked: xenstore lost its data meanwhile |
//! | building, resuming | alive, without a mark, has run | adopted as an unknown run |
//! | any other | alive, without a mark, the domain of the journal | as if it were marked |
//! | any other | alive, without a mark, another domain | adopted as an unknown run |
//! | no run | alive, without a mark | adopted as an unknown run |
//! | any | dead, of another run | released; the run of the journal has no domain |
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
//! An unknown run has an id that is made from its domain, the same after each restart: a start as any other run is refused,
//! as of any VM that runs, and it can be shut down, powered off and so on. What it was built from is not known.
//!
//! An image that is there for a VM that is not suspended is a leftover and to be removed.

use uuid::Uuid;
use xenith_common_ids::{DomId, IncarnationId};
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

/// The domain of a VM. Of several, the one that runs; then one that lives and has run, which nothing that is dead or half
/// built may hide; then the one that the journal means.
#[must_use]
pub fn domain_of<'a>(record: &VmRecord, domains: &'a [DomainInfo]) -> Option<&'a DomainInfo> {
    let run = record.run.as_ref();
    domains.iter().filter(|info| info.is_of(record.vm)).max_by_key(|info| {
        let meant = run.is_some_and(|meant| run_of(run, info) == meant.incarnation);
        let writes = info.is_alive() && info.has_run();
        (is_running(info), writes && meant, writes, meant, info.is_alive())
    })
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
        (Settled::Up(up), _) => {
            record.run = record.run.take().filter(|run| run.incarnation == up.run);
            if let Some(run) = &mut record.run {
                run.domid = Some(up.domid);
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
    let Some(run) = &record.run else { return without_run(None, at_rest, domain) };
    if let Some(info) = domain
        && info.is_alive()
        && is_another(run, info)
    {
        return without_run(Some(run), at_rest, domain);
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

/// Which run a domain of a VM is. `run` is the one of the journal.
fn run_of(run: Option<&Run>, info: &DomainInfo) -> IncarnationId {
    match (info.identity, run) {
        (Some(identity), _) => identity.incarnation,
        (None, Some(run)) if may_be(run, info) => run.incarnation,
        (None, _) => unknown_run(info),
    }
}

fn is_another(run: &Run, info: &DomainInfo) -> bool {
    run_of(Some(run), info) != run.incarnation
}

/// Nobody saw how.
const fn ended(run: &Run) -> Settled {
    Settled::Stopped { last: Some(Ended { run: run.incarnation, reason: DeathReason::Unknown }) }
}

/// Whether a domain without a mark can be this run.
fn may_be(run: &Run, info: &DomainInfo) -> bool {
    match run.phase {
        // It is not complete, and has no number in the journal yet.
        Phase::Building | Phase::Resuming => !info.has_run(),
        Phase::Running | Phase::Paused | Phase::Suspending | Phase::Sending | Phase::Sent => {
            // An earlier agent wrote no number: a VM has one domain at a time, so it is this.
            run.domid.is_none_or(|domid| domid == info.domid)
        }
    }
}

/// The id of a run that nobody has written down, or whose mark and record were both lost.
fn unknown_run(info: &DomainInfo) -> IncarnationId {
    let seed = format!("domain {}", info.domid);
    IncarnationId::from_uuid(Uuid::new_v5(info.uuid.as_uuid(), seed.as_bytes()))
}

fn adopted(info: &DomainInfo, run: &Run, mode: Mode) -> Adoption {
    settle(Settled::Up(Up { domid: info.domid, run: run.incarnation, mode }), None)
}

/// Of a domain that is no run of the journal's, or none that it goes on with.
fn without_run(run: Option<&Run>, at_rest: Settled, domain: Option<&DomainInfo>) -> Adoption {
    let Some(info) = domain else { return settle(at_rest, None) };
    let mode = match info.status {
        DomainStatus::Running => Mode::Running,
        DomainStatus::Paused => Mode::Paused,
        DomainStatus::Dead(_) | DomainStatus::Dying => {
            return settle(at_rest, Some(Fixup::Release(info.domid)));
        }
    };
    settle(Settled::Up(Up { domid: info.domid, run: run_of(run, info), mode }), None)
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
    let Some(info) = domain else { return settle(ended(run), None) };
    if is_another(run, info) {
        return settle(ended(run), Some(Fixup::Release(info.domid)));
    }
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
    match domain {
        None => settle(ended(run), None),
        Some(info) if is_another(run, info) => settle(ended(run), Some(Fixup::Release(info.domid))),
        Some(info) => match info.status {
            DomainStatus::Running => adopted(info, run, Mode::Running),
            DomainStatus::Paused => adopted(info, run, Mode::Paused),
            DomainStatus::Dead(DeathReason::Suspend) => adopted(info, run, Mode::Sent),
            DomainStatus::Dead(_) | DomainStatus::Dying => {
                settle(ended(run), Some(Fixup::Release(info.domid)))
            }
        },
    }
}

fn suspending(run: &Run, domain: Option<&DomainInfo>, image: Image) -> Adoption {
    match (domain, image) {
        (None, Image::Present) => settle(Settled::Suspended, Some(Fixup::Save)),
        (Some(info), Image::Present) if !info.is_alive() => {
            settle(Settled::Suspended, Some(Fixup::Release(info.domid)))
        }
        // An old image is removed before a suspend begins, so this one is whole; but who runs is not harmed.
        (domain, _) => up(run, domain, Mode::Running),
    }
}

#[cfg(test)]
mod tests;
