//! `xtask lab`: real Xen hosts in QEMU, kept until Ctrl-C.

use std::process::Command;

use anyhow::Result;

use crate::exec;
use crate::setup::{self, Purpose};

/// Makes the machine ready, builds the lab and becomes it, so that Ctrl-C reaches the hosts and nobody in between.
pub fn run(hosts: u8) -> Result<()> {
    setup::ensure(&[Purpose::Lab])?;
    println!("building the lab (usually 2 seconds, or a minute the first time)");
    exec::run(Command::new("cargo").args(["build", "--package", "xenith-lab"]))?;
    println!("starting {hosts} host(s) (usually a minute each, and three more the first time)");
    let hosts = hosts.to_string();
    exec::replace(Command::new("cargo").args([
        "run",
        "--quiet",
        "--package",
        "xenith-lab",
        "--",
        "up",
        "--hosts",
        &hosts,
    ]))
}
