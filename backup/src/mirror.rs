//! Mirrors: a second repository that the packs of a first one are moved to, as they are.
//!
//! A mirror is made from its source, so that both name chunks alike; else it has keys of its own. What the mirror lacks of a
//! backup is found by ids, and the packs that hold it are moved whole: nothing is decrypted, packed or encrypted again, only
//! the header, which wraps the pack's key, is made anew for the mirror's keys. Then the manifest is committed.
//!
//! What always holds: in the mirror this is an ordinary writer, and in the source an ordinary reader; the table of
//! `docs/backup-format.md` holds for both as it is. That is what the new header is for: a pack that the mirror's collector
//! deleted does not come back under its name, because no two headers are alike, so a collector that is late deletes
//! nothing that is needed. And the manifest is named after the session that commits it, so that a collector can revoke a
//! mirroring that died; the source's id is its origin. Turned down: objects under the names that they have in the source,
//! for which neither would hold.
//!
//! A crash leaves packs that the next run finds by their footers. What the source forgets stays until the mirror's own
//! rules let it go.

mod walk;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{BackupError, Result};
use crate::format::{HEADER_LEN, MAX_OBJECT, ObjectKind, Sealed, rewrap};
use crate::gc;
use crate::hold;
use crate::id::{BackupId, ObjectHash};
use crate::immutable::{self, Which};
use crate::index::{self, Index, IndexWriter, PackInfo, pack_key};
use crate::ingest::{Progress, number_for};
use crate::keys::{Credential, KdfCost};
use crate::manifest::{self, Manifest};
use crate::packer::StoredPack;
use crate::reader::ChunkReader;
use crate::repo::Repository;
use crate::session::Session;
use crate::store::{ObjectStore, Retention, StoreError};
use walk::{Target, Walk};

/// Packs in memory, of at most 64 MiB each.
const PACKS_AT_A_TIME: usize = 3;
/// How often the source's index is read again for one backup because a pack was deleted after it was read.
const RELOADS: u32 = 3;

/// How far a run looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At the backups that the mirror lacks, where they differ from its newest one of the disk. What is the same counts as
    /// there, so what the mirror itself has lost stays lost.
    New,
    /// At all of every backup, also of those that it has: what it has lost is brought again.
    Whole,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Mirrored {
    /// Backups that the mirror has now and did not have.
    pub manifests: Vec<Manifest>,
    pub packs: u64,
    /// Stored bytes of these packs.
    pub bytes: u64,
    /// Why backups of the source could not be mirrored; each of the others was.
    pub problems: Vec<BackupError>,
}

/// Makes an empty mirror of `from`, with keys of its own.
pub fn init(
    from: &Repository,
    store: Arc<dyn ObjectStore>,
    (credential, cost): (&Credential, KdfCost),
    retention: Option<Retention>,
) -> Result<Repository> {
    let ring = from.keyring().for_mirror()?.with_retention(retention);
    Repository::init(store, &ring, credential, cost)
}

/// Brings every backup of `from` that `to` lacks there, oldest first, and places the holds that are on them.
pub fn mirror(from: &Repository, to: &Repository, look: Look, progress: &Progress) -> Result<Mirrored> {
    check(from, to)?;
    let (mut sources, problems) = gc::visible(from)?;
    // In the order they were made, so that they are numbered alike.
    sources.sort_by_key(|source| (source.number(), source.created, source.id));
    let (there, _) = gc::visible(to)?;
    // Not those of programs: they need the backup here, for a while, and nobody would lift theirs there.
    let held = hold::placed(from)?;
    let mut run = Run { from, to, look, source: Source::load(from)?, progress, packs: 0, bytes: 0 };
    let mut done = Mirrored { problems, ..Mirrored::default() };
    for source in &sources {
        let known = there.iter().find(|manifest| manifest.origin == Some(source.id));
        let copy = match known.filter(|_| look == Look::New) {
            Some(manifest) => manifest.id,
            None => match run.bring(source, known) {
                Ok(None) => continue,
                Ok(Some(manifest)) => {
                    let id = manifest.id;
                    if known.is_none() {
                        done.manifests.push(manifest);
                    }
                    id
                }
                Err(error) if error.is_loss() => {
                    done.problems.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        if held.contains(&source.id) {
            hold::place(to, &copy)?;
        }
    }
    (done.packs, done.bytes) = (run.packs, run.bytes);
    if to.keyring().retention().is_some() {
        immutable::extend(to, &index::list_packs(to)?, Which::Due)?;
    }
    Ok(done)
}

fn check(from: &Repository, to: &Repository) -> Result<()> {
    from.keyring().need_own("mirroring")?;
    to.keyring().need_own("mirroring")?;
    if !to.keyring().has_domain_of(from.keyring()) || to.keyring().is_sealed() != from.keyring().is_sealed() {
        let text = "the target is no mirror of this repository: make one with `mirror --init` in an empty place, or use \
                    `copy`, which works between any two";
        return Err(BackupError::Invalid(text.to_owned()));
    }
    if to.keyring().repo() == from.keyring().repo() {
        return Err(BackupError::Invalid("a repository cannot be its own mirror".to_owned()));
    }
    Ok(())
}

/// What is known of the source's packs.
struct Source {
    index: Index,
    reader: ChunkReader,
    /// Found damaged when they were to be moved.
    bad: HashSet<ObjectHash>,
}

impl Source {
    fn load(from: &Repository) -> Result<Self> {
        Ok(Self { index: Index::load(from)?, reader: ChunkReader::new(from.clone()), bad: HashSet::new() })
    }
}

struct Run<'a> {
    from: &'a Repository,
    to: &'a Repository,
    look: Look,
    source: Source,
    progress: &'a Progress,
    packs: u64,
    bytes: u64,
}

impl Run<'_> {
    /// One backup, or what is missing of one that is `known` there; `None` when the source pruned it meanwhile.
    fn bring(&mut self, source: &Manifest, known: Option<&Manifest>) -> Result<Option<Manifest>> {
        let mut reloads = RELOADS;
        loop {
            let mut session = Session::open(self.to)?;
            let brought = self.in_session(&mut session, source, known);
            // Nothing of this session is on its way any more: no collector has to wait for its lease. But where the store did
            // not answer, its manifest may still arrive; then a collector has to wait, and revoke it.
            if !brought.as_ref().is_err_and(BackupError::is_retryable)
                && let Err(error) = session.end()
            {
                tracing::warn!(%error, "the session could not be ended");
            }
            match brought {
                Err(error) if is_gone(&error) => {
                    if !manifest::list_ids(self.from)?.contains(&source.id) {
                        return Ok(None);
                    }
                    if reloads == 0 {
                        return Err(as_loss(error, &source.id));
                    }
                    reloads -= 1;
                    self.source =
                        Source { bad: std::mem::take(&mut self.source.bad), ..Source::load(self.from)? };
                }
                other => return other.map(Some),
            }
        }
    }

    fn in_session(
        &mut self,
        session: &mut Session,
        source: &Manifest,
        known: Option<&Manifest>,
    ) -> Result<Manifest> {
        let to = self.to;
        // The order matters: session, then plans, then packs and manifests (see `gc`).
        let plans = gc::published(to)?;
        session.saw(plans.iter().map(|plan| plan.name.clone()).collect())?;
        let mut doomed: Vec<ObjectHash> = plans.iter().flat_map(|plan| plan.packs.iter().copied()).collect();
        doomed.sort_unstable();
        let forgotten: Vec<BackupId> = plans.iter().flat_map(|plan| plan.forget.iter().copied()).collect();
        let index = Index::load(to)?;
        let (mut bases, _) = manifest::list(to)?;
        let mut disks = source.disks.clone();
        for disk in &mut disks {
            disk.number = number_for(&bases, &disk.name, Some(source.created));
        }
        bases.retain(|manifest| self.look == Look::New && !forgotten.contains(&manifest.id));
        let writer = IndexWriter::default();
        for orphan in index.orphans() {
            writer.cover(to, orphan.clone())?;
        }
        let target =
            Target { index: &index, reader: ChunkReader::new(to.clone()), doomed: &doomed, bases: &bases };
        let mut moved = HashSet::new();
        loop {
            let packs = Walk::new(&self.source, &target, &moved).packs_for(source)?;
            let damaged = self.move_packs(session, &packs, &writer)?;
            moved.extend(packs.iter().map(|pack| pack.name).filter(|name| !damaged.contains(name)));
            if damaged.is_empty() {
                break;
            }
            // What they hold may lie in other packs, too.
            self.source.bad.extend(damaged);
        }
        writer.flush(to)?;
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let manifest = Manifest { id: session.id(), origin: Some(source.id), disks, ..source.clone() };
        gc::check_before_commit(to, session.saw_plans())?;
        manifest::commit(to, &manifest)?;
        Ok(manifest)
    }

    /// Moves packs, and says which of them are damaged.
    fn move_packs(
        &mut self,
        session: &Session,
        packs: &[PackInfo],
        writer: &IndexWriter,
    ) -> Result<Vec<ObjectHash>> {
        let progress = self.progress;
        progress.total.fetch_add(packs.iter().map(|pack| pack.size).sum(), Ordering::Relaxed);
        let (from, to, damaged) = (self.from, self.to, Mutex::new(Vec::new()));
        immutable::at_a_time(PACKS_AT_A_TIME, packs, |pack| {
            if progress.cancelled.load(Ordering::Relaxed) {
                return Err(BackupError::Cancelled);
            }
            session.renew_if_due()?;
            match move_pack((from, to), pack, writer) {
                Err(error) if error.is_loss() => {
                    tracing::warn!(%error, "a damaged pack is not mirrored");
                    damaged.lock().unwrap_or_else(PoisonError::into_inner).push(pack.name);
                }
                moved => moved?,
            }
            progress.done.fetch_add(pack.size, Ordering::Relaxed);
            Ok(())
        })?;
        let damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        let good = packs.iter().filter(|pack| !damaged.contains(&pack.name));
        for pack in good {
            self.packs += 1;
            self.bytes += pack.size;
            progress.stored.fetch_add(pack.size, Ordering::Relaxed);
        }
        Ok(damaged)
    }
}

/// The frames as they are, behind a new header.
fn move_pack((from, to): (&Repository, &Repository), pack: &PackInfo, writer: &IndexWriter) -> Result<()> {
    let label = format!("pack {}", pack.name);
    let bytes = from.store().read(&pack_key(&pack.name), MAX_OBJECT)?;
    if ObjectHash::of(&bytes) != pack.name {
        return Err(BackupError::damaged(label, "its bytes are not those it was named after"));
    }
    let frames = Sealed::open(&bytes, ObjectKind::Pack, from.keyring(), &label)?.footer().frames().to_vec();
    let header = rewrap(&bytes, ObjectKind::Pack, (from.keyring(), to.keyring()), &label)?;
    let (size, body) = (bytes.len() as u64, bytes.slice(HEADER_LEN..));
    let hash = *blake3::Hasher::new().update(&header).update(&body).finalize().as_bytes();
    let name = ObjectHash(hash);
    to.store().create(&pack_key(&name), &[header, body])?;
    writer.add(to, StoredPack { name, size, frames })
}

/// Whether something was not there that was listed: a collector deletes while we read.
const fn is_gone(error: &BackupError) -> bool {
    matches!(error, BackupError::Missing { .. } | BackupError::Store(StoreError::NotFound { .. }))
}

/// Of what is gone although the backup is there.
fn as_loss(error: BackupError, source: &BackupId) -> BackupError {
    match error {
        BackupError::Store(StoreError::NotFound { key, .. }) => {
            BackupError::Missing { missing: key, needed_by: format!("backup {source}") }
        }
        other => other,
    }
}
