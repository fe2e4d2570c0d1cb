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
use xenith_hypervisor_agent_types::backup::BackupReply;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::repository::{Access, ensure_stays, lift, open, restorer};
use super::{Running, fault};
use crate::disk::Storage;

pub(super) fn restore(
    storage: &Storage,
    access: &Access<'_>,
    (backup, disk): (&str, &str),
    vdi: VdiId,
    running: &Running,
) -> Result<BackupReply, Fault> {
    let repo = open(access)?;
    let opened = open_held(&repo, (backup, disk), restorer(vdi));
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
/// before it is there. Dropped without being lifted it stays, as after a kill: the same restore asked for again lifts it, and
/// where its task asks no more the orchestrator does ([`BackupCommand::LiftRestore`]).
///
/// [`BackupCommand::LiftRestore`]: xenith_hypervisor_agent_types::backup::BackupCommand::LiftRestore
struct Held {
    repo: Repository,
    backup: BackupId,
    holder: String,
}

impl Held {
    fn lift(self) {
        lift(&self.repo, &self.backup, &self.holder);
    }
}

/// The disk, held. The hold comes before the look at what is being forgotten; that an earlier try left it says that it
/// was not forgotten then, as a try that ends before the disk is written leaves none.
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
    let stays = if begun { Ok(()) } else { ensure_stays(repo, &found.id, &what) };
    match stays.and_then(|()| Index::load(repo)) {
        Ok(index) => Ok((BackupDisk::new(repo, Arc::new(index), record), held)),
        Err(error) => {
            if !begun || !error.is_retryable() {
                held.lift();
            }
            Err(error)
        }
    }
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
    use std::sync::atomic::AtomicBool;

    use xenith_backup::chunk::Chunking;
    use xenith_backup::forward_store;
    use xenith_backup::gc::{self, Outcome};
    use xenith_backup::ingest::{self, Changes, DiskJob, Options, Progress};
    use xenith_backup::keys::{Credential, KdfCost, Keyring};
    use xenith_backup::store::{MemoryStore, ObjectInfo, ObjectStore, StoreError};
    use xenith_common_block::MemorySource;

    use super::*;

    /// A repository with a backup.
    fn made(store: Arc<dyn ObjectStore>) -> (Repository, BackupId) {
        let (ring, key) = (Keyring::create(Chunking::default()), Credential::Passphrase("pass".to_owned()));
        let repo = Repository::init(store, &ring, &key, KdfCost::CHEAP).unwrap();
        let source = MemorySource::new(vec![7; 8192]);
        let changed = Changes::Unknown { because: "it is the first".to_owned() };
        let job = DiskJob { name: "web".to_owned(), source: &source, changed };
        let made = ingest::backup(&repo, vec![job], &Options::default(), &Progress::default()).unwrap();
        (repo, made.id)
    }

    /// A store that does not answer the next time that plans are looked for, when it is told so.
    struct Away {
        inner: MemoryStore,
        away: AtomicBool,
    }

    impl ObjectStore for Away {
        forward_store!(self => self.inner; create read_range size delete describe);

        fn list_each(
            &self,
            prefix: &str,
            take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
        ) -> Result<(), StoreError> {
            if prefix == "plans/" && self.away.swap(false, Ordering::Relaxed) {
                let source = std::io::ErrorKind::TimedOut.into();
                return Err(StoreError::Unavailable { action: "list", key: prefix.to_owned(), source });
            }
            self.inner.list_each(prefix, take)
        }
    }

    /// The next one would take it for a sign that nobody forgets the backup.
    #[test]
    fn a_try_that_did_not_see_what_is_forgotten_leaves_no_hold() {
        let store = Arc::new(Away { inner: MemoryStore::new(), away: AtomicBool::new(false) });
        let (repo, backup) = made(store.clone());
        let id = backup.to_string();
        let held = || open_held(&repo, (id.as_str(), "web"), "restore-1".to_owned());
        let plan = gc::propose(&repo, vec![backup]).unwrap().plan;
        gc::publish(&repo, &plan).unwrap();
        store.away.store(true, Ordering::Relaxed);
        assert!(held().is_err_and(|error| error.is_retryable()));
        assert_eq!(hold::list(&repo).unwrap(), []);
        assert!(matches!(held(), Err(BackupError::NotFound { .. })));
        assert_eq!(hold::list(&repo).unwrap(), []);
    }

    #[test]
    fn what_is_being_restored_is_not_forgotten_and_what_is_being_forgotten_not_restored() {
        let (repo, backup) = made(Arc::new(MemoryStore::new()));
        let id = backup.to_string();
        let held = |holder: &str| open_held(&repo, (id.as_str(), "web"), holder.to_owned());

        // A collector that looked at the holds before ours was there.
        let plan = gc::propose(&repo, vec![backup]).unwrap().plan;
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
