//! The boot menus of the other disks of a mirror.
//!
//! Each disk has an EFI system partition of its own, which is no array: firmware and GRUB read it, and GRUB writes to the
//! one that it started from. So a new system is tried from the first disk alone, and the others are told what is good when
//! that is known. Without that a machine whose first disk died after an upgrade would start the system before it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xenith_hypervisor_agent_types::system::SystemSlot;

use crate::boot_state::{BootState, Record};
use crate::plan::ENV_FILE;

const AT: &str = "/run/xenith/other-esp";

/// Makes `good` the slot that the other disks start. What cannot be told is said, and is no reason to stop: a disk may be
/// dead, which is what a mirror is for.
pub fn tell(record: &Record, good: SystemSlot, say: &mut dyn FnMut(&str)) {
    for serial in record.esp.iter().skip(1) {
        let told = device(serial)
            .map_or_else(|| Err(format!("{serial:?} is no serial number")), |device| one(&device, good));
        if let Err(problem) = told {
            say(&format!(
                "the other disk of the mirror was not told that slot {} is good: {problem}",
                good.as_str()
            ));
        }
    }
}

/// Where the first disk is dead, the menu of another takes its place: that is what firmware and GRUB have started from.
pub fn stand_in(record: &Record, esp: &Path) {
    if esp.join(ENV_FILE).exists() {
        return;
    }
    for device in stand_ins(record, Path::exists) {
        if run("mount", &[&device.to_string_lossy(), &esp.to_string_lossy()]).is_ok() {
            return;
        }
    }
}

/// None while the first disk is there: its mount may only be late.
fn stand_ins(record: &Record, is_there: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut devices = record.esp.iter().map(|serial| device(serial));
    match devices.next().flatten() {
        Some(first) if !is_there(&first) => devices.flatten().filter(|device| is_there(device)).collect(),
        _ => Vec::new(),
    }
}

/// As udev names the FAT with this serial number.
pub(crate) fn device(serial: &str) -> Option<PathBuf> {
    let (high, low) = serial.split_at_checked(4).filter(|(_, low)| low.len() == 4)?;
    Some(Path::new("/dev/disk/by-uuid").join(format!("{high}-{low}")))
}

fn one(device: &Path, good: SystemSlot) -> Result<(), String> {
    fs::create_dir_all(AT).map_err(|error| format!("cannot make {AT}: {error}"))?;
    run("mount", &[&device.to_string_lossy(), AT])?;
    let written = write(Path::new(AT), good);
    let unmounted = run("umount", &[AT]);
    written.and(unmounted)
}

/// Where it says so already, nothing is written.
fn write(esp: &Path, good: SystemSlot) -> Result<(), String> {
    let wanted = BootState { good, trial: None };
    match BootState::read(esp) {
        Ok(state) if state == wanted => Ok(()),
        // A block that cannot be read is made good by writing it.
        _ => wanted.write(esp).map_err(|error| error.to_string()),
    }
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot_state::{Trial, Used};

    #[test]
    fn only_a_serial_number_names_a_device() {
        assert_eq!(device("BBBB2222").unwrap(), Path::new("/dev/disk/by-uuid/BBBB-2222"));
        for odd in ["", "BBB", "BBBB222", "BBBB22223"] {
            assert_eq!(device(odd), None, "{odd}");
        }
    }

    #[test]
    fn another_disk_stands_in_for_the_first_only_when_that_is_gone() {
        let esp = vec!["AAAA1111".to_owned(), "BBBB2222".to_owned()];
        let record = Record { slots: ["a".into(), "b".into()], esp, dom0_mib: 1024 };
        let (first, second) = (device("AAAA1111").unwrap(), device("BBBB2222").unwrap());
        for (there, stands_in) in [
            (vec![&first, &second], vec![]),
            (vec![&second], vec![second.clone()]),
            (vec![&first], vec![]),
            (vec![], vec![]),
        ] {
            let is_there = |path: &Path| there.iter().any(|device| device.as_path() == path);
            assert_eq!(stand_ins(&record, is_there), stands_in, "{there:?}");
        }
        let alone = Record { esp: vec!["AAAA1111".to_owned()], ..record };
        assert_eq!(stand_ins(&alone, |_| false), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_other_disk_starts_what_is_good_and_tries_nothing() {
        let esp = tempfile::tempdir().unwrap();
        fs::create_dir(esp.path().join("grub")).unwrap();
        let block = crate::plan::env_block(&[("slot", "a"), ("trial", "b"), ("trial_left", "1")]);
        fs::write(esp.path().join("grub/grubenv"), block).unwrap();
        let before = BootState::read(esp.path()).unwrap();
        assert_eq!(before.trial, Some(Trial { slot: SystemSlot::B, used: Used::No }));
        write(esp.path(), SystemSlot::B).unwrap();
        assert_eq!(BootState::read(esp.path()).unwrap(), BootState { good: SystemSlot::B, trial: None });
    }
}
