//! The files that make a copied system this host.

use super::{Action, Chosen, TARGET, boot};
use crate::answers::{Answers, Role, SrKind};

/// What the files depend on besides the answers.
pub struct Place<'a> {
    pub chosen: &'a Chosen,
    /// Of systemd-networkd: name and text.
    pub units: &'a [(String, String)],
    pub dom0_mib: u64,
    pub mirror: bool,
}

/// Everything written into the new system.
pub fn actions(answers: &Answers, place: &Place<'_>) -> Vec<Action> {
    let slot = &place.chosen.slots[0];
    let mut actions = Vec::new();
    let write = |path: &str, mode: u32, content: String| Action::Write {
        path: format!("{TARGET}{path}"),
        mode,
        content: content.into_bytes(),
    };
    actions.push(Action::MakeDir { path: format!("{TARGET}/etc/xenith"), mode: 0o755 });
    actions.push(Action::MakeDir { path: format!("{TARGET}/etc/xenith/nftables.d"), mode: 0o755 });
    actions.push(Action::MakeDir { path: format!("{TARGET}/boot/esp"), mode: 0o700 });
    actions.push(write("/etc/fstab", 0o644, fstab(answers, place.chosen, slot)));
    actions.push(write("/etc/hostname", 0o644, format!("{}\n", answers.system.name.short())));
    actions.push(write("/etc/hosts", 0o644, hosts(answers)));
    for (name, text) in place.units {
        actions.push(write(&format!("/etc/systemd/network/{name}"), 0o644, text.clone()));
    }
    let zone = &answers.system.timezone;
    actions.push(Action::Link {
        path: format!("{TARGET}/etc/localtime"),
        to: format!("../usr/share/zoneinfo/{zone}"),
    });
    actions.push(write("/etc/timezone", 0o644, format!("{zone}\n")));
    if !answers.system.ntp.is_empty() {
        let servers: Vec<&str> = answers.system.ntp.iter().map(|server| server.as_str()).collect();
        actions.push(Action::MakeDir { path: format!("{TARGET}/etc/systemd/timesyncd.conf.d"), mode: 0o755 });
        let text = format!("[Time]\nNTP={}\n", servers.join(" "));
        actions.push(write("/etc/systemd/timesyncd.conf.d/xenith.conf", 0o644, text));
    }
    // The logs move to the state partition, with the folders that programs expect there.
    let logs = format!("{TARGET}/var/lib/xenith/log");
    actions.push(super::run("cp", &["-aT", &format!("{TARGET}/var/log"), &logs]));
    if !answers.access.ssh_keys.is_empty() {
        let keys: String = answers.access.ssh_keys.iter().map(|key| format!("{key}\n")).collect();
        actions.push(Action::MakeDir { path: format!("{TARGET}/root/.ssh"), mode: 0o700 });
        actions.push(write("/root/.ssh/authorized_keys", 0o600, keys));
    }
    if let Some(hash) = &answers.access.root_password_hash {
        // Over standard input: arguments are for everybody to see.
        let args = [TARGET, "chpasswd", "--encrypted"].map(str::to_owned).to_vec();
        actions.push(Action::Run { program: "chroot", args, stdin: format!("root:{hash}\n") });
    }
    actions.extend(agent(answers));
    if answers.system.role == Role::HostAndOrchestrator {
        let enable = [TARGET, "systemctl", "--quiet", "enable", "xenith-orchestrator.service"];
        actions.push(super::run("chroot", &enable));
        let rule = "add rule inet xenith input tcp dport 8443 accept\n".to_owned();
        actions.push(write("/etc/xenith/nftables.d/orchestrator.nft", 0o644, rule));
    }
    let record = record(place);
    actions.push(write("/etc/xenith/installed.toml", 0o600, record));
    // Last: without it the boot menu does not start this slot.
    actions.push(write("/boot/xenith.cfg", 0o644, boot::slot_menu(slot, place.dom0_mib)));
    actions
}

fn agent(answers: &Answers) -> Vec<Action> {
    let mut actions = Vec::new();
    let write = |path: &str, content: String| Action::Write {
        path: format!("{TARGET}{path}"),
        mode: 0o600,
        content: content.into_bytes(),
    };
    if let Some(join) = &answers.join {
        if let Some(advertise) = &join.advertise {
            let text = format!(
                "# Settings of xenith-agent; what is not here has its default.\nadvertise = \"{advertise}\"\n"
            );
            actions.push(write("/etc/xenith/agent.toml", text));
        }
        actions.push(write("/etc/xenith/join-token", format!("{}\n", join.token)));
    }
    actions
}

/// What an upgrade has to know of the disk and cannot see.
fn record(place: &Place<'_>) -> String {
    let Place { chosen, dom0_mib, mirror, .. } = place;
    let [a, b] = &chosen.slots;
    let esp: Vec<String> = chosen.esp.iter().map(|serial| format!("\"{serial}\"")).collect();
    let disks = if *mirror { 2 } else { 1 };
    format!(
        "# Written by the installer for `xenith-installer upgrade`.\nslots = [\"{a}\", \"{b}\"]\nesp = [{}]\n\
         dom0_mib = {dom0_mib}\n",
        esp[..disks].join(", ")
    )
}

/// The slot, the state over it, the logs within the state, the SR, the boot menu.
fn fstab(answers: &Answers, chosen: &Chosen, slot: &str) -> String {
    let Chosen { state, sr, esp, .. } = chosen;
    let mut text = format!("UUID={slot} / ext4 defaults,noatime,errors=panic 0 1\n");
    text.push_str(&format!("UUID={state} /var/lib/xenith ext4 defaults,noatime 0 2\n"));
    text.push_str(
        "/var/lib/xenith/log /var/log none bind,x-systemd.requires-mounts-for=/var/lib/xenith 0 0\n",
    );
    if answers.target.sr == SrKind::Xfs {
        // A damaged SR must not keep the host, and its other SRs, from starting. But the agent, which takes the folder for
        // the SR, waits for one that comes late, or that has a power cut to recover from: `nofail` alone waits for nothing.
        let options = "defaults,noatime,nofail,x-systemd.before=xenith-agent.service";
        text.push_str(&format!("UUID={sr} /var/lib/xenith/sr xfs {options} 0 0\n"));
    }
    let serial = &esp[0];
    text.push_str(&format!("UUID={}-{} /boot/esp vfat umask=0077,nofail 0 0\n", &serial[..4], &serial[4..]));
    text
}

fn hosts(answers: &Answers) -> String {
    let name = &answers.system.name;
    let short = name.short();
    let names = if name.as_str() == short { short.to_owned() } else { format!("{name} {short}") };
    format!("127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost\n")
}
