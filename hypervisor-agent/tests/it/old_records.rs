//! Journals that earlier agents wrote: today's reads every record in them, and loses nothing of it.
//!
//! A folder in `tests/fixtures/journal` is what an agent has in its state folder. `first` is what the first version of
//! these records looked like, taken from its types; the others are named after the day.
//!
//! Write a new one down, with records that have what is new, before a release with a record that has changed: a field,
//! a variant, or anything in a definition, which is kept whole. A test here fails when a field is in none of them. What
//! is here is never changed: it is on somebody's disk. An agent that cannot read a record leaves its VM alone and says
//! so; after an upgrade that would be every VM of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xenith_hypervisor_agent::journal::Journal;

use crate::lost::lost;

/// Each with its name, in the order of their names.
fn fixtures() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal");
    let named = |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), path);
    let mut found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| named(entry.unwrap().path())).collect();
    found.sort();
    assert!(found.len() >= 2, "{found:?}");
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The records of VMs, by the names of their files.
fn vms(folder: &Path) -> BTreeMap<String, Value> {
    let read = |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), json(&path));
    fs::read_dir(folder.join("vms")).unwrap().map(|entry| read(entry.unwrap().path())).collect()
}

/// A journal of one's own with the same files.
fn copied(folder: &Path, to: &Path) -> Journal {
    let journal = Journal::open(to).unwrap();
    fs::copy(folder.join("host.json"), to.join("host.json")).unwrap();
    for name in vms(folder).keys() {
        fs::copy(folder.join("vms").join(name), to.join("vms").join(name)).unwrap();
    }
    journal
}

/// Where the fields of a record are, whichever element of a list they are in.
fn fields(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let at = format!("{at}.{name}");
                fields(value, &at, found);
                found.insert(at);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, &format!("{at}[]"), found)),
        _ => {}
    }
}

#[test]
fn what_earlier_agents_wrote_is_read_whole() {
    let (mut written, mut known) = (BTreeSet::new(), BTreeSet::new());
    for (name, folder) in fixtures() {
        let state = tempfile::tempdir().unwrap();
        let journal = copied(&folder, state.path());
        let mut left = vms(&folder);
        let mut gone = Vec::new();
        let (records, broken) = journal.load().unwrap();
        assert!(broken.is_empty(), "{name}: {broken:?}");
        for record in &records {
            let before = left.remove(&format!("{}.json", record.vm)).unwrap();
            let after = serde_json::to_value(record).unwrap();
            lost(&before, &after, &record.vm.to_string(), &mut gone);
            fields(&before, "vm", &mut written);
            fields(&after, "vm", &mut known);
        }
        let (before, after) = (json(&folder.join("host.json")), journal.load_host().unwrap().unwrap());
        let after = serde_json::to_value(after).unwrap();
        lost(&before, &after, "host", &mut gone);
        fields(&before, "host", &mut written);
        fields(&after, "host", &mut known);
        assert_eq!(gone, [""; 0], "{name}: renamed, or of another form");
        assert!(left.is_empty(), "{name}: not read were {:?}", left.keys());
    }
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "no fixture has {missing:?}; write a new one down");
}

/// As it does when anything happens to the VM.
#[test]
fn what_was_read_is_written_and_read_again() {
    for (name, folder) in fixtures() {
        let state = tempfile::tempdir().unwrap();
        let journal = copied(&folder, state.path());
        let (records, _) = journal.load().unwrap();
        records.iter().for_each(|record| journal.save(record).unwrap());
        let host = journal.load_host().unwrap().unwrap();
        journal.save_host(&host).unwrap();
        let (again, broken) = journal.load().unwrap();
        assert!(broken.is_empty(), "{name}: {broken:?}");
        assert_eq!(again, records, "{name}");
        assert_eq!(journal.load_host().unwrap().unwrap().epoch, host.epoch, "{name}");
    }
}
