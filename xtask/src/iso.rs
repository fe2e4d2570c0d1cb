//! `xtask iso` and `xtask iso-test`: the installer medium, and the test that installs from it in QEMU.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{exec, tree};

/// What is made of the recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The medium, from exactly the packages of `installer/media/packages.lock`.
    Build,
    /// The same twice, without anything of the first build, and a comparison.
    Compare,
    /// No medium: Debian's newest packages become the locked ones.
    RenewLock,
}

impl Work {
    const fn verb(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Compare => "compare",
            Self::RenewLock => "lock",
        }
    }
}

/// Does it; a medium comes into `out`.
pub fn run(out: &Path, work: Work) -> Result<()> {
    setup::run(&[Purpose::Build, Purpose::Lab, Purpose::Iso], setup::Mode::Install)?;
    println!("building the programs of the medium (usually 2 minutes, or 20 the first time)");
    exec::run(&mut programs())?;
    println!("building the medium (usually 1 minute, or 6 the first time; to compare, 8)");
    exec::run(&mut builder(out, work)?)
}

/// What the medium carries.
fn programs() -> Command {
    let mut command = Command::new("cargo");
    command.args(["build", "--locked", "--release", "--package", "xenith-hypervisor-agent"]);
    command.args(["--package", "xenith-installer", "--package", "xenith-orchestrator"]);
    command.args(["--package", "xenith-orchestrator-cli", "--bins"]);
    command
}

fn builder(out: &Path, work: Work) -> Result<Command> {
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
    command.arg(work.verb());
    command.arg("--agent").arg(&release).arg("--programs").arg(&release);
    if work != Work::RenewLock {
        command.arg("--out").arg(out);
    }
    Ok(command)
}

/// Installs, upgrades and breaks hosts in QEMU. What is tested is what `make iso` ships: the same programs and the same
/// root file system, which is therefore built once for both.
pub fn test() -> Result<()> {
    setup::run(&[Purpose::Build, Purpose::Lab, Purpose::Iso], setup::Mode::Install)?;
    println!("building what is tested (usually 2 minutes, or 20 the first time)");
    exec::run(&mut programs())?;
    println!("the test takes about an hour under emulation; XENITH_ISO_STEPS=install,upgrade chooses steps");
    exec::run(&mut scenario(&tree::target_dir()?.join("release")))
}

/// `release`: where the programs lie that the medium carries, and that run outside too.
fn scenario(release: &Path) -> Command {
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
    for (variable, program) in [
        ("XENITH_AGENT_BIN", "xenith-agent"),
        ("XENITH_ORCHESTRATOR_BIN", "xenith-orchestrator"),
        ("XENITH_CLI_BIN", "xenith"),
    ] {
        command.env(variable, release.join(program));
    }
    command.env("XENITH_ISO", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_renewed_only_when_asked() {
        let shown = |work| exec::shown(&builder(Path::new("/out"), work).unwrap());
        for (work, verb) in [(Work::Build, " build "), (Work::Compare, " compare ")] {
            assert!(shown(work).contains(verb) && shown(work).ends_with("--out /out"), "{}", shown(work));
        }
        assert!(shown(Work::RenewLock).contains(" lock ") && !shown(Work::RenewLock).contains("--out"));
    }

    #[test]
    fn what_is_tested_is_what_is_shipped() {
        let shown = exec::shown(&scenario(Path::new("/t/release")));
        for part in
            ["XENITH_ISO=1", "XENITH_AGENT_BIN=/t/release/xenith-agent", "XENITH_CLI_BIN=/t/release/xenith "]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
