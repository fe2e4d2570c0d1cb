//! What goes wrong on a simulated host, and when: rules that tests build and configuration files spell.
//!
//! A rule looks at one kind of call (or event), counts those that match its pattern, and fires on the ones it
//! was made for. Rules are asked in the order in which they were added: the first that fails or spoils a call
//! decides, hangs add up. A rule that can never fire again is forgotten. Kept under the host's lock; nothing
//! here outlives the host.

mod parse;

use std::time::Duration;

use crate::Operation;

pub use parse::ParseFaultError;

/// What an injected failure looks like to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// With the exact figures of the call and the host.
    NoMemory,
    OutOfMemory,
    NotAXenHost,
    NoSuchDomain,
    NoSuchDevice,
    AlreadyAttached,
    WrongStatus,
    NameTaken,
    InvalidSpec,
    Device,
    Unsupported,
    Unresponsive,
    TimedOut,
    Failed,
    Closed,
}

/// What may be lost on its way to subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventName {
    Appeared,
    Died,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Which {
    Every,
    /// Calls `first + 1` to `first + count` of those that match, counted from when the rule was added.
    Window {
        first: u64,
        count: u64,
    },
    /// Each with this probability, in percent.
    Percent(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The call is not carried out.
    Fail(Operation, Failure),
    /// The call is carried out, its caller is told otherwise.
    Spoil(Operation, Failure),
    /// The call takes this much longer.
    Hang(Operation, Duration),
    Lose(EventName),
}

/// One thing that goes wrong. As text: `fail the 3rd create with no-memory`, `fail every attach-disk of xvdb
/// with device`, `spoil the next create with timed-out`, `hang the next 2 shutdown of web-* for 10s`, `fail
/// 2% destroy with failed`, `lose the next died`. Without more said, a rule fires on the next match only.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    pub(crate) effect: Effect,
    pub(crate) which: Which,
    /// A VM's name, a disk's device or a NIC's address; `*` stands for anything. `None` matches all.
    pub(crate) of: Option<Box<str>>,
}

impl FaultRule {
    #[must_use]
    pub const fn fail(operation: Operation, failure: Failure) -> Self {
        Self::next(Effect::Fail(operation, failure))
    }

    /// Does what was asked and reports `failure`: an answer that got lost.
    #[must_use]
    pub const fn spoil(operation: Operation, failure: Failure) -> Self {
        Self::next(Effect::Spoil(operation, failure))
    }

    #[must_use]
    pub const fn hang(operation: Operation, longer: Duration) -> Self {
        Self::next(Effect::Hang(operation, longer))
    }

    #[must_use]
    pub const fn lose(event: EventName) -> Self {
        Self::next(Effect::Lose(event))
    }

    const fn next(effect: Effect) -> Self {
        Self { effect, which: Which::Window { first: 0, count: 1 }, of: None }
    }

    /// Fires on the `nth` match only, the first being 1.
    #[must_use]
    pub const fn nth(mut self, nth: u64) -> Self {
        self.which = Which::Window { first: nth.saturating_sub(1), count: 1 };
        self
    }

    /// Fires on the next `count` matches.
    #[must_use]
    pub const fn times(mut self, count: u64) -> Self {
        self.which = Which::Window { first: 0, count };
        self
    }

    #[must_use]
    pub const fn every(mut self) -> Self {
        self.which = Which::Every;
        self
    }

    /// Fires on each match with this probability, decided by the host's seed.
    #[must_use]
    pub const fn percent(mut self, percent: f64) -> Self {
        self.which = Which::Percent(percent);
        self
    }

    /// Only for the VM name, disk device or MAC address that matches; `*` stands for anything.
    #[must_use]
    pub fn of(mut self, pattern: impl Into<String>) -> Self {
        self.of = Some(pattern.into().into_boxed_str());
        self
    }
}

/// What the rules say of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail(Failure),
    Spoil(Failure),
}

#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<(FaultRule, u64)>);

impl Faults {
    pub(crate) fn new(rules: &[FaultRule]) -> Self {
        Self(rules.iter().map(|rule| (rule.clone(), 0)).collect())
    }

    pub(crate) fn add(&mut self, rule: FaultRule) {
        self.0.push((rule, 0));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call and says how it ends and how much longer it takes.
    pub(crate) fn judge(
        &mut self,
        operation: Operation,
        subjects: &[&str],
        dice: &mut fastrand::Rng,
    ) -> (Verdict, Duration) {
        let mut verdict = Verdict::Pass;
        let mut longer = Duration::ZERO;
        for (rule, seen) in &mut self.0 {
            let (concerned, outcome) = match rule.effect {
                Effect::Fail(of, failure) => (of == operation, Some(Verdict::Fail(failure))),
                Effect::Spoil(of, failure) => (of == operation, Some(Verdict::Spoil(failure))),
                Effect::Hang(of, _) => (of == operation, None),
                Effect::Lose(_) => (false, None),
            };
            if !concerned || !rule.fires(seen, subjects, dice) {
                continue;
            }
            match (rule.effect, outcome) {
                (Effect::Hang(_, more), _) => longer = longer.saturating_add(more),
                (_, Some(outcome)) if verdict == Verdict::Pass => verdict = outcome,
                _ => {}
            }
        }
        self.forget_spent();
        (verdict, longer)
    }

    /// Whether this event is lost.
    pub(crate) fn loses(&mut self, event: EventName, subjects: &[&str], dice: &mut fastrand::Rng) -> bool {
        let mut lost = false;
        for (rule, seen) in &mut self.0 {
            if rule.effect == Effect::Lose(event) {
                lost |= rule.fires(seen, subjects, dice);
            }
        }
        self.forget_spent();
        lost
    }

    fn forget_spent(&mut self) {
        self.0.retain(|(rule, seen)| match rule.which {
            Which::Window { first, count } => *seen < first.saturating_add(count),
            Which::Every | Which::Percent(_) => true,
        });
    }
}

impl FaultRule {
    fn fires(&self, seen: &mut u64, subjects: &[&str], dice: &mut fastrand::Rng) -> bool {
        let matches = self.of.as_deref().is_none_or(|of| subjects.iter().any(|text| glob(of, text)));
        if !matches {
            return false;
        }
        *seen = seen.saturating_add(1);
        match self.which {
            Which::Every => true,
            Which::Window { first, count } => *seen > first && *seen <= first.saturating_add(count),
            Which::Percent(percent) => dice.f64() * 100.0 < percent,
        }
    }
}

/// Whether `text` is what `pattern` says, `*` standing for any characters. Names of VMs have no other
/// character that patterns use, so nothing needs quoting.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, matches) in [
            ("web", "web", true),
            ("web", "web1", false),
            ("web-*", "web-1", true),
            ("*-db", "prod-db", true),
            ("*", "", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn rules_fire_when_they_were_made_for() {
        let create = |rule: FaultRule| {
            let mut faults = Faults::new(&[rule]);
            let mut dice = fastrand::Rng::with_seed(1);
            let fired: Vec<bool> = (0..5)
                .map(|index| {
                    let name = format!("web-{index}");
                    faults.judge(Operation::Create, &[&name], &mut dice).0 != Verdict::Pass
                })
                .collect();
            fired.iter().map(|fired| if *fired { 'x' } else { '.' }).collect::<String>()
        };
        let rule = || FaultRule::fail(Operation::Create, Failure::NoMemory);
        for (name, rule, fired) in [
            ("next", rule(), "x...."),
            ("nth", rule().nth(3), "..x.."),
            ("times", rule().times(2), "xx..."),
            ("every", rule().every(), "xxxxx"),
            ("of", rule().of("web-2"), "..x.."),
            ("never", rule().percent(0.0), "....."),
            ("always", rule().percent(100.0), "xxxxx"),
            ("another call", FaultRule::fail(Operation::Pause, Failure::Failed).every(), "....."),
        ] {
            assert_eq!(create(rule), fired, "{name}");
        }
    }

    #[test]
    fn hangs_add_up_and_the_first_failure_decides() {
        let second = Duration::from_secs(1);
        let mut faults = Faults::new(&[
            FaultRule::hang(Operation::Pause, second),
            FaultRule::spoil(Operation::Pause, Failure::TimedOut),
            FaultRule::hang(Operation::Pause, second),
            FaultRule::fail(Operation::Pause, Failure::Failed),
        ]);
        let mut dice = fastrand::Rng::with_seed(1);
        let judged = faults.judge(Operation::Pause, &[], &mut dice);
        assert_eq!(judged, (Verdict::Spoil(Failure::TimedOut), second * 2));
        assert_eq!(faults.judge(Operation::Pause, &[], &mut dice), (Verdict::Pass, Duration::ZERO));
    }
}
