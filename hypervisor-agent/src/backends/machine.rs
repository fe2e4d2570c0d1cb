//! A real machine: systemd ends its boot, and a unit of systemd's brings Debian's packages up to date.
//!
//! What always holds: what is run takes nothing from whoever asked for it: no argument, no file. The packages are updated by
//! a unit, not by a child of ours, so that an agent that is itself replaced by the update does not end it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use async_trait::async_trait;
use tokio::process::Command;
use xenith_hypervisor_agent_backend::{HypervisorError, Machine, Result};
use xenith_hypervisor_agent_types::system::PackagesDone;

use crate::agent::boot_id;

/// Comes with the agent (`dist/xenith-update-packages.service`).
const UNIT: &str = "xenith-update-packages.service";
const UPDATING: &str = "updating the packages of the host";

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostMachine;

fn failed(operation: &'static str, code: impl ToString, log: impl ToString) -> HypervisorError {
    HypervisorError::Failed { operation, code: code.to_string(), log: log.to_string() }
}

async fn systemctl(operation: &'static str, args: &[&str]) -> Result<()> {
    let mut command = Command::new("systemctl");
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| failed(operation, "start", error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(operation, output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

#[async_trait]
impl Machine for HostMachine {
    async fn boot(&self) -> Result<String> {
        Ok(boot_id())
    }

    async fn restart(&self) -> Result<()> {
        systemctl("restarting the host", &["reboot"]).await
    }

    async fn power_off(&self) -> Result<()> {
        systemctl("switching the host off", &["poweroff"]).await
    }

    async fn update_packages(&self) -> Result<PackagesDone> {
        if Path::new("/etc/xenith/installed.toml").exists() {
            let why =
                "it was installed from Xenith's medium, and gets a whole new system: give the URL of one";
            return Err(HypervisorError::Unsupported { operation: UPDATING, why: why.to_owned() });
        }
        systemctl(UPDATING, &["start", UNIT]).await.map_err(|error| match error {
            HypervisorError::Failed { operation, code, log } => {
                let log = format!("{log}; on the host, `journalctl -u {UNIT}` says more");
                HypervisorError::Failed { operation, code, log }
            }
            other => other,
        })?;
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|stat| booted_at(&stat));
        let asked_for = Path::new("/run/reboot-required").exists();
        // Nobody knows when it was booted: better once too often.
        let restart = asked_for || booted.is_none_or(|at| changed_since(Path::new("/boot"), at));
        Ok(PackagesDone { restart })
    }
}

/// In seconds since 1970 (`btime`, proc_stat(5)).
fn booted_at(stat: &str) -> Option<i64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Whether a hypervisor, a kernel or its first files were put there since. A package keeps the time at which a file was
/// made, so what counts is when it came.
fn changed_since(boot: &Path, at: i64) -> bool {
    let Ok(files) = fs::read_dir(boot) else { return false };
    files.flatten().any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        let starts = ["vmlinuz", "xen", "initrd.img"].iter().any(|kind| name.starts_with(kind));
        starts && file.metadata().is_ok_and(|there| there.is_file() && there.ctime() > at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_is_as_old_as_the_kernel_says() {
        assert_eq!(booted_at("cpu  1 2\nbtime 1700000000\nprocesses 5\n"), Some(1_700_000_000));
        assert_eq!(booted_at("cpu  1 2\n"), None);
    }

    #[test]
    fn a_restart_is_due_for_what_came_since_the_boot_and_starts_the_host() {
        let boot = tempfile::tempdir().unwrap();
        fs::write(boot.path().join("config-6.12"), "").unwrap();
        assert!(!changed_since(boot.path(), 0), "a file that starts nothing");
        fs::write(boot.path().join("xen-4.20-amd64.gz"), "").unwrap();
        let came = fs::metadata(boot.path().join("xen-4.20-amd64.gz")).unwrap().ctime();
        assert!(changed_since(boot.path(), came - 1));
        assert!(!changed_since(boot.path(), came + 1), "the boot is newer");
        assert!(!changed_since(&boot.path().join("none"), 0));
    }
}
