//! The property, and that it is one: worlds with one mistake in them are caught.

use crate::world::{Mistake, Tally, World};

const SEEDS: u64 = 10_000;

#[test]
fn no_vm_runs_twice_in_ten_thousand_partitions() {
    let mut all = Tally::default();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, Mistake::None);
        let ran = world.through_chaos();
        // When everything works again, everything runs again.
        let ran = if seed % 10 == 0 { ran.and_then(|()| world.through_quiet()) } else { ran };
        ran.unwrap_or_else(|twice| panic!("seed {seed}: {twice}"));
        all.add(world.tally());
    }
    // What never happens proves nothing.
    let often = u32::try_from(SEEDS / 10).unwrap();
    for (what, times) in [
        ("fenced by their leases", all.by_lease),
        ("fenced by their power", all.by_power),
        ("reset by their watchdogs", all.bites),
        ("VMs restarted", all.restarts),
        ("hosts welcomed back", all.welcomes),
    ] {
        assert!(times >= often, "{what}: only {times} times: {all:?}");
    }
}

#[test]
fn each_mistake_is_caught() {
    for mistake in [
        Mistake::HastyJudge,
        Mistake::NoWatchdog,
        Mistake::StartsByItself,
        Mistake::GoesOn,
        Mistake::TrustsPower,
    ] {
        let caught = (0..SEEDS).any(|seed| World::new(seed, mistake).through_chaos().is_err());
        assert!(caught, "{mistake:?} goes unnoticed");
    }
}
