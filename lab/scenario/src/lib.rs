//! The parts of the scenario on real Xen: an orchestrator of its own, a lab host with an agent that joined it,
//! and steps that are named and timed. The scenario itself is the test in `tests/it`; `docs/lab-scenario.md` says
//! what it shows and what it leaves out.

mod orchestrator;
mod pool;
mod programs;
mod stage;
mod steps;
mod turns;

pub use orchestrator::{Orchestrator, told};
pub use pool::join_pool;
pub use programs::Programs;
pub use stage::{Boot, Guest, SLACK, Stage, until};
pub use steps::Steps;
pub use turns::{by_turns, median};

/// Set by `cargo xtask lab-test`: without it nothing that boots a host runs. Holds the name of the test that is meant, or
/// 1 for the scenario.
pub const ASKED: &str = "XENITH_LAB";

/// Whether this test on real Xen was asked for.
#[must_use]
pub fn asked(test: &str) -> bool {
    std::env::var_os(ASKED).is_some_and(|asked| !asked.is_empty()) && meant() == test
}

/// The test that is meant.
fn meant() -> String {
    match std::env::var(ASKED) {
        Ok(name) if !name.is_empty() && name != "1" => name,
        _ => "scenario".into(),
    }
}

/// A host that `xenith-lab up` keeps and that is to be used, by `XENITH_LAB_HOST`: who writes a step saves the boot.
#[must_use]
pub fn kept_host() -> Option<String> {
    std::env::var("XENITH_LAB_HOST").ok().filter(|name| !name.is_empty())
}
