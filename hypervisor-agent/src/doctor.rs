//! `xenith-agent doctor`: what this host has, what it lacks, and why that matters.
//!
//! Only looks: nothing is created, started or changed. Each check stands for itself, so one that cannot be
//! made says so and the others go on. What is read from the machine comes through [`Machine`], which tests
//! point at a folder.

mod machine;
mod ours;
mod xen;

use std::fmt;

use serde::Serialize;

use crate::config::Config;

pub use machine::Machine;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, but not all of it or not for long.
    Warn,
    /// No VM can run, or nobody can reach this agent.
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub level: Level,
    /// What there is.
    pub found: String,
    /// Why it matters; only where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl fmt::Display) -> Self {
        Self { name, level: Level::Ok, found: found.to_string(), why: None, fix: None }
    }

    fn warn(name: &'static str, found: impl fmt::Display) -> Self {
        Self { level: Level::Warn, ..Self::ok(name, found) }
    }

    fn fail(name: &'static str, found: impl fmt::Display) -> Self {
        Self { level: Level::Fail, ..Self::ok(name, found) }
    }

    fn because(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    fn fix(mut self, fix: impl fmt::Display) -> Self {
        self.fix = Some(fix.to_string());
        self
    }
}

/// All checks. `Display` is the table for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub version: &'static str,
    /// The worst of the checks.
    pub level: Level,
    pub checks: Vec<Check>,
}

impl Report {
    fn new(checks: Vec<Check>) -> Self {
        let level = checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok);
        Self { version: env!("CARGO_PKG_VERSION"), level, checks }
    }

    /// 0, 1 for a warning, 2 for a failure.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        self.level as u8
    }

    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and names have no form that JSON lacks")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &self.checks {
            let level = match check.level {
                Level::Ok => "ok  ",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            writeln!(f, "{level}  {:width$}  {}", check.name, check.found)?;
            for (word, text) in [("why", &check.why), ("fix", &check.fix)] {
                if let Some(text) = text {
                    writeln!(f, "      {:width$}  {word}: {text}", "")?;
                }
            }
        }
        let count = |level| self.checks.iter().filter(|check| check.level == level).count();
        writeln!(
            f,
            "{} checks, {} warnings, {} failures",
            self.checks.len(),
            count(Level::Warn),
            count(Level::Fail)
        )
    }
}

/// Looks at this machine.
pub async fn examine(config: &Config) -> Report {
    let machine = Machine::here();
    let mut checks = vec![ours::root()];
    checks.extend(xen::checks(&machine, config).await);
    checks.push(machine.bridges());
    checks.push(machine.modules());
    checks.push(machine.device_model());
    checks.push(machine.programs());
    checks.push(machine.encryption());
    checks.push(machine::clock().await);
    checks.extend(ours::folders(config));
    checks.extend(ours::membership(config));
    checks.push(ours::port(config));
    Report::new(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides_and_people_get_the_way_out() {
        let report = Report::new(vec![
            Check::ok("xen", "Xen 4.17"),
            Check::warn("bridges", "none").because("no NICs").fix("make one"),
        ]);
        assert_eq!((report.level, report.exit_code()), (Level::Warn, 1));
        let table = report.to_string();
        assert!(table.contains("warn  bridges  none\n               why: no NICs\n"), "{table}");
        assert!(report.to_json().contains("\"fix\": \"make one\""));
        assert_eq!(Report::new(vec![Check::fail("xen", "none")]).exit_code(), 2);
    }

    #[tokio::test]
    async fn a_machine_without_xen_is_told_so_and_examined_to_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::at(folder.path());
        let check = xen::hypervisor(&machine);
        assert_eq!(check.level, Level::Fail);
        assert!(check.fix.is_some_and(|fix| fix.contains("xen-system-amd64")));
        assert_eq!(machine.bridges().level, Level::Warn);
        assert_eq!(machine.modules().level, Level::Warn);
    }

    #[test]
    fn a_dom0_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("sys/hypervisor/type", "xen\n");
        write("sys/hypervisor/version/major", "4\n");
        write("sys/hypervisor/version/minor", "17\n");
        write("sys/hypervisor/version/extra", ".7\n");
        write("proc/xen/capabilities", "control_d\n");
        write("sys/class/net/xenbr0/bridge/stp_state", "0");
        for module in machine::MODULES {
            write(&format!("sys/module/{}/version", module.0), "1");
        }
        let machine = Machine::at(folder.path());
        assert_eq!(xen::hypervisor(&machine), Check::ok("xen", "Xen 4.17.7, this is its control domain"));
        assert_eq!(machine.bridges(), Check::ok("bridges", "xenbr0"));
        assert_eq!(machine.modules().level, Level::Ok);
        for program in ["usr/sbin/ip", "sbin/bridge", "usr/bin/qemu-img", "sbin/mount.nfs"] {
            write(program, "");
        }
        let encryption = |level, found: &str| {
            let check = machine.encryption();
            assert_eq!((check.level, check.found.as_str()), (level, found));
        };
        encryption(Level::Warn, "the kernel has no WireGuard");
        write("proc/sys/kernel/osrelease", "6.1.0-38-amd64\n");
        write("lib/modules/6.1.0-38-amd64/kernel/drivers/net/wireguard/wireguard.ko", "");
        encryption(Level::Warn, "there is no wg");
        write("usr/bin/wg", "");
        encryption(Level::Ok, "WireGuard");
        let programs = machine.programs();
        assert_eq!(
            (programs.level, programs.found.as_str()),
            (Level::Warn, "not there: nft, xenstore-read, xenstore-write")
        );
        assert_eq!(programs.fix.as_deref(), Some("apt install nftables xenstore-utils"));
        assert!(programs.why.unwrap().contains("disks and NICs; no security groups"));
        for program in ["usr/sbin/nft", "usr/bin/xenstore-read", "usr/local/bin/xenstore-write"] {
            write(program, "");
        }
        assert_eq!(machine.programs().level, Level::Ok);
        write("proc/xen/capabilities", "");
        assert_eq!(xen::hypervisor(&machine).level, Level::Fail);
    }
}
