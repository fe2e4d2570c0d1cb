//! What the VDIs of standby VMs hold: for each, the backups that its blocks are of.
//!
//! ```text
//!            rewind, or all written        begin            all written
//! unknown ──────────────────────────> {A} ───────> {A, B} ─────────────> {B}
//!    ^                                 |              |
//!    '──── anybody else writes it ─────┴──────────────'
//! ```
//!
//! What always holds: a mark says of every block that it is as in one of these backups. So the mark is widened before
//! the first block is written, narrowed after the last one is durable, and gone before a domain or anybody else gets the
//! VDI. Killed anywhere, it is still true. It lies with the agent and not with the orchestrator: one that was restored
//! from a backup would remember an older mark, and write too little.
//!
//! One file per VDI, `state/standby/VDI.json`; without one, or with one that cannot be read, nothing is known.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_storage::is_full;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

/// A disk of a backup. Ids of backups are never given twice, in whatever repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub backup: String,
    pub disk: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    held: Vec<Point>,
}

/// The folder. All clones are one; who works on a VDI holds it, so that a mark has one writer.
#[derive(Debug, Clone)]
pub struct Marks {
    folder: PathBuf,
}

fn fault(what: &str, path: &Path, error: &io::Error) -> Fault {
    let reason = if is_full(error) { FaultReason::StorageFull } else { FaultReason::Internal };
    Fault::new(reason, format_args!("cannot {what} {}: {error}", path.display()))
}

impl Marks {
    pub fn open(state: &Path) -> Result<Self, Fault> {
        let folder = state.join("standby");
        fs::create_dir_all(&folder).map_err(|error| fault("create", &folder, &error))?;
        Ok(Self { folder })
    }

    fn path(&self, vdi: VdiId) -> PathBuf {
        self.folder.join(format!("{vdi}.json"))
    }

    /// Empty: nothing is known.
    #[must_use]
    pub fn of(&self, vdi: VdiId) -> Vec<Point> {
        let path = self.path(vdi);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a mark cannot be read; the disk is written whole");
                return Vec::new();
            }
        };
        serde_json::from_slice::<Mark>(&bytes).map(|mark| mark.held).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "a mark is damaged; the disk is written whole");
            Vec::new()
        })
    }

    /// Durable when it returns.
    pub fn set(&self, vdi: VdiId, held: &[Point]) -> Result<(), Fault> {
        let path = self.path(vdi);
        let bytes = serde_json::to_vec(&Mark { held: held.to_vec() }).expect("a mark is plain data");
        xenith_common_files::replace(&path, &bytes).map_err(|error| fault("write", &path, &error))
    }

    /// Durable when it returns: whoever writes the VDI from now on makes no mark wrong.
    pub fn forget(&self, vdi: VdiId) -> Result<(), Fault> {
        let path = self.path(vdi);
        xenith_common_files::remove(&path).map_err(|error| fault("remove", &path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_kept_and_damage_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let (marks, vdi) = (Marks::open(folder.path()).unwrap(), VdiId::new());
        let point = |backup: &str| Point { backup: backup.to_owned(), disk: "d".to_owned() };
        assert_eq!(marks.of(vdi), []);
        marks.set(vdi, &[point("a"), point("b")]).unwrap();
        let again = Marks::open(folder.path()).unwrap();
        assert_eq!(again.of(vdi), [point("a"), point("b")]);
        fs::write(marks.path(vdi), "{\"held\": [{\"back").unwrap();
        assert_eq!(marks.of(vdi), []);
        marks.forget(vdi).unwrap();
        marks.forget(vdi).unwrap();
        assert_eq!(again.of(vdi), []);
    }
}
