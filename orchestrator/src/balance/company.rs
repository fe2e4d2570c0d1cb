//! VMs that are beside one to stay apart from, or away from one to be together with.

use super::state::{Applied, At, State};
use super::{Settings, VmView};

/// How many a VM has beside it. Both count the same, and neither may become worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Company {
    apart: usize,
    together: usize,
}

impl Company {
    fn of(state: &State, vm: &VmView, at: At) -> Self {
        Self {
            apart: state.beside(&vm.wish.apart_from, at),
            together: state.beside(&vm.wish.together_with, at),
        }
    }

    const fn is_better_than(self, other: Self) -> bool {
        self.apart <= other.apart
            && self.together >= other.together
            && (self.apart < other.apart || self.together > other.together)
    }
}

/// A VM goes where its company is better and there is room up to the ceiling; where nothing is better it stays.
pub(super) fn repair(state: &mut State, settings: &Settings) {
    for from in 0..state.hosts.len() {
        if !state.hosts[from].open {
            continue;
        }
        for index in 0..state.hosts[from].vms.len() {
            if state.left() == 0 {
                return;
            }
            repair_one(state, settings, (from, index));
        }
    }
}

fn repair_one(state: &mut State, settings: &Settings, (from, index): (At, usize)) {
    let vm = &state.hosts[from].vms[index];
    let rules = vm.wish.apart_from.len() + vm.wish.together_with.len();
    if rules == 0 || vm.is_off() {
        return;
    }
    let here = Company::of(state, vm, from);
    let broken = here.apart > 0
        || vm.wish.together_with.iter().any(|other| state.position(*other).is_some_and(|at| at != from));
    if !broken || state.stays(vm).is_some() {
        return;
    }
    let weight = state.weight(from, &[index]);
    let may = |to: At| {
        to != from
            && state.hosts[to].open
            && state.hosts[to].with(weight).most() <= settings.ceiling
            && state.takes(vm, to)
    };
    // Where its friends are; and, if somebody here is to be left, wherever nobody of those is, the emptiest first.
    let friends = vm.wish.together_with.iter().filter_map(|other| state.position(*other));
    let elsewhere = state.order.iter().map(|(_, at)| *at).filter(|_| here.apart > 0);
    let better = |to: &At| Company::of(state, vm, *to).is_better_than(here) && may(*to);
    let beside =
        friends.filter(better).max_by_key(|to| (state.beside(&vm.wish.together_with, *to), usize::MAX - to));
    let Some(to) = beside.or_else(|| elsewhere.filter(|to| *to != from).find(better)) else {
        // One that has some of them beside it, and others elsewhere, is where it can be.
        if here.apart > 0 || here.together == 0 {
            let note =
                format!("{} on {}: no host has room for it and better company", vm.name, state.name(from));
            state.note(|| note);
        }
        return;
    };
    let there = Company::of(state, vm, to);
    let reason = if there.apart < here.apart {
        format!(
            "{} has {} of the VMs to stay apart from, {} has {}",
            state.name(from),
            here.apart,
            state.name(to),
            there.apart
        )
    } else {
        format!(
            "{} has {} of the VMs to be together with, {} has {}",
            state.name(to),
            there.together,
            state.name(from),
            here.together
        )
    };
    state.apply(Applied { from, index, to, reason });
}
