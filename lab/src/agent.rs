//! Putting an agent into a lab host, under the same systemd unit that the installer ships.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::LabError;
use crate::paths::read;
use crate::ssh::{Shell, quote};

/// The units are the agent's own files; only their place is ours. The second one updates the packages of the host, when
/// the agent starts it.
const UNITS: [(&str, &str); 2] = [
    (
        "/etc/systemd/system/xenith-agent.service",
        include_str!("../../hypervisor-agent/dist/xenith-agent.service"),
    ),
    (
        "/etc/systemd/system/xenith-update-packages.service",
        include_str!("../../hypervisor-agent/dist/xenith-update-packages.service"),
    ),
];
/// Where the unit expects it.
const BINARY_PATH: &str = "/usr/sbin/xenith-agent";
/// A debug build has a hundred megabytes, and SSH under emulation moves a few of them a second; on a slow machine less than
/// one.
const COPY_LIMIT: Duration = Duration::from_secs(900);
/// The longest reads all units of systemd anew: a quarter of a minute under emulation, and several times that on a slow machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(400);

/// One file for dom0 beside the binary, such as `/etc/xenith/agent.toml` or the join token.
#[derive(Debug, Clone)]
pub struct AgentFile<'a> {
    pub path: &'a str,
    pub content: &'a [u8],
    /// File mode such as 0o600.
    pub mode: u32,
}

/// Where cargo's profile `lab` puts the agent, seen from the folder of the profile that the caller was built with.
#[must_use]
pub fn agent_for_lab(programs: &Path) -> PathBuf {
    programs.with_file_name("lab").join("xenith-agent")
}

/// Installs the agent, or a newer one over it, and starts it. VMs of a running one are not touched.
///
/// `binary` is built on Debian 12, as dom0 is, so that its dynamic libraries are dom0's.
pub async fn install_agent(shell: &Shell, binary: &Path, files: &[AgentFile<'_>]) -> Result<(), LabError> {
    put_program(shell, binary, BINARY_PATH).await?;
    for (path, unit) in UNITS {
        shell.put_bytes(unit.as_bytes(), path, 0o644, COMMAND_LIMIT).await?;
    }
    for file in files {
        shell.put_bytes(file.content, file.path, file.mode, COMMAND_LIMIT).await?;
    }
    // To enable a unit reads all units anew, which under emulation takes a quarter of a minute: once is enough.
    let start = "systemctl enable --quiet xenith-agent && systemctl restart xenith-agent";
    shell.run(start, COMMAND_LIMIT).await.map(drop)
}

/// Copies a program of ours into dom0, without what only a debugger wants.
pub async fn put_program(shell: &Shell, binary: &Path, path: &str) -> Result<(), LabError> {
    let copy = strip(&read(binary)?, binary).await;
    shell.put_bytes(&copy, path, 0o755, COPY_LIMIT).await
}

/// The last lines of the agent's journal, for reports.
pub async fn agent_log(shell: &Shell, lines: u32) -> Result<String, LabError> {
    let unit = quote("xenith-agent");
    shell.run(&format!("journalctl --no-pager -o short-precise -u {unit} -n {lines}"), COMMAND_LIMIT).await
}

/// Symbols are two thirds of a debug build. Where `strip` is missing the whole file goes over: slower, still
/// right.
async fn strip(whole: &[u8], binary: &Path) -> Vec<u8> {
    let Ok(file) = tempfile::NamedTempFile::new() else { return whole.to_vec() };
    let stripped = tokio::process::Command::new("strip")
        .arg("--strip-debug")
        .arg("-o")
        .arg(file.path())
        .arg(binary)
        .kill_on_drop(true)
        .output()
        .await;
    match stripped {
        Ok(output) if output.status.success() => read(file.path()).unwrap_or_else(|_| whole.to_vec()),
        _ => whole.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_starts_what_is_installed_and_spares_device_models() {
        let [(_, unit), (path, updates)] = UNITS;
        assert!(unit.contains(&format!("ExecStart={BINARY_PATH} ")), "{unit}");
        assert!(unit.lines().any(|line| line == "KillMode=process"));
        assert!(unit.lines().any(|line| line == "Restart=always"));
        assert!(unit.lines().any(|line| line.starts_with("After=") && line.contains("xen.service")));
        // The name that the agent starts it by.
        assert!(path.ends_with("/xenith-update-packages.service") && updates.contains("full-upgrade"));
    }

    #[tokio::test]
    async fn what_cannot_be_stripped_goes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("agent");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert_eq!(strip(b"#!/bin/sh\n", &script).await, b"#!/bin/sh\n");
    }
}
