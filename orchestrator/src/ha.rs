//! What is known of high availability: the records, and what this process heard of each host.
//!
//! What always holds: that a host is fenced is in its record before anything follows from it, and stays there until the host
//! has said, asked after that, that it has none of the VMs that were moved from it. What is in memory is only waited for
//! anew after a start ([`xenith_common_ha::Judge`]). Rounds that act on it are in `app/ha_keep.rs`, one at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ha::duty::{RestartPriority, left_over};
use xenith_common_ha::{Judge, Moment, Proof, Reading, Timing, Verdict};
use xenith_common_ids::{AgentRunId, HostId, VmId};
use xenith_hypervisor_agent_types::ha::{Arms, HaRequest, HaState, SeenLease};

/// A pool whose hosts are armed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaPoolRecord {
    pub arms: Arms,
    /// Of VMs that have another one than most.
    #[serde(default)]
    pub priorities: BTreeMap<VmId, RestartPriority>,
}

/// A host that is armed, may be, or was: from before it is told so until it has said that it is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HaHostRecord {
    /// By its lease it can be fenced: it is armed, and another host has seen its lease.
    #[serde(default)]
    pub believed: Option<Arms>,
    /// VMs that ran there when it was heard last.
    #[serde(default)]
    pub running: BTreeSet<VmId>,
    /// VMs that went down with it and are to run again, there or elsewhere.
    #[serde(default)]
    pub restart: BTreeSet<VmId>,
    #[serde(default)]
    pub fenced: Option<FencedRecord>,
    /// The orchestrator was restored from a backup, and does not know what was moved since: nothing is said to the host
    /// until somebody turns high availability on again.
    #[serde(default)]
    pub rests: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedRecord {
    pub proof: Proof,
    pub at: OffsetDateTime,
    /// What it must have destroyed and forgotten before it counts as a host again.
    pub moved: BTreeSet<VmId>,
}

/// What a host said last, and when it was asked.
#[derive(Debug, Clone)]
pub struct Said {
    asked: Moment,
    pub state: HaState,
}

/// One host, in memory.
struct Watched {
    judge: Judge,
    timing: Timing,
    said: Option<Said>,
    /// Answers to what was asked before count for nothing.
    fenced_at: Option<Moment>,
    problem: Option<String>,
    /// Its power control said that it is off, in answer to a question of then.
    off: Option<Moment>,
    /// VMs of which it was told that no host takes them.
    told: BTreeSet<VmId>,
}

/// See the module.
pub struct Ha {
    began: Instant,
    hosts: Mutex<HashMap<HostId, Watched>>,
}

impl Default for Ha {
    fn default() -> Self {
        Self { began: Instant::now(), hosts: Mutex::default() }
    }
}

impl Ha {
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::at(self.began.elapsed())
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<HostId, Watched>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent to a host now, by its record and the times that count for it, and the moment before that.
    pub fn beat(&self, host: HostId, timing: Timing, record: &HaHostRecord) -> (Moment, HaRequest) {
        let now = self.now();
        let mut hosts = self.hosts();
        let watched = hosts.entry(host).or_insert_with(|| Watched::new(timing, record, now));
        if watched.timing != timing {
            *watched = Watched::new(timing, record, now);
        }
        // Also where nobody goes by its lease: it lives by contact all the same.
        let granted = watched.judge.grant(now);
        let said = watched.said.as_ref().filter(|_| granted);
        let challenge = said.and_then(|said| Some(said.state.armed.as_ref()?.challenge));
        let may_start = said.filter(|_| record.fenced.is_none());
        (now, HaRequest::Beat { challenge, allow_autostart: may_start.map(|said| said.state.run) })
    }

    /// The host has answered what it was asked at `asked`. `false`: it was asked before it was fenced.
    pub fn heard(&self, host: HostId, asked: Moment, state: HaState) -> bool {
        let now = self.now();
        let mut hosts = self.hosts();
        let Some(watched) = hosts.get_mut(&host) else { return false };
        if watched.fenced_at.is_some_and(|at| asked <= at) {
            return false;
        }
        watched.judge.heard(now);
        watched.problem = None;
        if watched.said.as_ref().is_none_or(|said| said.asked <= asked) {
            watched.said = Some(Said { asked, state });
        }
        true
    }

    pub fn note_problem(&self, host: HostId, problem: Option<String>) {
        if let Some(watched) = self.hosts().get_mut(&host) {
            watched.problem = problem;
        }
    }

    /// Another host has looked at the lease of one that is believed. Whether that has fenced it, which is to be written
    /// down or forgotten ([`Self::forget`]).
    pub fn looked(&self, asked: Moment, lease: SeenLease) -> Option<Proof> {
        let answered = self.now();
        let mut hosts = self.hosts();
        let watched = hosts.get_mut(&lease.host)?;
        // A host that does not answer at all is suspected by time alone.
        watched.judge.tick(answered);
        if !watched.judge.looked(Reading { asked, answered, mark: lease.mark }) {
            return None;
        }
        watched.fenced(answered);
        Some(Proof::Lease)
    }

    /// See [`Judge::may_be_cut`].
    #[must_use]
    pub fn may_be_cut(&self, host: HostId) -> bool {
        self.hosts().get(&host).is_some_and(|watched| watched.judge.may_be_cut())
    }

    /// Its power control, asked at `asked`, said that it is off. The next round goes by it.
    pub fn note_off(&self, host: HostId, asked: Moment) {
        if let Some(watched) = self.hosts().get_mut(&host) {
            watched.off = watched.off.max(Some(asked));
        }
    }

    /// A host that is fenced by what its power control said since the last round. It is to be written down or forgotten
    /// ([`Self::forget`]) before the next one is asked for: where the store fails at one of several, the others are suspected
    /// as before. One that is fenced here and not there is granted nothing, and nobody restarts its VMs.
    pub fn found_off(&self) -> Option<HostId> {
        let now = self.now();
        self.hosts().iter_mut().find_map(|(host, watched)| {
            let asked = watched.off.take()?;
            watched.judge.tick(now);
            if !watched.judge.found_off(asked) {
                return None;
            }
            watched.fenced(now);
            Some(*host)
        })
    }

    #[must_use]
    pub fn verdict(&self, host: HostId) -> Option<Verdict> {
        self.hosts().get(&host).map(|watched| watched.judge.verdict())
    }

    /// What a host that is heard said last.
    #[must_use]
    pub fn said(&self, host: HostId) -> Option<HaState> {
        let hosts = self.hosts();
        let watched = hosts.get(&host)?;
        watched.said.as_ref().map(|said| said.state.clone())
    }

    /// What it said is over.
    pub fn unsay(&self, host: HostId) {
        if let Some(watched) = self.hosts().get_mut(&host) {
            watched.said = None;
        }
    }

    #[must_use]
    pub fn run_of(&self, host: HostId) -> Option<AgentRunId> {
        self.said(host).map(|state| state.run)
    }

    #[must_use]
    pub fn problem(&self, host: HostId) -> Option<String> {
        let hosts = self.hosts();
        let watched = hosts.get(&host)?;
        let armed = watched.said.as_ref().and_then(|said| said.state.armed.as_ref());
        let of_host = armed.and_then(|armed| armed.lease_problem.clone().or(armed.watchdog_problem.clone()));
        watched.problem.clone().or(of_host)
    }

    /// It is back and its record says so.
    pub fn welcome(&self, host: HostId) {
        let now = self.now();
        if let Some(watched) = self.hosts().get_mut(&host) {
            watched.judge.welcome(now);
            watched.fenced_at = None;
            watched.told.clear();
        }
    }

    pub fn forget(&self, host: HostId) {
        self.hosts().remove(&host);
    }

    /// Whether that no host takes this VM is news.
    pub fn is_news(&self, host: HostId, vm: VmId) -> bool {
        self.hosts().get_mut(&host).is_some_and(|watched| watched.told.insert(vm))
    }
}

impl Watched {
    fn new(timing: Timing, record: &HaHostRecord, now: Moment) -> Self {
        let judge = match &record.fenced {
            Some(fenced) => Judge::fenced(timing, fenced.proof, now),
            None => Judge::new(timing, now),
        };
        let fenced_at = record.fenced.as_ref().map(|_| now);
        Self { judge, timing, said: None, fenced_at, problem: None, off: None, told: BTreeSet::new() }
    }

    fn fenced(&mut self, now: Moment) {
        self.fenced_at = Some(now);
        self.said = None;
    }
}

impl FencedRecord {
    /// What of that which was moved a host that is back still has.
    #[must_use]
    pub fn left_over(&self, state: &HaState) -> Vec<VmId> {
        left_over(&state.vms.iter().copied().collect(), &self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that is suspected, and a moment after it was heard last.
    fn suspected(ha: &Ha, number: u8) -> (HostId, Moment) {
        let host = HostId::from_bytes([number; 16]);
        let (began, _) = ha.beat(host, Timing::default(), &HaHostRecord::default());
        while ha.now() <= began {
            std::hint::spin_loop();
        }
        (host, ha.now())
    }

    #[test]
    fn off_counts_once_and_only_where_nothing_was_heard_since_it_was_asked() {
        let ha = Ha::default();
        let before = ha.now();
        let (host, asked) = suspected(&ha, 1);
        ha.note_off(host, before);
        assert_eq!(ha.found_off(), None, "it may have been on since");
        ha.note_off(host, asked);
        assert_eq!(ha.found_off(), Some(host));
        assert_eq!(ha.verdict(host), Some(Verdict::Fenced(Proof::Power)));
        assert_eq!(ha.found_off(), None);

        let (other, asked) = suspected(&ha, 2);
        ha.note_off(other, asked);
        let state = HaState { run: AgentRunId::from_bytes([1; 16]), vms: vec![], armed: None };
        assert!(ha.heard(other, ha.now(), state));
        assert_eq!(ha.found_off(), None, "it is heard again");
    }

    #[test]
    fn a_store_that_fails_at_one_host_leaves_the_others_suspected() {
        let ha = Ha::default();
        let (one, other) = (suspected(&ha, 1), suspected(&ha, 2));
        for (host, asked) in [one, other] {
            ha.note_off(host, asked);
        }
        let first = ha.found_off().unwrap();
        let left = if first == one.0 { other.0 } else { one.0 };
        // It could not be written down, and the round ends here.
        ha.forget(first);
        assert_eq!(ha.verdict(left), Some(Verdict::Suspected));
        assert_eq!(ha.found_off(), Some(left), "what its power control said is not lost");
        assert_eq!(ha.found_off(), None);
    }
}
