//! The same questions that a person answers, typed on the serial line: first a change of mind, then a host.

use std::time::Duration;

use anyhow::{Result, ensure};
use xenith_installer_media::{Drive, Firmware, Wiring};

use crate::install::{holds, joined};
use crate::rig::{DISK_GIB, Rig};

const MINUTE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse";
/// What comes in place of the summary where the answers do not fit, and in place of the end where a step fails.
const DOES_NOT_WORK: &str = "`r` tries again";

/// Answers questions in their order, the first of which comes after `position`. Each is waited for after the answer before.
async fn answer(rig: &mut Rig, mut position: u64, script: &[(&str, &str)]) -> Result<()> {
    for &(question, answer) in script {
        rig.running()?.shows_or_fails((question, DOES_NOT_WORK), position, 15 * MINUTE).await?;
        position = rig.position();
        rig.running()?.types(answer)?;
    }
    Ok(())
}

pub async fn interactive(rig: &mut Rig) -> Result<()> {
    (rig.firmware, rig.drive, rig.wiring) = (Firmware::Bios, Drive::Stick, Wiring::Card);
    rig.fresh_disks(&[DISK_GIB])?;
    let token = rig.token("typed").await?;
    let key = rig.public_key()?;
    let position = rig.position();
    rig.boot_medium(&[])?;
    answer(
        rig,
        position,
        &[
            ("Enter begins", ""),
            ("Install on which", "1"),
            ("SR [", ""),
            // Asked again: it is none.
            ("Name of the host", "Two Words"),
            ("lower-case letters", "typed"),
            ("Time zone", ""),
            ("Time server", ""),
            ("Role [", ""),
            ("Management network", "1"),
            ("VLAN [", ""),
            ("Address, as", "dhcp"),
            ("Password of root", ""),
            ("SSH public key", ""),
            ("Join token", ""),
            // Another word: nothing is written.
            ("Type /dev/vda to erase it", "yes"),
            ("Nothing was written", ""),
            ("Install on which", "1"),
            ("SR [", ""),
            ("Name of the host", "typed"),
            ("Time zone", "Europe/Berlin"),
            ("Time server", ""),
            ("Role [", "1"),
            ("Management network", "1"),
            ("VLAN [", ""),
            ("Address, as", ""),
            ("Password of root", PASSWORD),
            ("Again", PASSWORD),
            ("SSH public key", key.as_str()),
            ("SSH public key", ""),
            ("Join token", token.as_str()),
            ("Type /dev/vda to erase it", "/dev/vda"),
        ],
    )
    .await?;
    let position = rig.position();
    let machine = rig.running()?;
    machine.shows_or_fails(("Installed.", DOES_NOT_WORK), position, 30 * MINUTE).await?;
    machine.ends(5 * MINUTE).await?;
    joined(rig).await?;
    holds(
        &rig.shell()?,
        &[
            ("the name is the one that was typed", "[ \"$(hostname)\" = typed ]"),
            ("root has the password, as a hash", "grep -q '^root:\\$6\\$' /etc/shadow"),
            ("SSH takes no password", "sshd -T | grep -q '^passwordauthentication no'"),
            ("the token is spent", "[ ! -e /etc/xenith/join-token ]"),
        ],
    )
    .await
}

/// The menu on the console of the installed host, on the same serial line.
pub async fn console(rig: &mut Rig) -> Result<()> {
    let shown = rig.shown(0);
    for part in ["certificate  ", "address      10.0.2.", "load         "] {
        ensure!(shown.contains(part), "the console does not show {part:?}");
    }
    let position = rig.position();
    let machine = rig.running()?;
    machine.types("l")?;
    machine.shows("Password of root", position, 3 * MINUTE).await?;
    machine.types("wrong")?;
    machine.shows("that is not the password", position, 3 * MINUTE).await?;
    let position = rig.position();
    let machine = rig.running()?;
    machine.types("l")?;
    machine.shows("Password of root", position, 3 * MINUTE).await?;
    machine.types(PASSWORD)?;
    machine.shows_or_fails(("xenith-agent", "that is not the password"), position, 3 * MINUTE).await
}
