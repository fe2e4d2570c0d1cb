//! The device of the other slot.
//!
//! What always holds: it is on the very disk that the system is mounted from, or on an array of the very disks. Names say
//! nothing here: disks that were a host once have partitions and arrays of the same names, and whichever the kernel saw first
//! has the links in `/dev`. Where it cannot be told for certain, nothing is written.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use xenith_hypervisor_agent_types::system::SystemSlot;

#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error("cannot read {path}: {source}; the other slot of this host is not known")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the disk of the running system has no partition {name}; this host was not installed from the medium"
    )]
    NoPartition { name: String },
    #[error(
        "{name} is not one array on the disks of the running system, but {count}; look at `cat /proc/mdstat`, and let \
         `mdadm --assemble --scan` put it together"
    )]
    NoArray { name: String, count: usize },
}

/// The device of `slot`, beside the system that is mounted at `root`.
pub fn other(root: &Path, slot: SystemSlot) -> Result<String, SlotError> {
    let read = |source| SlotError::Read { path: root.to_owned(), source };
    let device = fs::metadata(root).map_err(read)?.dev();
    beside(Path::new("/sys"), &format!("{}:{}", major(device), minor(device)), slot)
}

/// `number` is the device of the system, as sysfs names it.
fn beside(sys: &Path, number: &str, slot: SystemSlot) -> Result<String, SlotError> {
    let name = format!("xenith-{}", slot.as_str());
    let device = resolved(&sys.join("dev/block").join(number))?;
    if !device.join("md").exists() {
        let partition =
            named(&device, &name)?.ok_or_else(|| SlotError::NoPartition { name: name.clone() })?;
        return Ok(node(&partition));
    }
    // A mirror: of each disk that it still has, the partition of that name is in the array.
    let (mut found, mut arrays) = (Found::Nothing, BTreeSet::new());
    for member in entries(&device.join("slaves"))? {
        let Some(partition) = named(&resolved(&member)?, &name)? else { continue };
        found = Found::Partition;
        for holder in entries(&partition.join("holders"))? {
            arrays.insert(node(&holder));
        }
    }
    if found == Found::Nothing {
        return Err(SlotError::NoPartition { name });
    }
    let count = arrays.len();
    arrays.pop_first().filter(|_| count == 1).ok_or(SlotError::NoArray { name, count })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Partition,
}

/// The partition of this name on the disk that `partition` is on.
fn named(partition: &Path, name: &str) -> Result<Option<PathBuf>, SlotError> {
    let Some(disk) = partition.parent() else { return Ok(None) };
    let line = format!("PARTNAME={name}");
    let is_it = |path: &PathBuf| {
        fs::read_to_string(path.join("uevent")).is_ok_and(|uevent| uevent.lines().any(|other| other == line))
    };
    Ok(entries(disk)?.into_iter().find(is_it))
}

fn resolved(path: &Path) -> Result<PathBuf, SlotError> {
    fs::canonicalize(path).map_err(|source| SlotError::Read { path: path.to_owned(), source })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SlotError> {
    let read = |source| SlotError::Read { path: folder.to_owned(), source };
    fs::read_dir(folder).map_err(read)?.map(|entry| entry.map(|entry| entry.path()).map_err(read)).collect()
}

/// The device's name is the folder's.
fn node(device: &Path) -> String {
    format!("/dev/{}", device.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A disk with the partitions of a host, below `/sys` of a test.
    fn disk(sys: &Path, disk: &str) {
        for (number, name) in [(2, "xenith-esp"), (3, "xenith-a"), (4, "xenith-b")] {
            let dir = sys.join(format!("devices/pci0/block/{disk}/{disk}{number}"));
            fs::create_dir_all(dir.join("holders")).unwrap();
            fs::write(dir.join("uevent"), format!("DEVTYPE=partition\nPARTNAME={name}\n")).unwrap();
            fs::create_dir_all(sys.join("dev/block")).unwrap();
            symlink(&dir, sys.join(format!("dev/block/{disk}:{number}"))).unwrap();
        }
    }

    fn array(sys: &Path, name: &str, members: &[(&str, u8)]) {
        let dir = sys.join(format!("devices/virtual/block/{name}"));
        for part in ["md", "slaves"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        symlink(&dir, sys.join(format!("dev/block/{name}"))).unwrap();
        for (disk, number) in members {
            let member = sys.join(format!("devices/pci0/block/{disk}/{disk}{number}"));
            symlink(&member, dir.join(format!("slaves/{disk}{number}"))).unwrap();
            symlink(&dir, member.join("holders").join(name)).unwrap();
        }
    }

    #[test]
    fn the_slot_is_on_the_disk_of_the_running_system() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        // The disk that was a host once is the first that the kernel saw.
        for name in ["sda", "sdb"] {
            disk(sys, name);
        }
        assert_eq!(beside(sys, "sdb:3", SystemSlot::B).unwrap(), "/dev/sdb4");
        assert_eq!(beside(sys, "sdb:4", SystemSlot::A).unwrap(), "/dev/sdb3");
        let uevent = sys.join("devices/pci0/block/sdb/sdb4/uevent");
        fs::write(uevent, "DEVTYPE=partition\n").unwrap();
        let error = beside(sys, "sdb:3", SystemSlot::B).unwrap_err();
        assert!(matches!(error, SlotError::NoPartition { .. }), "another disk's is not taken: {error}");
        assert!(matches!(beside(sys, "9:9", SystemSlot::B), Err(SlotError::Read { .. })));
    }

    #[test]
    fn the_slot_of_a_mirror_is_the_array_on_its_own_disks() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        for name in ["sda", "sdb", "sdc", "sdd"] {
            disk(sys, name);
        }
        // The other host's arrays came first, and have the names.
        array(sys, "md127", &[("sdc", 3), ("sdd", 3)]);
        array(sys, "md126", &[("sdc", 4), ("sdd", 4)]);
        array(sys, "md125", &[("sda", 3), ("sdb", 3)]);
        array(sys, "md124", &[("sda", 4), ("sdb", 4)]);
        assert_eq!(beside(sys, "md125", SystemSlot::B).unwrap(), "/dev/md124");
        assert_eq!(beside(sys, "md124", SystemSlot::A).unwrap(), "/dev/md125");
        assert_eq!(beside(sys, "md127", SystemSlot::B).unwrap(), "/dev/md126");
    }

    #[test]
    fn halves_of_a_mirror_that_came_apart_are_not_guessed_at() {
        let sys = tempfile::tempdir().unwrap();
        let sys = sys.path();
        for name in ["sda", "sdb"] {
            disk(sys, name);
        }
        array(sys, "md1", &[("sda", 3), ("sdb", 3)]);
        let error = beside(sys, "md1", SystemSlot::B).unwrap_err();
        assert!(matches!(error, SlotError::NoArray { count: 0, .. }), "{error}");
        array(sys, "md2", &[("sda", 4)]);
        assert_eq!(beside(sys, "md1", SystemSlot::B).unwrap(), "/dev/md2", "one disk is dead");
        array(sys, "md3", &[("sdb", 4)]);
        let error = beside(sys, "md1", SystemSlot::B).unwrap_err();
        assert!(matches!(error, SlotError::NoArray { count: 2, .. }), "{error}");
    }
}
