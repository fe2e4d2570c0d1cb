//! What happens in the fleet while it is looked at.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use xenith_hypervisor_agent_sim::Manners;

use crate::clients::Made;
use crate::hosts::Host;

/// A pseudo-random walk; the same in every run.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Millions of its steps that one CPU does in a second: what figures of different days, or machines, are compared by.
pub fn speed() -> f64 {
    const STEPS: usize = 50_000_000;
    let (begun, mut random) = (Instant::now(), Random::new(crate::SEED));
    for _ in 0..STEPS {
        std::hint::black_box(random.below(STEPS));
    }
    STEPS as f64 / begun.elapsed().as_secs_f64() / 1e6
}

/// Guests whose drivers come and go, `rate` a second, until `end`: their addresses and system appear and vanish
/// in the lists. Notes each in `made`. Returns how many.
pub async fn change(hosts: &[Host], rate: usize, made: &Made, end: Instant) -> u64 {
    const TICK: Duration = Duration::from_millis(10);
    let mut random = Random::new(crate::SEED);
    let mut ticks = tokio::time::interval(TICK);
    let (mut count, begun) = (0, Instant::now());
    while Instant::now() < end {
        ticks.tick().await;
        // What is due by now, so that a late tick makes up for it.
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        while count < due {
            let host = &hosts[random.below(hosts.len())];
            let guest = host.guests[random.below(host.guests.len())];
            let talks = {
                let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                let talks = made.get(&guest.vm).is_some_and(|(_, talks)| !talks);
                made.insert(guest.vm, (Instant::now(), talks));
                talks
            };
            let manners = if talks { Manners::Polite } else { Manners::NoDrivers };
            // The guest runs: nobody else touches it.
            let _there = host.sim.set_manners(guest.domid, manners);
            count += 1;
        }
    }
    count
}
