//! What is not one disk and one card: a machine that starts over the network, a mirror, a bond in a VLAN.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use xenith_installer::image::{Description, hex};
use xenith_installer_media::machine::CARDS;
use xenith_installer_media::{Drive, Firmware, Wiring};
use xenith_orchestrator_api::{sr, vdi};

use crate::install::{holds, installed, joined};
use crate::rig::{DISK_GIB, Rig};
use crate::trunk::{Trunk, VLAN};

const MINUTE: Duration = Duration::from_secs(60);
const ANSWERS: &str = "pxe/answers.toml";
const UEFI_NAME: &str = "iso-uefi";
const SCRIPT: &str = "pxe/boot.ipxe";
/// Slot A, slot B, state and SR.
const ARRAYS: u32 = 4;

/// No medium, no volume: firmware, kernel, image and answers come over the network. Two disks become a mirror, and the host
/// brings its own orchestrator.
pub async fn pxe_and_mirror(rig: &mut Rig) -> Result<()> {
    rig.firmware = Firmware::Bios;
    rig.fresh_disks(&[DISK_GIB, DISK_GIB])?;
    let answers = rig
        .answers("[\"serial:DISK0\", \"serial:DISK1\"]")?
        .replace("[access]", "role = \"host-and-orchestrator\"\n[access]");
    let script = script(rig, &hex(&Sha256::digest(answers.as_bytes())))?;
    rig.web.put_text(ANSWERS, answers);
    rig.web.put_text(SCRIPT, script);
    rig.wiring = Wiring::Pxe(rig.web.url(SCRIPT));
    let position = rig.position();
    rig.boot_disk()?;
    let done = installed(rig, position).await;
    // Whether the firmware, the kernel's first files or the installer was the last to ask for something.
    let asked = rig.web.were_asked_for(&[
        SCRIPT,
        "live/vmlinuz",
        "live/initrd.img",
        "live/filesystem.squashfs",
        ANSWERS,
    ]);
    if let Err(error) = done {
        let how_far =
            asked.err().map_or_else(|| "everything was fetched".to_owned(), |told| told.to_string());
        return Err(error.context(how_far));
    }
    asked?;
    rig.wiring = Wiring::Card;
    joined(rig).await?;
    let whole =
        format!("[ \"$(grep -c '\\[UU\\]' /proc/mdstat)\" = {ARRAYS} ] || {{ cat /proc/mdstat; false; }}");
    holds(
        &rig.shell()?,
        &[
            ("every array has both disks", whole.as_str()),
            ("the orchestrator runs beside the agent", "systemctl is-active xenith-orchestrator"),
            ("its address was found", "grep -q 10.0.2. /etc/xenith/orchestrator.toml"),
            ("it can fence by IPMI", "ipmitool -V"),
            (
                "the firewall lets it be reached",
                "nft list chain inet xenith input | grep -q 'tcp dport 8443 accept'",
            ),
            (
                "no unit failed",
                "[ -z \"$(systemctl --failed --no-legend --plain)\" ] || { systemctl --failed; false; }",
            ),
        ],
    )
    .await
}

/// For iPXE, which the firmware of the card is.
fn script(rig: &Rig, answers_hash: &str) -> Result<String> {
    let description = std::fs::read(rig.live.join("image.json"))?;
    let description: Description = serde_json::from_slice(&description)?;
    let url = |path: &str| rig.web.url(path);
    // As docs/installer.md has it.
    let arguments = format!(
        "boot=live fetch={} systemd.unit=xenith-installer.target xenith.image.sha256={} xenith.answers={} \
         xenith.answers.sha256={answers_hash} console=tty0 console=ttyS0,115200n8 systemd.show_status=error",
        url("live/filesystem.squashfs"),
        description.sha256,
        url(ANSWERS),
    );
    Ok(format!(
        "#!ipxe\nkernel {} initrd=initrd.img {arguments}\ninitrd {}\nboot\n",
        url("live/vmlinuz"),
        url("live/initrd.img")
    ))
}

/// The first disk is gone, without a warning: the host starts from the second.
pub async fn second_disk_alone(rig: &mut Rig) -> Result<()> {
    rig.wiring = Wiring::Card;
    rig.shell()?.run("sync", 3 * MINUTE).await?;
    rig.machine = None;
    std::fs::remove_file(rig.disk()).context("the mirror was not installed")?;
    joined(rig).await?;
    let half = format!(
        "[ \"$(grep -c '\\[U_\\]\\|\\[_U\\]' /proc/mdstat)\" = {ARRAYS} ] || {{ cat /proc/mdstat; false; }}"
    );
    holds(
        &rig.shell()?,
        &[
            ("every array runs with one disk", half.as_str()),
            (
                "the menu of the other disk counts",
                "xenith-installer system | grep -q '\"standing\":\"good\"'",
            ),
            ("the SR is there", "mountpoint -q /var/lib/xenith/sr"),
            ("the agent runs", "systemctl is-active xenith-agent"),
        ],
    )
    .await
}

/// UEFI firmware, two cards in a bond, and a switch that carries one VLAN: the live system has to bring up what the host
/// will have, or it reaches no orchestrator. The address is a fixed one, the medium a stick, the rest of the disk a thin
/// pool.
pub async fn uefi_bond_and_vlan(rig: &mut Rig) -> Result<()> {
    (rig.firmware, rig.drive) = (Firmware::Uefi, Drive::Stick);
    rig.fresh_disks(&[DISK_GIB])?;
    let wiring = rig.trunk.insert(Trunk::start()?).wiring();
    rig.wiring = wiring;
    let name = UEFI_NAME;
    let token = rig.token(name).await?;
    let [first, second] = CARDS;
    let answers = format!(
        "{}[network]\nnics = [\"{first}\", \"{second}\"]\nbond = \"active-backup\"\nvlan = {VLAN}\n\
         address = \"10.0.2.15/24\"\ngateway = \"10.0.2.2\"\ndns = [\"10.0.2.3\"]\n",
        rig.joining(&token)?.replace("erase = true\n", "erase = true\nsr = \"lvm-thin\"\n")
    );
    let position = rig.position();
    rig.boot_medium(&[("answers.toml", answers.as_str())])?;
    installed(rig, position).await?;
    joined(rig).await?;
    rig.connected(name, 5 * MINUTE).await?;
    let vlan = format!("ip -d link show mgmt | grep -q '802.1Q id {VLAN} '");
    let shell = rig.shell()?;
    holds(
        &shell,
        &[
            ("it was started by UEFI", "[ -d /sys/firmware/efi ]"),
            ("the bond has both cards", "[ $(wc -w </sys/class/net/bond0/bonding/slaves) = 2 ]"),
            ("one of them waits", "grep -q active-backup /sys/class/net/bond0/bonding/mode"),
            ("the VLAN is on the bond", vlan.as_str()),
            ("the bridge is on the VLAN", "[ -e /sys/class/net/xenbr0/brif/mgmt ]"),
        ],
    )
    .await?;
    let active = "cat /sys/class/net/bond0/bonding/active_slave";
    let before = shell.run(active, MINUTE).await?.trim().to_owned();
    shell.run(&format!("ip link set {before} down"), MINUTE).await?;
    // Over the other card, or not at all.
    let after = shell.run(active, 3 * MINUTE).await?.trim().to_owned();
    ensure!(before != after && !after.is_empty(), "the bond uses {after:?}, and {before:?} is down");
    rig.connected(name, 3 * MINUTE).await.map(drop)
}

/// What the summary of the installation says is to be done later.
pub async fn thin_pool(rig: &mut Rig) -> Result<()> {
    let list = "lvs --noheadings --options vg_name,lv_name | awk '$2 == \"pool\" {print $1 \"/\" $2}'";
    let pool = rig.shell()?.run(list, MINUTE).await?.trim().to_owned();
    ensure!(pool.ends_with("/pool"), "there is no thin pool: {pool:?}");
    let spec = json!({ "kind": "lvm-thin", "pool": pool });
    let create = json!({ "name": "thin", "host": UEFI_NAME, "spec": spec });
    rig.orchestrator.done::<sr::Create>(create, 6 * MINUTE).await?;
    let disk = json!({ "name": "on-thin", "size": 64 << 20, "sr": "thin", "host": UEFI_NAME });
    rig.orchestrator.done::<vdi::Create>(disk, 3 * MINUTE).await.map(drop)
}
