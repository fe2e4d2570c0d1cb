//! Hosts are emptied that others can take everything of: whole hosts or nothing, for half an empty host saves no power.

use super::state::{At, State};
use super::{HostLoad, Settings, percent};

/// Whether what runs would fit on one host less, if nothing but room mattered: else nobody needs to look.
pub(super) fn could_be_fewer(open: &[&HostLoad], ceiling: u64) -> bool {
    let room = |host: &&HostLoad| (host.view.memory_total * ceiling / 1000).saturating_sub(host.memory_used);
    let total: u64 = open.iter().map(room).sum();
    open.iter().any(|host| host.memory_used <= total.saturating_sub(room(host)))
}

pub(super) fn pack(state: &mut State, settings: &Settings) {
    let open: Vec<At> = state.order.iter().map(|(_, at)| *at).collect();
    let bare = |at: &At| state.hosts[*at].count == 0 && state.hosts[*at].received == 0;
    let bare: Vec<At> = open.iter().copied().filter(bare).collect();
    for at in bare {
        state.close(at);
    }
    let mut candidates: Vec<At> =
        open.into_iter().filter(|at| state.hosts[*at].looked_at && state.hosts[*at].open).collect();
    candidates.sort_by_key(|at| (state.hosts[*at].memory_used, *at));
    for from in candidates {
        if state.left() == 0 {
            return state
                .note(|| "more hosts could be emptied: a plan has no more moves than it may".to_owned());
        }
        // What came by this plan stays where it came to.
        if state.hosts[from].received == 0 {
            empty(state, settings, from);
        }
    }
}

fn empty(state: &mut State, settings: &Settings, from: At) {
    let mark = state.mark();
    let name = state.name(from).to_owned();
    let mut units = state.units(from);
    let going = |state: &State, index: usize| {
        state.position(state.hosts[from].vms[index].vm).is_some_and(|at| at != from)
    };
    // Some may be on their way already, for better company.
    units.iter_mut().for_each(|unit| unit.retain(|index| !going(state, *index)));
    units.retain(|unit| !unit.is_empty());
    for index in units.iter().flatten() {
        let vm = &state.hosts[from].vms[*index];
        if let Some(why) = state.stays(vm) {
            let vm = vm.name.clone();
            return state.note(|| format!("{name} cannot be emptied: {vm} {why}"));
        }
    }
    if units.iter().map(Vec::len).sum::<usize>() > state.left() {
        return state.note(|| format!("{name} is not emptied: it has more VMs than a plan may still move"));
    }
    units.sort_by_key(|unit| std::cmp::Reverse(state.weight(from, unit).0));
    let reason = format!("{name} is at {}, and others can take all of it", percent(state.full(from)));
    for unit in units {
        if !place(state, settings, (from, unit.as_slice()), &reason) {
            let vm = state.hosts[from].vms[unit[0]].name.clone();
            state.take_back(mark);
            let ceiling = percent(settings.ceiling);
            return state
                .note(|| format!("{name} cannot be emptied: no host takes {vm} and stays below {ceiling}"));
        }
    }
    state.close(from);
}

/// On the fullest host that has room for it: what is left elsewhere stays in one piece.
fn place(state: &mut State, settings: &Settings, (from, unit): (At, &[usize]), reason: &str) -> bool {
    let weight = state.weight(from, unit);
    let targets: Vec<At> = state.order.iter().rev().map(|(_, at)| *at).filter(|at| *at != from).collect();
    let fine = |state: &State, to: At| state.hosts[to].with(weight).most() <= settings.ceiling;
    targets.into_iter().any(|to| fine(state, to) && state.move_together(unit, (from, to), reason))
}
