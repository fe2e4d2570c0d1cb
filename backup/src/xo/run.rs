//! The import itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use xenith_common_block::{BlockError, BlockSource};

use super::metadata::{OldBackup, OldDisk, scan};
use super::{Chain, Vhd};
use crate::error::{BackupError, Result, chain};
use crate::gc;
use crate::id::BackupId;
use crate::ingest::{Changes, DiskJob, Options, Progress, backup};
use crate::manifest::{self, Attachment, Manifest};
use crate::repo::Repository;

/// Longest chain that is followed.
const MAX_CHAIN: usize = 1000;

/// What became of one restore point.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    Imported {
        vm: String,
        created: u64,
        backup: BackupId,
        read: u64,
        stored: u64,
    },
    /// It was imported before.
    Present {
        vm: String,
        created: u64,
        backup: BackupId,
    },
    Failed {
        vm: String,
        created: u64,
        why: String,
    },
    /// Its metadata could not be read.
    Unreadable {
        why: String,
    },
}

/// Imports everything below `root` that `repo` lacks, oldest first. `told` hears of each restore point. A
/// restore point that cannot be read is reported and stops nothing; a failing target repository stops all.
pub fn import(
    repo: &Repository,
    root: &Path,
    (options, progress): (&Options, &Progress),
    told: &mut dyn FnMut(&Outcome),
) -> Result<Vec<Outcome>> {
    let (found, problems) = scan(root)?;
    let (there, _) = gc::visible(repo)?;
    let names = disk_names(&found, names_before(&found, &there));
    let mut outcomes = Vec::new();
    let mut tell = |outcome: Outcome| {
        told(&outcome);
        outcomes.push(outcome);
    };
    for why in problems {
        tell(Outcome::Unreadable { why });
    }
    let mut library = Library::default();
    for old in &found {
        let (vm, created) = (old.vm.clone(), old.created);
        let outcome = match import_one(repo, old, (&names, &mut library), (options, progress)) {
            Ok(Step::Present(backup)) => Outcome::Present { vm, created, backup },
            Ok(Step::Imported(manifest)) => Outcome::Imported {
                vm,
                created,
                backup: manifest.id,
                read: manifest.disks.iter().map(|disk| disk.stats.read).sum(),
                stored: manifest.disks.iter().map(|disk| disk.stats.stored).sum(),
            },
            Err(BackupError::Block(error)) if !matches!(error, BlockError::Cancelled) => {
                Outcome::Failed { vm, created, why: chain(&error) }
            }
            Err(BackupError::Invalid(why)) => Outcome::Failed { vm, created, why },
            Err(error) => return Err(error),
        };
        tell(outcome);
    }
    Ok(outcomes)
}

enum Step {
    Present(BackupId),
    Imported(Box<Manifest>),
}

fn import_one(
    repo: &Repository,
    old: &OldBackup,
    (names, library): (&BTreeMap<String, String>, &mut Library),
    (options, progress): (&Options, &Progress),
) -> Result<Step> {
    let (there, _) = gc::visible(repo)?;
    if let Some(manifest) = there.iter().find(|manifest| manifest.origin == Some(old.origin())) {
        library.note(old);
        return Ok(Step::Present(manifest.id));
    }
    if let Some(why) = &old.unusable {
        return Err(BackupError::Invalid(why.clone()));
    }
    let mut chains: Vec<(String, Chain)> = Vec::new();
    for disk in &old.disks {
        chains.push((names[&key(old, disk)].clone(), library.chain(&disk.vhd)?));
    }
    let jobs = chains
        .iter()
        .map(|(name, chain)| {
            // By number, as the backup itself looks; and by name, as another one may be the newest by then.
            let newest = manifest::newest(&there, name).map(|(manifest, _)| manifest);
            let parent = chain.parent().and_then(|id| library.imported(&id));
            let base = newest.filter(|newest| parent.is_some() && newest.origin == parent);
            let changed = match base {
                None => Changes::Unknown { because: "the newest backup is not of its parent".to_owned() },
                Some(base) => Changes::Since { ranges: chain.changed(), base: Some(base.id) },
            };
            DiskJob { name: name.clone(), source: chain as &dyn BlockSource, changed }
        })
        .collect();
    let options = Options {
        attachments: vec![Attachment { name: "xen-orchestra.json".to_owned(), text: attachment(old) }],
        copy_of: Some((old.origin(), old.created)),
        ..options.clone()
    };
    let manifest = backup(repo, jobs, &options, progress)?;
    library.note(old);
    Ok(Step::Imported(Box::new(manifest)))
}

/// Kept whole where a manifest has room for it.
fn attachment(old: &OldBackup) -> String {
    const ROOM: usize = 1 << 20;
    if old.metadata.len() <= ROOM {
        return old.metadata.clone();
    }
    format!(
        "{{\"vm\":{{\"uuid\":{:?}}},\"note\":\"the original has {} bytes\"}}",
        old.vm_uuid,
        old.metadata.len()
    )
}

fn key(old: &OldBackup, disk: &OldDisk) -> String {
    format!("{}/{}", old.vm_uuid, disk.uuid)
}

/// What disks were called when their restore points were imported before.
fn names_before(found: &[OldBackup], there: &[Manifest]) -> BTreeMap<String, String> {
    let imported: HashMap<BackupId, &Manifest> =
        there.iter().filter_map(|manifest| Some((manifest.origin?, manifest))).collect();
    let mut names = BTreeMap::new();
    // Oldest first: the latest name counts.
    for old in found {
        let Some(manifest) = imported.get(&old.origin()) else { continue };
        if manifest.disks.len() == old.disks.len() {
            let named = old.disks.iter().zip(&manifest.disks);
            names.extend(named.map(|(disk, record)| (key(old, disk), record.name.clone())));
        }
    }
    names
}

/// The name of each disk, the same for all its restore points: the one that it has, or its label as it was last, made
/// unique. Two VMs may be called the same: one that comes later must not get the name of the other, and with it the other's
/// place in every rule.
fn disk_names(found: &[OldBackup], mut names: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let plain = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_control() || matches!(c, '@' | '=' | ',') { '-' } else { c })
            .take(90)
            .collect()
    };
    let mut vms: BTreeMap<&str, &str> = BTreeMap::new();
    let mut labels: BTreeMap<String, (String, String)> = BTreeMap::new();
    for old in found {
        vms.insert(&old.vm_uuid, &old.vm);
        for disk in &old.disks {
            let label = if disk.label.is_empty() { "disk" } else { &disk.label };
            labels.insert(key(old, disk), (old.vm_uuid.clone(), plain(label)));
        }
    }
    let mut taken: HashSet<String> = names.values().cloned().collect();
    let mut used: HashMap<String, usize> = HashMap::new();
    for (key, (vm, label)) in labels {
        if names.contains_key(&key) {
            continue;
        }
        let base = format!("{}.{label}", plain(vms.get(vm.as_str()).copied().unwrap_or("vm")));
        let count = used.entry(base.clone()).or_default();
        let name = loop {
            *count += 1;
            let name = if *count == 1 { base.clone() } else { format!("{base}.{count}") };
            if taken.insert(name.clone()) {
                break name;
            }
        };
        names.insert(key, name);
    }
    names
}

/// VHDs met so far, by place and by id.
#[derive(Default)]
struct Library {
    opened: HashMap<PathBuf, Arc<Vhd>>,
    /// Folders that were searched for parents.
    searched: Vec<PathBuf>,
    by_id: HashMap<[u8; 16], PathBuf>,
    /// The restore point that a VHD is the youngest of.
    imported: HashMap<[u8; 16], BackupId>,
}

impl Library {
    fn open(&mut self, path: &Path) -> Result<Arc<Vhd>, BlockError> {
        if let Some(vhd) = self.opened.get(path) {
            return Ok(Arc::clone(vhd));
        }
        // Each keeps a file open and its table in memory.
        if self.opened.len() >= 2 * MAX_CHAIN {
            self.opened.clear();
        }
        let vhd = Arc::new(Vhd::open(path)?);
        self.by_id.insert(vhd.uuid(), path.to_owned());
        self.opened.insert(path.to_owned(), Arc::clone(&vhd));
        Ok(vhd)
    }

    fn note(&mut self, old: &OldBackup) {
        for disk in &old.disks {
            if let Ok(vhd) = self.open(&disk.vhd) {
                self.imported.insert(vhd.uuid(), old.origin());
            }
        }
    }

    fn imported(&self, id: &[u8; 16]) -> Option<BackupId> {
        self.imported.get(id).copied()
    }

    fn chain(&mut self, path: &Path) -> Result<Chain, BlockError> {
        let mut layers = vec![self.open(path)?];
        while let Some(id) = layers[layers.len() - 1].parent() {
            let child = layers[layers.len() - 1].name().to_owned();
            let corrupt = |detail: String| BlockError::Corrupt { target: child.clone(), detail };
            if layers.len() >= MAX_CHAIN {
                return Err(corrupt(format!("its chain has more than {MAX_CHAIN} members")));
            }
            let parent = self.find(&id, path).ok_or_else(|| {
                let name = layers[layers.len() - 1].parent_name().to_owned();
                corrupt(format!("its parent {name:?} is missing, and what it holds with it"))
            })?;
            layers.push(self.open(&parent)?);
        }
        Chain::new(layers)
    }

    /// The VHD with this id: the names inside VHDs go stale, ids do not.
    fn find(&mut self, id: &[u8; 16], near: &Path) -> Option<PathBuf> {
        if let Some(path) = self.by_id.get(id) {
            return Some(path.clone());
        }
        let folder = near.parent()?.to_owned();
        if !self.searched.contains(&folder) {
            for entry in std::fs::read_dir(&folder).ok()?.take(MAX_CHAIN * 10).flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".vhd") && !name.ends_with(".alias.vhd") && !name.starts_with('.') {
                    // One that cannot be opened is nobody's parent.
                    let _unreadable = self.open(&path);
                }
            }
            self.searched.push(folder);
        }
        self.by_id.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(vm_uuid: &str, created: u64) -> OldBackup {
        let disk = OldDisk { label: "system".to_owned(), uuid: "disk".to_owned(), vhd: PathBuf::new() };
        OldBackup {
            vm: "web".to_owned(),
            vm_uuid: vm_uuid.to_owned(),
            created,
            disks: vec![disk],
            unusable: None,
            metadata: String::new(),
        }
    }

    #[test]
    fn a_vm_of_the_same_name_does_not_get_the_name_of_what_is_there() {
        let first = [old("b", 1)];
        let before = disk_names(&first, BTreeMap::new());
        assert_eq!(before["b/disk"], "web.system");
        // Its id comes first, and it has the same label.
        let both = [old("b", 1), old("a", 2), old("c", 3)];
        let names = disk_names(&both, before);
        assert_eq!(
            (&*names["b/disk"], &*names["a/disk"], &*names["c/disk"]),
            ("web.system", "web.system.2", "web.system.3")
        );
    }
}
