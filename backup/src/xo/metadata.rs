//! The JSON beside the VHDs: which restore points there are, and of what.
//!
//! `xo-vm-backups/<VM>/<time>.json` names, for each disk, a VHD relative to its own folder. A name that ends in
//! `.alias.vhd` is a small file with the path of the real one.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::vhd::read_limited;
use crate::error::{BackupError, Result};
use crate::id::BackupId;

const MAX_METADATA: u64 = 16 << 20;
const MAX_ALIAS: u64 = 4096;
/// VMs, and restore points of one VM.
const MAX_ENTRIES: usize = 100_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    mode: String,
    timestamp: u64,
    #[serde(default)]
    vhds: BTreeMap<String, String>,
    #[serde(default)]
    vdis: BTreeMap<String, Vdi>,
    vm: Vm,
}

#[derive(Debug, Deserialize)]
struct Vdi {
    #[serde(default)]
    name_label: String,
    #[serde(default)]
    uuid: String,
}

#[derive(Debug, Deserialize)]
struct Vm {
    uuid: String,
    #[serde(default)]
    name_label: String,
}

/// A restore point of the old repository.
#[derive(Debug, Clone)]
pub struct OldBackup {
    pub vm: String,
    pub vm_uuid: String,
    /// Milliseconds since 1970.
    pub created: u64,
    pub disks: Vec<OldDisk>,
    /// Why its disks cannot be imported, when they cannot.
    pub unusable: Option<String>,
    /// The JSON itself, kept with the backup.
    pub metadata: String,
}

#[derive(Debug, Clone)]
pub struct OldDisk {
    pub label: String,
    pub uuid: String,
    /// The VHD, aliases followed.
    pub vhd: PathBuf,
}

impl OldBackup {
    /// An id that is the same each time the same restore point is met.
    #[must_use]
    pub fn origin(&self) -> BackupId {
        let hash = blake3::hash(format!("xo:{}:{}", self.vm_uuid, self.created).as_bytes());
        let mut id = [0; 16];
        id[..6].copy_from_slice(&self.created.to_be_bytes()[2..]);
        id[6..].copy_from_slice(&hash.as_bytes()[..10]);
        BackupId(id)
    }
}

/// Finds all restore points below `root`, oldest first, and what could not be understood.
pub fn scan(root: &Path) -> Result<(Vec<OldBackup>, Vec<String>)> {
    if root.join("encryption.json").exists() && is_encrypted(&root.join("encryption.json")) {
        let text =
            "this repository is encrypted by Xen Orchestra; let it copy the backups to one that is not";
        return Err(BackupError::Invalid(text.to_owned()));
    }
    let vms = root.join("xo-vm-backups");
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for vm in entries(&vms)? {
        if !vm.is_dir() {
            continue;
        }
        for file in entries(&vm)? {
            let is_json = file.extension().is_some_and(|ending| ending == "json");
            if !is_json || file.file_name().is_some_and(|name| name == "cache.json") {
                continue;
            }
            match read(root, &file) {
                Ok(backup) => found.push(backup),
                Err(why) => problems.push(format!("{}: {why}", file.display())),
            }
        }
    }
    found.sort_by(|a, b| (a.created, &a.vm_uuid).cmp(&(b.created, &b.vm_uuid)));
    Ok((found, problems))
}

fn is_encrypted(path: &Path) -> bool {
    let algorithm = read_limited(path, MAX_ALIAS)
        .ok()
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .and_then(|value| value.get("algorithm").and_then(|a| a.as_str().map(str::to_owned)));
    algorithm.is_none_or(|algorithm| algorithm != "none")
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| {
        BackupError::Block(xenith_common_block::BlockError::Io {
            action: "list",
            target: folder.display().to_string(),
            offset: 0,
            source,
        })
    };
    let listed = std::fs::read_dir(folder).map_err(failed)?.take(MAX_ENTRIES);
    let mut paths =
        listed.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn read(root: &Path, file: &Path) -> Result<OldBackup, String> {
    let text = read_limited(file, MAX_METADATA).map_err(|error| error.to_string())?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let folder = file.parent().unwrap_or(root);
    let unusable = (metadata.mode != "delta").then(|| {
        format!(
            "it is a full export ({}), not VHDs; restore it with Xen Orchestra or xe vm-import",
            metadata.mode
        )
    });
    let mut disks = Vec::new();
    for (key, relative) in &metadata.vhds {
        let vdi = metadata.vdis.get(key);
        disks.push(OldDisk {
            label: vdi
                .map(|vdi| vdi.name_label.clone())
                .filter(|label| !label.is_empty())
                .unwrap_or_default(),
            uuid: vdi
                .map(|vdi| vdi.uuid.clone())
                .filter(|uuid| !uuid.is_empty())
                .unwrap_or_else(|| key.clone()),
            vhd: follow(root, &within(root, folder, relative)?)?,
        });
    }
    Ok(OldBackup {
        vm: metadata.vm.name_label,
        vm_uuid: metadata.vm.uuid,
        created: metadata.timestamp,
        unusable: unusable.or_else(|| disks.is_empty().then(|| "it has no disks".to_owned())),
        disks,
        metadata: String::from_utf8_lossy(&text).into_owned(),
    })
}

/// `relative` as seen from `folder`; a leading `/` means the repository's root. Refuses to leave `root`.
pub(super) fn within(root: &Path, folder: &Path, relative: &str) -> Result<PathBuf, String> {
    let start = if relative.starts_with('/') { root } else { folder };
    let mut inside: PathBuf = start.strip_prefix(root).map_err(|_| "it lies outside".to_owned())?.to_owned();
    for part in Path::new(relative.trim_start_matches('/')).components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir if inside.pop() => {}
            _ => return Err(format!("it names {relative:?}, which lies outside the repository")),
        }
    }
    let path = root.join(inside);
    // Links in the old repository must not lead out of it either.
    let real = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
    let real_root = root.canonicalize().map_err(|error| error.to_string())?;
    if real.starts_with(real_root) {
        Ok(path)
    } else {
        Err(format!("{} leads out of the repository", path.display()))
    }
}

/// The VHD an alias stands for, or the path itself.
fn follow(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let is_alias = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".alias.vhd"));
    if !is_alias {
        return Ok(path.to_owned());
    }
    let text = read_limited(path, MAX_ALIAS).map_err(|error| format!("{}: {error}", path.display()))?;
    let target = String::from_utf8(text).map_err(|_| format!("{} is no alias", path.display()))?;
    within(root, path.parent().unwrap_or(root), target.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("xo-vm-backups/vm");
        std::fs::create_dir_all(folder.join("vdis")).unwrap();
        std::os::unix::fs::symlink("/", folder.join("out")).unwrap();
        for bad in ["../../../x", "out/etc/passwd", "/../x", "missing"] {
            assert!(within(root.path(), &folder, bad).is_err(), "{bad}");
        }
        for good in ["vdis", "/xo-vm-backups/vm", "../vm/vdis", "./vdis"] {
            assert!(within(root.path(), &folder, good).is_ok(), "{good}");
        }
    }
}
