//! The disks of this machine, and what is on them, so that nobody erases the wrong one.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::facts::FactsError;

/// A whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// `/dev/sda`
    pub path: String,
    pub bytes: u64,
    pub model: String,
    pub serial: String,
    /// World Wide Name: of a disk, or of a volume that a storage array shows, whichever way it is reached. Empty: it has none.
    pub wwn: String,
    pub kind: DiskKind,
    /// A line per thing found: partitions, file systems, LVM, RAID. Empty: nothing known is on it.
    pub contents: Vec<String>,
    /// Why it cannot be installed on, whatever its size.
    pub unusable: Option<&'static str>,
    /// Devices above it, such as arrays and logical volumes, the upper ones first.
    pub holders: Vec<Holder>,
    pub health: Health,
}

/// Something that must let go of the disk before it is partitioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub path: String,
    /// As lsblk says: `raid1`, `lvm`, `crypt`.
    pub kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    Ssd,
    Spinning,
}

/// What the disk says of itself (SMART).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Good,
    Failing,
    /// It does not say.
    Unknown,
}

impl Disk {
    /// Model, size and health in a line.
    #[must_use]
    pub fn title(&self) -> String {
        let kind = match self.kind {
            DiskKind::Ssd => "SSD",
            DiskKind::Spinning => "disk",
        };
        let health = match self.health {
            Health::Good => ", health good",
            Health::Failing => ", FAILING by its own account",
            Health::Unknown => "",
        };
        let name = [self.model.as_str(), self.serial.as_str()];
        let name = name.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ");
        let name = if name.is_empty() { "unnamed".to_owned() } else { name };
        format!("{}  {:.1} GB {kind}  {name}{health}", self.path, self.bytes as f64 / 1e9)
    }

    /// Whether it is that very disk, as far as disks tell, wherever it is found.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let name = |disk: &Self| (disk.wwn.clone(), disk.serial.clone(), disk.model.clone(), disk.bytes);
        name(self) == name(other)
    }

    /// Whether it has a name of its own, by which it is told from all others.
    #[must_use]
    pub fn has_a_name(&self) -> bool {
        !self.wwn.is_empty() || !self.serial.is_empty()
    }

    /// Whether `device` is the disk or a partition of it. `/dev/sdaa1` is none of `/dev/sda`.
    #[must_use]
    pub fn has_partition(&self, device: &str) -> bool {
        let Some(rest) = device.strip_prefix(&self.path) else { return false };
        let number = if self.path.ends_with(|c: char| c.is_ascii_digit()) {
            rest.strip_prefix('p')
        } else {
            Some(rest)
        };
        rest.is_empty()
            || number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    }

    /// `/dev/sda3`, `/dev/nvme0n1p3`.
    #[must_use]
    pub fn partition(&self, number: u32) -> String {
        let separator = if self.path.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        format!("{}{separator}{number}", self.path)
    }
}

#[derive(Deserialize)]
struct Listing {
    blockdevices: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    path: String,
    #[serde(default)]
    size: u64,
    model: Option<String>,
    serial: Option<String>,
    wwn: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    ro: bool,
    #[serde(default)]
    rota: bool,
    fstype: Option<String>,
    label: Option<String>,
    partlabel: Option<String>,
    #[serde(default)]
    mountpoints: Vec<Option<String>>,
    #[serde(default)]
    children: Vec<Node>,
}

const COLUMNS: &str = "PATH,SIZE,MODEL,SERIAL,WWN,TYPE,RO,ROTA,FSTYPE,LABEL,PARTLABEL,MOUNTPOINTS";
/// Below it the live system keeps what it came from: the medium, and where that is a file, the file system of the file.
const LIVE: &str = "/run/live/";

/// All disks of this machine.
pub fn list() -> Result<Vec<Disk>, FactsError> {
    let program = "lsblk";
    let output = Command::new(program)
        .args(["--json", "--bytes", "--tree", "--output", COLUMNS])
        .output()
        .map_err(|source| FactsError::Run { program, source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(FactsError::Failed { program, said });
    }
    let mut disks = parse(&String::from_utf8_lossy(&output.stdout))
        .map_err(|error| FactsError::Answer { program, detail: error.to_string() })?;
    for disk in &mut disks {
        disk.health = health(&disk.path);
    }
    Ok(disks)
}

fn parse(json: &str) -> Result<Vec<Disk>, serde_json::Error> {
    let listing: Listing = serde_json::from_str(json)?;
    Ok(listing.blockdevices.into_iter().filter(is_disk).map(disk).collect())
}

fn is_disk(node: &Node) -> bool {
    node.kind == "disk"
        && node.size > 0
        && !["/dev/zram", "/dev/fd", "/dev/ram"].iter().any(|p| node.path.starts_with(p))
}

fn disk(node: Node) -> Disk {
    let mut contents = Vec::new();
    let mut holders = Vec::new();
    let mut mounts = Vec::new();
    visit(&node, 0, &mut |node, depth| {
        mounts.extend(node.mountpoints.iter().flatten().cloned());
        if let Some(line) = describe(node) {
            contents.push(line);
        }
        if depth > 0 && node.kind != "part" {
            let holder = Holder { path: node.path.clone(), kind: node.kind.clone() };
            // What stands on two others, as a thin pool does on its data and its metadata, is listed under both, and has to go
            // before either.
            holders.retain(|other| *other != holder);
            holders.insert(0, holder);
        }
    });
    let unusable = if node.ro {
        Some("it is read-only")
    } else if mounts.iter().any(|at| at.starts_with(LIVE)) {
        Some("the installer runs from it")
    } else if mounts.iter().any(|at| at == "/") {
        Some("the system of this machine runs from it")
    } else {
        None
    };
    let text = |value: Option<String>| value.unwrap_or_default().trim().to_owned();
    Disk {
        bytes: node.size,
        kind: if node.rota { DiskKind::Spinning } else { DiskKind::Ssd },
        model: text(node.model),
        serial: text(node.serial),
        wwn: text(node.wwn),
        path: node.path,
        contents,
        unusable,
        holders,
        health: Health::Unknown,
    }
}

fn visit(node: &Node, depth: usize, see: &mut impl FnMut(&Node, usize)) {
    see(node, depth);
    for child in &node.children {
        visit(child, depth + 1, see);
    }
}

fn describe(node: &Node) -> Option<String> {
    let what = node.fstype.as_deref().or((node.kind == "part").then_some("nothing known"))?;
    let label = node.label.as_deref().or(node.partlabel.as_deref()).map(|label| format!(" \"{label}\""));
    let size = node.size as f64 / 1e9;
    Some(format!("{}: {what}{}, {size:.1} GB", node.path, label.unwrap_or_default()))
}

/// Asks the disk itself. Virtual disks and some controllers do not say.
fn health(path: &str) -> Health {
    let Ok(output) = Command::new("smartctl").args(["--json=c", "--health", path]).output() else {
        return Health::Unknown;
    };
    parse_health(&output.stdout)
}

fn parse_health(json: &[u8]) -> Health {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(json) else { return Health::Unknown };
    match value["smart_status"]["passed"].as_bool() {
        Some(true) => Health::Good,
        Some(false) => Health::Failing,
        None => Health::Unknown,
    }
}

/// The disk that an answer means: a path, a link to one, or `serial:…`.
pub fn find<'a>(disks: &'a [Disk], wanted: &str) -> Result<&'a Disk, String> {
    let known = || disks.iter().map(|disk| disk.path.as_str()).collect::<Vec<_>>().join(", ");
    let found: Vec<&Disk> = if let Some(serial) = wanted.strip_prefix("serial:") {
        disks.iter().filter(|disk| disk.serial == serial).collect()
    } else {
        let real = std::fs::canonicalize(Path::new(wanted)).unwrap_or_else(|_| wanted.into());
        disks.iter().filter(|disk| disk.path == wanted || Path::new(&disk.path) == real).collect()
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(format!("there is no disk {wanted}; this machine has: {}", known())),
        _ => Err(format!("{wanted} fits several disks; name one by its path: {}", known())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LSBLK: &str = r#"{"blockdevices": [
      {"path":"/dev/loop0","size":1000,"model":null,"serial":null,"type":"loop","ro":true,"rota":false,
       "fstype":"squashfs","label":null,"partlabel":null,"mountpoints":["/run/live/rootfs"]},
      {"path":"/dev/sr0","size":300000000,"model":"QEMU DVD","serial":"QM1","type":"rom","ro":false,"rota":true,
       "fstype":"iso9660","label":"XENITH","partlabel":null,"mountpoints":["/run/live/medium"]},
      {"path":"/dev/sdb","size":8000000000,"model":"Stick","serial":"S","type":"disk","ro":false,"rota":true,
       "fstype":"iso9660","label":"XENITH","partlabel":null,"mountpoints":[null],
       "children":[{"path":"/dev/sdb1","size":300,"model":null,"serial":null,"type":"part","ro":false,"rota":true,
        "fstype":"iso9660","label":"XENITH","partlabel":null,"mountpoints":["/run/live/medium"]}]},
      {"path":"/dev/nvme0n1","size":512000000000,"model":"Fast 1 ","serial":"N1","type":"disk","ro":false,"rota":false,
       "fstype":null,"label":null,"partlabel":null,"mountpoints":[null],
       "children":[
        {"path":"/dev/nvme0n1p1","size":1000000000,"model":null,"serial":null,"type":"part","ro":false,"rota":false,
         "fstype":"ext4","label":"backups","partlabel":null,"mountpoints":[null]},
        {"path":"/dev/nvme0n1p2","size":2000000000,"model":null,"serial":null,"type":"part","ro":false,"rota":false,
         "fstype":"LVM2_member","label":null,"partlabel":null,"mountpoints":[null],
         "children":[{"path":"/dev/mapper/vg-data","size":2000000000,"model":null,"serial":null,"type":"lvm","ro":false,
          "rota":false,"fstype":"xfs","label":null,"partlabel":null,"mountpoints":[null]}]}]}
    ]}"#;

    #[test]
    fn disks_are_told_with_what_is_on_them() {
        let disks = parse(LSBLK).unwrap();
        let paths: Vec<_> = disks.iter().map(|disk| disk.path.as_str()).collect();
        assert_eq!(paths, ["/dev/sdb", "/dev/nvme0n1"]);
        assert_eq!(disks[0].unusable, Some("the installer runs from it"));
        let nvme = &disks[1];
        assert_eq!(
            nvme.contents,
            [
                "/dev/nvme0n1p1: ext4 \"backups\", 1.0 GB",
                "/dev/nvme0n1p2: LVM2_member, 2.0 GB",
                "/dev/mapper/vg-data: xfs, 2.0 GB"
            ]
        );
        assert_eq!(nvme.holders, [Holder { path: "/dev/mapper/vg-data".into(), kind: "lvm".into() }]);
        assert_eq!(nvme.title(), "/dev/nvme0n1  512.0 GB SSD  Fast 1 N1");
        for (disk, device, own) in [
            (&disks[0], "/dev/sdb", true),
            (&disks[0], "/dev/sdb12", true),
            (&disks[0], "/dev/sdba", false),
            (&disks[0], "/dev/sdba1", false),
            (nvme, "/dev/nvme0n1p2", true),
            (nvme, "/dev/nvme0n11", false),
            (nvme, "/dev/nvme0n1p", false),
        ] {
            assert_eq!(disk.has_partition(device), own, "{device}");
        }
        assert_eq!((nvme.partition(3), disks[0].partition(3)), ("/dev/nvme0n1p3".into(), "/dev/sdb3".into()));
    }

    #[test]
    fn a_disk_with_the_file_that_the_installer_runs_from_cannot_be_used() {
        let json = LSBLK.replace("/run/live/medium", "/run/live/findiso");
        assert_eq!(parse(&json).unwrap()[0].unusable, Some("the installer runs from it"));
        let json = LSBLK.replace("/run/live/medium", "/");
        assert_eq!(parse(&json).unwrap()[0].unusable, Some("the system of this machine runs from it"));
    }

    #[test]
    fn what_stands_on_two_devices_goes_once_and_before_both() {
        let node = |name: &str, kind: &str, children: &str| {
            format!(
                r#"{{"path":"/dev/{name}","size":1,"model":null,"serial":null,"type":"{kind}","ro":false,"rota":false,
                "fstype":null,"label":null,"partlabel":null,"mountpoints":[null],"children":[{children}]}}"#
            )
        };
        let pool = node("pool", "lvm", &node("volume", "lvm", ""));
        let both = format!("{},{}", node("metadata", "lvm", &pool), node("data", "lvm", &pool));
        let disk = node("sda", "disk", &node("sda6", "part", &both));
        let disks = parse(&format!(r#"{{"blockdevices":[{disk}]}}"#)).unwrap();
        let holders: Vec<_> = disks[0].holders.iter().map(|holder| holder.path.as_str()).collect();
        assert_eq!(holders, ["/dev/volume", "/dev/pool", "/dev/data", "/dev/metadata"]);
    }

    #[test]
    fn a_disk_is_found_by_path_or_serial() {
        let mut disks = parse(LSBLK).unwrap();
        assert_eq!(find(&disks, "serial:N1").unwrap().path, "/dev/nvme0n1");
        assert_eq!(find(&disks, "/dev/sdb").unwrap().serial, "S");
        assert!(find(&disks, "/dev/sdz").unwrap_err().contains("this machine has: /dev/sdb, /dev/nvme0n1"));
        disks[1].serial = "S".into();
        assert!(find(&disks, "serial:S").unwrap_err().contains("several"));
    }

    #[test]
    fn health_is_what_the_disk_says() {
        for (json, health) in [
            (&br#"{"smart_status":{"passed":true}}"#[..], Health::Good),
            (br#"{"smart_status":{"passed":false}}"#, Health::Failing),
            (br#"{"smartctl":{"exit_status":2}}"#, Health::Unknown),
            (b"nothing", Health::Unknown),
        ] {
            assert_eq!(parse_health(json), health);
        }
    }
}
