//! A run from session to manifest.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;

use xenith_common_block::RangeSet;

use super::tasks::{Base, Tasks};
use super::worker::{DiskWork, Shared, Worker};
use super::{Changes, DiskJob, Options, Progress};
use crate::error::{BackupError, Result};
use crate::gc;
use crate::id::{ChunkId, ObjectHash};
use crate::immutable::{self, Which};
use crate::index::{Index, IndexWriter, pack_key};
use crate::manifest::{self, DiskRecord, Manifest};
use crate::map::{Shape, TreeBuilder, TreeReader};
use crate::packer::{PackLimits, Packer, Pressure};
use crate::reader::ChunkReader;
use crate::repo::Repository;
use crate::session::{Session, host_name};

/// Backs up `jobs` as one backup and returns its manifest, which is then committed.
///
/// Where the repository lost what changes are counted from, all is read. The disks are there, so what is lost is stored
/// again; a run that only failed would fail every night.
pub fn backup(
    repo: &Repository,
    jobs: Vec<DiskJob<'_>>,
    options: &Options,
    progress: &Progress,
) -> Result<Manifest> {
    check_names(&jobs)?;
    check_texts(options)?;
    let counts = jobs.iter().any(|job| matches!(job.changed, Changes::Since { .. }));
    let disks: Vec<_> = jobs.iter().map(|job| (job.name.clone(), job.source)).collect();
    match attempt(repo, jobs, (options, progress), Pages::Believed) {
        Err(error) if counts && error.is_loss() => {
            tracing::warn!(%error, "what changes are counted from is damaged; all is read");
            progress.done.store(0, Ordering::Relaxed);
            let because = format!("the newest backup is damaged: {error}");
            let whole = |(name, source)| DiskJob {
                name,
                source,
                changed: Changes::Unknown { because: because.clone() },
            };
            attempt(repo, disks.into_iter().map(whole).collect(), (options, progress), Pages::Read)
        }
        result => result,
    }
}

/// What of a map the repository has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    /// What the index says.
    Believed,
    /// What can be read: where the newest backup was found damaged, the new one must not consist of the same pages.
    Read,
}

/// One run, with a session of its own.
fn attempt(
    repo: &Repository,
    jobs: Vec<DiskJob<'_>>,
    (options, progress): (&Options, &Progress),
    pages: Pages,
) -> Result<Manifest> {
    let mut session = Session::open(repo)?;
    // The order matters: session, then plans, then packs and manifests (see `gc`).
    let plans = gc::published(repo)?;
    session.saw(plans.iter().map(|plan| plan.name.clone()).collect())?;
    let mut doomed: Vec<ObjectHash> = plans.iter().flat_map(|plan| plan.packs.iter().copied()).collect();
    doomed.sort_unstable();
    let forgotten: Vec<_> = plans.iter().flat_map(|plan| plan.forget.iter().copied()).collect();
    let index = Index::load(repo)?;
    let (mut manifests, _) = manifest::list(repo)?;
    // Counted with those to be forgotten: a hold may yet save them.
    let numbers: Vec<u64> = jobs
        .iter()
        .map(|job| number_for(&manifests, &job.name, options.copy_of.map(|(_, created)| created)))
        .collect();
    manifests.retain(|manifest| !forgotten.contains(&manifest.id));
    let packer =
        |limits, most| Packer::new(repo.keyring().clone(), limits, Pressure::new(options.level, most));
    let shared = Shared {
        repo,
        session: &session,
        index: &index,
        doomed: &doomed,
        writer: IndexWriter::default(),
        data: packer(PackLimits::DATA, options.most),
        maps: packer(PackLimits::MAPS, options.level),
        progress,
        stop: false.into(),
        doubt: (pages == Pages::Read).then(|| ChunkReader::new(repo.clone())),
    };
    for orphan in index.orphans() {
        shared.writer.cover(repo, orphan.clone())?;
    }
    let mut disks = match store_disks(&shared, jobs, &manifests, options) {
        Err(error) if error.is_loss() => {
            // Nothing of this run is on its way any more, so no collector has to wait for its lease.
            if let Err(error) = session.end() {
                tracing::warn!(%error, "the session could not be ended");
            }
            return Err(error);
        }
        stored => stored?,
    };
    for (disk, number) in disks.iter_mut().zip(numbers) {
        disk.number = number;
    }
    shared.writer.flush(repo)?;
    let manifest = Manifest {
        id: session.id(),
        created: options.copy_of.map_or(session.started(), |(_, created)| created),
        host: host_name(),
        tags: options.tags.clone(),
        disks,
        origin: options.copy_of.map(|(id, _)| id),
        attachments: options.attachments.clone(),
    };
    gc::check_before_commit(repo, session.saw_plans())?;
    manifest::commit(repo, &manifest)?;
    if let Err(error) = session.end() {
        // The backup is committed; its session ends with its lease.
        tracing::warn!(%error, "the session could not be ended");
    }
    // Also not the backup's trouble: the next run, or `lock`, does it.
    if let Err(error) = immutable::extend(repo, index.packs(), Which::Due) {
        tracing::warn!(%error, "the locks of older objects could not be extended");
    }
    Ok(manifest)
}

/// The number of the next backup of `name`. A copy of one that is older than what is there goes in before it: it gets
/// its elder's number, and the dates tell the two apart.
pub(crate) fn number_for(manifests: &[Manifest], name: &str, copied: Option<u64>) -> u64 {
    let highest = |until: u64| {
        let before = manifests.iter().filter(|manifest| manifest.created <= until);
        before.filter_map(|manifest| Some(manifest.disk(name)?.number)).max().unwrap_or(0)
    };
    let later = |created| manifests.iter().any(|m| m.created > created && m.disk(name).is_some());
    match copied {
        Some(created) if later(created) => highest(created),
        // Where somebody wrote the highest there is, dates go on deciding.
        _ => highest(u64::MAX).saturating_add(1),
    }
}

fn check_names(jobs: &[DiskJob<'_>]) -> Result<()> {
    for (at, job) in jobs.iter().enumerate() {
        if !manifest::is_disk_name(&job.name) {
            return Err(BackupError::Invalid(format!(
                "{:?} cannot name a disk: give 1 to 200 letters without @ = , and control characters",
                job.name
            )));
        }
        if jobs[..at].iter().any(|other| other.name == job.name) {
            return Err(BackupError::Invalid(format!("two disks are named {}", job.name)));
        }
    }
    Ok(())
}

/// Tags and names that a listing could not show would make the manifest unreadable.
fn check_texts(options: &Options) -> Result<()> {
    let mut texts = options.tags.iter().chain(options.attachments.iter().map(|attachment| &attachment.name));
    match texts.find(|text| text.contains(char::is_control)) {
        Some(text) => {
            Err(BackupError::Invalid(format!("{text:?} holds control characters; give another tag")))
        }
        None => Ok(()),
    }
}

/// Runs the storing threads and works through the disks one after another.
fn store_disks(
    shared: &Shared<'_>,
    jobs: Vec<DiskJob<'_>>,
    manifests: &[Manifest],
    options: &Options,
) -> Result<Vec<DiskRecord>> {
    let total = jobs.iter().map(|job| job.source.size()).sum();
    shared.progress.total.store(total, Ordering::Relaxed);
    let reader = ChunkReader::new(shared.repo.clone());
    std::thread::scope(|scope| {
        for (packer, threads) in [(&shared.data, 2), (&shared.maps, 1)] {
            for _ in 0..threads {
                scope.spawn(move || {
                    packer.store_loop(&|pack, parts| {
                        shared.repo.store().create(&pack_key(&pack.name), parts)?;
                        shared.writer.add(shared.repo, pack.clone())
                    });
                });
            }
        }
        let work = || -> Result<Vec<DiskRecord>> {
            let mut disks = Vec::new();
            for job in jobs {
                disks.push(store_disk(shared, job, manifests, (options, &reader))?);
            }
            shared.data.flush()?;
            shared.maps.flush()?;
            Ok(disks)
        };
        // Also of a source that panics: the storing threads would wait for ever for what it was to give them.
        let worked = catch_unwind(AssertUnwindSafe(work));
        if !matches!(worked, Ok(Ok(_))) {
            shared.data.fail(BackupError::Cancelled);
            shared.maps.fail(BackupError::Cancelled);
        }
        shared.data.finish();
        shared.maps.finish();
        let result = worked.unwrap_or_else(|panic| resume_unwind(panic));
        // A storing thread's error is the cause; what the others report are its echoes.
        let cause = |packer: &Packer| packer.take_failure().filter(|e| !matches!(e, BackupError::Cancelled));
        match result {
            Err(BackupError::Cancelled) => {
                Err(cause(&shared.data).or_else(|| cause(&shared.maps)).unwrap_or(BackupError::Cancelled))
            }
            result => result,
        }
    })
}

/// The base to count changes from, or why there is none.
fn choose_base<'a>(
    job: &DiskJob<'_>,
    manifests: &'a [Manifest],
    repo: &Repository,
) -> Result<(&'a DiskRecord, RangeSet), String> {
    let (ranges, wanted) = match &job.changed {
        Changes::Unknown { because } => return Err(because.clone()),
        Changes::Since { ranges, base } => (ranges, base),
    };
    let newest = manifest::newest(manifests, &job.name);
    let (manifest, base) = newest.ok_or_else(|| format!("this is the first backup of {}", job.name))?;
    if wanted.is_some_and(|wanted| wanted != manifest.id) {
        return Err("the newest backup is not the one that changes are known since".to_owned());
    }
    if base.chunking != repo.chunking() {
        return Err("the newest backup was cut differently".to_owned());
    }
    Ok((base, ranges.clone()))
}

fn store_disk(
    shared: &Shared<'_>,
    job: DiskJob<'_>,
    manifests: &[Manifest],
    (options, reader): (&Options, &ChunkReader),
) -> Result<DiskRecord> {
    let (began, before) = (Instant::now(), shared.progress.snapshot());
    let base = choose_base(&job, manifests, shared.repo);
    let whole_because = base.as_ref().err().cloned();
    let fetch = |id: &ChunkId| reader.page(shared.index, id);
    let base = base.ok().map(|(disk, changed)| Base {
        size: disk.size,
        tree: TreeReader::new(disk.size, disk.root, &fetch),
        changed,
    });
    let shape = Shape::of(job.source.size());
    let work = DiskWork {
        source: job.source,
        tasks: Mutex::new(Tasks::new(job.source, base)),
        tree: Mutex::new(TreeBuilder::new(shape)),
        reader,
    };
    run_workers(shared, &work, options.workers)?;
    let tree = work.tree.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut worker = Worker::new(shared)?;
    let root = tree.finish(|page| worker.page(page))?;
    worker.flush()?;
    let mut stats = shared.progress.snapshot();
    stats.read -= before.read;
    stats.chunks -= before.chunks;
    stats.new_chunks -= before.new_chunks;
    stats.new_bytes -= before.new_bytes;
    stats.stored -= before.stored;
    stats.millis = began.elapsed().as_millis() as u64;
    Ok(DiskRecord {
        name: job.name,
        size: job.source.size(),
        number: 0,
        root,
        chunking: shared.repo.chunking(),
        stats,
        whole_because,
    })
}

/// Runs workers until the disk is done; the first error that is not an echo is returned.
fn run_workers(shared: &Shared<'_>, work: &DiskWork<'_>, count: usize) -> Result<()> {
    let failure: Mutex<Option<BackupError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..count.max(1) {
            scope.spawn(|| {
                if let Err(error) = Worker::new(shared).and_then(|mut worker| worker.run(work)) {
                    shared.stop.store(true, Ordering::Relaxed);
                    shared.data.fail(BackupError::Cancelled);
                    shared.maps.fail(BackupError::Cancelled);
                    let mut first = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if first.as_ref().is_none_or(|first| matches!(first, BackupError::Cancelled)) {
                        *first = Some(error);
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunking;
    use crate::id::BackupId;
    use crate::manifest::DiskStats;

    #[test]
    fn the_highest_number_of_all_makes_no_later_backup_the_oldest() {
        let made = |number: u64| Manifest {
            id: BackupId::new(1),
            created: 1,
            host: String::new(),
            tags: vec![],
            disks: vec![DiskRecord {
                name: "vm".to_owned(),
                size: 0,
                number,
                root: None,
                chunking: Chunking::default(),
                stats: DiskStats::default(),
                whole_because: None,
            }],
            origin: None,
            attachments: vec![],
        };
        assert_eq!(number_for(&[made(7)], "vm", None), 8);
        assert_eq!(number_for(&[made(7), made(u64::MAX)], "vm", None), u64::MAX);
        assert_eq!(number_for(&[made(7)], "other", None), 1);
    }
}
