//! The parts of the scenario on real Xen: an orchestrator of its own, a lab host with an agent that joined it,
//! and steps that are named and timed. The scenario itself is the test in `tests/it`; `docs/lab-scenario.md` says
//! what it shows and what it leaves out.

mod orchestrator;
mod programs;
mod stage;
mod steps;

pub use orchestrator::{Orchestrator, told};
pub use programs::Programs;
pub use stage::{Boot, Guest, Stage, until};
pub use steps::Steps;

/// Set by `cargo xtask lab-test`: without it nothing that boots a host runs. Holds the name of the test that is meant, or
/// 1 for the scenario.
pub const ASKED: &str = "XENITH_LAB";

/// Whether this test on real Xen was asked for.
#[must_use]
pub fn asked(test: &str) -> bool {
    let meant = std::env::var(ASKED).unwrap_or_default();
    meant == test || (meant == "1" && test == "scenario")
}
