//! What has to change in a guest so that it boots on Xen: a plan over its files, made without touching them.
//!
//! Pure: files in, changes out. [`Files`] is whatever can read small files: a mounted root, or a table in a test. The
//! helper that has the disks only executes [`Change`]s, in order, on the copy; the source never sees any of it.
//!
//! What always holds: a change is planned only where it is needed, so a plan made again after it was executed is empty
//! but for what cannot be told from files; what is not understood is a warning, never a guess; names found in the
//! guest (devices, kernels, interfaces) are checked before they become part of a path or a command.

pub mod folder;
pub mod helper;
mod hive;
mod linux;
pub(crate) mod windows;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Read access to a guest's files. Paths begin with `/`.
pub trait Files {
    /// `None` where there is no such file, or it is larger than a configuration file is.
    fn read(&self, path: &str) -> Option<Vec<u8>>;

    /// The first bytes of a file of any size.
    fn head(&self, path: &str) -> Option<Vec<u8>> {
        self.read(path)
    }

    /// The names in a folder, sorted; empty where there is none.
    fn list(&self, folder: &str) -> Vec<String>;

    fn exists(&self, path: &str) -> bool {
        self.read(path).is_some() || !self.list(path).is_empty()
    }

    fn text(&self, path: &str) -> Option<String> {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Files in memory, for tests.
#[derive(Debug, Clone, Default)]
pub struct TableFiles(pub BTreeMap<String, Vec<u8>>);

impl TableFiles {
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
    }

    /// As after the changes that only write.
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Write { path, text, .. } => {
                    self.0.insert(path.clone(), text.clone().into_bytes());
                }
                Change::Copy { from, to } => {
                    if let Some(bytes) = self.0.get(from).cloned() {
                        self.0.insert(to.clone(), bytes);
                    }
                }
                Change::Link { path, .. } => {
                    self.0.insert(path.clone(), Vec::new());
                }
                Change::Run { .. } | Change::Registry { .. } => {}
            }
        }
    }
}

impl Files for TableFiles {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.0.get(path).cloned()
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        let below = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut names: Vec<String> =
            below.filter_map(|rest| rest.split('/').next()).map(ToOwned::to_owned).collect();
        names.dedup();
        names
    }
}

/// A filesystem or other content of a block device, as `blkid` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// As the guest saw it at its source, such as `/dev/sda1`.
    pub name: String,
    pub uuid: String,
    /// `ext4`, `xfs`, `vfat`, `swap`, `crypto_LUKS`, …
    pub kind: String,
}

/// What the files do not say.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Facts {
    pub devices: Vec<Device>,
    /// MAC addresses in the order of the adapters.
    pub macs: Vec<String>,
    /// Kernel versions whose initramfs has the Xen front-ends.
    pub ready_kernels: Vec<String>,
    pub efi: bool,
}

/// One step of the preparation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Replaces a file, or makes it, with its folders.
    Write {
        path: String,
        text: String,
        mode: u32,
        why: String,
    },
    Copy {
        from: String,
        to: String,
    },
    /// A symbolic link.
    Link {
        path: String,
        to: String,
    },
    /// In the guest's root.
    Run {
        command: Vec<String>,
        why: String,
    },
    /// Values of a Windows registry hive: key, name, value in the notation of `.reg` files. The key begins below the
    /// hive; `CurrentControlSet` is that of the next start.
    Registry {
        hive: String,
        values: Vec<(String, String, String)>,
        why: String,
    },
}

impl Change {
    /// For people.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Write { path, why, .. } => format!("write {path}: {why}"),
            Self::Copy { from, to } => format!("copy {from} to {to}"),
            Self::Link { path, to } => format!("link {path} to {to}"),
            Self::Run { command, why } => format!("run {}: {why}", command.join(" ")),
            Self::Registry { hive, values, why } => format!("set {} values in {hive}: {why}", values.len()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    Debian,
    /// And what is made like it: RHEL, Alma, Rocky, Fedora, Oracle.
    RedHat,
    Suse,
    Windows,
    Unknown,
}

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    pub os: String,
    pub family: Family,
    pub changes: Vec<Change>,
    pub warnings: Vec<String>,
}

/// Whether these are the files of a system that is known.
#[must_use]
pub fn is_root(files: &dyn Files) -> bool {
    windows::is_root(files) || linux::is_root(files)
}

/// Looks at a root filesystem; `None` when it is not one.
#[must_use]
pub fn prepare(files: &dyn Files, facts: &Facts) -> Option<Preparation> {
    if windows::is_root(files) {
        return Some(windows::prepare(files));
    }
    linux::is_root(files).then(|| linux::prepare(files, facts))
}

/// The loader that firmware starts when it knows no boot entry, which is at every start: the UEFI of Xen's guests keeps no
/// variables, so that this path is the entry (`docs/adr/0092-uefi-entries.md`). `files` is an EFI system partition.
///
/// Not shim: started by this name it looks for its own fallback or for GRUB beside itself, where neither lies, and gives up.
/// It is there for Secure Boot, which guests here do not have. GRUB knows by itself where its settings are.
#[must_use]
pub fn fallback_loader(files: &dyn Files) -> Option<Change> {
    const FALLBACK: &str = "/EFI/BOOT/BOOTX64.EFI";
    // FAT does not care about case, and neither do installers.
    let find = |folder: &str, name: &str| {
        files
            .list(folder)
            .into_iter()
            .find(|found| found.eq_ignore_ascii_case(name))
            .map(|f| format!("{folder}/{f}"))
    };
    let efi = find("", "EFI")?;
    if find(&efi, "BOOT").and_then(|boot| find(&boot, "BOOTX64.EFI")).is_some() {
        return None;
    }
    // SUSE leaves the architecture out of the name.
    let loaders = ["grubx64.efi", "grub.efi", "systemd-bootx64.efi"];
    for vendor in files.list(&efi).iter().filter(|name| !name.eq_ignore_ascii_case("BOOT")) {
        let folder = format!("{efi}/{vendor}");
        for loader in loaders {
            if let Some(from) = find(&folder, loader) {
                return Some(Change::Copy { from, to: FALLBACK.to_owned() });
            }
        }
        if let Some(from) = find(&folder, "Boot").and_then(|boot| find(&boot, "bootmgfw.efi")) {
            return Some(Change::Copy { from, to: FALLBACK.to_owned() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallback_loader_is_made_where_none_is() {
        for (name, files, from) in [
            (
                "grub, not the shim before it",
                &["/EFI/debian/shimx64.efi", "/EFI/debian/grubx64.efi"][..],
                Some("/EFI/debian/grubx64.efi"),
            ),
            ("only grub", &["/EFI/centos/grubx64.efi"], Some("/EFI/centos/grubx64.efi")),
            ("as SUSE calls it", &["/EFI/opensuse/grub.efi"], Some("/EFI/opensuse/grub.efi")),
            ("windows", &["/EFI/Microsoft/Boot/bootmgfw.efi"], Some("/EFI/Microsoft/Boot/bootmgfw.efi")),
            ("any case", &["/efi/Debian/GRUBX64.EFI"], Some("/efi/Debian/GRUBX64.EFI")),
            ("there is one", &["/EFI/debian/grubx64.efi", "/EFI/Boot/bootx64.efi"], None),
            ("a shim with nothing to start", &["/EFI/debian/shimx64.efi"], None),
            ("nothing to start", &["/EFI/debian/fbx64.csv"], None),
            ("no partition of this kind", &["/etc/fstab"], None),
        ] {
            let table: Vec<_> = files.iter().map(|path| (*path, "")).collect();
            let found = fallback_loader(&TableFiles::of(&table));
            let expected = from
                .map(|from| Change::Copy { from: from.to_owned(), to: "/EFI/BOOT/BOOTX64.EFI".to_owned() });
            assert_eq!(found, expected, "{name}");
        }
    }
}
