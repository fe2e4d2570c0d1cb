//! The installation itself.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xenith_installer_media::Firmware;

use crate::rig::{DISK_GIB, Rig};

const MINUTE: Duration = Duration::from_secs(60);

/// An empty disk, answers on a volume, no hand: the host is heard by the orchestrator.
pub async fn unattended(rig: &mut Rig, firmware: Firmware) -> Result<()> {
    rig.firmware = firmware;
    rig.fresh_disk(DISK_GIB)?;
    let name = format!("iso-{firmware:?}").to_lowercase();
    let token = rig.token(&name).await?;
    let answers = rig.answers(&token)?;
    let (started, position) = (Instant::now(), rig.position());
    let mut machine = rig.boot_medium(Some(&answers))?;
    machine.shows("unattended, answers from", position, 10 * MINUTE).await?;
    let asked = started.elapsed().as_secs();
    machine.shows("xenith-installer: INSTALLED", position, 15 * MINUTE).await?;
    let installed = started.elapsed().as_secs();
    machine.ends(3 * MINUTE).await?;
    eprintln!("    the installer was up after {asked} s, done after {installed} s");
    let shown = machine.console().since(position);
    ensure!(!shown.contains(&token), "the token is shown on the console");
    drop(machine);
    let (started, position) = (Instant::now(), rig.position());
    let mut machine = rig.boot_disk()?;
    machine.shows("enrolment    joined as", position, 12 * MINUTE).await?;
    eprintln!("    the host has joined {} s after it was switched on", started.elapsed().as_secs());
    let host = rig.connected(&name, 3 * MINUTE).await?;
    ensure!(host.name == name, "{host:?}");
    looks_right(rig, &machine).await?;
    rig.machine = Some(machine);
    Ok(())
}

/// What the issue promises of a fresh host.
async fn looks_right(rig: &Rig, machine: &xenith_installer_media::Machine) -> Result<()> {
    let shell = machine.shell(&rig.key);
    for (what, command) in [
        ("Xen runs", "xl info | grep -q '^xen_version *: 4.17'"),
        (
            "no password opens it",
            "grep -q '^root:[*!]' /etc/shadow && sshd -T | grep -q '^passwordauthentication no'",
        ),
        ("the token is spent", "[ ! -e /etc/xenith/join-token ]"),
        ("the identity is new", "[ -s /etc/machine-id ] && [ -s /etc/ssh/ssh_host_ed25519_key ]"),
        ("the SR shares blocks", "xfs_info /var/lib/xenith/sr | grep -q reflink=1"),
        ("the state is a partition of its own", "mountpoint -q /var/lib/xenith && mountpoint -q /var/log"),
        ("the firewall is on", "nft list chain inet xenith input | grep -q 'policy drop'"),
        ("the time zone is set", "[ \"$(readlink /etc/localtime)\" = ../usr/share/zoneinfo/Europe/Berlin ]"),
        (
            "no unit failed",
            "[ -z \"$(systemctl --failed --no-legend --plain)\" ] || { systemctl --failed --no-legend; false; }",
        ),
    ] {
        let output = shell.exec(command, 2 * MINUTE).await?;
        ensure!(
            output.success(),
            "{what}: no. {} {}",
            output.text(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let memory =
        shell.run("free -m | awk '/^Mem:/ {print $3}'; df -BM --output=used / | tail -1", MINUTE).await?;
    eprintln!(
        "    dom0 uses (MiB) {}",
        memory.split_whitespace().collect::<Vec<_>>().join(", the system on disk ")
    );
    Ok(())
}

/// A PVH guest on the SR that the installer made.
pub async fn vm(rig: &mut Rig) -> Result<()> {
    use serde_json::json;
    use xenith_lab::guest::{self, GuestKind};
    use xenith_lab_scenario::{Guest, until};
    use xenith_orchestrator_api::{network, vm};

    let key = rig.key.clone();
    let shell = rig.running()?.shell(&key);
    // The guest's parts come from the lab's root file system, its kernel from the host itself.
    let paths = xenith_lab::LabPaths::from_env();
    let rootfs = xenith_lab::rootfs::ensure(&paths, &xenith_lab::Progress::stderr()).await?;
    shell.run("mkdir -p /var/lib/xenith/boot", MINUTE).await?;
    shell.put(&rootfs.kernel(), guest::KERNEL, 0o644, 5 * MINUTE).await?;
    guest::install(&shell, &rootfs).await?;
    let _network =
        rig.orchestrator.call::<network::Create>(json!({ "name": "lan", "bridge": "xenbr0" })).await?;
    let guest = Guest { memory_mib: 192, ..Guest::new("first", GuestKind::Pvh, 101) };
    let mut create = guest.create();
    create["host"] = json!("iso-bios");
    rig.orchestrator.done::<vm::Create>(create, 4 * MINUTE).await?;
    rig.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 6 * MINUTE).await?;
    until("the guest tells its address", 6 * MINUTE, async || {
        let seen = rig.orchestrator.call::<vm::Get>(json!({ "vm": guest.name })).await?;
        let told =
            seen.observed.is_some_and(|observed| observed.guest.addresses.contains(&guest.address().into()));
        Ok(told.then_some(()))
    })
    .await?;
    let image = shell.run("find /var/lib/xenith/sr -type f -size +1M | head -3", MINUTE).await?;
    ensure!(!image.trim().is_empty(), "the disk of the VM is not on the SR");
    Ok(())
}

/// The same questions that a person answers, typed on the serial line.
pub async fn interactive(rig: &mut Rig) -> Result<()> {
    rig.firmware = Firmware::Bios;
    rig.fresh_disk(DISK_GIB)?;
    let position = rig.position();
    let mut machine = rig.boot_medium(None)?;
    for (question, answer) in [
        ("Enter begins", ""),
        ("Install on which", "1"),
        ("Name of the host", "typed"),
        ("Time zone", ""),
        ("Time server", ""),
        ("Role", ""),
        ("Management network", "1"),
        ("VLAN", ""),
        ("Address", "dhcp"),
        ("Password of root", ""),
        ("SSH public key", ""),
        ("Join token", ""),
        // Another word first: nothing is written.
        ("Type /dev/vda to erase it", "yes"),
        ("Nothing was written", ""),
    ] {
        machine.shows(question, position, 10 * MINUTE).await?;
        if !answer.is_empty() || question != "Nothing was written" {
            machine.types(answer)?;
        }
    }
    drop(machine);
    ensure!(crate::rig::untouched(&rig.disk())?, "something was written without the name of the disk");
    Ok(())
}
