//! The installation itself, and what is promised of a host that has been installed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_installer_media::{Firmware, Wiring};
use xenith_lab::guest::{self, GuestKind};
use xenith_lab::{Accel, Shell};
use xenith_lab_scenario::{Guest, until};
use xenith_orchestrator_api::{network, vm};

use crate::rig::{DISK_GIB, Rig};

const MINUTE: Duration = Duration::from_secs(60);
pub const NAME: &str = "iso-bios";
pub const FIRST_VM: Guest = Guest { memory_mib: 192, ..Guest::new("first", GuestKind::Pvh, 101) };
/// An installation on an SSD takes no longer, the restart left out.
const INSTALLATION: Duration = Duration::from_secs(180);
/// An SSD takes 15 s at the most to copy the files of a system one by one. So much longer may the installation take, which
/// compares hashes and unpacks besides, where a machine is slower than that.
const TIMES_A_COPY: u32 = 12;
/// What dom0 may use at rest.
const DOM0_MIB: u64 = 400;

/// Answers on a volume, no hand: the host is heard by the orchestrator. On an empty disk, or on one that has half of an
/// installation.
pub async fn unattended(rig: &mut Rig) -> Result<()> {
    (rig.firmware, rig.wiring) = (Firmware::Bios, Wiring::Card);
    let half = std::mem::take(&mut rig.half_installed);
    if !half {
        rig.fresh_disks(&[DISK_GIB])?;
    }
    let token = rig.token(NAME).await?;
    let answers = rig.joining(&token)?;
    let position = rig.position();
    rig.boot_medium(&[("answers.toml", answers.as_str())])?;
    installed(rig, position).await?;
    let shown = rig.shown(position);
    ensure!(!shown.contains(&token), "the token is shown on the console");
    if half {
        ensure!(shown.contains("lost: ") && shown.contains("xenith-state"), "what was there is not told");
    }
    joined(rig).await?;
    rig.connected(NAME, 5 * MINUTE).await?;
    holds(&rig.shell()?, PROMISES).await
}

/// Waits until the machine, which is starting, has installed itself and is off.
pub async fn installed(rig: &mut Rig, position: u64) -> Result<()> {
    const FAILED: &str = "xenith-installer: FAILED";
    let started = Instant::now();
    let machine = rig.running()?;
    machine.shows_or_fails(("unattended, answers from", FAILED), position, 20 * MINUTE).await?;
    let up = started.elapsed();
    machine.shows_or_fails(("xenith-installer: INSTALLED", FAILED), position, 25 * MINUTE).await?;
    let took = started.elapsed() - up;
    machine.ends(5 * MINUTE).await?;
    rig.installed_in = Some(took);
    eprintln!("    the installer was up after {} s, and took {} s", up.as_secs(), took.as_secs());
    Ok(())
}

/// Starts the installed host, until its console says that it has joined.
pub async fn joined(rig: &mut Rig) -> Result<()> {
    let (started, position) = (Instant::now(), rig.position());
    rig.boot_disk()?.shows("enrolment    joined as", position, 20 * MINUTE).await?;
    eprintln!("    the host has joined {} s after it was switched on", started.elapsed().as_secs());
    Ok(())
}

/// What the issue promises of a fresh host, each with a command that fails where it is not so.
const PROMISES: &[(&str, &str)] = &[
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
    (
        "it lets in the agent and SSH, and nothing else",
        "[ \"$(nft list chain inet xenith input | grep -c dport)\" = 2 ] && nft list chain inet xenith input | \
         grep -q 'tcp dport { 22, 8444, 8445 } accept'",
    ),
    ("the time zone is set", "[ \"$(readlink /etc/localtime)\" = ../usr/share/zoneinfo/Europe/Berlin ]"),
    ("the time server is set", "grep -qx NTP=192.0.2.9 /etc/systemd/timesyncd.conf.d/xenith.conf"),
    ("encrypted networks can be made", "wg --version && modprobe wireguard"),
    ("its packages come from Debian itself", "grep -q '^deb http://deb.debian.org/' /etc/apt/sources.list"),
    (
        "its packages are whole",
        "[ -z \"$(dpkg --audit)\" ] && [ -e /boot/vmlinuz ] && [ -e /boot/initrd.img ]",
    ),
    (
        "no unit failed",
        "[ -z \"$(systemctl --failed --no-legend --plain)\" ] || { systemctl --failed --no-legend; false; }",
    ),
];

/// Fails with all that does not hold.
pub async fn holds(shell: &Shell, promises: &[(&str, &str)]) -> Result<()> {
    let mut broken = Vec::new();
    for (what, command) in promises {
        let output = shell.exec(command, 3 * MINUTE).await?;
        if !output.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            broken.push(format!("{what}: no (`{command}`). {} {}", output.text().trim(), said.trim()));
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// How long the installation took, beside the time in which the same machine copies the same files; and what dom0 uses.
pub async fn limits(rig: &mut Rig) -> Result<()> {
    rig.medium.ensure_small()?;
    let shell = rig.shell()?;
    let used = "awk '/^MemTotal/ {all=$2} /^(MemFree|Buffers|Cached|SReclaimable):/ {free+=$2} \
                END {printf \"%d\", (all-free)/1024}' /proc/meminfo";
    // At rest: what a start leaves behind goes within minutes.
    let mut least = u64::MAX;
    let deadline = Instant::now() + 3 * MINUTE;
    while least > DOM0_MIB && Instant::now() < deadline {
        let now = shell.run(used, MINUTE).await?;
        least = least.min(now.trim().parse::<u64>().with_context(|| format!("{now:?} is no number"))?);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let largest = shell.run("ps -eo rss,comm --sort=-rss | head -8", MINUTE).await?;
    eprintln!("    dom0 uses {least} MiB");
    ensure!(
        least <= DOM0_MIB,
        "dom0 uses {least} MiB, and may use {DOM0_MIB}; the largest (KiB):\n{largest}"
    );
    let to = "/var/lib/xenith/copy";
    let copy = format!(
        "sync; echo 3 >/proc/sys/vm/drop_caches; mkdir {to} && start=$(date +%s) && cp -ax / {to} && sync && \
         echo $(($(date +%s) - start)) $(du -sm {to} | cut -f1); status=$?; rm -rf {to}; exit $status"
    );
    let said = shell.run(&copy, 18 * MINUTE).await?;
    let mut words = said.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(seconds)), Some(Ok(mib))) = (words.next(), words.next()) else {
        anyhow::bail!("{said:?} is not how long the copy took, and how large it is");
    };
    let took = rig.installed_in.context("nothing was installed by this run")?;
    let copy = Duration::from_secs(seconds.into());
    eprintln!("    installed in {} s; the same {mib} MiB are copied in {seconds} s", took.as_secs());
    let most = match Accel::detect() {
        Accel::Kvm => INSTALLATION,
        Accel::Tcg => INSTALLATION.max(copy * TIMES_A_COPY),
    };
    ensure!(
        took <= most,
        "the installation took {} s, and may take {} s here",
        took.as_secs(),
        most.as_secs()
    );
    Ok(())
}

/// A PVH guest on the SR that the installer made.
pub async fn vm(rig: &mut Rig) -> Result<()> {
    let shell = rig.shell()?;
    // The guest's parts, its kernel among them, come from the lab's root file system.
    let paths = xenith_lab::LabPaths::from_env();
    let rootfs = xenith_lab::rootfs::ensure(&paths, &xenith_lab::Progress::stderr()).await?;
    shell.run("mkdir -p /var/lib/xenith/boot", MINUTE).await?;
    shell.put(&rootfs.kernel(), guest::KERNEL, 0o644, 5 * MINUTE).await?;
    guest::install(&shell, &rootfs).await?;
    let _network =
        rig.orchestrator.call::<network::Create>(json!({ "name": "lan", "bridge": "xenbr0" })).await?;
    let mut create = FIRST_VM.create();
    create["host"] = json!(NAME);
    rig.orchestrator.done::<vm::Create>(create, 6 * MINUTE).await?;
    started(rig).await?;
    let image = shell.run("find /var/lib/xenith/sr -type f -size +1M | head -3", MINUTE).await?;
    ensure!(!image.trim().is_empty(), "the disk of the VM is not on the SR");
    Ok(())
}

/// Starts that guest, until it tells its address.
pub async fn started(rig: &Rig) -> Result<()> {
    rig.orchestrator.done::<vm::Start>(json!({ "vm": FIRST_VM.name }), 8 * MINUTE).await?;
    until("the guest tells its address", 10 * MINUTE, async || {
        let seen = rig.orchestrator.call::<vm::Get>(json!({ "vm": FIRST_VM.name })).await?;
        let address = FIRST_VM.address().into();
        Ok(seen.observed.is_some_and(|observed| observed.guest.addresses.contains(&address)).then_some(()))
    })
    .await
}
