//! Which VMs of a pool should be elsewhere, and why. Pure: the same inputs give the same plan; who asks for a plan only
//! and who carries one out run the same code.
//!
//! Where a VM may go is placement's to say ([`crate::placement::fits`]); nothing of that is decided here. First VMs go
//! that are beside one to stay apart from, or away from one to be together with. Then, for *performance*, hosts that are
//! far above the pool's mean give VMs to those below; for *density*, hosts are emptied that others can take everything of.
//!
//! What always holds:
//!
//! * A VM moves once at most, so a plan ends; [`Settings::most`] bounds it besides.
//! * Memory that a move frees is given to nobody in the same plan, and a VM that left is still there for those to stay
//!   apart from it: so the moves can be made in any order, at the same time, and some of them not at all, and no host
//!   ever lacks memory or gets a VM that is to stay apart from one there.
//! * The whole plan separates no two VMs that are to be together, unless it joins more of them. Those that belong
//!   together go together, to one host; while they are on their way they are apart.
//! * For performance, the fuller of two hosts is less full after each move than it was before.
//!
//! A host whose VMs were not looked at gives none away. So who plans by itself looks at the hosts' sums first, and only
//! at the VMs of those that are too full ([`over`]).

mod company;
mod density;
mod performance;
pub mod power;
mod state;
#[cfg(test)]
mod tests;

use xenith_common_ids::{HostId, VmId};
use xenith_orchestrator_types::balance::BalanceGoal;

use crate::placement::{HostView, Wish};
use state::State;

/// A VM that a plan may move.
#[derive(Debug, Clone)]
pub struct VmView {
    pub vm: VmId,
    pub name: String,
    /// As placement wants it; `not` is the host that it is on. No memory: it is off.
    pub wish: Wish,
    /// Of processors, in thousandths of one.
    pub cpu: u64,
    /// Why it is left where it is: "is protected against migration".
    pub stays: Option<&'static str>,
}

impl VmView {
    const fn is_off(&self) -> bool {
        self.wish.memory == 0
    }
}

/// The VMs of a host, where somebody looked at them.
#[derive(Debug, Clone)]
pub enum Vms {
    NotLookedAt,
    /// All that are defined there.
    Are(Vec<VmView>),
}

/// A host and how full it is.
#[derive(Debug, Clone)]
pub struct HostLoad {
    pub view: HostView,
    /// MiB in use; what is promised to starts under way is not, and still not free.
    pub memory_used: u64,
    /// Of processors, in thousandths of one.
    pub cpu: u64,
    /// How many are defined there, looked at or not.
    pub count: usize,
    pub vms: Vms,
}

/// How full a host is, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Fullness {
    pub memory: u64,
    pub cpu: u64,
}

impl Fullness {
    pub(crate) const fn of(memory_used: u64, view: &HostView, cpu: u64) -> Self {
        let total = if view.memory_total == 0 { 1 } else { view.memory_total };
        let cpus = if view.cpus == 0 { 1 } else { view.cpus as u64 };
        Self { memory: memory_used * 1000 / total, cpu: cpu / cpus }
    }

    /// What there is least of decides.
    #[must_use]
    pub const fn most(self) -> u64 {
        if self.memory > self.cpu { self.memory } else { self.cpu }
    }

    /// "92 % of its memory".
    fn words(self) -> String {
        let of = if self.memory >= self.cpu { "memory" } else { "processors" };
        format!("{} of its {of}", percent(self.most()))
    }
}

fn percent(thousandths: u64) -> String {
    format!("{} %", (thousandths + 5) / 10)
}

impl HostLoad {
    /// Takes part: it can give VMs away and get some.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.view.heard && !self.view.maintenance && self.view.memory_total > 0
    }

    #[must_use]
    pub const fn fullness(&self) -> Fullness {
        Fullness::of(self.memory_used, &self.view, self.cpu)
    }
}

/// What a plan is to reach. All of fullness is in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub goal: BalanceGoal,
    /// So much above the mean a host gives VMs away.
    pub threshold: u64,
    /// So much less full a host must become, or its VMs stay.
    pub min_gain: u64,
    /// No host gets fuller than this, unless it is for performance and takes from a fuller one.
    pub ceiling: u64,
    pub most: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub vm: VmId,
    pub name: String,
    pub from: HostId,
    pub to: HostId,
    /// MiB that are copied; 0: it is off, and its definition moves.
    pub memory: u64,
    pub reason: String,
}

/// A host that a plan changes, as it is and as it would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub host: HostId,
    pub name: String,
    pub before: Fullness,
    pub after: Fullness,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub moves: Vec<Move>,
    pub hosts: Vec<Changed>,
    /// For density: those without VMs, once all moves are made.
    pub empty: Vec<HostId>,
    /// What could not be done, and why.
    pub notes: Vec<String>,
}

/// The mean of the hosts that take part.
#[must_use]
pub fn mean<'a>(hosts: impl IntoIterator<Item = &'a HostLoad>) -> u64 {
    let full = hosts.into_iter().filter(|host| host.is_open()).map(|host| host.fullness().most());
    let (sum, count) = full.fold((0, 0), |(sum, count), full| (sum + full, count + 1));
    sum / std::cmp::max(count, 1)
}

/// Hosts of which a plan would want to move VMs, by their sums alone: fullest first for performance, emptiest first for
/// density. At most `most`: what is left is looked at when these are done.
#[must_use]
pub fn over(hosts: &[HostLoad], settings: &Settings, most: usize) -> Vec<HostId> {
    let mut open: Vec<&HostLoad> = hosts.iter().filter(|host| host.is_open()).collect();
    match settings.goal {
        BalanceGoal::Performance => {
            let line = mean(hosts) + settings.threshold;
            open.retain(|host| host.fullness().most() > line);
            open.sort_by_key(|host| std::cmp::Reverse(host.fullness().most()));
        }
        BalanceGoal::Density => {
            open.retain(|host| host.count > 0);
            if !density::could_be_fewer(&open, settings.ceiling) {
                return Vec::new();
            }
            open.sort_by_key(|host| host.memory_used);
        }
    }
    open.into_iter().take(most).map(|host| host.view.host).collect()
}

#[must_use]
pub fn plan(hosts: Vec<HostLoad>, settings: &Settings) -> Plan {
    let mut state = State::new(hosts, settings.most);
    company::repair(&mut state, settings);
    match settings.goal {
        BalanceGoal::Performance => performance::level(&mut state, settings),
        BalanceGoal::Density => density::pack(&mut state, settings),
    }
    state.into_plan()
}
