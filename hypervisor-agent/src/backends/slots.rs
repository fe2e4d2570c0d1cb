//! The slots of a real host: `xenith-installer`, which comes with the system and knows the disk.
//!
//! What always holds: a fill runs as a unit of systemd's, not as a child of ours, so that it can be ended with all that it
//! has started, by this agent and by the one after it ([`SystemSlots::stop_filling`]).

use std::path::Path;
use std::process::{Output, Stdio};

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use xenith_hypervisor_agent_backend::{HypervisorError, Result, SystemSlots};
use xenith_hypervisor_agent_types::system::{HostSystem, SystemSlot};

const INSTALLER: &str = "/usr/sbin/xenith-installer";
/// Came with the running system.
const KEY: &str = "/usr/share/xenith/image.pub";
const UNIT: &str = "xenith-fill.service";
/// Checking the image takes the first tenth of a fill, unpacking it the rest.
const CHECKING: u64 = 10;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct InstalledSlots;

fn failed(operation: &'static str, code: impl ToString, log: impl ToString) -> HypervisorError {
    HypervisorError::Failed { operation, code: code.to_string(), log: log.to_string() }
}

fn has_none() -> HypervisorError {
    HypervisorError::Unsupported {
        operation: "upgrading the host",
        why: "it was not installed from Xenith's medium, and has no second system; upgrade its packages instead"
            .to_owned(),
    }
}

async fn run(operation: &'static str, program: &str, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => has_none(),
        _ => failed(operation, "start", error),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(failed(operation, output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

#[async_trait]
impl SystemSlots for InstalledSlots {
    async fn look(&self) -> Result<HostSystem> {
        if !Path::new("/etc/xenith/installed.toml").exists() {
            return Err(has_none());
        }
        let output = run("looking at the system", INSTALLER, &["system"]).await?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| failed("looking at the system", "answer", error))
    }

    async fn image_key(&self) -> Result<String> {
        tokio::fs::read_to_string(KEY).await.map_err(|_| has_none())
    }

    async fn fill(&self, folder: &Path, told: &(dyn Fn(u8) + Send + Sync)) -> Result<()> {
        const FILLING: &str = "writing the other system";
        let mut command = Command::new("systemd-run");
        command
            .args(["--quiet", "--collect", "--wait", "--pipe", "--unit", UNIT, "--", INSTALLER, "fill"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(FILLING, "start", error))?;
        let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(FILLING, "start", "it has no output"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let told = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(percent) = percent(&line) {
                    told(percent);
                }
            }
        };
        let mut said = String::new();
        // Both are read all the time: a program whose pipe is full waits for ever.
        let ((), read) = tokio::join!(told, stderr.read_to_string(&mut said));
        // What cannot be read is missing in a message.
        let _cut_off = read;
        let status = child.wait().await.map_err(|error| failed(FILLING, "wait", error))?;
        if status.success() { Ok(()) } else { Err(failed(FILLING, status, said.trim())) }
    }

    async fn stop_filling(&self) -> Result<()> {
        // One that does not run is stopped; systemd then says that it knows none.
        let stopped = run("stopping what writes the other system", "systemctl", &["stop", UNIT]).await;
        match stopped {
            Err(HypervisorError::Failed { log, .. }) if log.contains("not loaded") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn start(&self, slot: SystemSlot) -> Result<()> {
        run("starting the other system", INSTALLER, &["start-slot", slot.as_str()]).await.map(drop)
    }
}

/// How far a fill is, by a line of the installer's.
fn percent(line: &str) -> Option<u8> {
    let (what, number) = line.trim().strip_suffix(" %")?.split_once(": ")?;
    let within: u64 = number.parse().ok()?;
    let percent = match what {
        "checking the image" => within * CHECKING / 100,
        "unpacking" => CHECKING + within * (100 - CHECKING) / 100,
        _ => return None,
    };
    u8::try_from(percent.min(100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installers_lines_become_one_measure() {
        for (line, told) in [
            ("      checking the image: 40 %", Some(4)),
            ("      unpacking: 0 %", Some(10)),
            ("      unpacking: 100 %", Some(100)),
            ("      ready: 100 %", None),
            ("[2/4] copy the system", None),
            ("", None),
        ] {
            assert_eq!(percent(line), told, "{line:?}");
        }
    }
}
