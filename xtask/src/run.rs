//! `xtask run`: the product on this machine, until Ctrl-C.
//!
//! This machine's own Xen where it is a dom0; else real Xen inside QEMU; simulated hosts where asked for.

use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::setup::{self, Purpose};
use crate::{exec, lab_test, ui};

/// What `HOSTS` says: nothing, a number, or `sim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hosts {
    #[default]
    Auto,
    Lab(u8),
    Sim,
}

impl FromStr for Hosts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "auto" => Ok(Self::Auto),
            "sim" => Ok(Self::Sim),
            number => number
                .parse()
                .ok()
                .filter(|hosts| (1..=8).contains(hosts))
                .map(Self::Lab)
                .ok_or_else(|| format!("{text:?} is neither a number of hosts (1 to 8) nor sim")),
        }
    }
}

const PROGRAMS: [(&str, &str); 4] = [
    ("xenith-orchestrator", "xenith-orchestrator"),
    ("xenith-hypervisor-agent", "xenith-agent"),
    ("xenith-orchestrator-cli", "xenith"),
    ("xenith-lab-run", "xenith-run"),
];

pub fn run(hosts: Hosts) -> Result<()> {
    let lab = matches!(hosts, Hosts::Lab(_)) || (hosts == Hosts::Auto && !is_dom0());
    let mut purposes = vec![Purpose::Build];
    purposes.extend(lab.then_some(Purpose::Lab));
    setup::ensure(&purposes)
        .context("the machine could not be made ready; simulated hosts need the least: make run HOSTS=sim")?;
    ui::ensure_built();
    println!("building (usually a few seconds; the first time about ten minutes on two cores)");
    exec::run(&mut build())?;
    if lab {
        exec::run(&mut lab_test::agent())?;
    }
    let mut program = Command::new(programs()?.join("xenith-run"));
    match hosts {
        Hosts::Auto => {}
        Hosts::Lab(count) => {
            program.args(["--kind", "lab", "--hosts", &count.to_string()]);
        }
        Hosts::Sim => {
            program.args(["--kind", "sim"]);
        }
    }
    // Become it, so that Ctrl-C reaches it and nobody in between.
    exec::replace(&mut program)
}

/// Whether this machine's own Xen is ours to use: only a control domain has this file, with this word in it.
fn is_dom0() -> bool {
    fs::read_to_string("/proc/xen/capabilities").is_ok_and(|powers| powers.contains("control_d"))
}

/// Builds what runs, with the UI as it is built now.
pub fn build() -> Command {
    let mut build = Command::new("cargo");
    build.args(["build", "--locked"]);
    for (package, program) in PROGRAMS {
        build.args(["--package", package, "--bin", program]);
    }
    build
}

fn programs() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find this program's own file")?;
    Ok(own.parent().context("this program's file has no folder")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_a_number_or_sim() {
        for (text, hosts) in [
            ("", Some(Hosts::Auto)),
            ("2", Some(Hosts::Lab(2))),
            ("sim", Some(Hosts::Sim)),
            ("0", None),
            ("9", None),
            ("xen", None),
        ] {
            assert_eq!(text.parse::<Hosts>().ok(), hosts, "{text}");
        }
    }
}
