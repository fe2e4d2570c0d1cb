//! What goes wrong: nothing is written, the reason is told, and the next installation works.
//!
//! The medium is started once for the answers that are refused: what starts by itself tries the first ones; the others are
//! tried from the shell that the screen offers, by the same program.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::rig::{DISK_GIB, Rig, untouched};

const MINUTE: Duration = Duration::from_secs(60);
/// On the volume with the answers.
const FIRST: &str = "answers.toml";
const SMALL: &str = "small.toml";
const TOKEN: &str = "token.toml";
const NETWORK: &str = "network.toml";
const NOBODY: &str = "nobody.toml";
/// Of a machine with this many GiB on its second disk.
const TOO_SMALL_GIB: u32 = 8;

/// Answers with a wrong name, which the medium finds by itself.
pub async fn wrong_answers(rig: &mut Rig) -> Result<()> {
    rig.fresh_disks(&[DISK_GIB, TOO_SMALL_GIB])?;
    let wrong =
        "version = 1\n[target]\ndisks = [\"/dev/vda\"]\nerase = true\n[system]\nname = \"Two Words\"\n";
    let small = rig.answers("[\"serial:DISK1\"]")?;
    let token = rig.token("never").await?;
    let right = rig.joining(&token)?;
    // The right address and secret, another authority.
    let other_authority = with_part(&token, 1, &"b".repeat(64));
    let other = rig.joining(&other_authority)?;
    // The right authority, where nobody listens.
    let nobody = rig.joining(&with_part(&token, 0, "xenith-join:10.0.2.2:9"))?;
    let unplugged = format!("{right}[network]\nvlan = 4094\n");
    let files = [
        (FIRST, wrong),
        (SMALL, small.as_str()),
        (TOKEN, other.as_str()),
        (NOBODY, nobody.as_str()),
        (NETWORK, unplugged.as_str()),
    ];
    let position = rig.position();
    let machine = rig.boot_medium(&files)?;
    machine.shows("xenith-installer: FAILED", position, 15 * MINUTE).await?;
    // The screens take over, and say it again to whoever comes.
    machine.shows("Enter begins", position, 3 * MINUTE).await?;
    tells(rig, position, &["answers.toml, line 6, system.name:", "lower-case letters"])?;
    let position = rig.position();
    let machine = rig.running()?;
    machine.types("shell")?;
    // What is typed comes back too; only what was computed says that a shell is there. One that is just starting may throw
    // away what was typed before.
    let mut there = machine.shows("SHELL-42", position, Duration::ZERO).await;
    for _ in 0..9 {
        if there.is_ok() {
            break;
        }
        machine.types("echo SHELL-$((40+2))")?;
        there = machine.shows("SHELL-42", position, MINUTE / 3).await;
    }
    there?;
    nothing_written(rig).await
}

fn with_part(token: &str, number: usize, part: &str) -> String {
    let mut parts: Vec<&str> = token.split('/').collect();
    parts[number] = part;
    parts.join("/")
}

pub async fn small_disk(rig: &mut Rig) -> Result<()> {
    refused(rig, SMALL, &["target.disks: /dev/vdb is too small: 8.0 GiB", "16.5 GiB are needed"]).await
}

pub async fn wrong_token(rig: &mut Rig) -> Result<()> {
    refused(rig, TOKEN, &["join.token:", "is not the orchestrator that the token names"]).await
}

pub async fn no_orchestrator(rig: &mut Rig) -> Result<()> {
    refused(rig, NOBODY, &["join.token:", "nobody answers at 10.0.2.2:9"]).await
}

/// The answers name a VLAN that nobody serves. The last one on this machine: its network is gone then.
pub async fn no_network(rig: &mut Rig) -> Result<()> {
    refused(rig, NETWORK, &["the network does not work:", "got no address within"]).await?;
    rig.machine = None;
    for number in [0, 1] {
        ensure!(untouched(&rig.numbered_disk(number))?, "something was written to disk {number}");
    }
    Ok(())
}

/// Tries other answers of the volume, in place of those that were found first.
async fn refused(rig: &mut Rig, file: &str, reasons: &[&str]) -> Result<()> {
    let position = rig.position();
    let machine = rig.running()?;
    let volume = "/run/xenith/answers";
    machine.types(&format!(
        "mount --bind {volume}/{file} {volume}/{FIRST} && xenith-installer auto; echo ENDED-$?"
    ))?;
    // 1: failed, as it has to.
    machine.shows("ENDED-1", position, 6 * MINUTE).await?;
    tells(rig, position, &["xenith-installer: FAILED"])?;
    tells(rig, position, reasons)?;
    nothing_written(rig).await
}

fn tells(rig: &mut Rig, position: u64, reasons: &[&str]) -> Result<()> {
    let shown = rig.shown(position);
    for reason in reasons {
        ensure!(shown.contains(reason), "{reason:?} is not told; {}", rig.running()?.last_words(position));
    }
    Ok(())
}

/// As the kernel counts it: writes that a disk has had since the machine was switched on.
async fn nothing_written(rig: &mut Rig) -> Result<()> {
    let position = rig.position();
    let machine = rig.running()?;
    let count = |disk: &str| format!("$(awk '{{print $5}}' /sys/block/{disk}/stat)");
    machine.types(&format!("echo WRITES=$(({} + {})).", count("vda"), count("vdb")))?;
    machine.shows("WRITES=0.", position, 2 * MINUTE).await
}

/// The plug is pulled while the system is unpacked; the step after this one installs on the same disk.
pub async fn power_cut(rig: &mut Rig) -> Result<()> {
    rig.fresh_disks(&[DISK_GIB])?;
    let token = rig.token("cut").await?;
    let answers = rig.joining(&token)?;
    let position = rig.position();
    let machine = rig.boot_medium(&[(FIRST, answers.as_str())])?;
    machine.shows_or_fails(("unpacking: ", "xenith-installer: FAILED"), position, 20 * MINUTE).await?;
    rig.machine = None;
    ensure!(!untouched(&rig.disk())?, "nothing was written yet: the cut came too early");
    rig.half_installed = true;
    Ok(())
}
