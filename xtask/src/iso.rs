//! `xtask iso` and `xtask iso-test`: the installer medium, and the test that installs from it in QEMU.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{exec, lab_test, tree};

/// What to do about the versions of Debian's packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packages {
    /// Exactly those of `installer/media/packages.lock`.
    Locked,
    /// The newest, which become the locked ones.
    Renew,
}

/// Builds the medium into `out`.
pub fn run(out: &Path, packages: Packages) -> Result<()> {
    setup::run(&[Purpose::Build, Purpose::Lab, Purpose::Iso], setup::Mode::Install)?;
    println!("building the programs of the medium (usually 2 minutes, or 20 the first time)");
    exec::run(&mut programs())?;
    println!("building the medium (usually 1 minute, or 6 the first time)");
    exec::run(&mut builder(out, packages)?)
}

/// What the medium carries.
fn programs() -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--locked", "--release", "--package", "xenith-hypervisor-agent"]);
    command.args(["--package", "xenith-installer", "--package", "xenith-orchestrator"]);
    command.args(["--package", "xenith-orchestrator-cli", "--bins"]);
    command
}

fn builder(out: &Path, packages: Packages) -> Result<Command> {
    let release = tree::target_dir()?.join("release");
    let mut command = Command::new("cargo");
    command.args([
        "run",
        "--locked",
        "--quiet",
        "--package",
        "xenith-installer-media",
        "--bin",
        "xenith-iso",
        "--",
    ]);
    command.arg(if packages == Packages::Renew { "lock" } else { "build" });
    command.arg("--agent").arg(&release).arg("--programs").arg(&release);
    if packages == Packages::Locked {
        command.arg("--out").arg(out);
    }
    Ok(command)
}

/// Builds what is tested, then installs, upgrades and breaks hosts in QEMU.
pub fn test() -> Result<()> {
    setup::run(&[Purpose::Build, Purpose::Lab, Purpose::Iso], setup::Mode::Install)?;
    println!("building what is tested (usually a minute, or 10 the first time)");
    exec::run(lab_test::programs().args(["--package", "xenith-orchestrator-cli"]))?;
    exec::run(&mut host_programs())?;
    println!("the test takes about an hour under emulation; XENITH_ISO_STEPS=install,upgrade chooses steps");
    exec::run(&mut scenario())
}

/// Agent and installer, optimised: they run under emulation.
fn host_programs() -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--locked", "--profile", "lab", "--package", "xenith-hypervisor-agent"]);
    command.args(["--package", "xenith-installer", "--bin", "xenith-agent", "--bin", "xenith-installer"]);
    command
}

fn scenario() -> Command {
    let mut command = Command::new("cargo");
    command.args([
        "test",
        "--locked",
        "--package",
        "xenith-installer-media",
        "--test",
        "it",
        "--",
        "--nocapture",
    ]);
    command.env("XENITH_ISO", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_renewed_only_when_asked() {
        let shown = |packages| exec::shown(&builder(Path::new("/out"), packages).unwrap());
        assert!(
            shown(Packages::Locked).contains(" build ") && shown(Packages::Locked).ends_with("--out /out")
        );
        assert!(shown(Packages::Renew).contains(" lock ") && !shown(Packages::Renew).contains("--out"));
    }
}
