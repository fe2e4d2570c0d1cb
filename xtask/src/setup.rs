//! `xtask setup`: the Debian packages that building and testing need.
//!
//! What always holds: nothing is touched when nothing is missing; every package has its reason; a package that is
//! installed is never removed: where apt could only go on without it, nothing is installed and the error says what to
//! do. (One whose version is in no archive any more may go back to the archives' version.) Packages are asked for by
//! name and come from the machine's own archives. An end in the middle leaves what apt leaves; the next run goes on
//! from there.

mod apt;
mod packages;

use anyhow::{Result, bail};

pub use self::apt::is_root;
use self::packages::{PACKAGES, Package};
pub use self::packages::{Purpose, check_node};
use crate::exec;

/// What to do about missing packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Install,
    /// Only say what is missing, and fail if something is.
    Check,
}

fn is_debian() -> bool {
    exec::installed("apt-get") && exec::installed("dpkg-query")
}

fn wanted(purposes: &[Purpose]) -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| purposes.contains(&package.purpose)).collect()
}

/// Makes the machine ready, where that can be done. Elsewhere what is needed is named, and whoever needs it finds out.
pub fn ensure(purposes: &[Purpose]) -> Result<()> {
    if is_debian() {
        return run(purposes, Mode::Install);
    }
    println!("this is not a Debian system; what is needed, by Debian's names:");
    list(purposes);
    Ok(())
}

/// Shows what `purposes` need.
fn list(purposes: &[Purpose]) {
    for package in wanted(purposes) {
        println!("  {package}");
    }
}

/// Makes the machine ready for `purposes`.
pub fn run(purposes: &[Purpose], mode: Mode) -> Result<()> {
    let wanted = wanted(purposes);
    if !is_debian() {
        list(purposes);
        bail!(
            "this is not a Debian system; install what the list above names by hand (tests go on without this step: \
             cargo xtask test --no-setup)"
        );
    }
    let installed = apt::installed(&wanted)?;
    let missing: Vec<&Package> =
        wanted.iter().copied().filter(|package| !installed.contains(package.name)).collect();
    if missing.is_empty() {
        println!("all {} Debian packages are there", wanted.len());
    } else {
        println!("missing Debian packages:");
        for package in &missing {
            println!("  {package}");
        }
        if mode == Mode::Check {
            bail!("{} packages are missing; to install them: cargo xtask setup", missing.len());
        }
        apt::install(&missing, &wanted)?;
    }
    if mode == Mode::Install && purposes.contains(&Purpose::Test) {
        apt::ensure_listed(packages::FETCHED_BY_TESTS)?;
    }
    check_node(purposes)
}
