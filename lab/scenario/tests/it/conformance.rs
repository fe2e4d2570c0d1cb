//! The conformance suite that the simulator passes in every test run, on libxl.
//!
//! What it says is shown as it says it: it takes forty minutes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use xenith_lab::agent::put_program;
use xenith_lab::guest::{INITRAMFS, KERNEL, kernel_arguments};
use xenith_lab_scenario::{SLACK, Stage};

use crate::MINUTE;

const PROGRAM: &str = "/root/dom0_check";
const SCRIPT: &str = "/root/dom0_check.sh";
const SAID: &str = "/root/dom0_check.said";
const EXIT: &str = "/root/dom0_check.exit";
/// Every case makes domains of its own, and each of them boots. Less than the step is given, so that this says it.
const LIMIT: Duration = Duration::from_secs(110 * 60).saturating_mul(SLACK);
/// Each look is an SSH session, which takes CPU from the guests.
const LOOK: Duration = Duration::from_secs(20);

/// No agent runs here: two owners of one libxl would disturb each other.
pub async fn run(stage: &Stage, program: &Path, kind: &str) -> Result<()> {
    put_program(&stage.shell, program, PROGRAM).await?;
    let arguments = kernel_arguments(None);
    let only = std::env::var("XENITH_LAB_CASES").unwrap_or_default();
    let suite = format!("{PROGRAM} {KERNEL} {INITRAMFS} /root/scratch xenbr0 '{arguments}' {kind} {only}");
    let script = format!("mkdir -p /root/scratch\n{suite} >{SAID} 2>&1\necho $? >{EXIT}\n");
    stage.shell.put_bytes(script.as_bytes(), SCRIPT, 0o755, MINUTE * SLACK).await?;
    stage.dom0(&format!("setsid sh {SCRIPT} </dev/null >/dev/null 2>&1 &")).await?;
    let (started, mut said) = (Instant::now(), Vec::new());
    loop {
        tokio::time::sleep(LOOK).await;
        // The exit status is read first: all that is said before it is then there.
        let from = said.len() + 1;
        let look = format!("exit=$(cat {EXIT} 2>&-); tail -c +{from} {SAID}; printf '\n%s' \"$exit\"");
        let mut seen = stage.shell.exec(&look, 2 * MINUTE * SLACK).await?.stdout;
        let exit = seen.split_off(seen.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
        eprint!("{}", String::from_utf8_lossy(&seen));
        said.append(&mut seen);
        match String::from_utf8_lossy(&exit).trim() {
            "" => ensure!(started.elapsed() < LIMIT, "not through within {} minutes", LIMIT.as_secs() / 60),
            "0" => break,
            _ => bail!("promises are broken; see above"),
        }
    }
    ensure!(String::from_utf8_lossy(&said).contains(&format!("{kind} ")), "no case has run");
    Ok(())
}
