//! Hosts that are far above the mean give VMs to those below it.
//!
//! A host that is too full gets nothing, and one that is not gives nothing: so a plan is the same whether the VMs of the
//! latter were looked at or not. One host after the other gives, the fullest first, until it is half-way between the
//! threshold and the mean: one that stops at the threshold would be back at it with the next guest that works a little
//! more. What would take less from it than the least gain is not worth a move, and is taken back.

use super::state::{At, State};
use super::{Settings, percent};

/// The mean of the pool, and so much above it that a host is too full.
#[derive(Clone, Copy)]
struct Lines {
    mean: u64,
    over: u64,
    /// Here a host stops giving.
    enough: u64,
}

pub(super) fn level(state: &mut State, settings: &Settings) {
    let mean = state.mean();
    let lines = Lines { mean, over: mean + settings.threshold, enough: mean + settings.threshold / 2 };
    let too_full = state.order.iter().rev().take_while(|(full, _)| *full > lines.over);
    let sources: Vec<At> = too_full.map(|(_, at)| *at).filter(|at| state.hosts[*at].looked_at).collect();
    for from in sources {
        if state.left() == 0 {
            let name = state.name(from).to_owned();
            return state.note(|| format!("{name} has to wait: a plan has no more moves than it may"));
        }
        relieve(state, settings, (from, lines));
    }
}

fn relieve(state: &mut State, settings: &Settings, (from, lines): (At, Lines)) {
    let (mark, before) = (state.mark(), state.full(from));
    let mut units = state.units(from);
    units.retain(|unit| unit.iter().all(|index| may_go(state, from, *index)));
    while state.full(from) > lines.enough && state.left() > 0 {
        let Some((place, to)) = best(state, (from, lines), &units) else { break };
        let unit = units.swap_remove(place);
        let weight = state.weight(from, &unit);
        let reason = format!(
            "{} is at {}, the pool at {}; {} goes to {}",
            state.name(from),
            state.hosts[from].fullness().words(),
            percent(lines.mean),
            state.name(to),
            percent(state.hosts[to].with(weight).most()),
        );
        if !state.move_together(&unit, (from, to), &reason) {
            // `best` asked for the same.
            break;
        }
    }
    let (after, name) = (state.full(from), state.name(from).to_owned());
    if state.mark() == mark {
        state.note(|| {
            format!(
                "{name} is at {}, and none of its VMs can go to a host that is less full",
                percent(before)
            )
        });
    } else if before.saturating_sub(after) < settings.min_gain {
        state.take_back(mark);
        state.note(|| {
            format!(
                "{name} is at {}: what could go would bring it to {}, which is not worth it",
                percent(before),
                percent(after)
            )
        });
    }
}

fn may_go(state: &State, from: At, index: usize) -> bool {
    let vm = &state.hosts[from].vms[index];
    !vm.is_off() && state.stays(vm).is_none()
}

/// Which of the units goes where, so that the fuller of the two hosts is as little full as can be. Of equals the one with
/// the least memory to copy.
fn best(state: &mut State, (from, lines): (At, Lines), units: &[Vec<usize>]) -> Option<(usize, At)> {
    let full = state.full(from);
    let targets = state.order.iter().take_while(|(there, _)| *there <= lines.over);
    let targets: Vec<At> = targets.map(|(_, at)| *at).filter(|at| *at != from).collect();
    let mut best: Option<((u64, u64), (usize, At))> = None;
    for (place, unit) in units.iter().enumerate() {
        let weight = state.weight(from, unit);
        let here = state.hosts[from].without(weight).most();
        if here >= full {
            // It takes nothing of what there is least of.
            continue;
        }
        let Some((to, fuller)) = emptiest(state, (from, &targets), unit, (weight, here)) else { continue };
        let rank = (fuller, weight.0);
        if best.as_ref().is_none_or(|(known, _)| rank < *known) {
            best = Some((rank, (place, to)));
        }
    }
    best.map(|(_, chosen)| chosen)
}

/// The first of these hosts, the emptiest first, that takes a unit, and how full the fuller of both is then: less than now.
fn emptiest(
    state: &mut State,
    (from, targets): (At, &[At]),
    unit: &[usize],
    (weight, here): ((u64, u64), u64),
) -> Option<(At, u64)> {
    let full = state.full(from);
    for &to in targets {
        let fuller = state.hosts[to].with(weight).most().max(here);
        if fuller < full && tried(state, unit, (from, to)) {
            return Some((to, fuller));
        }
    }
    None
}

/// Whether it could be moved. One VM without company needs no trial.
fn tried(state: &mut State, unit: &[usize], (from, to): (At, At)) -> bool {
    if let [index] = unit
        && state.hosts[from].vms[*index].wish.together_with.is_empty()
    {
        return state.takes(&state.hosts[from].vms[*index], to);
    }
    let mark = state.mark();
    let could = state.move_together(unit, (from, to), "");
    state.take_back(mark);
    could
}
