//! The settings of a host that its next system takes over: when that is written, and again when it is about to start, for
//! days may lie between.
//!
//! What always holds: the system that runs is not touched, and the other one is tried only when all of it is on the disk. A
//! crash before that leaves files of both times in a slot that nothing starts, and the next order to start it copies all of
//! them anew. A system that was started once keeps what it has: settings are carried into one that waits for its first start
//! ([`is_waiting`]), never back into the one before.

use std::fs;
use std::io;
use std::path::Path;

use xenith_hypervisor_agent_types::system::SystemSlot;

use super::Old;
use crate::answers::After;
use crate::boot_state::Record;
use crate::plan::{Action, Plan, Step, TARGET, run, slot_menu};

/// Files of this host that the new system takes over, as shell patterns below `/`. The table of file systems and root's
/// password are not copied but made.
const CARRIED: &str = "etc/machine-id etc/hostname etc/hosts etc/timezone etc/localtime etc/ssh/ssh_host_* etc/xenith \
    etc/systemd/network etc/systemd/timesyncd.conf.d etc/mdadm/mdadm.conf root/.ssh \
    etc/systemd/system/multi-user.target.wants/xenith-orchestrator.service";

/// Among them, and in every system that was installed.
pub(super) const RECORDED: &str = "etc/xenith/installed.toml";

/// In a system that came by an upgrade: which files were carried over, so that one that goes before its start goes there too.
const LISTED: &str = "/boot/xenith-carried";

/// In a system that came by an upgrade from one that could be reached: the address of that one.
pub(super) const HAD_ADDRESS: &str = "/boot/xenith-had-address";

/// In the system that runs: it filled the other slot, which was not started since.
const WAITING: &str = "/boot/xenith-other-slot-waits";

pub(super) fn step(title: &str, target: &str, actions: Vec<Action>) -> Step {
    Step { title: title.to_owned(), target: target.to_owned(), actions }
}

/// What makes the system at [`TARGET`], which is in `slot`, one of this host.
pub(super) fn settings(record: &Record, slot: SystemSlot, from: &Old<'_>) -> Vec<Action> {
    let Old { root, fstab, shadow, address } = from;
    let (old, new) = (&record.slots[slot.other().index()], &record.slots[slot.index()]);
    let mut settings = vec![
        run("sh", &["-c", &carry(root)]),
        Action::Write {
            path: format!("{TARGET}/etc/fstab"),
            mode: 0o644,
            content: fstab.replace(&format!("UUID={old} "), &format!("UUID={new} ")).into_bytes(),
        },
        Action::MakeDir { path: format!("{TARGET}/boot/esp"), mode: 0o700 },
        Action::MakeDir { path: format!("{TARGET}/var/lib/xenith"), mode: 0o700 },
    ];
    if let Some(hash) =
        shadow.lines().find_map(|line| line.strip_prefix("root:")).and_then(|rest| rest.split(':').next())
        && hash.starts_with('$')
    {
        let args = [TARGET, "chpasswd", "--encrypted"].map(str::to_owned).to_vec();
        settings.push(Action::Run { program: "chroot", args, stdin: format!("root:{hash}\n") });
    }
    if let Some(address) = address {
        let content = format!("{address}\n").into_bytes();
        settings.push(Action::Write { path: format!("{TARGET}{HAD_ADDRESS}"), mode: 0o644, content });
    }
    settings.push(Action::Write {
        path: format!("{TARGET}/boot/xenith.cfg"),
        mode: 0o644,
        content: slot_menu(new, record.dom0_mib).into_bytes(),
    });
    settings
}

/// The last step of whatever wrote into the slot.
pub(super) fn written_out(partition: &str) -> Step {
    // Unmounting says nothing of what could not be written.
    let actions = vec![run("sync", &["--file-system", TARGET]), Action::Unmount { at: TARGET.to_owned() }];
    step("write everything out", partition, actions)
}

/// The plan of carrying the settings over once more, into the slot that does not run, which is on `partition`.
#[must_use]
pub fn carry_again(record: &Record, running: SystemSlot, from: &Old<'_>, partition: &str) -> Plan {
    let slot = running.other();
    let mount = vec![
        Action::Unmount { at: TARGET.to_owned() },
        Action::MakeDir { path: TARGET.to_owned(), mode: 0o755 },
        Action::Mount { device: partition.to_owned(), at: TARGET.to_owned() },
    ];
    let steps = vec![
        step("mount the new system", partition, mount),
        step("carry the settings over once more", TARGET, settings(record, slot, from)),
        written_out(partition),
    ];
    let summary =
        vec![format!("The settings of this host into slot {} ({partition}) once more", slot.as_str())];
    Plan { summary, steps, after: After::Reboot }
}

/// A line for the shell. A system that is not there has nothing to carry, and the new one would come up as nobody; so it would
/// without one of the files, so nothing that fails is passed over. What was carried before and is gone by now goes first.
fn carry(root: &str) -> String {
    format!(
        "set -e; cd {root}; if [ ! -e {RECORDED} ]; then echo 'no system is at {root}' >&2; exit 1; fi; \
         mkdir -p {TARGET}/boot; \
         if [ -e {TARGET}{LISTED} ]; then while IFS= read -r f; do \
         if [ ! -e \"$f\" ] && [ ! -L \"$f\" ]; then rm -f {TARGET}/\"$f\"; fi; done < {TARGET}{LISTED}; fi; \
         for f in {CARRIED}; do [ ! -e \"$f\" ] || cp -a --remove-destination --parents \"$f\" {TARGET}/; done; \
         for f in {CARRIED}; do [ ! -e \"$f\" ] || find \"$f\" ! -type d; done > {TARGET}{LISTED}"
    )
}

/// Whether the other slot was filled from here, and waits for its first start.
#[must_use]
pub fn is_waiting() -> bool {
    Path::new(WAITING).exists()
}

/// The other slot is whole: until it is started, it gets what is changed here.
pub fn note_waiting() -> io::Result<()> {
    fs::write(WAITING, "")
}

/// The other slot is written over, or has been ordered to start.
pub fn forget_waiting() -> io::Result<()> {
    match fs::remove_file(WAITING) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn record() -> Record {
        Record { slots: ["aa".into(), "bb".into()], esp: vec!["11112222".into()], dom0_mib: 1024 }
    }

    fn from(root: &str) -> Old<'_> {
        Old { root, fstab: "UUID=aa / ext4 defaults 0 1\n", shadow: "root:$y$new:1\n", address: None }
    }

    #[test]
    fn carrying_again_makes_and_unpacks_nothing() {
        let plan = carry_again(&record(), SystemSlot::A, &from("/"), "/dev/sda4");
        let actions: Vec<_> = plan.steps.iter().flat_map(|step| &step.actions).collect();
        let shown = actions.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            !shown.contains("mkfs") && !actions.iter().any(|a| matches!(a, Action::Unpack { .. })),
            "{shown}"
        );
        assert!(shown.contains("mount /dev/sda4") && shown.contains("chpasswd"), "{shown}");
        assert!(shown.find("sync --file-system").unwrap() < shown.rfind("umount").unwrap(), "{shown}");
    }

    #[test]
    fn what_was_changed_and_what_went_between_the_fill_and_the_start_is_carried_over() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, target) = (old.path().to_str().unwrap(), new.path().to_str().unwrap());
        let network = "etc/systemd/network";
        for name in ["etc/xenith", network] {
            fs::create_dir_all(old.path().join(name)).unwrap();
        }
        let here = |name: &str, text: &str| fs::write(old.path().join(name), text).unwrap();
        let there = |name: &str| fs::read_to_string(new.path().join(name)).ok();
        here(RECORDED, "");
        here("etc/hostname", "xen1\n");
        here("etc/systemd/network/10-bond.netdev", "bond");
        std::os::unix::fs::symlink("/usr/share/zoneinfo/UTC", old.path().join("etc/localtime")).unwrap();
        // What the image itself has stays.
        fs::create_dir_all(new.path().join(network)).unwrap();
        fs::write(new.path().join("etc/systemd/network/80-image.network"), "image").unwrap();
        let line = carry(root).replace(TARGET, target);
        let carried = || assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
        carried();
        assert_eq!(there("etc/systemd/network/10-bond.netdev").as_deref(), Some("bond"));

        here("etc/hostname", "xen9\n");
        here("etc/systemd/network/10-one.network", "one");
        fs::remove_file(old.path().join("etc/systemd/network/10-bond.netdev")).unwrap();
        fs::remove_file(old.path().join("etc/localtime")).unwrap();
        std::os::unix::fs::symlink("/usr/share/zoneinfo/Europe/Berlin", old.path().join("etc/localtime"))
            .unwrap();
        for _again in 0..2 {
            carried();
            assert_eq!(there("etc/hostname").as_deref(), Some("xen9\n"));
            assert_eq!(there("etc/systemd/network/10-one.network").as_deref(), Some("one"));
            assert_eq!(there("etc/systemd/network/80-image.network").as_deref(), Some("image"));
            assert_eq!(there("etc/systemd/network/10-bond.netdev"), None);
        }
    }
}
