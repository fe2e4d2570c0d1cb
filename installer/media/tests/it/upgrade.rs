//! The two slots: a new system is tried once, and stays only if it is healthy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_lab::Shell;
use xenith_lab_scenario::told;
use xenith_orchestrator_api::{host, task, vm};
use xenith_orchestrator_types::host::Host;
use xenith_orchestrator_types::task::TaskStatus;

use crate::install::{self, FIRST_VM, NAME};
use crate::rig::{IMAGE_FILES, Rig};

const MINUTE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_secs(2);

/// Who the host is. No upgrade changes it.
async fn identity(shell: &Shell) -> Result<String> {
    let look = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; ls /var/lib/xenith/identity.json";
    Ok(shell.run(look, MINUTE).await?)
}

/// The orchestrator gives the host the system that the web server has, and a VM and the host's identity survive it.
pub async fn by_the_orchestrator(rig: &mut Rig) -> Result<()> {
    let before = identity(&rig.shell()?).await?;
    let name = json!({ "vm": FIRST_VM.name });
    let has_vm = rig.orchestrator.call::<vm::Get>(name.clone()).await.is_ok();
    if has_vm {
        // There is no other host that it could move to.
        rig.orchestrator.done::<vm::Shutdown>(name, 6 * MINUTE).await?;
    }
    let position = rig.position();
    let order = json!({ "host": NAME, "url": rig.web.url("live") });
    let task = rig.orchestrator.call::<host::Upgrade>(order).await?.task;
    let deadline = Instant::now() + 40 * MINUTE;
    while rig.running()?.is_on()? {
        let now = rig.orchestrator.call::<task::Get>(json!({ "task": task })).await?;
        ensure!(!now.status.is_over(), "the host did not start anew: {}", told(&now));
        ensure!(Instant::now() < deadline, "the host runs still after 40 minutes: {}", told(&now));
        tokio::time::sleep(POLL).await;
    }
    // QEMU ends where a machine starts anew, and is started by hand.
    rig.boot_disk()?.shows("system       slot b\n", position, 25 * MINUTE).await?;
    let over = rig.orchestrator.over(task, 15 * MINUTE).await?;
    ensure!(over.status == TaskStatus::Done, "{}", told(&over));
    let host = connected(rig).await?;
    ensure!(!host.maintenance, "the host is in maintenance still");
    let shell = rig.shell()?;
    let after = identity(&shell).await?;
    ensure!(before == after, "the upgrade lost the identity:\n{before}\n{after}");
    starts_next(&shell, "b").await?;
    rig.web.were_asked_for(&IMAGE_FILES.map(|file| format!("live/{file}")).each_ref().map(String::as_str))?;
    if has_vm { install::started(rig).await } else { Ok(()) }
}

async fn connected(rig: &Rig) -> Result<Host> {
    rig.connected(NAME, 5 * MINUTE).await
}

async fn starts_next(shell: &Shell, slot: &str) -> Result<()> {
    let env = shell.run("grep -a . /boot/esp/grub/grubenv | head -5", MINUTE).await?;
    ensure!(env.contains(&format!("slot={slot}")) && !env.contains("trial="), "{env}");
    Ok(())
}

async fn running_slot(shell: &Shell) -> Result<String> {
    let said = shell.run("xenith-installer system", MINUTE).await?;
    let system: serde_json::Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    Ok(system["slot"].as_str().with_context(|| format!("no slot in {said}"))?.to_owned())
}

fn other(slot: &str) -> &'static str {
    if slot == "a" { "b" } else { "a" }
}

/// Copies the image to the host, as an administrator would without an orchestrator, and has it put into the other slot.
async fn put_into_other_slot(rig: &Rig, shell: &Shell) -> Result<()> {
    let folder = "/var/lib/xenith/by-hand";
    shell.run(&format!("mkdir -p {folder}"), MINUTE).await?;
    for name in IMAGE_FILES {
        shell.put(&rig.live.join(name), &format!("{folder}/{name}"), 0o644, 15 * MINUTE).await?;
    }
    let started = Instant::now();
    let said =
        shell.run(&format!("xenith-installer upgrade {folder} && rm -r {folder}"), 25 * MINUTE).await?;
    eprintln!("    the other slot was written in {} s", started.elapsed().as_secs());
    ensure!(said.contains("is tried at the next start"), "{said}");
    Ok(())
}

/// The next system does not start at all: its kernel panics, the machine starts again, and the good one is back.
pub async fn falls_back(rig: &mut Rig) -> Result<()> {
    let shell = rig.shell()?;
    let good = running_slot(&shell).await?;
    let next = other(&good);
    put_into_other_slot(rig, &shell).await?;
    // No initial ramdisk and no root: what a broken kernel package would look like.
    let break_it = format!(
        "mount LABEL=xenith-{next} /mnt && sed -i 's|root=UUID=[^ ]*|root=/dev/nothing rootdelay=0|; /initrd/d' \
         /mnt/boot/xenith.cfg && umount /mnt"
    );
    shell.run(&break_it, MINUTE).await?;
    let position = rig.position();
    shell.exec("systemctl reboot", MINUTE).await?;
    rig.running()?.ends(8 * MINUTE).await?;
    let machine = rig.boot_disk()?;
    machine.shows("Kernel panic", position, 15 * MINUTE).await?;
    // panic=30, and QEMU ends with the restart.
    machine.ends(8 * MINUTE).await?;
    let position = rig.position();
    let told = format!("system       slot {good}");
    rig.boot_disk()?.shows(&told, position, 25 * MINUTE).await?;
    connected(rig).await?;
    starts_next(&rig.shell()?, &good).await
}

/// The medium is started on the machine that has a host, and somebody types `upgrade`.
pub async fn from_the_medium(rig: &mut Rig) -> Result<()> {
    let shell = rig.shell()?;
    let before = identity(&shell).await?;
    let next = other(&running_slot(&shell).await?);
    let name = shell.run("hostname", MINUTE).await?.trim().to_owned();
    let begin = format!("Type {name} to begin");
    shell.exec("systemctl poweroff", MINUTE).await?;
    rig.running()?.ends(8 * MINUTE).await?;
    let mut position = rig.position();
    rig.boot_medium(&[])?;
    for (question, answer) in [
        ("Enter begins", ""),
        ("`upgrade`, or Enter for an installation", "upgrade"),
        (begin.as_str(), name.as_str()),
    ] {
        rig.running()?.shows_or_fails((question, "This does not work"), position, 15 * MINUTE).await?;
        position = rig.position();
        rig.running()?.types(answer)?;
    }
    let machine = rig.running()?;
    machine.shows_or_fails(("The new system is tried", "starts as before"), position, 25 * MINUTE).await?;
    machine.ends(5 * MINUTE).await?;
    let position = rig.position();
    let good = format!("system       slot {next}\n");
    rig.boot_disk()?.shows(&good, position, 25 * MINUTE).await?;
    connected(rig).await?;
    let shell = rig.shell()?;
    starts_next(&shell, next).await?;
    let after = identity(&shell).await?;
    ensure!(before == after, "the upgrade lost the identity:\n{before}\n{after}");
    Ok(())
}
