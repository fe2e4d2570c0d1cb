//! Asking dpkg what is there, and apt for what is not.
//!
//! Downloads go to a directory of our own: some images delete `/var/cache/apt/archives/*.deb` after every dpkg run,
//! which breaks a second apt that is just downloading. Locks are waited for, since unattended upgrades hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::packages::Package;
use crate::exec;

const ARCHIVES: &str = "/var/cache/xenith-apt";
/// Seconds to wait for another apt or dpkg.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// Those of `wanted` that are installed.
pub fn installed(wanted: &[&Package]) -> Result<BTreeSet<String>> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f=${Package} ${db:Status-Status}\n"])
        .args(wanted.iter().map(|package| package.name))
        .output()
        .context("cannot start dpkg-query")?;
    // It exits with 1 when it does not know one of the names; what it knows it has printed.
    Ok(parse_installed(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_installed(listing: &str) -> BTreeSet<String> {
    listing.lines().filter_map(|line| line.strip_suffix(" installed")).map(str::to_owned).collect()
}

/// Installs `missing` at the archives' versions, and keeps the others of `needs`. Where anything would have to go for
/// that, nothing is installed.
pub fn install(missing: &[&Package], needs: &[&Package]) -> Result<()> {
    let mut names: Vec<String> = missing.iter().map(|package| package.name.to_owned()).collect();
    ensure!(
        is_root() || exec::installed("sudo"),
        "only root can install packages and there is no sudo; as root: apt-get install {}",
        names.join(" ")
    );
    println!("reading the package lists (usually 5-20 seconds)");
    exec::run(as_root("mkdir").args(["-p", &format!("{ARCHIVES}/partial")]))?;
    exec::run(apt().arg("update").arg("-qq"))?;
    let simulated = simulate(&names, &[]);
    // What apt would take away, but is needed: it is asked for along with the rest.
    let also = simulated.as_deref().map_or(Vec::new(), |text| needed(&parse_removed(text), needs));
    names.extend(also.iter().map(ToString::to_string));
    let mut allow = Vec::new();
    let simulated = match if also.is_empty() { simulated } else { simulate(&names, &[]) } {
        Ok(simulated) => simulated,
        Err(conflict) => {
            let downgrades = downgrades(&names)?;
            if downgrades.is_empty() {
                return Err(conflict.context("apt cannot install the packages above"));
            }
            for (name, have, offered) in &downgrades {
                println!(
                    "{name} {have} is in no archive any more; it goes to {offered} so that the others fit"
                );
                names.retain(|asked| asked != name);
                names.push(format!("{name}={offered}"));
            }
            allow.push("--allow-downgrades");
            simulate(&names, &allow)?
        }
    };
    nothing_goes(&simulated, &names)?;
    println!("installing {} (usually 1-3 minutes)", names.join(" "));
    exec::run(&mut install_command(&names, &allow))?;
    exec::run(apt().arg("clean"))
}

/// What apt would do, in its words; an error where it cannot.
fn simulate(names: &[String], allow: &[&str]) -> Result<String> {
    exec::output(install_command(names, &[&["--simulate"][..], allow].concat()).env("LC_ALL", "C"))
}

/// What is installed may be somebody's work tool: whether it may go is not for us to say.
fn nothing_goes(simulated: &str, names: &[String]) -> Result<()> {
    let removed = parse_removed(simulated);
    ensure!(
        removed.is_empty(),
        "apt would remove {}, which cannot be installed beside what is missing; nothing was changed. If they may go, \
         install by hand as root, then run this again: apt-get install --no-install-recommends {}",
        removed.join(" "),
        names.join(" ")
    );
    Ok(())
}

/// Those of `removed` that something of `needs` is.
fn needed(removed: &[&str], needs: &[&Package]) -> Vec<&'static str> {
    needs.iter().map(|package| package.name).filter(|name| removed.contains(name)).collect()
}

/// What apt would take away: `Remv name [version]`, a line each.
fn parse_removed(simulated: &str) -> Vec<&str> {
    simulated.lines().filter_map(|line| line.strip_prefix("Remv ")?.split_whitespace().next()).collect()
}

/// Makes sure that `apt-get download` can find `package`, which tests fetch into the cache without installing it.
pub fn ensure_listed(package: &str) -> Result<()> {
    if exec::output(Command::new("apt-cache").args(["show", package])).is_ok() {
        return Ok(());
    }
    println!("reading the package lists, in which the tests look for {package} (usually 5-20 seconds)");
    exec::run(apt().arg("update").arg("-qq"))
}

fn install_command(names: &[String], options: &[&str]) -> Command {
    let mut command = apt();
    command
        .args(["install", "--yes", "--quiet", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"])
        .args(options)
        .args(names);
    command
}

fn apt() -> Command {
    let mut command = as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", LOCK_TIMEOUT]);
    command.args(["-o", &format!("Dir::Cache::archives={ARCHIVES}")]);
    command
}

fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

pub fn is_root() -> bool {
    // An unknown user is taken for an ordinary one: sudo as root does no harm.
    exec::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Installed packages that are built from the sources of the wanted ones and whose version no archive offers any
/// more, with their version and the archives' newest.
///
/// Seen with qemu: `qemu-utils` from backports, since replaced there, holds back the `qemu-system-x86` of the same
/// source, and apt will not go back by itself.
fn downgrades(wanted: &[String]) -> Result<Vec<(String, String, String)>> {
    let sources = exec::output(Command::new("apt-cache").args(["show", "--no-all-versions"]).args(wanted))?;
    let sources = parse_sources(&sources);
    let status = exec::output(
        Command::new("dpkg-query")
            .args(["-W", "-f=${Package} ${source:Package} ${Version} ${db:Status-Status}\n"]),
    )?;
    let suspects = of_sources(&status, &sources);
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    let offers = exec::output(Command::new("apt-cache").arg("madison").args(suspects.keys()))?;
    Ok(no_longer_offered(&suspects, &offers))
}

/// The source packages in the output of `apt-cache show`: `Source: qemu (1:7.2…)`, or the package's own name.
fn parse_sources(shown: &str) -> BTreeSet<String> {
    let mut sources = BTreeSet::new();
    for stanza in shown.split("\n\n") {
        let field =
            |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        sources.extend(field("Source:").or_else(|| field("Package:")).map(str::to_owned));
    }
    sources
}

/// Installed packages of `sources` with their version.
fn of_sources(status: &str, sources: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in status.lines() {
        if let [name, source, version, "installed"] = line.split_whitespace().collect::<Vec<_>>()[..]
            && sources.contains(source)
        {
            found.insert(name.to_owned(), version.to_owned());
        }
    }
    found
}

/// `apt-cache madison` prints `name | version | archive`, newest first, and nothing for what is only installed.
fn no_longer_offered(suspects: &BTreeMap<String, String>, madison: &str) -> Vec<(String, String, String)> {
    let mut offers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in madison.lines() {
        if let [name, version, _] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] {
            offers.entry(name).or_default().push(version);
        }
    }
    suspects
        .iter()
        .filter_map(|(name, have)| {
            let offered = offers.get(name.as_str())?;
            (!offered.contains(&have.as_str())).then(|| (name.clone(), have.clone(), offered[0].to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::packages::PACKAGES;
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let listing = "clang installed\ncmake config-files\nlibc6 installed\nzstd not-installed\n";
        assert_eq!(parse_installed(listing), ["clang", "libc6"].map(String::from).into());
    }

    #[test]
    fn what_goes_for_the_new_packages_is_known_before() {
        let simulated = "Reading state information...\nRemv qemu-utils [1:10.0.2+bpo]\nInst clang (1:14 Debian:12 [amd64])\n";
        assert_eq!(parse_removed(simulated), ["qemu-utils"]);
        let needs: Vec<&Package> = PACKAGES.iter().collect();
        assert_eq!(needed(&["qemu-utils", "qemu-block-extra"], &needs), ["qemu-utils"]);
    }

    #[test]
    fn what_apt_would_remove_stops_the_installation() {
        let names = ["clang".to_owned(), "qemu-utils=1:7.2".to_owned()];
        let kept = "Inst clang (1:14 Debian:12 [amd64])\nConf clang (1:14 Debian:12 [amd64])\n";
        assert!(nothing_goes(kept, &names).is_ok());
        let said =
            nothing_goes(&format!("Remv mine [2]\nRemv other [1]\n{kept}"), &names).unwrap_err().to_string();
        for word in ["mine other", "nothing was changed", "apt-get install", "clang qemu-utils=1:7.2"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn a_version_that_no_archive_has_is_found() {
        let shown = "Package: qemu-system-x86\nSource: qemu (1:7.2+dfsg-7)\n\nPackage: cpio\nVersion: 2.13\n";
        let sources = parse_sources(shown);
        assert_eq!(sources, ["cpio", "qemu"].map(String::from).into());
        let status = "qemu-utils qemu 1:10.0.2+bpo installed\nqemu-block-extra qemu 1:10.0.2+bpo config-files\n\
                      cpio cpio 2.13 installed\nclang llvm 14 installed\n";
        let suspects = of_sources(status, &sources);
        assert_eq!(suspects.len(), 2);
        let madison = " qemu-utils | 1:7.2+dfsg-7+u18 | http://a bookworm/main amd64 Packages\n \
                        qemu-utils | 1:7.2+dfsg-7 | http://b bookworm/main amd64 Packages\n \
                        cpio | 2.13 | http://a bookworm/main amd64 Packages\n";
        let expected = ("qemu-utils".to_owned(), "1:10.0.2+bpo".to_owned(), "1:7.2+dfsg-7+u18".to_owned());
        assert_eq!(no_longer_offered(&suspects, madison), [expected]);
    }

    #[test]
    fn what_is_only_installed_by_hand_is_left_alone() {
        let suspects = [("local".to_owned(), "1".to_owned())].into();
        assert_eq!(no_longer_offered(&suspects, ""), []);
    }
}
