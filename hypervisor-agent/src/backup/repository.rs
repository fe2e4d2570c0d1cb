//! Repositories: opening, listing, forgetting, checking.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use xenith_backup::gc::{self, Outcome, Proposal};
use xenith_backup::id::BackupId;
use xenith_backup::keys::{self, Credential, KdfCost, Keyring};
use xenith_backup::manifest::{self, Manifest};
use xenith_backup::retention::{Candidate, Policy, decide};
use xenith_backup::store::{
    LocalStore, ObjectStore, Pace, RetryingStore, S3Credentials, S3Store, ThrottledStore,
};
use xenith_backup::verify::Level;
use xenith_backup::{BackupError, Repository, chunk::Chunking, hold as holds, repo::now_millis};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::backup::{
    BackupDiskFacts, BackupFacts, BackupReply, KeepPolicy, RepositoryAccess, RepositoryKey, RepositoryPlace,
};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::{Running, fault};

/// A store may be away this long before a command fails: a switch that restarts, a server that fails over.
const PATIENCE: Duration = Duration::from_secs(180);

/// Which repository, and for whom.
pub(crate) struct Access<'a> {
    to: &'a RepositoryAccess,
    /// Says that nobody waits any more, so that a store which is away is not waited for either.
    given_up: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl<'a> Access<'a> {
    /// For a command, until it is cancelled or the agent stops.
    pub(super) fn of(to: &'a RepositoryAccess, running: &Arc<Running>) -> Self {
        let running = Arc::clone(running);
        Self::new(to, move || running.cancelled())
    }

    /// For a process that serves a disk: it waits for as long as it takes.
    pub(crate) fn patient(to: &'a RepositoryAccess) -> Self {
        Self::new(to, || false)
    }

    /// For whoever says when it is given up.
    pub(super) fn new(to: &'a RepositoryAccess, given_up: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { to, given_up: Arc::new(given_up) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    Expect,
    Make,
}

fn store(access: &Access<'_>, folder: Folder) -> Result<Arc<dyn ObjectStore>, BackupError> {
    let retrying = |store: Box<dyn ObjectStore>| -> Arc<dyn ObjectStore> {
        let store = Arc::<dyn ObjectStore>::from(store);
        let retrying = RetryingStore::new(store, Duration::from_millis(200), PATIENCE);
        Arc::new(retrying.unless(Arc::clone(&access.given_up)))
    };
    Ok(match &access.to.place {
        RepositoryPlace::Folder { path } => {
            let path = Path::new(path);
            if !path.is_absolute() {
                return Err(BackupError::Invalid(format!("{} is not an absolute path", path.display())));
            }
            let opened = match folder {
                Folder::Make => LocalStore::create_root(path)?,
                Folder::Expect => LocalStore::open(path)?,
            };
            retrying(Box::new(opened))
        }
        RepositoryPlace::S3 { bucket, prefix, endpoint, region, access_key, secret_key } => {
            let credentials = S3Credentials {
                access_key: access_key.expose().to_owned(),
                secret_key: secret_key.expose().to_owned(),
                endpoint: endpoint.clone(),
                region: region.clone(),
            };
            retrying(Box::new(S3Store::open_as(&format!("s3://{bucket}/{prefix}"), &credentials)?))
        }
    })
}

fn credential(key: &RepositoryKey) -> Result<Credential, BackupError> {
    match key {
        RepositoryKey::Passphrase(text) => Ok(Credential::Passphrase(text.expose().to_owned())),
        RepositoryKey::Digits(digits) => Credential::from_key_file(digits.expose())
            .ok_or_else(|| BackupError::Invalid("the repository's key is not 64 hex digits".to_owned())),
    }
}

/// Opens it, to be read, or written as fast as it goes.
pub(crate) fn open(access: &Access<'_>) -> Result<Repository, Fault> {
    opened(access, |store| store)
}

/// Opens it, to be written no faster than `pace` is at the time.
pub(super) fn open_paced(access: &Access<'_>, pace: &Arc<Pace>) -> Result<Repository, Fault> {
    opened(access, |store| Arc::new(ThrottledStore::new(store, Arc::clone(pace))))
}

fn opened(
    access: &Access<'_>,
    around: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
) -> Result<Repository, Fault> {
    let opened = || -> Result<Repository, BackupError> {
        let store = around(store(access, Folder::Expect)?);
        Repository::open(store, &credential(&access.to.key)?)
    };
    opened().map_err(|error| fault(&error))
}

pub(super) fn ensure(access: &Access<'_>) -> Result<BackupReply, Fault> {
    let ensured = || -> Result<BackupReply, BackupError> {
        let store = store(access, Folder::Make)?;
        let credential = credential(&access.to.key)?;
        match Repository::open(Arc::clone(&store), &credential) {
            Ok(repo) => {
                // One that is there must keep its promises too: it may have moved.
                xenith_backup::store::probe(&store)?;
                ensure_writer(&repo, &store, access)?;
                Ok(BackupReply::Repository { id: repo.keyring().repo().to_string(), made: false })
            }
            Err(BackupError::NotFound { .. }) => {
                let ring = Keyring::create(Chunking::default());
                let ring = if access.to.writer.is_some() { ring.sealed() } else { ring };
                let repo = Repository::init(Arc::clone(&store), &ring, &credential, KdfCost::DEFAULT)?;
                ensure_writer(&repo, &store, access)?;
                Ok(BackupReply::Repository { id: repo.keyring().repo().to_string(), made: true })
            }
            Err(error) => Err(error),
        }
    };
    ensured().map_err(|error| fault(&error))
}

/// That the repository `id` is still there. A place where it is not is left as it is: under a share that is not mounted is
/// an empty folder, and backups into a repository made there would be on the host's own disk.
pub(super) fn probe(access: &Access<'_>, id: &str) -> Result<BackupReply, Fault> {
    let probed = || -> Result<BackupReply, BackupError> {
        let store = store(access, Folder::Expect)?;
        let repo = match Repository::open(Arc::clone(&store), &credential(&access.to.key)?) {
            Err(BackupError::NotFound { .. }) => return Err(lost(&store, id)),
            other => other?,
        };
        let found = repo.keyring().repo().to_string();
        if found != id {
            let text = format!("another repository is at {}: {found}, not {id}", store.describe());
            return Err(BackupError::Invalid(text));
        }
        // It must keep its promises: it may have moved.
        xenith_backup::store::probe(&store)?;
        ensure_writer(&repo, &store, access)?;
        Ok(BackupReply::Repository { id: found, made: false })
    };
    probed().map_err(|error| fault(&error))
}

fn lost(store: &Arc<dyn ObjectStore>, id: &str) -> BackupError {
    BackupError::Invalid(format!(
        "the repository {id} is not at {}; is what it lies on mounted? To begin anew there, remove the repository and \
         create it again",
        store.describe()
    ))
}

/// That the write-only key opens it, where there is to be one.
fn ensure_writer(
    repo: &Repository,
    store: &Arc<dyn ObjectStore>,
    access: &Access<'_>,
) -> Result<(), BackupError> {
    let Some(digits) = &access.to.writer else { return Ok(()) };
    let writer = credential(&RepositoryKey::Digits(digits.clone()))?;
    match Repository::open(Arc::clone(store), &writer) {
        Ok(_) => Ok(()),
        // Damaged: its ring is missing, and is made with the slot.
        Err(BackupError::WrongKey | BackupError::Damaged { .. }) => {
            keys::add_writer(repo.store(), repo.keys(), &writer, KdfCost::DEFAULT).map(drop)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn facts(manifest: &Manifest, held: &[BackupId]) -> BackupFacts {
    BackupFacts {
        id: manifest.id.to_string(),
        created: manifest.created,
        host: manifest.host.clone(),
        tags: manifest.tags.clone(),
        disks: manifest
            .disks
            .iter()
            .map(|disk| BackupDiskFacts {
                name: disk.name.clone(),
                size: disk.size,
                read: disk.stats.read,
                new_bytes: disk.stats.new_bytes,
                stored: disk.stats.stored,
                millis: disk.stats.millis,
                whole_because: disk.whole_because.clone(),
            })
            .collect(),
        attachments: manifest
            .attachments
            .iter()
            .map(|attachment| (attachment.name.clone(), attachment.text.clone()))
            .collect(),
        held: held.contains(&manifest.id),
    }
}

/// Newest first, and no more than an answer has room for: older ones are reached with the tool.
pub(super) fn list(access: &Access<'_>) -> Result<BackupReply, Fault> {
    const ROOM: usize = 2 << 20;
    let repo = open(access)?;
    let listed = || -> Result<Vec<BackupFacts>, BackupError> {
        let (manifests, _) = gc::visible(&repo)?;
        let held = holds::list(&repo)?;
        Ok(manifests.iter().rev().map(|manifest| facts(manifest, &held)).collect())
    };
    let mut left = ROOM;
    let backups = listed().map_err(|error| fault(&error))?;
    let fits = |backup: &BackupFacts| {
        let texts = backup.attachments.iter().map(|(name, text)| name.len() + text.len() + 16).sum::<usize>();
        let disks = backup.disks.iter().map(|disk| disk.name.len() + 200).sum::<usize>();
        left = left.saturating_sub(2 * texts + disks + 200);
        left > 0
    };
    Ok(BackupReply::Backups { backups: backups.into_iter().take_while(fits).collect() })
}

/// Refuses a backup that is gone, or that a plan forgets. Whoever needs it for a while asks after the hold is placed: a plan
/// that is published later spares what is held.
pub(crate) fn ensure_stays(repo: &Repository, backup: &BackupId, what: &str) -> Result<(), BackupError> {
    if gc::forgotten(repo)?.contains(backup) || !manifest::list_ids(repo)?.contains(backup) {
        return Err(BackupError::NotFound { what: format!("a backup {what}") });
    }
    Ok(())
}

/// Lifts the hold of a program that needs the backup no more.
pub(crate) fn lift(repo: &Repository, backup: &BackupId, holder: &str) {
    if let Err(error) = holds::lift_for(repo, backup, holder) {
        tracing::warn!(error = xenith_backup::error::chain(&error), %backup, "the hold on the backup stays");
    }
}

/// Who holds a backup while a disk of it is written into a VDI.
pub(super) fn restorer(vdi: VdiId) -> String {
    format!("restore-{vdi}")
}

/// Who holds a backup while a VDI is served from it.
pub(crate) fn server(vdi: impl Display) -> String {
    format!("instant-{vdi}")
}

/// Lifts the holds of restores into a VDI that nobody asks for any more. Those that are not there are no error.
pub(super) fn lift_restore(access: &Access<'_>, backup: &str, vdi: VdiId) -> Result<BackupReply, Fault> {
    let (repo, id) = (open(access)?, parse(backup)?);
    lift_both(&repo, &id, vdi).map(|()| BackupReply::Held).map_err(|error| fault(&error))
}

fn lift_both(repo: &Repository, backup: &BackupId, vdi: VdiId) -> Result<(), BackupError> {
    holds::lift_for(repo, backup, &restorer(vdi))?;
    holds::lift_for(repo, backup, &server(vdi))
}

fn parse(backup: &str) -> Result<BackupId, Fault> {
    BackupId::parse(backup)
        .ok_or_else(|| Fault::new(FaultReason::Invalid, format_args!("{backup:?} is not the id of a backup")))
}

/// Only a backup that is there can be held.
pub(super) fn hold(access: &Access<'_>, backup: &str) -> Result<BackupReply, Fault> {
    let (repo, id) = (open(access)?, parse(backup)?);
    let held = manifest::read(&repo, &id).and_then(|_| holds::place(&repo, &id));
    held.map(|()| BackupReply::Held).map_err(|error| fault(&error))
}

/// Not for a disk that comes in from it: its VM would run on without what is still to come.
pub(super) fn release(access: &Access<'_>, backup: &str) -> Result<BackupReply, Fault> {
    let (repo, id) = (open(access)?, parse(backup)?);
    let lifted = holds::lift_placed(&repo, &id).and_then(|()| holds::holders(&repo, &id));
    let holders = lifted.map_err(|error| fault(&error))?;
    if holders.is_empty() {
        return Ok(BackupReply::Held);
    }
    let refusal = format_args!(
        "backup {id} is still held by {}: a disk that is being restored from it needs it until all of it is there. Delete \
         that disk, or wait; if it is gone for good, `xenith-backup hold --lift` lifts its hold, too",
        holders.join(", ")
    );
    Err(Fault::new(FaultReason::WrongState, refusal))
}

pub(super) fn forget(access: &Access<'_>, backups: &[String]) -> Result<BackupReply, Fault> {
    let repo = open(access)?;
    let ids = backups.iter().map(|id| parse(id)).collect::<Result<Vec<_>, _>>()?;
    let held = holds::list(&repo).map_err(|error| fault(&error))?;
    if let Some(held) = ids.iter().find(|id| held.contains(id)) {
        let refusal = format_args!("backup {held} is held; release it first");
        return Err(Fault::new(FaultReason::WrongState, refusal));
    }
    collect(&repo, ids).map_err(|error| fault(&error))
}

/// Which VM a disk is of.
fn of_disks(vms: &[Vec<String>]) -> HashMap<&str, usize> {
    let disks = vms.iter().enumerate().flat_map(|(vm, disks)| disks.iter().map(move |disk| (&**disk, vm)));
    disks.collect()
}

/// The backups of `vms`. A VM that got a disk more, or whose disk was moved and has another name now, is still one VM: its
/// backups compete, in the order that they were made in, whatever each disk counts.
fn candidates(manifests: Vec<Manifest>, vms: &[Vec<String>], held: &[BackupId]) -> Vec<Candidate> {
    let vm_of = of_disks(vms);
    let series = |manifest: &Manifest| {
        let mut vms = manifest.disks.iter().map(|disk| vm_of.get(disk.name.as_str()));
        let first = vms.next()??;
        vms.all(|vm| vm == Some(first)).then(|| first.to_string())
    };
    let places = manifest::places(&manifests);
    let candidate = |(manifest, place): (Manifest, u64)| {
        Some(Candidate {
            id: manifest.id,
            series: series(&manifest)?,
            created: manifest.created,
            number: place,
            held: held.contains(&manifest.id),
            tags: manifest.tags,
        })
    };
    manifests.into_iter().zip(places).filter_map(candidate).collect()
}

pub(super) fn prune(
    access: &Access<'_>,
    vms: &[Vec<String>],
    keep: KeepPolicy,
) -> Result<BackupReply, Fault> {
    let repo = open(access)?;
    let pruned = || -> Result<BackupReply, BackupError> {
        let held = holds::list(&repo)?;
        let (manifests, _) = gc::visible(&repo)?;
        let candidates = candidates(manifests, vms, &held);
        let KeepPolicy { last, hourly, daily, weekly, monthly, yearly } = keep;
        let policy = Policy { last, hourly, daily, weekly, monthly, yearly, tags: Vec::new() };
        let decisions = decide(&candidates, &policy);
        let forget = decisions.iter().filter(|d| d.keep_because.is_empty()).map(|d| d.id).collect();
        collect(&repo, forget)
    };
    pruned().map_err(|error| fault(&error))
}

/// What forgetting `ids` takes, without those that are held by then: marking takes minutes, and who holds a backup meanwhile,
/// or restores it, has it hidden from them for as long as a plan rests that names it.
fn proposed(repo: &Repository, mut ids: Vec<BackupId>) -> Result<Proposal, BackupError> {
    loop {
        let proposal = gc::propose(repo, ids.clone())?;
        let held = holds::list(repo)?;
        ids.retain(|id| !held.contains(id));
        if ids.len() == proposal.plan.forget.len() {
            return Ok(proposal);
        }
    }
}

/// Publishes a plan that forgets `ids` and carries out those that are due. Another host may do the same meanwhile.
fn collect(repo: &Repository, ids: Vec<BackupId>) -> Result<BackupReply, BackupError> {
    let proposal = proposed(repo, ids)?;
    let backups = proposal.plan.forget.iter().map(ToString::to_string).collect();
    if !proposal.plan.packs.is_empty() || !proposal.plan.forget.is_empty() {
        gc::publish(repo, &proposal.plan)?;
    }
    let (mut freed, mut waiting) = (0, 0);
    for plan in gc::published(repo)? {
        match gc::carry_out(repo, &plan, now_millis(), gc::DEFAULT_GRACE_MILLIS)? {
            Outcome::Done { bytes, .. } => freed += bytes,
            Outcome::Waiting { .. } | Outcome::Locked { .. } => waiting += 1,
        }
    }
    Ok(BackupReply::Forgotten { backups, freed, waiting })
}

pub(super) fn verify(access: &Access<'_>, level: Level) -> Result<BackupReply, Fault> {
    let repo = open(access)?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let report = xenith_backup::verify::verify(&repo, level, threads).map_err(|error| fault(&error))?;
    // At once, so that the backups to come do not count on them.
    let aside = gc::set_aside(&repo, &report.damaged_packs);
    let problems = report.problems.iter().take(1000);
    let mut problems: Vec<String> = problems
        .map(|problem| {
            format!("{}: {} (touches {})", problem.object, problem.detail, problem.touches.join(", "))
        })
        .collect();
    if let Err(error) = aside {
        let error = xenith_backup::error::chain(&error);
        problems
            .push(format!("the damaged packs could not be set aside, and still count as stored: {error}"));
    }
    Ok(BackupReply::Verified {
        backups: report.backups,
        bytes_read: report.bytes_read,
        problems,
        touched: report.touched_disks(),
    })
}

#[cfg(test)]
mod tests {
    use xenith_backup::manifest::{DiskRecord, DiskStats};
    use xenith_backup::store::MemoryStore;

    use super::*;

    fn backup(day: u64, disk: &str, number: u64) -> Manifest {
        let created = day * 24 * 3600 * 1000;
        let disk = DiskRecord {
            name: disk.to_owned(),
            size: 1 << 30,
            number,
            root: None,
            chunking: Chunking::default(),
            stats: DiskStats::default(),
            whole_because: None,
        };
        Manifest {
            id: BackupId::new(created),
            created,
            host: "host-1".to_owned(),
            tags: vec![],
            disks: vec![disk],
            origin: None,
            attachments: vec![],
        }
    }

    #[test]
    fn the_backups_after_a_disk_was_moved_are_its_newest() {
        let before = (1..=9).map(|day| backup(day, "web.xvda.old", day));
        let manifests: Vec<Manifest> =
            before.chain((1..=3).map(|number| backup(9 + number, "web.xvda.new", number))).collect();
        let vms = [vec!["web.xvda.new".to_owned(), "web.xvda.old".to_owned()]];
        let newest: Vec<BackupId> = manifests[9..].iter().map(|manifest| manifest.id).collect();
        for policy in [Policy { last: 3, ..Policy::default() }, Policy { daily: 3, ..Policy::default() }] {
            let decisions = decide(&candidates(manifests.clone(), &vms, &[]), &policy);
            let kept = decisions.iter().filter(|decision| !decision.keep_because.is_empty());
            let kept: Vec<BackupId> = kept.map(|decision| decision.id).collect();
            assert_eq!(kept, newest, "{policy:?}");
        }
    }

    #[test]
    fn what_is_held_by_then_is_not_forgotten() {
        let key = Credential::Passphrase("pass".to_owned());
        let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::create(Chunking::default()));
        let repo = Repository::init(store, &ring, &key, KdfCost::CHEAP).unwrap();
        let made = |number: u64| {
            let manifest = backup(number, "web.xvda.1", number);
            manifest::commit(&repo, &manifest).unwrap();
            manifest.id
        };
        let (old, held) = (made(1), made(2));
        // Between the rules' decision and the end of the marking.
        holds::place_for(&repo, &held, "restore-1").unwrap();
        assert_eq!(proposed(&repo, vec![old, held]).unwrap().plan.forget, [old]);
    }

    #[test]
    fn what_a_restore_that_was_given_up_holds_is_lifted_and_nothing_else() {
        let key = Credential::Passphrase("pass".to_owned());
        let (store, ring) = (Arc::new(MemoryStore::new()), Keyring::create(Chunking::default()));
        let repo = Repository::init(store, &ring, &key, KdfCost::CHEAP).unwrap();
        let (mine, other, id) = (VdiId::new(), VdiId::new(), BackupId::new(1));
        for holder in [restorer(mine), server(mine), restorer(other)] {
            holds::place_for(&repo, &id, &holder).unwrap();
        }
        for again in [false, true] {
            lift_both(&repo, &id, mine).unwrap();
            assert_eq!(holds::holders(&repo, &id).unwrap(), [restorer(other)], "again: {again}");
        }
    }

    #[test]
    fn what_is_no_vms_of_those_named_is_not_judged() {
        let manifests = vec![backup(1, "web.xvda.1", 1), backup(2, "db.xvda.2", 1)];
        let found = candidates(manifests.clone(), &[vec!["web.xvda.1".to_owned()]], &[manifests[0].id]);
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [manifests[0].id]);
        assert!(found[0].held);
    }
}
