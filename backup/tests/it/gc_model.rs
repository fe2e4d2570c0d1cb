//! The collector's protocol as a small model, explored exhaustively.
//!
//! One chunk that everybody wants, writers, and collectors that publish overlapping plans, two of them carrying
//! out the same plan. Every step is one access to the store; every interleaving is visited. What must
//! hold in every state: a committed backup that is not to be forgotten has its chunk in some pack.
//!
//! That the model can fail is shown by breaking the protocol in the ways its proof says are needed.

use std::collections::{HashSet, VecDeque};

/// Which rule is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Collectors do not wait for sessions.
    NoWaiting,
    /// What was marked at first counts; nothing is marked again.
    NoSecondMark,
    /// Writers do not look at plans.
    WritersIgnorePlans,
    /// A pack in another plan counts as a good place for a chunk.
    PlannedPacksCount,
    /// Revoking is a mark in the collector's memory, not an object.
    RevokeWithoutFence,
    /// Each collector deletes by its own second mark.
    NoVerdict,
}

const PACKS: usize = 4;
const WRITERS: usize = 2;
const COLLECTORS: usize = 3;
/// Collectors 0 and 1 carry out plan 0, collector 2 has plan 1.
const PLAN_OF: [usize; COLLECTORS] = [0, 0, 1];
const PLANS: usize = 2;
/// Backups 0 and 1 are the writers'; backup 2 is there from the start, and plan 0 forgets it.
const OLD: usize = 2;

/// A set of packs as bits. All of them hold the one chunk.
type Packs = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Manifest {
    Absent,
    Committed,
    Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PlanState {
    Unpublished,
    Published { packs: Packs },
    CarriedOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    Opened,
    /// Knows these plans.
    SawPlans {
        plans: u8,
    },
    /// Has put on record that it does.
    Recorded {
        doomed: Packs,
    },
    /// Found the chunk, or must store it.
    Decided {
        store: bool,
    },
    Stored,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Collector {
    Idle,
    /// First mark: whether the chunk is needed once the plan's backup is forgotten.
    Marked {
        packs: Packs,
    },
    Published,
    /// Every session that matters is over.
    Waited,
    ListedPlans {
        planned: Packs,
    },
    ListedPacks {
        planned: Packs,
        packs: Packs,
    },
    Judged {
        delete: Packs,
    },
    HasVerdict {
        delete: Packs,
    },
    ManifestsGone {
        delete: Packs,
    },
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    packs: Packs,
    manifests: [Manifest; WRITERS + 1],
    /// Sessions: open, and which plans their writer put on record.
    sessions: [Option<u8>; WRITERS],
    plans: [PlanState; PLANS],
    verdicts: [Option<Packs>; PLANS],
    writers: [Writer; WRITERS],
    collectors: [Collector; COLLECTORS],
    /// Plans whose collector decided that a session is dead (only used without the fence).
    given_up: [bool; WRITERS],
}

impl State {
    fn start((writers, collectors): Cast) -> Self {
        let mut state = Self {
            // The chunk lies in two packs from the start: two old runs raced.
            packs: 0b0011,
            manifests: [Manifest::Absent, Manifest::Absent, Manifest::Committed],
            sessions: [None; WRITERS],
            plans: [PlanState::Unpublished; PLANS],
            verdicts: [None; PLANS],
            writers: [Writer::Idle; WRITERS],
            collectors: [Collector::Idle; COLLECTORS],
            given_up: [false; WRITERS],
        };
        state.writers[writers..].fill(Writer::Over);
        state.collectors.iter_mut().enumerate().for_each(|(c, collector)| {
            if !collectors.contains(&c) {
                *collector = Collector::Over;
            }
        });
        state
    }

    /// Whether somebody outside plan `plan`'s forgotten backups needs the chunk.
    fn needed(&self, plan: usize) -> bool {
        (0..=WRITERS).any(|m| self.manifests[m] == Manifest::Committed && !(m == OLD && plan == 0))
    }

    fn published(&self) -> Packs {
        self.plans.iter().fold(0, |all, plan| match plan {
            PlanState::Published { packs } => all | packs,
            _ => all,
        })
    }

    fn is_safe(&self) -> bool {
        let forgotten = matches!(self.plans[0], PlanState::Unpublished);
        let kept = (0..=WRITERS).any(|m| self.manifests[m] == Manifest::Committed && (m != OLD || forgotten));
        !kept || self.packs != 0
    }

    fn next(&self, broken: Broken) -> Vec<State> {
        let mut states = Vec::new();
        (0..WRITERS).for_each(|w| self.step_writer(w, broken, &mut states));
        (0..COLLECTORS).for_each(|c| self.step_collector(c, broken, &mut states));
        states
    }

    fn step_writer(&self, w: usize, broken: Broken, out: &mut Vec<State>) {
        let mut next = self.clone();
        next.writers[w] = match self.writers[w] {
            Writer::Idle => {
                next.sessions[w] = Some(0);
                Writer::Opened
            }
            Writer::Opened => {
                let seen = (0..PLANS).filter(|&p| matches!(self.plans[p], PlanState::Published { .. }));
                let plans = if broken == Broken::WritersIgnorePlans {
                    0
                } else {
                    seen.fold(0, |all, p| all | 1 << p)
                };
                Writer::SawPlans { plans }
            }
            Writer::SawPlans { plans } => {
                let doomed =
                    (0..PLANS).filter(|p| plans >> p & 1 == 1).fold(0, |all, p| match self.plans[p] {
                        PlanState::Published { packs } => all | packs,
                        _ => all,
                    });
                next.sessions[w] = Some(plans);
                Writer::Recorded { doomed }
            }
            // Lists packs and decides.
            Writer::Recorded { doomed } => Writer::Decided { store: self.packs & !doomed == 0 },
            Writer::Decided { store: true } => {
                // Names of packs never come back: each writer has one of its own.
                next.packs |= 1 << (2 + w);
                Writer::Stored
            }
            Writer::Decided { store: false } | Writer::Stored => {
                // Create-if-absent: a revocation under the same key wins.
                if self.manifests[w] == Manifest::Absent {
                    next.manifests[w] = Manifest::Committed;
                }
                Writer::Over
            }
            Writer::Over => return,
        };
        if next.writers[w] == Writer::Over {
            // Ending the session is a later write; leaving it open is the harder case, revoking covers it.
            out.push(next.clone());
            next.sessions[w] = None;
        }
        out.push(next);
    }

    fn step_collector(&self, c: usize, broken: Broken, out: &mut Vec<State>) {
        let plan = PLAN_OF[c];
        let mut next = self.clone();
        next.collectors[c] = match self.collectors[c] {
            Collector::Idle => match self.plans[plan] {
                PlanState::Published { .. } => Collector::Published,
                PlanState::CarriedOut => Collector::Over,
                PlanState::Unpublished => Collector::Marked { packs: self.choose(plan) },
            },
            Collector::Marked { packs } => {
                if self.plans[plan] == PlanState::Unpublished {
                    next.plans[plan] = PlanState::Published { packs };
                }
                Collector::Published
            }
            Collector::Published => return self.wait(c, broken, out),
            Collector::Waited => {
                let PlanState::Published { packs } = self.plans[plan] else { return out.push(next.over(c)) };
                let others = if broken == Broken::PlannedPacksCount { 0 } else { self.published() };
                Collector::ListedPlans { planned: packs | others }
            }
            Collector::ListedPlans { planned } => Collector::ListedPacks { planned, packs: self.packs },
            Collector::ListedPacks { planned, packs } => {
                let PlanState::Published { packs: candidates } = self.plans[plan] else {
                    return out.push(next.over(c));
                };
                let spare = self.needed(plan) && packs & !planned == 0 && broken != Broken::NoSecondMark;
                Collector::Judged { delete: if spare { 0 } else { candidates } }
            }
            Collector::Judged { delete } if broken == Broken::NoVerdict => Collector::HasVerdict { delete },
            Collector::Judged { delete } => match self.verdicts[plan] {
                Some(delete) => Collector::HasVerdict { delete },
                None => {
                    next.verdicts[plan] = Some(delete);
                    // Looking whether the plan is still there is a later step; here it may be gone already.
                    if self.plans[plan] == PlanState::CarriedOut {
                        Collector::Over
                    } else {
                        Collector::HasVerdict { delete }
                    }
                }
            },
            Collector::HasVerdict { delete } => {
                if plan == 0 {
                    next.manifests[OLD] = Manifest::Absent;
                }
                Collector::ManifestsGone { delete }
            }
            Collector::ManifestsGone { delete } => {
                // One pack at a time.
                let left = self.packs & delete;
                if left != 0 {
                    next.packs &= !(1 << left.trailing_zeros());
                    out.push(next);
                    return;
                }
                next.plans[plan] = PlanState::CarriedOut;
                next.verdicts[plan] = None;
                Collector::Over
            }
            Collector::Over => return,
        };
        out.push(next);
    }

    fn over(mut self, c: usize) -> Self {
        self.collectors[c] = Collector::Over;
        self
    }

    /// The first mark: packs nobody needs, when the plan's backup is forgotten and packs of other plans do not
    /// count. One pack must stay if the chunk is needed; plan 0 keeps the last, plan 1 the first.
    fn choose(&self, plan: usize) -> Packs {
        let free = self.packs & !self.published();
        if !self.needed(plan) || free == 0 {
            return free;
        }
        let keep = if plan == 0 { 1 << (7 - free.leading_zeros()) } else { free & free.wrapping_neg() };
        free & !keep
    }

    fn wait(&self, c: usize, broken: Broken, out: &mut Vec<State>) {
        let plan = PLAN_OF[c];
        for w in 0..WRITERS {
            let Some(saw) = self.sessions[w] else { continue };
            let over = saw >> plan & 1 == 1 || self.manifests[w] != Manifest::Absent || self.given_up[w];
            if over || broken == Broken::NoWaiting {
                continue;
            }
            // It waits; or the lease has run out, at any moment, for clocks lie: then it revokes.
            let mut next = self.clone();
            if broken == Broken::RevokeWithoutFence {
                next.given_up[w] = true;
            } else {
                next.manifests[w] = Manifest::Revoked;
            }
            return out.push(next);
        }
        let mut next = self.clone();
        next.collectors[c] = Collector::Waited;
        out.push(next);
    }
}

/// Number of writers, and which collectors take part: all at once are too many states.
type Cast = (usize, &'static [usize]);
const CASTS: [Cast; 3] = [(2, &[0, 2]), (1, &[0, 1, 2]), (2, &[0, 1])];

/// Visits every state; gives their number, or an unsafe one.
fn explore(cast: Cast, broken: Broken) -> Result<usize, Box<State>> {
    let mut seen = HashSet::from([State::start(cast)]);
    let mut queue = VecDeque::from([State::start(cast)]);
    while let Some(state) = queue.pop_front() {
        if !state.is_safe() {
            return Err(Box::new(state));
        }
        for next in state.next(broken) {
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_interleaving_loses_a_backup() {
    const { assert!(PACKS == 2 + WRITERS) };
    for cast in CASTS {
        let states = explore(cast, Broken::Nothing).unwrap_or_else(|state| panic!("{cast:?}: {state:#?}"));
        println!("{cast:?}: {states} states");
        assert!(
            states > 5_000,
            "{cast:?}: {states} states are too few: the model does not explore what it should"
        );
    }
}

#[test]
fn every_rule_is_needed() {
    for broken in [
        Broken::NoWaiting,
        Broken::NoSecondMark,
        Broken::WritersIgnorePlans,
        Broken::PlannedPacksCount,
        Broken::RevokeWithoutFence,
        Broken::NoVerdict,
    ] {
        let lost = CASTS.iter().any(|cast| explore(*cast, broken).is_err());
        assert!(lost, "without {broken:?} nothing is lost: the rule or the model is idle");
    }
}
