//! Whole machines, with the device model and the firmware that a guest finds: booted from a CD that was uploaded.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_hypervisor_agent_types::Firmware;
use xenith_lab::{LabPaths, Progress, rootfs, write_boot_medium};
use xenith_lab_scenario::{Boot, Guest, Stage};
use xenith_orchestrator_api::{console, vm};
use xenith_orchestrator_types::console::ConsoleKind;

use crate::consoles::read_until;
use crate::life::{ensure_running, same_domain};
use crate::{GATEWAY, MINUTE};

/// The VDI that is the CD. It gives its guests one address, so one of them runs at a time.
const CD: &str = "boot-cd";
const NUMBER: u8 = 104;

pub const fn machine(name: &'static str, firmware: Firmware) -> Guest {
    Guest { name, boot: Boot::Medium(CD, firmware), memory_mib: 256, number: NUMBER }
}

/// By the command line, as a user does it.
pub async fn upload(stage: &Stage) -> Result<()> {
    let rootfs = rootfs::ensure(&LabPaths::from_env(), &Progress::stderr()).await?;
    let folder = tempfile::tempdir()?;
    let address = machine("", Firmware::Bios).address();
    let medium = write_boot_medium(&rootfs, folder.path(), address).await?;
    let medium = medium.to_str().context("a folder that is no text")?;
    stage.orchestrator.cli(&["vdi", "upload", CD, medium, "--host", "xen-lab"]).await.map(drop)
}

pub async fn boot(stage: &Stage, guest: &Guest) -> Result<()> {
    stage.orchestrator.done::<vm::Create>(guest.create(), MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 5 * MINUTE).await?;
    let seen = stage.running(guest).await?;
    ensure!(seen.guest.os.as_deref().is_some_and(|os| os.contains("Xenith test guest")), "{:?}", seen.guest);
    // By Xen's own front-ends: the emulated disk and card are unplugged when the kernel finds these.
    stage.order(&seen, "write-pattern 7 1").await?;
    stage.order(&seen, "check-pattern 7 1").await?;
    stage.pings(&seen, GATEWAY).await
}

pub async fn consoles(stage: &Stage, guest: &Guest) -> Result<()> {
    let seen = ensure_running(stage, guest).await?;
    let open = async |kind: ConsoleKind| {
        let ticket =
            stage.orchestrator.call::<console::Vm>(json!({ "vm": guest.name, "kind": kind })).await?;
        anyhow::Ok(stage.orchestrator.client().console(&ticket).await?)
    };
    // QEMU keeps nothing for who comes later: what is said from now on is heard.
    let mut serial = open(ConsoleKind::Serial).await?;
    stage.order(&seen, "log over-the-serial-port").await?;
    read_until(&mut serial, "XENITH-GUEST-SAYS over-the-serial-port", MINUTE).await?;
    // The device model greets first (RFC 6143, 7.1.1).
    read_until(&mut open(ConsoleKind::Vnc).await?, "RFB 003.00", MINUTE).await.map(drop)
}

pub async fn cd(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let drive =
        format!("xenstore-ls -f /local/domain/0/backend | grep '/{}/.*/params'", guest_domid(&before)?);
    stage.orchestrator.done::<vm::EjectCd>(json!({ "vm": guest.name }), 2 * MINUTE).await?;
    let empty = stage.dom0(&drive).await?;
    ensure!(!empty.contains(".iso") && empty.contains("params = \"\""), "the drive is not empty: {empty}");
    stage.orchestrator.done::<vm::InsertCd>(json!({ "vm": guest.name, "iso": CD }), 2 * MINUTE).await?;
    let full = stage.dom0(&drive).await?;
    ensure!(!full.contains("params = \"\""), "the drive is empty: {full}");
    let after = ensure_running(stage, guest).await?;
    ensure!(same_domain(&before, &after), "{before:?} became {after:?}");
    Ok(())
}

fn guest_domid(seen: &xenith_hypervisor_agent_types::ObservedVm) -> Result<u32> {
    Ok(seen.domid.context("it has no domain")?.0)
}

/// Through the firmware again: another boot of the same VM, and its disk as it was.
pub async fn reboot(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let boot = stage.boot_id(&before).await?;
    stage.orchestrator.done::<vm::Reboot>(json!({ "vm": guest.name }), 5 * MINUTE).await?;
    let after = stage.running_anew(guest, &before).await?;
    ensure!(stage.boot_id(&after).await? != boot, "the guest has not booted anew");
    stage.order(&after, "check-pattern 7 1").await.map(drop)
}
