//! The two slots: a new system is tried once, and stays only if it is healthy.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use xenith_lab::Shell;

use crate::rig::Rig;

const MINUTE: Duration = Duration::from_secs(60);

/// Mounts the medium in the host, as an administrator would, and puts its system into the other slot.
async fn put_into_other_slot(rig: &mut Rig, shell: &Shell) -> Result<()> {
    let medium = rig.medium.path.clone();
    let folder = "/var/lib/xenith/upgrade";
    // Over SSH, in place of a stick: the squashfs and its signed description.
    let dir = tempfile::tempdir()?;
    let extract = std::process::Command::new("xorriso")
        .args(["-osirrox", "on", "-indev"])
        .arg(&medium)
        .args(["-extract", "/live"])
        .arg(dir.path().join("live"))
        .output()?;
    ensure!(extract.status.success(), "xorriso extracts nothing");
    shell.run(&format!("mkdir -p {folder}"), MINUTE).await?;
    for name in ["image.json", "image.json.minisig", "filesystem.squashfs"] {
        let content = std::fs::read(dir.path().join("live").join(name))?;
        shell.put_bytes(&content, &format!("{folder}/{name}"), 0o644, 15 * MINUTE).await?;
    }
    let started = Instant::now();
    let said = shell.run(&format!("xenith-installer upgrade {folder}"), 20 * MINUTE).await?;
    eprintln!("    the other slot was written in {} s", started.elapsed().as_secs());
    ensure!(said.contains("is tried at the next start"), "{said}");
    Ok(())
}

/// Restarts the machine: QEMU ends with it, and is started again.
async fn restart(rig: &mut Rig, shell: &Shell) -> Result<u64> {
    shell.exec("systemctl reboot", MINUTE).await?;
    rig.running()?.ends(5 * MINUTE).await?;
    rig.machine = None;
    let position = rig.position();
    rig.machine = Some(rig.boot_disk()?);
    Ok(position)
}

pub async fn upgrade(rig: &mut Rig) -> Result<()> {
    let shell = {
        let key = rig.key.clone();
        rig.running()?.shell(&key)
    };
    let before = shell
        .run(
            "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; ls /var/lib/xenith/identity.json",
            MINUTE,
        )
        .await?;
    put_into_other_slot(rig, &shell).await?;
    let position = restart(rig, &shell).await?;
    rig.running()?.shows("system       slot b\n", position, 20 * MINUTE).await?;
    let shell = {
        let key = rig.key.clone();
        rig.running()?.shell(&key)
    };
    let after = shell
        .run(
            "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; ls /var/lib/xenith/identity.json",
            MINUTE,
        )
        .await?;
    ensure!(before == after, "the upgrade lost the identity:\n{before}\n{after}");
    let env = shell.run("grep -a . /boot/esp/grub/grubenv | head -5", MINUTE).await?;
    ensure!(env.contains("slot=b") && !env.contains("trial="), "{env}");
    rig.connected("iso-bios", 3 * MINUTE).await?;
    Ok(())
}

/// The next system does not start at all: its kernel panics, the machine starts again, and the good one is back.
pub async fn falls_back(rig: &mut Rig) -> Result<()> {
    let shell = {
        let key = rig.key.clone();
        rig.running()?.shell(&key)
    };
    put_into_other_slot(rig, &shell).await?;
    // No initial ramdisk and no root: what a broken kernel package would look like.
    let break_it = "mount LABEL=xenith-a /mnt && sed -i 's|root=UUID=[^ ]*|root=/dev/nothing rootdelay=0|; /initrd/d' \
                    /mnt/boot/xenith.cfg && umount /mnt";
    shell.run(break_it, MINUTE).await?;
    let position = restart(rig, &shell).await?;
    rig.running()?.shows("Kernel panic", position, 10 * MINUTE).await?;
    // panic=30, and QEMU ends with the restart.
    rig.running()?.ends(5 * MINUTE).await?;
    rig.machine = None;
    let position = rig.position();
    rig.machine = Some(rig.boot_disk()?);
    rig.running()?.shows("system       slot b", position, 20 * MINUTE).await?;
    rig.connected("iso-bios", 3 * MINUTE).await?;
    Ok(())
}
