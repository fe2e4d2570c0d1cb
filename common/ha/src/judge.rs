//! What the orchestrator knows of one armed host: whether it is proved to run nothing.
//!
//! ```text
//!            silent                    its lease has ended, or its power is off
//!  heard ────────────> suspected ─────────────────────────────────────────────────> fenced
//!    ^                   │    ^                                                       │
//!    '────── heard ──────'    '──────────────── welcomed, when it is back ────────────'
//! ```
//!
//! What always holds: the orchestrator *grants* only to a host that it hears, and notes when before it sends. A host's
//! contact is then never later than the last grant, and its lease never later than the first look that showed it.
//! A look that was asked for [`Timing::proof`] after both, and after anything was heard, and shows the same lease still,
//! proves that the host was reset, or that it ran nothing and its run is over: had it written another one in time to live
//! on, the look would have shown it.
//!
//! A look that fails, or shows no lease, proves nothing. In memory; *fenced* is written down by who owns a judge before
//! it acts on it, and one that starts again knows of no grant or look and waits anew ([`Judge::new`]).

use serde::{Deserialize, Serialize};
use xenith_common_ids::AgentRunId;

use crate::time::{Moment, Timing};

/// What a host's lease says: a run of its agent, and how often that has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseMark {
    pub run: AgentRunId,
    pub sequence: u64,
}

/// A look at a host's lease by another host. `asked` and `answered` are moments of the orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub asked: Moment,
    pub answered: Moment,
    /// `None`: there is none, or it cannot be read.
    pub mark: Option<LeaseMark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It had neither us nor its lease for longer than its watchdog waits.
    Lease,
    /// Its power control says that it is off.
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Heard,
    Suspected,
    Fenced(Proof),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Judge {
    timing: Timing,
    verdict: Verdict,
    heard: Moment,
    granted: Moment,
    /// The lease, and when a look had first shown it.
    lease: Option<(LeaseMark, Moment)>,
    /// When the newest look was asked for that showed it.
    shown: Option<Moment>,
}

impl Judge {
    /// Of a host of which nothing was heard yet: an orchestrator before this one may have granted until now.
    #[must_use]
    pub const fn new(timing: Timing, now: Moment) -> Self {
        let verdict = Verdict::Suspected;
        Self { timing, verdict, heard: now, granted: now, lease: None, shown: None }
    }

    /// Of a host that is written down as fenced.
    #[must_use]
    pub const fn fenced(timing: Timing, proof: Proof, now: Moment) -> Self {
        let verdict = Verdict::Fenced(proof);
        Self { timing, verdict, heard: now, granted: now, lease: None, shown: None }
    }

    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The host has answered. One that is fenced stays so until it is welcomed.
    pub fn heard(&mut self, now: Moment) {
        self.heard = self.heard.max(now);
        if self.verdict == Verdict::Suspected {
            self.verdict = Verdict::Heard;
        }
    }

    /// Asked before each beat is sent. `true`: the beat may carry the host's challenge back, and is noted as sent now.
    #[must_use]
    pub fn grant(&mut self, now: Moment) -> bool {
        self.tick(now);
        let granted = self.verdict == Verdict::Heard;
        if granted {
            self.granted = self.granted.max(now);
        }
        granted
    }

    /// Time goes by.
    pub fn tick(&mut self, now: Moment) {
        if self.verdict == Verdict::Heard && now.since(self.heard) > self.timing.silence() {
            self.verdict = Verdict::Suspected;
        }
    }

    /// Another host has looked at its lease. Whether that has fenced it.
    pub fn looked(&mut self, reading: Reading) -> bool {
        let Some(mark) = reading.mark else { return false };
        let first_shown = match self.lease {
            Some((known, since)) if known == mark => {
                self.shown = self.shown.max(Some(reading.asked));
                since
            }
            _ => {
                (self.lease, self.shown) = (Some((mark, reading.answered)), None);
                reading.answered
            }
        };
        let basis = self.heard.max(self.granted).max(first_shown);
        reading.asked >= basis.plus(self.timing.proof()) && self.fence(Proof::Lease)
    }

    /// Whether its power may be cut: nothing is heard of it, and its lease stands still. One that writes its lease runs
    /// on, as it does without power control, whoever does not hear it. This spares hosts that live; what proves that one
    /// is dead is [`Self::found_off`].
    #[must_use]
    pub fn may_be_cut(&self) -> bool {
        let stands = |(_, since): (LeaseMark, Moment)| {
            self.shown.is_some_and(|shown| shown >= since.plus(self.timing.silence()))
        };
        self.verdict == Verdict::Suspected && self.lease.is_some_and(stands)
    }

    /// Its power control, asked at `asked`, says that it is off. Whether that has fenced it: an answer that was heard
    /// after the question may be of a machine that was switched on again.
    pub fn found_off(&mut self, asked: Moment) -> bool {
        asked > self.heard && self.fence(Proof::Power)
    }

    /// Only one that is suspected.
    fn fence(&mut self, proof: Proof) -> bool {
        let suspected = self.verdict == Verdict::Suspected;
        if suspected {
            self.verdict = Verdict::Fenced(proof);
        }
        suspected
    }

    /// A fenced host is back, and has nothing that others run.
    pub fn welcome(&mut self, now: Moment) {
        if matches!(self.verdict, Verdict::Fenced(_)) {
            *self = Self { verdict: Verdict::Heard, ..Self::new(self.timing, now) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn mark(sequence: u64) -> LeaseMark {
        LeaseMark { run: AgentRunId::from_bytes([1; 16]), sequence }
    }

    fn look(asked: u64, answered: u64, sequence: u64) -> Reading {
        Reading { asked: at(asked), answered: at(answered), mark: Some(mark(sequence)) }
    }

    /// Silent since 100, its lease first shown at 103, suspected at 120.
    fn silent() -> Judge {
        let mut judge = Judge::new(Timing::default(), at(0));
        judge.heard(at(100));
        assert!(judge.grant(at(100)));
        assert!(!judge.looked(look(101, 103, 1)));
        judge.tick(at(120));
        assert_eq!(judge.verdict(), Verdict::Suspected);
        judge
    }

    #[test]
    fn a_lease_that_stays_the_same_long_enough_is_a_proof() {
        // 60 s, drift of both clocks, the margin: 63.2 s.
        for (name, reading, fenced) in [
            ("asked too early, answered late", look(166, 900, 1), false),
            ("asked late", look(167, 168, 1), true),
            ("another lease", look(900, 901, 2), false),
            ("none", Reading { mark: None, ..look(900, 901, 1) }, false),
        ] {
            let mut judge = silent();
            assert_eq!(judge.looked(reading), fenced, "{name}");
            assert_eq!(matches!(judge.verdict(), Verdict::Fenced(Proof::Lease)), fenced, "{name}");
        }
    }

    #[test]
    fn a_lease_is_as_old_as_the_answer_that_first_showed_it() {
        let mut judge = silent();
        assert!(!judge.looked(look(200, 250, 2)));
        assert!(!judge.looked(look(300, 301, 2)));
        assert!(judge.looked(look(314, 315, 2)));
    }

    #[test]
    fn who_is_heard_is_not_fenced_and_who_is_suspected_is_granted_nothing() {
        let mut judge = silent();
        assert!(!judge.grant(at(121)));
        judge.heard(at(170));
        assert!(!judge.looked(look(171, 172, 1)));
        assert!(judge.grant(at(173)));
    }

    #[test]
    fn power_that_is_off_counts_only_after_the_last_that_was_heard() {
        let mut judge = silent();
        assert!(!judge.found_off(at(100)));
        assert!(judge.found_off(at(121)));
        // It stays fenced although it is heard, until it is welcomed.
        judge.heard(at(200));
        assert_eq!(judge.verdict(), Verdict::Fenced(Proof::Power));
        judge.welcome(at(201));
        assert_eq!(judge.verdict(), Verdict::Heard);
        // Nothing of before counts.
        judge.tick(at(300));
        assert!(!judge.looked(look(301, 302, 1)));
    }

    #[test]
    fn power_is_cut_only_where_the_lease_stands_still() {
        // The lease was first shown at 103; three beats are 15 s.
        for (name, reading, cut) in [
            ("too soon", look(117, 118, 1), false),
            ("it stands still", look(118, 119, 1), true),
            ("it goes on", look(118, 119, 2), false),
            ("it cannot be read", Reading { mark: None, ..look(118, 119, 1) }, false),
        ] {
            let mut judge = silent();
            judge.looked(reading);
            assert_eq!(judge.may_be_cut(), cut, "{name}");
        }
        let mut judge = silent();
        judge.looked(look(118, 119, 1));
        judge.heard(at(120));
        assert!(!judge.may_be_cut(), "it is heard again");
    }

    #[test]
    fn an_orchestrator_that_has_just_started_waits_for_what_the_one_before_may_have_granted() {
        let mut judge = Judge::new(Timing::default(), at(1000));
        assert!(!judge.looked(look(1001, 1002, 1)));
        assert!(!judge.looked(look(1064, 1065, 1)));
        assert!(judge.looked(look(1066, 1067, 1)));
    }
}
