//! One disk of a backup into a VDI of this host.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use xenith_backup::error::chain;
use xenith_backup::id::BackupId;
use xenith_backup::index::Index;
use xenith_backup::reader::BackupDisk;
use xenith_backup::restore::Target;
use xenith_backup::{BackupError, Repository, hold, manifest};
use xenith_common_block::{BlockSink, BlockSource, ByteRange};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::backup::{BackupReply, RepositoryAccess};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::repository::{is_going, open};
use super::{Running, fault};
use crate::disk::Storage;

pub(super) fn restore(
    storage: &Storage,
    access: &RepositoryAccess,
    (backup, disk): (&str, &str),
    vdi: VdiId,
    running: &Running,
) -> Result<BackupReply, Fault> {
    let repo = open(access)?;
    let opened = open_held(&repo, (backup, disk), format!("restore-{vdi}"));
    let (disk, held) = opened.map_err(|error| fault(&error))?;
    running.restore_total.store(disk.size(), Ordering::Relaxed);
    let restored = storage.open_sink(vdi).and_then(|sink| write_whole(&disk, (vdi, &*sink), running));
    // Who asks again finds the hold, and goes on from a backup that is there.
    if !restored.as_ref().is_err_and(|fault| fault.reason == FaultReason::NotReady) {
        held.lift();
    }
    restored?;
    Ok(BackupReply::Restored { written: running.restore.written.load(Ordering::Relaxed) })
}

/// A hold on a backup for as long as it is read: what the disk held before is gone, so that what it is to hold must not go
/// before it is there. Dropped without being lifted it stays, as after a kill.
struct Held {
    repo: Repository,
    backup: BackupId,
    holder: String,
}

impl Held {
    fn lift(self) {
        if let Err(error) = hold::lift_for(&self.repo, &self.backup, &self.holder) {
            tracing::warn!(error = chain(&error), backup = %self.backup, "the hold on the backup stays");
        }
    }
}

/// The disk, held. The hold comes before the look at what is being forgotten; that an earlier try placed it says that it
/// was not forgotten then.
fn open_held(
    repo: &Repository,
    (backup, disk): (&str, &str),
    holder: String,
) -> Result<(BackupDisk, Held), BackupError> {
    let what = format!("{disk}@{backup}");
    let (all, _) = manifest::list(repo)?;
    let (found, record) = manifest::find(&all, &what)?;
    let begun = hold::holders(repo, &found.id)?.contains(&holder);
    if let Err(error) = hold::place_for(repo, &found.id, &holder) {
        // A store that only reads is no reason to restore nothing.
        tracing::warn!(error = chain(&error), %what, "it is restored without a hold: do not prune meanwhile");
    }
    let held = Held { repo: repo.clone(), backup: found.id, holder };
    if !begun && is_going(repo, &found.id)? {
        held.lift();
        return Err(BackupError::NotFound { what: format!("a backup {what}") });
    }
    Ok((BackupDisk::new(repo, Arc::new(Index::load(repo)?), record), held))
}

pub(super) fn check_room(disk: &BackupDisk, (vdi, sink): (VdiId, &dyn BlockSink)) -> Result<(), Fault> {
    if sink.size() < disk.size() {
        let refusal =
            format_args!("VDI {vdi} has {} bytes, the disk in the backup {}", sink.size(), disk.size());
        return Err(Fault::new(FaultReason::Invalid, refusal));
    }
    Ok(())
}

pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(8)
}

/// All of the disk, and zeros behind it.
pub(super) fn write_whole(
    disk: &BackupDisk,
    (vdi, sink): (VdiId, &dyn BlockSink),
    running: &Running,
) -> Result<(), Fault> {
    check_room(disk, (vdi, sink))?;
    // An earlier try may have left anything there, so zeros are written too.
    xenith_backup::restore::restore(disk, sink, Target::Used, workers(), &running.restore)
        .map_err(|error| fault(&error))?;
    let rest = ByteRange::new(disk.size(), sink.size());
    if !rest.is_empty() {
        let failed = |error| fault(&xenith_backup::BackupError::Block(error));
        sink.zero(rest).and_then(|()| sink.flush()).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use xenith_backup::chunk::Chunking;
    use xenith_backup::gc::{self, Outcome};
    use xenith_backup::ingest::{self, Changes, DiskJob, Options, Progress};
    use xenith_backup::keys::{Credential, KdfCost, Keyring};
    use xenith_backup::store::MemoryStore;
    use xenith_common_block::MemorySource;

    use super::*;

    #[test]
    fn what_is_being_restored_is_not_forgotten_and_what_is_being_forgotten_not_restored() {
        let (store, key) = (Arc::new(MemoryStore::new()), Credential::Passphrase("pass".to_owned()));
        let ring = Keyring::create(Chunking::default());
        let repo = Repository::init(store, &ring, &key, KdfCost::CHEAP).unwrap();
        let source = MemorySource::new(vec![7; 8192]);
        let changed = Changes::Unknown { because: "it is the first".to_owned() };
        let job = DiskJob { name: "web".to_owned(), source: &source, changed };
        let made = ingest::backup(&repo, vec![job], &Options::default(), &Progress::default()).unwrap();
        let id = made.id.to_string();
        let held = |holder: &str| open_held(&repo, (id.as_str(), "web"), holder.to_owned());

        // A collector that looked at the holds before ours was there.
        let plan = gc::propose(&repo, vec![made.id]).unwrap().plan;
        let (_, first) = held("restore-1").unwrap();
        gc::publish(&repo, &plan).unwrap();
        drop(first);
        let (disk, again) = held("restore-1").unwrap();
        assert!(matches!(held("restore-2"), Err(BackupError::NotFound { .. })), "nothing new begins");
        let outcome = gc::carry_out(&repo, &plan, plan.created, 0).unwrap();
        assert!(matches!(outcome, Outcome::Done { forgotten: 0, .. }), "{outcome:?}");
        let mut bytes = [0; 8192];
        disk.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 8192]);
        again.lift();
        assert_eq!(hold::list(&repo).unwrap(), []);
    }
}
