//! Whether changed-block tracking is believed.
//!
//! What always holds: any doubt is answered by a pass that compares both sides, never by leaving something out. A change
//! id is `tracker/number`: the tracker is another one after tracking began anew, and the number grows with each snapshot: one that did not grow is of a disk that went
//! back.

use serde::{Deserialize, Serialize};

use super::areas::SnapshotDisk;

/// What is known of a disk since the pass before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DiskState {
    pub key: u64,
    pub capacity: u64,
    pub change_id: Option<String>,
    /// `[datastore] folder`; empty where an earlier version wrote it.
    #[serde(default)]
    pub place: String,
}

impl From<&SnapshotDisk> for DiskState {
    fn from(disk: &SnapshotDisk) -> Self {
        let place = place(&disk.path).to_owned();
        Self { key: disk.key, capacity: disk.capacity, change_id: disk.change_id.clone(), place }
    }
}

/// The folder: the file's own name changes with every snapshot that somebody takes.
fn place(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(folder, _)| folder)
}

/// Why what was changed since `before` cannot be asked for.
pub(super) fn doubt(before: &DiskState, disk: &SnapshotDisk) -> Option<&'static str> {
    if disk.independent {
        return Some(INDEPENDENT);
    }
    if before.capacity != disk.capacity {
        return Some("the disk has another size");
    }
    let (Some(old), Some(new)) = (before.change_id.as_deref(), disk.change_id.as_deref()) else {
        return Some("changed-block tracking is off");
    };
    let (old_tracker, old) = old.rsplit_once('/').unwrap_or((old, ""));
    let (new_tracker, new) = new.rsplit_once('/').unwrap_or((new, ""));
    if old_tracker != new_tracker {
        return Some("changed-block tracking began anew");
    }
    match (old.parse::<u64>(), new.parse::<u64>()) {
        // The same is said of a snapshot that was reverted to, and taken again: no other has the number of the one before.
        (Ok(old), Ok(new)) if new <= old => {
            return Some("the disk went back to an older state: its source was reverted to a snapshot");
        }
        (Ok(_), Ok(_)) => {}
        _ => return Some("the change id is not of a kind that is known"),
    }
    let moved = !before.place.is_empty() && before.place != place(&disk.path);
    moved.then_some("the disk was moved to another place")
}

/// Why nothing is asked of tracking for such a disk.
pub(super) const INDEPENDENT: &str = "no snapshot holds an independent disk";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_doubt_is_told() {
        let disk = |id: Option<&str>, path: &str, capacity| SnapshotDisk {
            key: 2000,
            capacity,
            path: path.to_owned(),
            change_id: id.map(ToOwned::to_owned),
            slot: String::new(),
            independent: false,
        };
        let sound = || disk(Some("52 ab/7"), "[fast] web/web.vmdk", 1024);
        let table: [(&str, SnapshotDisk, Option<&str>); 10] = [
            ("reverted to the snapshot before ours", sound(), Some("reverted")),
            ("a later one", disk(Some("52 ab/8"), "[fast] web/web.vmdk", 1024), None),
            ("a backup's snapshot stands", disk(Some("52 ab/10"), "[fast] web/web-000001.vmdk", 1024), None),
            ("grown", disk(Some("52 ab/8"), "[fast] web/web.vmdk", 2048), Some("size")),
            ("switched off", disk(None, "[fast] web/web.vmdk", 1024), Some("off")),
            ("another tracker", disk(Some("52 ac/8"), "[fast] web/web.vmdk", 1024), Some("anew")),
            ("reverted", disk(Some("52 ab/6"), "[fast] web/web.vmdk", 1024), Some("reverted")),
            ("another kind of id", disk(Some("52 ab"), "[fast] web/web.vmdk", 1024), Some("kind")),
            ("no number", disk(Some("52 ab/x"), "[fast] web/web.vmdk", 1024), Some("kind")),
            ("moved", disk(Some("52 ab/8"), "[slow] web/web.vmdk", 1024), Some("moved")),
        ];
        let before = DiskState::from(&sound());
        for (name, now, expected) in table {
            let found = doubt(&before, &now);
            assert!(found.is_some() == expected.is_some(), "{name}: {found:?}");
            assert!(
                expected.is_none_or(|word| found.is_some_and(|text| text.contains(word))),
                "{name}: {found:?}"
            );
        }
        let independent = SnapshotDisk { independent: true, ..sound() };
        assert_eq!(doubt(&before, &independent), Some(INDEPENDENT));
        // As an earlier version has written it.
        let old: DiskState =
            serde_json::from_str(r#"{"key":2000,"capacity":1024,"change_id":"52 ab/7"}"#).unwrap();
        assert_eq!(doubt(&old, &disk(Some("52 ab/8"), "[slow] web/web.vmdk", 1024)), None);
    }
}
