//! What goes wrong: nothing is written, the reason is told, and the next installation works.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::rig::{DISK_GIB, Rig, untouched};

const MINUTE: Duration = Duration::from_secs(60);

/// Installs with these answers, and expects the reason on the console and the disk as it was.
async fn refused(rig: &mut Rig, answers: &str, reasons: &[&str]) -> Result<()> {
    let position = rig.position();
    let mut machine = rig.boot_medium(Some(answers))?;
    machine.shows("xenith-installer: FAILED", position, 10 * MINUTE).await?;
    // The screens take over, and say it again to whoever comes.
    machine.shows("Enter begins", position, 2 * MINUTE).await?;
    let shown = machine.console().since(position);
    for reason in reasons {
        ensure!(shown.contains(reason), "{reason:?} is not told:\n{}", machine.console().tail(position));
    }
    drop(machine);
    ensure!(untouched(&rig.disk())?, "something was written to the disk");
    Ok(())
}

pub async fn wrong_answers(rig: &mut Rig) -> Result<()> {
    rig.fresh_disk(DISK_GIB)?;
    let answers =
        "version = 1\n[target]\ndisks = [\"/dev/vda\"]\nerase = true\n[system]\nname = \"Two Words\"\n";
    refused(rig, answers, &["answers.toml, line 6, system.name:", "lower-case letters"]).await
}

pub async fn small_disk(rig: &mut Rig) -> Result<()> {
    rig.fresh_disk(8)?;
    let answers = "version = 1\n[target]\ndisks = [\"/dev/vda\"]\nerase = true\n[system]\nname = \"small\"\n";
    refused(rig, answers, &["target.disks: /dev/vda is too small: 8.0 GiB", "16.5 GiB are needed"]).await
}

pub async fn wrong_token(rig: &mut Rig) -> Result<()> {
    rig.fresh_disk(DISK_GIB)?;
    let token = rig.token("never").await?;
    // The right address and secret, another authority.
    let mut parts: Vec<&str> = token.split('/').collect();
    let other = "b".repeat(64);
    parts[1] = &other;
    let answers = rig.answers(&parts.join("/"))?;
    refused(rig, &answers, &["join.token:", "is not the orchestrator that the token names"]).await
}

/// The answers name a VLAN that nobody serves.
pub async fn no_network(rig: &mut Rig) -> Result<()> {
    rig.fresh_disk(DISK_GIB)?;
    let token = rig.token("unplugged").await?;
    let answers = format!("{}[network]\nvlan = 4094\n", rig.answers(&token)?);
    refused(rig, &answers, &["the network does not work:", "got no address within"]).await
}

/// The plug is pulled while the system is unpacked; the step after this one installs on the same disk.
pub async fn power_cut(rig: &mut Rig) -> Result<()> {
    rig.fresh_disk(DISK_GIB)?;
    let token = rig.token("cut").await?;
    let answers = rig.answers(&token)?;
    let position = rig.position();
    let mut machine = rig.boot_medium(Some(&answers))?;
    machine.shows("unpacking: ", position, 15 * MINUTE).await?;
    drop(machine);
    ensure!(!untouched(&rig.disk())?, "nothing was written yet: the cut came too early");
    // The half of an installation is offered as what it is, and is installed over.
    let position = rig.position();
    let mut machine = rig.boot_medium(Some(&answers))?;
    machine.shows("xenith-installer: INSTALLED", position, 20 * MINUTE).await?;
    let shown = machine.console().since(position);
    ensure!(shown.contains("lost: ") && shown.contains("xenith-state"), "what was there is not told");
    machine.ends(3 * MINUTE).await
}
