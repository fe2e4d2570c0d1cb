//! What an agent knows of its own right to run VMs: whether the watchdog may be fed.
//!
//! ```text
//!         armed            lease written, or contact            neither for `lease - 3 watchdog`
//! nothing ─────> starving ─────────────────────────────> fed ─────────────────────────────────────> starving ──> reset
//!                                                         ^                                          │
//!                                                         '──────── lease written, or contact ───────'
//!
//! neither for `lease`, also from the start on ──> over, for ever
//! ```
//!
//! What always holds: whatever the process does, stands, or dies, the watchdog bites no later than `lease` after the
//! *basis*, the moment at which the newest lease that is on the disk was begun, or the newest challenge that the
//! orchestrator answered was made. Both are moments of before the other side knew, so that no delay makes them later.
//!
//! Three watchdogs are kept back ([`Guard::may_feed`]): one because the process may stand between the question and the
//! feeding, which then happens as late as the bite of the feeding before; one because the kernel feeds once more when the
//! process dies; and one until the bite. Memory only: a process that starts knows of no basis, and feeds nothing before
//! it has one.
//!
//! No watchdog resets a host on which none was opened since it was booted. Nothing runs there yet, but the orchestrator may
//! count the host as ended all the same, while its orders of before are on their way. So a run of the agent that had no
//! basis for `lease` is over for ever ([`Guard::is_over`]): it feeds and starts nothing, whatever comes later. The one that
//! follows it is another process, which no order reaches that was sent to this one.

use std::collections::VecDeque;

use crate::time::{Moment, Timing};

/// Challenges that may still be answered. With one a beat, older ones are of no use: what they prove is too long ago.
const CHALLENGES: usize = 32;

/// What the orchestrator sends back with its next beat. Unlike any other of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Challenge(u64);

impl Challenge {
    #[must_use]
    pub const fn from_wire(number: u64) -> Self {
        Self(number)
    }

    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Whether VMs may be started since the host was booted, by itself or on somebody's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autostart {
    /// The orchestrator has said so, or knew of this boot when the host was armed.
    Allowed,
    /// Somebody else may run the VMs of this host by now. An order to start one may be of before that.
    Waits,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Guard {
    timing: Timing,
    began: Moment,
    basis: Option<Moment>,
    autostart: Autostart,
    made: u64,
    challenges: VecDeque<(Challenge, Moment)>,
}

impl Guard {
    /// Of an armed host, before it says so to anybody. `first` differs between processes: it names challenges, and one of
    /// another process is none of ours.
    #[must_use]
    pub const fn new(timing: Timing, autostart: Autostart, first: u64, now: Moment) -> Self {
        Self { timing, began: now, basis: None, autostart, made: first, challenges: VecDeque::new() }
    }

    #[must_use]
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// A lease whose writing began at `begun` is on the disk.
    pub fn lease_written(&mut self, begun: Moment, now: Moment) {
        self.since(begun, now);
    }

    /// For the answer to a beat of the orchestrator.
    pub fn challenge(&mut self, now: Moment) -> Challenge {
        self.made = self.made.wrapping_add(1);
        let challenge = Challenge(self.made);
        if self.challenges.len() == CHALLENGES {
            self.challenges.pop_front();
        }
        self.challenges.push_back((challenge, now));
        challenge
    }

    /// The orchestrator knew this challenge: it was there after the challenge was made.
    pub fn answered(&mut self, challenge: Challenge, now: Moment) {
        let made = self.challenges.iter().find(|(made, _)| *made == challenge).map(|(_, at)| *at);
        if let Some(made) = made {
            self.since(made, now);
        }
    }

    /// A run that is over takes none, and so stays over.
    fn since(&mut self, basis: Moment, now: Moment) {
        if !self.is_over(now) {
            self.basis = self.basis.max(Some(basis));
        }
    }

    /// Whether this run of the agent had no basis for as long as a lease lasts. It feeds and starts nothing any more. Where
    /// it has opened no watchdog, nothing resets the host, and the process has to end itself.
    #[must_use]
    pub fn is_over(&self, now: Moment) -> bool {
        now > self.basis.unwrap_or(self.began).plus(self.timing.lease())
    }

    /// Whether the watchdog may be opened or fed.
    #[must_use]
    pub fn may_feed(&self, now: Moment) -> bool {
        let at_worst = now.plus(self.timing.watchdog() * 3);
        self.basis.is_some_and(|basis| at_worst <= basis.plus(self.timing.lease()))
    }

    /// Whether a VM may be started: not by a host that is about to be reset, and not after a boot before that is allowed.
    #[must_use]
    pub fn may_start(&self, now: Moment) -> bool {
        self.autostart == Autostart::Allowed && self.may_feed(now)
    }

    /// Whether none was made after this one: what is asked with it was asked by somebody who has heard nothing since.
    #[must_use]
    pub const fn is_newest(&self, challenge: Challenge) -> bool {
        self.made == challenge.0
    }

    /// The orchestrator knows of this boot, and has taken from this host what others run.
    pub const fn allow_autostart(&mut self) {
        self.autostart = Autostart::Allowed;
    }

    #[must_use]
    pub const fn autostart(&self) -> Autostart {
        self.autostart
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn guard() -> Guard {
        Guard::new(Timing::default(), Autostart::Waits, 7, at(0))
    }

    #[test]
    fn feeds_nothing_without_a_basis_and_stops_three_watchdogs_early() {
        let mut guard = guard();
        assert!(!guard.may_feed(at(0)));
        guard.lease_written(at(50), at(51));
        for (now, fed) in [(51, true), (80, true), (81, false)] {
            assert_eq!(guard.may_feed(at(now)), fed, "{now}");
        }
        // An older one that comes late takes nothing away.
        guard.lease_written(at(40), at(80));
        assert!(guard.may_feed(at(80)));
    }

    #[test]
    fn contact_counts_from_the_challenge_and_not_from_its_answer() {
        let mut guard = guard();
        let challenge = guard.challenge(at(10));
        guard.answered(challenge, at(12));
        assert!(guard.may_feed(at(40)) && !guard.may_feed(at(41)));
    }

    #[test]
    fn nothing_starts_after_a_boot_before_it_is_allowed() {
        let mut guard = guard();
        guard.lease_written(at(10), at(11));
        assert!(guard.may_feed(at(11)) && !guard.may_start(at(11)));
        guard.allow_autostart();
        assert!(guard.may_start(at(11)) && !guard.may_start(at(41)));
    }

    #[test]
    fn challenges_of_others_and_of_long_ago_count_for_nothing() {
        let mut guard = guard();
        let first = guard.challenge(at(10));
        for _ in 0..CHALLENGES {
            guard.challenge(at(11));
        }
        guard.answered(first, at(12));
        guard.answered(Challenge::from_wire(7), at(12));
        assert!(!guard.may_feed(at(12)));
    }

    #[test]
    fn a_run_without_a_basis_for_as_long_as_a_lease_is_over_for_ever() {
        // Never had one; and had one that ended.
        for (last, over) in [(None, 61), (Some(30), 91)] {
            let mut guard = guard();
            guard.allow_autostart();
            let challenge = guard.challenge(at(30));
            if let Some(begun) = last {
                guard.lease_written(at(begun), at(begun + 1));
            }
            assert!(!guard.is_over(at(over - 1)) && guard.is_over(at(over)), "{last:?}");
            // What comes too late changes nothing, however new it is.
            guard.answered(challenge, at(over));
            guard.lease_written(at(over), at(over + 1));
            let newer = guard.challenge(at(over));
            guard.answered(newer, at(over + 1));
            assert!(guard.is_over(at(over + 2)) && !guard.may_start(at(over + 2)), "{last:?}");
        }
    }

    #[test]
    fn a_basis_that_is_known_in_time_keeps_the_run() {
        let mut guard = guard();
        guard.lease_written(at(20), at(60));
        assert!(!guard.is_over(at(80)));
        guard.lease_written(at(70), at(80));
        assert!(!guard.is_over(at(130)) && guard.is_over(at(131)));
    }
}
