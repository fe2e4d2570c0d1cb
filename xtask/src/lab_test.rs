//! `xtask lab-test`: the tests on real Xen, each in one QEMU host of its own.

use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{exec, run as product};

/// Which one.
#[derive(Clone, Copy)]
pub enum Test {
    Scenario,
    Disks,
    Imports,
    Hvm,
    Conformance,
    Pool,
    Run,
}

impl Test {
    /// What the test answers to.
    const fn name(self) -> &'static str {
        match self {
            Self::Scenario => "scenario",
            Self::Disks => "disks",
            Self::Imports => "imports",
            Self::Hvm => "hvm",
            Self::Conformance => "conformance",
            Self::Pool => "pool",
            Self::Run => "run",
        }
    }
}

/// What the scenario takes, for whoever announces it.
pub const USUALLY: &str = "15-20 minutes on two cores, and five more the first time";

/// Makes the machine ready, builds the programs under test and runs the test of that name.
pub fn run(test: Test) -> Result<()> {
    let mut purposes = vec![Purpose::Build, Purpose::Lab];
    if matches!(test, Test::Hvm) {
        // The medium is written with the installer's programs.
        purposes.extend([Purpose::Iso, Purpose::Hvm]);
    }
    setup::ensure(&purposes)?;
    println!("building what is tested (usually a minute, or 10 the first time)");
    exec::run(&mut if matches!(test, Test::Run) { product::build() } else { programs() })?;
    exec::run(&mut agent())?;
    match test {
        Test::Conformance => exec::run(&mut conformance("xenith-hypervisor-agent-libxl", "dom0_check"))?,
        Test::Disks => exec::run(&mut conformance("xenith-hypervisor-agent-storage", "lvm_thin_check"))?,
        _ => {}
    }
    exec::run(&mut on_real_xen(test))
}

/// The test finds them beside itself in the target folder.
pub fn programs() -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--locked", "--bins"]);
    command.args(["--package", "xenith-orchestrator", "--package", "xenith-orchestrator-cli"]);
    command
}

/// The agent as hosts in QEMU get it: optimised, because emulation is slow enough.
pub fn agent() -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--locked", "--profile", "lab"]);
    command.args(["--package", "xenith-hypervisor-agent", "--bin", "xenith-agent"]);
    command
}

/// The conformance suite of a seam as a program for dom0.
fn conformance(package: &str, program: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--locked", "--profile", "lab"]);
    command.args(["--package", package, "--example", program]);
    command
}

/// cargo test, not nextest: nextest's limits are for tests of a second, and its output comes at the end only.
pub fn on_real_xen(test: Test) -> Command {
    let mut command = Command::new("cargo");
    command.args(["test", "--locked", "--package"]);
    command.args(match test {
        // Of that crate's tests, those of a module: the others want simulated hosts.
        Test::Run => &["xenith-lab-run", "--test", "it", "lab::"][..],
        _ => &["xenith-lab-scenario", "--test", "it"],
    });
    command.args(["--", "--nocapture"]);
    command.env("XENITH_LAB", test.name());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    #[test]
    fn a_test_is_asked_for_by_its_name_in_the_crate_that_has_it() {
        for (test, variable, words) in [
            (
                Test::Scenario,
                "XENITH_LAB=scenario ",
                "--package xenith-lab-scenario --test it -- --nocapture",
            ),
            (Test::Run, "XENITH_LAB=run ", "--package xenith-lab-run --test it lab:: -- --nocapture"),
        ] {
            let shown = exec::shown(&on_real_xen(test));
            assert!(shown.starts_with(variable) && shown.ends_with(words), "{shown}");
        }
    }

    /// One that nobody answers to would end at once, as if all were well.
    #[test]
    fn somebody_answers_to_each_name() {
        let read = |path: &str| std::fs::read_to_string(tree::root().join(path)).unwrap();
        let scenario = read("lab/scenario/tests/it/main.rs");
        let tests = [Test::Scenario, Test::Disks, Test::Imports, Test::Hvm, Test::Conformance, Test::Pool];
        for test in tests {
            assert!(scenario.contains(&format!("if !asked({:?})", test.name())), "{}", test.name());
        }
        let run = format!("test == {:?}", Test::Run.name());
        assert!(read("lab/run/tests/it/harness.rs").contains(&run), "{run}");
        assert!(read("lab/run/tests/it/main.rs").contains("mod lab;"), "the filter names this module");
    }
}
