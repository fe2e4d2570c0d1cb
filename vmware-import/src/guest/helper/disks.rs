//! Disks in the helper: an overlay on each, the partitions and volumes in it, and the way back into the disk.
//!
//! `dm-snapshot` keeps what is written to an overlay in its part of the work disk, with its tables, so that a merge
//! that was broken off goes on (Documentation/admin-guide/device-mapper/snapshot.rst of Linux). Partitions come from a
//! loop device over the overlay: the kernel looks for none on device mapper's own devices.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use super::system::{failed, open_device, run, sectors};
use super::{Job, overlay_size, report};
use crate::guest::Device;

/// Sectors in a chunk of an overlay: 4 KiB, what filesystems write at least.
const CHUNK: &str = "8";
/// Only what lies in overlays: the disks below have the same labels.
const LVM: &str = "devices { use_devicesfile=0 obtain_device_list_from_udev=0 external_device_info_source=\"none\" global_filter=[\"a|^/dev/loop|\",\"a|^/dev/md|\",\"r|.*|\"] } \
                   activation { udev_sync=0 udev_rules=0 monitoring=0 } backup { backup=0 archive=0 }";
const MERGED_WITHIN: Duration = Duration::from_secs(3600);

/// Whether this helper has set the work disk up itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    Anew,
    /// After one that died in the merge.
    Again,
}

/// Overlays that stand.
#[derive(Debug, Default)]
pub struct Overlays {
    /// Loop devices, in the order of the disks.
    loops: Vec<String>,
    /// Arrays of md RAID that were put together of what lies in them.
    arrays: Vec<String>,
}

fn table(index: usize, target: &str, job: &Job) -> io::Result<String> {
    let disk = &job.disks[index];
    Ok(format!("0 {} {target} /dev/{disk} /dev/mapper/cow{index} P {CHUNK}", sectors(disk)?))
}

/// There is no udev to make the nodes, or to be waited for.
const NO_UDEV: [&str; 2] = ["--noudevrules", "--noudevsync"];

fn create(name: &str, table: &str) -> io::Result<()> {
    run("dmsetup", &[&NO_UDEV[..], &["create", name, "--table", table]].concat()).map(drop)
}

fn remove(name: &str) -> io::Result<()> {
    run("dmsetup", &[&NO_UDEV[..], &["remove", "--retry", name]].concat()).map(drop)
}

/// The parts of the work disk, as devices.
fn ensure_parts(job: &Job) -> io::Result<()> {
    let mut start = report::SIZE / 512;
    for (index, disk) in job.disks.iter().enumerate() {
        let len = overlay_size(sectors(disk)? * 512) / 512;
        let table = format!("0 {len} linear /dev/{} {start}", job.work);
        create(&format!("cow{index}"), &table)?;
        start += len;
    }
    Ok(())
}

impl Overlays {
    /// `said` is told what could not be put together.
    pub fn new(job: &Job, said: &mut dyn FnMut(String)) -> io::Result<Self> {
        ensure_parts(job)?;
        let mut this = Self::default();
        for index in 0..job.disks.len() {
            let name = format!("disk{index}");
            create(&name, &table(index, "snapshot", job)?)?;
            let found = run("losetup", &["--find", "--show", "--partscan", &format!("/dev/mapper/{name}")])?;
            this.loops.push(found.trim().to_owned());
        }
        this.arrays = assemble(said)?;
        // None is no fault.
        run("lvm", &["vgchange", "--config", LVM, "-ay", "--sysinit"])?;
        run("dmsetup", &["mknodes"])?;
        Ok(this)
    }

    /// Everything that has a filesystem or the like, under the names it may have had at the source.
    pub fn devices(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for (index, of) in self.loops.iter().enumerate() {
            for entry in fs::read_dir("/sys/class/block")? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                let Some(rest) = format!("/dev/{name}").strip_prefix(of.as_str()).map(ToOwned::to_owned)
                else {
                    continue;
                };
                let part = match rest.as_str() {
                    "" => None,
                    rest => match rest.strip_prefix('p').and_then(|number| number.parse::<u32>().ok()) {
                        Some(number) => Some(number),
                        None => continue,
                    },
                };
                found.extend(probe(&format!("/dev/{name}"), names(index, part))?);
            }
        }
        for array in &self.arrays {
            let told = run("mdadm", &["--detail", "--export", array])?;
            found.extend(probe(array, array_names(&told, array))?);
        }
        let volumes = run(
            "lvm",
            &[
                "lvs",
                "--config",
                LVM,
                "--noheadings",
                "--separator",
                "|",
                "-o",
                "vg_name,lv_name,lv_dm_path,lv_active",
            ],
        )?;
        for line in volumes.lines() {
            let words: Vec<&str> = line.trim().split('|').collect();
            if let [group, volume, path, "active"] = words[..] {
                found.extend(probe(path, vec![path.to_owned(), format!("/dev/{group}/{volume}")])?);
            }
        }
        Ok(found)
    }

    /// Takes the devices down and looks whether every overlay held what was written to it.
    pub fn close(self, job: &Job) -> io::Result<()> {
        run("lvm", &["vgchange", "--config", LVM, "-an", "--sysinit"])?;
        for array in &self.arrays {
            run("mdadm", &["--stop", array])?;
        }
        for device in &self.loops {
            run("losetup", &["--detach", device])?;
        }
        for index in 0..job.disks.len() {
            let status = run("dmsetup", &["status", &format!("disk{index}")])?;
            if used(&status).is_none() {
                return Err(failed(format_args!(
                    "the changes on disk {} did not fit into the work disk ({}); free space in the guest or prepare it by hand",
                    index + 1,
                    status.trim()
                )));
            }
            remove(&format!("disk{index}"))?;
        }
        Ok(())
    }
}

/// Puts arrays together that are whole; one that lacks a disk is left alone, and what is on it is not prepared. Marks of
/// it in use go into the overlays like everything else.
fn assemble(said: &mut dyn FnMut(String)) -> io::Result<Vec<String>> {
    if !Path::new("/usr/sbin/mdadm").exists() {
        return Ok(Vec::new());
    }
    fs::write(ARRAYS, "DEVICE /dev/loop*\nAUTO +all\n")?;
    let done = run("mdadm", &["--assemble", "--scan", "--no-degraded", "--config", ARRAYS]);
    let table = fs::read_to_string("/proc/mdstat").unwrap_or_default();
    let arrays = active_arrays(&table);
    if let Err(error) = done
        && table.lines().any(|line| line.starts_with("md"))
    {
        // Where there is no array at all, that is no fault.
        said(error.to_string());
    }
    Ok(arrays)
}

const ARRAYS: &str = "/etc/mdadm.conf";

fn active_arrays(table: &str) -> Vec<String> {
    let array = |line: &str| {
        let (name, state) = line.split_once(" : ")?;
        (name.starts_with("md") && state.starts_with("active")).then(|| format!("/dev/{name}"))
    };
    table.lines().filter_map(array).collect()
}

/// As the guest may call an array: by the number or the name in its superblock, which is `HOST:NAME`.
fn array_names(told: &str, path: &str) -> Vec<String> {
    let mut names = vec![path.to_owned()];
    let name = told.lines().find_map(|line| line.strip_prefix("MD_NAME="));
    if let Some(name) = name.map(|name| name.rsplit(':').next().unwrap_or_default()).filter(|n| !n.is_empty())
    {
        names.push(format!("/dev/md/{name}"));
        if name.chars().all(|digit| digit.is_ascii_digit()) {
            names.push(format!("/dev/md{name}"));
        }
    }
    names
}

/// Writes what the overlays hold to the disks. Asked again after a crash, it goes on.
pub fn merge(job: &Job, begin: Begin) -> io::Result<()> {
    if begin == Begin::Again {
        ensure_parts(job)?;
    }
    for index in 0..job.disks.len() {
        let name = format!("merge{index}");
        create(&name, &table(index, "snapshot-merge", job)?)?;
        let deadline = Instant::now() + MERGED_WITHIN;
        loop {
            let status = run("dmsetup", &["status", &name])?;
            match used(&status) {
                Some((data, tables)) if data == tables => break,
                Some(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(100)),
                _ => {
                    return Err(failed(format_args!(
                        "disk {} takes no more changes: {}",
                        index + 1,
                        status.trim()
                    )));
                }
            }
        }
        remove(&name)?;
        // Through the disk's own cache.
        open_device(&job.disks[index])?.sync_all()?;
    }
    Ok(())
}

/// Sectors in use and those of them that are tables, of `0 N snapshot USED/ALL TABLES`; `None` when the overlay is of no
/// use any more.
fn used(status: &str) -> Option<(u64, u64)> {
    let mut words = status.split_whitespace().skip(3);
    let used = words.next()?.split_once('/')?.0.parse().ok()?;
    Some((used, words.next()?.parse().ok()?))
}

/// Under which a disk or partition was known at the source: by controller, and nobody knows now which that was.
fn names(index: usize, part: Option<u32>) -> Vec<String> {
    let letter =
        u8::try_from(index).ok().filter(|index| *index < 26).map_or('?', |index| char::from(b'a' + index));
    let scsi =
        |kind: &str| format!("/dev/{kind}{letter}{}", part.map(|part| part.to_string()).unwrap_or_default());
    let nvme = format!("/dev/nvme0n{}{}", index + 1, part.map(|part| format!("p{part}")).unwrap_or_default());
    vec![scsi("sd"), scsi("hd"), scsi("vd"), nvme]
}

/// A filesystem or the like.
#[derive(Debug, Clone)]
pub struct Found {
    /// As the helper opens it.
    pub path: String,
    /// As the guest may have called it.
    pub names: Vec<String>,
    pub uuid: String,
    pub label: String,
    pub part_uuid: String,
    pub kind: String,
}

impl Found {
    /// One for each name.
    pub fn devices(&self) -> impl Iterator<Item = Device> {
        let device =
            |name: &String| Device { name: name.clone(), uuid: self.uuid.clone(), kind: self.kind.clone() };
        self.names.iter().map(device)
    }

    /// Whether the first field of an `fstab` means this.
    pub fn is_meant_by(&self, source: &str) -> bool {
        let value =
            |key: &str| source.strip_prefix(key).map(|value| value.trim_matches('"').to_ascii_lowercase());
        let same = |value: Option<String>, own: &str| {
            value.is_some_and(|v| !v.is_empty() && v == own.to_ascii_lowercase())
        };
        self.names.iter().any(|name| name == source)
            || same(value("UUID="), &self.uuid)
            || same(value("/dev/disk/by-uuid/"), &self.uuid)
            || same(value("LABEL="), &self.label)
            || same(value("PARTUUID="), &self.part_uuid)
    }
}

/// What udev makes where there is one: programs of the guest, GRUB's among them, name a disk by UUID only if they find
/// it there.
pub fn link_by_uuid(devices: &[Found]) -> io::Result<()> {
    for found in devices {
        for (folder, name) in [("by-uuid", &found.uuid), ("by-partuuid", &found.part_uuid)] {
            // It comes from a stranger's disk, and becomes part of a path.
            if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
            {
                continue;
            }
            let folder = Path::new("/dev/disk").join(folder);
            fs::create_dir_all(&folder)?;
            match symlink(&found.path, folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Two of one UUID: the first is as good as the second.
                _ => {}
            }
        }
    }
    Ok(())
}

fn probe(path: &str, names: Vec<String>) -> io::Result<Option<Found>> {
    // 2: nothing is known in there.
    let Ok(said) = run("blkid", &["--probe", "--output", "export", path]) else { return Ok(None) };
    Ok(parse_probe(&said, path, names))
}

fn parse_probe(said: &str, path: &str, names: Vec<String>) -> Option<Found> {
    let values: BTreeMap<&str, &str> = said.lines().filter_map(|line| line.split_once('=')).collect();
    let value = |key: &str| values.get(key).copied().unwrap_or_default().to_owned();
    let kind = value("TYPE");
    (!kind.is_empty()).then(|| Found {
        path: path.to_owned(),
        names,
        uuid: value("UUID"),
        label: value("LABEL").replace("\\ ", " "),
        part_uuid: value("PART_ENTRY_UUID"),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_an_overlay_is_read() {
        for (status, expected) in [
            ("0 2097152 snapshot 1280/2162688 16\n", Some((1280, 16))),
            ("0 2097152 snapshot-merge 16/2162688 16", Some((16, 16))),
            ("0 2097152 snapshot Invalid", None),
            ("0 2097152 snapshot Overflow", None),
            ("0 2097152 snapshot-merge Merge failed", None),
            ("", None),
        ] {
            assert_eq!(used(status), expected, "{status}");
        }
    }

    #[test]
    fn an_array_is_found_under_the_names_of_its_guest() {
        let table = "Personalities : [raid1]\nmd127 : active (auto-read-only) raid1 loop1p2[1] loop0p2[0]\n      \
                     1048576 blocks super 1.2 [2/2] [UU]\n\nmd126 : inactive loop2p1[0](S)\n      1024 blocks\n\nunused devices: <none>\n";
        assert_eq!(active_arrays(table), ["/dev/md127"]);
        assert!(active_arrays("Personalities : \nunused devices: <none>\n").is_empty());
        let told = "MD_LEVEL=raid1\nMD_NAME=web:0\nMD_UUID=a:b:c:d\n";
        assert_eq!(array_names(told, "/dev/md127"), ["/dev/md127", "/dev/md/0", "/dev/md0"]);
        assert_eq!(array_names("MD_NAME=web:root\n", "/dev/md127"), ["/dev/md127", "/dev/md/root"]);
        assert_eq!(array_names("MD_LEVEL=raid1\n", "/dev/md127"), ["/dev/md127"]);
    }

    #[test]
    fn a_filesystem_is_found_under_each_of_its_names() {
        let said = "DEVNAME=/dev/loop0p1\nUUID=5f1c-AA\nLABEL=root\\ disk\nVERSION=1.0\nTYPE=ext4\nUSAGE=filesystem\n\
                    PART_ENTRY_UUID=0a0b-01\n";
        let found = parse_probe(said, "/dev/loop0p1", names(0, Some(1))).unwrap();
        for source in [
            "UUID=5f1c-aa",
            "UUID=\"5f1c-AA\"",
            "LABEL=\"root disk\"",
            "PARTUUID=0A0B-01",
            "/dev/sda1",
            "/dev/nvme0n1p1",
            "/dev/disk/by-uuid/5f1c-AA",
        ] {
            assert!(found.is_meant_by(source), "{source}");
        }
        for source in ["UUID=", "LABEL=", "/dev/sda", "/dev/sdb1", "tmpfs", "UUID=5f1c"] {
            assert!(!found.is_meant_by(source), "{source}");
        }
        assert_eq!(found.devices().count(), 4);
        assert!(
            parse_probe("PTUUID=1\nPTTYPE=gpt\n", "/dev/loop0", Vec::new()).is_none(),
            "a whole disk with partitions"
        );
    }
}
