//! The conformance suite that the simulator passes in every test run, on libxl.

use std::time::Duration;

use anyhow::{Result, ensure};
use xenith_lab::agent::put_program;
use xenith_lab::guest::{INITRAMFS, KERNEL, kernel_arguments};
use xenith_lab_scenario::{Programs, Stage};

const PROGRAM: &str = "/root/dom0_check";
/// Every case makes domains of its own, and each of them boots.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// No agent runs here: two owners of one libxl would disturb each other.
pub async fn run(stage: &Stage, programs: &Programs, kind: &str) -> Result<()> {
    put_program(&stage.shell, &programs.conformance, PROGRAM).await?;
    let arguments = kernel_arguments(None);
    let only = std::env::var("XENITH_LAB_CASES").unwrap_or_default();
    let command = format!(
        "mkdir -p /root/scratch && {PROGRAM} {KERNEL} {INITRAMFS} /root/scratch xenbr0 '{arguments}' {kind} {only} 2>&1"
    );
    let output = stage.shell.exec(&command, LIMIT).await?;
    let said = output.text();
    eprintln!("{said}");
    ensure!(output.success(), "promises are broken; see above");
    ensure!(said.contains(&format!("{kind} ")), "no case has run");
    Ok(())
}
