//! `xtask test`: everything that has to hold before a change goes in, in one command.
//!
//! Quick checks go first; a failure does not keep the others from running, so that one run tells everything. Only
//! a failed set-up ends the run, since nothing after it could succeed, and the slow scenarios wait for the rest.

mod counts;

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use anyhow::{Result, bail, ensure};

use self::counts::{Counts, Runner};
use crate::setup::{self, Purpose};
use crate::step::{Progress, Step};
use crate::{crate_graph, docs, exec, lab_test, licences, manifests, sizes, tree};

/// What to do about Debian packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    Install,
    /// The machine is ready, or is not Debian.
    Skip,
}

pub fn run(setup: Setup) -> Result<()> {
    let root = tree::root();
    let ui = root.join("ui/package.json").is_file();
    // The rest is worth checking without Node.js. A pipeline has it, or something is wrong with the pipeline.
    let no_node = setup::check_node(&[Purpose::Ui]).err().filter(|_| ui && env::var_os("CI").is_none());
    println!("building in {}", tree::target_dir()?.display());
    let mut progress = Progress::default();
    let mut counts = Counts::default();
    let mut purposes = vec![Purpose::Build, Purpose::Test];
    purposes.extend((ui && no_node.is_none()).then_some(Purpose::Ui));
    purposes.extend(on_real_xen().then_some(Purpose::Lab));
    match setup {
        Setup::Install => install(&mut progress, &purposes),
        Setup::Skip => progress.skip("setup", "asked for"),
    }
    if !progress.has_failed() {
        checks(&mut progress);
        // The UI goes first: the orchestrator that is built for the tests has it inside, and the browser and the host
        // in QEMU get that same build. Cargo would build all of it again for fewer packages, with other features.
        let ui = ui.then(|| root.join("ui")).filter(|_| no_node.is_none());
        if let Some(ui) = &ui {
            ui_build(&mut progress, &mut counts, ui);
        }
        tests(&mut progress, &mut counts);
        if let Some(why) = no_node {
            progress.skip("ui", format!("{why:#}"));
        }
        if let Some(ui) = &ui {
            ui_tests(&mut progress, &mut counts, ui);
        }
    }
    scenario(&mut progress, &mut counts);
    println!("\n{}", progress.table());
    // The last line is what pipelines read; without it the last runner's own line would stand for all.
    let outcome = progress.finish();
    println!("tests: {counts}");
    outcome
}

fn install(progress: &mut Progress, purposes: &[Purpose]) {
    let step = Step {
        name: "setup",
        what: "look for missing Debian packages and install them",
        usually: "a second, or 1-3 minutes the first time",
        repeat: "cargo xtask setup".to_owned(),
    };
    progress.run(step, || setup::run(purposes, setup::Mode::Install));
    if progress.has_failed() || exec::installed("cargo-nextest") {
        return;
    }
    println!("\ninstalling the test runner {NEXTEST} (usually 3-5 minutes, once)");
    if let Err(error) = install_nextest() {
        println!("{error:#}; the tests go on without it");
    }
}

/// Debian has none. It runs each test in a process of its own, and ends those that hang.
fn install_nextest() -> Result<()> {
    let scratch = tree::target_dir()?.join("nextest");
    let mut command = cargo(&["install", "--locked", NEXTEST]);
    let done = exec::run(command.arg("--target-dir").arg(&scratch));
    // Half a gigabyte that is not needed again; what cannot be removed does no harm.
    let _left = fs::remove_dir_all(&scratch);
    done
}

/// Any newer one does too; this one is what the pipeline was seen with.
const NEXTEST: &str = "cargo-nextest@0.9.151";

/// A verb of ours: its name, what it looks at, and the check itself.
type OwnCheck = (&'static str, &'static str, fn() -> Result<()>);

const OWN_CHECKS: [OwnCheck; 5] = [
    ("sizes", "size budgets and house rules", sizes::run),
    ("manifests", "names, lints and versions of our crates", manifests::run),
    ("crate-graph", "who depends on whom", || crate_graph::run(crate_graph::Mode::Check)),
    ("licences", "licences, bans and sources of all crates", licences::run),
    ("docs", "links, and what is said to be built", docs::run),
];

fn checks(progress: &mut Progress) {
    // The names are enough: `cargo fmt --all` mends it.
    progress.run(step("fmt", "is the code formatted", "2 seconds", "cargo fmt --all -- --check"), || {
        exec::run(&mut cargo(&["fmt", "--all", "--", "--check", "-l"]))
    });
    for (name, what, check) in OWN_CHECKS {
        progress.run(step(name, what, "a second or two", &format!("cargo xtask {name}")), check);
    }
    // Without --keep-going the first crate with a warning hides those of all that depend on it, and of others.
    let mut clippy = cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--keep-going",
        "--",
        "-D",
        "warnings",
    ]);
    let repeat = exec::shown(&clippy);
    progress.run(
        step("clippy", "warnings are errors", "3 seconds, or 5 minutes the first time", &repeat),
        || exec::run(&mut clippy),
    );
}

/// Without it there is nothing that the checked-in bindings of libxl could be compared with.
const XEN_HEADER: &str = "/usr/include/libxl.h";

fn tests(progress: &mut Progress, counts: &mut Counts) {
    if !Path::new(XEN_HEADER).is_file() {
        progress.skip("bindings", format!("no {XEN_HEADER} to compare them with; install libxen-dev"));
    }
    // They pass without a word: their runner shows what failed.
    if !setup::is_root() {
        let what = "network namespaces, mounted file systems, what protects a repository from its writer";
        progress.skip("root's tests", format!("{what}: only root may try that"));
    }
    let usually = "a quarter of an hour on two cores, or half an hour the first time";
    if exec::installed("cargo-nextest") {
        let mut command = cargo(&["nextest", "run", "--workspace", "--locked", "--profile", profile()]);
        let about =
            About { name: "tests", what: "unit and integration tests", usually, runner: Runner::Nextest };
        *counts += counted(progress, about, &mut command);
    } else {
        println!(
            "\ncargo-nextest is not there (cargo install cargo-nextest); cargo test does the same, more slowly"
        );
        let kinds = ["--lib", "--bins", "--tests"];
        let mut command = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
        command.args(kinds);
        let about =
            About { name: "tests", what: "unit and integration tests", usually, runner: Runner::Harness };
        *counts += counted(progress, about, &mut command);
    }
    let mut command = cargo(&["test", "--workspace", "--doc", "--locked"]);
    let about = About {
        name: "doc tests",
        what: "the examples in the documentation",
        usually: "half a minute",
        runner: Runner::Harness,
    };
    *counts += counted(progress, about, &mut command);
    progress.run(
        step("goldens", "no golden file is waiting for a decision", "no time", "cargo xtask test"),
        || no_pending_goldens(&tree::root()),
    );
}

fn npm(ui: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(ui).args(arguments).env("CI", "true");
    command
}

/// By its own scripts.
fn ui_build(progress: &mut Progress, counts: &mut Counts, ui: &Path) {
    for (name, what, usually, arguments) in [
        ("ui install", "fetch the UI's packages", "half a minute", &["ci", "--no-fund", "--no-audit"][..]),
        ("ui build", "compile the UI, and hold its size against the budget", "10 seconds", &["run", "build"]),
    ] {
        let about = About { name, what, usually, runner: Runner::Vitest };
        *counts += counted(progress, about, &mut npm(ui, arguments));
    }
}

fn ui_tests(progress: &mut Progress, counts: &mut Counts, ui: &Path) {
    let what = "the UI's types and units";
    let about = About { name: "ui test", what, usually: "half a minute", runner: Runner::Vitest };
    *counts += counted(progress, about, &mut npm(ui, &["test"]));
    // Not by itself until they have been seen green on a quiet machine.
    if env::var_os("XENITH_BROWSER").is_none() {
        return progress.skip("ui browser", "only when asked for: XENITH_BROWSER=1 make test");
    }
    let mut browser = npm(ui, &["run", "test:browser"]);
    if let Ok(target) = tree::target_dir() {
        // They must run here, not be left out because a program is missing.
        browser.env("XENITH_PROGRAMS", target.join("debug"));
    }
    let about = About {
        name: "ui browser",
        what: "every screen in a browser",
        usually: "5 minutes",
        runner: Runner::Vitest,
    };
    *counts += counted(progress, about, &mut browser);
}

/// Always, but for who works on something else and says so.
fn on_real_xen() -> bool {
    env::var_os("XENITH_LAB").is_none_or(|wanted| wanted != "0")
}

/// The slow one: it waits for the rest, and is not begun when that has failed.
fn scenario(progress: &mut Progress, counts: &mut Counts) {
    let name = "lab scenario";
    if !on_real_xen() {
        return progress.skip(name, "XENITH_LAB=0 says so; it stays to be run: make lab-test");
    }
    if progress.has_failed() {
        return progress.skip(name, "something before it has failed");
    }
    let missing = ["qemu-system-x86_64", "mmdebstrap", "ssh"].into_iter().find(|p| !exec::installed(p));
    if let Some(program) = missing.filter(|_| env::var_os("CI").is_none()) {
        return progress.skip(name, format!("{program} is not there: cargo xtask setup --for lab"));
    }
    // The orchestrator and the CLI lie there since the tests.
    let built = step("lab build", "the agent as hosts in QEMU get it", "5 minutes", "cargo xtask lab-test");
    progress.run(built, || exec::run(&mut lab_test::agent()));
    let about =
        About { name, what: "the product on real Xen", usually: lab_test::USUALLY, runner: Runner::Harness };
    *counts += counted(progress, about, &mut lab_test::on_real_xen(lab_test::Test::Scenario));
}

/// What is said of a step whose tests are counted.
struct About {
    name: &'static str,
    what: &'static str,
    usually: &'static str,
    runner: Runner,
}

fn counted(progress: &mut Progress, about: About, command: &mut Command) -> Counts {
    let mut counts = Counts::default();
    let mut repeat = exec::shown(command);
    if let Some(dir) = command.get_current_dir() {
        repeat = format!("cd {} && {repeat}", dir.display());
    }
    progress.run(step(about.name, about.what, about.usually, &repeat), || {
        exec::run_seen(command, |line| counts += Counts::of_line(about.runner, line).unwrap_or_default())?;
        // A runner that fails says so by its exit status; this is for one that does not.
        ensure!(counts.failed == 0, "{} tests failed", counts.failed);
        Ok(())
    });
    counts
}

fn step(name: &'static str, what: &'static str, usually: &'static str, repeat: &str) -> Step {
    Step { name, what, usually, repeat: repeat.to_owned() }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    // A snapshot that differs fails and is not written beside the golden file.
    command.args(arguments).env("INSTA_UPDATE", "no");
    command
}

/// The pipeline gets every failure in full at the end; a person wants the first one at once.
fn profile() -> &'static str {
    if env::var_os("CI").is_some() { "ci" } else { "default" }
}

fn no_pending_goldens(root: &Path) -> Result<()> {
    let pending =
        tree::all_files(root, |name| name.ends_with(".snap.new") || name.ends_with(".pending-snap"))?;
    for path in &pending {
        println!("{}", path.display());
    }
    if !pending.is_empty() {
        bail!("these golden files wait for `cargo insta review`, or to be deleted");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_golden_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".gitignore"), "*.snap.new\n").unwrap();
        std::fs::write(dir.path().join("a.snap"), "").unwrap();
        assert!(no_pending_goldens(dir.path()).is_ok());
        std::fs::write(dir.path().join("a.snap.new"), "").unwrap();
        assert!(no_pending_goldens(dir.path()).is_err());
    }
}
