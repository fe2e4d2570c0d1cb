//! A host that is installed on this machine already: the medium upgrades it as it would upgrade itself.
//!
//! What always holds: looking changes nothing but what mounting a file system read-only does (a journal is replayed). Only
//! the slot that is not good is written, and then which slot is tried; the state and the SR are not even mounted. A power
//! cut leaves a host that starts as before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xenith_hypervisor_agent_types::system::SystemSlot;

use crate::apply::{self, Watch};
use crate::boot_state::{BootState, Record};
use crate::disks::Disk;
use crate::image::{Image, ON_MEDIUM};
use crate::layout::number;
use crate::mirror;
use crate::plan::{ANSWERED, Plan};
use crate::upgrade::{self, Old};

const ROOT: &str = "/run/xenith/installed";
const ESP: &str = "/run/xenith/installed-esp";
const RECORD: &str = "etc/xenith/installed.toml";
const KEY: &str = "usr/share/xenith/image.pub";

/// Mounted, until it is dropped.
#[derive(Debug)]
pub struct Existing {
    pub name: String,
    /// What starts there.
    pub good: SystemSlot,
    record: Record,
}

impl Drop for Existing {
    fn drop(&mut self) {
        release();
    }
}

/// The host on the disks of this machine, if there is one that could be upgraded.
#[must_use]
pub fn find() -> Option<Existing> {
    release();
    let record = candidates().into_iter().find_map(|device| record_on(&device))?;
    let found = mounted(record);
    if found.is_none() {
        release();
    }
    found
}

/// Its file systems by the names that the installer gave them: arrays, and partitions of one disk.
fn candidates() -> Vec<PathBuf> {
    let mut arrays: Vec<PathBuf> =
        fs::read_dir("/dev/md").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    arrays.retain(|path| path.file_name().is_some_and(|name| is_array_of_a_slot(&name.to_string_lossy())));
    arrays.sort();
    let labels = ["xenith-a", "xenith-b"].map(|name| Path::new("/dev/disk/by-partlabel").join(name));
    arrays.into_iter().chain(labels).filter(|device| device.exists()).collect()
}

/// Each host's have an ending of their own; the first hosts' had none.
fn is_array_of_a_slot(name: &str) -> bool {
    let rest = name.strip_prefix("xenith-a").or_else(|| name.strip_prefix("xenith-b"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// A slot that was never filled, and a member of an array, cannot be mounted.
fn record_on(device: &Path) -> Option<Record> {
    mount(device, ROOT, &["-o", "ro"])?;
    let record = Record::load(&Path::new(ROOT).join(RECORD)).ok();
    unmount(ROOT);
    record
}

fn mounted(record: Record) -> Option<Existing> {
    mount(&mirror::device(record.esp.first()?)?, ESP, &[])?;
    let good = BootState::read(Path::new(ESP)).ok()?.good;
    let by_uuid = Path::new("/dev/disk/by-uuid");
    mount(&by_uuid.join(&record.slots[good.index()]), ROOT, &["-o", "ro"])?;
    let name = fs::read_to_string(Path::new(ROOT).join("etc/hostname")).ok()?.trim().to_owned();
    Some(Existing { name, good, record })
}

impl Existing {
    /// The image of the medium, signed with the key that the host came with, and what will be done with it.
    pub fn plan(&self) -> Result<(Plan, Image), String> {
        let read = |name: &str| {
            let path = Path::new(ROOT).join(name);
            fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let image =
            Image::open_signed(Path::new(ON_MEDIUM), &read(KEY)?).map_err(|error| error.to_string())?;
        let (fstab, shadow) = (read("etc/fstab")?, read("etc/shadow")?);
        let old = Old { root: ROOT, fstab: &fstab, shadow: &shadow, address: None };
        let partition =
            upgrade::other(Path::new(ROOT), self.good.other()).map_err(|error| error.to_string())?;
        let plan = upgrade::plan(&self.record, self.good, &old, (&partition, &image.description.version));
        Ok((plan, image))
    }

    /// Does it. Its last act is the commit point: the new system is tried at the next start.
    pub fn apply(&self, plan: &Plan, image: &Image, watch: &mut dyn Watch) -> Result<(), String> {
        // A disk of a mirror that cannot be told is dead, or is told when the new system is good.
        upgrade::give_up_other(&self.record, self.good, Path::new(ESP), &mut |_| ())
            .map_err(|error| error.to_string())?;
        apply::apply(plan, image, watch).map_err(|error| error.to_string())?;
        upgrade::commit(self.good, Path::new(ESP)).map_err(|error| error.to_string())
    }
}

/// The disk of these that has a host which was installed from answers with this hash, to its end. Looking changes nothing.
#[must_use]
pub fn installed_from<'a>(hash: &str, disks: &[&'a Disk]) -> Option<&'a str> {
    release();
    let has_it = |device: &String| {
        let mounted = mount(Path::new(device), ROOT, &["-t", "ext4", "-o", "ro,noload"]).is_some();
        let noted = fs::read_to_string(Path::new(ROOT).join(ANSWERED));
        if mounted {
            unmount(ROOT);
        }
        mounted && noted.is_ok_and(|noted| noted.trim() == hash)
    };
    disks.iter().find(|disk| places(disk).iter().any(has_it)).map(|disk| disk.path.as_str())
}

/// Where the systems of a host on this disk would be: its slots, or the arrays that it is a part of.
fn places(disk: &Disk) -> Vec<String> {
    let slots = [number::SLOT_A, number::SLOT_B].map(|slot| disk.partition(slot));
    let arrays = disk.holders.iter().map(|holder| &holder.path).filter(|path| path.starts_with("/dev/md"));
    slots.into_iter().chain(arrays.cloned()).collect()
}

fn mount(device: &Path, at: &str, options: &[&str]) -> Option<()> {
    fs::create_dir_all(at).ok()?;
    let output = Command::new("mount").args(options).arg(device).arg(at).output().ok()?;
    output.status.success().then_some(())
}

fn unmount(at: &str) {
    // What is not mounted there is what is wanted.
    let _not_mounted = Command::new("umount").arg(at).output();
}

fn release() {
    unmount(ROOT);
    unmount(ESP);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disks::{DiskKind, Health, Holder};

    #[test]
    fn arrays_of_slots_have_endings() {
        for (name, slot) in [
            ("xenith-a", true),
            ("xenith-b-1a2b3c4d", true),
            ("xenith-state-1a2b3c4d", false),
            ("xenith-all", false),
            ("data", false),
        ] {
            assert_eq!(is_array_of_a_slot(name), slot, "{name}");
        }
    }

    #[test]
    fn a_host_is_looked_for_in_the_slots_and_in_the_arrays_of_a_disk() {
        let holder = |path: &str, kind: &str| Holder { path: path.into(), kind: kind.into() };
        let disk = Disk {
            path: "/dev/nvme0n1".into(),
            bytes: 64 << 30,
            model: String::new(),
            serial: String::new(),
            wwn: String::new(),
            kind: DiskKind::Ssd,
            contents: Vec::new(),
            unusable: None,
            holders: vec![holder("/dev/mapper/xenith-pool", "lvm"), holder("/dev/md127", "raid1")],
            health: Health::Unknown,
        };
        assert_eq!(places(&disk), ["/dev/nvme0n1p3", "/dev/nvme0n1p4", "/dev/md127"]);
    }
}
